/* Products of few rows, as decoding makes them, have the bits of the same rows among others; those with
 * weights in bf16 lose nothing of the other factor. */
#include "tensor/cpu_arrays.h"

#include <string.h>

static const char *const levels[] = {"generic", "avx2", "avx512", "amx"};

/* The first M rows of a (m, K) times a weight (N, K), and what else a product may do, added to before. */
static float *multiply_few(device_t *device, int64_t m, int64_t n, int64_t k, const real_t *a,
                           const weight_t *weight, bool adds) {
  real_t *c = real_new(device, 0, m * n), *before = real_new(device, 4, m * n),
         *bias = real_new(device, 5, n);
  op_gemm_t op = {.trans_b = true,
                  .m = m,
                  .n = n,
                  .k = k,
                  .a = a,
                  .lda = k,
                  .weight = weight,
                  .ldb = k,
                  .c = c,
                  .ldc = n,
                  .alpha = 1.0};
  if (adds) {
    op.before = before;
    op.beta = 0.75;
    op.bias = bias;
    op.activation = ACTIVATION_QUICK_GELU;
  }
  OK(OP(device, gemm, &op));
  float *values = real_get(device, c, m * n);
  device_release(device, c);
  device_release(device, before);
  device_release(device, bias);
  return values;
}

/* Some rows of a product by a weight in FORMAT have the bits of the same rows among more than any level takes
 * for few. */
static void expect_few(device_t *device, weight_format_t format, int64_t n, int64_t k, bool adds) {
  enum { M = 37 };
  static const int64_t few[] = {1, 2, 3, 4, 5, 6, 15, 16, 17, 33};
  real_t *a = real_new(device, 1, M * k), *real = real_new(device, 2, n * k);
  float *values = real_get(device, real, n * k);
  const arena_t arena = ARENA_OTHER;
  void *half = NULL;
  OK(device_alloc(device, &arena, (size_t)(n * k) * dtype_size(DTYPE_BF16), &half));
  OK(half_upload(device, half, values, DTYPE_F32, (size_t)(n * k)));
  const weight_t weight = {
      .format = format, .rows = n, .cols = k, .data = format == WEIGHT_BF16 ? half : (void *)real};
  float *expected = multiply_few(device, M, n, k, a, &weight, adds);
  for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
    int64_t m = few[i];
    float *found = multiply_few(device, m, n, k, a, &weight, adds);
    assert_memory_equal(found, expected, (size_t)(m * n) * sizeof *found);
    memory_free(found);
  }
  memory_free(values);
  memory_free(expected);
  device_release(device, half);
  device_release(device, a);
  device_release(device, real);
}

/* Runs CHECK on each level that this processor has. */
static void on_each_level(void (*check)(device_t *device)) {
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    device_t *device = NULL;
    if (cpu_create(2, levels[i], &device) != STATUS_OK) {
      error_clear();
      continue;
    }
    check(device);
    device_free(device);
  }
}

/* Columns and depths that are whole tiles and lines, and not. */
static void check_few_rows(device_t *device) {
  static const int64_t shapes[][2] = {{64, 512}, {203, 517}, {32, 31},   {7, 64},
                                      {96, 0},   {33, 300},  {1090, 600}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int adds = 0; adds < 2; adds++) {
      expect_few(device, WEIGHT_REAL, shapes[s][0], shapes[s][1], adds != 0);
      expect_few(device, WEIGHT_BF16, shapes[s][0], shapes[s][1], adds != 0);
    }
}

static void test_few_rows(void **context) {
  (void)context;
  on_each_level(check_few_rows);
}

/* A product with the unit matrix in bf16, in both directions, gives the other factor, all 24 bits of it, from
 * M rows of numbers between 2^-60 and 2^60. */
static void expect_exact(device_t *device, int64_t m, int64_t n) {
  enum { EXPONENTS = 121, LEAST = -60 };
  float *values = normal_new(3, m * n), *unit = NULL;
  OK(memory_alloc(&unit, ARENA_OTHER, (size_t)(n * n), sizeof *unit));
  for (int64_t i = 0; i < m * n; i++)
    values[i] = ldexpf(values[i], (int)(i % EXPONENTS) + LEAST);
  for (int64_t i = 0; i < n; i++)
    unit[i * n + i] = 1.0f;
  const arena_t arena = ARENA_OTHER;
  void *half = NULL;
  real_t *a = real_new(device, 0, m * n), *c = real_new(device, 0, m * n);
  OK(device_alloc(device, &arena, (size_t)(n * n) * dtype_size(DTYPE_BF16), &half));
  OK(half_upload(device, half, unit, DTYPE_F32, (size_t)(n * n)));
  OK(real_upload(device, a, values, DTYPE_F32, (size_t)(m * n)));
  const weight_t weight = {.format = WEIGHT_BF16, .rows = n, .cols = n, .data = half};
  for (int trans_b = 0; trans_b < 2; trans_b++) {
    op_gemm_t op = {.trans_b = trans_b != 0,
                    .m = m,
                    .n = n,
                    .k = n,
                    .a = a,
                    .lda = n,
                    .weight = &weight,
                    .ldb = n,
                    .c = c,
                    .ldc = n,
                    .alpha = 1.0};
    OK(OP(device, gemm, &op));
    float *found = real_get(device, c, m * n);
    assert_memory_equal(found, values, (size_t)(m * n) * sizeof *found);
    memory_free(found);
  }
  memory_free(values);
  memory_free(unit);
  device_release(device, half);
  device_release(device, a);
  device_release(device, c);
}

static void check_exact(device_t *device) {
  expect_exact(device, 1, 530);
  expect_exact(device, 5, 64);
  expect_exact(device, 50, 130);
}

static void test_exact(void **context) {
  (void)context;
  on_each_level(check_exact);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_few_rows), cmocka_unit_test(test_exact)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

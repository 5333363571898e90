/* Products of few rows, as decoding makes them, have the bits of the same rows among others. */
#include "tensor/cpu_arrays.h"

#include <string.h>

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

/* One to six rows of a product by a weight in FORMAT have the bits of the same rows among nine. */
static void expect_few(device_t *device, weight_format_t format, int64_t n, int64_t k, bool adds) {
  enum { M = 9, MOST = 6 };
  real_t *a = real_new(device, 1, M * k), *real = real_new(device, 2, n * k);
  float *values = real_get(device, real, n * k);
  const arena_t arena = ARENA_OTHER;
  void *half = NULL;
  OK(device_alloc(device, &arena, (size_t)(n * k) * dtype_size(DTYPE_BF16), &half));
  OK(half_upload(device, half, values, DTYPE_F32, (size_t)(n * k)));
  const weight_t weight = {
      .format = format, .rows = n, .cols = k, .data = format == WEIGHT_BF16 ? half : (void *)real};
  float *expected = multiply_few(device, M, n, k, a, &weight, adds);
  for (int64_t m = 1; m <= MOST; m++) {
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

/* On each level; columns and depths that are whole tiles and lines, and not. */
static void test_few_rows(void **context) {
  static const char *const levels[] = {"generic", "avx2", "avx512"};
  static const int64_t shapes[][2] = {{64, 512}, {203, 517}, {32, 31}, {7, 64}, {96, 0}, {33, 300}};
  (void)context;
  for (int i = 0; i < 3; i++) {
    device_t *device = NULL;
    if (cpu_create(2, levels[i], &device) != STATUS_OK) {
      error_clear();
      continue;
    }
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
      for (int adds = 0; adds < 2; adds++) {
        expect_few(device, WEIGHT_REAL, shapes[s][0], shapes[s][1], adds != 0);
        expect_few(device, WEIGHT_BF16, shapes[s][0], shapes[s][1], adds != 0);
      }
    device_free(device);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_few_rows)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

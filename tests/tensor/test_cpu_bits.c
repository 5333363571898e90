/* What the cpu device promises beyond accuracy: the same bits on any number of threads, for a row alone and
 * for the same row in a batch, for a decoded position and for the same position in a packed sequence. */
#include "cpu_arrays.h"

#include <string.h>

enum { THREADS = 3 };

/* Runs an operation on fresh inputs of DEVICE and returns its results (*n floats) on the host. */
typedef float *(*scenario_t)(device_t *device, int64_t *n);

static void expect_same_on_threads(scenario_t scenario) {
  device_t *one = device_new(1);
  int64_t n = 0;
  float *expected = scenario(one, &n);
  for (int threads = 2; threads <= THREADS; threads++) {
    device_t *several = device_new(threads);
    float *found = scenario(several, &n);
    assert_memory_equal(found, expected, (size_t)n * sizeof *found);
    memory_free(found);
    device_free(several);
  }
  memory_free(expected);
  device_free(one);
}

/* c (m, n) = a b^T for weights (n, k), in the device's memory. */
static real_t *multiply(device_t *device, int64_t m, int64_t n, int64_t k, const real_t *a, const real_t *b) {
  real_t *c = real_new(device, 0, m * n);
  op_gemm_t op = {.trans_b = true,
                  .m = m,
                  .n = n,
                  .k = k,
                  .a = a,
                  .lda = k,
                  .b = b,
                  .ldb = k,
                  .c = c,
                  .ldc = n,
                  .alpha = 1.0};
  OK(OP(device, gemm, &op));
  return c;
}

static float *scenario_gemm(device_t *device, int64_t *n) {
  enum { M = 301, N = 203, K = 517 };
  real_t *a = real_new(device, 1, M * K), *b = real_new(device, 2, N * K);
  real_t *c = multiply(device, M, N, K, a, b);
  *n = M * N;
  float *result = real_get(device, c, *n);
  device_release(device, a);
  device_release(device, b);
  device_release(device, c);
  return result;
}

/* Gradient of a weight: a^T b added to c. */
static float *scenario_gemm_gradient(device_t *device, int64_t *n) {
  enum { M = 150, N = 97, K = 803 };
  real_t *a = real_new(device, 1, K * M), *b = real_new(device, 2, K * N);
  wide_t *c = wide_new(device, M * N);
  op_gemm_t op = {.trans_a = true,
                  .m = M,
                  .n = N,
                  .k = K,
                  .a = a,
                  .lda = M,
                  .b = b,
                  .ldb = N,
                  .c = c,
                  .ldc = N,
                  .c_wide = true,
                  .alpha = 0.7,
                  .beta = 1.0};
  OK(OP(device, gemm, &op));
  OK(OP(device, gemm, &op));
  *n = M * N;
  float *result = wide_get(device, c, *n);
  device_release(device, a);
  device_release(device, b);
  device_release(device, c);
  return result;
}

static float *scenario_rmsnorm_backward(device_t *device, int64_t *n) {
  enum { ROWS = 1000, COLS = 130 };
  real_t *x = real_new(device, 1, ROWS * COLS), *weight = real_new(device, 2, COLS);
  real_t *dy = real_new(device, 3, ROWS * COLS), *y = real_new(device, 0, ROWS * COLS);
  wide_t *rstd = wide_new(device, ROWS), *dweight = wide_new(device, COLS);
  op_rmsnorm_t forward = {
      .rows = ROWS, .cols = COLS, .x = x, .weight = weight, .eps = 1e-5, .y = y, .rstd = rstd};
  OK(OP(device, rmsnorm, &forward));
  op_rmsnorm_backward_t backward = {.rows = ROWS,
                                    .cols = COLS,
                                    .x = x,
                                    .weight = weight,
                                    .dy = dy,
                                    .rstd = rstd,
                                    .dx = y,
                                    .dweight = dweight};
  OK(OP(device, rmsnorm_backward, &backward));
  *n = COLS;
  float *result = wide_get(device, dweight, *n);
  void *all[] = {x, weight, dy, y, rstd, dweight};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    device_release(device, all[i]);
  return result;
}

static float *scenario_embedding_backward(device_t *device, int64_t *n) {
  enum { ROWS = 4000, COLS = 96, COUNT = 50 };
  int32_t tokens[ROWS];
  for (int32_t i = 0; i < ROWS; i++)
    tokens[i] = (i * 37) % (COUNT + 5);
  index_t *index = index_new(device, tokens, ROWS);
  real_t *dy = real_new(device, 3, ROWS * COLS);
  wide_t *dweight = wide_new(device, COUNT * COLS);
  op_embedding_backward_t op = {
      .rows = ROWS, .cols = COLS, .begin = 2, .count = COUNT, .tokens = index, .dy = dy, .dweight = dweight};
  OK(OP(device, embedding_backward, &op));
  *n = COUNT * COLS;
  float *result = wide_get(device, dweight, *n);
  device_release(device, index);
  device_release(device, dy);
  device_release(device, dweight);
  return result;
}

static float *scenario_sum_squares(device_t *device, int64_t *n) {
  enum { COUNT = 1000003 };
  real_t *x = real_new(device, 5, COUNT);
  wide_t *wide = wide_new(device, COUNT), *sum = wide_new(device, 1);
  OK(OP(device, widen, &(op_widen_t){.n = COUNT, .from = x, .to = wide}));
  OK(OP(device, sum_squares, &(op_sum_squares_t){.n = COUNT, .x = wide, .sum = sum}));
  *n = 1;
  float *result = wide_get(device, sum, 1);
  assert_true(fabs((double)*result / COUNT - 1.0) < 0.01);
  device_release(device, x);
  device_release(device, wide);
  device_release(device, sum);
  return result;
}

static float *scenario_sum_periodic(device_t *device, int64_t *n) {
  enum { ROWS = 3001, COLS = 77, PERIOD = 3 };
  real_t *x = real_new(device, 5, ROWS * COLS);
  wide_t *sums = wide_new(device, PERIOD * COLS);
  op_sum_periodic_t op = {.rows = ROWS, .cols = COLS, .period = PERIOD, .x = x, .ldx = COLS, .sums = sums};
  OK(OP(device, sum_periodic, &op));
  *n = PERIOD * COLS;
  float *result = wide_get(device, sums, *n);
  device_release(device, x);
  device_release(device, sums);
  return result;
}

enum { HEADS = 4, KV_HEADS = 2, D = 24, WIDTH = HEADS * D, KV_WIDTH = KV_HEADS * D, LD_KV = 2 * KV_WIDTH };
static const int32_t attention_offsets[] = {0, 70, 71, 700}; /* the last is more than one task */
enum { SEQUENCES = 3, TOKENS = 700 };

typedef struct {
  sequences_t *sequences;
  real_t *q, *kv, *out, *dout, *dq, *dkv; /* keys and values side by side */
  wide_t *lse;
  op_attention_t op;
} cpu_bits_attention_case_t;

static cpu_bits_attention_case_t attention_new(device_t *device, sequences_t *sequences) {
  cpu_bits_attention_case_t c = {.sequences = sequences,
                                 .q = real_new(device, 1, TOKENS * WIDTH),
                                 .kv = real_new(device, 2, TOKENS * LD_KV),
                                 .out = real_new(device, 0, TOKENS * WIDTH),
                                 .dout = real_new(device, 4, TOKENS * WIDTH),
                                 .dq = real_new(device, 0, TOKENS * WIDTH),
                                 .dkv = real_new(device, 0, TOKENS * LD_KV),
                                 .lse = wide_new(device, TOKENS * HEADS)};
  *sequences = sequences_create(device);
  OK(sequences_prepare(sequences, SEQUENCES, attention_offsets, HEADS, KV_HEADS, D));
  c.op = (op_attention_t){.sequences = sequences,
                          .q = c.q,
                          .k = c.kv,
                          .v = real_at(device, c.kv, KV_WIDTH),
                          .ldq = WIDTH,
                          .ldkv = LD_KV,
                          .ldo = WIDTH,
                          .scale = 0.2,
                          .causal = true,
                          .out = c.out,
                          .lse = c.lse};
  OK(OP(device, attention, &c.op));
  return c;
}

static void attention_release(device_t *device, cpu_bits_attention_case_t *c) {
  sequences_free(c->sequences);
  void *all[] = {c->q, c->kv, c->out, c->dout, c->dq, c->dkv, c->lse};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    device_release(device, all[i]);
}

static float *scenario_attention(device_t *device, int64_t *n) {
  sequences_t sequences;
  cpu_bits_attention_case_t c = attention_new(device, &sequences);
  *n = TOKENS * WIDTH;
  float *result = real_get(device, c.out, *n);
  attention_release(device, &c);
  return result;
}

static float *scenario_attention_backward(device_t *device, int64_t *n) {
  sequences_t sequences;
  cpu_bits_attention_case_t c = attention_new(device, &sequences);
  op_attention_backward_t op = {
      .forward = c.op, .dout = c.dout, .dq = c.dq, .dk = c.dkv, .dv = real_at(device, c.dkv, KV_WIDTH)};
  OK(OP(device, attention_backward, &op));
  *n = TOKENS * LD_KV;
  float *result = real_get(device, c.dkv, *n);
  attention_release(device, &c);
  return result;
}

static void test_threads(void **context) {
  (void)context;
  expect_same_on_threads(scenario_gemm);
  expect_same_on_threads(scenario_gemm_gradient);
  expect_same_on_threads(scenario_rmsnorm_backward);
  expect_same_on_threads(scenario_embedding_backward);
  expect_same_on_threads(scenario_sum_squares);
  expect_same_on_threads(scenario_sum_periodic);
  expect_same_on_threads(scenario_attention);
  expect_same_on_threads(scenario_attention_backward);
}

/* Rows of a product (m, n) by a weight (n, k) have the same bits however many are computed together. */
static void expect_rows_alone(device_t *device, int64_t n) {
  enum { M = 631, K = 600 };
  real_t *a = real_new(device, 1, M * K), *b = real_new(device, 2, n * K);
  real_t *whole = multiply(device, M, n, K, a, b);
  float *expected = real_get(device, whole, M * n);
  const int64_t counts[] = {1, 2, 5, 16, 33, 64};
  for (int i = 0; i < 6; i++) {
    int64_t first = 7 * i;
    real_t *part = multiply(device, counts[i], n, K, real_at(device, a, first * K), b);
    float *found = real_get(device, part, counts[i] * n);
    assert_memory_equal(found, expected + first * n, (size_t)(counts[i] * n) * sizeof *found);
    memory_free(found);
    device_release(device, part);
  }
  memory_free(expected);
  device_release(device, whole);
  device_release(device, a);
  device_release(device, b);
}

static void test_row_alone(void **context) {
  (void)context;
  device_t *device = device_new(2);
  expect_rows_alone(device, 77);
  expect_rows_alone(device, 8); /* narrow: a is read in place */
  device_free(device);
}

/* A product of more than one block in every dimension against sums in double. */
static void test_blocks(void **context) {
  enum { M = 37, N = 1100, K = 530 };
  (void)context;
  device_t *device = device_new(1);
  real_t *a = real_new(device, 1, M * K), *b = real_new(device, 2, N * K);
  real_t *c = multiply(device, M, N, K, a, b);
  float *left = normal_new(1, M * K), *right = normal_new(2, N * K), *found = real_get(device, c, M * N);
  double worst = 0.0;
  for (int64_t i = 0; i < M; i++)
    for (int64_t j = 0; j < N; j++) {
      double sum = 0.0;
      for (int64_t k = 0; k < K; k++)
        sum += (double)left[i * K + k] * (double)right[j * K + k];
      worst = fmax(worst, fabs(sum - (double)found[i * N + j]));
    }
  assert_true(worst < 1e-3); /* sums of 530 terms of size 1, about 23 each: 30 ulp */
  memory_free(left);
  memory_free(right);
  memory_free(found);
  device_release(device, a);
  device_release(device, b);
  device_release(device, c);
  device_free(device);
}

/* Without depth, c = beta * c. */
static void test_no_depth(void **context) {
  enum { M = 3, N = 5 };
  (void)context;
  device_t *device = device_new(1);
  real_t *c = real_new(device, 4, M * N);
  float *before = real_get(device, c, M * N);
  op_gemm_t op = {
      .m = M, .n = N, .a = c, .lda = 1, .b = c, .ldb = N, .c = c, .ldc = N, .alpha = 1.0, .beta = 0.5};
  OK(OP(device, gemm, &op));
  float *after = real_get(device, c, M * N);
  for (int i = 0; i < M * N; i++)
    assert_true(after[i] == 0.5f * before[i]);
  memory_free(before);
  memory_free(after);
  device_release(device, c);
  device_free(device);
}

/* The last sequence's every eleventh position, decoded against a paged cache, has the bits that packed
 * attention gave. */
static void test_decoded_position(void **context) {
  enum { PAGE = 16, FIRST = 71, LENGTH = TOKENS - FIRST, PAGES = (LENGTH + PAGE - 1) / PAGE };
  (void)context;
  device_t *device = device_new(2);
  sequences_t sequences;
  cpu_bits_attention_case_t c = attention_new(device, &sequences);
  float *expected = real_get(device, c.out, TOKENS * WIDTH);
  real_t *k_cache = real_new(device, 0, PAGES * PAGE * KV_WIDTH);
  real_t *v_cache = real_new(device, 0, PAGES * PAGE * KV_WIDTH);
  real_t *out = real_new(device, 0, WIDTH);
  int32_t slots[LENGTH], pages[PAGES], origin[LENGTH] = {0}; /* turned by nothing */
  for (int32_t i = 0; i < PAGES; i++)
    pages[i] = (i * 7) % PAGES; /* PAGES is 40: 7 is coprime */
  for (int32_t i = 0; i < LENGTH; i++)
    slots[i] = pages[i / PAGE] * PAGE + i % PAGE;
  index_t *slot_index = index_new(device, slots, LENGTH), *page_index = index_new(device, pages, PAGES);
  index_t *nowhere = index_new(device, origin, LENGTH);
  op_rotary_t write = {.rows = LENGTH,
                       .kv_heads = KV_HEADS,
                       .head_size = D,
                       .qkv = real_at(device, c.kv, FIRST * LD_KV),
                       .ld = LD_KV,
                       .positions = nowhere,
                       .base = 10000.0,
                       .page_size = PAGE,
                       .slots = slot_index,
                       .k_cache = k_cache,
                       .v_cache = v_cache};
  OK(OP(device, rotary, &write));
  for (int32_t position = 0; position < LENGTH; position += 11) {
    int32_t length = position + 1;
    index_t *length_index = index_new(device, &length, 1);
    op_attention_paged_t op = {.rows = 1,
                               .heads = HEADS,
                               .kv_heads = KV_HEADS,
                               .head_size = D,
                               .page_size = PAGE,
                               .max_pages = PAGES,
                               .q = real_at(device, c.q, (FIRST + position) * WIDTH),
                               .ldq = WIDTH,
                               .k_cache = k_cache,
                               .v_cache = v_cache,
                               .pages = page_index,
                               .lengths = length_index,
                               .scale = 0.2,
                               .out = out,
                               .ldo = WIDTH};
    OK(OP(device, attention_paged, &op));
    float *found = real_get(device, out, WIDTH);
    assert_memory_equal(found, expected + (FIRST + position) * WIDTH, WIDTH * sizeof *found);
    memory_free(found);
    device_release(device, length_index);
  }
  memory_free(expected);
  void *all[] = {k_cache, v_cache, out, slot_index, page_index, nowhere};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    device_release(device, all[i]);
  attention_release(device, &c);
  device_free(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_threads),  cmocka_unit_test(test_row_alone),        cmocka_unit_test(test_blocks),
      cmocka_unit_test(test_no_depth), cmocka_unit_test(test_decoded_position),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

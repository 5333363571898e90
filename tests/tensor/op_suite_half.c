/* Weights in bf16 give what weights of the compute type give that hold the same numbers. */
#include "tensor/op_pair.h"

#include "base/memory.h"

/* A matrix in both formats. */
typedef struct {
  half_pair_t half;
  real_pair_t real;
} both_formats_t;

static both_formats_t both_formats(op_pair_t *pair, int64_t n) {
  double *values = host_halves(pair, n, 1.0);
  both_formats_t both = {.half = half_of(pair, values, n), .real = real_of(pair, values, n)};
  memory_free(values);
  return both;
}

static weight_t in_format(const both_formats_t *both, weight_format_t format, int side, int64_t rows,
                          int64_t cols) {
  return (weight_t){.format = format,
                    .rows = rows,
                    .cols = cols,
                    .data = format == WEIGHT_BF16 ? (const void *)both->half.on[side] : both->real.on[side]};
}

/* FOUND (in bf16) agrees with the oracle, and with EXPECTED (in the compute type) on its own device. */
static void expect_both(op_pair_t *pair, const char *what, const real_pair_t *found,
                        const real_pair_t *expected, double tolerance) {
  int64_t n = (int64_t)found->n;
  real_expect_close(pair, what, found, 0, 1, n, n, tolerance);
  double *a = real_host(pair, found, TESTED), *b = real_host(pair, expected, TESTED);
  double error = normalised_error(a, b, found->n);
  memory_free(a);
  memory_free(b);
  if (error > pair->tolerances.half)
    fail_msg("%s: %g from the same numbers in the compute type", what, error);
}

static void half_gemm_run(op_pair_t *pair, int64_t m, int64_t n, int64_t k, bool trans_b) {
  int64_t rows = trans_b ? n : k, cols = trans_b ? k : n;
  both_formats_t b = both_formats(pair, rows * cols);
  real_pair_t a = real_random(pair, m * k, 1.0), c[WEIGHT_BF16 + 1];
  for (int format = WEIGHT_REAL; format <= WEIGHT_BF16; format++) {
    c[format] = real_untouched(pair, m * n);
    for (int s = 0; s < DEVICES; s++) {
      weight_t weight = in_format(&b, (weight_format_t)format, s, rows, cols);
      op_gemm_t op = {.trans_b = trans_b,
                      .m = m,
                      .n = n,
                      .k = k,
                      .a = a.on[s],
                      .lda = k,
                      .weight = &weight,
                      .ldb = cols,
                      .c = c[format].on[s],
                      .ldc = n,
                      .alpha = 1.0};
      EXPECT_OK(OP(pair->devices[s], gemm, &op));
    }
  }
  expect_both(pair, "gemm by bf16", &c[WEIGHT_BF16], &c[WEIGHT_REAL], pair->tolerances.forward);
  pair_release(pair);
}

static void half_embedding_run(op_pair_t *pair, int64_t cols) {
  enum { TOKENS = 9, ROWS = 7, BEGIN = 3 };
  static const int32_t tokens[TOKENS] = {3, 9, 0, 4, -1, 12, 9, 10, 5};
  both_formats_t table = both_formats(pair, ROWS * cols);
  index_pair_t index = index_of(pair, tokens, TOKENS);
  real_pair_t y[WEIGHT_BF16 + 1];
  for (int format = WEIGHT_REAL; format <= WEIGHT_BF16; format++) {
    y[format] = real_untouched(pair, TOKENS * cols);
    for (int s = 0; s < DEVICES; s++) {
      op_embedding_t op = {.rows = TOKENS,
                           .cols = cols,
                           .begin = BEGIN,
                           .count = ROWS,
                           .tokens = index.on[s],
                           .weight = in_format(&table, (weight_format_t)format, s, ROWS, cols),
                           .y = y[format].on[s]};
      EXPECT_OK(OP(pair->devices[s], embedding, &op));
    }
  }
  expect_both(pair, "embedding of bf16", &y[WEIGHT_BF16], &y[WEIGHT_REAL], 0.0);
  pair_release(pair);
}

/* Rounded to nearest, ties to even; what is downloaded is what bf16 holds. */
static void half_copies(op_pair_t *pair) {
  enum { N = 5, PART = 3 };
  static const double sent[N] = {1.0, 1.00390625, 1.01171875, -1.5, 0.1},
                      rounded[N] = {1.0, 1.0, 1.015625, -1.5, 0.10009765625};
  half_pair_t half = half_of(pair, sent, N);
  device_t *device = pair->devices[TESTED];
  double received[N];
  float part[PART];
  EXPECT_OK(half_download(device, received, DTYPE_F64, half.on[TESTED], N));
  EXPECT_OK(half_download(device, part, DTYPE_F32, half_at(half.on[TESTED], 2), PART));
  EXPECT_OK(device_synchronize(device));
  for (int i = 0; i < N; i++)
    assert_true(received[i] == rounded[i]);
  for (int i = 0; i < PART; i++)
    assert_true((double)part[i] == received[2 + i]);
  EXPECT_OK(half_upload(device, half_at(half.on[TESTED], 1), part, DTYPE_F32, PART));
  EXPECT_OK(half_download(device, received, DTYPE_F64, half.on[TESTED], N));
  EXPECT_OK(device_synchronize(device));
  assert_true(received[0] == rounded[0] && received[1] == rounded[2] && received[4] == rounded[4]);
  pair_release(pair);
}

void case_half_weights(void **state) {
  op_pair_t *pair = *state;
  static const int64_t sizes[] = {1, 5, 16, 33, 129, 520};
  enum { SIZES = sizeof sizes / sizeof *sizes, CASES = 24 };
  for (int i = 0; i < CASES; i++)
    half_gemm_run(pair, pair_choose(pair, sizes, SIZES - 1), pair_choose(pair, sizes, SIZES),
                  pair_choose(pair, sizes, SIZES), i & 1);
  half_embedding_run(pair, 1);
  half_embedding_run(pair, 40);
  half_copies(pair);
}

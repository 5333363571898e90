/* Weights and caches in bf16 give what those of the compute type give that hold the same numbers. */
#include "tensor/op_pair.h"

#include "base/half.h"
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

/* ---- Keys and values ---- */

enum { CACHE_PAGE = 4, CACHE_PAGES = 5, CACHE_SLOTS = CACHE_PAGE * CACHE_PAGES, CACHE_ROWS = 9 };

typedef struct {
  int32_t heads, kv_heads, head_size;
} half_heads_t;

static double *half_host(op_pair_t *pair, const half_pair_t *array, int side) {
  double *values = NULL;
  EXPECT_OK(memory_alloc(&values, ARENA_OTHER, array->n, sizeof *values));
  EXPECT_OK(half_download(pair->devices[side], values, DTYPE_F64, array->on[side], array->n));
  EXPECT_OK(device_synchronize(pair->devices[side]));
  return values;
}

static half_pair_t half_filled(op_pair_t *pair, int64_t n, double value) {
  double *values = NULL;
  EXPECT_OK(memory_alloc(&values, ARENA_OTHER, (size_t)n, sizeof *values));
  for (int64_t i = 0; i < n; i++)
    values[i] = value;
  half_pair_t array = half_of(pair, values, n);
  memory_free(values);
  return array;
}

static double nearest_half(double x) {
  float value = (float)x;
  half_round_bf16(&value, 1);
  return (double)value;
}

static int64_t cache_elements(const half_heads_t *heads) {
  return (int64_t)CACHE_SLOTS * heads->kv_heads * heads->head_size;
}

/* Turns the rows of X on both devices; KEYS NULL: without rounding and cache. */
static void half_rotate(op_pair_t *pair, const half_heads_t *heads, const real_pair_t *x,
                        const index_pair_t *positions, const index_pair_t *slots, const half_pair_t *keys,
                        const half_pair_t *values) {
  for (int s = 0; s < DEVICES; s++) {
    op_rotary_t op = {.rows = CACHE_ROWS,
                      .heads = heads->heads,
                      .kv_heads = heads->kv_heads,
                      .head_size = heads->head_size,
                      .qkv = x->on[s],
                      .ld = (int64_t)(heads->heads + 2 * heads->kv_heads) * heads->head_size,
                      .positions = positions->on[s],
                      .base = 10000.0,
                      .half = keys != NULL};
    if (keys) {
      op.page_size = CACHE_PAGE;
      op.slots = slots->on[s];
      op.k_cache = keys->on[s];
      op.v_cache = values->on[s];
    }
    EXPECT_OK(OP(pair->devices[s], rotary, &op));
  }
}

/* X holds queries as in EXACT, and keys and values rounded; the cache holds the same in its slots, and what
 * it held elsewhere. */
static void expect_rounded(const half_heads_t *heads, const int32_t *slots, const double *exact,
                           const double *x, const double *keys, const double *values) {
  int64_t D = heads->head_size, K = heads->kv_heads, q = heads->heads * D, ld = q + 2 * K * D;
  int64_t written = 0, kept = 0;
  for (int64_t t = 0; t < CACHE_ROWS; t++)
    for (int64_t c = 0; c < ld; c++) {
      double expected = exact[t * ld + c];
      if (c >= q) expected = nearest_half(expected);
      assert_true(x[t * ld + c] == expected);
      if (c < q || slots[t] < 0) continue;
      int64_t head = (c - q) / D % K, page = slots[t] / CACHE_PAGE;
      int64_t place = ((page * K + head) * CACHE_PAGE + slots[t] % CACHE_PAGE) * D + (c - q) % D;
      assert_true((c - q < K * D ? keys : values)[place] == expected);
      written++;
    }
  for (int64_t i = 0; i < CACHE_SLOTS * K * D; i++)
    kept += (keys[i] == PAIR_UNTOUCHED) + (values[i] == PAIR_UNTOUCHED);
  assert_int_equal(kept, 2 * CACHE_SLOTS * K * D - written);
}

static void half_rotary_run(op_pair_t *pair, const half_heads_t *heads) {
  static const int32_t positions[CACHE_ROWS] = {0, 1, 2, 7, 40, 3999, 5, 6, 2},
                       slots[CACHE_ROWS] = {3, 19, -1, 0, 8, 9, -1, 13, 12};
  int64_t n = CACHE_ROWS * (int64_t)(heads->heads + 2 * heads->kv_heads) * heads->head_size;
  real_pair_t x = real_random(pair, n, 1.0);
  double *start = real_host(pair, &x, TESTED);
  real_pair_t turned = real_of(pair, start, n);
  index_pair_t where = index_of(pair, positions, CACHE_ROWS), places = index_of(pair, slots, CACHE_ROWS);
  half_pair_t keys = half_filled(pair, cache_elements(heads), PAIR_UNTOUCHED),
              values = half_filled(pair, cache_elements(heads), PAIR_UNTOUCHED);
  half_rotate(pair, heads, &turned, &where, &places, NULL, NULL);
  half_rotate(pair, heads, &x, &where, &places, &keys, &values);
  memory_free(start);
  for (int s = 0; s < DEVICES; s++) {
    double *host[] = {real_host(pair, &turned, s), real_host(pair, &x, s), half_host(pair, &keys, s),
                      half_host(pair, &values, s)};
    expect_rounded(heads, slots, host[0], host[1], host[2], host[3]);
    for (int i = 0; i < 4; i++)
      memory_free(host[i]);
  }
  pair_release(pair);
}

/* Sequences whose pages lie out of order, one of them empty. */
static void half_paged_run(op_pair_t *pair, const half_heads_t *heads) {
  enum { SEQUENCES = 3, MAX_PAGES = 3 };
  static const int32_t lengths[SEQUENCES] = {11, 0, 5},
                       pages[SEQUENCES * MAX_PAGES] = {4, 0, 3, 0, 0, 0, 2, 1, 0};
  int64_t cols = (int64_t)heads->heads * heads->head_size, n = cache_elements(heads);
  real_pair_t q = real_random(pair, SEQUENCES * cols, 1.0), out[2];
  both_formats_t keys = both_formats(pair, n), values = both_formats(pair, n);
  index_pair_t length = index_of(pair, lengths, SEQUENCES),
               page = index_of(pair, pages, SEQUENCES * MAX_PAGES);
  for (int half = 0; half < 2; half++) {
    out[half] = real_untouched(pair, SEQUENCES * cols);
    for (int s = 0; s < DEVICES; s++) {
      op_attention_paged_t op = {.rows = SEQUENCES,
                                 .heads = heads->heads,
                                 .kv_heads = heads->kv_heads,
                                 .head_size = heads->head_size,
                                 .page_size = CACHE_PAGE,
                                 .max_pages = MAX_PAGES,
                                 .q = q.on[s],
                                 .ldq = cols,
                                 .half = half != 0,
                                 .k_cache = half ? (const void *)keys.half.on[s] : keys.real.on[s],
                                 .v_cache = half ? (const void *)values.half.on[s] : values.real.on[s],
                                 .pages = page.on[s],
                                 .lengths = length.on[s],
                                 .scale = 0.25,
                                 .out = out[half].on[s],
                                 .ldo = cols};
      EXPECT_OK(OP(pair->devices[s], attention_paged, &op));
    }
  }
  expect_both(pair, "attention_paged of bf16", &out[1], &out[0], pair->tolerances.forward);
  pair_release(pair);
}

static void half_copy_run(op_pair_t *pair, int64_t page) {
  enum { COUNT = 2, LAYERS = 2 };
  static const int32_t from[COUNT] = {4, 1}, to[COUNT] = {0, 2};
  int64_t n = LAYERS * CACHE_PAGES * page;
  both_formats_t keys = both_formats(pair, n), values = both_formats(pair, n);
  index_pair_t source = index_of(pair, from, COUNT), target = index_of(pair, to, COUNT);
  for (int s = 0; s < DEVICES; s++)
    for (int half = 0; half < 2; half++) {
      op_cache_copy_t op = {.count = COUNT,
                            .layers = LAYERS,
                            .layer_elements = CACHE_PAGES * page,
                            .page_elements = page,
                            .from = source.on[s],
                            .to = target.on[s],
                            .half = half != 0,
                            .k_cache = half ? (void *)keys.half.on[s] : keys.real.on[s],
                            .v_cache = half ? (void *)values.half.on[s] : values.real.on[s]};
      EXPECT_OK(OP(pair->devices[s], cache_copy, &op));
    }
  for (int s = 0; s < DEVICES; s++)
    for (int i = 0; i < 2; i++) {
      double *half = half_host(pair, i ? &values.half : &keys.half, s),
             *real = real_host(pair, i ? &values.real : &keys.real, s);
      assert_memory_equal(half, real, (size_t)n * sizeof *half);
      memory_free(half);
      memory_free(real);
    }
  pair_release(pair);
}

void case_half_cache(void **state) {
  static const half_heads_t heads[] = {{1, 1, 8}, {4, 2, 16}, {3, 1, 40}, {2, 2, 6}, {4, 1, 64}};
  for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
    half_rotary_run(*state, &heads[i]);
    half_paged_run(*state, &heads[i]);
  }
  half_copy_run(*state, 3);
  half_copy_run(*state, 128);
}

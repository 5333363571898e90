/* Batch-invariant operations: rows have the same bits alone, a few at a time and all at once; a query the
 * same against the paged cache and within its packed sequence. Without the mode they do not: the test would
 * see it. On a GPU, or with the CUDA that the host carries out. */
#include "cuda/cuda.h"
#include "tensor/op_pair.h"
#include "tensor/plain/plain.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>

enum { SKIPPED = 77, ROWS = 150, SEED = 5 };

static op_pair_t pair;

static void open_pair(dtype_t real_type, bool batch_invariant) {
  const cuda_options_t options = {
      .real_type = real_type, .node_size = 1, .check = true, .batch_invariant = batch_invariant};
  pair = (op_pair_t){.random = random_stream(SEED, RANDOM_TEST, 0)};
  EXPECT_OK(cuda_create(&options, &pair.devices[TESTED]));
  EXPECT_OK(plain_create(PLAIN_DOUBLE, false, &pair.devices[ORACLE]));
}

static void close_pair(void) {
  device_free(pair.devices[TESTED]);
  device_free(pair.devices[ORACLE]);
}

static int64_t differences(const double *a, const double *b, int64_t n) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++)
    count += !(a[i] == b[i]);
  return count;
}

static int64_t real_differences(const real_pair_t *a, const real_pair_t *b, int64_t n) {
  double *first = real_host(&pair, a, TESTED), *second = real_host(&pair, b, TESTED);
  int64_t count = differences(first, second, n);
  memory_free(first);
  memory_free(second);
  return count;
}

static int64_t wide_differences(const wide_pair_t *a, const wide_pair_t *b, int64_t n) {
  double *first = wide_host(&pair, a, TESTED), *second = wide_host(&pair, b, TESTED);
  int64_t count = differences(first, second, n);
  memory_free(first);
  memory_free(second);
  return count;
}

/* ---- Linear operations ---- */

typedef struct {
  int64_t in;
  int32_t segments;
  int64_t out[LINEAR_SEGMENTS];
  int32_t rank; /* of adapters on all segments but the second; 0: none */
  bool is_part; /* u is given, and B has not all rows */
  weight_format_t format;
  bool residual, bias, wide;
  activation_t activation;
} linear_case_t;

static const linear_case_t linear_cases[] = {
    {.in = 64, .segments = 1, .out = {48}},
    {.in = 200, .segments = 3, .out = {40, 24, 16}, .rank = 8, .residual = true},
    {.in = 1320, .segments = 1, .out = {24}, .wide = true},
    {.in = 2056, .segments = 2, .out = {18, 130}, .rank = 72, .bias = true},
    {.in = 136, .segments = 1, .out = {33}, .bias = true, .residual = true, .activation = ACTIVATION_GELU},
    {.in = 136, .segments = 2, .out = {64, 32}, .rank = 16, .is_part = true},
    {.in = 128, .segments = 3, .out = {32, 16, 16}, .rank = 8, .format = WEIGHT_NF4},
    {.in = 37, .segments = 2, .out = {19, 5}, .rank = 3, .residual = true},
    {.in = 45, .segments = 1, .out = {21}, .format = WEIGHT_NF4, .bias = true},
    {.in = 264, .segments = 1, .out = {16}, .activation = ACTIVATION_QUICK_GELU},
};
enum { LINEAR_CASES = sizeof linear_cases / sizeof *linear_cases };

typedef struct {
  real_pair_t u, y, pre;
  wide_pair_t y_wide;
} linear_results_t;

typedef struct {
  int64_t out, adapters;
  real_pair_t x, w[LINEAR_SEGMENTS], a, b[LINEAR_SEGMENTS], bias, residual, u_given;
  weight_pair_t nf4[LINEAR_SEGMENTS];
} linear_arrays_t;

static bool has_adapter(const linear_case_t *c, int32_t segment) {
  return c->rank > 0 && segment != 1;
}

static linear_arrays_t linear_arrays(const linear_case_t *c) {
  linear_arrays_t v = {.x = real_random(&pair, ROWS * c->in, 1.0)};
  for (int32_t i = 0; i < c->segments; i++) {
    if (c->format == WEIGHT_NF4)
      v.nf4[i] = nf4_random(&pair, c->out[i], c->in, true);
    else
      v.w[i] = real_random(&pair, c->out[i] * c->in, 1.0);
    if (has_adapter(c, i)) v.b[i] = real_random(&pair, c->out[i] * c->rank, 1.0);
    v.out += c->out[i];
    v.adapters += has_adapter(c, i);
  }
  v.a = real_random(&pair, v.adapters * c->rank * c->in + 1, 1.0);
  v.u_given = real_random(&pair, ROWS * v.adapters * c->rank + 1, 10.0);
  v.bias = real_random(&pair, v.out, 1.0);
  v.residual = real_random(&pair, ROWS * v.out, 1.0);
  return v;
}

static linear_results_t linear_results(const linear_case_t *c, const linear_arrays_t *v) {
  return (linear_results_t){.u = real_untouched(&pair, ROWS * v->adapters * c->rank + 1),
                            .y = real_untouched(&pair, ROWS * v->out),
                            .pre = real_untouched(&pair, ROWS * v->out),
                            .y_wide = wide_untouched(&pair, ROWS * v->out)};
}

/* Rows BEGIN .. BEGIN + N - 1. */
static void linear_run(const linear_case_t *c, const linear_arrays_t *v, const linear_results_t *to,
                       int64_t begin, int64_t n) {
  device_t *device = pair.devices[TESTED];
  const int64_t ldu = v->adapters * c->rank;
  op_linear_t op = {.rows = n,
                    .in = c->in,
                    .out = v->out,
                    .x = real_at(device, v->x.on[TESTED], begin * c->in),
                    .ldx = c->in,
                    .segments = c->segments,
                    .lora_rank = c->rank,
                    .lora_scale = 0.3,
                    .ldu = ldu,
                    .activation = c->activation,
                    .y_wide = c->wide,
                    .ldy = v->out};
  int64_t adapter = 0;
  for (int32_t i = 0; i < c->segments; i++) {
    linear_segment_t *segment = &op.segment[i];
    segment->weight =
        c->format == WEIGHT_NF4 ? v->nf4[i].on[TESTED] : weight_real(v->w[i].on[TESTED], c->out[i], c->in);
    if (!has_adapter(c, i)) continue;
    const real_pair_t *u = c->is_part ? &v->u_given : &to->u;
    if (!c->is_part) segment->a = real_at(device, v->a.on[TESTED], adapter * c->rank * c->in);
    segment->b = v->b[i].on[TESTED];
    segment->b_begin = c->is_part ? 5 : 0;
    segment->b_rows = c->is_part ? c->out[i] - 9 : c->out[i];
    segment->u = real_at(device, u->on[TESTED], begin * ldu + adapter++ * c->rank);
  }
  if (c->bias) op.bias = v->bias.on[TESTED];
  if (c->residual) op.residual = real_at(device, v->residual.on[TESTED], begin * v->out);
  if (c->activation != ACTIVATION_NONE) op.pre = real_at(device, to->pre.on[TESTED], begin * v->out);
  op.y = c->wide ? (void *)wide_at(device, to->y_wide.on[TESTED], begin * v->out)
                 : (void *)real_at(device, to->y.on[TESTED], begin * v->out);
  EXPECT_OK(OP(device, linear, &op));
}

/* Of groups of few rows not all. */
static int64_t linear_differences(const linear_case_t *c) {
  static const struct {
    int64_t size, rows;
  } groups[] = {{1, 10}, {3, 20}, {8, 40}, {13, 65}, {32, 96}, {70, ROWS}, {128, ROWS}, {149, ROWS}};
  int64_t count = 0;
  linear_arrays_t v = linear_arrays(c);
  linear_results_t all = linear_results(c, &v);
  linear_run(c, &v, &all, 0, ROWS);
  for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
    linear_results_t some = linear_results(c, &v);
    const int64_t size = groups[g].size, rows = groups[g].rows;
    for (int64_t begin = 0; begin < rows; begin += size)
      linear_run(c, &v, &some, begin, rows - begin < size ? rows - begin : size);
    count += real_differences(&some.y, &all.y, rows * v.out);
    count += real_differences(&some.u, &all.u, rows * v.adapters * c->rank);
    count += real_differences(&some.pre, &all.pre, rows * v.out);
    count += wide_differences(&some.y_wide, &all.y_wide, rows * v.out);
  }
  pair_release(&pair);
  return count;
}

static int64_t linear_all(void) {
  int64_t count = 0;
  for (int i = 0; i < LINEAR_CASES; i++) {
    int64_t found = linear_differences(&linear_cases[i]);
    if (found > 0) printf("linear, case %d: %lld numbers depend on the batch\n", i, (long long)found);
    count += found;
  }
  return count;
}

/* ---- Attention ---- */

enum { SEQUENCES = 3 };
static const int32_t lengths[SEQUENCES] = {131, 1, 33};

typedef struct {
  int32_t heads, kv_heads, head_size, page_size;
  bool half; /* the cache is of bf16, beside fp32 */
} attention_case_t;

static const attention_case_t attention_cases[] = {
    {2, 1, 64, 16, false}, {3, 3, 128, 4, false},  {8, 2, 40, 5, false},  {2, 2, 6, 64, false},
    {20, 1, 16, 7, false}, {2, 1, 160, 16, false}, {4, 2, 128, 16, true}, {2, 1, 72, 3, true},
};
enum { ATTENTION_CASES = sizeof attention_cases / sizeof *attention_cases };

/* Queries, keys and values of all sequences, rounded as passes round them and stored in the cache. */
typedef struct {
  int32_t offsets[SEQUENCES + 1], max_pages;
  int64_t T, ld, q_cols;
  index_pair_t positions, slots, pages, lengths;
  real_pair_t qkv, out, out_paged, k_cache, v_cache;
  half_pair_t k_half, v_half;
} attention_arrays_t;

static attention_arrays_t attention_arrays(const attention_case_t *c) {
  static int32_t position[ROWS * 2], slot[ROWS * 2], length[ROWS * 2];
  attention_arrays_t v = {.q_cols = (int64_t)c->heads * c->head_size};
  int32_t taken = 0;
  for (int32_t s = 0; s < SEQUENCES; s++) {
    v.offsets[s + 1] = v.offsets[s] + lengths[s];
    int32_t pages = (lengths[s] + c->page_size - 1) / c->page_size;
    if (pages > v.max_pages) v.max_pages = pages;
  }
  v.T = v.offsets[SEQUENCES];
  int32_t *table = NULL;
  EXPECT_OK(memory_alloc(&table, ARENA_OTHER, (size_t)(v.T * v.max_pages), sizeof *table));
  for (int32_t s = SEQUENCES - 1; s >= 0; s--) {
    int32_t first = taken;
    taken += (lengths[s] + c->page_size - 1) / c->page_size;
    for (int32_t t = 0; t < lengths[s]; t++) {
      int32_t row = v.offsets[s] + t;
      position[row] = t;
      length[row] = t + 1;
      /* A sequence's pages are in descending order. */
      slot[row] = (taken - 1 - t / c->page_size) * c->page_size + t % c->page_size;
      for (int32_t p = 0; p < taken - first; p++)
        table[row * v.max_pages + p] = taken - 1 - p;
    }
  }
  v.positions = index_of(&pair, position, v.T);
  v.slots = index_of(&pair, slot, v.T);
  v.lengths = index_of(&pair, length, v.T);
  v.pages = index_of(&pair, table, v.T * v.max_pages);
  memory_free(table);
  int64_t cache = (int64_t)taken * c->page_size * c->kv_heads * c->head_size;
  v.ld = v.q_cols + (int64_t)2 * c->kv_heads * c->head_size;
  v.qkv = real_random(&pair, v.T * v.ld, 1.0);
  v.out = real_untouched(&pair, v.T * v.q_cols);
  v.out_paged = real_untouched(&pair, v.T * v.q_cols);
  v.k_cache = real_random(&pair, cache, 1.0);
  v.v_cache = real_random(&pair, cache, 1.0);
  double *halves = host_halves(&pair, cache, 1.0);
  v.k_half = half_of(&pair, halves, cache);
  v.v_half = half_of(&pair, halves, cache);
  memory_free(halves);
  op_rotary_t rotary = {.rows = v.T,
                        .heads = c->heads,
                        .kv_heads = c->kv_heads,
                        .head_size = c->head_size,
                        .qkv = v.qkv.on[TESTED],
                        .ld = v.ld,
                        .positions = v.positions.on[TESTED],
                        .base = 10000.0,
                        .half = c->half,
                        .page_size = c->page_size,
                        .slots = v.slots.on[TESTED],
                        .k_cache = c->half ? (void *)v.k_half.on[TESTED] : (void *)v.k_cache.on[TESTED],
                        .v_cache = c->half ? (void *)v.v_half.on[TESTED] : (void *)v.v_cache.on[TESTED]};
  EXPECT_OK(OP(pair.devices[TESTED], rotary, &rotary));
  return v;
}

/* Sequences FIRST .. FIRST + COUNT - 1 packed. */
static void attend_packed(const attention_case_t *c, const attention_arrays_t *v, const real_pair_t *out,
                          int32_t first, int32_t count) {
  device_t *device = pair.devices[TESTED];
  sequences_t sequences = sequences_create(device);
  int32_t offsets[SEQUENCES + 1];
  for (int32_t s = 0; s <= count; s++)
    offsets[s] = v->offsets[first + s] - v->offsets[first];
  const real_t *q = real_at(device, v->qkv.on[TESTED], v->offsets[first] * v->ld);
  EXPECT_OK(sequences_prepare(&sequences, count, offsets, c->heads, c->kv_heads, c->head_size));
  op_attention_t op = {
      .sequences = &sequences,
      .q = q,
      .k = real_at(device, q, v->q_cols),
      .v = real_at(device, q, v->q_cols + (int64_t)c->kv_heads * c->head_size),
      .ldq = v->ld,
      .ldkv = v->ld,
      .ldo = v->q_cols,
      .scale = 1.0 / sqrt((double)c->head_size),
      .causal = true,
      .out = real_at(device, out->on[TESTED], v->offsets[first] * v->q_cols),
  };
  EXPECT_OK(OP(device, attention, &op));
  EXPECT_OK(device_synchronize(device));
  sequences_free(&sequences);
}

/* Rows FIRST .. FIRST + COUNT - 1 as decode steps. */
static void attend_paged(const attention_case_t *c, const attention_arrays_t *v, int64_t first,
                         int64_t count) {
  device_t *device = pair.devices[TESTED];
  op_attention_paged_t op = {
      .rows = count,
      .heads = c->heads,
      .kv_heads = c->kv_heads,
      .head_size = c->head_size,
      .page_size = c->page_size,
      .max_pages = v->max_pages,
      .q = real_at(device, v->qkv.on[TESTED], first * v->ld),
      .ldq = v->ld,
      .half = c->half,
      .k_cache = c->half ? (const void *)v->k_half.on[TESTED] : (const void *)v->k_cache.on[TESTED],
      .v_cache = c->half ? (const void *)v->v_half.on[TESTED] : (const void *)v->v_cache.on[TESTED],
      .pages = index_at(v->pages.on[TESTED], first * v->max_pages),
      .lengths = index_at(v->lengths.on[TESTED], first),
      .scale = 1.0 / sqrt((double)c->head_size),
      .out = real_at(device, v->out_paged.on[TESTED], first * v->q_cols),
      .ldo = v->q_cols};
  EXPECT_OK(OP(device, attention_paged, &op));
}

static int64_t attention_differences(const attention_case_t *c) {
  attention_arrays_t v = attention_arrays(c);
  real_pair_t alone = real_untouched(&pair, v.T * v.q_cols);
  attend_packed(c, &v, &v.out, 0, SEQUENCES);
  for (int32_t s = 0; s < SEQUENCES; s++)
    attend_packed(c, &v, &alone, s, 1);
  attend_paged(c, &v, 0, 1);
  attend_paged(c, &v, 1, v.T - 1);
  int64_t count = real_differences(&alone, &v.out, v.T * v.q_cols) +
                  real_differences(&v.out_paged, &v.out, v.T * v.q_cols);
  pair_release(&pair);
  return count;
}

static int64_t attention_all(dtype_t real_type) {
  int64_t count = 0;
  for (int i = 0; i < ATTENTION_CASES; i++) {
    if (attention_cases[i].half && real_type == DTYPE_BF16) continue;
    int64_t found = attention_differences(&attention_cases[i]);
    if (found > 0) printf("attention, case %d: %lld numbers depend on the batch\n", i, (long long)found);
    count += found;
  }
  return count;
}

/* ---- What a row of logits comes to, drawn or given ---- */

static void vocab_run(const wide_pair_t *logits, int64_t count, int64_t first, int64_t rows,
                      const index_pair_t *targets, const wide_pair_t *records) {
  device_t *device = pair.devices[TESTED];
  const vocab_draw_t draw = {.greedy = true};
  op_vocab_statistics_t op = {.shard = {.rows = rows,
                                        .ld = count,
                                        .count = count,
                                        .logits = wide_at(device, logits->on[TESTED], first * count),
                                        .scale = 0.7},
                              .targets = targets ? index_at(targets->on[TESTED], first) : NULL,
                              .draw = targets ? NULL : &draw,
                              .records = wide_at(device, records->on[TESTED], first * VOCAB_RECORD)};
  EXPECT_OK(OP(device, vocab_statistics, &op));
}

static int64_t vocab_differences(int64_t count) {
  enum { N = 7 };
  wide_pair_t logits = wide_random(&pair, N * count, 3.0), drawn = wide_untouched(&pair, N * VOCAB_RECORD),
              given = wide_untouched(&pair, N * VOCAB_RECORD),
              alone = wide_untouched(&pair, N * VOCAB_RECORD);
  int32_t ids[N];
  vocab_run(&logits, count, 0, N, NULL, &drawn);
  double *records = wide_host(&pair, &drawn, TESTED);
  for (int i = 0; i < N; i++)
    ids[i] = (int32_t)records[i * VOCAB_RECORD + VOCAB_RECORD_ID];
  memory_free(records);
  index_pair_t targets = index_of(&pair, ids, N);
  vocab_run(&logits, count, 0, N, &targets, &given);
  for (int i = 0; i < N; i++)
    vocab_run(&logits, count, i, 1, &targets, &alone);
  int64_t found =
      wide_differences(&given, &drawn, N * VOCAB_RECORD) + wide_differences(&alone, &drawn, N * VOCAB_RECORD);
  pair_release(&pair);
  return found;
}

/* ---- Tests ---- */

static void check(dtype_t real_type) {
  open_pair(real_type, true);
  assert_int_equal(linear_all(), 0);
  assert_int_equal(attention_all(real_type), 0);
  assert_int_equal(vocab_differences(37), 0);
  assert_int_equal(vocab_differences(5000), 0);
  close_pair();
}

static void test_bf16(void **state) {
  (void)state;
  check(DTYPE_BF16);
}

static void test_f32(void **state) {
  (void)state;
  check(DTYPE_F32);
}

/* The tests see what they look for. In fp32 the host's library has one order of sums. */
static void test_without(void **state) {
  (void)state;
  open_pair(DTYPE_BF16, false);
  printf("without the mode, as expected:\n");
  assert_true(linear_all() > 0);
  assert_true(attention_all(DTYPE_BF16) > 0);
  close_pair();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_bf16), cmocka_unit_test(test_f32),
                                     cmocka_unit_test(test_without)};
  if (cuda_count() == 0) {
    printf("skipped: no GPU\n");
    return SKIPPED;
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}

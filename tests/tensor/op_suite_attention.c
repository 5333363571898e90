/* Cases of attention, packed and paged. */
#include "tensor/op_pair.h"

#include <math.h>

enum { SEQUENCES_MAX = 8 };

typedef struct {
  int32_t sequences, lengths[SEQUENCES_MAX], heads, kv_heads, head_size;
  bool causal;
  int32_t pad; /* makes rows begin at multiples of 8 elements, or not */
} op_suite_attention_case_t;

static const op_suite_attention_case_t attention_cases[] = {
    {1, {1}, 1, 1, 8, true, 0},
    {1, {5}, 2, 1, 16, false, 0},
    {3, {1, 17, 3}, 4, 4, 16, true, 0},
    {4, {33, 1, 64, 2}, 4, 2, 40, true, 0},
    {2, {70, 31}, 8, 1, 64, true, 0},
    {2, {65, 1}, 6, 3, 128, false, 0},
    {1, {130}, 3, 3, 24, true, 0},
    {3, {16, 0, 9}, 2, 2, 32, false, 0},
    {1, {197}, 2, 2, 64, false, 0},
    {5, {1, 1, 1, 1, 1}, 4, 2, 8, true, 0},
    {2, {150, 31}, 2, 1, 64, true, 4},
    {1, {135}, 2, 1, 128, true, 4},
    {2, {3, 129}, 1, 1, 72, false, 4},
    {2, {40, 9}, 2, 1, 160, true, 4},
    {1, {33}, 1, 1, 250, false, 0},
    {2, {200, 130}, 2, 1, 128, true, 4},
    {3, {128, 1, 140}, 2, 1, 128, false, 4},
    {2, {260, 64}, 2, 1, 64, false, 4},
    {1, {270}, 2, 1, 64, true, 4},
};
enum { ATTENTION_CASES = sizeof attention_cases / sizeof *attention_cases };

/* q, k and v lie side by side in rows of QKV, as one projection leaves them. */
typedef struct {
  int32_t offsets[SEQUENCES_MAX + 1];
  int64_t T, q_cols, kv_cols, ld, ldo;
  sequences_t sequences[DEVICES]; /* prepared for each */
  real_pair_t qkv, out;
  wide_pair_t lse;
} attention_arrays_t;

static attention_arrays_t attention_arrays(op_pair_t *pair, const op_suite_attention_case_t *c) {
  attention_arrays_t arrays = {.q_cols = (int64_t)c->heads * c->head_size,
                               .kv_cols = (int64_t)c->kv_heads * c->head_size};
  for (int32_t b = 0; b < c->sequences; b++)
    arrays.offsets[b + 1] = arrays.offsets[b] + c->lengths[b];
  arrays.T = arrays.offsets[c->sequences];
  arrays.ld = arrays.q_cols + 2 * arrays.kv_cols + 4 + c->pad;
  arrays.ldo = arrays.q_cols + 8;
  for (int s = 0; s < DEVICES; s++) {
    arrays.sequences[s] = sequences_create(pair->devices[s]);
    EXPECT_OK(sequences_prepare(&arrays.sequences[s], c->sequences, arrays.offsets, c->heads, c->kv_heads,
                                c->head_size));
  }
  arrays.qkv = real_random(pair, arrays.T * arrays.ld, 1.0);
  arrays.out = real_untouched(pair, arrays.T * arrays.ldo);
  arrays.lse = wide_untouched(pair, arrays.T * c->heads);
  return arrays;
}

static void attention_arrays_free(op_pair_t *pair, attention_arrays_t *arrays) {
  for (int s = 0; s < DEVICES; s++)
    sequences_free(&arrays->sequences[s]);
  pair_release(pair);
}

static op_attention_t attention_op(op_pair_t *pair, const op_suite_attention_case_t *c,
                                   const attention_arrays_t *arrays, int s) {
  const real_t *q = arrays->qkv.on[s];
  return (op_attention_t){.sequences = &arrays->sequences[s],
                          .q = q,
                          .k = real_at(pair->devices[s], q, arrays->q_cols),
                          .v = real_at(pair->devices[s], q, arrays->q_cols + arrays->kv_cols),
                          .ldq = arrays->ld,
                          .ldkv = arrays->ld,
                          .ldo = arrays->ldo,
                          .scale = 1.0 / sqrt((double)c->head_size),
                          .causal = c->causal,
                          .out = arrays->out.on[s],
                          .lse = arrays->lse.on[s]};
}

static void attention_run(op_pair_t *pair, const op_suite_attention_case_t *c, bool keep_lse) {
  attention_arrays_t arrays = attention_arrays(pair, c);
  for (int s = 0; s < DEVICES; s++) {
    op_attention_t op = attention_op(pair, c, &arrays, s);
    if (!keep_lse) op.lse = NULL;
    EXPECT_OK(OP(pair->devices[s], attention, &op));
  }
  real_expect_close(pair, "attention out", &arrays.out, 0, arrays.T, arrays.q_cols, arrays.ldo,
                    pair->tolerances.forward);
  wide_expect_close(pair, "attention lse", &arrays.lse, 0, arrays.T, c->heads, c->heads,
                    pair->tolerances.forward);
  attention_arrays_free(pair, &arrays);
}

void case_attention(void **state) {
  for (int i = 0; i < ATTENTION_CASES; i++) {
    attention_run(*state, &attention_cases[i], true);
    attention_run(*state, &attention_cases[i], false);
  }
}

static void attention_backward_run(op_pair_t *pair, const op_suite_attention_case_t *c) {
  attention_arrays_t arrays = attention_arrays(pair, c);
  real_pair_t dout = real_random(pair, arrays.T * arrays.ldo, 1.0),
              dqkv = real_untouched(pair, arrays.T * arrays.ld);
  for (int s = 0; s < DEVICES; s++) {
    op_attention_t forward = attention_op(pair, c, &arrays, s);
    EXPECT_OK(OP(pair->devices[s], attention, &forward));
    op_attention_backward_t op = {.forward = forward,
                                  .dout = dout.on[s],
                                  .dq = dqkv.on[s],
                                  .dk = real_at(pair->devices[s], dqkv.on[s], arrays.q_cols),
                                  .dv =
                                      real_at(pair->devices[s], dqkv.on[s], arrays.q_cols + arrays.kv_cols)};
    EXPECT_OK(OP(pair->devices[s], attention_backward, &op));
  }
  double tolerance = pair->tolerances.gradient;
  int64_t T = arrays.T, kv = arrays.kv_cols;
  real_expect_close(pair, "attention dq", &dqkv, 0, T, arrays.q_cols, arrays.ld, tolerance);
  real_expect_close(pair, "attention dk", &dqkv, arrays.q_cols, T, kv, arrays.ld, tolerance);
  real_expect_close(pair, "attention dv", &dqkv, arrays.q_cols + kv, T, kv, arrays.ld, tolerance);
  attention_arrays_free(pair, &arrays);
}

void case_attention_backward(void **state) {
  for (int i = 0; i < ATTENTION_CASES; i++)
    attention_backward_run(*state, &attention_cases[i]);
}

/* ---- The paged cache ---- */

enum { PAGES = 24, PAGES_MAX = 6, CACHE_ROWS_MAX = 256 };

typedef struct {
  int32_t sequences, lengths[SEQUENCES_MAX], heads, kv_heads, head_size, page_size;
} cache_case_t;

typedef struct {
  int32_t offsets[SEQUENCES_MAX + 1];
  int32_t slots[CACHE_ROWS_MAX], positions[CACHE_ROWS_MAX], last[SEQUENCES_MAX];
  int32_t pages[SEQUENCES_MAX * PAGES_MAX];
} cache_plan_t;

/* Deals pages out in random order, and gives each position its slot. */
static cache_plan_t cache_plan(op_pair_t *pair, const cache_case_t *c) {
  cache_plan_t plan = {0};
  int64_t order[PAGES];
  int next = 0;
  random_permutation(random_u32(&pair->random), RANDOM_TEST, 1, PAGES, order);
  for (int32_t b = 0; b < c->sequences; b++) {
    plan.offsets[b + 1] = plan.offsets[b] + c->lengths[b];
    plan.last[b] = plan.offsets[b + 1] - 1;
    for (int32_t p = 0; p < PAGES_MAX; p++)
      plan.pages[b * PAGES_MAX + p] = p * c->page_size < c->lengths[b] ? (int32_t)order[next++] : -1;
    for (int32_t j = 0; j < c->lengths[b]; j++) {
      plan.positions[plan.offsets[b] + j] = j;
      plan.slots[plan.offsets[b] + j] =
          plan.pages[b * PAGES_MAX + j / c->page_size] * c->page_size + j % c->page_size;
    }
  }
  assert_true(next <= PAGES);
  return plan;
}

/* Rows of keys and values into the cache, without queries; those after the last position are skipped by slot
 * -1. */
static void cache_fill(op_pair_t *pair, const cache_case_t *c, const real_pair_t *kv, int64_t rows,
                       const index_pair_t *positions, const index_pair_t *slots, const real_pair_t *k_cache,
                       const real_pair_t *v_cache) {
  for (int s = 0; s < DEVICES; s++) {
    op_rotary_t op = {.rows = rows,
                      .kv_heads = c->kv_heads,
                      .head_size = c->head_size,
                      .qkv = kv->on[s],
                      .ld = 2 * (int64_t)c->kv_heads * c->head_size,
                      .positions = positions->on[s],
                      .base = 10000.0,
                      .page_size = c->page_size,
                      .slots = slots->on[s],
                      .k_cache = k_cache->on[s],
                      .v_cache = v_cache->on[s]};
    EXPECT_OK(OP(pair->devices[s], rotary, &op));
  }
}

static void cache_run(op_pair_t *pair, const cache_case_t *c) {
  enum { SKIPPED = 2 };
  cache_plan_t plan = cache_plan(pair, c);
  int64_t T = plan.offsets[c->sequences], q_cols = (int64_t)c->heads * c->head_size;
  int64_t kv_cols = (int64_t)c->kv_heads * c->head_size, cache = PAGES * c->page_size * kv_cols,
          ldq = q_cols + 4;
  for (int i = 0; i < SKIPPED; i++)
    plan.slots[T + i] = -1;
  real_pair_t kv = real_random(pair, (T + SKIPPED) * 2 * kv_cols, 1.0),
              q = real_random(pair, c->sequences * ldq, 1.0);
  real_pair_t k_cache = real_untouched(pair, cache), v_cache = real_untouched(pair, cache);
  real_pair_t out = real_untouched(pair, c->sequences * ldq);
  index_pair_t positions = index_of(pair, plan.positions, T + SKIPPED),
               slots = index_of(pair, plan.slots, T + SKIPPED),
               lengths = index_of(pair, c->lengths, c->sequences);
  index_pair_t pages = index_of(pair, plan.pages, (int64_t)c->sequences * PAGES_MAX);
  cache_fill(pair, c, &kv, T + SKIPPED, &positions, &slots, &k_cache, &v_cache);
  real_expect_close(pair, "k_cache", &k_cache, 0, 1, cache, cache, pair->tolerances.forward);
  real_expect_close(pair, "v_cache", &v_cache, 0, 1, cache, cache, 0.0);
  for (int s = 0; s < DEVICES; s++) {
    op_attention_paged_t op = {.rows = c->sequences,
                               .heads = c->heads,
                               .kv_heads = c->kv_heads,
                               .head_size = c->head_size,
                               .page_size = c->page_size,
                               .max_pages = PAGES_MAX,
                               .q = q.on[s],
                               .ldq = ldq,
                               .k_cache = k_cache.on[s],
                               .v_cache = v_cache.on[s],
                               .pages = pages.on[s],
                               .lengths = lengths.on[s],
                               .scale = 1.0 / sqrt((double)c->head_size),
                               .out = out.on[s],
                               .ldo = ldq};
    EXPECT_OK(OP(pair->devices[s], attention_paged, &op));
  }
  real_expect_close(pair, "attention_paged", &out, 0, c->sequences, q_cols, ldq, pair->tolerances.forward);
  pair_release(pair);
}

/* The last row of packed attention and paged attention with that row's query are the same numbers. */
static void cache_agrees(op_pair_t *pair, const cache_case_t *c) {
  cache_plan_t plan = cache_plan(pair, c);
  op_suite_attention_case_t packed = {.sequences = c->sequences,
                                      .heads = c->heads,
                                      .kv_heads = c->kv_heads,
                                      .head_size = c->head_size,
                                      .causal = true};
  for (int32_t b = 0; b < c->sequences; b++)
    packed.lengths[b] = c->lengths[b];
  attention_arrays_t arrays = attention_arrays(pair, &packed);
  int64_t cache = PAGES * c->page_size * arrays.kv_cols;
  real_pair_t k_cache = real_untouched(pair, cache), v_cache = real_untouched(pair, cache);
  real_pair_t q = real_untouched(pair, c->sequences * arrays.q_cols),
              paged_out = real_untouched(pair, (int64_t)q.n);
  real_pair_t packed_out = real_untouched(pair, (int64_t)q.n);
  index_pair_t positions = index_of(pair, plan.positions, arrays.T),
               slots = index_of(pair, plan.slots, arrays.T),
               lengths = index_of(pair, c->lengths, c->sequences);
  index_pair_t pages = index_of(pair, plan.pages, (int64_t)c->sequences * PAGES_MAX);
  index_pair_t last = index_of(pair, plan.last, c->sequences);
  device_t *device = pair->devices[TESTED];
  op_rotary_t write = {.rows = arrays.T,
                       .heads = c->heads,
                       .kv_heads = c->kv_heads,
                       .head_size = c->head_size,
                       .qkv = arrays.qkv.on[TESTED],
                       .ld = arrays.ld,
                       .positions = positions.on[TESTED],
                       .base = 10000.0,
                       .page_size = c->page_size,
                       .slots = slots.on[TESTED],
                       .k_cache = k_cache.on[TESTED],
                       .v_cache = v_cache.on[TESTED]};
  EXPECT_OK(OP(device, rotary, &write));
  op_attention_t attention = attention_op(pair, &packed, &arrays, TESTED);
  EXPECT_OK(OP(device, attention, &attention));
  op_rows_t take = {
      .rows = c->sequences, .cols = arrays.q_cols, .index = last.on[TESTED], .ld_to = arrays.q_cols};
  take.from = attention.q, take.ld_from = arrays.ld, take.to = q.on[TESTED];
  EXPECT_OK(OP(device, rows_gather, &take));
  take.from = attention.out, take.ld_from = arrays.ldo, take.to = packed_out.on[TESTED];
  EXPECT_OK(OP(device, rows_gather, &take));
  op_attention_paged_t paged = {.rows = c->sequences,
                                .heads = c->heads,
                                .kv_heads = c->kv_heads,
                                .head_size = c->head_size,
                                .page_size = c->page_size,
                                .max_pages = PAGES_MAX,
                                .q = q.on[TESTED],
                                .ldq = arrays.q_cols,
                                .k_cache = k_cache.on[TESTED],
                                .v_cache = v_cache.on[TESTED],
                                .pages = pages.on[TESTED],
                                .lengths = lengths.on[TESTED],
                                .scale = attention.scale,
                                .out = paged_out.on[TESTED],
                                .ldo = arrays.q_cols};
  EXPECT_OK(OP(device, attention_paged, &paged));
  double *a = real_host(pair, &paged_out, TESTED), *b = real_host(pair, &packed_out, TESTED);
  double error = normalised_error(a, b, q.n);
  memory_free(a);
  memory_free(b);
  if (error > pair->tolerances.forward) fail_msg("paged and packed attention differ by %g", error);
  attention_arrays_free(pair, &arrays);
}

/* Some pages of several layers to others; all else stays. */
static void cache_copy_run(op_pair_t *pair, int32_t count, int32_t layers, int64_t page) {
  int64_t order[PAGES], layer = PAGES * page;
  int32_t from[PAGES], to[PAGES];
  random_permutation(random_u32(&pair->random), RANDOM_TEST, 2, PAGES, order);
  for (int32_t i = 0; i < count; i++) {
    from[i] = (int32_t)order[i / 2]; /* each twice */
    to[i] = (int32_t)order[count + i];
  }
  real_pair_t k = real_random(pair, layers * layer, 1.0), v = real_random(pair, layers * layer, 1.0);
  index_pair_t from_index = index_of(pair, from, count), to_index = index_of(pair, to, count);
  for (int s = 0; s < DEVICES; s++) {
    op_cache_copy_t op = {.count = count,
                          .layers = layers,
                          .layer_elements = layer,
                          .page_elements = page,
                          .from = from_index.on[s],
                          .to = to_index.on[s],
                          .k_cache = k.on[s],
                          .v_cache = v.on[s]};
    EXPECT_OK(OP(pair->devices[s], cache_copy, &op));
  }
  real_expect_close(pair, "cache_copy k", &k, 0, layers, layer, layer, 0.0);
  real_expect_close(pair, "cache_copy v", &v, 0, layers, layer, layer, 0.0);
  pair_release(pair);
}

void case_cache_copy(void **state) {
  cache_copy_run(*state, 1, 1, 1);
  cache_copy_run(*state, 5, 3, 24);
  cache_copy_run(*state, 12, 2, 128);
}

void case_cache(void **state) {
  static const cache_case_t padded[] = {{3, {4, 0, 9}, 4, 2, 16, 4}, {2, {0, 0}, 2, 2, 24, 16}};
  for (size_t i = 0; i < sizeof padded / sizeof *padded; i++)
    cache_run(*state, &padded[i]);
  static const cache_case_t cases[] = {
      {1, {1}, 1, 1, 8, 4},        {3, {1, 4, 13}, 4, 2, 16, 4}, {4, {33, 1, 16, 17}, 8, 1, 64, 16},
      {2, {90, 31}, 3, 3, 40, 16}, {2, {5, 60}, 4, 4, 128, 16},  {2, {180, 31}, 11, 1, 72, 32},
      {1, {140}, 4, 2, 160, 32},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    cache_run(*state, &cases[i]);
    cache_agrees(*state, &cases[i]);
  }
}

/* Cases of log-probabilities and sampling over a vocabulary that is whole on the oracle and split on the
 * tested device. */
#include "tensor/op_pair.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

enum { ROWS = 6, BUCKETS = VOCAB_BUCKETS, SHARDS_MAX = 3, RECORDS = ROWS * VOCAB_RECORD };

typedef struct {
  int64_t V, pad;
  int shards;
  double scale;
} vocab_case_t;

static const vocab_case_t vocab_cases[] = {
    {5, 0, 1, 1.0},          {37, 3, 3, 1.0}, {1000, 0, 2, 0.5},
    {1003, 5, 3, 1.0 / 0.7}, {2, 2, 3, 1.0},  {4096, 0, 1, 2.0},
};
enum { VOCAB_CASES = sizeof vocab_cases / sizeof *vocab_cases };

/* One part of the vocabulary on both devices. */
typedef struct {
  int64_t begin, count, ld;
  wide_pair_t logits;
} shard_t;

/* A whole vocabulary (shard 0 of 1) and its parts. The last parts may be empty, as where tp does not divide
 * V. */
typedef struct {
  double *logits; /* (ROWS, V), host */
  shard_t whole, parts[SHARDS_MAX];
} vocab_arrays_t;

static shard_t shard_make(op_pair_t *pair, const double *logits, int64_t V, int64_t begin, int64_t count,
                          int64_t ld) {
  shard_t shard = {.begin = begin, .count = count, .ld = ld};
  double *part = NULL;
  EXPECT_OK(memory_alloc(&part, ARENA_OTHER, (size_t)(ROWS * ld), sizeof *part));
  for (int64_t i = 0; i < ROWS; i++)
    for (int64_t j = 0; j < ld; j++)
      part[i * ld + j] =
          j < count ? logits[i * V + begin + j] : 1e6; /* padding would win if it were looked at */
  shard.logits = wide_of(pair, part, ROWS * ld);
  memory_free(part);
  return shard;
}

static vocab_arrays_t vocab_arrays(op_pair_t *pair, const vocab_case_t *c) {
  vocab_arrays_t arrays = {0};
  wide_pair_t random = wide_random(pair, ROWS * c->V, 3.0);
  arrays.logits = wide_host(pair, &random, TESTED);
  arrays.whole = shard_make(pair, arrays.logits, c->V, 0, c->V, c->V + c->pad);
  int64_t stride = (c->V + c->shards - 1) / c->shards;
  for (int p = 0; p < c->shards; p++) {
    int64_t begin = p * stride < c->V ? p * stride : c->V,
            end = begin + stride < c->V ? begin + stride : c->V;
    arrays.parts[p] = shard_make(pair, arrays.logits, c->V, begin, end - begin, stride + c->pad);
  }
  return arrays;
}

static vocab_shard_t shard_op(const shard_t *shard, double scale, int side) {
  return (vocab_shard_t){.rows = ROWS,
                         .ld = shard->ld,
                         .begin = shard->begin,
                         .count = shard->count,
                         .logits = shard->logits.on[side],
                         .scale = scale};
}

static void random_targets(op_pair_t *pair, int64_t V, int32_t *targets) {
  for (int i = 0; i < ROWS; i++)
    targets[i] = (int32_t)random_below(&pair->random, (uint32_t)V);
}

/* Largest scaled logits over all parts: found on the tested device, uploaded to both. */
static wide_pair_t vocab_max_of(op_pair_t *pair, const vocab_case_t *c, const vocab_arrays_t *arrays) {
  double max[ROWS];
  for (int i = 0; i < ROWS; i++)
    max[i] = -INFINITY;
  for (int p = 0; p < c->shards; p++) {
    wide_pair_t part = wide_untouched(pair, ROWS);
    op_vocab_max_t op = {.shard = shard_op(&arrays->parts[p], c->scale, TESTED), .max = part.on[TESTED]};
    EXPECT_OK(OP(pair->devices[TESTED], vocab_max, &op));
    double *values = wide_host(pair, &part, TESTED);
    for (int i = 0; i < ROWS; i++) {
      if (arrays->parts[p].count == 0) assert_true(isinf(values[i]) && values[i] < 0.0);
      max[i] = fmax(max[i], values[i]);
    }
    memory_free(values);
  }
  wide_pair_t whole = wide_untouched(pair, ROWS);
  op_vocab_max_t op = {.shard = shard_op(&arrays->whole, c->scale, ORACLE), .max = whole.on[ORACLE]};
  EXPECT_OK(OP(pair->devices[ORACLE], vocab_max, &op));
  double *oracle = wide_host(pair, &whole, ORACLE);
  double error = normalised_error(max, oracle, ROWS);
  memory_free(oracle);
  if (error > pair->tolerances.forward) fail_msg("vocab_max differs by %g", error);
  return wide_of(pair, max, ROWS);
}

/* What the records of all parts become on the tested device, and that of the whole on the oracle. */
typedef struct {
  wide_pair_t records, logprob, entropy, ties, normaliser;
  index_pair_t tokens;
} combined_t;

/* The operation on SIDE; of TARGETS where DRAW is NULL. SPARSE: nothing is asked for but log-probabilities.
 */
static void combine_side(op_pair_t *pair, const vocab_case_t *c, const vocab_arrays_t *arrays, int side,
                         const index_pair_t *targets, const vocab_draw_t *draw, bool sparse,
                         const combined_t *out) {
  device_t *device = pair->devices[side];
  int shards = side == ORACLE ? 1 : c->shards;
  for (int p = 0; p < shards; p++) {
    op_vocab_statistics_t op = {
        .shard = shard_op(side == ORACLE ? &arrays->whole : &arrays->parts[p], c->scale, side),
        .targets = draw ? NULL : targets->on[side],
        .draw = draw,
        .records = wide_at(device, out->records.on[side], p * RECORDS)};
    EXPECT_OK(OP(device, vocab_statistics, &op));
  }
  op_vocab_combine_t combine = {.shards = shards,
                                .rows = ROWS,
                                .records = out->records.on[side],
                                .logprob = out->logprob.on[side],
                                .entropy = sparse ? NULL : out->entropy.on[side],
                                .ties = sparse ? NULL : out->ties.on[side],
                                .normaliser = sparse ? NULL : out->normaliser.on[side],
                                .tokens = sparse ? NULL : out->tokens.on[side]};
  EXPECT_OK(OP(device, vocab_combine, &combine));
}

static combined_t combined_untouched(op_pair_t *pair) {
  static const int32_t none[ROWS];
  return (combined_t){.records = wide_untouched(pair, SHARDS_MAX * RECORDS),
                      .logprob = wide_untouched(pair, ROWS),
                      .entropy = wide_untouched(pair, ROWS),
                      .ties = wide_untouched(pair, ROWS),
                      .normaliser = wide_untouched(pair, 2 * ROWS),
                      .tokens = index_of(pair, none, ROWS)};
}

static combined_t combined_of(op_pair_t *pair, const vocab_case_t *c, const vocab_arrays_t *arrays,
                              const index_pair_t *targets, bool sparse) {
  combined_t out = combined_untouched(pair);
  for (int s = 0; s < DEVICES; s++)
    combine_side(pair, c, arrays, s, targets, NULL, sparse, &out);
  return out;
}

static void vocab_statistics_run(op_pair_t *pair, const vocab_case_t *c, bool sparse) {
  int32_t ids[ROWS];
  double tolerance = pair->tolerances.forward;
  vocab_arrays_t arrays = vocab_arrays(pair, c);
  random_targets(pair, c->V, ids);
  index_pair_t targets = index_of(pair, ids, ROWS);
  combined_t out = combined_of(pair, c, &arrays, &targets, sparse);
  wide_expect_close(pair, "vocab logprob", &out.logprob, 0, 1, ROWS, ROWS, tolerance);
  wide_expect_close(pair, "vocab entropy", &out.entropy, 0, 1, ROWS, ROWS, tolerance);
  wide_expect_close(pair, "vocab ties", &out.ties, 0, 1, ROWS, ROWS, 0.0);
  wide_expect_close(pair, "vocab max", &out.normaliser, 0, ROWS, 1, 2, tolerance);
  wide_expect_close(pair, "vocab sum", &out.normaliser, 1, ROWS, 1, 2, tolerance);
  int32_t *found = index_host(pair, &out.tokens, TESTED);
  for (int i = 0; i < ROWS && !sparse; i++)
    assert_int_equal(found[i], ids[i]);
  memory_free(found);
  memory_free(arrays.logits);
  pair_release(pair);
}

void case_vocab_statistics(void **state) {
  for (int i = 0; i < VOCAB_CASES; i++) {
    vocab_statistics_run(*state, &vocab_cases[i], false);
    vocab_statistics_run(*state, &vocab_cases[i], true);
  }
}

/* Ids whose logit is -inf, even all ids of a shard, have no part in the sums; a logit that is no number makes
 * all numbers of its row none, and its token -1. */
void case_vocab_infinities(void **state) {
  enum { V = 1200, SHARDS = 2, HALF = V / SHARDS };
  op_pair_t *pair = *state;
  vocab_case_t c = {V, 0, SHARDS, 0.5};
  vocab_arrays_t arrays = vocab_arrays(pair, &c);
  static const int32_t ids[ROWS] = {V - 1, V - 1, 0, V - 1, V - 1, 3};
  for (int j = 0; j < HALF; j++)
    arrays.logits[j] = arrays.logits[2 * V + HALF + j] = -INFINITY; /* of row 0 and of row 2 */
  for (int j = 0; j < V; j += 7)
    arrays.logits[V + j] = -INFINITY; /* of row 1 */
  arrays.logits[3 * V + 5] = NAN;
  arrays.logits[4 * V + 5] = INFINITY;
  arrays.whole = shard_make(pair, arrays.logits, V, 0, V, V);
  for (int p = 0; p < SHARDS; p++)
    arrays.parts[p] = shard_make(pair, arrays.logits, V, p * HALF, HALF, HALF);
  index_pair_t targets = index_of(pair, ids, ROWS);
  combined_t out = combined_of(pair, &c, &arrays, &targets, false);
  double *found[2][DEVICES];
  int32_t *tokens[DEVICES];
  for (int s = 0; s < DEVICES; s++) {
    found[0][s] = wide_host(pair, &out.logprob, s);
    found[1][s] = wide_host(pair, &out.entropy, s);
    tokens[s] = index_host(pair, &out.tokens, s);
  }
  for (int i = 0; i < ROWS; i++) {
    bool broken = i == 3 || i == 4;
    for (int s = 0; s < DEVICES; s++)
      assert_int_equal(tokens[s][i], broken ? -1 : ids[i]);
    for (int k = 0; k < 2; k++) {
      double tested = found[k][TESTED][i], oracle = found[k][ORACLE][i];
      if (broken ? isfinite(tested) || isfinite(oracle)
                 : !(fabs(tested - oracle) <= pair->tolerances.forward * fabs(oracle)))
        fail_msg("row %d: %g, expected %g", i, tested, oracle);
    }
  }
  for (int s = 0; s < DEVICES; s++) {
    memory_free(found[0][s]);
    memory_free(found[1][s]);
    memory_free(tokens[s]);
  }
  memory_free(arrays.logits);
  pair_release(pair);
}

/* Ids that are as likely as the likeliest are counted, at every place of a shard and beside its padding. */
void case_vocab_ties(void **state) {
  enum { TIED = 3, V = 1100, LD = 1104 };
  static const int counts[TIED] = {1, 7, V};
  op_pair_t *pair = *state;
  device_t *device = pair->devices[TESTED];
  double *logits = NULL, *found;
  EXPECT_OK(memory_alloc(&logits, ARENA_OTHER, TIED * LD, sizeof *logits));
  for (int r = 0; r < TIED; r++)
    for (int j = 0; j < LD; j++)
      logits[r * LD + j] = j >= V ? 2.7 : j * counts[r] % V < counts[r] ? 1.3 : 1.3 - 0.001 * (1 + j % 9);
  static const int32_t ids[TIED] = {0, 0, V - 1};
  wide_pair_t array = wide_of(pair, logits, TIED * LD), records = wide_untouched(pair, TIED * VOCAB_RECORD);
  wide_pair_t logprob = wide_untouched(pair, TIED), ties = wide_untouched(pair, TIED);
  const vocab_shard_t shard = {
      .rows = TIED, .ld = LD, .count = V, .logits = array.on[TESTED], .scale = 1.0 / 0.7};
  for (int likely = 0; likely < 2; likely++) {
    /* Id 1 is less likely than others, but in the row where all are alike. */
    static const int32_t others[TIED] = {1, 1, 1};
    index_pair_t targets = index_of(pair, likely ? ids : others, TIED);
    EXPECT_OK(OP(device, vocab_statistics,
                 &(op_vocab_statistics_t){
                     .shard = shard, .targets = targets.on[TESTED], .records = records.on[TESTED]}));
    EXPECT_OK(OP(device, vocab_combine,
                 &(op_vocab_combine_t){.shards = 1,
                                       .rows = TIED,
                                       .records = records.on[TESTED],
                                       .logprob = logprob.on[TESTED],
                                       .ties = ties.on[TESTED]}));
    found = wide_host(pair, &ties, TESTED);
    for (int r = 0; r < TIED; r++) {
      int32_t target = likely ? ids[r] : others[r];
      int expected = 0;
      for (int j = 0; j < V; j++)
        expected += logits[r * LD + j] == 1.3;
      assert_true(found[r] == (logits[r * LD + target] == 1.3 ? expected : 0));
    }
    memory_free(found);
  }
  memory_free(logits);
  pair_release(pair);
}

void case_vocab_backward(void **state) {
  op_pair_t *pair = *state;
  for (int k = 0; k < VOCAB_CASES; k++) {
    const vocab_case_t *c = &vocab_cases[k];
    int32_t ids[ROWS];
    vocab_arrays_t arrays = vocab_arrays(pair, c);
    random_targets(pair, c->V, ids);
    index_pair_t targets = index_of(pair, ids, ROWS);
    combined_t combined = combined_of(pair, c, &arrays, &targets, false);
    wide_pair_t dlogprob = wide_random(pair, ROWS, 1.0);
    for (int p = 0; p < c->shards; p++) {
      const shard_t *shard = &arrays.parts[p];
      real_pair_t dlogits = real_untouched(pair, ROWS * shard->ld);
      for (int s = 0; s < DEVICES; s++) {
        op_vocab_backward_t op = {.shard = shard_op(shard, c->scale, s),
                                  .normaliser = combined.normaliser.on[s],
                                  .dlogprob = dlogprob.on[s],
                                  .targets = targets.on[s],
                                  .dlogits = dlogits.on[s]};
        EXPECT_OK(OP(pair->devices[s], vocab_backward, &op));
      }
      real_expect_close(pair, "vocab dlogits", &dlogits, 0, ROWS, shard->ld, shard->ld,
                        pair->tolerances.gradient);
    }
    memory_free(arrays.logits);
    pair_release(pair);
  }
}

/* ---- Sampling ---- */

enum { SAMPLE_SEED = 99 };

/* The perturbed logit of an id, by the formula. */
static double perturbed(double z, uint64_t sample, int32_t position, int64_t id, bool greedy) {
  if (greedy) return z;
  random_words_t words =
      random_words(SAMPLE_SEED, RANDOM_SAMPLING, sample, (uint64_t)(uint32_t)position << 32 | (uint64_t)id);
  return z - log(-log(random_open_unit(words.v[0])));
}

typedef struct {
  uint64_t samples[ROWS];
  int32_t halves[2 * ROWS], positions[ROWS];
  uint32_t cut[ROWS];
  bool greedy, with_cut;
  vocab_ids_t ids;
} sample_plan_t;

static sample_plan_t sample_plan(op_pair_t *pair, const vocab_arrays_t *arrays, const vocab_case_t *c,
                                 bool greedy, bool with_cut) {
  sample_plan_t plan = {.greedy = greedy, .with_cut = with_cut};
  if (pair_flip(pair)) { /* the last run reaches beyond the vocabulary */
    int32_t V = (int32_t)c->V;
    plan.ids = (vocab_ids_t){2, {{0, 1 + V / 8}, {V / 2, V + 2}}};
    if (pair_flip(pair)) plan.ids.range[1].end = V / 2 + 1 + V / 4;
  }
  for (int i = 0; i < ROWS; i++) {
    plan.samples[i] = (uint64_t)random_u32(&pair->random) << 20;
    plan.halves[2 * i] = (int32_t)(uint32_t)plan.samples[i];
    plan.halves[2 * i + 1] = (int32_t)(plan.samples[i] >> 32);
    plan.positions[i] = (int32_t)random_below(&pair->random, 2000);
    /* The key of a logit drawn at random: about half of the ids qualify; none at all in the last row. */
    double z = c->scale * arrays->logits[i * c->V + random_below(&pair->random, (uint32_t)c->V)];
    plan.cut[i] = i == ROWS - 1 ? vocab_key(1e9f) : vocab_key((float)z);
  }
  return plan;
}

/* The winner of each row over the parts, and the log-probability with which it was drawn: to the bit that of
 * the same id as a given target. */
static void sample_winners(op_pair_t *pair, const vocab_case_t *c, const vocab_arrays_t *arrays,
                           const sample_plan_t *plan, double *value, int32_t *id) {
  int32_t cut_bits[ROWS], given[ROWS];
  memcpy(cut_bits, plan->cut, sizeof cut_bits);
  index_pair_t samples = index_of(pair, plan->halves, 2 * ROWS),
               positions = index_of(pair, plan->positions, ROWS);
  index_pair_t cut = index_of(pair, cut_bits, ROWS);
  const vocab_draw_t draw = {.seed = SAMPLE_SEED,
                             .greedy = plan->greedy,
                             .ids = plan->ids,
                             .samples = plan->greedy ? NULL : samples.on[TESTED],
                             .positions = plan->greedy ? NULL : positions.on[TESTED],
                             .cut = plan->with_cut ? cut.on[TESTED] : NULL};
  combined_t drawn = combined_untouched(pair), again = combined_untouched(pair);
  combine_side(pair, c, arrays, TESTED, NULL, &draw, false, &drawn);
  double *records = wide_host(pair, &drawn.records, TESTED);
  int32_t *tokens = index_host(pair, &drawn.tokens, TESTED);
  for (int i = 0; i < ROWS; i++) {
    value[i] = -INFINITY;
    id[i] = tokens[i];
    given[i] = tokens[i] >= 0 ? tokens[i] : 0;
    for (int p = 0; p < c->shards; p++)
      value[i] = fmax(value[i], records[p * RECORDS + i * VOCAB_RECORD + VOCAB_RECORD_VALUE]);
  }
  index_pair_t targets = index_of(pair, given, ROWS);
  combine_side(pair, c, arrays, TESTED, &targets, NULL, false, &again);
  double *one[] = {wide_host(pair, &drawn.logprob, TESTED), wide_host(pair, &drawn.entropy, TESTED)};
  double *two[] = {wide_host(pair, &again.logprob, TESTED), wide_host(pair, &again.entropy, TESTED)};
  for (int i = 0; i < ROWS; i++) {
    assert_true(id[i] < 0 ? isnan(one[0][i]) : one[0][i] == two[0][i]);
    assert_true(one[1][i] == two[1][i]);
  }
  for (int k = 0; k < 2; k++) {
    memory_free(one[k]);
    memory_free(two[k]);
  }
  memory_free(records);
  memory_free(tokens);
}

static bool may_be_drawn(const sample_plan_t *plan, int64_t id) {
  for (int32_t r = 0; r < plan->ids.count; r++)
    if (id >= plan->ids.range[r].begin && id < plan->ids.range[r].end) return true;
  return plan->ids.count == 0;
}

/* The device's winner must be the best by the formula, but for ids whose values are equal to rounding. */
static void sample_run(op_pair_t *pair, const vocab_case_t *c, bool greedy, bool with_cut) {
  vocab_arrays_t arrays = vocab_arrays(pair, c);
  sample_plan_t plan = sample_plan(pair, &arrays, c, greedy, with_cut);
  double value[ROWS];
  int32_t id[ROWS];
  sample_winners(pair, c, &arrays, &plan, value, id);
  for (int i = 0; i < ROWS; i++) {
    double best = -INFINITY, chosen = -INFINITY;
    for (int64_t j = 0; j < c->V; j++) {
      double z = c->scale * arrays.logits[i * c->V + j];
      if (!may_be_drawn(&plan, j) || (with_cut && vocab_key((float)z) < plan.cut[i])) continue;
      double candidate = perturbed(z, plan.samples[i], plan.positions[i], j, greedy);
      best = fmax(best, candidate);
      if (j == id[i]) chosen = candidate;
    }
    if (best == -INFINITY) {
      assert_int_equal(id[i], -1);
      continue;
    }
    double tolerance = pair->tolerances.forward * fmax(1.0, fabs(best));
    if (!(chosen >= best - tolerance))
      fail_msg("row %d: id %d has %g, the best is %g", i, id[i], chosen, best);
    if (!(fabs(value[i] - best) <= tolerance))
      fail_msg("row %d: value %.9g, expected %.9g", i, value[i], best);
  }
  memory_free(arrays.logits);
  pair_release(pair);
}

/* Equal values: the smallest id wins. */
static void sample_ties(op_pair_t *pair) {
  static const double logits[] = {1, 3, 2, 3, 3, 0};
  enum { V = 6 };
  wide_pair_t all = wide_of(pair, logits, V), records = wide_untouched(pair, VOCAB_RECORD);
  const vocab_draw_t draw = {.greedy = true};
  op_vocab_statistics_t op = {
      .shard = {.rows = 1, .ld = V, .begin = 10, .count = V, .logits = all.on[TESTED], .scale = 1.0},
      .draw = &draw,
      .records = records.on[TESTED]};
  EXPECT_OK(OP(pair->devices[TESTED], vocab_statistics, &op));
  double *record = wide_host(pair, &records, TESTED);
  assert_true(record[VOCAB_RECORD_ID] == 11 && record[VOCAB_RECORD_VALUE] == 3.0);
  assert_true(record[VOCAB_RECORD_MAX] == 3.0 && record[VOCAB_RECORD_EQUAL] == 3.0);
  assert_true(record[VOCAB_RECORD_BELOW] == 0.0);
  memory_free(record);
  pair_release(pair);
}

void case_sample(void **state) {
  for (int i = 0; i < VOCAB_CASES; i++) {
    sample_run(*state, &vocab_cases[i], false, false);
    sample_run(*state, &vocab_cases[i], true, false);
  }
  sample_ties(*state);
}

/* Scales that are powers of two, so that every device rounds the scaled logits alike and the keys are the
 * same bits. */
void case_sample_cut(void **state) {
  for (int i = 0; i < VOCAB_CASES; i++) {
    vocab_case_t c = vocab_cases[i];
    c.scale = i % 2 ? 0.5 : 1.0;
    sample_run(*state, &c, false, true);
    sample_run(*state, &c, true, true);
  }
}

static void histogram_run(op_pair_t *pair, const vocab_case_t *c) {
  vocab_arrays_t arrays = vocab_arrays(pair, c);
  wide_pair_t max = vocab_max_of(pair, c, &arrays);
  const vocab_ids_t ids = {2, {{1, 2 + (int32_t)c->V / 3}, {(int32_t)c->V / 2 + 2, 5000}}};
  for (int32_t shift = 24; shift >= 0; shift -= 8) {
    int32_t bits[ROWS];
    for (int i = 0; i < ROWS; i++) { /* the prefix of a logit drawn at random */
      double z = c->scale * arrays.logits[i * c->V + random_below(&pair->random, (uint32_t)c->V)];
      uint32_t prefix = shift == 24 ? 0 : vocab_key((float)z) >> (shift + 8);
      memcpy(&bits[i], &prefix, sizeof prefix);
    }
    index_pair_t prefixes = index_of(pair, bits, ROWS);
    for (int p = 0; p < c->shards; p++) {
      wide_pair_t histogram = wide_untouched(pair, ROWS * BUCKETS * 2);
      for (int s = 0; s < DEVICES; s++) {
        op_vocab_histogram_t op = {.shard = shard_op(&arrays.parts[p], c->scale, s),
                                   .ids = shift == 16 ? &ids : NULL,
                                   .max = max.on[s],
                                   .prefix = prefixes.on[s],
                                   .shift = shift,
                                   .histogram = histogram.on[s]};
        EXPECT_OK(OP(pair->devices[s], vocab_histogram, &op));
      }
      /* Counts and masses are every second element. */
      wide_expect_close(pair, "histogram counts", &histogram, 0, ROWS * BUCKETS, 1, 2, 0.0);
      wide_expect_close(pair, "histogram masses", &histogram, 1, ROWS * BUCKETS, 1, 2,
                        pair->tolerances.forward);
    }
  }
  memory_free(arrays.logits);
  pair_release(pair);
}

void case_vocab_histogram(void **state) {
  for (int i = 0; i < VOCAB_CASES; i++) {
    vocab_case_t c = vocab_cases[i];
    c.scale = i % 2 ? 0.5 : 1.0;
    histogram_run(*state, &c);
  }
}

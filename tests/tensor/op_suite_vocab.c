/* Cases of log-probabilities and sampling over a vocabulary that is whole on the oracle and split on the
 * tested device. */
#include "tensor/op_pair.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

enum { ROWS = 6, BUCKETS = 256, SHARDS_MAX = 3 };

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

/* Sums over all parts on the tested device, over the whole on the oracle: added on the host as tp would. */
static wide_pair_t vocab_sums_of(op_pair_t *pair, const vocab_case_t *c, const vocab_arrays_t *arrays,
                                 const wide_pair_t *max, const index_pair_t *targets) {
  double total[ROWS * VOCAB_SUMS] = {0};
  for (int p = 0; p < c->shards; p++) {
    wide_pair_t part = wide_untouched(pair, ROWS * VOCAB_SUMS);
    op_vocab_sums_t op = {.shard = shard_op(&arrays->parts[p], c->scale, TESTED),
                          .max = max->on[TESTED],
                          .targets = targets->on[TESTED],
                          .sums = part.on[TESTED]};
    EXPECT_OK(OP(pair->devices[TESTED], vocab_sums, &op));
    double *values = wide_host(pair, &part, TESTED);
    for (int i = 0; i < ROWS * VOCAB_SUMS; i++)
      total[i] += values[i];
    memory_free(values);
  }
  wide_pair_t sums = wide_of(pair, total, ROWS * VOCAB_SUMS);
  op_vocab_sums_t op = {.shard = shard_op(&arrays->whole, c->scale, ORACLE),
                        .max = max->on[ORACLE],
                        .targets = targets->on[ORACLE],
                        .sums = sums.on[ORACLE]};
  EXPECT_OK(OP(pair->devices[ORACLE], vocab_sums, &op));
  wide_expect_close(pair, "vocab_sums", &sums, 0, ROWS, VOCAB_SUMS - 1, VOCAB_SUMS,
                    pair->tolerances.forward); /* the number of equals: below */
  return sums;
}

static void vocab_logprob_run(op_pair_t *pair, const vocab_case_t *c, bool with_entropy) {
  int32_t ids[ROWS];
  vocab_arrays_t arrays = vocab_arrays(pair, c);
  random_targets(pair, c->V, ids);
  index_pair_t targets = index_of(pair, ids, ROWS);
  wide_pair_t max = vocab_max_of(pair, c, &arrays), sums = vocab_sums_of(pair, c, &arrays, &max, &targets);
  wide_pair_t logprob = wide_untouched(pair, ROWS), entropy = wide_untouched(pair, ROWS);
  for (int s = 0; s < DEVICES; s++) {
    op_vocab_logprob_t op = {.rows = ROWS,
                             .sums = sums.on[s],
                             .logprob = logprob.on[s],
                             .entropy = with_entropy ? entropy.on[s] : NULL};
    EXPECT_OK(OP(pair->devices[s], vocab_logprob, &op));
  }
  wide_expect_close(pair, "vocab_logprob", &logprob, 0, 1, ROWS, ROWS, pair->tolerances.forward);
  wide_expect_close(pair, "vocab entropy", &entropy, 0, 1, ROWS, ROWS, pair->tolerances.forward);
  memory_free(arrays.logits);
  pair_release(pair);
}

void case_vocab_logprob(void **state) {
  for (int i = 0; i < VOCAB_CASES; i++) {
    vocab_logprob_run(*state, &vocab_cases[i], true);
    vocab_logprob_run(*state, &vocab_cases[i], false);
  }
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
  wide_pair_t array = wide_of(pair, logits, TIED * LD), max = wide_untouched(pair, TIED);
  wide_pair_t sums = wide_untouched(pair, TIED * VOCAB_SUMS);
  index_pair_t targets = index_of(pair, ids, TIED);
  const vocab_shard_t shard = {
      .rows = TIED, .ld = LD, .count = V, .logits = array.on[TESTED], .scale = 1.0 / 0.7};
  EXPECT_OK(OP(device, vocab_max, &(op_vocab_max_t){.shard = shard, .max = max.on[TESTED]}));
  EXPECT_OK(
      OP(device, vocab_sums,
         &(op_vocab_sums_t){
             .shard = shard, .max = max.on[TESTED], .targets = targets.on[TESTED], .sums = sums.on[TESTED]}));
  found = wide_host(pair, &sums, TESTED);
  for (int r = 0; r < TIED; r++) {
    int expected = 0;
    for (int j = 0; j < V; j++)
      expected += logits[r * LD + j] == 1.3;
    assert_true(expected >= 1 && found[r * VOCAB_SUMS + 3] == expected);
  }
  memory_free(found);
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
    wide_pair_t max = vocab_max_of(pair, c, &arrays), sums = vocab_sums_of(pair, c, &arrays, &max, &targets);
    wide_pair_t dlogprob = wide_random(pair, ROWS, 1.0);
    for (int p = 0; p < c->shards; p++) {
      const shard_t *shard = &arrays.parts[p];
      real_pair_t dlogits = real_untouched(pair, ROWS * shard->ld);
      for (int s = 0; s < DEVICES; s++) {
        op_vocab_backward_t op = {.shard = shard_op(shard, c->scale, s),
                                  .max = max.on[s],
                                  .sums = sums.on[s],
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
} sample_plan_t;

static sample_plan_t sample_plan(op_pair_t *pair, const vocab_arrays_t *arrays, const vocab_case_t *c,
                                 bool greedy, bool with_cut) {
  sample_plan_t plan = {.greedy = greedy, .with_cut = with_cut};
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

/* The winner of each row over the parts, by value and then by smallest id. */
static void sample_winners(op_pair_t *pair, const vocab_case_t *c, const vocab_arrays_t *arrays,
                           const sample_plan_t *plan, double *value, int32_t *id) {
  int32_t cut_bits[ROWS];
  memcpy(cut_bits, plan->cut, sizeof cut_bits);
  index_pair_t samples = index_of(pair, plan->halves, 2 * ROWS),
               positions = index_of(pair, plan->positions, ROWS);
  index_pair_t cut = index_of(pair, cut_bits, ROWS);
  for (int i = 0; i < ROWS; i++) {
    value[i] = -INFINITY;
    id[i] = -1;
  }
  for (int p = 0; p < c->shards; p++) {
    int32_t blank[ROWS] = {0};
    wide_pair_t values = wide_untouched(pair, ROWS);
    index_pair_t ids = index_of(pair, blank, ROWS);
    op_sample_t op = {.shard = shard_op(&arrays->parts[p], c->scale, TESTED),
                      .seed = SAMPLE_SEED,
                      .samples = samples.on[TESTED],
                      .positions = positions.on[TESTED],
                      .cut = plan->with_cut ? cut.on[TESTED] : NULL,
                      .greedy = plan->greedy,
                      .value = values.on[TESTED],
                      .id = ids.on[TESTED]};
    EXPECT_OK(OP(pair->devices[TESTED], sample, &op));
    double *part_value = wide_host(pair, &values, TESTED);
    int32_t *part_id = index_host(pair, &ids, TESTED);
    for (int i = 0; i < ROWS; i++)
      if (part_id[i] >= 0 && part_value[i] > value[i]) {
        value[i] = part_value[i];
        id[i] = part_id[i];
      }
    memory_free(part_value);
    memory_free(part_id);
  }
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
      if (with_cut && vocab_key((float)z) < plan.cut[i]) continue;
      double candidate = perturbed(z, plan.samples[i], plan.positions[i], j, greedy);
      best = fmax(best, candidate);
      if (j == id[i]) chosen = candidate;
    }
    if (with_cut && i == ROWS - 1) {
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
  int32_t blank[] = {7};
  wide_pair_t all = wide_of(pair, logits, V), value = wide_untouched(pair, 1);
  index_pair_t id = index_of(pair, blank, 1);
  op_sample_t op = {
      .shard = {.rows = 1, .ld = V, .begin = 10, .count = V, .logits = all.on[TESTED], .scale = 1.0},
      .greedy = true,
      .value = value.on[TESTED],
      .id = id.on[TESTED]};
  EXPECT_OK(OP(pair->devices[TESTED], sample, &op));
  int32_t *winner = index_host(pair, &id, TESTED);
  assert_int_equal(winner[0], 11);
  memory_free(winner);
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

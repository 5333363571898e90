/* Operations on a shard of the vocabulary, row by row: nothing of the shard's size is kept but one row of
 * scratch. */
#include "base/random.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/simd/vector.h"

#include <math.h>

enum { RUN = 1024 }; /* sums run in float within a run, in double over the runs */

static const float *logits_of(const vocab_shard_t *shard, int64_t row) {
  return (const float *)shard->logits + row * shard->ld;
}

static int64_t run_end(const vocab_shard_t *shard, int64_t begin) {
  return begin + RUN < shard->count ? begin + RUN : shard->count;
}

static float row_max(const vocab_shard_t *shard, const float *logits) {
  float scale = (float)shard->scale, max = -INFINITY;
#pragma omp simd reduction(max : max)
  for (int64_t i = 0; i < shard->count; i++)
    max = scale * logits[i] > max ? scale * logits[i] : max;
  return max;
}

static void vocab_max_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_vocab_max_t *op = argument;
  (void)scratch;
  for (int64_t r = begin; r < end; r++)
    ((float *)op->max)[r] = row_max(&op->shard, logits_of(&op->shard, r));
}

/* Sums of a row, and how many of its ids are as likely as the likeliest. */
typedef struct {
  double sum, weighted;
  int64_t equal;
} row_sums_t;

ALWAYS_INLINE row_sums_t vocab_sums(const vocab_shard_t *shard, const float *logits, float max) {
  float scale = (float)shard->scale, from = max > -INFINITY ? max : 0.0f;
  double total = 0.0, weighted_total = 0.0;
  int64_t equal = 0;
  for (int64_t run = 0; run < shard->count; run += RUN) {
    float sum = 0.0f, weighted = 0.0f;
    int64_t stop = run_end(shard, run);
#pragma omp simd reduction(+ : sum, weighted)
    for (int64_t i = run; i < stop; i++) {
      float z = scale * logits[i] - from, e = exp_float(z);
      sum += e;
      weighted += e > 0.0f ? e * z : 0.0f;
    }
    total += sum;
    weighted_total += weighted;
#pragma omp simd reduction(+ : equal)
    for (int64_t i = run; i < stop; i++)
      equal += scale * logits[i] >= max;
  }
  return (row_sums_t){total, weighted_total, equal};
}

static void vocab_backward_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_vocab_backward_t *op = argument;
  const vocab_shard_t *shard = &op->shard;
  float scale = (float)shard->scale;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    const float *logits = logits_of(shard, r);
    float *dlogits = (float *)op->dlogits + r * shard->ld;
    float max = ((const float *)op->normaliser)[2 * r], gradient = scale * ((const float *)op->dlogprob)[r];
    float factor = -gradient / ((const float *)op->normaliser)[2 * r + 1];
#pragma omp simd
    for (int64_t i = 0; i < shard->count; i++)
      dlogits[i] = factor * exp_float(scale * logits[i] - max);
    memset(dlogits + shard->count, 0, (size_t)(shard->ld - shard->count) * sizeof *dlogits);
    int64_t target = ((const int32_t *)op->targets)[r] - shard->begin;
    if (target >= 0 && target < shard->count) dlogits[target] += gradient;
  }
}

typedef struct {
  double mass[VOCAB_BUCKETS];
  int32_t count[VOCAB_BUCKETS];
} buckets_t;

/* Adds the N logits to the row's buckets, where they continue PREFIX. */
static void histogram_range(const op_vocab_histogram_t *op, const float *logits, int64_t n, float max,
                            uint32_t prefix, buckets_t *buckets) {
  float scale = (float)op->shard.scale;
  for (int64_t i = 0; i < n; i++) {
    float z = scale * logits[i];
    uint32_t key = vocab_key(z) >> op->shift;
    if (key >> 8 != prefix) continue;
    buckets->count[key & 255]++;
    buckets->mass[key & 255] += exp_float(z - max);
  }
}

static void vocab_histogram_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_vocab_histogram_t *op = argument;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    const float *logits = logits_of(&op->shard, r);
    float *histogram = (float *)op->histogram + r * VOCAB_BUCKETS * 2, max = ((const float *)op->max)[r];
    uint32_t prefix = op->shift == 24 ? 0 : (uint32_t)((const int32_t *)op->prefix)[r];
    buckets_t buckets = {0};
    for (int32_t range = 0; range < vocab_range_count(op->ids); range++) {
      int64_t first, stop;
      vocab_range_places(&op->shard, op->ids, range, &first, &stop);
      if (first < stop) histogram_range(op, logits + first, stop - first, max, prefix, &buckets);
    }
    for (int bucket = 0; bucket < VOCAB_BUCKETS; bucket++) {
      histogram[2 * bucket] = (float)buckets.count[bucket];
      histogram[2 * bucket + 1] = (float)buckets.mass[bucket];
    }
  }
}

/* Word 0 of Philox 4x32-10 (as base/random.h's random_words) for ids first .. first + n - 1: only the third
 * word of the counter differs, so that the rounds run over many ids at once. */
static void philox_words(uint64_t key, uint64_t sample, uint32_t position, uint32_t first, int64_t n,
                         uint32_t *words) {
  const uint32_t sample_low = (uint32_t)sample, sample_high = (uint32_t)(sample >> 32);
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    uint32_t a = sample_low, b = sample_high, c = first + (uint32_t)i, d = position;
    uint32_t key_low = (uint32_t)key, key_high = (uint32_t)(key >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
      uint64_t product_a = (uint64_t)a * 0xD2511F53u, product_c = (uint64_t)c * 0xCD9E8D57u;
      a = (uint32_t)(product_c >> 32) ^ b ^ key_low;
      b = (uint32_t)product_c;
      c = (uint32_t)(product_a >> 32) ^ d ^ key_high;
      d = (uint32_t)product_a;
      key_low += 0x9E3779B9u;
      key_high += 0xBB67AE85u;
    }
    words[i] = a;
  }
}

/* -log(-log(u)), u = (word + 1/2) / 2^32, within 2e-6. Near u = 1, where the winners are, -log(u) comes from
 * 1 - u, which a float holds exactly enough: -log(1 - v) = 2 atanh(v / (2 - v)). */
ALWAYS_INLINE float gumbel_float(uint32_t word) {
  uint32_t rest = ~word;
  int32_t least = (int32_t)(word < rest ? word : rest);
  float t = ((float)least + 0.5f) * 0x1p-32f;
  float s = t / (2.0f - t), z = s * s;
  float series = 1.0f / 13.0f;
  series = series * z + 1.0f / 11.0f;
  series = series * z + 1.0f / 9.0f;
  series = series * z + 1.0f / 7.0f;
  series = series * z + 1.0f / 5.0f;
  series = series * z + 1.0f / 3.0f;
  series = series * z + 1.0f;
  float far = 2.0f * s * series;
  float near = -log_float(t);
  return -log_float(word < rest ? near : far);
}

/* What one row is drawn with. */
typedef struct {
  uint64_t seed, sample;
  uint32_t position, cut;
  bool greedy;
  double scale;
} row_draw_t;

static row_draw_t row_draw(const vocab_draw_t *draw, double scale, int64_t r) {
  row_draw_t row = {.seed = draw->seed, .greedy = draw->greedy, .scale = scale};
  if (draw->cut) row.cut = (uint32_t)((const int32_t *)draw->cut)[r];
  if (draw->greedy) return row;
  const int32_t *halves = (const int32_t *)draw->samples + 2 * r;
  row.sample = (uint64_t)(uint32_t)halves[1] << 32 | (uint32_t)halves[0];
  row.position = (uint32_t)((const int32_t *)draw->positions)[r];
  return row;
}

/* Approximate values z + noise of N logits, the ids from FIRST on, into VALUES (n), -inf where an id may not
 * take part; returns the largest. */
static float sample_values(const row_draw_t *row, const float *logits, int64_t first, int64_t count,
                           float *values) {
  uint64_t key = row->seed ^ ((uint64_t)RANDOM_SAMPLING << 56);
  uint32_t cut = row->cut;
  float scale = (float)row->scale, max = -INFINITY;
  uint32_t words[RUN];
  for (int64_t run = 0; run < count; run += RUN) {
    int64_t n = count - run < RUN ? count - run : RUN;
    const float *from = logits + run;
    float *to = values + run;
    if (row->greedy) {
#pragma omp simd
      for (int64_t i = 0; i < n; i++)
        to[i] = scale * from[i];
    } else {
      philox_words(key, row->sample, row->position, (uint32_t)(first + run), n, words);
#pragma omp simd
      for (int64_t i = 0; i < n; i++)
        to[i] = scale * from[i] + gumbel_float(words[i]);
    }
    if (cut > 0) {
#pragma omp simd
      for (int64_t i = 0; i < n; i++)
        to[i] = vocab_key(scale * from[i]) >= cut ? to[i] : -INFINITY;
    }
#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < n; i++)
      max = to[i] > max ? to[i] : max;
  }
  return max;
}

/* The value of one id in double, rounded to what is returned: equal on any split of the vocabulary. */
static float exact_value(const row_draw_t *row, int64_t id, float logit) {
  double z = row->scale * (double)logit;
  if (row->greedy) return (float)z;
  random_words_t words =
      random_words(row->seed, RANDOM_SAMPLING, row->sample, (uint64_t)row->position << 32 | (uint32_t)id);
  return (float)(z - log(-log(random_open_unit(words.v[0]))));
}

/* An id and the value that it was chosen for; -1 and -inf: none. */
typedef struct {
  int64_t id;
  float value;
} winner_t;

/* The best of COUNT logits, the ids from FIRST on, to *BEST where it is better. Approximate values choose the
 * few candidates that may win, exact ones the winner. */
static void sample_range(const row_draw_t *row, const float *logits, int64_t first, int64_t count,
                         float *values, winner_t *best) {
  float max = sample_values(row, logits, first, count, values);
  float threshold = max - (2e-5f + 1e-6f * fabsf(max));
  for (int64_t run = 0; run < count && max > -INFINITY; run += RUN) {
    int64_t stop = run + RUN < count ? run + RUN : count, hits = 0;
#pragma omp simd reduction(+ : hits)
    for (int64_t i = run; i < stop; i++)
      hits += values[i] >= threshold;
    for (int64_t i = run; i < stop && hits > 0; i++) {
      if (!(values[i] >= threshold)) continue;
      float value = exact_value(row, first + i, logits[i]);
      if (value > best->value) *best = (winner_t){first + i, value};
      hits--;
    }
  }
}

static winner_t row_winner(const op_vocab_statistics_t *op, int64_t r, const float *logits, float *values) {
  const vocab_shard_t *shard = &op->shard;
  winner_t best = {-1, -INFINITY};
  if (op->targets) {
    int64_t target = ((const int32_t *)op->targets)[r], place = target - shard->begin;
    if (place >= 0 && place < shard->count) best = (winner_t){target, (float)shard->scale * logits[place]};
    return best;
  }
  const row_draw_t row = row_draw(op->draw, shard->scale, r);
  for (int32_t range = 0; range < vocab_range_count(&op->draw->ids); range++) {
    int64_t first, stop;
    vocab_range_places(shard, &op->draw->ids, range, &first, &stop);
    if (first < stop) sample_range(&row, logits + first, shard->begin + first, stop - first, values, &best);
  }
  return best;
}

static void vocab_statistics_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_vocab_statistics_t *op = argument;
  const vocab_shard_t *shard = &op->shard;
  float scale = (float)shard->scale;
  for (int64_t r = begin; r < end; r++) {
    const float *logits = logits_of(shard, r);
    float *record = (float *)op->records + VOCAB_RECORD * r, max = row_max(shard, logits);
    row_sums_t sums = vocab_sums(shard, logits, max);
    winner_t target = row_winner(op, r, logits, scratch);
    record[VOCAB_RECORD_MAX] = max;
    record[VOCAB_RECORD_SUM] = (float)sums.sum;
    record[VOCAB_RECORD_WEIGHTED] = (float)sums.weighted;
    record[VOCAB_RECORD_EQUAL] = (float)sums.equal;
    record[VOCAB_RECORD_BELOW] = target.id >= 0 ? scale * logits[target.id - shard->begin] - max : 0.0f;
    record[VOCAB_RECORD_VALUE] = target.value;
    record[VOCAB_RECORD_ID] = (float)target.id;
  }
}

void SIMD_NAME(kernels_fill_vocab)(kernels_t *table) {
  table->vocab_max = vocab_max_simd;
  table->vocab_statistics = vocab_statistics_simd;
  table->vocab_backward = vocab_backward_simd;
  table->vocab_histogram = vocab_histogram_simd;
}

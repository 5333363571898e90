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

static void vocab_max_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_vocab_max_t *op = argument;
  float scale = (float)op->shard.scale;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    const float *logits = logits_of(&op->shard, r);
    float max = -INFINITY;
#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < op->shard.count; i++)
      max = scale * logits[i] > max ? scale * logits[i] : max;
    ((float *)op->max)[r] = max;
  }
}

static void vocab_sums_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_vocab_sums_t *op = argument;
  const vocab_shard_t *shard = &op->shard;
  float scale = (float)shard->scale;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    const float *logits = logits_of(shard, r);
    float max = ((const float *)op->max)[r];
    double total = 0.0, weighted_total = 0.0;
    int64_t equal = 0;
    for (int64_t run = 0; run < shard->count; run += RUN) {
      float sum = 0.0f, weighted = 0.0f;
      int64_t stop = run_end(shard, run);
#pragma omp simd reduction(+ : sum, weighted)
      for (int64_t i = run; i < stop; i++) {
        float z = scale * logits[i] - max, e = exp_float(z);
        sum += e;
        weighted += e > 0.0f ? e * z : 0.0f;
      }
      total += sum;
      weighted_total += weighted;
#pragma omp simd reduction(+ : equal)
      for (int64_t i = run; i < stop; i++)
        equal += scale * logits[i] >= max;
    }
    int64_t target = ((const int32_t *)op->targets)[r] - shard->begin;
    float *sums = (float *)op->sums + VOCAB_SUMS * r;
    sums[0] = (float)total;
    sums[1] = (float)weighted_total;
    sums[2] = target >= 0 && target < shard->count ? scale * logits[target] - max : 0.0f;
    sums[3] = (float)equal;
  }
}

static void vocab_backward_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_vocab_backward_t *op = argument;
  const vocab_shard_t *shard = &op->shard;
  float scale = (float)shard->scale;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    const float *logits = logits_of(shard, r);
    float *dlogits = (float *)op->dlogits + r * shard->ld;
    float max = ((const float *)op->max)[r], gradient = scale * ((const float *)op->dlogprob)[r];
    float factor = -gradient / ((const float *)op->sums)[VOCAB_SUMS * r];
#pragma omp simd
    for (int64_t i = 0; i < shard->count; i++)
      dlogits[i] = factor * exp_float(scale * logits[i] - max);
    memset(dlogits + shard->count, 0, (size_t)(shard->ld - shard->count) * sizeof *dlogits);
    int64_t target = ((const int32_t *)op->targets)[r] - shard->begin;
    if (target >= 0 && target < shard->count) dlogits[target] += gradient;
  }
}

static void vocab_histogram_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_vocab_histogram_t *op = argument;
  const vocab_shard_t *shard = &op->shard;
  float scale = (float)shard->scale;
  (void)scratch;
  for (int64_t r = begin; r < end; r++) {
    const float *logits = logits_of(shard, r);
    float *histogram = (float *)op->histogram + r * 512, max = ((const float *)op->max)[r];
    uint32_t prefix = op->shift == 24 ? 0 : (uint32_t)((const int32_t *)op->prefix)[r];
    double mass[256] = {0};
    int32_t count[256] = {0};
    for (int64_t i = 0; i < shard->count; i++) {
      float z = scale * logits[i];
      uint32_t key = vocab_key(z) >> op->shift;
      if (key >> 8 != prefix) continue;
      count[key & 255]++;
      mass[key & 255] += exp_float(z - max);
    }
    for (int bucket = 0; bucket < 256; bucket++) {
      histogram[2 * bucket] = (float)count[bucket];
      histogram[2 * bucket + 1] = (float)mass[bucket];
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

/* Approximate values z + noise of a row into VALUES (count), -inf where an id may not take part; returns the
 * largest. */
static float sample_values(const op_sample_t *op, uint64_t sample, uint32_t position, const float *logits,
                           uint32_t cut, float *values) {
  const vocab_shard_t *shard = &op->shard;
  uint64_t key = op->seed ^ ((uint64_t)RANDOM_SAMPLING << 56);
  float scale = (float)shard->scale, max = -INFINITY;
  uint32_t words[RUN];
  for (int64_t run = 0; run < shard->count; run += RUN) {
    int64_t n = run_end(shard, run) - run;
    const float *from = logits + run;
    float *to = values + run;
    if (op->greedy) {
#pragma omp simd
      for (int64_t i = 0; i < n; i++)
        to[i] = scale * from[i];
    } else {
      philox_words(key, sample, position, (uint32_t)(shard->begin + run), n, words);
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
static float exact_value(const op_sample_t *op, uint64_t sample, uint32_t position, int64_t id, float logit) {
  double z = op->shard.scale * (double)logit;
  if (op->greedy) return (float)z;
  random_words_t words =
      random_words(op->seed, RANDOM_SAMPLING, sample, (uint64_t)position << 32 | (uint32_t)id);
  return (float)(z - log(-log(random_open_unit(words.v[0]))));
}

/* Approximate values choose the few candidates that may win, exact ones the winner. */
static void sample_row_simd(const op_sample_t *op, int64_t r, float *values) {
  const vocab_shard_t *shard = &op->shard;
  const float *logits = logits_of(shard, r);
  uint64_t sample = 0;
  uint32_t position = 0;
  if (!op->greedy) {
    const int32_t *halves = (const int32_t *)op->samples + 2 * r;
    sample = (uint64_t)(uint32_t)halves[1] << 32 | (uint32_t)halves[0];
    position = (uint32_t)((const int32_t *)op->positions)[r];
  }
  uint32_t cut = op->cut ? (uint32_t)((const int32_t *)op->cut)[r] : 0;
  float max = sample_values(op, sample, position, logits, cut, values);
  float best = -INFINITY, threshold = max - (2e-5f + 1e-6f * fabsf(max));
  int64_t winner = -1;
  for (int64_t run = 0; run < shard->count && max > -INFINITY; run += RUN) {
    int64_t stop = run_end(shard, run), hits = 0;
#pragma omp simd reduction(+ : hits)
    for (int64_t i = run; i < stop; i++)
      hits += values[i] >= threshold;
    for (int64_t i = run; i < stop && hits > 0; i++) {
      if (!(values[i] >= threshold)) continue;
      float value = exact_value(op, sample, position, shard->begin + i, logits[i]);
      if (value > best) {
        best = value;
        winner = shard->begin + i;
      }
      hits--;
    }
  }
  ((float *)op->value)[r] = best;
  ((int32_t *)op->id)[r] = (int32_t)winner;
}

static void sample_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  for (int64_t r = begin; r < end; r++)
    sample_row_simd(argument, r, scratch);
}

void SIMD_NAME(kernels_fill_vocab)(kernels_t *table) {
  table->vocab_max = vocab_max_simd;
  table->vocab_sums = vocab_sums_simd;
  table->vocab_backward = vocab_backward_simd;
  table->vocab_histogram = vocab_histogram_simd;
  table->sample = sample_simd;
}

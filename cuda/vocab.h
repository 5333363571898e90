/* What the kernels on a vocabulary shard share. */
#ifndef CUDA_VOCAB_H
#define CUDA_VOCAB_H

#include "cuda/kernel.h"

extern "C" {
#include "cuda/philox.h"
}

struct shard_t {
  int64_t ld, begin, count;
  const float *logits;
  float scale;
};

static inline shard_t shard_of(const vocab_shard_t &shard) {
  return {shard.ld, shard.begin, shard.count, wide(shard.logits), (float)shard.scale};
}

/* Rounded, whatever is done with it: of a row's largest one less that maximum nothing is left. */
static __device__ __forceinline__ float scaled(const shard_t &shard, float logit) {
  return __fmul_rn(shard.scale, logit);
}

static __device__ __forceinline__ float scaled(const shard_t &shard, int64_t row, int64_t j) {
  return scaled(shard, shard.logits[row * shard.ld + j]);
}

/* vocab_key. */
static __device__ __forceinline__ uint32_t key_of(float z) {
  const uint32_t bits = __float_as_uint(z);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static __device__ __forceinline__ double gumbel(uint64_t seed, uint64_t sample, uint64_t place) {
  const double unit = ((double)philox_word(seed, RANDOM_SAMPLING, sample, place) + 0.5) / 4294967296.0;
  return -log(-log(unit));
}

/* The same within GUMBEL_NEAR, in float. Where u is near 1, and winners are, -log(u) is made from 1 - u. */
#define GUMBEL_NEAR 5e-5f
static __device__ __forceinline__ float gumbel_near(uint64_t seed, uint64_t sample, uint64_t place) {
  const uint32_t word = philox_word(seed, RANDOM_SAMPLING, sample, place);
  const bool high = word >= 0xf0000000u;
  const float f = ((float)(high ? ~word : word) + 0.5f) * 0x1p-32f;
  const float series = f * (1.0f + f * (1.0f / 2.0f + f * (1.0f / 3.0f + f * (1.0f / 4.0f))));
  return -__logf(high ? series : -__logf(f));
}

/* vocab_range_count and vocab_range_places. */
struct places_t {
  int64_t begin, end;
};
static __device__ __forceinline__ int32_t ranges_count(const vocab_ids_t &ids) {
  return ids.count > 0 ? ids.count : 1;
}
static __device__ __forceinline__ places_t range_places(const shard_t &shard, const vocab_ids_t &ids,
                                                        int32_t r) {
  places_t places = {0, shard.count};
  if (ids.count == 0) return places;
  const int64_t first = ids.range[r].begin - shard.begin, stop = ids.range[r].end - shard.begin;
  if (first > 0) places.begin = first;
  if (stop < shard.count) places.end = stop;
  return places;
}

/* Gradients (vocab_backward.cu); cuts of top-k and top-p (cuts.cu). */
void cuda_fill_vocab_backward(ops_t *ops);
void cuda_fill_cuts(ops_t *ops);

#endif

/* Cuts of top-k and top-p: histograms of a row's keys (4 bytes per logit), and the walk through them. Masses
 * are summed as integers, which give the same sum in any order. */
#include "cuda/vocab.h"

enum { CUT_THREADS = 256, BUCKET_BITS = 8, KEY_BITS = 32 };
static_assert((int)CUT_THREADS == (int)VOCAB_BUCKETS, "a thread for each bucket");

/* Units of mass: the largest z has 2^40, so that 2^23 of them fit. */
static __device__ __forceinline__ unsigned long long mass_units(float e) {
  const double units = (double)e * 1099511627776.0;
  return e > 0.0f ? (unsigned long long)(units < 1.0 ? 1.0 : units) : 0ull;
}

static __global__ void __launch_bounds__(CUT_THREADS)
    vocab_histogram_kernel(const shard_t shard, const __grid_constant__ vocab_ids_t ids, const float *max,
                           const uint32_t *prefix, int32_t shift, float *histogram) {
  kernel_begin();
  __shared__ unsigned counts[VOCAB_BUCKETS];
  __shared__ unsigned long long masses[VOCAB_BUCKETS];
  const int64_t row = blockIdx.x;
  const bool all = shift == KEY_BITS - BUCKET_BITS;
  counts[threadIdx.x] = 0;
  masses[threadIdx.x] = 0;
  __syncthreads();
  for (int32_t r = 0; r < ranges_count(ids); r++) {
    const places_t places = range_places(shard, ids, r);
    for (int64_t j = places.begin + threadIdx.x; j < places.end; j += CUT_THREADS) {
      const float z = scaled(shard, row, j);
      const uint32_t key = key_of(z) >> shift;
      if (!all && key >> BUCKET_BITS != prefix[row]) continue;
      atomicAdd(&counts[key & (VOCAB_BUCKETS - 1)], 1u);
      atomicAdd(&masses[key & (VOCAB_BUCKETS - 1)], mass_units(expf(z - max[row])));
    }
  }
  __syncthreads();
  float *bucket = histogram + (row * VOCAB_BUCKETS + threadIdx.x) * 2;
  bucket[0] = (float)counts[threadIdx.x];
  bucket[1] = (float)((double)masses[threadIdx.x] / 1099511627776.0);
}

static status_code_t vocab_histogram_cuda(device_t *device, const op_vocab_histogram_t *op) {
  vocab_ids_t ids = {};
  if (op->ids) ids = *op->ids;
  return launch(device, "vocab_histogram", {dim3((unsigned)op->shard.rows), dim3(CUT_THREADS), 0},
                vocab_histogram_kernel, shard_of(op->shard), ids, wide(op->max),
                reinterpret_cast<const uint32_t *>(indices(op->prefix)), op->shift, wide(op->histogram));
}

/* ---- The walk: a thread for each row, in double ---- */

struct walk_t {
  int64_t rows;
  int32_t shift, ids;
  bool first;
  double share;
  const float *histogram;
  uint32_t *prefix, *cut;
  float *state;
};

static __device__ __forceinline__ double mass_from(const float *histogram, int32_t begin) {
  double mass = 0.0;
  for (int32_t b = VOCAB_BUCKETS - 1; b >= begin; b--)
    mass += (double)histogram[2 * b + 1];
  return mass;
}

/* The bucket in which the measure reaches TARGET from *ABOVE on, or the lowest that is not empty. */
static __device__ __forceinline__ int32_t walk_find(const float *histogram, int column, double target,
                                                    double *above) {
  double reached = *above;
  int32_t bucket = 0;
  for (int32_t b = VOCAB_BUCKETS - 1; b >= 0; b--) {
    const double measure = (double)histogram[2 * b + column];
    if (measure <= 0.0) continue;
    bucket = b;
    *above = reached;
    if (reached + measure >= target) break;
    reached += measure;
  }
  return bucket;
}

static __global__ void __launch_bounds__(WARP) vocab_walk_kernel(const walk_t op) {
  kernel_begin();
  const int64_t i = (int64_t)blockIdx.x * WARP + threadIdx.x;
  if (i >= op.rows) return;
  const float *histogram = op.histogram + i * VOCAB_BUCKETS * 2;
  float *state = op.state + i * VOCAB_WALK;
  const bool begins = op.shift == KEY_BITS - BUCKET_BITS;
  double target = begins ? (double)op.ids : (double)state[0];
  if (begins && op.ids == 0) target = op.share * (op.first ? mass_from(histogram, 0) : (double)state[2]);
  double above = begins ? 0.0 : (double)state[1], mass = begins ? 0.0 : (double)state[2];
  const int32_t bucket = walk_find(histogram, op.ids > 0 ? 0 : 1, target, &above);
  const uint32_t prefix = (begins ? 0u : op.prefix[i] << BUCKET_BITS) | (uint32_t)bucket;
  op.prefix[i] = prefix;
  mass += mass_from(histogram, op.shift == 0 ? bucket : bucket + 1); /* ties with the cut are kept */
  state[0] = (float)target;
  state[1] = (float)above;
  state[2] = (float)mass;
  if (op.shift == 0) op.cut[i] = op.first || prefix > op.cut[i] ? prefix : op.cut[i];
}

static status_code_t vocab_walk_cuda(device_t *device, const op_vocab_walk_t *op) {
  const walk_t work = {op->rows,
                       op->shift,
                       op->ids,
                       op->first,
                       op->share,
                       wide(op->histogram),
                       reinterpret_cast<uint32_t *>(indices(op->prefix)),
                       reinterpret_cast<uint32_t *>(indices(op->cut)),
                       wide(op->state)};
  return launch(device, "vocab_walk", launch_over(op->rows, WARP, WARP), vocab_walk_kernel, work);
}

void cuda_fill_cuts(ops_t *ops) {
  ops->vocab_histogram = vocab_histogram_cuda;
  ops->vocab_walk = vocab_walk_cuda;
}

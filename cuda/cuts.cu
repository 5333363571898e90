/* Cuts of top-k and top-p: histograms of a row's keys (4 bytes per logit), and the walk through them. Masses
 * are summed as integers, which give the same sum in any order. */
#include "cuda/last_block.h"
#include "cuda/vocab.h"

enum { CUT_THREADS = 1024, CUT_COPIES = WARP, BUCKET_BITS = 8, KEY_BITS = 32 };

/* The largest z has 2^40 units of mass, so that 2^23 of them fit in a sum. A copy of a bucket keeps the lower
 * 20 bits of them apart from the others: so 4095 ids fit in its 32 bits. */
enum { UNIT_BITS = 40, LOW_BITS = 20, CUT_IDS_MOST = 4095 * CUT_COPIES / CUT_THREADS * CUT_THREADS };
static_assert(CUT_IDS_MOST > 64 * CUT_THREADS, "rows of most vocabularies are one part");

struct bucket_t {
  unsigned long long mass;
  unsigned count;
};

/* A copy of all buckets for each lane of a warp: no two lanes meet, however the ids are spread. */
struct buckets_t {
  unsigned count[VOCAB_BUCKETS][CUT_COPIES], low[VOCAB_BUCKETS][CUT_COPIES], high[VOCAB_BUCKETS][CUT_COPIES];
};

/* Adds E = exp(z - max), at least one unit where it is not 0. */
static __device__ __forceinline__ void bucket_add(buckets_t *buckets, uint32_t bucket, float e) {
  const int lane = threadIdx.x % WARP;
  const float scaled_e = e * (float)(1 << (UNIT_BITS - LOW_BITS));
  const unsigned high = (unsigned)scaled_e;
  unsigned low = (unsigned)((scaled_e - (float)high) * (float)(1 << LOW_BITS));
  if (high == 0 && low == 0 && e > 0.0f) low = 1;
  atomicAdd(&buckets->count[bucket][lane], 1u);
  atomicAdd(&buckets->low[bucket][lane], low);
  if (high > 0) atomicAdd(&buckets->high[bucket][lane], high);
}

/* The sums of BUCKET over its copies; which comes first differs from bucket to bucket, so that neighbouring
 * threads read different banks. */
static __device__ __forceinline__ bucket_t bucket_sum(const buckets_t *buckets, int bucket) {
  bucket_t sum = {0, 0};
#pragma unroll 8
  for (int i = 0; i < CUT_COPIES; i++) {
    const int copy = (bucket + i) % CUT_COPIES;
    sum.count += buckets->count[bucket][copy];
    sum.mass += ((unsigned long long)buckets->high[bucket][copy] << LOW_BITS) + buckets->low[bucket][copy];
  }
  return sum;
}

/* EACH ids of a row for each of the row's blocks, a multiple of CUT_THREADS. */
static __global__ void __launch_bounds__(CUT_THREADS)
    vocab_histogram_kernel(const shard_t shard, const __grid_constant__ vocab_ids_t ids, const float *max,
                           const uint32_t *prefix, int32_t shift, int64_t first, int64_t each,
                           bucket_t *parts, float *histogram) {
  kernel_begin();
  DYNAMIC_SHARED(buckets_t, buckets);
  const int64_t row = first + blockIdx.y, begin = blockIdx.x * each, end = begin + each;
  const bool all = shift == KEY_BITS - BUCKET_BITS;
  const uint32_t wanted = all ? 0 : prefix[row];
  const float from = max[row];
  for (int i = threadIdx.x; i < (int)(sizeof *buckets / sizeof(uint4)); i += CUT_THREADS)
    reinterpret_cast<uint4 *>(buckets)[i] = make_uint4(0, 0, 0, 0);
  __syncthreads();
  for (int32_t r = 0; r < ranges_count(ids); r++) {
    places_t places = range_places(shard, ids, r);
    if (places.begin < begin) places.begin = begin;
    if (places.end > end) places.end = end;
#pragma unroll 4
    for (int64_t j = places.begin + threadIdx.x; j < places.end; j += CUT_THREADS) {
      const float z = scaled(shard, row, j);
      const uint32_t key = key_of(z) >> shift;
      if (all || key >> BUCKET_BITS == wanted) bucket_add(buckets, key & (VOCAB_BUCKETS - 1), expf(z - from));
    }
  }
  __syncthreads();
  bucket_t sum = {0, 0};
  bucket_t *own = parts + (row * gridDim.x) * VOCAB_BUCKETS + threadIdx.x;
  if (threadIdx.x < VOCAB_BUCKETS) sum = bucket_sum(buckets, threadIdx.x);
  if (gridDim.x > 1 && threadIdx.x < VOCAB_BUCKETS) own[blockIdx.x * VOCAB_BUCKETS] = sum;
  if (!block_is_last(blockIdx.y, gridDim.x) || threadIdx.x >= VOCAB_BUCKETS) return;
  for (unsigned p = 0; p < gridDim.x; p++) {
    if (p == blockIdx.x) continue;
    sum.mass += load_fresh(&own[p * VOCAB_BUCKETS].mass);
    sum.count += load_fresh(&own[p * VOCAB_BUCKETS].count);
  }
  float *bucket = histogram + (row * VOCAB_BUCKETS + threadIdx.x) * 2;
  bucket[0] = (float)sum.count;
  bucket[1] = (float)((double)sum.mass / (double)(1ull << UNIT_BITS));
}

/* Blocks that share a row: enough to keep the GPU busy, with sums of integers that come out the same. */
static int64_t blocks_of_row(const device_t *device, int64_t rows, int64_t count) {
  enum { BLOCKS_MOST = 16, BLOCKS_EACH = 2 /* a multiprocessor */ };
  const int64_t wanted = cuda_state(device)->multiprocessors * (int64_t)BLOCKS_EACH / rows,
                least = (count + CUT_IDS_MOST - 1) / CUT_IDS_MOST,
                most = (count + CUT_THREADS - 1) / CUT_THREADS;
  int64_t blocks = wanted < BLOCKS_MOST ? wanted : (int64_t)BLOCKS_MOST;
  if (blocks > most) blocks = most;
  if (blocks < least) blocks = least;
  return blocks > 0 ? blocks : 1;
}

static status_code_t vocab_histogram_cuda(device_t *device, const op_vocab_histogram_t *op) {
  const int64_t rows = op->shard.rows, count = op->shard.count;
  vocab_ids_t ids = {};
  void *scratch = nullptr;
  if (rows <= 0) return STATUS_OK;
  if (op->ids) ids = *op->ids;
  int64_t blocks = blocks_of_row(device, rows, count);
  const int64_t each = ((count + blocks - 1) / blocks + CUT_THREADS - 1) / CUT_THREADS * CUT_THREADS;
  blocks = each > 0 ? (count + each - 1) / each : 1;
  TRY(cuda_scratch(device, (size_t)(rows * blocks) * VOCAB_BUCKETS * sizeof(bucket_t), &scratch));
  for (int64_t first = 0, now; first < rows; first += now) {
    now = shared_results_of(rows - first);
    TRY(launch(device, "vocab_histogram",
               {dim3((unsigned)blocks, (unsigned)now), dim3(CUT_THREADS), sizeof(buckets_t)},
               vocab_histogram_kernel, shard_of(op->shard), ids, wide(op->max),
               reinterpret_cast<const uint32_t *>(indices(op->prefix)), op->shift, first, each,
               static_cast<bucket_t *>(scratch), wide(op->histogram)));
  }
  return STATUS_OK;
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

/* Operations on a shard of the vocabulary, a block for each row: bound by memory. Bytes per logit: statistics
 * 4 (read twice, the second time from the cache), backward 4 + b, histogram 4; beside them, where tokens are
 * drawn, ten rounds of Philox and two logarithms in double for each id. */
#include "cuda/vocab.h"

enum { ROW_THREADS = 512 };

static __device__ __forceinline__ float block_max(float value) {
  __shared__ float parts[ROW_THREADS / WARP];
  value = warp_max(value);
  if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = value;
  __syncthreads();
  float max = parts[0];
#pragma unroll
  for (int w = 1; w < ROW_THREADS / WARP; w++)
    max = fmaxf(max, parts[w]);
  __syncthreads();
  return max;
}

static __device__ __forceinline__ float row_max(const shard_t &shard, int64_t row) {
  float max = -INFINITY;
  for (int64_t j = threadIdx.x; j < shard.count; j += ROW_THREADS)
    max = fmaxf(max, scaled(shard, row, j));
  return block_max(max);
}

static __global__ void __launch_bounds__(ROW_THREADS) vocab_max_kernel(const shard_t shard, float *max) {
  kernel_begin();
  const float found = row_max(shard, blockIdx.x);
  if (threadIdx.x == 0) max[blockIdx.x] = found;
}

static status_code_t vocab_max_cuda(device_t *device, const op_vocab_max_t *op) {
  return launch(device, "vocab_max", {dim3((unsigned)op->shard.rows), dim3(ROW_THREADS), 0}, vocab_max_kernel,
                shard_of(op->shard), wide(op->max));
}

/* ---- Statistics and draws ---- */

struct winner_t {
  int32_t id; /* -1: none */
  float value;
};

static __device__ __forceinline__ winner_t better(winner_t a, winner_t b) {
  if (b.id < 0 || (a.id >= 0 && (a.value > b.value || (a.value == b.value && a.id < b.id)))) return a;
  return b;
}

/* The winner of the block, on all of its threads. */
static __device__ __forceinline__ winner_t block_winner(winner_t mine) {
  __shared__ winner_t parts[ROW_THREADS / WARP];
#pragma unroll
  for (int step = WARP / 2; step > 0; step /= 2) {
    const winner_t other = {__shfl_xor_sync(0xffffffffu, mine.id, step),
                            __shfl_xor_sync(0xffffffffu, mine.value, step)};
    mine = better(mine, other);
  }
  if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = mine;
  __syncthreads();
  winner_t best = parts[0];
#pragma unroll
  for (int w = 1; w < ROW_THREADS / WARP; w++)
    best = better(best, parts[w]);
  __syncthreads();
  return best;
}

struct draw_t {
  bool is_wanted, greedy;
  uint64_t seed;
  vocab_ids_t ids;
  const int32_t *samples, *positions;
  const uint32_t *cut;
};

static __device__ __forceinline__ winner_t draw_row(const shard_t &shard, const draw_t &draw, int64_t row) {
  const uint32_t cut = draw.cut ? draw.cut[row] : 0;
  uint64_t sample = 0, position = 0;
  if (!draw.greedy) {
    sample = (uint64_t)(uint32_t)draw.samples[2 * row + 1] << 32 | (uint32_t)draw.samples[2 * row];
    position = (uint64_t)(uint32_t)draw.positions[row] << 32;
  }
  winner_t best = {-1, -INFINITY};
  for (int32_t r = 0; r < ranges_count(draw.ids); r++) {
    const places_t places = range_places(shard, draw.ids, r);
    for (int64_t j = places.begin + threadIdx.x; j < places.end; j += ROW_THREADS) {
      const float z = scaled(shard, row, j);
      if (draw.cut && key_of(z) < cut) continue;
      const int64_t id = shard.begin + j;
      double value = (double)z;
      if (!draw.greedy) value += gumbel(draw.seed, sample, position | (uint64_t)id);
      if ((float)value > best.value) best = {(int32_t)id, (float)value};
    }
  }
  return block_winner(best);
}

static __global__ void __launch_bounds__(ROW_THREADS)
    vocab_statistics_kernel(const shard_t shard, const int32_t *targets, const __grid_constant__ draw_t draw,
                            float *records) {
  kernel_begin();
  const int64_t row = blockIdx.x;
  const float max = row_max(shard, row), from = max > -INFINITY ? max : 0.0f;
  float sum = 0.0f, weighted = 0.0f, equal = 0.0f;
  for (int64_t j = threadIdx.x; j < shard.count; j += ROW_THREADS) {
    const float z = scaled(shard, row, j), below = z - from, e = expf(below);
    equal += z >= max ? 1.0f : 0.0f;
    sum += e;
    weighted += e > 0.0f ? e * below : 0.0f;
  }
  sum = block_sum<ROW_THREADS>(sum);
  weighted = block_sum<ROW_THREADS>(weighted);
  equal = block_sum<ROW_THREADS>(equal);
  winner_t target = {-1, -INFINITY};
  if (draw.is_wanted) {
    target = draw_row(shard, draw, row);
  } else if (targets[row] >= shard.begin && targets[row] < shard.begin + shard.count) {
    target = {targets[row], scaled(shard, row, targets[row] - shard.begin)};
  }
  if (threadIdx.x != 0) return;
  float *record = records + row * VOCAB_RECORD;
  record[VOCAB_RECORD_MAX] = max;
  record[VOCAB_RECORD_SUM] = sum;
  record[VOCAB_RECORD_WEIGHTED] = weighted;
  record[VOCAB_RECORD_EQUAL] = equal;
  record[VOCAB_RECORD_BELOW] = target.id >= 0 ? scaled(shard, row, target.id - shard.begin) - max : 0.0f;
  record[VOCAB_RECORD_VALUE] = target.value;
  record[VOCAB_RECORD_ID] = (float)target.id;
}

static status_code_t vocab_statistics_cuda(device_t *device, const op_vocab_statistics_t *op) {
  draw_t draw = {};
  if (!op->targets) {
    draw.is_wanted = true;
    draw.greedy = op->draw->greedy;
    draw.seed = op->draw->seed;
    draw.ids = op->draw->ids;
    draw.samples = indices(op->draw->samples);
    draw.positions = indices(op->draw->positions);
    draw.cut = reinterpret_cast<const uint32_t *>(indices(op->draw->cut));
  }
  return launch(device, "vocab_statistics", {dim3((unsigned)op->shard.rows), dim3(ROW_THREADS), 0},
                vocab_statistics_kernel, shard_of(op->shard), indices(op->targets), draw, wide(op->records));
}

/* ---- The shards together: a thread for each row, in double ---- */

struct combine_t {
  int64_t shards, rows;
  const float *records;
  float *logprob, *entropy, *ties, *normaliser;
  int32_t *tokens;
};

static __global__ void __launch_bounds__(WARP) vocab_combine_kernel(const combine_t op) {
  kernel_begin();
  const int64_t i = (int64_t)blockIdx.x * WARP + threadIdx.x;
  if (i >= op.rows) return;
  double max = -INFINITY, sum = 0.0, weighted = 0.0, equal = 0.0, target_below = NAN,
         target_value = -INFINITY;
  int32_t id = -1;
  for (int64_t s = 0; s < op.shards; s++)
    max = fmax(max, (double)op.records[(s * op.rows + i) * VOCAB_RECORD + VOCAB_RECORD_MAX]);
  for (int64_t s = 0; s < op.shards; s++) {
    const float *record = op.records + (s * op.rows + i) * VOCAB_RECORD;
    const double part = (double)record[VOCAB_RECORD_SUM], value = (double)record[VOCAB_RECORD_VALUE];
    if (part == 0.0) continue; /* it has no ids, or none that is possible */
    const double below = (double)record[VOCAB_RECORD_MAX] - max, factor = exp(below);
    sum += factor * part;
    weighted += factor * ((double)record[VOCAB_RECORD_WEIGHTED] + below * part);
    if (below == 0.0) equal += (double)record[VOCAB_RECORD_EQUAL];
    if (record[VOCAB_RECORD_ID] < 0.0f || (id >= 0 && !(value > target_value))) continue;
    id = (int32_t)record[VOCAB_RECORD_ID];
    target_value = value;
    target_below = (double)record[VOCAB_RECORD_BELOW] + below;
  }
  const double log_sum = log(sum);
  const float logprob = (float)(target_below - log_sum);
  op.logprob[i] = logprob;
  if (op.entropy) op.entropy[i] = (float)(log_sum - weighted / sum);
  if (op.tokens) op.tokens[i] = fabsf(logprob) < INFINITY ? id : -1;
  if (op.ties) op.ties[i] = (float)(target_value >= max ? equal : 0.0);
  if (!op.normaliser) return;
  op.normaliser[2 * i] = (float)max;
  op.normaliser[2 * i + 1] = (float)sum;
}

static status_code_t vocab_combine_cuda(device_t *device, const op_vocab_combine_t *op) {
  const combine_t work = {op->shards,        op->rows,       wide(op->records),    wide(op->logprob),
                          wide(op->entropy), wide(op->ties), wide(op->normaliser), indices(op->tokens)};
  return launch(device, "vocab_combine", launch_over(op->rows, WARP, WARP), vocab_combine_kernel, work);
}

/* ---- Gradient ---- */

template <class T>
static __global__ void __launch_bounds__(ROW_THREADS)
    vocab_backward_kernel(const shard_t shard, const float *normaliser, const float *dlogprob,
                          const int32_t *targets, T *dlogits) {
  kernel_begin();
  const int64_t row = blockIdx.x, target = targets[row] - shard.begin;
  const float max = normaliser[2 * row], sum = normaliser[2 * row + 1];
  const float gradient = dlogprob[row] * shard.scale;
  for (int64_t j = threadIdx.x; j < shard.ld; j += ROW_THREADS) {
    float value = 0.0f;
    if (j < shard.count)
      value = gradient * ((j == target ? 1.0f : 0.0f) - expf(scaled(shard, row, j) - max) / sum);
    dlogits[row * shard.ld + j] = store_float<T>(value);
  }
}

static status_code_t vocab_backward_cuda(device_t *device, const op_vocab_backward_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return launch(device, "vocab_backward", {dim3((unsigned)op->shard.rows), dim3(ROW_THREADS), 0},
                  vocab_backward_kernel<T>, shard_of(op->shard), wide(op->normaliser), wide(op->dlogprob),
                  indices(op->targets), real<T>(op->dlogits));
  });
}

void cuda_fill_vocab(ops_t *ops) {
  ops->vocab_max = vocab_max_cuda;
  ops->vocab_statistics = vocab_statistics_cuda;
  ops->vocab_combine = vocab_combine_cuda;
  ops->vocab_backward = vocab_backward_cuda;
  cuda_fill_cuts(ops);
}

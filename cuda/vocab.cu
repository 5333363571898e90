/* Operations on a shard of the vocabulary: bound by memory. Bytes per logit: 4 each; beside them, where
 * tokens are drawn, ten rounds of Philox and two logarithms for each id. */
#include "cuda/last_block.h"
#include "cuda/vocab.h"

enum { ROW_THREADS = 512 };

template <int THREADS> static __device__ __forceinline__ float block_max(float value) {
  __shared__ float parts[THREADS / WARP];
  value = warp_max(value);
  if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = value;
  __syncthreads();
  float max = parts[0];
#pragma unroll
  for (int w = 1; w < THREADS / WARP; w++)
    max = fmaxf(max, parts[w]);
  __syncthreads();
  return max;
}

static __device__ __forceinline__ float row_max(const shard_t &shard, int64_t row) {
  float max = -INFINITY;
  for (int64_t j = threadIdx.x; j < shard.count; j += ROW_THREADS)
    max = fmaxf(max, scaled(shard, row, j));
  return block_max<ROW_THREADS>(max);
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

/* ---- Statistics and draws: a block for each part of a row, whose logits are kept in registers ---- */

/* Parts are of one size, so that the sums of a row do not depend on the number of rows. */
enum { PART_THREADS = 256, PART_PACK = 4, PART_PACKS = 2, PART_EACH = PART_PACK * PART_PACKS };
enum { PART_IDS = PART_THREADS * PART_EACH };
enum { BLOCK_PARTS = 4 }; /* of a block, where rows are many */

struct winner_t {
  int32_t id; /* -1: none */
  float value;
};

static __device__ __forceinline__ winner_t better(winner_t a, winner_t b) {
  if (b.id < 0 || (a.id >= 0 && (a.value > b.value || (a.value == b.value && a.id < b.id)))) return a;
  return b;
}

/* What a part of a row adds to its record; sums are relative to the part's own MAX. */
struct part_t {
  float max, sum, weighted, equal;
  winner_t winner;
};

static __device__ __forceinline__ part_t together(const part_t &a, const part_t &b) {
  const float max = fmaxf(a.max, b.max);
  part_t both = {max, 0.0f, 0.0f, 0.0f, better(a.winner, b.winner)};
  const part_t *parts[] = {&a, &b};
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const part_t &part = *parts[i];
    if (part.max == max) both.equal += part.equal;
    if (part.sum == 0.0f) continue; /* it has no ids, or none that is possible */
    const float below = part.max - max, factor = expf(below);
    both.sum = fmaf(factor, part.sum, both.sum);
    both.weighted = fmaf(factor, fmaf(below, part.sum, part.weighted), both.weighted);
  }
  return both;
}

/* That of the lane whose number differs by bit STEP. */
static __device__ __forceinline__ part_t shuffle_part(const part_t &part, int step) {
  const unsigned all = 0xffffffffu;
  return {__shfl_xor_sync(all, part.max, step),
          __shfl_xor_sync(all, part.sum, step),
          __shfl_xor_sync(all, part.weighted, step),
          __shfl_xor_sync(all, part.equal, step),
          {__shfl_xor_sync(all, part.winner.id, step), __shfl_xor_sync(all, part.winner.value, step)}};
}

struct draw_t {
  bool is_wanted, greedy;
  uint64_t seed;
  vocab_ids_t ids;
  const int32_t *samples, *positions;
  const uint32_t *cut;
};

/* The place in the shard of a thread's element E of the part that begins at BEGIN. */
static __device__ __forceinline__ int64_t part_place(int64_t begin, int e) {
  return begin + (e / PART_PACK * PART_THREADS + threadIdx.x) * PART_PACK + e % PART_PACK;
}

/* A bit for each element that may be drawn. */
static __device__ __forceinline__ unsigned drawable(const shard_t &shard, const draw_t &draw, int64_t row,
                                                    int64_t begin, const float (&z)[PART_EACH]) {
  const uint32_t cut = draw.cut ? draw.cut[row] : 0;
  unsigned bits = 0;
  for (int32_t r = 0; r < ranges_count(draw.ids); r++) {
    const places_t places = range_places(shard, draw.ids, r);
    if (places.end <= begin || places.begin >= begin + PART_IDS) continue;
#pragma unroll
    for (int e = 0; e < PART_EACH; e++) {
      const int64_t j = part_place(begin, e);
      if (j >= places.begin && j < places.end && key_of(z[e]) >= cut) bits |= 1u << e;
    }
  }
  return bits;
}

/* The winner among a thread's elements Z. Values that are near enough choose the few that may be the block's
 * winner, and only those are made in double. */
static __device__ __forceinline__ winner_t draw_part(const shard_t &shard, const draw_t &draw, int64_t row,
                                                     int64_t begin, const float (&z)[PART_EACH]) {
  unsigned bits = drawable(shard, draw, row, begin, z);
  uint64_t sample = 0, position = 0;
  float near[PART_EACH] = {}, most = -INFINITY;
  if (!draw.greedy) {
    sample = (uint64_t)(uint32_t)draw.samples[2 * row + 1] << 32 | (uint32_t)draw.samples[2 * row];
    position = (uint64_t)(uint32_t)draw.positions[row] << 32;
#pragma unroll
    for (int e = 0; e < PART_EACH; e++)
      near[e] = gumbel_near(draw.seed, sample, position | (uint64_t)(shard.begin + part_place(begin, e)));
  }
#pragma unroll
  for (int e = 0; e < PART_EACH; e++) {
    near[e] = bits >> e & 1u ? z[e] + near[e] : -INFINITY;
    most = fmaxf(most, near[e]);
  }
  most = block_max<PART_THREADS>(most);
  const float least = most - (2.0f * GUMBEL_NEAR + 1e-6f * fabsf(most));
  bits = 0;
#pragma unroll
  for (int e = 0; e < PART_EACH; e++)
    if (near[e] >= least && near[e] > -INFINITY) bits |= 1u << e;
  winner_t best = {-1, -INFINITY};
  for (; bits; bits &= bits - 1u) {
    const int64_t j = part_place(begin, __ffs((int)bits) - 1), id = shard.begin + j;
    double value = (double)scaled(shard, row, j);
    if (!draw.greedy) value += gumbel(draw.seed, sample, position | (uint64_t)id);
    if ((float)value > best.value) best = {(int32_t)id, (float)value};
  }
  return best;
}

/* Scaled logits of a thread; -inf beyond the shard's end. */
template <bool PACKED>
static __device__ __forceinline__ void part_load(const shard_t &shard, int64_t row, int64_t begin,
                                                 float (&z)[PART_EACH]) {
#pragma unroll
  for (int p = 0; p < PART_PACKS; p++) {
    const int64_t first = part_place(begin, p * PART_PACK);
    if (PACKED && first + PART_PACK <= shard.count) {
      const pack_t<float> pack = pack_load(shard.logits + row * shard.ld + first);
#pragma unroll
      for (int i = 0; i < PART_PACK; i++)
        z[p * PART_PACK + i] = scaled(shard, pack.v[i]);
    } else {
#pragma unroll
      for (int i = 0; i < PART_PACK; i++)
        z[p * PART_PACK + i] = first + i < shard.count ? scaled(shard, row, first + i) : -INFINITY;
    }
  }
}

/* What a thread's elements Z add to a part whose maximum is MAX. */
static __device__ __forceinline__ part_t part_sums(const shard_t &shard, int64_t begin,
                                                   const float (&z)[PART_EACH], float max) {
  const float from = max > -INFINITY ? max : 0.0f;
  part_t part = {max, 0.0f, 0.0f, 0.0f, {-1, -INFINITY}};
#pragma unroll
  for (int e = 0; e < PART_EACH; e++) {
    const float below = z[e] - from, power = expf(below);
    if (part_place(begin, e) < shard.count) part.equal += z[e] >= max ? 1.0f : 0.0f;
    part.sum = __fadd_rn(part.sum, power);
    part.weighted = __fadd_rn(part.weighted, power > 0.0f ? __fmul_rn(power, below) : 0.0f);
  }
  return part;
}

static __device__ __forceinline__ part_t part_of(const shard_t &shard, const draw_t &draw, int64_t row,
                                                 int64_t begin, const float (&z)[PART_EACH]) {
  float max = -INFINITY;
#pragma unroll
  for (int e = 0; e < PART_EACH; e++)
    max = fmaxf(max, z[e]);
  part_t part = part_sums(shard, begin, z, block_max<PART_THREADS>(max));
  if (draw.is_wanted) part.winner = draw_part(shard, draw, row, begin, z);
  return part;
}

/* That of the block, in its first thread. */
static __device__ __forceinline__ part_t block_part(part_t part) {
  __shared__ part_t warps[PART_THREADS / WARP];
  const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
#pragma unroll
  for (int step = WARP / 2; step > 0; step /= 2) {
    const part_t other = shuffle_part(part, step);
    part.sum += other.sum;
    part.weighted += other.weighted;
    part.equal += other.equal;
    part.winner = better(part.winner, other.winner);
  }
  if (lane == 0) warps[warp] = part;
  __syncthreads();
  if (threadIdx.x != 0) return part;
  for (int w = 1; w < PART_THREADS / WARP; w++) {
    part.sum += warps[w].sum;
    part.weighted += warps[w].weighted;
    part.equal += warps[w].equal;
    part.winner = better(part.winner, warps[w].winner);
  }
  return part;
}

static __device__ __forceinline__ part_t part_load_fresh(const part_t *from) {
  return {load_fresh(&from->max),
          load_fresh(&from->sum),
          load_fresh(&from->weighted),
          load_fresh(&from->equal),
          {load_fresh(&from->winner.id), load_fresh(&from->winner.value)}};
}

/* The parts of a row, COUNT of them, put together in a fixed order by a warp: in its first lane. */
static __device__ __forceinline__ part_t row_part(const part_t *parts, int count) {
  part_t row = {-INFINITY, 0.0f, 0.0f, 0.0f, {-1, -INFINITY}};
  for (int p = threadIdx.x; p < count; p += WARP)
    row = together(row, part_load_fresh(parts + p));
#pragma unroll
  for (int step = WARP / 2; step > 0; step /= 2)
    row = together(row, shuffle_part(row, step));
  return row;
}

/* Several parts by one block, each as part_of and block_part make it, to the bit: what threads wait for is
 * shared by all. To TO, COUNT of them. */
template <int PARTS>
static __device__ __forceinline__ void parts_of(const shard_t &shard, int64_t begin,
                                                const float (&z)[PARTS][PART_EACH], part_t *to, int count) {
  constexpr int WARPS = PART_THREADS / WARP;
  __shared__ float maxima[PARTS][WARPS], sums[PARTS][WARPS], weighted[PARTS][WARPS], equal[PARTS][WARPS];
  const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
#pragma unroll
  for (int p = 0; p < PARTS; p++) {
    float max = -INFINITY;
#pragma unroll
    for (int e = 0; e < PART_EACH; e++)
      max = fmaxf(max, z[p][e]);
    max = warp_max(max);
    if (lane == 0) maxima[p][warp] = max;
  }
  __syncthreads();
#pragma unroll
  for (int p = 0; p < PARTS; p++) {
    float max = maxima[p][0];
#pragma unroll
    for (int w = 1; w < WARPS; w++)
      max = fmaxf(max, maxima[p][w]);
    part_t part = part_sums(shard, begin + p * PART_IDS, z[p], max);
    part.sum = warp_sum(part.sum);
    part.weighted = warp_sum(part.weighted);
    part.equal = warp_sum(part.equal);
    if (lane != 0) continue;
    sums[p][warp] = part.sum;
    weighted[p][warp] = part.weighted;
    equal[p][warp] = part.equal;
  }
  __syncthreads();
  if ((int)threadIdx.x >= PARTS || (int)threadIdx.x >= count) return;
  const int p = threadIdx.x;
  part_t part = {maxima[p][0], sums[p][0], weighted[p][0], equal[p][0], {-1, -INFINITY}};
  for (int w = 1; w < WARPS; w++) {
    part.max = fmaxf(part.max, maxima[p][w]);
    part.sum += sums[p][w];
    part.weighted += weighted[p][w];
    part.equal += equal[p][w];
  }
  to[p] = part;
}

/* The record of ROW from its PARTS: by the last of its blocks. */
static __device__ __forceinline__ void record_write(const shard_t &shard, const int32_t *targets,
                                                    bool is_drawn, int64_t row, const part_t *parts,
                                                    int count, float *records) {
  if (threadIdx.x >= WARP) return;
  const part_t all = row_part(parts, count);
  if (threadIdx.x != 0) return;
  winner_t target = all.winner;
  if (!is_drawn && targets[row] >= shard.begin && targets[row] < shard.begin + shard.count)
    target = {targets[row], scaled(shard, row, targets[row] - shard.begin)};
  float *record = records + row * VOCAB_RECORD;
  record[VOCAB_RECORD_MAX] = all.max;
  record[VOCAB_RECORD_SUM] = all.sum;
  record[VOCAB_RECORD_WEIGHTED] = all.weighted;
  record[VOCAB_RECORD_EQUAL] = all.equal;
  record[VOCAB_RECORD_BELOW] = target.id >= 0 ? scaled(shard, row, target.id - shard.begin) - all.max : 0.0f;
  record[VOCAB_RECORD_VALUE] = target.value;
  record[VOCAB_RECORD_ID] = (float)target.id;
}

template <bool PACKED>
static __global__ void __launch_bounds__(PART_THREADS)
    vocab_statistics_kernel(const shard_t shard, const int32_t *targets, const __grid_constant__ draw_t draw,
                            int64_t first, part_t *parts, float *records) {
  kernel_begin();
  const int64_t row = first + blockIdx.y, begin = (int64_t)blockIdx.x * PART_IDS;
  part_t *own = parts + row * gridDim.x;
  float z[PART_EACH];
  part_load<PACKED>(shard, row, begin, z);
  const part_t part = block_part(part_of(shard, draw, row, begin, z));
  if (threadIdx.x == 0) own[blockIdx.x] = part;
  if (!block_is_last(blockIdx.y, gridDim.x)) return;
  record_write(shard, targets, draw.is_wanted, row, own, (int)gridDim.x, records);
}

/* As part_load; all packs are asked for before the first is looked at. */
template <bool PACKED, int PARTS>
static __device__ __forceinline__ void parts_load(const shard_t &shard, int64_t row, int64_t begin,
                                                  float (&z)[PARTS][PART_EACH]) {
  const float *logits = shard.logits + row * shard.ld;
  pack_t<float> packs[PARTS * PART_PACKS];
  const auto place = [&](int p) {
    return part_place(begin + p / PART_PACKS * PART_IDS, p % PART_PACKS * PART_PACK);
  };
  const auto is_whole = [&](int p) { return PACKED && place(p) + PART_PACK <= shard.count; };
#pragma unroll
  for (int p = 0; p < PARTS * PART_PACKS; p++)
    packs[p] = is_whole(p) ? pack_load(logits + place(p)) : pack_t<float>{};
#pragma unroll
  for (int p = 0; p < PARTS * PART_PACKS; p++)
    if (!is_whole(p))
#pragma unroll
      for (int i = 0; i < PART_PACK; i++)
        packs[p].v[i] = place(p) + i < shard.count ? logits[place(p) + i] : 0.0f;
#pragma unroll
  for (int p = 0; p < PARTS * PART_PACKS; p++)
#pragma unroll
    for (int i = 0; i < PART_PACK; i++)
      z[p / PART_PACKS][p % PART_PACKS * PART_PACK + i] =
          place(p) + i < shard.count ? scaled(shard, packs[p].v[i]) : -INFINITY;
}

/* The same for many rows whose targets are given: a block has PARTS of COUNT parts, all of them loaded before
 * the first is looked at, so that 32 KiB are on their way for each block, of which there are 3 or 4. */
template <bool PACKED, int PARTS>
static __global__ void __launch_bounds__(PART_THREADS, 3)
    vocab_parts_kernel(const shard_t shard, const int32_t *targets, int64_t first, int count, part_t *parts,
                       float *records) {
  kernel_begin();
  const int64_t row = first + blockIdx.y, begin = (int64_t)blockIdx.x * PARTS * PART_IDS;
  part_t *own = parts + row * count;
  float z[PARTS][PART_EACH];
  parts_load<PACKED, PARTS>(shard, row, begin, z);
  parts_of(shard, begin, z, own + blockIdx.x * PARTS, count - (int)blockIdx.x * PARTS);
  if (!block_is_last(blockIdx.y, gridDim.x)) return;
  record_write(shard, targets, false, row, own, count, records);
}

/* Whether blocks that have several parts each are still more than run at once. */
static bool rows_are_many(const device_t *device, int64_t rows, int64_t parts) {
  enum { BLOCKS = 4 };
  return rows * (parts / BLOCK_PARTS) >= (int64_t)cuda_state(device)->multiprocessors * BLOCKS;
}

static status_code_t vocab_statistics_cuda(device_t *device, const op_vocab_statistics_t *op) {
  const shard_t shard = shard_of(op->shard);
  const int64_t rows = op->shard.rows, parts = shard.count > 0 ? (shard.count - 1) / PART_IDS + 1 : 1;
  draw_t draw = {};
  void *scratch = nullptr;
  if (!op->targets) {
    draw.is_wanted = true;
    draw.greedy = op->draw->greedy;
    draw.seed = op->draw->seed;
    draw.ids = op->draw->ids;
    draw.samples = indices(op->draw->samples);
    draw.positions = indices(op->draw->positions);
    draw.cut = reinterpret_cast<const uint32_t *>(indices(op->draw->cut));
  }
  TRY(cuda_scratch(device, (size_t)(rows * parts) * sizeof(part_t), &scratch));
  part_t *made = static_cast<part_t *>(scratch);
  const bool packed = is_packed(shard.logits) && shard.ld % PART_PACK == 0,
             many =
                 op->targets && rows_are_many(device, rows, parts) && !cuda_state(device)->options.measured;
  for (int64_t first = 0, count; first < rows; first += count) {
    count = shared_results_of(rows - first);
    launch_t shape = {dim3((unsigned)parts, (unsigned)count), dim3(PART_THREADS), 0};
    if (many) {
      shape.grid.x = (unsigned)((parts + BLOCK_PARTS - 1) / BLOCK_PARTS);
      TRY(launch(device, "vocab_statistics", shape,
                 packed ? vocab_parts_kernel<true, BLOCK_PARTS> : vocab_parts_kernel<false, BLOCK_PARTS>,
                 shard, indices(op->targets), first, (int)parts, made, wide(op->records)));
    } else {
      TRY(launch(device, "vocab_statistics", shape,
                 packed ? vocab_statistics_kernel<true> : vocab_statistics_kernel<false>, shard,
                 indices(op->targets), draw, first, made, wide(op->records)));
    }
  }
  return STATUS_OK;
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

void cuda_fill_vocab(ops_t *ops) {
  ops->vocab_max = vocab_max_cuda;
  ops->vocab_statistics = vocab_statistics_cuda;
  ops->vocab_combine = vocab_combine_cuda;
  cuda_fill_vocab_backward(ops);
  cuda_fill_cuts(ops);
}

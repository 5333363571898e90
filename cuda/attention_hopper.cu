/* Attention over packed sequences on GPUs of compute capability 9.0, heads of 64 and 128: products of
 * warpgroups from shared memory, filled by the copy engine. As many blocks as multiprocessors take one tile
 * of 128 queries after the other; in each, a thread of the first warpgroup asks for the copies, and the two
 * others work on 64 queries each: while one has its products, the other has its exponentials, and the
 * products with the values of a step run beside the exponentials of the next one. Keys are gone over from the
 * last to the first, so that only the first step has to leave out what a query does not see. */
#include "cuda/attention_hopper.h"

enum { FORWARD_ROWS = TENSOR_FORWARD_ROWS, FORWARD_STEP = 128, FORWARD_STAGES = 2 };

template <int D> struct forward_shared_t {
  bf16 q[FORWARD_ROWS * D];
  bf16 k[FORWARD_STAGES][FORWARD_STEP * D], v[FORWARD_STAGES][FORWARD_STEP * D];
  uint64_t q_full, q_used, k_full[FORWARD_STAGES], k_used[FORWARD_STAGES], v_full[FORWARD_STAGES],
      v_used[FORWARD_STAGES];
  int64_t block; /* the tile and head that q is of; -1: no more */
};

struct forward_maps_t {
  CUtensorMap q, k, v;
};

#ifdef HAS_WARPGROUPS

static __device__ __forceinline__ int32_t forward_steps(const attention_tile_t &tile, bool causal) {
  const int32_t keys = causal ? smaller(tile.length, tile.first + FORWARD_ROWS) : tile.length;
  return (keys + FORWARD_STEP - 1) / FORWARD_STEP;
}

template <int D>
static __device__ void forward_load(forward_shared_t<D> *shared, const forward_maps_t &maps,
                                    const attention_t<bf16> &op, int64_t blocks, uint32_t *next) {
  uint32_t steps = 0;
  int64_t block = blockIdx.x;
  map_prefetch(&maps.q);
  map_prefetch(&maps.k);
  map_prefetch(&maps.v);
  for (uint32_t turn = 0;; turn++) {
    barrier_wait(&shared->q_used, (turn & 1) ^ 1);
    shared->block = block < blocks ? block : -1;
    if (block >= blocks) {
      barrier_arrive(&shared->q_full);
      return;
    }
    const attention_block_t work =
        attention_block(op.tiles[block / op.heads], block, op.heads, FORWARD_ROWS, false);
    const int32_t col = work.head / op.group * D, begin = work.tile.begin;
    barrier_expect(&shared->q_full, sizeof shared->q);
    tile_fetch<FORWARD_ROWS, D>(shared->q, &maps.q, work.head * D, begin + work.tile.first, &shared->q_full);
    for (int32_t step = forward_steps(work.tile, op.causal) - 1; step >= 0; step--, steps++) {
      const uint32_t stage = steps % FORWARD_STAGES, parity = (steps / FORWARD_STAGES & 1) ^ 1;
      barrier_wait(&shared->k_used[stage], parity);
      barrier_expect(&shared->k_full[stage], sizeof shared->k[0]);
      tile_fetch<FORWARD_STEP, D>(shared->k[stage], &maps.k, col, begin + step * FORWARD_STEP,
                                  &shared->k_full[stage]);
      barrier_wait(&shared->v_used[stage], parity);
      barrier_expect(&shared->v_full[stage], sizeof shared->v[0]);
      tile_fetch<FORWARD_STEP, D>(shared->v[stage], &maps.v, col, begin + step * FORWARD_STEP,
                                  &shared->v_full[stage]);
    }
    block = (int64_t)gridDim.x + atomicAdd(next, 1u);
  }
}

/* What a thread of a worker has of its two rows: running maximum of the scores and sum of the powers (of its
 * own columns). */
struct running_t {
  float max[2], sum[2];
};

/* Scores become powers under the running maximum; FACTOR: of what was summed under the one before. IS_CUT:
 * keys from LENGTH on, and those behind a row where CAUSAL, are left out. */
static __device__ __forceinline__ void powers(float (&s)[FORWARD_STEP / 8][4], running_t &state,
                                              float (&factor)[2], int32_t row, int32_t key, int32_t length,
                                              float scale, bool causal, bool is_cut) {
  const int32_t lane = lane_id();
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int32_t last = causal ? smaller(length - 1, row + half * 8) : length - 1;
    float top = state.max[half], sum = 0.0f;
    if (is_cut)
#pragma unroll
      for (int n = 0; n < FORWARD_STEP / 8; n++)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++)
          if (key + n * 8 + result_col(lane, i) > last) s[n][i] = -INFINITY;
#pragma unroll
    for (int n = 0; n < FORWARD_STEP / 8; n++)
      top = fmaxf(top, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
    top = fmaxf(
        top, __shfl_xor_sync(0xffffffffu, top, 2)); /* finite: the first step has a key that the row sees */
    const float shift = top * scale;
#pragma unroll
    for (int n = 0; n < FORWARD_STEP / 8; n++)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; i++) {
        s[n][i] = power_of_two(fmaf(s[n][i], scale, -shift));
        sum += s[n][i];
      }
    factor[half] = power_of_two(state.max[half] * scale - shift);
    state.max[half] = top;
    state.sum[half] = state.sum[half] * factor[half] + sum;
  }
}

template <int D>
static __device__ void forward_work(forward_shared_t<D> *shared, const attention_t<bf16> &op,
                                    int32_t worker) {
  const int32_t lane = lane_id(), mine = worker * 64 + worker_row();
  const float scale = op.scale * LOG2_E;
  const bf16 *q = shared->q + worker * 64 * RUN_COLS;
  uint32_t steps = 0;
  turns_begin(worker);
  for (uint32_t turn = 0;; turn++) {
    float out[D / 8][4] = {}, s[FORWARD_STEP / 8][4], factor[2];
    uint32_t p[FORWARD_STEP / FRAGMENT][4];
    running_t state = {{-INFINITY, -INFINITY}, {0.0f, 0.0f}};
    barrier_wait(&shared->q_full, turn & 1);
    const int64_t block = shared->block;
    if (block < 0) return;
    const attention_block_t work =
        attention_block(op.tiles[block / op.heads], block, op.heads, FORWARD_ROWS, false);
    const int32_t length = work.tile.length, row = work.tile.first + mine;
    int32_t step = forward_steps(work.tile, op.causal) - 1;
    barrier_wait(&shared->k_full[steps % FORWARD_STAGES], steps / FORWARD_STAGES & 1);
    rows_begin<D, FORWARD_STEP>(s, q, shared->k[steps % FORWARD_STAGES]);
    products_wait<0>();
    products_hold(s);
    release(&shared->k_used[steps % FORWARD_STAGES]);
    powers(s, state, factor, row, step * FORWARD_STEP, length, scale, op.causal, true);
    fragments_pack<FORWARD_STEP>(p, s);
    for (step--, steps++; step >= 0; step--, steps++) {
      const uint32_t stage = steps % FORWARD_STAGES, before = (steps - 1) % FORWARD_STAGES;
      barrier_wait(&shared->k_full[stage], steps / FORWARD_STAGES & 1);
      turn_wait(worker);
      rows_begin<D, FORWARD_STEP>(s, q, shared->k[stage]);
      barrier_wait(&shared->v_full[before], (steps - 1) / FORWARD_STAGES & 1);
      sums_begin<D, FORWARD_STEP>(out, p, shared->v[before]);
      turn_give(worker);
      products_wait<1>();
      products_hold(s);
      release(&shared->k_used[stage]);
      powers(s, state, factor, row, step * FORWARD_STEP, length, scale, op.causal, false);
      products_wait<0>();
      products_hold(out);
      release(&shared->v_used[before]);
#pragma unroll
      for (int d = 0; d < D / 8; d++)
#pragma unroll
        for (int i = 0; i < 4; i++)
          out[d][i] *= factor[i / 2];
      fragments_pack<FORWARD_STEP>(p, s);
    }
    release(&shared->q_used);
    const uint32_t before = (steps - 1) % FORWARD_STAGES;
    barrier_wait(&shared->v_full[before], (steps - 1) / FORWARD_STAGES & 1);
    sums_begin<D, FORWARD_STEP>(out, p, shared->v[before]);
    const int64_t begin = work.tile.begin;
    float each[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum = state.sum[half];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      each[half] = 1.0f / sum;
      if (op.lse && row + half * 8 < length && lane % 4 == 0)
        op.lse[(begin + row + half * 8) * op.heads + work.head] = state.max[half] * op.scale + logf(sum);
    }
    products_wait<0>();
    products_hold(out);
    release(&shared->v_used[before]);
    fragments_store<D>(out, each, op.out + begin * op.ldo + (int64_t)work.head * D, op.ldo, row, length);
  }
}

#endif

template <int D>
static __global__ void __launch_bounds__(TENSOR_THREADS, 1)
    attention_hopper_kernel(const __grid_constant__ forward_maps_t maps,
                            const __grid_constant__ attention_t<bf16> op, int64_t blocks, uint32_t *next) {
  kernel_begin();
#ifdef HAS_WARPGROUPS
  DYNAMIC_SHARED(unsigned char, bytes);
  forward_shared_t<D> *shared = aligned_shared<forward_shared_t<D>>(bytes);
  if (threadIdx.x == 0) {
    barrier_init(&shared->q_full, 1);
    barrier_init(&shared->q_used, WORKER_WARPS);
    for (int i = 0; i < FORWARD_STAGES; i++) {
      barrier_init(&shared->k_full[i], 1);
      barrier_init(&shared->k_used[i], WORKER_WARPS);
      barrier_init(&shared->v_full[i], 1);
      barrier_init(&shared->v_used[i], WORKER_WARPS);
    }
    barrier_init_end();
  }
  __syncthreads();
  if (threadIdx.x < WARPGROUP) {
    registers_give<LOADER_REGISTERS>();
    if (threadIdx.x == 0) forward_load<D>(shared, maps, op, blocks, next);
  } else {
    registers_take<WORKER_REGISTERS>();
    forward_work<D>(shared, op, (int32_t)threadIdx.x / WARPGROUP - 1);
  }
#endif
}

template <int D>
static status_code_t forward(device_t *device, const sequences_t *all, int64_t tiles,
                             const attention_t<bf16> &op) {
  const cuda_state_t *state = cuda_state(device);
  const int64_t rows = sequences_positions(all), blocks = tiles * op.heads, most = state->multiprocessors;
  forward_maps_t maps;
  void *next = nullptr;
  TRY(hopper_map(&maps.q, op.q, rows, (int64_t)op.heads * D, op.ldq, FORWARD_ROWS));
  TRY(hopper_map(&maps.k, op.k, rows, (int64_t)op.heads / op.group * D, op.ldkv, FORWARD_STEP));
  TRY(hopper_map(&maps.v, op.v, rows, (int64_t)op.heads / op.group * D, op.ldkv, FORWARD_STEP));
  TRY(cuda_scratch(device, sizeof(uint32_t), &next));
  TRY_CUDA(cudaMemsetAsync(next, 0, sizeof(uint32_t), state->compute.raw));
  return launch(device, "attention",
                {dim3((unsigned)(blocks < most ? blocks : most)), dim3(TENSOR_THREADS),
                 sizeof(forward_shared_t<D>) + SWIZZLE_ALIGNMENT},
                attention_hopper_kernel<D>, maps, op, blocks, static_cast<uint32_t *>(next));
}

bool hopper_takes(const device_t *device, const attention_t<bf16> &op) {
  return cuda_state(device)->has_warpgroups && op.packed && (op.head_size == 64 || op.head_size == 128);
}

status_code_t attention_hopper(device_t *device, const sequences_t *all, int64_t tiles,
                               const attention_t<bf16> &op) {
  return op.head_size == 64 ? forward<64>(device, all, tiles, op) : forward<128>(device, all, tiles, op);
}

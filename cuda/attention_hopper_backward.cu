/* Gradients of attention on GPUs of compute capability 9.0, heads of 64 and 128; formulas and division of the
 * work are those of attention_backward.cu: dq by blocks of 128 queries that go over keys, dk and dv by blocks
 * of 128 keys that go over the queries of all their heads. A thread of the first warpgroup asks for the
 * copies, the two others have 64 rows each and begin their steps by turns, so that one has its products while
 * the other has its exponentials. */
#include "cuda/attention_hopper.h"

enum { OWN_ROWS = TENSOR_FORWARD_ROWS, KEY_STEP = 128, QUERY_STEP = 64, KEY_STAGES = 2, QUERY_STAGES = 3 };

/* Both kernels: what a block owns (queries and gradients of the output, or keys and values), and steps of the
 * other side. */
template <int D, int STEP, int STAGES> struct backward_shared_t {
  bf16 own[2][OWN_ROWS * D];
  bf16 step[STAGES][2][STEP * D];
  float lse[STAGES][STEP], dots[STAGES][STEP]; /* of the step's queries, where those are what it goes over */
  uint64_t own_full, own_used, full[STAGES], used[STAGES];
  int64_t block; /* the tile and head of what is owned; -1: no more */
};

template <int D> using query_shared_t = backward_shared_t<D, KEY_STEP, KEY_STAGES>;
template <int D> using key_shared_t = backward_shared_t<D, QUERY_STEP, QUERY_STAGES>;

struct backward_maps_t {
  CUtensorMap own[2], step[2];
};

#ifdef HAS_WARPGROUPS

template <int D, int STEP, int STAGES>
static __device__ __forceinline__ void backward_begin(backward_shared_t<D, STEP, STAGES> *shared,
                                                      uint32_t loaders) {
  if (threadIdx.x == 0) {
    barrier_init(&shared->own_full, 1);
    barrier_init(&shared->own_used, WORKER_WARPS);
    for (int i = 0; i < STAGES; i++) {
      barrier_init(&shared->full[i], loaders);
      barrier_init(&shared->used[i], WORKER_WARPS);
    }
    barrier_init_end();
  }
  __syncthreads();
}

/* ---- dq ---- */

static __device__ __forceinline__ int32_t key_steps(const attention_tile_t &tile, bool causal) {
  const int32_t keys = causal ? smaller(tile.length, tile.first + OWN_ROWS) : tile.length;
  return (keys + KEY_STEP - 1) / KEY_STEP;
}

template <int D>
static __device__ void query_load(query_shared_t<D> *shared, const backward_maps_t &maps,
                                  const attention_t<bf16> &op, int64_t blocks, uint32_t *next) {
  uint32_t steps = 0;
  int64_t block = blockIdx.x;
  for (uint32_t turn = 0;; turn++) {
    barrier_wait(&shared->own_used, (turn & 1) ^ 1);
    shared->block = block < blocks ? block : -1;
    if (block >= blocks) {
      barrier_arrive(&shared->own_full);
      return;
    }
    const attention_block_t work =
        attention_block(op.tiles[block / op.heads], block, op.heads, OWN_ROWS, false);
    const int32_t col = work.head / op.group * D, begin = work.tile.begin;
    barrier_expect(&shared->own_full, sizeof shared->own);
#pragma unroll
    for (int i = 0; i < 2; i++)
      tile_fetch<OWN_ROWS, D>(shared->own[i], &maps.own[i], work.head * D, begin + work.tile.first,
                              &shared->own_full);
    for (int32_t step = 0; step < key_steps(work.tile, op.causal); step++, steps++) {
      const uint32_t stage = steps % KEY_STAGES;
      barrier_wait(&shared->used[stage], (steps / KEY_STAGES & 1) ^ 1);
      barrier_expect(&shared->full[stage], sizeof shared->step[0]);
#pragma unroll
      for (int i = 0; i < 2; i++)
        tile_fetch<KEY_STEP, D>(shared->step[stage][i], &maps.step[i], col, begin + step * KEY_STEP,
                                &shared->full[stage]);
    }
    block = (int64_t)gridDim.x + atomicAdd(next, 1u);
  }
}

/* Scores S and products DP of dout and values become ds, packed. */
static __device__ __forceinline__ void query_scores(uint32_t (&packed)[KEY_STEP / FRAGMENT][4],
                                                    float (&s)[KEY_STEP / 8][4], float (&dp)[KEY_STEP / 8][4],
                                                    const float (&lse)[2], const float (&dots)[2],
                                                    int32_t key, const int32_t (&last)[2], float scale,
                                                    bool is_cut) {
  const int32_t lane = lane_id();
#pragma unroll
  for (int n = 0; n < KEY_STEP / 8; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float p = power_of_two(fmaf(s[n][i], scale, -lse[i / 2]));
      const bool is_out = is_cut && key + n * 8 + result_col(lane, i) > last[i / 2];
      dp[n][i] = is_out ? 0.0f : p * (dp[n][i] - dots[i / 2]);
    }
  fragments_pack<KEY_STEP>(packed, dp);
}

template <int D>
static __device__ void query_work(query_shared_t<D> *shared, const attention_t<bf16> &op, int32_t worker) {
  const int32_t mine = worker * 64 + worker_row();
  const float scale = op.scale * LOG2_E;
  uint32_t steps = 0;
  turns_begin(worker);
  for (uint32_t turn = 0;; turn++) {
    float dq[D / 8][4] = {}, s[KEY_STEP / 8][4], dp[KEY_STEP / 8][4], lse[2], dots[2];
    uint32_t ds[KEY_STEP / FRAGMENT][4];
    int32_t last[2];
    barrier_wait(&shared->own_full, turn & 1);
    const int64_t block = shared->block;
    if (block < 0) return;
    const attention_block_t work =
        attention_block(op.tiles[block / op.heads], block, op.heads, OWN_ROWS, false);
    const int32_t length = work.tile.length, row = work.tile.first + mine,
                  count = key_steps(work.tile, op.causal);
    const int64_t begin = work.tile.begin;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int32_t at = row + half * 8;
      const int64_t number = (begin + at) * op.heads + work.head;
      lse[half] = at < length ? op.lse[number] * LOG2_E : INFINITY;
      dots[half] = at < length ? op.dots[number] : 0.0f;
      last[half] = op.causal ? smaller(length - 1, at) : length - 1;
    }
    const bf16 *q = shared->own[0] + worker * 64 * RUN_COLS, *dout = shared->own[1] + worker * 64 * RUN_COLS;
    for (int32_t step = 0; step < count; step++, steps++) {
      const uint32_t stage = steps % KEY_STAGES;
      const bf16 *k = shared->step[stage][0], *v = shared->step[stage][1];
      barrier_wait(&shared->full[stage], steps / KEY_STAGES & 1);
      turn_wait(worker);
      rows_begin<D, KEY_STEP>(s, q, k);
      rows_begin<D, KEY_STEP>(dp, dout, v);
      turn_give(worker);
      products_wait<0>();
      products_hold(s);
      products_hold(dp);
      query_scores(ds, s, dp, lse, dots, step * KEY_STEP, last, scale, step == count - 1);
      sums_begin<D, KEY_STEP>(dq, ds, k);
      products_wait<0>();
      products_hold(dq);
      release(&shared->used[stage]);
    }
    release(&shared->own_used);
    const float factor[2] = {op.scale, op.scale};
    fragments_store<D>(dq, factor, op.dq + begin * op.ldq + (int64_t)work.head * D, op.ldq, row, length);
  }
}

/* ---- dk and dv: scores are transposed, rows are keys, columns queries ---- */

/* The steps of a tile: those of its first head, of the next one, and so on. */
struct query_steps_t {
  int32_t from, each, count; /* the first query; steps of a head; of all */
};
static __device__ __forceinline__ query_steps_t query_steps(const attention_tile_t &tile,
                                                            const attention_t<bf16> &op) {
  query_steps_t steps;
  steps.from = op.causal ? tile.first : 0;
  steps.each = (tile.length - steps.from + QUERY_STEP - 1) / QUERY_STEP;
  steps.count = steps.each * op.group;
  return steps;
}

/* By all lanes of a warp, since each brings numbers of two queries. */
template <int D>
static __device__ void key_load(key_shared_t<D> *shared, const backward_maps_t &maps,
                                const attention_t<bf16> &op, int64_t blocks, uint32_t *next) {
  const int32_t lane = lane_id(), kv_heads = op.heads / op.group;
  uint32_t number = 0;
  int64_t block = blockIdx.x;
  for (uint32_t turn = 0;; turn++) {
    barrier_wait(&shared->own_used, (turn & 1) ^ 1);
    if (block >= blocks) {
      if (lane == 0) {
        shared->block = -1;
        barrier_arrive(&shared->own_full);
      }
      return;
    }
    const attention_block_t work =
        attention_block(op.tiles[block / kv_heads], block, kv_heads, OWN_ROWS, true);
    const query_steps_t steps = query_steps(work.tile, op);
    const int32_t begin = work.tile.begin, length = work.tile.length;
    if (lane == 0) {
      shared->block = block;
      barrier_expect(&shared->own_full, sizeof shared->own);
#pragma unroll
      for (int i = 0; i < 2; i++)
        tile_fetch<OWN_ROWS, D>(shared->own[i], &maps.own[i], work.head * D, begin + work.tile.first,
                                &shared->own_full);
    }
    for (int32_t step = 0; step < steps.count; step++, number++) {
      const uint32_t stage = number % QUERY_STAGES;
      const int32_t head = work.head * op.group + step / steps.each,
                    query = steps.from + step % steps.each * QUERY_STEP;
      barrier_wait(&shared->used[stage], (number / QUERY_STAGES & 1) ^ 1);
      if (lane == 0) {
        barrier_expect(&shared->full[stage], sizeof shared->step[0]);
#pragma unroll
        for (int i = 0; i < 2; i++)
          tile_fetch<QUERY_STEP, D>(shared->step[stage][i], &maps.step[i], head * D, begin + query,
                                    &shared->full[stage]);
      }
      for (int32_t i = lane; i < QUERY_STEP; i += WARP) {
        const int64_t at = ((int64_t)begin + query + i) * op.heads + head;
        shared->lse[stage][i] =
            query + i < length ? op.lse[at] * LOG2_E : INFINITY; /* p = 0 beyond the last */
        shared->dots[stage][i] = query + i < length ? op.dots[at] : 0.0f;
      }
      if (lane != 0) barrier_arrive(&shared->full[stage]);
      __syncwarp();
      if (lane == 0) barrier_arrive(&shared->full[stage]); /* the second of lane 0's, after its stores */
    }
    if (lane == 0) block = (int64_t)gridDim.x + atomicAdd(next, 1u);
    block = __shfl_sync(0xffffffffu, block, 0);
  }
}

template <int D>
static __device__ void key_work(key_shared_t<D> *shared, const attention_t<bf16> &op, int32_t worker) {
  const int32_t mine = worker * 64 + worker_row(), kv_heads = op.heads / op.group, lane = lane_id();
  const float scale = op.scale * LOG2_E;
  uint32_t number = 0;
  turns_begin(worker);
  for (uint32_t turn = 0;; turn++) {
    float dk[D / 8][4] = {}, dv[D / 8][4] = {}, s[QUERY_STEP / 8][4], dp[QUERY_STEP / 8][4];
    uint32_t p[QUERY_STEP / FRAGMENT][4], ds[QUERY_STEP / FRAGMENT][4];
    barrier_wait(&shared->own_full, turn & 1);
    const int64_t block = shared->block;
    if (block < 0) return;
    const attention_block_t work =
        attention_block(op.tiles[block / kv_heads], block, kv_heads, OWN_ROWS, true);
    const query_steps_t steps = query_steps(work.tile, op);
    const int32_t row = work.tile.first + mine;
    const bf16 *k = shared->own[0] + worker * 64 * RUN_COLS, *v = shared->own[1] + worker * 64 * RUN_COLS;
    int32_t query = steps.from;
    for (int32_t step = 0; step < steps.count; step++, number++) {
      const uint32_t stage = number % QUERY_STAGES;
      const bf16 *q = shared->step[stage][0], *dout = shared->step[stage][1];
      const bool is_cut = op.causal && query < work.tile.first + OWN_ROWS;
      barrier_wait(&shared->full[stage], number / QUERY_STAGES & 1);
      turn_wait(worker);
      rows_begin<D, QUERY_STEP>(s, k, q);
      rows_begin<D, QUERY_STEP>(dp, v, dout);
      turn_give(worker);
      products_wait<1>();
      products_hold(s);
#pragma unroll
      for (int n = 0; n < QUERY_STEP / 8; n++) {
        const float2 lse = *reinterpret_cast<const float2 *>(&shared->lse[stage][n * 8 + lane % 4 * 2]);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const bool is_out = is_cut && query + n * 8 + result_col(lane, i) < row + i / 2 * 8;
          s[n][i] = is_out ? 0.0f : power_of_two(fmaf(s[n][i], scale, -(i % 2 ? lse.y : lse.x)));
        }
      }
      fragments_pack<QUERY_STEP>(p, s);
      sums_begin<D, QUERY_STEP>(dv, p, dout);
      products_wait<1>();
      products_hold(dp);
#pragma unroll
      for (int n = 0; n < QUERY_STEP / 8; n++) {
        const float2 dots = *reinterpret_cast<const float2 *>(&shared->dots[stage][n * 8 + lane % 4 * 2]);
#pragma unroll
        for (int i = 0; i < 4; i++)
          dp[n][i] = s[n][i] * (dp[n][i] - (i % 2 ? dots.y : dots.x));
      }
      fragments_pack<QUERY_STEP>(ds, dp);
      sums_begin<D, QUERY_STEP>(dk, ds, q);
      products_wait<0>();
      products_hold(dk);
      products_hold(dv);
      release(&shared->used[stage]);
      query += QUERY_STEP;
      if (query >= work.tile.length) query = steps.from;
    }
    release(&shared->own_used);
    const int64_t place = (int64_t)work.tile.begin * op.ldkv + (int64_t)work.head * D;
    const float factor[2] = {op.scale, op.scale}, one[2] = {1.0f, 1.0f};
    fragments_store<D>(dk, factor, op.dk + place, op.ldkv, row, work.tile.length);
    fragments_store<D>(dv, one, op.dv + place, op.ldkv, row, work.tile.length);
  }
}

#endif

template <int D>
static __global__ void __launch_bounds__(TENSOR_THREADS, 1)
    hopper_query_kernel(const __grid_constant__ backward_maps_t maps,
                        const __grid_constant__ attention_t<bf16> op, int64_t blocks, uint32_t *next) {
  kernel_begin();
#ifdef HAS_WARPGROUPS
  DYNAMIC_SHARED(unsigned char, bytes);
  query_shared_t<D> *shared = aligned_shared<query_shared_t<D>>(bytes);
  backward_begin(shared, 1);
  if (threadIdx.x < WARPGROUP) {
    registers_give<LOADER_REGISTERS>();
    if (threadIdx.x == 0) query_load<D>(shared, maps, op, blocks, next);
  } else {
    registers_take<WORKER_REGISTERS>();
    query_work<D>(shared, op, (int32_t)threadIdx.x / WARPGROUP - 1);
  }
#endif
}

template <int D>
static __global__ void __launch_bounds__(TENSOR_THREADS, 1)
    hopper_key_kernel(const __grid_constant__ backward_maps_t maps,
                      const __grid_constant__ attention_t<bf16> op, int64_t blocks, uint32_t *next) {
  kernel_begin();
#ifdef HAS_WARPGROUPS
  DYNAMIC_SHARED(unsigned char, bytes);
  key_shared_t<D> *shared = aligned_shared<key_shared_t<D>>(bytes);
  backward_begin(shared, WARP + 1);
  if (threadIdx.x < WARPGROUP) {
    registers_give<LOADER_REGISTERS>();
    if (threadIdx.x < WARP) key_load<D>(shared, maps, op, blocks, next);
  } else {
    registers_take<WORKER_REGISTERS>();
    key_work<D>(shared, op, (int32_t)threadIdx.x / WARPGROUP - 1);
  }
#endif
}

template <int D>
static status_code_t backward(device_t *device, const sequences_t *all, int64_t tiles,
                              const attention_t<bf16> &op, uint32_t *next) {
  const cuda_state_t *state = cuda_state(device);
  const int64_t rows = sequences_positions(all), cols = (int64_t)op.heads * D, kv_cols = cols / op.group;
  const auto grid = [&](int64_t blocks, size_t shared) -> launch_t {
    return {dim3((unsigned)(blocks < state->multiprocessors ? blocks : state->multiprocessors)),
            dim3(TENSOR_THREADS), shared + SWIZZLE_ALIGNMENT};
  };
  backward_maps_t maps;
  TRY_CUDA(cudaMemsetAsync(next, 0, 2 * sizeof *next, state->compute.raw));
  TRY(hopper_map(&maps.own[0], op.q, rows, cols, op.ldq, OWN_ROWS));
  TRY(hopper_map(&maps.own[1], op.dout, rows, cols, op.ldo, OWN_ROWS));
  TRY(hopper_map(&maps.step[0], op.k, rows, kv_cols, op.ldkv, KEY_STEP));
  TRY(hopper_map(&maps.step[1], op.v, rows, kv_cols, op.ldkv, KEY_STEP));
  TRY(launch(device, "attention_backward dq", grid(tiles * op.heads, sizeof(query_shared_t<D>)),
             hopper_query_kernel<D>, maps, op, tiles * op.heads, next));
  TRY(hopper_map(&maps.own[0], op.k, rows, kv_cols, op.ldkv, OWN_ROWS));
  TRY(hopper_map(&maps.own[1], op.v, rows, kv_cols, op.ldkv, OWN_ROWS));
  TRY(hopper_map(&maps.step[0], op.q, rows, cols, op.ldq, QUERY_STEP));
  TRY(hopper_map(&maps.step[1], op.dout, rows, cols, op.ldo, QUERY_STEP));
  const int64_t blocks = tiles * (op.heads / op.group);
  return launch(device, "attention_backward dk, dv", grid(blocks, sizeof(key_shared_t<D>)),
                hopper_key_kernel<D>, maps, op, blocks, next + 1);
}

status_code_t attention_backward_hopper(device_t *device, const sequences_t *all, int64_t tiles,
                                        const attention_t<bf16> &op, uint32_t *next) {
  return op.head_size == 64 ? backward<64>(device, all, tiles, op, next)
                            : backward<128>(device, all, tiles, op, next);
}

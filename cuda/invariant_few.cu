/* Batch-invariant products with few rows, those of decode steps: weights are read where they lie, once from
 * memory and again from the cache for each 64 rows; a warp for each of the sums over k. Bytes: n k b of the
 * weight; 2 m n k FLOPs. */
#include "cuda/invariant_product.h"

/* LEFTS tiles of rows of W by RIGHTS of x. */
template <int LEFTS, int RIGHTS> struct few_lane_t { const bf16 *low[LEFTS], *high[LEFTS], *x[RIGHTS]; };

template <int LEFTS, int RIGHTS, int STEPS>
static __device__ __forceinline__ void few_multiply(float (&sum)[LEFTS][RIGHTS][4],
                                                    const few_lane_t<LEFTS, RIGHTS> &lane, int64_t k) {
  uint4 low[STEPS][LEFTS], high[STEPS][LEFTS];
#pragma unroll
  for (int s = 0; s < STEPS; s++)
#pragma unroll
    for (int l = 0; l < LEFTS; l++) {
      low[s][l] = load_lane(lane.low[l] + k + s * INVARIANT_STEP);
      high[s][l] = load_lane(lane.high[l] + k + s * INVARIANT_STEP);
    }
#pragma unroll
  for (int s = 0; s < STEPS; s++)
#pragma unroll
    for (int r = 0; r < RIGHTS; r++) {
      const uint4 x = load_lane(lane.x[r] + k + s * INVARIANT_STEP);
#pragma unroll
      for (int l = 0; l < LEFTS; l++)
        multiply_step(sum[l][r], low[s][l], high[s][l], x);
    }
}

/* One step at K, zeros where the lane IS not THERE. */
template <int LEFTS, int RIGHTS>
static __device__ __forceinline__ void
few_multiply_rest(float (&sum)[LEFTS][RIGHTS][4], const few_lane_t<LEFTS, RIGHTS> &lane, int64_t k,
                  bool is_there, const bool (&low_there)[LEFTS], const bool (&high_there)[LEFTS]) {
#pragma unroll
  for (int r = 0; r < RIGHTS; r++) {
    const uint4 x = load_lane(lane.x[r] + k, is_there);
#pragma unroll
    for (int l = 0; l < LEFTS; l++)
      multiply_step(sum[l][r], load_lane(lane.low[l] + k, is_there && low_there[l]),
                    load_lane(lane.high[l] + k, is_there && high_there[l]), x);
  }
}

template <int LEFTS, int RIGHTS, class C>
static __device__ __forceinline__ void few_adapter(float (&sum)[LEFTS][RIGHTS][4], const invariant_t<C> &op,
                                                   const invariant_block_t &work, int32_t g, int32_t in_row) {
  const invariant_part_t &part = *work.part;
  few_lane_t<LEFTS, RIGHTS> lane;
  bool low_there[LEFTS], high_there[LEFTS];
#pragma unroll
  for (int l = 0; l < LEFTS; l++) {
    const int64_t low = work.w_first + l * LEFT_TILE + g, high = low + LEFT_TILE / 2;
    low_there[l] = low >= part.b_begin && low < part.b_end;
    high_there[l] = high >= part.b_begin && high < part.b_end;
    lane.low[l] = part.b + (low_there[l] ? low - part.b_begin : 0) * op.rank + in_row;
    lane.high[l] = part.b + (high_there[l] ? high - part.b_begin : 0) * op.rank + in_row;
  }
#pragma unroll
  for (int r = 0; r < RIGHTS; r++)
    lane.x[r] = part.u + at_most(work.x_first + r * RIGHT_TILE + g, op.rows - 1) * op.ldu + in_row;
  for (int32_t k = 0; k < op.rank; k += INVARIANT_STEP)
    few_multiply_rest(sum, lane, k, k + in_row < op.rank, low_there, high_there);
}

/* To SUMS (RIGHTS * 8, LEFTS * 16) of this warp. */
template <int LEFTS, int RIGHTS>
static __device__ __forceinline__ void few_keep(const float (&sum)[LEFTS][RIGHTS][4], float *sums, int32_t g,
                                                int32_t pair) {
#pragma unroll
  for (int l = 0; l < LEFTS; l++)
#pragma unroll
    for (int r = 0; r < RIGHTS; r++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        sums[(r * RIGHT_TILE + pair * 2 + i % 2) * LEFTS * LEFT_TILE + l * LEFT_TILE + g +
             i / 2 * (LEFT_TILE / 2)] = sum[l][r][i];
}

template <class C, int LEFTS, int RIGHTS>
static __global__ void __launch_bounds__(INVARIANT_THREADS)
    invariant_few_kernel(const __grid_constant__ invariant_t<C> op) {
  kernel_begin();
  constexpr int W_ROWS = LEFTS * LEFT_TILE, X_ROWS = RIGHTS * RIGHT_TILE, NUMBERS = W_ROWS * X_ROWS;
  constexpr int STEPS = LEFTS == 1 ? INVARIANT_RUN / INVARIANT_STEP : 2;
  DYNAMIC_SHARED(float, sums); /* of each warp, and the adapter's */
  const invariant_block_t work = invariant_block(op, W_ROWS, X_ROWS, 1);
  const invariant_part_t &part = *work.part;
  const int32_t thread = threadIdx.x, warp = thread / WARP, g = thread % WARP / 4, pair = thread % 4,
                in_row = pair * LANE_RUN;
  few_lane_t<LEFTS, RIGHTS> lane;
  float sum[LEFTS][RIGHTS][4] = {};
  bool all_there[LEFTS];
#pragma unroll
  for (int l = 0; l < LEFTS; l++) {
    const int64_t low = work.w_first + l * LEFT_TILE + g;
    lane.low[l] = part.w + at_most(low, part.rows - 1) * op.k + in_row;
    lane.high[l] = part.w + at_most(low + LEFT_TILE / 2, part.rows - 1) * op.k + in_row;
    all_there[l] = true;
  }
#pragma unroll
  for (int r = 0; r < RIGHTS; r++)
    lane.x[r] = op.x + at_most(work.x_first + r * RIGHT_TILE + g, op.rows - 1) * op.ldx + in_row;
  for (int64_t run = (int64_t)warp * INVARIANT_RUN; run < op.k; run += INVARIANT_PARTS * INVARIANT_RUN) {
    if (run + INVARIANT_RUN <= op.k) {
#pragma unroll
      for (int s = 0; s < INVARIANT_RUN; s += STEPS * INVARIANT_STEP)
        few_multiply<LEFTS, RIGHTS, STEPS>(sum, lane, run + s);
    } else {
      for (int64_t k = run; k < op.k; k += INVARIANT_STEP)
        few_multiply_rest(sum, lane, k, k + in_row < op.k, all_there, all_there);
    }
  }
  few_keep(sum, sums + warp * NUMBERS, g, pair);
  if (part.b && warp == INVARIANT_PARTS - 1) {
    float added[LEFTS][RIGHTS][4] = {};
    few_adapter(added, op, work, g, in_row);
    few_keep(added, sums + INVARIANT_PARTS * NUMBERS, g, pair);
  }
  __syncthreads();
  for (int32_t i = thread; i < NUMBERS; i += INVARIANT_THREADS) {
    const int64_t row = work.x_first + i / W_ROWS, in_part = work.w_first + i % W_ROWS;
    if (row >= op.rows || in_part >= part.rows) continue;
    float value[1] = {0.0f};
    for (int32_t w = 0; w < INVARIANT_PARTS; w++)
      value[0] += sums[w * NUMBERS + i];
    if (part.b) value[0] = fmaf(op.scale, sums[INVARIANT_PARTS * NUMBERS + i], value[0]);
    invariant_store(op, row, part.col + in_part, value);
  }
}

/* ---- Launches ---- */

template <class C, int LEFTS, int RIGHTS>
static status_code_t launch_few(device_t *device, invariant_t<C> *op) {
  constexpr int W_ROWS = LEFTS * LEFT_TILE, X_ROWS = RIGHTS * RIGHT_TILE;
  const size_t shared = (INVARIANT_PARTS + 1) * W_ROWS * X_ROWS * sizeof(float);
  return launch(device, "batch-invariant product of few rows",
                {dim3(invariant_tiles(op, W_ROWS, X_ROWS)), dim3(INVARIANT_THREADS), shared},
                invariant_few_kernel<C, LEFTS, RIGHTS>, *op);
}

template <class C> status_code_t invariant_few(device_t *device, invariant_t<C> *op) {
  if (op->rows <= RIGHT_TILE) return launch_few<C, 1, 1>(device, op);
  if (op->rows <= 2 * RIGHT_TILE) return launch_few<C, 1, 2>(device, op);
  if (op->rows <= 4 * RIGHT_TILE) return launch_few<C, 2, 4>(device, op);
  return launch_few<C, 2, 8>(device, op);
}

template status_code_t invariant_few<float>(device_t *, invariant_t<float> *);
template status_code_t invariant_few<bf16>(device_t *, invariant_t<bf16> *);

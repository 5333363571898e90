/* Batch-invariant products with many rows, those of prefill and training: tiles of W and x pass through
 * shared memory, to which they are copied some steps ahead. A warp has all sums over k of its tile, one after
 * the other. 2 m n k FLOPs. */
#include "cuda/invariant_product.h"

enum {
  MANY_SIDE = 128, /* rows of W, and of x, of a block */
  MANY_LEFTS = 4,  /* tiles of a warp: 64 rows of W ... */
  MANY_RIGHTS = 4, /* ... by 32 of x */
  MANY_W_WARPS = MANY_SIDE / (MANY_LEFTS * LEFT_TILE),
  MANY_STAGES = 4,
  MANY_GROUP = 8,                         /* tiles of W that take turns */
  MANY_TILE = MANY_SIDE * INVARIANT_STEP, /* elements of W, or of x, of a step */
  MANY_LD = MANY_SIDE + 4                 /* of sums on their way to y */
};
static_assert(MANY_W_WARPS * (MANY_SIDE / (MANY_RIGHTS * RIGHT_TILE)) == INVARIANT_PARTS, "all warps work");

/* The steps of a product in their order: PART is the sum that they add to, INVARIANT_PARTS the adapter's. */
struct steps_t {
  int64_t k, depth;
  int32_t part, rank, in_run;

  __device__ __forceinline__ bool is_over() const {
    return part > INVARIANT_PARTS || (part == INVARIANT_PARTS && rank == 0);
  }
  __device__ __forceinline__ void next() {
    k += INVARIANT_STEP;
    in_run += INVARIANT_STEP;
    if (part == INVARIANT_PARTS) {
      if (k >= rank) part++;
      return;
    }
    if (in_run < INVARIANT_RUN && k < depth) return;
    k += (int64_t)INVARIANT_PARTS * INVARIANT_RUN - in_run;
    in_run = 0;
    if (k < depth) return;
    part++;
    k = (int64_t)part * INVARIANT_RUN;
    if (part < INVARIANT_PARTS && k < depth) return;
    part = INVARIANT_PARTS;
    k = 0;
  }
};

/* Begins to copy step AT of both factors to stage TO. */
template <class C>
static __device__ __forceinline__ void many_load(bf16 *to, const invariant_t<C> &op,
                                                 const invariant_block_t &work, const steps_t &at) {
  constexpr int CHUNKS = INVARIANT_STEP / LANE_RUN; /* of a row */
  const invariant_part_t &part = *work.part;
  const bool is_adapter = at.part == INVARIANT_PARTS;
  const int64_t depth = is_adapter ? op.rank : op.k, ldx = is_adapter ? op.ldu : op.ldx,
                w_begin = is_adapter ? part.b_begin : 0, w_end = is_adapter ? part.b_end : part.rows;
  const bf16 *w = is_adapter ? part.b : part.w, *x = is_adapter ? part.u : op.x;
#pragma unroll
  for (int32_t i = threadIdx.x; i < MANY_SIDE * CHUNKS; i += INVARIANT_THREADS) {
    const int64_t k = at.k + i % CHUNKS * LANE_RUN, w_row = work.w_first + i / CHUNKS,
                  x_row = work.x_first + i / CHUNKS;
    const bool w_there = k < depth && w_row >= w_begin && w_row < w_end,
               x_there = k < depth && x_row < op.rows;
    copy_begin(to + i * LANE_RUN, w + (w_there ? (w_row - w_begin) * depth + k : 0), w_there);
    copy_begin(to + MANY_TILE + i * LANE_RUN, x + (x_there ? x_row * ldx + k : 0), x_there);
  }
}

/* A step of a warp, whose rows of W and x begin at W and X in shared memory. */
static __device__ __forceinline__ void many_multiply(float (&sum)[MANY_LEFTS][MANY_RIGHTS][4], const bf16 *w,
                                                     const bf16 *x) {
  uint4 right[MANY_RIGHTS];
#pragma unroll
  for (int r = 0; r < MANY_RIGHTS; r++)
    right[r] = load_lane(x + r * RIGHT_TILE * INVARIANT_STEP);
#pragma unroll
  for (int l = 0; l < MANY_LEFTS; l++) {
    const uint4 low = load_lane(w + l * LEFT_TILE * INVARIANT_STEP),
                high = load_lane(w + (l * LEFT_TILE + LEFT_TILE / 2) * INVARIANT_STEP);
#pragma unroll
    for (int r = 0; r < MANY_RIGHTS; r++)
      multiply_step(sum[l][r], low, high, right[r]);
  }
}

/* total += sum, or the adapter's times SCALE; sum = 0. */
static __device__ __forceinline__ void many_fold(float (&total)[MANY_LEFTS][MANY_RIGHTS][4],
                                                 float (&sum)[MANY_LEFTS][MANY_RIGHTS][4], bool is_adapter,
                                                 float scale) {
#pragma unroll
  for (int l = 0; l < MANY_LEFTS; l++)
#pragma unroll
    for (int r = 0; r < MANY_RIGHTS; r++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        total[l][r][i] =
            is_adapter ? fmaf(scale, sum[l][r][i], total[l][r][i]) : __fadd_rn(total[l][r][i], sum[l][r][i]);
        sum[l][r][i] = 0.0f;
      }
}

/* TOTAL of all warps to y, by way of SUMS (x's rows, W's rows; MANY_LD) in shared memory. */
template <class C>
static __device__ __forceinline__ void
many_store(const float (&total)[MANY_LEFTS][MANY_RIGHTS][4], float *sums, const invariant_t<C> &op,
           const invariant_block_t &work, int32_t w_row, int32_t x_row, int32_t pair, bool packed) {
#pragma unroll
  for (int l = 0; l < MANY_LEFTS; l++)
#pragma unroll
    for (int r = 0; r < MANY_RIGHTS; r++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        sums[(x_row + r * RIGHT_TILE + pair * 2 + i % 2) * MANY_LD + w_row + l * LEFT_TILE +
             i / 2 * (LEFT_TILE / 2)] = total[l][r][i];
  __syncthreads();
  for (int32_t i = threadIdx.x; i < MANY_SIDE * MANY_SIDE / LANE_RUN; i += INVARIANT_THREADS) {
    const int32_t x = i / (MANY_SIDE / LANE_RUN), w = i % (MANY_SIDE / LANE_RUN) * LANE_RUN;
    const int64_t row = work.x_first + x, in_part = work.w_first + w;
    if (row >= op.rows) continue;
    if (packed && in_part + LANE_RUN <= work.part->rows) {
      float values[LANE_RUN];
      run_load<LANE_RUN>(sums + x * MANY_LD + w, values);
      invariant_store(op, row, work.part->col + in_part, values);
    } else {
      for (int32_t j = 0; j < LANE_RUN && in_part + j < work.part->rows; j++) {
        float value[1] = {sums[x * MANY_LD + w + j]};
        invariant_store(op, row, work.part->col + in_part + j, value);
      }
    }
  }
}

/* PACKED: y, residual and bias can be accessed by 16 bytes. */
template <class C>
static __global__ void __launch_bounds__(INVARIANT_THREADS, 1)
    invariant_many_kernel(const __grid_constant__ invariant_t<C> op, bool packed) {
  kernel_begin();
  DYNAMIC_SHARED(bf16, stages);
  const invariant_block_t work = invariant_block(op, MANY_SIDE, MANY_SIDE, MANY_GROUP);
  const int32_t thread = threadIdx.x, warp = thread / WARP, g = thread % WARP / 4, pair = thread % 4,
                w_row = warp % MANY_W_WARPS * MANY_LEFTS * LEFT_TILE + g,
                x_row = warp / MANY_W_WARPS * MANY_RIGHTS * RIGHT_TILE;
  const int32_t w_at = w_row * INVARIANT_STEP + pair * LANE_RUN,
                x_at = MANY_TILE + (x_row + g) * INVARIANT_STEP + pair * LANE_RUN;
  steps_t fetched = {0, op.k, 0, work.part->b ? op.rank : 0, 0}, done = fetched;
  float total[MANY_LEFTS][MANY_RIGHTS][4] = {}, sum[MANY_LEFTS][MANY_RIGHTS][4] = {};
  int32_t to = 0, from = 0;
#pragma unroll
  for (int s = 0; s < MANY_STAGES - 1; s++) {
    if (!fetched.is_over()) {
      many_load(stages + to * 2 * MANY_TILE, op, work, fetched);
      fetched.next();
    }
    copy_group();
    to++;
  }
  while (!done.is_over()) {
    copy_wait<MANY_STAGES - 2>();
    __syncthreads(); /* the stage is there, and the one before is used */
    if (!fetched.is_over()) {
      many_load(stages + to * 2 * MANY_TILE, op, work, fetched);
      fetched.next();
    }
    copy_group();
    to = to + 1 == MANY_STAGES ? 0 : to + 1;
    const bf16 *stage = stages + from * 2 * MANY_TILE;
    many_multiply(sum, stage + w_at, stage + x_at);
    from = from + 1 == MANY_STAGES ? 0 : from + 1;
    const int32_t part = done.part;
    done.next();
    if (done.part != part) many_fold(total, sum, part == INVARIANT_PARTS, op.scale);
  }
  copy_end();
  __syncthreads();
  many_store(total, reinterpret_cast<float *>(stages), op, work, w_row, x_row, pair, packed);
}

/* ---- Launch ---- */

template <class C> status_code_t invariant_many(device_t *device, invariant_t<C> *op) {
  const size_t stages = (size_t)MANY_STAGES * 2 * MANY_TILE * sizeof(bf16),
               sums = (size_t)MANY_SIDE * MANY_LD * sizeof(float);
  bool packed = rows_packed(op->y, op->ldy) && is_packed(op->residual) && is_packed(op->bias);
  for (int32_t p = 0; p < op->parts; p++)
    packed = packed && op->part[p].col % LANE_RUN == 0;
  return launch(device, "batch-invariant product",
                {dim3(invariant_tiles(op, MANY_SIDE, MANY_SIDE)), dim3(INVARIANT_THREADS),
                 stages > sums ? stages : sums},
                invariant_many_kernel<C>, *op, packed);
}

template status_code_t invariant_many<float>(device_t *, invariant_t<float> *);
template status_code_t invariant_many<bf16>(device_t *, invariant_t<bf16> *);

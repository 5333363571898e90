/* Products with few rows, those of decode steps: bound by memory, the weight read once where it lies. Bytes:
 * n k b of the weight, beside which x and y are nothing; 2 m n k FLOPs. A warp works on 16 rows of the weight
 * for up to 8 COLUMNS rows of x, by tensor cores, whose operands its lanes load as they lie: what a lane
 * calls k need only be the same in both operands, so that it takes 16 bytes of each. How k is shared out and
 * in which order it is summed depends on k alone, and not on the number of rows. */
#include "cuda/gemm.h"
#include "cuda/last_block.h"
#include "cuda/mma.h"

enum {
  FEW_THREADS = 256,
  FEW_WARPS = FEW_THREADS / WARP,
  FEW_TILE = 16,   /* rows of the weight */
  FEW_STEP = 32,   /* elements along k that a warp takes at once, 8 for each lane of a row */
  FEW_GROUP = 4,   /* steps that follow each other; the next group is another warp's */
  FEW_BLOCKS = 3,  /* a multiprocessor */
  FEW_COLUMNS = 8, /* rows of x in one product of tensor cores */
  FEW_ROWS_MOST = 16,
  FEW_SPAN = FEW_STEP * FEW_GROUP,
  FEW_LINE = 64 /* elements of 128 bytes, the unit of the second-level cache */
};

/* A weight, and the adapter on columns B_BEGIN .. B_END - 1 of its result; or an adapter's A, with its result
 * U_TO (NULL: a weight). */
struct few_part_t {
  const bf16 *w;
  bf16 *u_to;
  int64_t rows, ld;
  const bf16 *u, *b; /* NULL: none */
  int64_t b_begin, b_end;
  int32_t tile; /* the first of its tiles */
  int64_t col;  /* the first of its columns of y */
};

template <class C> struct few_t {
  int32_t rows, parts, tiles;
  int32_t share;      /* warps that share a tile, each with a part of k: a power of two */
  int32_t tiles_each; /* of a block */
  int32_t fetched;    /* groups that a warp asks for before x is there */
  bool streams;       /* and goes on asking for so many ahead */
  int32_t a_blocks;   /* the first blocks, which multiply by A; the others wait for them before they add B */
  few_part_t part[2 * LINEAR_SEGMENTS];
  int64_t k, ldx;
  const bf16 *x;
  int32_t rank;
  int64_t ldu;
  float alpha, beta, scale;
  const bf16 *bias;
  const C *before;
  C *y;
  int64_t ldy;
};

/* 16 bytes that are used once: they take no place in the first-level cache. */
static __device__ __forceinline__ uint4 load_once(const bf16 *from) {
#ifdef __CUDACC__
  uint4 bits;
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(bits.x), "=r"(bits.y), "=r"(bits.z), "=r"(bits.w)
               : "l"(from)
               : "memory");
  return bits;
#else
  return *reinterpret_cast<const uint4 *>(from);
#endif
}
static __device__ __forceinline__ uint4 load_shared_by_all(const bf16 *from) {
  return *reinterpret_cast<const uint4 *>(from);
}
/* To the second-level cache, which all writers go through: allowed before kernel_wait. */
static __device__ __forceinline__ void fetch_line(const bf16 *from) {
#ifdef __CUDACC__
  asm volatile("prefetch.global.L2 [%0];" : : "l"(from));
#else
  (void)from;
#endif
}

/* Rows LOW and HIGH = LOW + 8 of the tile by 8 rows of x, over FEW_STEP of k. */
static __device__ __forceinline__ void multiply_step(float (&sum)[4], const uint4 &low, const uint4 &high,
                                                     const uint4 &x) {
  const uint32_t first[4] = {low.x, high.x, low.y, high.y}, second[4] = {low.z, high.z, low.w, high.w};
  multiply_add(sum, first, x.x, x.y);
  multiply_add(sum, second, x.z, x.w);
}

/* What a lane loads of two matrices: of rows LOW and HIGH of the first, and of 8 COLUMNS rows of the second.
 */
template <int COLUMNS> struct lane_t { const bf16 *low, *high, *x[COLUMNS]; };

template <int COLUMNS, int STEPS>
static __device__ __forceinline__ void multiply_steps(float (&sum)[COLUMNS][4], const lane_t<COLUMNS> &lane,
                                                      int64_t k) {
  uint4 low[STEPS], high[STEPS], x[COLUMNS][STEPS];
#pragma unroll
  for (int s = 0; s < STEPS; s++) {
    low[s] = load_once(lane.low + k + s * FEW_STEP);
    high[s] = load_once(lane.high + k + s * FEW_STEP);
  }
#pragma unroll
  for (int c = 0; c < COLUMNS; c++)
#pragma unroll
    for (int s = 0; s < STEPS; s++)
      x[c][s] = load_shared_by_all(lane.x[c] + k + s * FEW_STEP);
#pragma unroll
  for (int s = 0; s < STEPS; s++)
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
      multiply_step(sum[c], low[s], high[s], x[c][s]);
}

/* One step at K, zeros where the lane IS not THERE. FRESH: x was written by blocks of this kernel. */
template <int COLUMNS, bool FRESH>
static __device__ __forceinline__ void multiply_rest(float (&sum)[COLUMNS][4], const lane_t<COLUMNS> &lane,
                                                     int64_t k, bool low_there, bool high_there,
                                                     bool x_there) {
  const uint4 none = make_uint4(0, 0, 0, 0);
  const uint4 low = low_there ? load_once(lane.low + k) : none,
              high = high_there ? load_once(lane.high + k) : none;
#pragma unroll
  for (int c = 0; c < COLUMNS; c++)
    multiply_step(sum[c], low, high,
                  !x_there ? none
                  : FRESH  ? load_fresh(reinterpret_cast<const uint4 *>(lane.x[c] + k))
                           : load_shared_by_all(lane.x[c] + k));
}

static __device__ __forceinline__ int64_t at_most(int64_t i, int64_t most) {
  return i < most ? i : most;
}

/* The part that TILE belongs to. */
template <class C>
static __device__ __forceinline__ const few_part_t &part_of(const few_t<C> &op, int32_t tile) {
  int32_t p = op.parts - 1;
  while (p > 0 && tile < op.part[p].tile)
    p--;
  return op.part[p];
}

/* The part of k that falls to warp SHARE of a tile. */
template <int COLUMNS, class C>
static __device__ __forceinline__ void multiply_share(float (&sum)[COLUMNS][4], const few_t<C> &op,
                                                      const lane_t<COLUMNS> &lane, int32_t share,
                                                      int32_t in_row, const bf16 *lines, int64_t in_line) {
  constexpr int STEPS = COLUMNS == 1 ? FEW_GROUP : FEW_GROUP / 2;
  const int32_t groups = (int32_t)(op.k / FEW_SPAN), ahead = op.streams ? op.fetched * op.share : groups;
  for (int32_t group = share; group < groups; group += op.share) {
    if (group + ahead < groups) fetch_line(lines + in_line + (int64_t)(group + ahead) * FEW_SPAN);
#pragma unroll
    for (int s = 0; s < FEW_GROUP; s += STEPS)
      multiply_steps<COLUMNS, STEPS>(sum, lane, (int64_t)group * FEW_SPAN + s * FEW_STEP);
  }
  if ((groups & (op.share - 1)) != share) return;
  for (int64_t k = (int64_t)groups * FEW_SPAN; k < op.k; k += FEW_STEP) {
    const bool there = k + in_row < op.k;
    multiply_rest<COLUMNS, false>(sum, lane, k, there, there, there);
  }
}

/* sum = alpha sum + scale u b^T: B's rows are those of columns FIRST and FIRST + 8 of the part's result. */
template <int COLUMNS, class C>
static __device__ __forceinline__ void add_adapter(float (&sum)[COLUMNS][4], const few_t<C> &op,
                                                   const few_part_t &part, int64_t first, int32_t share,
                                                   int32_t in_row) {
  const int32_t g = threadIdx.x % WARP / 4;
  const int64_t second = first + FEW_TILE / 2;
  const bool low_there = first >= part.b_begin && first < part.b_end,
             high_there = second >= part.b_begin && second < part.b_end;
  float added[COLUMNS][4] = {};
  lane_t<COLUMNS> lane;
  lane.low = part.b + (low_there ? first - part.b_begin : 0) * op.rank + in_row;
  lane.high = part.b + (high_there ? second - part.b_begin : 0) * op.rank + in_row;
#pragma unroll
  for (int c = 0; c < COLUMNS; c++)
    lane.x[c] = part.u + at_most(c * FEW_COLUMNS + g, op.rows - 1) * op.ldu + in_row;
  for (int32_t k = share * FEW_STEP; k < op.rank; k += op.share * FEW_STEP) {
    const bool there = k + in_row < op.rank;
    multiply_rest<COLUMNS, true>(added, lane, k, there && low_there, there && high_there, there);
  }
#pragma unroll
  for (int c = 0; c < COLUMNS; c++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      sum[c][i] = op.alpha * sum[c][i] + op.scale * added[c][i];
}

/* Blocks that have multiplied by A, and others that have ended; both 0 whenever no kernel runs. Blocks start
 * in the order of their numbers, so that those waited for are at work or done. */
static __device__ unsigned few_arrived, few_left;

static __device__ __forceinline__ void wait_for_a(int32_t a_blocks) {
  if (threadIdx.x == 0) {
    while (*static_cast<volatile unsigned *>(&few_arrived) < (unsigned)a_blocks) {
    }
    __threadfence();
  }
  __syncthreads();
}

static __device__ __forceinline__ void end_of_block(int32_t a_blocks) {
  if ((int32_t)blockIdx.x < a_blocks) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(&few_arrived, 1u);
  } else if (threadIdx.x == 0 && atomicAdd(&few_left, 1u) == gridDim.x - (unsigned)a_blocks - 1u) {
    few_arrived = few_left = 0;
  }
}

template <class C, int COLUMNS>
static __global__ void __launch_bounds__(FEW_THREADS, FEW_BLOCKS)
    few_kernel(const __grid_constant__ few_t<C> op) {
  kernel_release();
  __shared__ float sums[FEW_WARPS][COLUMNS][FEW_TILE][FEW_COLUMNS];
  const int32_t thread = threadIdx.x, warp = thread / WARP, lane_number = thread % WARP, g = lane_number / 4,
                in_row = lane_number % 4 * 8, share = warp & (op.share - 1),
                first_tile = (int32_t)blockIdx.x * op.tiles_each;
  const int32_t tile = (int32_t)at_most(first_tile + warp * op.tiles_each / FEW_WARPS, op.tiles - 1);
  const few_part_t &part = part_of(op, tile);
  const int64_t row = (int64_t)(tile - part.tile) * FEW_TILE, in_line = lane_number % 2 * FEW_LINE;
  const bf16 *lines = part.w + at_most(row + lane_number / 2, part.rows - 1) * part.ld;
  for (int32_t i = 0; i < op.fetched; i++) {
    const int64_t k = ((int64_t)i * op.share + share) * FEW_SPAN + in_line;
    if (k < op.k) fetch_line(lines + k);
  }
  kernel_wait();

  lane_t<COLUMNS> lane;
  float sum[COLUMNS][4] = {};
  lane.low = part.w + at_most(row + g, part.rows - 1) * part.ld + in_row;
  lane.high = part.w + at_most(row + g + FEW_TILE / 2, part.rows - 1) * part.ld + in_row;
#pragma unroll
  for (int c = 0; c < COLUMNS; c++)
    lane.x[c] = op.x + at_most(c * FEW_COLUMNS + g, op.rows - 1) * op.ldx + in_row;
  multiply_share(sum, op, lane, share, in_row, lines, in_line);
  if (op.a_blocks > 0 && (int32_t)blockIdx.x >= op.a_blocks) wait_for_a(op.a_blocks);
  if (part.b) {
    add_adapter(sum, op, part, row + g, share, in_row);
  } else {
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        sum[c][i] *= op.alpha;
  }
#pragma unroll
  for (int c = 0; c < COLUMNS; c++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      sums[warp][c][g + i / 2 * (FEW_TILE / 2)][lane_number % 4 * 2 + i % 2] = sum[c][i];
  __syncthreads();

  for (int32_t i = thread; i < op.tiles_each * COLUMNS * FEW_COLUMNS * FEW_TILE; i += FEW_THREADS) {
    const int32_t in_tile = i % FEW_TILE, x_row = i / FEW_TILE % (COLUMNS * FEW_COLUMNS),
                  number = i / (FEW_TILE * COLUMNS * FEW_COLUMNS);
    if (x_row >= op.rows || first_tile + number >= op.tiles) continue;
    const few_part_t &into = part_of(op, first_tile + number);
    const int64_t in_part = (int64_t)(first_tile + number - into.tile) * FEW_TILE + in_tile;
    const int64_t col = into.col + in_part, at = x_row * op.ldy + col;
    if (in_part >= into.rows) continue;
    float value = 0.0f;
    for (int32_t w = 0; w < op.share; w++)
      value += sums[number * op.share + w][x_row / FEW_COLUMNS][in_tile][x_row % FEW_COLUMNS];
    if (into.u_to) {
      into.u_to[x_row * op.ldu + in_part] = store_float<bf16>(value);
      continue;
    }
    if (op.beta != 0.0f) value += op.beta * load_float(op.before[at]);
    if (op.bias) value += load_float(op.bias[col]);
    op.y[at] = store_float<C>(value);
  }
  if (op.a_blocks > 0) end_of_block(op.a_blocks);
}

/* ---- Launches ---- */

/* Warps that share a tile: one for each 256 of k. */
static int32_t share_of(int64_t k) {
  int32_t share = 1;
  while (share < FEW_WARPS && k >= (int64_t)share * 2 * 2 * FEW_SPAN)
    share *= 2;
  return share;
}

/* Whether rows from POINTER on, LD elements apart, can be loaded by 16 bytes. */
static bool rows_packed(const void *pointer, int64_t ld) {
  return is_packed(pointer) && ld % pack_t<bf16>::N == 0;
}

/* PARTS of OP have weights and adapters; the rest is filled in. */
template <class C> static status_code_t few_launch(device_t *device, few_t<C> *op) {
  const cuda_state_t *state = cuda_state(device);
  int64_t col = 0;
  op->share = share_of(op->k);
  op->tiles_each = FEW_WARPS / op->share;
  for (int32_t i = 0; i < op->parts; i++) {
    few_part_t *part = &op->part[i];
    if (i > 0 && !part->u_to && op->part[i - 1].u_to) { /* blocks are of the one kind or the other */
      op->a_blocks = (op->tiles + op->tiles_each - 1) / op->tiles_each;
      op->tiles = op->a_blocks * op->tiles_each;
    }
    part->tile = op->tiles;
    part->col = col;
    op->tiles += (int32_t)((part->rows + FEW_TILE - 1) / FEW_TILE);
    if (!part->u_to) col += part->rows;
  }
  const launch_t shape = launch_over(op->tiles, op->tiles_each, FEW_THREADS);
  /* As many groups as a third of the cache holds for the blocks that run at once. */
  const int64_t most = (int64_t)state->multiprocessors * FEW_BLOCKS,
                blocks = (int64_t)shape.grid.x < most ? (int64_t)shape.grid.x : most,
                group_bytes = (int64_t)FEW_WARPS * FEW_TILE * FEW_SPAN * (int64_t)sizeof(bf16),
                groups = (int64_t)state->l2_bytes / 3 / (blocks * group_bytes),
                warp_groups = (op->k + FEW_SPAN - 1) / FEW_SPAN / op->share + 1;
  op->streams = blocks < most;
  op->fetched = (int32_t)(groups < 1 ? 1 : groups < warp_groups ? groups : warp_groups);
  return launch(device, "product of few rows", shape,
                op->rows <= FEW_COLUMNS ? few_kernel<C, 1> : few_kernel<C, FEW_ROWS_MOST / FEW_COLUMNS>, *op);
}

template <class C> static status_code_t few_gemm(device_t *device, const op_gemm_t *op, const bf16 *weight) {
  few_t<C> few = {};
  few.rows = (int32_t)op->m;
  few.parts = 1;
  few.part[0].w = weight;
  few.part[0].rows = op->n;
  few.part[0].ld = op->ldb;
  few.k = op->k;
  few.x = real<bf16>(op->a);
  few.ldx = op->lda;
  few.alpha = (float)op->alpha;
  few.beta = (float)op->beta;
  few.bias = real<bf16>(op->bias);
  few.before = static_cast<const C *>(op->before ? op->before : op->c);
  few.y = static_cast<C *>(op->c);
  few.ldy = op->ldc;
  return few_launch(device, &few);
}

static bool few_fits(const device_t *device, int64_t rows, int64_t k, activation_t activation) {
  return device->real_type == DTYPE_BF16 && rows > 0 && rows <= FEW_ROWS_MOST && k % pack_t<bf16>::N == 0 &&
         activation == ACTIVATION_NONE;
}

static status_code_t matrix_vector_cuda(device_t *device, const op_gemm_t *op, bool *taken) {
  const void *weight = op->weight ? op->weight->data : op->b;
  *taken = few_fits(device, op->m, op->k, op->activation) && !op->trans_a && op->trans_b &&
           !(op->weight && op->weight->format == WEIGHT_NF4) && rows_packed(weight, op->ldb) &&
           rows_packed(op->a, op->lda);
  if (!*taken) return STATUS_OK;
  const bf16 *w = static_cast<const bf16 *>(weight);
  return op->c_wide ? few_gemm<float>(device, op, w) : few_gemm<bf16>(device, op, w);
}

/* ---- Linear operations: all A, weights and B in one kernel ---- */

static bool linear_fits(const device_t *device, const op_linear_t *op) {
  if (!few_fits(device, op->rows, op->in, op->activation) || !rows_packed(op->x, op->ldx)) return false;
  for (int32_t i = 0; i < op->segments; i++) {
    const linear_segment_t *segment = &op->segment[i];
    if (segment->weight.format == WEIGHT_NF4 || !rows_packed(segment->weight.data, op->in)) return false;
    if (segment->a && !rows_packed(segment->a, op->in)) return false;
    if (segment->b && !(rows_packed(segment->b, op->lora_rank) && rows_packed(segment->u, op->ldu)))
      return false;
  }
  return true;
}

/* All A are the first parts. */
template <class C> static void few_parts_of_a(few_t<C> *few, device_t *device, const op_linear_t *op) {
  for (int32_t i = 0, count; i<op->segments; i += count> 0 ? count : 1) {
    count = linear_adapters(device, op, i);
    if (count == 0) continue;
    few_part_t *part = &few->part[few->parts++];
    part->w = real<bf16>(op->segment[i].a);
    part->u_to = real<bf16>(op->segment[i].u);
    part->rows = (int64_t)count * op->lora_rank;
    part->ld = op->in;
  }
}

template <class C> static status_code_t few_linear(device_t *device, const op_linear_t *op) {
  few_t<C> few = {};
  few.rows = (int32_t)op->rows;
  few_parts_of_a(&few, device, op);
  for (int32_t i = 0, count; i < op->segments; i += count, few.parts++) {
    /* Weights that are one matrix are one part where no adapters lie between them. */
    const linear_segment_t *segment = &op->segment[i];
    few_part_t *part = &few.part[few.parts];
    count = segment->b ? 1 : linear_weights(device, op, i);
    for (int32_t j = 1; j < count; j++)
      if (op->segment[i + j].b) count = j;
    part->w = static_cast<const bf16 *>(segment->weight.data);
    part->rows = linear_weight(op, i, count).rows;
    part->ld = op->in;
    part->u = real<bf16>(segment->u);
    part->b = real<bf16>(segment->b);
    part->b_begin = segment->b_begin;
    part->b_end = segment->b_begin + segment->b_rows;
  }
  few.k = op->in;
  few.x = real<bf16>(op->x);
  few.ldx = op->ldx;
  few.rank = op->lora_rank;
  few.ldu = op->ldu;
  few.alpha = 1.0f;
  few.beta = op->residual ? 1.0f : 0.0f;
  few.scale = (float)op->lora_scale;
  few.bias = real<bf16>(op->bias);
  few.before = reinterpret_cast<const C *>(op->residual);
  few.y = static_cast<C *>(op->y);
  few.ldy = op->ldy;
  return few_launch(device, &few);
}

status_t cuda_linear_few(device_t *device, const op_linear_t *op, bool *taken) {
  *taken = linear_fits(device, op);
  if (!*taken || op->out == 0) return STATUS_OK;
  return op->y_wide ? few_linear<float>(device, op) : few_linear<bf16>(device, op);
}

void cuda_fill_matrix_vector(cuda_state_t *state) {
  state->matrix_vector = matrix_vector_cuda;
}

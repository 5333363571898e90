/* What kernels for products with few rows share. A block has FEW_WARPS / share tiles of 16 rows of a weight;
 * the warps of a tile share k out among them, and their sums are added in the order of the warps. */
#ifndef CUDA_MATRIX_VECTOR_H
#define CUDA_MATRIX_VECTOR_H

#include "cuda/gemm.h"
#include "cuda/last_block.h"
#include "cuda/mma.h"
#include "cuda/nf4.h"

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
  FEW_SPAN_BYTES = FEW_SPAN * sizeof(bf16),
  FEW_LINE_BYTES = 128 /* the unit of the second-level cache */
};

/* A weight, and the adapter on columns B_BEGIN .. B_END - 1 of its result; or an adapter's A, with its result
 * U_TO (NULL: a weight). */
struct few_part_t {
  const bf16 *w; /* NULL: in NF4 */
  nf4_view_t nf4;
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

/* What a warp works on: its share of k of TILE, which begins with row ROW of PART. */
struct few_place_t {
  int32_t first_tile, tile, share;
  const few_part_t *part;
  int64_t row;
};

static __device__ __forceinline__ uint4 load_shared_by_all(const bf16 *from) {
  return *reinterpret_cast<const uint4 *>(from);
}
/* To the second-level cache, which all writers go through: allowed before kernel_wait. */
static __device__ __forceinline__ void fetch_line(const void *from) {
#ifdef __CUDACC__
  asm volatile("prefetch.global.L2 [%0];" : : "l"(from));
#else
  (void)from;
#endif
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

template <class C> static __device__ __forceinline__ few_place_t place_of(const few_t<C> &op) {
  const int32_t warp = (int32_t)threadIdx.x / WARP;
  few_place_t place;
  place.share = warp & (op.share - 1);
  place.first_tile = (int32_t)blockIdx.x * op.tiles_each;
  place.tile = (int32_t)at_most(place.first_tile + warp * op.tiles_each / FEW_WARPS, op.tiles - 1);
  place.part = &part_of(op, place.tile);
  place.row = (int64_t)(place.tile - place.part->tile) * FEW_TILE;
  return place;
}

/* The place in its row of W from which a lane fetches a line of a group that begins at 0. */
static __device__ __forceinline__ const unsigned char *lines_of(const few_place_t &place) {
  const few_part_t &part = *place.part;
  const int32_t lane = (int32_t)threadIdx.x % WARP;
  const int64_t row = at_most(place.row + lane / 2, part.rows - 1);
  return reinterpret_cast<const unsigned char *>(part.w + row * part.ld) + lane % 2 * FEW_LINE_BYTES;
}
template <class C>
static __device__ __forceinline__ void fetch_ahead(const few_t<C> &op, const few_place_t &place) {
  const unsigned char *lines = lines_of(place);
  for (int32_t i = 0; i < op.fetched; i++) {
    const int64_t at = ((int64_t)i * op.share + place.share) * FEW_SPAN_BYTES;
    if (at + (int32_t)threadIdx.x % 2 * FEW_LINE_BYTES < op.k * (int64_t)sizeof(bf16)) fetch_line(lines + at);
  }
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

/* A lane's first elements of k. */
static __device__ __forceinline__ int32_t in_row() {
  return (int32_t)threadIdx.x % 4 * pack_t<bf16>::N;
}
/* The row of a tile and of x that a lane has. */
static __device__ __forceinline__ int32_t lane_row() {
  return (int32_t)threadIdx.x % WARP / 4;
}

template <int COLUMNS, class C>
static __device__ __forceinline__ lane_t<COLUMNS> lane_of(const few_t<C> &op, const few_place_t &place) {
  const few_part_t &part = *place.part;
  const int32_t g = lane_row();
  lane_t<COLUMNS> lane;
  lane.low = part.w + at_most(place.row + g, part.rows - 1) * part.ld + in_row();
  lane.high = part.w + at_most(place.row + g + FEW_TILE / 2, part.rows - 1) * part.ld + in_row();
#pragma unroll
  for (int c = 0; c < COLUMNS; c++)
    lane.x[c] = op.x + at_most(c * FEW_COLUMNS + g, op.rows - 1) * op.ldx + in_row();
  return lane;
}

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

/* What is left of k behind the last whole group. */
template <int COLUMNS, class C>
static __device__ __forceinline__ void multiply_end(float (&sum)[COLUMNS][4], const few_t<C> &op,
                                                    const lane_t<COLUMNS> &lane, int32_t share) {
  const int32_t groups = (int32_t)(op.k / FEW_SPAN);
  if ((groups & (op.share - 1)) != share) return;
  for (int64_t k = (int64_t)groups * FEW_SPAN; k < op.k; k += FEW_STEP) {
    const bool there = k + in_row() < op.k;
    multiply_rest<COLUMNS, false>(sum, lane, k, there, there, there);
  }
}

/* Of a warp: STAGES groups of the weight that it has asked for, as its lanes take them. A lane copies only
 * what it uses itself, so that no thread waits for another. */
template <int STAGES> struct few_ring_t { uint4 of[FEW_WARPS][STAGES][2 * FEW_GROUP][WARP]; };

/* The part of k that falls to warp SHARE of a tile, STAGES groups on their way all the time. Sums in the
 * order of multiply_direct. */
template <int COLUMNS, int STAGES, class C>
static __device__ __forceinline__ void multiply_ring(float (&sum)[COLUMNS][4], const few_t<C> &op,
                                                     const lane_t<COLUMNS> &lane, int32_t share,
                                                     few_ring_t<STAGES> *ring) {
  const int32_t groups = (int32_t)(op.k / FEW_SPAN);
  uint4(*const stages)[2 * FEW_GROUP][WARP] = ring->of[threadIdx.x / WARP];
  const int32_t number = (int32_t)threadIdx.x % WARP;
  const auto ask = [&](int32_t group, int32_t stage) {
    if (group < groups) {
      const bf16 *low = lane.low + (int64_t)group * FEW_SPAN, *high = lane.high + (int64_t)group * FEW_SPAN;
#pragma unroll
      for (int s = 0; s < FEW_GROUP; s++) {
        copy_begin(&stages[stage][2 * s][number], low + s * FEW_STEP, true);
        copy_begin(&stages[stage][2 * s + 1][number], high + s * FEW_STEP, true);
      }
    }
    copy_group();
  };
#pragma unroll
  for (int stage = 0; stage < STAGES; stage++)
    ask(share + stage * op.share, stage);
  int32_t stage = 0;
#pragma unroll 1
  for (int32_t group = share; group < groups; group += op.share) {
    uint4 x[COLUMNS][FEW_GROUP];
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
#pragma unroll
      for (int s = 0; s < FEW_GROUP; s++)
        x[c][s] = load_shared_by_all(lane.x[c] + (int64_t)group * FEW_SPAN + s * FEW_STEP);
    copy_wait<STAGES - 1>();
#pragma unroll
    for (int s = 0; s < FEW_GROUP; s++) {
      const uint4 low = stages[stage][2 * s][number], high = stages[stage][2 * s + 1][number];
#pragma unroll
      for (int c = 0; c < COLUMNS; c++)
        multiply_step(sum[c], low, high, x[c][s]);
    }
    ask(group + STAGES * op.share, stage); /* into the place that was just read */
    stage = stage + 1 < STAGES ? stage + 1 : 0;
  }
  multiply_end(sum, op, lane, share);
}

/* sum = alpha sum + scale u b^T: B's rows are those of columns FIRST and FIRST + 8 of the part's result. */
template <int COLUMNS, class C>
static __device__ __forceinline__ void add_adapter(float (&sum)[COLUMNS][4], const few_t<C> &op,
                                                   const few_part_t &part, int64_t first, int32_t share) {
  const int32_t g = lane_row();
  const int64_t second = first + FEW_TILE / 2;
  const bool low_there = first >= part.b_begin && first < part.b_end,
             high_there = second >= part.b_begin && second < part.b_end;
  float added[COLUMNS][4] = {};
  lane_t<COLUMNS> lane;
  lane.low = part.b + (low_there ? first - part.b_begin : 0) * op.rank + in_row();
  lane.high = part.b + (high_there ? second - part.b_begin : 0) * op.rank + in_row();
#pragma unroll
  for (int c = 0; c < COLUMNS; c++)
    lane.x[c] = part.u + at_most(c * FEW_COLUMNS + g, op.rows - 1) * op.ldu + in_row();
  for (int32_t k = share * FEW_STEP; k < op.rank; k += op.share * FEW_STEP) {
    const bool there = k + in_row() < op.rank;
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

/* The block's results from the SUM of each of its warps. */
template <int COLUMNS, class C>
static __device__ __forceinline__ void few_finish(float (&sum)[COLUMNS][4], const few_t<C> &op,
                                                  const few_place_t &place) {
  __shared__ float sums[FEW_WARPS][COLUMNS][FEW_TILE][FEW_COLUMNS];
  const few_part_t &part = *place.part;
  const int32_t thread = threadIdx.x, g = lane_row();
  if (op.a_blocks > 0 && (int32_t)blockIdx.x >= op.a_blocks) wait_for_a(op.a_blocks);
  if (part.b) {
    add_adapter(sum, op, part, place.row + g, place.share);
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
      sums[thread / WARP][c][g + i / 2 * (FEW_TILE / 2)][thread % 4 * 2 + i % 2] = sum[c][i];
  __syncthreads();

  for (int32_t i = thread; i < op.tiles_each * COLUMNS * FEW_COLUMNS * FEW_TILE; i += FEW_THREADS) {
    const int32_t in_tile = i % FEW_TILE, x_row = i / FEW_TILE % (COLUMNS * FEW_COLUMNS),
                  number = i / (FEW_TILE * COLUMNS * FEW_COLUMNS);
    if (x_row >= op.rows || place.first_tile + number >= op.tiles) continue;
    const few_part_t &into = part_of(op, place.first_tile + number);
    const int64_t in_part = (int64_t)(place.first_tile + number - into.tile) * FEW_TILE + in_tile;
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

/* ---- Weights in NF4 (matrix_vector_nf4.cu) ---- */

/* Whether there is a kernel for WEIGHT; the elements of k of a group. */
bool few_nf4_fits(const weight_t *weight);
int64_t few_nf4_span();
/* Starts it for OP, whose weights are all in NF4. */
status_code_t few_nf4_launch(device_t *device, const launch_t &shape, const few_t<float> &op);
status_code_t few_nf4_launch(device_t *device, const launch_t &shape, const few_t<bf16> &op);

#endif

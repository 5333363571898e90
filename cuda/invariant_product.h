/* Batch-invariant products x W^T in bf16, by `mma.sync`: a number of y has the same bits however many rows x
 * has. Kernels for few and for many rows follow one rule. W's rows are the left factor and x's the right one;
 * k is taken in steps of INVARIANT_STEP, within which lanes share it out as 16 bytes lie; runs of
 * INVARIANT_RUN elements go to INVARIANT_PARTS sums in turn, each summed in order; the sums are added in
 * order; then, rounded one by one, come an adapter's sum, which is one and in order, the residual and the
 * bias. */
#ifndef CUDA_INVARIANT_PRODUCT_H
#define CUDA_INVARIANT_PRODUCT_H

#include "cuda/map.h"
#include "cuda/mma.h"

enum {
  INVARIANT_STEP = 32, /* elements along k of two products of tensor cores */
  INVARIANT_RUN = 128, /* of one sum, before the next one's */
  INVARIANT_PARTS = 8, /* sums; of few rows each is a warp's */
  LANE_RUN = 8,        /* elements that a lane loads at once */
  LEFT_TILE = 16,      /* rows of W, of one product of tensor cores */
  RIGHT_TILE = 8,      /* rows of x */
  INVARIANT_THREADS = INVARIANT_PARTS * WARP
};

/* A weight, its place in y, and the adapter on columns B_BEGIN .. B_END - 1 of its result. */
struct invariant_part_t {
  const bf16 *w;
  int64_t rows;
  const bf16 *u, *b; /* NULL: none */
  int64_t b_begin, b_end;
  int64_t col;  /* the first of its columns of y */
  int32_t tile; /* the first of its tiles */
};

template <class C> struct invariant_t {
  int32_t parts, tiles, row_tiles;
  invariant_part_t part[LINEAR_SEGMENTS];
  int64_t rows, k, ldx;
  const bf16 *x;
  int32_t rank;
  int64_t ldu;
  float scale;
  const C *residual;
  const bf16 *bias;
  C *y;
  int64_t ldy;
};

/* What a block works on: rows W_FIRST .. of a part, rows X_FIRST .. of x. */
struct invariant_block_t {
  const invariant_part_t *part;
  int64_t w_first, x_first;
};

/* GROUP tiles of W that follow each other take turns, with one tile of x after the other: what blocks at work
 * at one time read of both is in the cache. */
template <class C>
static __device__ __forceinline__ invariant_block_t invariant_block(const invariant_t<C> &op, int32_t w_tile,
                                                                    int32_t x_tile, int32_t group) {
  const int32_t block = (int32_t)blockIdx.x, first = block / (group * op.row_tiles) * group,
                left = op.tiles - first, turns = left < group ? left : group,
                in_group = block - first * op.row_tiles, tile = first + in_group % turns;
  int32_t p = op.parts - 1;
  while (p > 0 && tile < op.part[p].tile)
    p--;
  return {&op.part[p], (int64_t)(tile - op.part[p].tile) * w_tile, (int64_t)(in_group / turns) * x_tile};
}

/* Rows g and g + 8 of 16 rows of W by 8 rows of x, over a step; lanes have 16 bytes of each row. */
static __device__ __forceinline__ void multiply_step(float (&sum)[4], const uint4 &low, const uint4 &high,
                                                     const uint4 &x) {
  const uint32_t first[4] = {low.x, high.x, low.y, high.y}, second[4] = {low.z, high.z, low.w, high.w};
  multiply_add(sum, first, x.x, x.y);
  multiply_add(sum, second, x.z, x.w);
}

static __device__ __forceinline__ uint4 load_lane(const bf16 *from) {
  return *reinterpret_cast<const uint4 *>(from);
}
static __device__ __forceinline__ uint4 load_lane(const bf16 *from, bool is_there) {
  return is_there ? load_lane(from) : make_uint4(0, 0, 0, 0);
}

static __device__ __forceinline__ int64_t at_most(int64_t i, int64_t most) {
  return i < most ? i : most;
}

/* N numbers of y that lie side by side, from their SUMS on. */
template <int N, class C>
static __device__ __forceinline__ void invariant_store(const invariant_t<C> &op, int64_t row, int64_t col,
                                                       float (&value)[N]) {
  const int64_t at = row * op.ldy + col;
  if (op.residual) {
    float added[N];
    run_load<N>(op.residual + at, added);
#pragma unroll
    for (int j = 0; j < N; j++)
      value[j] = __fadd_rn(value[j], added[j]);
  }
  if (op.bias) {
    float added[N];
    run_load<N>(op.bias + col, added);
#pragma unroll
    for (int j = 0; j < N; j++)
      value[j] = __fadd_rn(value[j], added[j]);
  }
  run_store<N>(op.y + at, value);
}

/* ---- Launches ---- */

static inline bool rows_packed(const void *pointer, int64_t ld) {
  return is_packed(pointer) && ld % pack_t<bf16>::N == 0;
}

/* Tiles of W_TILE rows of each part's weight, and of X_TILE rows of x; one block for each pair. */
template <class C>
static inline unsigned invariant_tiles(invariant_t<C> *op, int32_t w_tile, int32_t x_tile) {
  op->tiles = 0;
  for (int32_t p = 0; p < op->parts; p++) {
    op->part[p].tile = op->tiles;
    op->tiles += (int32_t)((op->part[p].rows + w_tile - 1) / w_tile);
  }
  op->row_tiles = (int32_t)((op->rows + x_tile - 1) / x_tile);
  return (unsigned)op->tiles * (unsigned)op->row_tiles;
}

/* All of OP but its tiles, by the kernel for as few rows as INVARIANT_FEW_MOST, or for many. */
enum { INVARIANT_FEW_MOST = 128 }; /* a guess, until it is measured */
template <class C> status_code_t invariant_few(device_t *device, invariant_t<C> *op);
template <class C> status_code_t invariant_many(device_t *device, invariant_t<C> *op);
extern template status_code_t invariant_few<float>(device_t *, invariant_t<float> *);
extern template status_code_t invariant_few<bf16>(device_t *, invariant_t<bf16> *);
extern template status_code_t invariant_many<float>(device_t *, invariant_t<float> *);
extern template status_code_t invariant_many<bf16>(device_t *, invariant_t<bf16> *);

#endif

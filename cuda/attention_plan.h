/* How attention is cut into blocks, and where the lanes of a warp find the elements of tensor cores'
 * fragments. Plain C, used by kernels and tested on the host. */
#ifndef CUDA_ATTENTION_PLAN_H
#define CUDA_ATTENTION_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __CUDACC__
#define PLAN_FUNCTION static inline __host__ __device__
#else
#define PLAN_FUNCTION static inline
#endif

/* ---- Tiles of a packed batch ---- */

enum {
  TENSOR_HEAD_MOST = 128,    /* heads above are worked on without tensor cores */
  ATTENTION_HEAD_MOST = 256, /* the largest there are */
  TENSOR_FORWARD_ROWS = 128, /* queries of a block */
  TENSOR_BACKWARD_ROWS = 64, /* queries, or keys, of a block */
  PLAIN_ROWS = 32            /* both, without tensor cores */
};

typedef struct {
  bool tensor_cores;
  int32_t forward_rows, backward_rows;
} attention_shape_t;

PLAN_FUNCTION attention_shape_t attention_shape(int32_t head_size, bool is_bf16) {
  attention_shape_t shape = {false, PLAIN_ROWS, PLAIN_ROWS};
  if (is_bf16 && head_size <= TENSOR_HEAD_MOST) {
    shape.tensor_cores = true;
    shape.forward_rows = TENSOR_FORWARD_ROWS;
    shape.backward_rows = TENSOR_BACKWARD_ROWS;
  }
  return shape;
}

/* Rows FIRST .. of the sequence of LENGTH positions that begins at BEGIN. */
typedef struct {
  int32_t begin, length, first;
} attention_tile_t;
enum { TILE_NUMBERS = sizeof(attention_tile_t) / sizeof(int32_t) };

/* Tiles of ROWS rows of COUNT sequences, those of a sequence together, its last rows first; to LIST where
 * not NULL. Returns how many. */
static inline int64_t attention_tiles(int32_t count, const int32_t *offsets, int32_t rows,
                                      attention_tile_t *list) {
  int64_t tiles = 0;
  for (int32_t b = 0; b < count; b++) {
    const int32_t begin = offsets[b], length = offsets[b + 1] - begin;
    if (!list) {
      tiles += (length + rows - 1) / rows;
      continue;
    }
    for (int32_t first = (length - 1) / rows * rows; first >= 0 && length > 0; first -= rows) {
      const attention_tile_t tile = {begin, length, first};
      list[tiles++] = tile;
    }
  }
  return tiles;
}

/* What block BLOCK works on: a tile and a head. All tiles of a sequence's head follow each other, so that
 * they find its keys and values in the cache. */
typedef struct {
  attention_tile_t tile;
  int32_t head;
} attention_block_t;

/* TILE is number BLOCK / HEADS of the list, which is of the same sequence. ASCENDING: its first rows first.
 */
PLAN_FUNCTION attention_block_t attention_block(attention_tile_t tile, int64_t block, int32_t heads,
                                                int32_t rows, bool ascending) {
  const int32_t tiles = (tile.length + rows - 1) / rows;
  const int64_t begin = block / heads - (tiles - 1 - tile.first / rows);
  const int32_t inside = (int32_t)(block - begin * heads), place = inside % tiles;
  attention_block_t work;
  work.tile = tile;
  work.tile.first = (ascending ? place : tiles - 1 - place) * rows;
  work.head = inside / tiles;
  return work;
}

/* ---- Parts of a sequence in the cache ---- */

/* Positions of a part: fixed, so that a sequence's sums do not depend on the others. */
enum { SPLIT_POSITIONS = 64, SPLIT_GROUP_MOST = 8 };

PLAN_FUNCTION int32_t split_count(int64_t positions) {
  return (int32_t)((positions + SPLIT_POSITIONS - 1) / SPLIT_POSITIONS);
}

/* ---- Fragments of m16n8k16, two products beside each other ---- */

/* Element I of the four that LANE has of a 16 x 8 result. */
PLAN_FUNCTION int32_t result_row(int32_t lane, int32_t i) {
  return lane / 4 + i / 2 * 8;
}
PLAN_FUNCTION int32_t result_col(int32_t lane, int32_t i) {
  return lane % 4 * 2 + i % 2;
}

/* Eight neighbouring elements whose address LANE gives, so that four 8 x 8 matrices become a fragment. LEFT:
 * 16 rows by 16 columns of the left factor; or of the right one, where its rows are summed over (with
 * transposition). RIGHT: 16 rows by 16 columns of the right one, where its columns are summed over. */
PLAN_FUNCTION int32_t left_row(int32_t lane) {
  return lane % 16;
}
PLAN_FUNCTION int32_t left_col(int32_t lane) {
  return lane / 16 * 8;
}
PLAN_FUNCTION int32_t right_row(int32_t lane) {
  return lane % 8 + lane / 16 * 8;
}
PLAN_FUNCTION int32_t right_col(int32_t lane) {
  return lane / 8 % 2 * 8;
}

#endif

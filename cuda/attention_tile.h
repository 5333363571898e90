/* Attention on tensor cores, bf16: what forward and backward pass share. A block of four warps owns rows
 * (queries, or keys for their gradients), 16 or 32 a warp, and goes over the others in steps. Operands lie in
 * shared memory, in rows padded by 16 bytes so that no two of eight neighbouring rows begin in one bank.
 * Scores stay in registers: as they come out of one product they go into the next one as its left factor. */
#ifndef CUDA_ATTENTION_TILE_H
#define CUDA_ATTENTION_TILE_H

#include "cuda/attention.h"
#include "cuda/mma.h"

#include <type_traits>

enum { TILE_WARPS = 4, TILE_THREADS = TILE_WARPS * WARP, FRAGMENT = 16, CHUNK = 8 };
template <int D> constexpr int tile_ld = D + CHUNK;
static constexpr float LOG2_E = 1.44269504f, LOG_2 = 0.693147181f;

static __device__ __forceinline__ int32_t lane_id() {
  return (int32_t)threadIdx.x % WARP;
}

/* Rows FIRST .. of LENGTH rows of HEAD_SIZE elements into ROWS rows of TO; zeros beyond. By copies that
 * copy_end waits for, where OP is packed. */
template <int ROWS, int D>
static __device__ __forceinline__ void tile_load(bf16 *to, const bf16 *from, int64_t ld, int32_t first,
                                                 int32_t length, const attention_t<bf16> &op) {
#pragma unroll 2
  for (int32_t i = threadIdx.x; i < ROWS * D / CHUNK; i += TILE_THREADS) {
    const int32_t row = i / (D / CHUNK), col = i % (D / CHUNK) * CHUNK;
    const bool is_there = first + row < length && col < op.head_size;
    const bf16 *source = from + (is_there ? (int64_t)(first + row) * ld + col : 0);
    bf16 *place = to + row * tile_ld<D> + col;
    if (op.packed) {
      copy_begin(place, source, is_there);
    } else {
      for (int j = 0; j < CHUNK; j++)
        place[j] = is_there && col + j < op.head_size ? source[j] : store_float<bf16>(0.0f);
    }
  }
}

/* c (TILES of 16 rows, COLS of 8) = a b^T: rows of A and of B, D elements each. */
template <int TILES, int COLS, int D>
static __device__ __forceinline__ void multiply_rows(float (&c)[TILES][COLS][4], const bf16 *a,
                                                     const bf16 *b) {
  const int32_t lane = lane_id();
#pragma unroll
  for (int t = 0; t < TILES; t++)
#pragma unroll
    for (int n = 0; n < COLS; n++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        c[t][n][i] = 0.0f;
  const bf16 *left = a + left_row(lane) * tile_ld<D> + left_col(lane),
             *right = b + right_row(lane) * tile_ld<D> + right_col(lane);
#pragma unroll
  for (int k = 0; k < D; k += FRAGMENT) {
    uint32_t left_of[TILES][4], right_of[4];
#pragma unroll
    for (int t = 0; t < TILES; t++)
      load_matrices(left_of[t], left + t * FRAGMENT * tile_ld<D> + k);
#pragma unroll
    for (int n = 0; n < COLS; n += 2) {
      load_matrices(right_of, right + n * 8 * tile_ld<D> + k);
#pragma unroll
      for (int t = 0; t < TILES; t++) {
        multiply_add(c[t][n], left_of[t], right_of[0], right_of[1]);
        multiply_add(c[t][n + 1], left_of[t], right_of[2], right_of[3]);
      }
    }
  }
}

/* c (TILES of 16 rows, OUTS of 8 columns) += a b: A as multiply_rows leaves it (rounded to bf16), B has as
 * many rows of D elements as that has columns. */
template <int TILES, int COLS, int D, int OUTS>
static __device__ __forceinline__ void multiply_scores(float (&c)[TILES][OUTS][4],
                                                       const float (&a)[TILES][COLS][4], const bf16 *b) {
  const int32_t lane = lane_id();
  const bf16 *right = b + left_row(lane) * tile_ld<D> + left_col(lane);
#pragma unroll
  for (int n = 0; n < COLS; n += 2) {
    uint32_t left_of[TILES][4], right_of[4];
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        left_of[t][i] = pack_two(a[t][n + i / 2][i % 2 * 2], a[t][n + i / 2][i % 2 * 2 + 1]);
#pragma unroll
    for (int d = 0; d < OUTS; d += 2) {
      load_matrices_transposed(right_of, right + n * 8 * tile_ld<D> + d * 8);
#pragma unroll
      for (int t = 0; t < TILES; t++) {
        multiply_add(c[t][d], left_of[t], right_of[0], right_of[1]);
        multiply_add(c[t][d + 1], left_of[t], right_of[2], right_of[3]);
      }
    }
  }
}

/* The warp's rows of C, times FACTOR of each, to row FIRST .. of TO, by way of ROWS in shared memory, which
 * are the warp's own. */
template <int TILES, int D>
static __device__ __forceinline__ void
tile_store(const float (&c)[TILES][D / 8][4], const float (&factor)[TILES][2], bf16 *rows, bf16 *to,
           int64_t ld, int32_t first, int32_t length, const attention_t<bf16> &op) {
  const int32_t lane = lane_id();
  __syncwarp();
#pragma unroll
  for (int t = 0; t < TILES; t++)
#pragma unroll
    for (int d = 0; d < D / 8; d++)
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        bf16 *place = rows + (t * FRAGMENT + result_row(lane, i)) * tile_ld<D> + d * 8 + result_col(lane, i);
        *reinterpret_cast<uint32_t *>(place) =
            pack_two(c[t][d][i] * factor[t][i / 2], c[t][d][i + 1] * factor[t][i / 2]);
      }
  __syncwarp();
  for (int32_t i = lane; i < TILES * FRAGMENT * D / CHUNK; i += WARP) {
    const int32_t row = i / (D / CHUNK), col = i % (D / CHUNK) * CHUNK;
    const bf16 *source = rows + row * tile_ld<D> + col;
    bf16 *place = to + (int64_t)(first + row) * ld + col;
    if (first + row >= length || col >= op.head_size) continue;
    if (op.packed) {
      pack_store(place, pack_load(source));
    } else {
      for (int j = 0; j < CHUNK && col + j < op.head_size; j++)
        place[j] = source[j];
    }
  }
}

/* CALL with the head size that kernels are made for, a constant. */
template <class F> static inline status_code_t with_tile_size(int32_t head_size, F &&call) {
  if (head_size <= 64) return call(std::integral_constant<int, 64>());
  return call(std::integral_constant<int, TENSOR_HEAD_MOST>());
}

#endif

/* Numbers in the order in which the tiles of Intel AMX take them. A tile of the left factor of a product has
 * up to AMX_TILE rows of AMX_DEPTH numbers of bf16; one of the right factor has AMX_DEPTH / 2 rows of a pair
 * of numbers for each column: rows 2 i and 2 i + 1 of the factor in turn.
 *
 * A float is, exactly, the sum of AMX_PARTS numbers of bf16: its upper 8 bits, the next 8 and the last 8. So
 * a product of floats with a weight of bf16 is the sum of as many products in bf16, which tiles add up in
 * float (Henry, Tang, Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For
 * Higher-Precision Computations", 2019). What lies below 2^-126, of a part as of a weight, counts as zero. */
#ifndef TENSOR_CPU_SIMD_AMX_PACK_H
#define TENSOR_CPU_SIMD_AMX_PACK_H

#include "tensor/cpu/simd/gemm_steps.h"
#include "tensor/cpu/simd/tile.h"

enum {
  AMX_TILE = 16,                       /* rows of a tile, and columns of one of sums */
  AMX_DEPTH = 32,                      /* of a product of two tiles */
  AMX_PARTS = 3,                       /* of a float */
  AMX_HALVES = AMX_TILE * AMX_DEPTH,   /* numbers of bf16 in a tile */
  AMX_LINE = 64,                       /* bytes of a tile's row */
  AMX_STEP_A = AMX_PARTS * AMX_HALVES, /* AMX_TILE rows of a, AMX_DEPTH deep */
};

static inline int64_t amx_steps(int64_t depth) {
  return (depth + AMX_DEPTH - 1) / AMX_DEPTH;
}

/* The upper 16 bits of the floats of A, then of B. */
ALWAYS_INLINE __m512i amx_upper_halves(vec_t a, vec_t b) {
  const __m512i odd = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29,
                                       27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  return _mm512_permutex2var_epi16((__m512i)a, odd, (__m512i)b);
}

/* X * FACTOR, rounded: not fused with what follows, in one place and not in another. */
ALWAYS_INLINE vec_t amx_times(vec_t x, float factor) {
  x *= factor;
  __asm__("" : "+v"(x));
  return x;
}

/* The parts of the floats of A, then of B, the largest first. */
ALWAYS_INLINE void amx_split(vec_t a, vec_t b, __m512i parts[AMX_PARTS]) {
  const __m512i upper = _mm512_set1_epi32(-65536);
#pragma GCC unroll 3
  for (int p = 0; p < AMX_PARTS; p++) {
    parts[p] = amx_upper_halves(a, b);
    a -= (vec_t)_mm512_and_si512((__m512i)a, upper);
    b -= (vec_t)_mm512_and_si512((__m512i)b, upper);
  }
}

/* The parts of N <= AMX_DEPTH numbers of alpha * op(a) from (ROW, K) on, zero behind them. */
ALWAYS_INLINE void amx_split_row(const op_gemm_t *op, int64_t row, int64_t k, int64_t n,
                                 __m512i parts[AMX_PARTS]) {
  const float *a = (const float *)op->a;
  const float alpha = (float)op->alpha;
  float gathered[AMX_DEPTH];
  const float *from = a + row * op->lda + k;
  if (op->trans_a) {
    for (int64_t i = 0; i < n; i++)
      gathered[i] = a[(k + i) * op->lda + row];
    from = gathered;
  }
  if (n == AMX_DEPTH) {
    amx_split(amx_times(vec_load(from), alpha), amx_times(vec_load(from + LANES), alpha), parts);
    return;
  }
  vec_t first = vec_load_part(from, gemm_min_int(n, LANES));
  vec_t second = n > LANES ? vec_load_part(from + LANES, n - LANES) : (vec_t){0};
  amx_split(amx_times(first, alpha), amx_times(second, alpha), parts);
}

/* Tiles of the left factor, (steps, AMX_PARTS): rows ROW .. ROW + ROWS - 1 (at most AMX_TILE) of alpha *
 * op(a), zero where rows are missing and behind DEPTH. */
static inline void amx_pack_rows(const op_gemm_t *op, int64_t row, int64_t rows, int64_t k, int64_t depth,
                                 uint16_t *to) {
  for (int64_t r = 0; r < AMX_TILE; r++) {
    uint16_t *line = to + r * AMX_DEPTH;
    for (int64_t i = 0; i < depth; i += AMX_DEPTH, line += AMX_STEP_A) {
      __m512i parts[AMX_PARTS] = {0};
      if (r < rows) amx_split_row(op, row + r, k + i, gemm_min_int(AMX_DEPTH, depth - i), parts);
#pragma GCC unroll 3
      for (int p = 0; p < AMX_PARTS; p++)
        _mm512_storeu_si512(line + p * AMX_HALVES, parts[p]);
    }
  }
}

/* Tiles of the right factor, (steps, AMX_PARTS), of ROWS columns: the transpose of the same. */
static inline void amx_pack_rows_transposed(const op_gemm_t *op, int64_t row, int64_t rows, int64_t depth,
                                            uint16_t *to) {
  enum { PAIRS = AMX_DEPTH / 2 };
  uint32_t *pairs = (uint32_t *)to; /* (steps, AMX_PARTS, PAIRS, rows) */
  for (int64_t r = 0; r < rows; r++) {
    uint32_t *place = pairs + r;
    for (int64_t i = 0; i < depth; i += AMX_DEPTH) {
      __m512i parts[AMX_PARTS];
      uint32_t words[PAIRS];
      amx_split_row(op, row + r, i, gemm_min_int(AMX_DEPTH, depth - i), parts);
      for (int p = 0; p < AMX_PARTS; p++) {
        _mm512_storeu_si512(words, parts[p]);
        for (int64_t j = 0; j < PAIRS; j++, place += rows)
          *place = words[j];
      }
    }
  }
}

/* Of 32 halves the first N. */
ALWAYS_INLINE __mmask32 amx_first(int64_t n) {
  return n >= AMX_DEPTH ? 0xffffffffu : (1u << n) - 1u;
}

/* A tile of the right factor from b^T: COLS rows of b, the first DEPTH numbers of each; zero elsewhere. */
ALWAYS_INLINE void amx_pack_tile_transposed(const uint16_t *b, int64_t ldb, int64_t cols, int64_t depth,
                                            uint16_t *to) {
  const __mmask32 some = amx_first(depth);
  vec_t rows[AMX_TILE];
#pragma GCC unroll 16
  for (int64_t i = 0; i < AMX_TILE; i++)
    rows[i] = i < cols ? (vec_t)_mm512_maskz_loadu_epi16(some, b + i * ldb) : (vec_t){0};
  vec_transpose(rows);
#pragma GCC unroll 16
  for (int64_t i = 0; i < AMX_TILE; i++)
    vec_store((float *)(to + i * AMX_DEPTH), rows[i]);
}

/* A tile of the right factor from b: the first COLS columns of DEPTH rows; zero elsewhere. */
ALWAYS_INLINE void amx_pack_tile(const uint16_t *b, int64_t ldb, int64_t cols, int64_t depth, uint16_t *to) {
  const __mmask16 some = (__mmask16)amx_first(cols);
  for (int64_t i = 0; i < AMX_DEPTH; i += 2) {
    __m256i even = _mm256_setzero_si256(), odd = even;
    if (i < depth) even = _mm256_maskz_loadu_epi16(some, b + i * ldb);
    if (i + 1 < depth) odd = _mm256_maskz_loadu_epi16(some, b + (i + 1) * ldb);
    __m512i pairs =
        _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
    _mm512_storeu_si512(to + i * AMX_TILE, pairs);
  }
}

/* Tiles of the right factor, one below the other: columns COL .. COL + COLS - 1 (at most AMX_TILE) of op(b),
 * zero where columns are missing and behind DEPTH; tiles STRIDE numbers apart. */
static inline void amx_pack_weight(const op_gemm_t *op, int64_t col, int64_t cols, int64_t k, int64_t depth,
                                   uint16_t *to, int64_t stride) {
  const uint16_t *b = op->weight->data;
  for (int64_t i = 0; i < depth; i += AMX_DEPTH, to += stride) {
    int64_t some = gemm_min_int(AMX_DEPTH, depth - i);
    if (!op->trans_b)
      amx_pack_tile(b + (k + i) * op->ldb + col, op->ldb, cols, some, to);
    else if (cols == AMX_TILE && some == AMX_DEPTH)
      amx_pack_tile_transposed(b + col * op->ldb + k + i, op->ldb, AMX_TILE, AMX_DEPTH, to);
    else
      amx_pack_tile_transposed(b + col * op->ldb + k + i, op->ldb, cols, some, to);
  }
}

#endif

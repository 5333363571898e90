/* Products of a few rows with a weight that is read where it lies, as in decoding: bound by memory, and so
 * without packing. Each element of c is the same chain of multiply-adds as in tile.h. */
#ifndef TENSOR_CPU_SIMD_FEW_ROWS_H
#define TENSOR_CPU_SIMD_FEW_ROWS_H

#include "tensor/cpu/simd/tile.h"

/* Panels of LANES columns of c: with two of them a sum does not wait for the one before; with more rows their
 * own sums do not. */
enum { FEW_ROWS = 4, FEW_PANELS = 2, FEW_LINE = 64 };
ALWAYS_INLINE int few_panels(int rows) {
  return rows <= 2 ? FEW_PANELS : 1;
}

/* sum (rows) += a (rows, the depth of four words; row stride lda) times LANES rows of b from FROM on, STRIDE
 * bytes apart, of floats or (HALF) bf16, two of them in a word. */
ALWAYS_INLINE void few_add(int rows, bool half, const float *a, int64_t lda, const char *from, int64_t stride,
                           vec_t *sum) {
  vec_t words[VEC_WORDS];
  vec_load_words(from, stride, words);
#pragma GCC unroll 4
  for (int w = 0; w < VEC_WORDS; w++) {
    int64_t k = half ? 2 * w : w;
    vec_t first = half ? (vec_t)((ivec_t)words[w] << 16) : words[w];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
      sum[r] += a[r * lda + k] * first;
    if (!half) continue;
    vec_t second = (vec_t)((ivec_t)words[w] & -65536);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
      sum[r] += a[r * lda + k + 1] * second;
  }
}

/* Asks for N lines from FROM on: where cores share the bandwidth of memory, bf16 is used up before the
 * processor has seen that rows go on. */
ALWAYS_INLINE void few_prefetch(const char *from, int n) {
#pragma GCC unroll 32
  for (int i = 0; i < n; i++)
    __builtin_prefetch(from + (int64_t)i * FEW_LINE, 0, 2);
}

/* What is left of the depth, behind whole lines. */
ALWAYS_INLINE void few_add_rest(int rows, bool half, int64_t begin, int64_t depth, const float *a,
                                int64_t lda, const void *b, int64_t ldb, vec_t *sum) {
  for (int64_t k = begin; k < depth; k++) {
    vec_t column = {0};
    for (int64_t i = 0; i < LANES; i++)
      column[i] = load_element(b, half, i * ldb + k);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
      sum[r] += a[r * lda + k] * column;
  }
}

/* c (rows, few_panels(rows) * LANES; row stride ldc) = init * before + a b^T, as tile_multiply_fixed does;
 * a (rows, depth; row stride lda), b (columns of c, depth; row stride ldb). Line by line of b, those of a
 * panel's rows one after the other: there may be no room for more of them in the first cache, where they lie
 * a multiple of a page apart. */
ALWAYS_INLINE void few_multiply(int rows, bool half, int64_t depth, const float *a, int64_t lda,
                                const void *b, int64_t ldb, const float *before, float *c, int64_t ldc,
                                float init) {
  const int panels = few_panels(rows);
  const int64_t element = half ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(float);
  const int64_t stride = ldb * element, panel = LANES * stride, line = FEW_LINE / element;
  const int64_t whole = depth / line * line;
  const char *from = b;
  vec_t sum[FEW_PANELS][FEW_ROWS];
#pragma GCC unroll 2
  for (int p = 0; p < panels; p++)
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
      sum[p][r] = init == 0.0f ? (vec_t){0} : vec_load(before + r * ldc + p * LANES) * init;
  for (int64_t k = 0; k < whole; k += line) {
    if (half) few_prefetch(from + panels * (panel + k * element * LANES), panels * LANES);
#pragma GCC unroll 2
    for (int p = 0; p < panels; p++)
#pragma GCC unroll 4
      for (int64_t part = 0; part < line; part += line / 4)
        few_add(rows, half, a + k + part, lda, from + p * panel + (k + part) * element, stride, sum[p]);
  }
#pragma GCC unroll 2
  for (int p = 0; p < panels; p++) {
    few_add_rest(rows, half, whole, depth, a, lda, from + p * panel, ldb, sum[p]);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
      vec_store(c + r * ldc + p * LANES, sum[p][r]);
  }
}

#endif

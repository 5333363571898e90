/* The micro-kernel of all matrix products on the cpu device, and packing for it. Each element of a product is
 * one chain of multiply-adds over the depth in ascending order, whatever the tile, so that results depend
 * neither on how many rows are computed together nor on the number of threads: a row decoded alone has the
 * bits of the same row in a batch. */
#ifndef TENSOR_CPU_SIMD_TILE_H
#define TENSOR_CPU_SIMD_TILE_H

#include "tensor/cpu/simd/vector.h"

#include <stdbool.h>

/* Rows of a tile: with TILE_VECS vectors of columns the sums fill the registers (32 of them with AVX-512,
 * else 16). */
#if defined(__AVX512F__)
enum { TILE_ROWS = 14 };
#elif defined(__AVX2__)
enum { TILE_ROWS = 6 };
#else
enum { TILE_ROWS = 4 };
#endif
enum { TILE_VECS = 2, TILE_COLS = TILE_VECS * LANES };

/* c (rows, vecs * LANES; row stride ldc) = init * before + a b, BEFORE lying as c does, which it may be; init
 * 0 does not read it. Element (r, k) of a lies at a[r * row_stride + k * depth_stride]; row k of b at b + k *
 * ldb. ROWS and VECS are constants at each call, so that the sums stay in registers. */
ALWAYS_INLINE void tile_multiply_fixed(int rows, int vecs, int64_t depth, const float *a, int64_t row_stride,
                                       int64_t depth_stride, const float *b, int64_t ldb, const float *before,
                                       float *c, int64_t ldc, float init) {
  vec_t sum[TILE_ROWS][TILE_VECS];
  if (init == 0.0f) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
      for (int v = 0; v < vecs; v++)
        sum[r][v] = (vec_t){0};
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
      for (int v = 0; v < vecs; v++)
        sum[r][v] = vec_load(before + r * ldc + v * LANES) * init;
  }
#pragma GCC unroll 2
  for (int64_t k = 0; k < depth; k++) {
    vec_t row[TILE_VECS];
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++)
      row[v] = vec_load(b + k * ldb + v * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
      float factor = a[r * row_stride + k * depth_stride];
#pragma GCC unroll 4
      for (int v = 0; v < vecs; v++)
        sum[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++)
      vec_store(c + r * ldc + v * LANES, sum[r][v]);
}

/* The same for 1 <= rows <= TILE_ROWS and 1 <= vecs <= TILE_VECS known at run time; the strides are constants
 * at each call. */
ALWAYS_INLINE void tile_multiply(int rows, int vecs, int64_t depth, const float *a, int64_t row_stride,
                                 int64_t depth_stride, const float *b, int64_t ldb, const float *before,
                                 float *c, int64_t ldc, float init) {
#define TILE_CASE(r)                                                                                         \
  case r:                                                                                                    \
    if (vecs == 2)                                                                                           \
      tile_multiply_fixed(r, 2, depth, a, row_stride, depth_stride, b, ldb, before, c, ldc, init);           \
    else                                                                                                     \
      tile_multiply_fixed(r, 1, depth, a, row_stride, depth_stride, b, ldb, before, c, ldc, init);           \
    break;
  switch (rows) {
    TILE_CASE(1)
    TILE_CASE(2)
    TILE_CASE(3)
    TILE_CASE(4)
#if defined(__AVX2__)
    TILE_CASE(5)
    TILE_CASE(6)
#endif
#if defined(__AVX512F__)
    TILE_CASE(7)
    TILE_CASE(8)
    TILE_CASE(9)
    TILE_CASE(10)
    TILE_CASE(11)
    TILE_CASE(12)
    TILE_CASE(13)
    TILE_CASE(14)
#endif
  }
#undef TILE_CASE
}

/* In every group of four lanes: the lower two of A and B in turn, the upper two; the first two of A and then
 * of B, the last two. */
#if defined(__AVX512F__)
#define VEC_LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define VEC_HIGH(a, b)                                                                                       \
  __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define VEC_FIRST(a, b)                                                                                      \
  __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define VEC_LAST(a, b)                                                                                       \
  __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#elif defined(__AVX2__)
#define VEC_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define VEC_HIGH(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define VEC_FIRST(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define VEC_LAST(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#else
#define VEC_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define VEC_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define VEC_FIRST(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define VEC_LAST(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#endif

/* Words of 32 bits in a load: lanes are moved in groups of them at the least cost. */
enum { VEC_WORDS = 4 };

/* Transposes each square of four lanes of four vectors in place. */
ALWAYS_INLINE void vec_transpose_words(vec_t v[VEC_WORDS]) {
  vec_t a = VEC_LOW(v[0], v[1]), b = VEC_HIGH(v[0], v[1]);
  vec_t c = VEC_LOW(v[2], v[3]), d = VEC_HIGH(v[2], v[3]);
  v[0] = VEC_FIRST(a, c);
  v[1] = VEC_LAST(a, c);
  v[2] = VEC_FIRST(b, d);
  v[3] = VEC_LAST(b, d);
}

/* Lane i of words[w]: word w of row i, rows STRIDE bytes apart from FROM on. */
ALWAYS_INLINE void vec_load_words(const char *from, int64_t stride, vec_t words[VEC_WORDS]) {
#pragma GCC unroll 4
  for (int i = 0; i < VEC_WORDS; i++) {
    const char *row = from + i * stride;
#if defined(__AVX512F__)
    vec_t v = _mm512_castps128_ps512(_mm_loadu_ps((const void *)row));
    v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps((const void *)(row + 4 * stride)));
    v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps((const void *)(row + 8 * stride)));
    words[i] = _mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps((const void *)(row + 12 * stride)));
#elif defined(__AVX2__)
    __m128 low = _mm_loadu_ps((const void *)row), high = _mm_loadu_ps((const void *)(row + 4 * stride));
    words[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
#else
    memcpy(&words[i], row, sizeof words[i]); /* of 16-bit numbers: not even aligned like a float */
#endif
  }
  vec_transpose_words(words);
}

/* Transposes the square of LANES vectors in place. */
ALWAYS_INLINE void vec_transpose(vec_t v[LANES]) {
#pragma GCC unroll 4
  for (int i = 0; i < LANES; i += VEC_WORDS)
    vec_transpose_words(v + i);
#if defined(__AVX512F__)
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++)
    if (!(i & 4)) {
      vec_t a = v[i], b = v[i + 4];
      v[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
      v[i + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    }
#pragma GCC unroll 16
  for (int i = 0; i < 8; i++) {
    vec_t a = v[i], b = v[i + 8];
    v[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    v[i + 8] = __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
#elif defined(__AVX2__)
#pragma GCC unroll 8
  for (int i = 0; i < 4; i++) {
    vec_t a = v[i], b = v[i + 4];
    v[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    v[i + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  }
#endif
}

/* Floats, or bf16: HALF is a constant at each call. */
ALWAYS_INLINE float load_element(const void *from, bool half, int64_t i) {
  return half ? float_of_half(((const uint16_t *)from)[i]) : ((const float *)from)[i];
}
ALWAYS_INLINE vec_t load_vector(const void *from, bool half, int64_t i) {
  return half ? vec_load_half((const uint16_t *)from + i) : vec_load((const float *)from + i);
}
ALWAYS_INLINE vec_t load_vector_part(const void *from, bool half, int64_t i, int64_t n) {
  return half ? vec_load_half_part((const uint16_t *)from + i, n) : vec_load_part((const float *)from + i, n);
}

/* to (depth, LANES; row stride ld_to) = factor * the transpose of from (rows <= LANES, depth; row stride
 * ld_from; bf16 where HALF), zero where rows are missing. Rows of TO may overlap (ld_to < LANES): they are
 * written in ascending order. */
ALWAYS_INLINE void pack_transposed_of(int64_t rows, int64_t depth, const void *from, bool half,
                                      int64_t ld_from, float factor, float *to, int64_t ld_to) {
  int64_t k = 0;
  for (; k + LANES <= depth; k += LANES) {
    vec_t v[LANES];
    if (rows >= LANES) {
#pragma GCC unroll 16
      for (int i = 0; i < LANES; i++)
        v[i] = load_vector(from, half, i * ld_from + k) * factor;
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < LANES; i++)
        v[i] = i < rows ? load_vector(from, half, i * ld_from + k) * factor : (vec_t){0};
    }
    vec_transpose(v);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
      vec_store(to + (k + i) * ld_to, v[i]);
  }
  for (; k < depth; k++) {
    vec_t column = {0};
    for (int64_t i = 0; i < rows && i < LANES; i++)
      column[i] = load_element(from, half, i * ld_from + k) * factor;
    vec_store(to + k * ld_to, column);
  }
}

ALWAYS_INLINE void pack_transposed(int64_t rows, int64_t depth, const float *from, int64_t ld_from,
                                   float factor, float *to, int64_t ld_to) {
  pack_transposed_of(rows, depth, from, false, ld_from, factor, to, ld_to);
}

#endif

/* Panels for the micro-kernel from a weight in NF4: codes become floats on the way, to the bit those of
 * tensor/nf4.h. */
#ifndef TENSOR_CPU_SIMD_NF4_H
#define TENSOR_CPU_SIMD_NF4_H

#include "tensor/cpu/simd/tile.h"
#include "tensor/weight_nf4.h"

typedef uint32_t uvec_t __attribute__((vector_size(LANES * 4)));

/* nf4_code of the four bits from SHIFT (a constant, at most 28) on of each lane. */
ALWAYS_INLINE vec_t nf4_lookup(uvec_t word, int shift) {
#if defined(__AVX512F__)
  return _mm512_permutexvar_ps((__m512i)(word >> shift), vec_load(nf4_code));
#elif defined(__AVX2__)
  __m256i index = (__m256i)(word >> shift); /* three bits choose in half a code book, the fourth the half */
  vec_t low = _mm256_permutevar8x32_ps(vec_load(nf4_code), index);
  vec_t high = _mm256_permutevar8x32_ps(vec_load(nf4_code + LANES), index);
  return _mm256_blendv_ps(low, high, (vec_t)(word << (28 - shift)));
#else
  vec_t value;
  for (int i = 0; i < LANES; i++)
    value[i] = nf4_code[word[i] >> shift & 15];
  return value;
#endif
}

/* Where the code of value J lies in bytes that are read as one number. */
ALWAYS_INLINE int nf4_shift(int j) {
  return 8 * (j / 2) + (j % 2 ? 0 : 4);
}

/* Lane i: the code of value i of those in LANES / 2 bytes, in the lowest four bits. */
ALWAYS_INLINE uvec_t nf4_codes(const uint8_t *from) {
  uint64_t bytes = 0;
  memcpy(&bytes, from, LANES / 2);
#if defined(__AVX512F__)
  __m512i pairs = _mm512_cvtepu8_epi64(_mm_cvtsi64_si128((int64_t)bytes));
  return (uvec_t)_mm512_or_si512(_mm512_slli_epi64(pairs, 32), _mm512_srli_epi64(pairs, 4));
#elif defined(__AVX2__)
  __m256i pairs = _mm256_cvtepu8_epi64(_mm_cvtsi64_si128((int64_t)bytes));
  return (uvec_t)_mm256_or_si256(_mm256_slli_epi64(pairs, 32), _mm256_srli_epi64(pairs, 4));
#else
  uvec_t code;
  for (int i = 0; i < LANES; i++)
    code[i] = (uint32_t)(bytes >> nf4_shift(i));
  return code;
#endif
}

/* A run of codes that is transposed at once: a word of NF4_WORD codes in each lane, LANES words of a row. */
enum { NF4_WORD = 8, NF4_RUN = NF4_WORD * LANES, NF4_RUN_BLOCKS = (NF4_RUN + NF4_BLOCK - 1) / NF4_BLOCK };

/* Lane i of words[w]: word w of row ROW + i, counted from value AT of the row. Beyond the row, and in lanes
 * beyond ROWS, zero. */
ALWAYS_INLINE void nf4_words(const nf4_view_t *view, int64_t row, int64_t rows, int64_t at,
                             vec_t words[LANES]) {
  int64_t row_bytes = view->row_blocks * NF4_BLOCK_BYTES, left = row_bytes - at / 2;
  const uint8_t *from = view->codes + row * row_bytes + at / 2;
  if (rows == LANES && left >= (int64_t)sizeof(vec_t)) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
      memcpy(&words[i], from + i * row_bytes, sizeof(vec_t));
  } else {
    memset(words, 0, LANES * sizeof(vec_t));
    for (int i = 0; i < rows; i++)
      memcpy(&words[i], from + i * row_bytes, left < (int64_t)sizeof(vec_t) ? (size_t)left : sizeof(vec_t));
  }
  vec_transpose(words);
}

/* Values BEGIN .. END - 1 of a run to rows TO + value * TILE_COLS; inlined where the run is whole. */
ALWAYS_INLINE void nf4_store_run(const vec_t words[LANES], float scales[NF4_RUN_BLOCKS][LANES], int64_t begin,
                                 int64_t end, float *to) {
  for (int w = 0; w < LANES; w++) {
    uvec_t word = (uvec_t)words[w];
    vec_t scale = vec_load(scales[w * NF4_WORD / NF4_BLOCK]);
#pragma GCC unroll 8
    for (int j = 0; j < NF4_WORD; j++)
      if (w * NF4_WORD + j >= begin && w * NF4_WORD + j < end)
        vec_store(to + (w * NF4_WORD + j) * TILE_COLS, nf4_lookup(word, nf4_shift(j)) * scale);
  }
}

/* to (depth, LANES; row stride TILE_COLS) = the transpose of columns k .. k + depth - 1 of rows row ..
 * row + rows - 1 (at most LANES). */
static void pack_nf4_transposed(const nf4_view_t *view, int64_t row, int64_t rows, int64_t k, int64_t depth,
                                float *to) {
  int64_t begin = view->skip + k, end = begin + depth;
  for (int64_t at = begin / NF4_RUN * NF4_RUN; at < end; at += NF4_RUN) {
    vec_t words[LANES];
    float scales[NF4_RUN_BLOCKS][LANES] = {{0}}; /* a lane for each row */
    int64_t block = at / NF4_BLOCK, left = view->row_blocks - block;
    nf4_view_scales(view, row, rows, block, left < NF4_RUN_BLOCKS ? left : NF4_RUN_BLOCKS, LANES, scales[0]);
    nf4_words(view, row, rows, at, words);
    float *target = to + (at - begin) * TILE_COLS;
    if (at >= begin && at + NF4_RUN <= end)
      nf4_store_run(words, scales, 0, NF4_RUN, target);
    else
      nf4_store_run(words, scales, begin - at, end - at, target);
  }
}

/* Values AT .. STOP - 1 of a row of codes, all in one block, to column C on of a row that runs through panels
 * of SIZE floats. */
ALWAYS_INLINE void unpack_nf4(const uint8_t *codes, float scale, int64_t at, int64_t stop, int64_t c,
                              int64_t size, float *to) {
  if (at % 2 == 0 && c % LANES == 0)
    for (; at + LANES <= stop; at += LANES, c += LANES)
      vec_store(to + c / TILE_COLS * size + c % TILE_COLS, nf4_lookup(nf4_codes(codes + at / 2), 0) * scale);
  for (; at < stop; at++, c++)
    to[c / TILE_COLS * size + c % TILE_COLS] =
        nf4_code[codes[at / 2] >> nf4_shift((int)(at % 2)) & 15] * scale;
}

/* Panels (depth, TILE_COLS) of columns col .. col + cols - 1 of rows k .. k + depth - 1, one behind the
 * other: block by block, each of which has a scale in every row. */
static void pack_nf4(const nf4_view_t *view, int64_t col, int64_t cols, int64_t k, int64_t depth, float *to) {
  enum { ROWS = 64 };
  int64_t row_bytes = view->row_blocks * NF4_BLOCK_BYTES, begin = view->skip + col, end = begin + cols;
  for (int64_t at = begin, stop; at < end; at = stop) {
    int64_t block = at / NF4_BLOCK;
    stop = (block + 1) * NF4_BLOCK < end ? (block + 1) * NF4_BLOCK : end;
    float scales[ROWS];
    for (int64_t i = 0; i < depth; i++) {
      if (i % ROWS == 0)
        nf4_view_scales(view, k + i, depth - i < ROWS ? depth - i : ROWS, block, 1, ROWS, scales);
      unpack_nf4(view->codes + (k + i) * row_bytes, scales[i % ROWS], at, stop, at - begin, depth * TILE_COLS,
                 to + i * TILE_COLS);
    }
  }
}

#endif

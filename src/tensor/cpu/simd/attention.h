/* What attention over packed sequences and over the paged cache share: one update per tile of KEYS keys, with
 * a running softmax (Dao et al., "FlashAttention", 2022), and with the same tile boundaries, so that a
 * decoded row has the bits of the same row in a batch. */
#ifndef TENSOR_CPU_SIMD_ATTENTION_H
#define TENSOR_CPU_SIMD_ATTENTION_H

#include "tensor/cpu/kernels.h"
#include "tensor/cpu/simd/tile.h"

#include <math.h>

enum { KEYS = ATTENTION_KEYS, ROW_BLOCK = 4 * TILE_ROWS };

static inline int64_t min_int_simd(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static inline int64_t round_up(int64_t n, int64_t unit) {
  return (n + unit - 1) / unit * unit;
}

/* Hands out pieces of the thread's scratch, each on a line of its own; without a base it only counts. */
typedef struct {
  float *base;
  int64_t used; /* floats */
} space_t;

static inline float *take_simd(space_t *space, int64_t floats) {
  float *piece = space->base ? space->base + space->used : NULL;
  space->used += round_up(floats, 16);
  return piece;
}

/* to (rows, D') = COUNT rows of from (bf16 where HALF), zero beyond them and beyond D columns; D' = padded.
 */
ALWAYS_INLINE void copy_padded_of(int64_t count, int64_t rows, int64_t head_size, int64_t padded,
                                  const void *from, bool half, int64_t ld, float *to) {
  int64_t whole = head_size / LANES * LANES;
  for (int64_t i = 0; i < count; i++) {
    for (int64_t d = 0; d < whole; d += LANES)
      vec_store(to + i * padded + d, load_vector(from, half, i * ld + d));
    if (whole < padded)
      vec_store(to + i * padded + whole, load_vector_part(from, half, i * ld + whole, head_size - whole));
  }
  for (int64_t i = count * padded; i < rows * padded; i += LANES)
    vec_store(to + i, (vec_t){0});
}

static inline void copy_padded(int64_t count, int64_t rows, int64_t head_size, int64_t padded,
                               const float *from, int64_t ld, float *to) {
  copy_padded_of(count, rows, head_size, padded, from, false, ld, to);
}

/* to (D, KEYS) = transposed rows of from, zero beyond COUNT. */
static inline void transpose_keys(int64_t count, int64_t head_size, const float *from, int64_t ld,
                                  float *to) {
  for (int64_t i = 0; i < KEYS; i += LANES)
    pack_transposed(count - i, head_size, from + i * ld, ld, 1.0f, to + i, KEYS);
}

/* to = panels (D, TILE_ROWS) of factor * rows of from. */
static inline void pack_rows(int64_t rows, int64_t head_size, const float *from, int64_t ld, float factor,
                             float *to) {
  for (int64_t r = 0; r < rows; r += TILE_ROWS, to += head_size * TILE_ROWS)
    pack_transposed(min_int_simd(TILE_ROWS, rows - r), head_size, from + r * ld, ld, factor, to, TILE_ROWS);
}

/* The first WIDTH columns of s (rows, KEYS) = panel (D, TILE_ROWS)^T keys (D, KEYS). */
static inline void multiply_panel_simd(int rows, int64_t width, int64_t depth, const float *panel,
                                       const float *keys, float *s) {
  for (int64_t j = 0; j < width; j += TILE_COLS)
    tile_multiply(rows, width - j > LANES ? 2 : 1, depth, panel, 1, TILE_ROWS, keys + j, KEYS, s + j, s + j,
                  KEYS, 0.0f);
}

/* c (rows, columns) += p (rows, KEYS) b (depth, columns; row stride ldb). */
static inline void add_product(int rows, int64_t depth, int64_t columns, const float *p, const float *b,
                               int64_t ldb, float *c) {
  for (int64_t j = 0; j < columns; j += TILE_COLS)
    tile_multiply(rows, columns - j > LANES ? 2 : 1, depth, p, KEYS, 1, b + j, ldb, c + j, c + j, columns,
                  1.0f);
}

/* Running softmax of some rows. */
typedef struct {
  float *max, *sum; /* (rows) */
  float *out;       /* (rows, padded): not yet divided by the sum */
} softmax_t;

static inline void fill_zero(int64_t begin, int64_t end, float *s) {
  for (int64_t j = begin; j < end; j += LANES)
    vec_store(s + j, (vec_t){0});
}

/* The largest of the first VISIBLE scores; those behind them in the same vector become -inf. */
static inline float mask_row(int64_t visible, float *s) {
  int64_t last = (visible - 1) / LANES * LANES;
  vec_t lowest = (vec_t){0} - INFINITY;
  vec_t largest = vec_select(vec_first(visible - last), vec_load(s + last), lowest);
  vec_store(s + last, largest);
  for (int64_t j = 0; j < last; j += LANES)
    largest = vec_max(vec_load(s + j), largest);
  return vec_largest(largest);
}

/* One row meets new scores, the first VISIBLE of which count: they become probabilities relative to the new
 * maximum, zero up to WIDTH, and what was summed before is scaled to it. */
static inline void softmax_row(const softmax_t *softmax, int64_t r, int64_t padded, int64_t visible,
                               int64_t width, float *s) {
  if (visible <= 0) {
    fill_zero(0, width, s);
    return;
  }
  float old = softmax->max[r], tile_max = mask_row(visible, s);
  float max = tile_max > old ? tile_max : old;
  vec_t sum = {0};
  int64_t end = round_up(visible, LANES);
  for (int64_t j = 0; j < end; j += LANES) {
    vec_t p = vec_exp(vec_load(s + j) - max);
    vec_store(s + j, p);
    sum += p;
  }
  fill_zero(end, width, s);
  float factor = old == max ? 1.0f : exp_float(old - max);
  softmax->max[r] = max;
  softmax->sum[r] = softmax->sum[r] * factor + vec_sum(sum);
  if (factor == 1.0f || old == -INFINITY) return; /* nothing was summed before the first tile */
  float *out = softmax->out + r * padded;
  for (int64_t d = 0; d < padded; d += LANES)
    vec_store(out + d, vec_load(out + d) * factor);
}

static inline void softmax_start(const softmax_t *softmax, int64_t rows, int64_t padded) {
  for (int64_t r = 0; r < rows; r++) {
    softmax->max[r] = -INFINITY;
    softmax->sum[r] = 0.0f;
  }
  memset(softmax->out, 0, (size_t)(rows * padded) * sizeof(float));
}

/* At most TILE_ROWS rows meet a tile of keys: scores s (TILE_ROWS, KEYS) become probabilities. Row i sees the
 * first visible + i * step keys. Returns how many keys any row sees. */
static inline int64_t softmax_scores(const softmax_t *softmax, int rows, int64_t head_size, int64_t padded,
                                     int64_t visible, int64_t step, const float *panel, const float *keys,
                                     float *s) {
  int64_t depth = min_int_simd(visible + (rows - 1) * step, KEYS), width = round_up(depth, LANES);
  multiply_panel_simd(rows, width, head_size, panel, keys, s);
  for (int r = 0; r < rows; r++)
    softmax_row(softmax, r, padded, min_int_simd(visible + r * step, KEYS), width, s + r * KEYS);
  return depth;
}

static inline void softmax_finish_row(const softmax_t *softmax, int64_t r, int64_t head_size, int64_t padded,
                                      float *out) {
  float factor = 1.0f / softmax->sum[r];
  const float *from = softmax->out + r * padded;
#pragma omp simd
  for (int64_t d = 0; d < head_size; d++)
    out[d] = from[d] * factor;
}

/* Scratch of the forward pass. */
typedef struct {
  float *keys, *values, *queries;
  softmax_t softmax;
} forward_space_t;

static inline int64_t forward_layout(int64_t rows, int32_t head_size, float *scratch,
                                     forward_space_t *space) {
  space_t from = {.base = scratch};
  int64_t padded = round_up(head_size, LANES);
  space->keys = take_simd(&from, KEYS * (int64_t)head_size);
  space->values = take_simd(&from, KEYS * padded);
  space->queries = take_simd(&from, round_up(rows, TILE_ROWS) * head_size + LANES);
  space->softmax.out = take_simd(&from, rows * padded);
  space->softmax.max = take_simd(&from, rows);
  space->softmax.sum = take_simd(&from, rows);
  return from.used;
}

static inline softmax_t softmax_at(const softmax_t *softmax, int64_t row, int64_t padded) {
  return (softmax_t){softmax->max + row, softmax->sum + row, softmax->out + row * padded};
}

#endif

/* Sums of 8-bit pixels times weights of 23 bits, exactly: each weight is split into a high and a low part of
 * 16 bits, so that one instruction multiplies two pixels and adds them. Sums may wrap in between: the whole
 * one fits 32 bits. */
#include "vision/passes.h"

#include "base/memory.h"

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

enum {
  LOW_BITS = 11,
  GROUP = 4,  /* taps that are read together */
  CHUNK = 32, /* bytes of a row that the pass down makes together */
  ROWS = 4,   /* rows that the pass across makes together */
  READ = 16   /* bytes that it reads for a group */
};

/* The weights of a group: taps 0..3, high parts and low parts. */
typedef struct {
  int16_t high[GROUP], low[GROUP];
} group_t;

/* An axis' weights in groups, zeros behind the last tap. */
typedef struct {
  int64_t room;    /* groups for each pixel */
  group_t *groups; /* (count, room) */
} groups_t;

static void group_set(group_t *group, int64_t tap, int32_t weight) {
  const int32_t low = (int32_t)((uint32_t)weight << (32 - LOW_BITS)) >> (32 - LOW_BITS);
  group->high[tap] = (int16_t)((weight - low) >> LOW_BITS);
  group->low[tap] = (int16_t)low;
}

/* With room for one tap more than the axis has: what lies outside the image is one where OUTSIDE. */
static status_t groups_create(const axis_t *axis, bool outside, groups_t *groups) {
  groups->room = (axis->taps + GROUP) / GROUP;
  TRY(memory_alloc(&groups->groups, ARENA_FEATURES, (size_t)(axis->count * groups->room), sizeof(group_t)));
  for (int32_t i = 0; i < axis->count; i++) {
    group_t *mine = groups->groups + i * groups->room;
    for (int64_t t = 0; t < axis->number[i]; t++)
      group_set(&mine[t / GROUP], t % GROUP, axis->weights[i * axis->taps + t]);
    const int64_t last = axis->number[i];
    if (outside) group_set(&mine[last / GROUP], last % GROUP, axis->outside[i]);
  }
  return STATUS_OK;
}

/* Weights 2 * PAIR and 2 * PAIR + 1 of four, in all lanes. */
static inline __m256i pair_of(const int16_t *weights, int pair) {
  int32_t both;
  memcpy(&both, weights + 2 * pair, sizeof both);
  return _mm256_set1_epi32(both);
}

/* ---- Across ---- */

static inline __m256i two_rows(const uint8_t *from, int64_t stride) {
  const __m128i upper = _mm_loadu_si128((const __m128i *)from);
  const __m128i lower = _mm_loadu_si128((const __m128i *)(from + stride));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(upper), lower, 1);
}

/* Sums of the pixels (R, G, B, nothing) of two rows, high and low parts. */
typedef struct {
  __m256i high, low;
} sums_t;

static inline void passes_avx2_add_pairs(sums_t *sums, __m256i pixels, __m256i high, __m256i low) {
  sums->high = _mm256_add_epi32(sums->high, _mm256_madd_epi16(pixels, high));
  sums->low = _mm256_add_epi32(sums->low, _mm256_madd_epi16(pixels, low));
}

static inline void passes_avx2_add_group(sums_t *sums, __m256i bytes, const group_t *group) {
  /* Bytes of two pixels -> 16-bit pairs of each channel. */
  const __m256i first =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
  const __m256i second =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
  passes_avx2_add_pairs(sums, _mm256_shuffle_epi8(bytes, first), pair_of(group->high, 0),
                        pair_of(group->low, 0));
  passes_avx2_add_pairs(sums, _mm256_shuffle_epi8(bytes, second), pair_of(group->high, 1),
                        pair_of(group->low, 1));
}

static inline __m256i passes_avx2_whole(const sums_t *sums, __m256i start) {
  const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(sums->high, LOW_BITS), sums->low);
  return _mm256_srai_epi32(_mm256_add_epi32(sum, start), FRACTION_BITS);
}

/* Writes a pixel and one byte more. */
static inline void passes_avx2_store_pixel(uint8_t *to, int32_t pixel) {
  memcpy(to, &pixel, sizeof pixel);
}

/* Pixel by pixel of four rows at once. */
static void across_four(const axis_t *axis, const groups_t *groups, const uint8_t fill[3], const uint8_t *row,
                        int64_t row_stride, uint8_t *out, int64_t stride) {
  const __m256i colour = _mm256_broadcastsi128_si256(_mm_setr_epi32(fill[0], fill[1], fill[2], 0));
  for (int32_t x = 0; x < axis->count; x++) {
    const uint8_t *from = row + (int64_t)axis->begin[x] * 3;
    const group_t *group = groups->groups + x * groups->room;
    sums_t upper = {_mm256_setzero_si256(), _mm256_setzero_si256()}, lower = upper;
    for (int32_t t = 0; t < axis->number[x]; t += GROUP, group++, from += 3 * GROUP) {
      passes_avx2_add_group(&upper, two_rows(from, row_stride), group);
      passes_avx2_add_group(&lower, two_rows(from + 2 * row_stride, row_stride), group);
    }
    const __m256i start = _mm256_add_epi32(_mm256_mullo_epi32(colour, _mm256_set1_epi32(axis->outside[x])),
                                           _mm256_set1_epi32(ONE_HALF));
    const __m256i words =
        _mm256_packs_epi32(passes_avx2_whole(&upper, start), passes_avx2_whole(&lower, start));
    const __m256i bytes = _mm256_packus_epi16(words, words); /* rows 0, 2, ... | 1, 3, ... */
    const __m128i even = _mm256_castsi256_si128(bytes), odd = _mm256_extracti128_si256(bytes, 1);
    passes_avx2_store_pixel(out + 3 * x, _mm_cvtsi128_si32(even));
    passes_avx2_store_pixel(out + 3 * x + stride, _mm_cvtsi128_si32(odd));
    passes_avx2_store_pixel(out + 3 * x + 2 * stride, _mm_extract_epi32(even, 1));
    passes_avx2_store_pixel(out + 3 * x + 3 * stride, _mm_extract_epi32(odd, 1));
  }
}

/* Rows that the wide loads can read without reaching the end: a group may begin at the last pixel. */
static int64_t safe_rows(const rows_t *rows) {
  int64_t safe = rows->count;
  while (safe > 0 && rows->end - (rows->first + safe * rows->stride) < READ)
    safe--;
  return safe / ROWS * ROWS;
}

static status_t passes_avx2_across(const axis_t *axis, const uint8_t fill[3], const rows_t *rows,
                                   uint8_t *out, int64_t stride) {
  groups_t groups;
  TRY(groups_create(axis, false, &groups));
  const int64_t safe = safe_rows(rows);
  for (int64_t y = 0; y < safe; y += ROWS)
    across_four(axis, &groups, fill, rows->first + y * rows->stride, rows->stride, out + y * stride, stride);
  memory_free(groups.groups);
  const rows_t rest = {rows->first + safe * rows->stride, rows->count - safe, rows->stride, rows->end};
  return passes_plain.across(axis, fill, &rest, out + safe * stride, stride);
}

/* ---- Down ---- */

/* Sums of CHUNK bytes, in the order in which unpacking leaves them. */
typedef struct {
  __m256i high[4], low[4];
} chunk_t;

/* Adds two rows. */
static inline void passes_avx2_add_rows(chunk_t *sums, const uint8_t *a, const uint8_t *b, __m256i high,
                                        __m256i low) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i from_a = _mm256_loadu_si256((const __m256i *)a),
                from_b = _mm256_loadu_si256((const __m256i *)b);
  const __m256i left = _mm256_unpacklo_epi8(from_a, from_b), right = _mm256_unpackhi_epi8(from_a, from_b);
  const __m256i pairs[4] = {_mm256_unpacklo_epi8(left, zero), _mm256_unpackhi_epi8(left, zero),
                            _mm256_unpacklo_epi8(right, zero), _mm256_unpackhi_epi8(right, zero)};
  for (int k = 0; k < 4; k++) {
    sums->high[k] = _mm256_add_epi32(sums->high[k], _mm256_madd_epi16(pairs[k], high));
    sums->low[k] = _mm256_add_epi32(sums->low[k], _mm256_madd_epi16(pairs[k], low));
  }
}

static inline __m256i chunk_bytes(const chunk_t *sums) {
  __m256i values[4];
  for (int k = 0; k < 4; k++)
    values[k] = passes_avx2_whole(&(sums_t){sums->high[k], sums->low[k]}, _mm256_set1_epi32(ONE_HALF));
  return _mm256_packus_epi16(_mm256_packs_epi32(values[0], values[1]),
                             _mm256_packs_epi32(values[2], values[3]));
}

/* One output pixel's taps: NUMBER rows from ROW on, then PLAIN. */
typedef struct {
  const uint8_t *row, *plain;
  int64_t number, stride;
  const group_t *groups;
} passes_avx2_column_t;

static inline const uint8_t *tap_row(const passes_avx2_column_t *column, int64_t tap) {
  return tap < column->number ? column->row + tap * column->stride : column->plain;
}

static inline __m256i down_chunk(const passes_avx2_column_t *column, int64_t at) {
  chunk_t sums;
  for (int k = 0; k < 4; k++)
    sums.high[k] = sums.low[k] = _mm256_setzero_si256();
  for (int64_t t = 0; t <= column->number; t += GROUP)
    for (int p = 0; p < GROUP / 2; p++) {
      const group_t *group = column->groups + t / GROUP;
      passes_avx2_add_rows(&sums, tap_row(column, t + 2 * p) + at, tap_row(column, t + 2 * p + 1) + at,
                           pair_of(group->high, p), pair_of(group->low, p));
    }
  return chunk_bytes(&sums);
}

/* The last chunk may begin within the one before. */
static void down_row(const passes_avx2_column_t *column, int64_t bytes, uint8_t *out) {
  for (int64_t at = 0; at < bytes; at += CHUNK) {
    const int64_t place = at + CHUNK <= bytes ? at : bytes - CHUNK;
    _mm256_storeu_si256((__m256i *)(out + place), down_chunk(column, place));
  }
}

static status_t passes_avx2_down(const axis_t *axis, const uint8_t *plain, const rows_t *rows, int64_t first,
                                 int64_t bytes, uint8_t *out) {
  groups_t groups;
  if (bytes < CHUNK) return passes_plain.down(axis, plain, rows, first, bytes, out);
  TRY(groups_create(axis, true, &groups));
  for (int32_t y = 0; y < axis->count; y++) {
    const bool inside = axis->number[y] > 0;
    const passes_avx2_column_t column = {.row = inside ? rows->first + (axis->begin[y] - first) * rows->stride
                                                       : plain,
                                         .plain = plain,
                                         .number = axis->number[y],
                                         .stride = rows->stride,
                                         .groups = groups.groups + y * groups.room};
    down_row(&column, bytes, out + y * bytes);
  }
  memory_free(groups.groups);
  return STATUS_OK;
}

const passes_t passes_avx2 = {"avx2", passes_avx2_across, passes_avx2_down};

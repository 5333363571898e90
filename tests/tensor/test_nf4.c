/* NF4 against bitsandbytes, to the bit (golden/make_nf4.py), and where it has no say: short blocks, padding,
 * groups without differences, matrices taken part by part. */
#include "tensor/nf4.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VALUES_MAX = 128 * 512, BLOCKS_MAX = VALUES_MAX / NF4_BLOCK, GROUPS_MAX = BLOCKS_MAX / NF4_GROUP };

/* As in make_nf4.py. */
typedef enum { NORMAL, UNIFORM, HEAVY, GAPS, TIES, ROW_SCALES, HUGE_SCALE, TINY, CONSTANT } nf4_kind_t;

/* One matrix, and what becomes of it. */
typedef struct {
  int64_t rows, cols, blocks, groups;
  float values[VALUES_MAX], absmax[BLOCKS_MAX];
  uint8_t codes[BLOCKS_MAX * NF4_BLOCK_BYTES], scale_codes[BLOCKS_MAX];
  float group[GROUPS_MAX + 1], offset, scales[BLOCKS_MAX], decoded[VALUES_MAX];
} nf4_matrix_t;

static nf4_matrix_t made, expected;

static void shape(nf4_matrix_t *m, int64_t rows, int64_t cols) {
  *m = (nf4_matrix_t){.rows = rows, .cols = cols, .blocks = rows * nf4_row_blocks(cols)};
  m->groups = (m->blocks + NF4_GROUP - 1) / NF4_GROUP;
  assert_true(rows * cols <= VALUES_MAX && m->blocks <= BLOCKS_MAX);
}

static void quantise(nf4_matrix_t *m, const float *offset) {
  nf4_absmax(m->values, m->rows, m->cols, m->absmax);
  nf4_encode(m->values, m->rows, m->cols, m->absmax, m->codes);
  m->offset = offset ? *offset : nf4_offset(m->absmax, m->blocks);
  nf4_scales_encode(m->absmax, m->blocks, m->offset, m->scale_codes, m->group);
  nf4_scales_decode(m->scale_codes, m->group, m->offset, m->blocks, m->scales);
  nf4_decode(m->codes, m->scales, m->rows, m->cols, m->decoded);
}

/* ---- The matrices of make_nf4.py ---- */

static uint32_t next(uint32_t *state) {
  *state = *state * 1664525U + 1013904223U;
  return *state >> 16;
}

static float tie(uint32_t which) {
  float boundary = (nf4_code[which % 15] + nf4_code[which % 15 + 1]) / 2;
  const float towards[] = {boundary, 2, -2};
  return nextafterf(boundary, towards[which / 15 % 3]);
}

static float value(nf4_kind_t kind, int64_t index, int64_t row, uint32_t *state) {
  uint32_t r[4];
  for (int i = 0; i < 4; i++)
    r[i] = next(state);
  float x = ldexpf((float)((int32_t)(r[0] + r[1] + r[2] + r[3]) - 2 * 65535), -21);
  int turn = (int)(row % 64);
  switch (kind) {
  case NORMAL:
    return x;
  case UNIFORM:
    return ldexpf((float)((int32_t)r[0] - 32768), -15);
  case HEAVY:
    return ldexpf(x, (int)((r[3] & 15) % 7) + (r[3] & 511 ? 0 : 8));
  case GAPS:
    return index / NF4_BLOCK % 3 == 1 || row % 8 == 5 ? (r[0] & 1 ? -0.0f : 0.0f) : x;
  case TIES:
    return ldexpf(index % NF4_BLOCK ? tie(r[0]) : row % 2 ? 1.0f : -1.0f, (int)(row % 5));
  case ROW_SCALES:
    return ldexpf(x, turn - 32);
  case HUGE_SCALE:
    return ldexpf(x, 120);
  case TINY:
    return ldexpf(x, -124 - turn % 16);
  case CONSTANT:
    return r[0] & 1 ? 0.375f : -0.375f;
  }
  return 0;
}

static void fill(nf4_matrix_t *m, nf4_kind_t kind, uint32_t seed) {
  uint32_t state = seed * 2654435761U;
  for (int64_t i = 0; i < m->rows * m->cols; i++)
    m->values[i] = value(kind, i, i / m->cols, &state);
}

/* ---- Against the golden file ---- */

static void read_array(FILE *file, void *array, size_t size, int64_t count) {
  assert_int_equal(fread(array, size, (size_t)count, file), count);
}

static uint64_t fnv(const float *values, int64_t n) {
  uint64_t hash = 0xCBF29CE484222325U;
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, &values[i], sizeof(bits));
    for (int byte = 0; byte < 4; byte++)
      hash = (hash ^ (bits >> 8 * byte & 255)) * 0x100000001B3U;
  }
  return hash;
}

static void equal_floats(const char *what, const float *found, const float *wanted, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (memcmp(&found[i], &wanted[i], sizeof(float)) != 0)
      fail_msg("%s %lld: %.9g instead of %.9g", what, (long long)i, (double)found[i], (double)wanted[i]);
}

static void equal_bytes(const char *what, const uint8_t *found, const uint8_t *wanted, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (found[i] != wanted[i]) fail_msg("%s %lld: %d instead of %d", what, (long long)i, found[i], wanted[i]);
}

/* Offsets differ by the rounding of the golden one's sum; so may scales that lie by a boundary, by one. */
static void own_offset(nf4_matrix_t *m) {
  uint8_t *codes = expected.scale_codes;
  quantise(m, NULL);
  assert_true(fabsf(m->offset - expected.offset) <= 1e-6f * expected.offset);
  int64_t others = 0;
  for (int64_t b = 0; b < m->blocks; b++) {
    others += m->scale_codes[b] != codes[b];
    assert_true(abs(m->scale_codes[b] - codes[b]) <= 1);
  }
  assert_true(others * 500 <= m->blocks);
}

static void compare_case(FILE *file, const int32_t head[4]) {
  shape(&made, head[1], head[2]);
  shape(&expected, head[1], head[2]);
  fill(&made, (nf4_kind_t)head[0], (uint32_t)head[3]);
  int64_t code_bytes = (made.rows * made.cols + 1) / 2;
  uint64_t hash;
  read_array(file, expected.absmax, sizeof(float), made.blocks);
  read_array(file, expected.codes, 1, code_bytes);
  read_array(file, expected.scale_codes, 1, made.blocks);
  read_array(file, expected.group, sizeof(float), made.groups);
  read_array(file, &expected.offset, sizeof(float), 1);
  read_array(file, expected.scales, sizeof(float), made.blocks);
  read_array(file, &hash, sizeof(hash), 1);
  quantise(&made, &expected.offset);
  print_message("kind %d, %d x %d\n", head[0], head[1], head[2]);
  equal_floats("absmax", made.absmax, expected.absmax, made.blocks);
  equal_bytes("code pair", made.codes, expected.codes, code_bytes);
  equal_floats("group", made.group, expected.group, made.groups);
  equal_bytes("scale", made.scale_codes, expected.scale_codes, made.blocks);
  equal_floats("decoded scale", made.scales, expected.scales, made.blocks);
  assert_true(fnv(made.decoded, made.rows * made.cols) == hash);
  own_offset(&made);
}

static void as_published(void **state) {
  (void)state;
  FILE *file = fopen(TEST_SOURCE_DIR "/tensor/golden/nf4.bin", "rb");
  assert_non_null(file);
  float code[NF4_CODES], map[256];
  read_array(file, code, sizeof(float), NF4_CODES);
  read_array(file, map, sizeof(float), 256);
  equal_floats("code", nf4_code, code, NF4_CODES);
  equal_floats("map", nf4_scale_map, map, 256);
  int32_t head[4];
  int cases = 0;
  for (; fread(head, sizeof(head), 1, file) == 1; cases++)
    compare_case(file, head);
  fclose(file);
  assert_int_equal(cases, 14);
}

/* ---- What the file does not show ---- */

static float nearest_error(float x) {
  float least = 2;
  for (int c = 0; c < NF4_CODES; c++)
    least = fminf(least, fabsf(x - nf4_code[c]));
  return least;
}

/* Every row of a matrix with short blocks is what it is alone, and its last block is filled up with zeros. */
static void short_blocks(void **state) {
  (void)state;
  static nf4_matrix_t row;
  const int64_t cols_list[] = {1, 5, 63, 65, 100, 190};
  for (size_t k = 0; k < sizeof(cols_list) / sizeof(cols_list[0]); k++) {
    int64_t cols = cols_list[k], blocks = nf4_row_blocks(cols);
    shape(&made, 3, cols);
    fill(&made, NORMAL, 21);
    quantise(&made, NULL);
    for (int64_t r = 0; r < 3; r++) {
      shape(&row, 1, cols);
      memcpy(row.values, made.values + r * cols, (size_t)cols * sizeof(float));
      quantise(&row, &made.offset);
      equal_floats("absmax", made.absmax + r * blocks, row.absmax, blocks);
      const uint8_t *codes = made.codes + r * blocks * NF4_BLOCK_BYTES;
      equal_bytes("code pair", codes, row.codes, blocks * NF4_BLOCK_BYTES);
      for (int64_t c = cols; c < blocks * NF4_BLOCK; c++)
        assert_int_equal(c % 2 ? codes[c / 2] & 15 : codes[c / 2] >> 4, NF4_ZERO);
    }
  }
}

/* With the exact scales, a value is the nearest of the sixteen. */
static void nearest_code(void **state) {
  (void)state;
  shape(&made, 37, 100);
  fill(&made, HEAVY, 22);
  quantise(&made, NULL);
  nf4_decode(made.codes, made.absmax, made.rows, made.cols, made.decoded);
  for (int64_t i = 0; i < made.rows * made.cols; i++) {
    float scale = made.absmax[i / made.cols * 2 + i % made.cols / NF4_BLOCK];
    float error = fabsf(made.values[i] - made.decoded[i]) / scale;
    assert_true(error <= nearest_error(made.values[i] / scale) + 1e-6f);
  }
}

/* Equal blocks keep their scale exactly; so do zeros, and nothing is not a number. */
static void no_differences(void **state) {
  (void)state;
  shape(&made, 5, 128);
  for (int64_t i = 0; i < 5 * 128; i++)
    made.values[i] = i % NF4_BLOCK == 3 ? -0.7f : 0.0f;
  quantise(&made, NULL);
  assert_true(made.group[0] == 0);
  equal_floats("value", made.decoded, made.values, 5 * 128);
  shape(&made, 5, 128);
  quantise(&made, NULL);
  equal_floats("zero", made.decoded, made.values, 5 * 128);
  assert_true(nf4_offset(NULL, 0) == 0);
}

/* A matrix may be taken by runs of rows, and its scales from any group on. */
static void parts(void **state) {
  (void)state;
  static nf4_matrix_t part;
  shape(&made, 400, 100);
  fill(&made, HEAVY, 23);
  quantise(&made, NULL);
  int64_t first = 123, block = first * 2;
  part = made;
  memset(part.codes, 0, sizeof(part.codes));
  nf4_encode(made.values, first, 100, made.absmax, part.codes);
  nf4_encode(made.values + first * 100, 400 - first, 100, made.absmax + block,
             part.codes + block * NF4_BLOCK_BYTES);
  equal_bytes("code pair", part.codes, made.codes, made.blocks * NF4_BLOCK_BYTES);
  nf4_scales_encode(made.absmax + NF4_GROUP, made.blocks - NF4_GROUP, made.offset, part.scale_codes,
                    part.group);
  equal_bytes("scale", part.scale_codes, made.scale_codes + NF4_GROUP, made.blocks - NF4_GROUP);
  equal_floats("group", part.group, made.group + 1, made.groups - 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(as_published),   cmocka_unit_test(short_blocks), cmocka_unit_test(nearest_code),
      cmocka_unit_test(no_differences), cmocka_unit_test(parts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

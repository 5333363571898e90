/* Weights in NF4 on the plain device and on every SIMD level of the cpu device: products with them are to the
 * bit products with their decoded values, whichever part of a matrix a weight is. */
#include "base/random.h"
#include "tensor/cpu/cpu.h"
#include "tensor/ops.h"
#include "tensor/plain/plain.h"
#include "tensor/weight_nf4.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BLOCKS_MAX = 24, SEED = 11 };

/* One device, and what is on it. */
typedef struct {
  device_t *device;
  random_stream_t random;
  void *blocks[BLOCKS_MAX];
  int block_count;
} nf4_fixture_t;

static void ok(status_code_t status) {
  if (status != STATUS_OK) fail_msg("%s", error_message());
}

static void *keep(nf4_fixture_t *fixture, void *block) {
  assert_true(fixture->block_count < BLOCKS_MAX);
  return fixture->blocks[fixture->block_count++] = block;
}

static int release(void **state) {
  nf4_fixture_t *fixture = *state;
  for (int i = 0; i < fixture->block_count; i++)
    device_release(fixture->device, fixture->blocks[i]);
  fixture->block_count = 0;
  return 0;
}

static float *host_floats(int64_t n) {
  float *values = malloc((size_t)(n > 0 ? n : 1) * sizeof *values);
  assert_non_null(values);
  return values;
}

static float *random_floats(nf4_fixture_t *fixture, int64_t n) {
  float *values = host_floats(n);
  for (int64_t i = 0; i < n; i++)
    values[i] = (float)random_normal(&fixture->random);
  return values;
}

static real_t *real_from(nf4_fixture_t *fixture, const float *values, int64_t n) {
  real_t *array = NULL;
  ok(real_alloc(fixture->device, ARENA_OTHER, (size_t)n, &array));
  ok(real_upload(fixture->device, array, values, DTYPE_F32, (size_t)n));
  return keep(fixture, array);
}

static real_t *real_random(nf4_fixture_t *fixture, int64_t n) {
  float *values = random_floats(fixture, n);
  real_t *array = real_from(fixture, values, n);
  free(values);
  return array;
}

/* A matrix, and its absmax, codes and decoded values. */
typedef struct {
  int64_t rows, cols;
  float *values, *absmax, *decoded;
} nf4_matrix_t;

static nf4_matrix_t matrix_random(nf4_fixture_t *fixture, int64_t rows, int64_t cols) {
  int64_t blocks = rows * nf4_row_blocks(cols);
  nf4_matrix_t matrix = {.rows = rows, .cols = cols, .values = random_floats(fixture, rows * cols)};
  matrix.absmax = host_floats(blocks);
  matrix.decoded = host_floats(rows * cols);
  float *groups = host_floats(blocks / NF4_GROUP + 1), *scales = host_floats(blocks);
  uint8_t *codes = malloc((size_t)(blocks * NF4_BLOCK_BYTES)), *bytes = malloc((size_t)blocks);
  assert_true(codes && bytes);
  nf4_absmax(matrix.values, rows, cols, matrix.absmax);
  nf4_encode(matrix.values, rows, cols, matrix.absmax, codes);
  float offset = nf4_offset(matrix.absmax, blocks);
  nf4_scales_encode(matrix.absmax, blocks, offset, bytes, groups);
  nf4_scales_decode(bytes, groups, offset, blocks, scales);
  nf4_decode(codes, scales, rows, cols, matrix.decoded);
  free(groups);
  free(scales);
  free(codes);
  free(bytes);
  return matrix;
}

static void matrix_free(nf4_matrix_t *matrix) {
  free(matrix->values);
  free(matrix->absmax);
  free(matrix->decoded);
}

/* The part of MATRIX from (row, col) on, written in two runs of rows. */
static weight_t part_nf4(nf4_fixture_t *fixture, const nf4_matrix_t *matrix, int64_t row, int64_t col,
                         int64_t rows, int64_t cols) {
  weight_t weight = {.format = WEIGHT_NF4,
                     .rows = rows,
                     .cols = cols,
                     .row_begin = row,
                     .col_begin = col,
                     .whole_rows = matrix->rows,
                     .whole_cols = matrix->cols};
  const arena_t arena = ARENA_OTHER;
  void *data = NULL;
  ok(device_alloc(fixture->device, &arena, weight_nf4_bytes(&weight), &data));
  weight.data = keep(fixture, data);
  int64_t begin, end;
  weight_nf4_columns(&weight, &begin, &end);
  float *values = host_floats(rows * (end - begin)),
        *absmax = host_floats(rows * nf4_row_blocks(end - begin));
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = begin; c < end; c++)
      values[r * (end - begin) + c - begin] = matrix->values[(row + r) * matrix->cols + c];
  int64_t first = rows / 3;
  ok(weight_nf4_write_rows(fixture->device, &weight, 0, first, values, absmax));
  ok(weight_nf4_write_rows(fixture->device, &weight, first, rows - first, values + first * (end - begin),
                           absmax));
  ok(weight_nf4_write_scales(fixture->device, &weight, matrix->absmax));
  free(values);
  free(absmax);
  return weight;
}

/* The decoded values of the same part in the compute type. */
static weight_t part_real(nf4_fixture_t *fixture, const nf4_matrix_t *matrix, int64_t row, int64_t col,
                          int64_t rows, int64_t cols) {
  float *values = host_floats(rows * cols);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++)
      values[r * cols + c] = matrix->decoded[(row + r) * matrix->cols + col + c];
  weight_t weight = weight_real(real_from(fixture, values, rows * cols), rows, cols);
  free(values);
  return weight;
}

static void expect_equal(nf4_fixture_t *fixture, const char *what, const real_t *a, const real_t *b,
                         int64_t n) {
  double *left = malloc((size_t)n * sizeof *left), *right = malloc((size_t)n * sizeof *right);
  assert_true(left && right);
  ok(real_download(fixture->device, left, DTYPE_F64, a, (size_t)n));
  ok(real_download(fixture->device, right, DTYPE_F64, b, (size_t)n));
  ok(device_synchronize(fixture->device));
  for (int64_t i = 0; i < n; i++)
    if (!(left[i] == right[i]))
      fail_msg("%s: element %lld is %.9g with NF4, %.9g with its values", what, (long long)i, left[i],
               right[i]);
  free(left);
  free(right);
}

/* ---- Products ---- */

/* y (m, rows) = x W^T or, BACKWARD, y (m, cols) = x W. */
static void product_run(nf4_fixture_t *fixture, int64_t m, int64_t rows, int64_t cols, bool backward) {
  static const int64_t shifts[] = {0, 64, 32, 8, 3, 61};
  int64_t row = (int64_t)random_below(&fixture->random, 7);
  int64_t col = shifts[random_below(&fixture->random, sizeof shifts / sizeof *shifts)];
  nf4_matrix_t matrix =
      matrix_random(fixture, row + rows + 3, col + cols + (int64_t)random_below(&fixture->random, 70));
  weight_t weights[] = {part_nf4(fixture, &matrix, row, col, rows, cols),
                        part_real(fixture, &matrix, row, col, rows, cols)};
  int64_t k = backward ? rows : cols, n = backward ? cols : rows;
  real_t *x = real_random(fixture, m * k), *y[2];
  for (int i = 0; i < 2; i++) {
    y[i] = real_random(fixture, m * n);
    ok(OP(fixture->device, gemm,
          &(op_gemm_t){.trans_b = !backward,
                       .m = m,
                       .n = n,
                       .k = k,
                       .a = x,
                       .lda = k,
                       .weight = &weights[i],
                       .ldb = cols,
                       .c = y[i],
                       .ldc = n,
                       .alpha = 1.0}));
  }
  expect_equal(fixture, backward ? "x W" : "x W^T", y[0], y[1], m * n);
  matrix_free(&matrix);
}

static void products(void **state) {
  nf4_fixture_t *fixture = *state;
  static const int64_t sizes[] = {1, 3, 8, 17, 31, 64, 65, 100, 129};
  enum { CASES = 40, SIZES = sizeof sizes / sizeof *sizes };
  for (int i = 0; i < CASES; i++) {
    int64_t m = sizes[random_below(&fixture->random, SIZES)];
    int64_t rows = sizes[random_below(&fixture->random, SIZES)];
    product_run(fixture, m, rows, sizes[random_below(&fixture->random, SIZES)], i % 2);
    release(state);
  }
  /* Larger than the blocks of the cpu device, with few rows and with many. */
  for (int i = 0; i < 4; i++) {
    product_run(fixture, i < 2 ? 2 : 70, i % 2 ? 520 : 300, i % 2 ? 300 : 520, i % 2);
    release(state);
  }
}

/* Three segments of which two have an adapter: forward and backward. */
static void linear(void **state) {
  nf4_fixture_t *fixture = *state;
  enum { T = 9, IN = 96, R = 4, SEGMENTS = 3 };
  static const int64_t outs[SEGMENTS] = {70, 33, 33};
  int64_t out = 136;
  real_t *x = real_random(fixture, T * IN), *dy = real_random(fixture, T * out);
  real_t *y[2], *dx[2], *adapters[SEGMENTS][2];
  nf4_matrix_t matrices[SEGMENTS];
  for (int i = 0; i < SEGMENTS; i++) {
    matrices[i] = matrix_random(fixture, outs[i], 2 * IN);
    adapters[i][0] = i == 1 ? NULL : real_random(fixture, R * IN);
    adapters[i][1] = i == 1 ? NULL : real_random(fixture, outs[i] * R);
  }
  for (int w = 0; w < 2; w++) {
    y[w] = real_random(fixture, T * out);
    dx[w] = real_random(fixture, T * IN);
    real_t *u = real_random(fixture, T * SEGMENTS * R), *du = real_random(fixture, T * SEGMENTS * R);
    op_linear_backward_t op = {.forward = {.rows = T,
                                           .in = IN,
                                           .out = out,
                                           .x = x,
                                           .ldx = IN,
                                           .segments = SEGMENTS,
                                           .lora_rank = R,
                                           .lora_scale = 0.5,
                                           .ldu = (int64_t)SEGMENTS * R,
                                           .y = y[w],
                                           .ldy = out},
                               .dy = dy,
                               .lddy = out,
                               .dx = dx[w],
                               .lddx = IN};
    for (int i = 0; i < SEGMENTS; i++) {
      op.forward.segment[i] = (linear_segment_t){
          .weight = (w == 0 ? part_nf4 : part_real)(fixture, &matrices[i], 0, IN, outs[i], IN),
          .a = adapters[i][0],
          .b = adapters[i][1],
          .b_rows = adapters[i][1] ? outs[i] : 0,
          .u = real_at(fixture->device, u, (int64_t)i * R)};
      op.segment[i].du = adapters[i][1] ? real_at(fixture->device, du, (int64_t)i * R) : NULL;
    }
    ok(OP(fixture->device, linear, &op.forward));
    ok(OP(fixture->device, linear_backward, &op));
  }
  expect_equal(fixture, "linear y", y[0], y[1], T * out);
  expect_equal(fixture, "linear dx", dx[0], dx[1], (int64_t)T * IN);
  for (int i = 0; i < SEGMENTS; i++)
    matrix_free(&matrices[i]);
}

static void embedding(void **state) {
  nf4_fixture_t *fixture = *state;
  enum { COUNT = 5, COLS = 70 };
  static const int32_t tokens[] = {4, -1, 0, 3};
  nf4_matrix_t matrix = matrix_random(fixture, COUNT, COLS);
  weight_t weights[] = {part_nf4(fixture, &matrix, 0, 0, COUNT, COLS),
                        part_real(fixture, &matrix, 0, 0, COUNT, COLS)};
  index_t *ids = NULL;
  ok(index_alloc(fixture->device, ARENA_OTHER, 4, &ids));
  ok(index_upload(fixture->device, ids, tokens, 4));
  keep(fixture, ids);
  real_t *y[2];
  for (int i = 0; i < 2; i++) {
    y[i] = real_random(fixture, 4 * COLS);
    ok(OP(fixture->device, embedding,
          &(op_embedding_t){
              .rows = 4, .cols = COLS, .count = COUNT, .tokens = ids, .weight = weights[i], .y = y[i]}));
  }
  expect_equal(fixture, "embedding", y[0], y[1], (int64_t)4 * COLS);
  matrix_free(&matrix);
}

static int run_nf4(const char *name, device_t *device) {
  static nf4_fixture_t fixture;
  fixture = (nf4_fixture_t){.device = device};
  fixture.random = random_stream(SEED, RANDOM_SAMPLING, 0);
  printf("%s\n", name);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_prestate_setup_teardown(products, NULL, release, &fixture),
      cmocka_unit_test_prestate_setup_teardown(linear, NULL, release, &fixture),
      cmocka_unit_test_prestate_setup_teardown(embedding, NULL, release, &fixture),
  };
  int failed = cmocka_run_group_tests_name(name, tests, NULL, NULL);
  device_free(device);
  return failed;
}

/* The plain device, and every SIMD level that this machine has or those that the command line names. */
int main(int argc, char **argv) {
  static const char *const all[] = {"generic", "avx2", "avx512", "amx"};
  device_t *device = NULL;
  if (plain_create(PLAIN_DOUBLE, true, &device) != STATUS_OK) return 1;
  int failed = run_nf4("plain", device), named = argc - 1;
  for (int i = 0; i < (named ? named : (int)(sizeof all / sizeof *all)); i++) {
    const char *level = named ? argv[1 + i] : all[i];
    if (cpu_create(2, level, &device) == STATUS_OK) {
      failed += run_nf4(level, device);
      continue;
    }
    printf("level %s not run: %s\n", level, error_message());
    error_clear();
    failed += named || i == 0;
  }
  return failed;
}

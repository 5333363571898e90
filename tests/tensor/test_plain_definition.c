/* Operations of the plain device whose results are written out by hand, and which results are set and which
 * are added to. */
#include "tensor/gradient_check.h"
#include "tensor/plain/plain.h"

#include <math.h>

enum { M = 3, N = 5, K = 4 };

/* ---- The matrix product by its definition: transposes, strides, factors, bias ---- */

enum { GEMM_PAD = 2, GEMM_MAX = 64, GEMM_CASES = 16 };

typedef struct {
  double a[GEMM_MAX], b[GEMM_MAX], bias[GEMM_MAX], c[GEMM_MAX];
} gemm_host_t;

/* What element (i, j) of the result must be. */
static double gemm_expected(const gemm_host_t *host, const op_gemm_t *op, int64_t i, int64_t j) {
  double sum = 0.0;
  for (int64_t l = 0; l < op->k; l++) {
    double a = op->trans_a ? host->a[l * op->lda + i] : host->a[i * op->lda + l];
    double b = op->trans_b ? host->b[j * op->ldb + l] : host->b[l * op->ldb + j];
    sum += a * b;
  }
  double start = op->beta == 0.0 ? 0.0 : op->beta * host->c[i * op->ldc + j];
  return op->alpha * sum + start + (op->bias ? host->bias[j] : 0.0);
}

static void gemm_case(check_t *check, const gemm_host_t *host, op_gemm_t op, bool with_bias) {
  real_t *c = check_real(check, host->c, GEMM_MAX);
  double result[GEMM_MAX];
  op.a = check_real(check, host->a, GEMM_MAX);
  op.b = check_real(check, host->b, GEMM_MAX);
  op.bias = with_bias ? check_real(check, host->bias, GEMM_MAX) : NULL;
  op.c = c;
  CHECK_OK(OP(check->device, gemm, &op));
  check_fetch_real(check, c, result, GEMM_MAX);
  for (int64_t place = 0; place < GEMM_MAX; place++) {
    int64_t i = place / op.ldc, j = place % op.ldc;
    bool inside = i < op.m && j < op.n;
    double expected = inside ? gemm_expected(host, &op, i, j) : host->c[place];
    if (fabs(result[place] - expected) > 1e-12) fail_msg("gemm (%d, %d)", (int)i, (int)j);
  }
}

static void test_gemm(void **state) {
  check_t *check = *state;
  gemm_host_t host;
  for (int i = 0; i < GEMM_MAX; i++) {
    host.a[i] = sin(i + 1.0);
    host.b[i] = cos(3.0 * i);
    host.bias[i] = 0.1 * i;
    host.c[i] = 1.0 / (i + 1.0);
  }
  for (int i = 0; i < GEMM_CASES; i++) {
    bool trans_a = i & 1, trans_b = i & 2;
    gemm_case(check, &host,
              (op_gemm_t){.trans_a = trans_a,
                          .trans_b = trans_b,
                          .m = M,
                          .n = N,
                          .k = K,
                          .lda = (trans_a ? M : K) + GEMM_PAD,
                          .ldb = (trans_b ? K : N) + 1,
                          .ldc = N + GEMM_PAD,
                          .alpha = 0.5,
                          .beta = i & 4 ? 0.25 : 0.0},
              i & 8);
    check_release(check);
  }
}

/* ---- Elements ---- */

enum { COUNT = 4 };
static const double small[COUNT] = {1.0, -2.0, 0.5, 3.0}, other[COUNT] = {10.0, 20.0, 30.0, 40.0};

static void expect_real(check_t *check, const real_t *array, double a, double b, double c, double d) {
  double values[COUNT];
  check_fetch_real(check, array, values, COUNT);
  assert_true(values[0] == a && values[1] == b && values[2] == c && values[3] == d);
}

static void expect_wide(check_t *check, const wide_t *array, double a, double b, double c, double d) {
  double values[COUNT];
  check_fetch_wide(check, array, values, COUNT);
  assert_true(values[0] == a && values[1] == b && values[2] == c && values[3] == d);
}

static void test_elements(void **state) {
  check_t *check = *state;
  real_t *x = check_real(check, small, COUNT), *y = check_real(check, other, COUNT);
  wide_t *wide = check_wide(check, other, COUNT), *sum = check_wide(check, small, COUNT);
  CHECK_OK(OP(check->device, add, &(op_add_t){.n = COUNT, .x = x, .y = y}));
  expect_real(check, y, 11.0, 18.0, 30.5, 43.0);
  CHECK_OK(OP(check->device, copy, &(op_copy_t){.n = COUNT, .x = x, .y = y}));
  expect_real(check, y, 1.0, -2.0, 0.5, 3.0);
  CHECK_OK(OP(check->device, narrow, &(op_narrow_t){.n = COUNT - 1, .from = wide, .to = y}));
  expect_real(check, y, 10.0, 20.0, 30.0, 3.0);
  CHECK_OK(OP(check->device, widen, &(op_widen_t){.n = COUNT - 1, .from = x, .to = wide}));
  expect_wide(check, wide, 1.0, -2.0, 0.5, 40.0);
  CHECK_OK(OP(check->device, sum_squares,
              &(op_sum_squares_t){.n = COUNT - 1, .x = wide, .sum = sum})); /* 1 + 1 + 4 + 0.25 */
  expect_wide(check, sum, 6.25, -2.0, 0.5, 3.0);
  CHECK_OK(OP(check->device, fill_real, &(op_fill_real_t){.n = COUNT - 1, .value = 8.0, .x = x}));
  expect_real(check, x, 8.0, 8.0, 8.0, 3.0);
  CHECK_OK(OP(check->device, fill_wide, &(op_fill_wide_t){.n = 2, .value = -8.0, .x = wide}));
  expect_wide(check, wide, -8.0, -8.0, 0.5, 40.0);
}

/* Two columns: rows (1, -2), (0.5, 3). */
static void test_rows(void **state) {
  check_t *check = *state;
  static const int32_t order[] = {1, -1};
  index_t *index = check_index(check, order, 2);
  op_rows_t op = {
      .rows = 2, .cols = 2, .from = check_real(check, small, COUNT), .ld_from = 2, .index = index};
  op.ld_to = 2;
  real_t *to = check_real(check, other, COUNT);
  op.to = to;
  CHECK_OK(OP(check->device, rows_gather, &op));
  expect_real(check, to, 0.5, 3.0, 30.0, 40.0);
  op.add = true;
  CHECK_OK(OP(check->device, rows_gather, &op));
  expect_real(check, to, 1.0, 6.0, 30.0, 40.0);
  CHECK_OK(OP(check->device, rows_scatter, &op));
  expect_real(check, to, 1.0, 6.0, 31.0, 38.0);
  op.add = false;
  CHECK_OK(OP(check->device, rows_scatter, &op));
  expect_real(check, to, 1.0, 6.0, 1.0, -2.0);
}

static void test_periodic_and_embedding(void **state) {
  check_t *check = *state;
  static const int32_t tokens[] = {7, 6};
  real_t *rows = check_real(check, small, COUNT);
  wide_t *sums = check_wide(check, other, COUNT);
  op_sum_periodic_t sum = {.rows = 4, .cols = 1, .period = 2, .x = rows, .ldx = 1, .sums = sums};
  CHECK_OK(OP(check->device, sum_periodic, &sum));
  expect_wide(check, sums, 11.5, 21.0, 30.0, 40.0);
  op_embedding_backward_t grad = {.rows = 2, .cols = 2, .begin = 6, .count = 2, .dy = rows, .dweight = sums};
  grad.tokens = check_index(check, tokens, 2);
  CHECK_OK(OP(check->device, embedding_backward, &grad));
  expect_wide(check, sums, 12.0, 24.0, 31.0, 38.0);
  op_add_periodic_t add = {
      .rows = 4, .cols = 1, .period = 2, .table = rows, .x = check_real(check, other, COUNT)};
  CHECK_OK(OP(check->device, add_periodic, &add));
  expect_real(check, add.x, 11.0, 18.0, 31.0, 38.0);
}

/* ---- Rotary embedding: pairs of queries and keys turn by the position; values, and what lies between the
 * rows, stay; keys and values are stored ---- */

static void test_rotary(void **state) {
  check_t *check = *state;
  enum { LD = 7, ROTARY_ELEMENTS = 2 * LD, CACHE = 2 * 2 * 2 };
  static const double before[ROTARY_ELEMENTS] = {1.0, 0.0,  0.0, 4.0, 5.0, 6.0, 7.0,
                                                 2.0, -3.0, 0.5, 0.0, 9.0, 8.0, 8.0};
  static const int32_t positions[] = {1, 5}, slots[] = {3, -1}; /* the second place of the second page */
  double after[ROTARY_ELEMENTS], keys[CACHE], values[CACHE];
  op_rotary_t op = {.rows = 2,
                    .heads = 1,
                    .kv_heads = 1,
                    .head_size = 2,
                    .qkv = check_real(check, before, ROTARY_ELEMENTS),
                    .ld = LD,
                    .positions = check_index(check, positions, 2),
                    .base = 10000.0,
                    .page_size = 2,
                    .slots = check_index(check, slots, 2),
                    .k_cache = check_real_filled(check, CACHE),
                    .v_cache = check_real_filled(check, CACHE)};
  CHECK_OK(OP(check->device, rotary, &op));
  check_fetch_real(check, op.qkv, after, ROTARY_ELEMENTS);
  check_fetch_real(check, op.k_cache, keys, CACHE);
  check_fetch_real(check, op.v_cache, values, CACHE);
  double expected[ROTARY_ELEMENTS] = {cos(1.0),
                                      sin(1.0),
                                      -4.0 * sin(1.0),
                                      4.0 * cos(1.0),
                                      5.0,
                                      6.0,
                                      7.0,
                                      2.0 * cos(5.0) + 3.0 * sin(5.0),
                                      -3.0 * cos(5.0) + 2.0 * sin(5.0),
                                      0.5 * cos(5.0),
                                      0.5 * sin(5.0),
                                      9.0,
                                      8.0,
                                      8.0};
  for (int i = 0; i < ROTARY_ELEMENTS; i++)
    assert_true(fabs(after[i] - expected[i]) < 1e-14);
  for (int i = 0; i < CACHE; i++) {
    bool stored = i / 2 == slots[0];
    assert_true(keys[i] == (stored ? after[2 + i % 2] : 0.0));
    assert_true(values[i] == (stored ? before[4 + i % 2] : 0.0));
  }
}

/* ---- Norms: dx is set or added to as asked, dweight and dbias are always added to ---- */

/* After minus before must be the same whatever stood there. */
static void test_norm_gradients_add(void **state) {
  check_t *check = *state;
  static const double rstd_value[2] = {0.7, 1.3}, mean_value[2] = {0.1, -0.2},
                      start[COUNT] = {100, 100, 100, 100};
  double dx[2][2][COUNT], dweight[2][2][2];
  for (int norm = 0; norm < 2; norm++)
    for (int add = 0; add < 2; add++) {
      op_layernorm_backward_t layer = {
          .rows = 2,
          .cols = 2,
          .x = check_real(check, small, COUNT),
          .weight = check_real(check, other, 2),
          .dy = check_real(check, small, COUNT),
          .mean = check_wide(check, mean_value, 2),
          .rstd = check_wide(check, rstd_value, 2),
          .dx = check_real(check, start, COUNT),
          .dx_add = add,
          .dweight = add ? check_wide(check, start, 2) : check_wide_filled(check, 2),
          .dbias = add ? check_wide(check, start, 2) : check_wide_filled(check, 2)};
      op_rmsnorm_backward_t rms = {.rows = 2,
                                   .cols = 2,
                                   .x = layer.x,
                                   .weight = layer.weight,
                                   .dy = layer.dy,
                                   .rstd = layer.rstd,
                                   .dx = layer.dx,
                                   .dx_add = add,
                                   .dweight = layer.dweight};
      CHECK_OK(norm ? OP(check->device, layernorm_backward, &layer)
                    : OP(check->device, rmsnorm_backward, &rms));
      check_fetch_real(check, layer.dx, dx[norm][add], COUNT);
      check_fetch_wide(check, layer.dweight, dweight[norm][add], 2);
      if (norm) {
        double dbias[2];
        check_fetch_wide(check, layer.dbias, dbias, 2);
        assert_true(dbias[0] == (add ? 101.5 : 1.5) && dbias[1] == (add ? 101.0 : 1.0));
      }
    }
  for (int norm = 0; norm < 2; norm++) {
    for (int i = 0; i < COUNT; i++)
      assert_true(fabs(dx[norm][1][i] - 100.0 - dx[norm][0][i]) < 1e-12);
    for (int i = 0; i < 2; i++)
      assert_true(fabs(dweight[norm][1][i] - 100.0 - dweight[norm][0][i]) < 1e-12);
  }
}

static int start_device(void **state) {
  static check_t check;
  check = (check_t){.name = "definition"};
  CHECK_OK(plain_create(PLAIN_DOUBLE, true, &check.device));
  *state = &check;
  return 0;
}

static int finish_device(void **state) {
  check_t *check = *state;
  check_release(check);
  device_free(check->device);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_gemm, start_device, finish_device),
      cmocka_unit_test_setup_teardown(test_elements, start_device, finish_device),
      cmocka_unit_test_setup_teardown(test_rows, start_device, finish_device),
      cmocka_unit_test_setup_teardown(test_periodic_and_embedding, start_device, finish_device),
      cmocka_unit_test_setup_teardown(test_rotary, start_device, finish_device),
      cmocka_unit_test_setup_teardown(test_norm_gradients_add, start_device, finish_device),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

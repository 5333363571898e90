/* The linear operation of the plain device in double against finite differences: three segments that read the
 * same rows, two of them with adapters. */
#include "tensor/gradient_check.h"

enum { M = 3, K = 4, SEGMENT_COLS = 3, N = LINEAR_SEGMENTS * SEGMENT_COLS, RANK = 2, LDU = 2 * RANK };
enum { LINEAR_X, LINEAR_W, LINEAR_A, LINEAR_B, LINEAR_BIAS, LINEAR_RESIDUAL, LINEAR_INPUTS };
static const double lora_scale = 1.5;

/* Segment 1 has no adapter. */
static op_linear_t linear_op(check_t *check, real_t *const *x) {
  const device_t *device = check->device;
  const activation_t activation = *(const activation_t *)check->detail;
  op_linear_t op = {.rows = M,
                    .in = K,
                    .out = N,
                    .x = x[LINEAR_X],
                    .ldx = K,
                    .segments = LINEAR_SEGMENTS,
                    .lora_rank = RANK,
                    .lora_scale = lora_scale,
                    .ldu = LDU,
                    .residual = x[LINEAR_RESIDUAL],
                    .bias = x[LINEAR_BIAS],
                    .activation = activation,
                    .pre = activation == ACTIVATION_NONE ? NULL : check_real_filled(check, M * N),
                    .y = check_real_filled(check, M * N),
                    .ldy = N};
  real_t *u = check_real_filled(check, M * LDU);
  for (int i = 0; i < LINEAR_SEGMENTS; i++) {
    const real_t *w = real_at(device, x[LINEAR_W], (int64_t)i * SEGMENT_COLS * K);
    op.segment[i].weight = weight_real(w, SEGMENT_COLS, K);
    if (i == 1) continue;
    op.segment[i].a = real_at(device, x[LINEAR_A], (int64_t)i / 2 * RANK * K);
    op.segment[i].b = real_at(device, x[LINEAR_B], (int64_t)i / 2 * SEGMENT_COLS * RANK);
    op.segment[i].b_rows = SEGMENT_COLS;
    op.segment[i].u = real_at(device, u, (int64_t)i / 2 * RANK);
  }
  CHECK_OK(OP(check->device, linear, &op));
  return op;
}

static void linear_forward(check_t *check, real_t *const *x, double *y) {
  op_linear_t op = linear_op(check, x);
  check_fetch_real(check, op.y, y, M * N);
}

static void linear_backward(check_t *check, real_t *const *x, const real_t *dy, double *const *dx) {
  const device_t *device = check->device;
  op_linear_backward_t op = {.forward = linear_op(check, x),
                             .dy = dy,
                             .lddy = N,
                             .dx = check_real_filled(check, M * K),
                             .lddx = K,
                             .dbias = check_wide_filled(check, N)};
  real_t *dpre = check_real_filled(check, M * N), *du = check_real_filled(check, M * LDU);
  wide_t *dw = check_wide_filled(check, N * K), *da = check_wide_filled(check, check->sizes[LINEAR_A]),
         *db = check_wide_filled(check, check->sizes[LINEAR_B]);
  if (op.forward.pre) {
    op_activation_backward_t slope = {
        .n = M * N, .activation = op.forward.activation, .pre = op.forward.pre, .dy = dy, .dx = dpre};
    CHECK_OK(OP(check->device, activation_backward, &slope));
    op.dy = dpre;
  }
  for (int i = 0; i < LINEAR_SEGMENTS; i++) {
    op.segment[i].dw = wide_at(device, dw, (int64_t)i * SEGMENT_COLS * K);
    if (i == 1) continue;
    op.segment[i].da = wide_at(device, da, (int64_t)i / 2 * RANK * K);
    op.segment[i].db = wide_at(device, db, (int64_t)i / 2 * SEGMENT_COLS * RANK);
    op.segment[i].du = real_at(device, du, (int64_t)i / 2 * RANK);
  }
  CHECK_OK(OP(check->device, linear_backward, &op));
  check_fetch_real(check, op.dx, dx[LINEAR_X], M * K);
  check_fetch_wide(check, dw, dx[LINEAR_W], N * K);
  check_fetch_wide(check, da, dx[LINEAR_A], check->sizes[LINEAR_A]);
  check_fetch_wide(check, db, dx[LINEAR_B], check->sizes[LINEAR_B]);
  check_fetch_wide(check, op.dbias, dx[LINEAR_BIAS], N);
  check_fetch_real(check, op.dy, dx[LINEAR_RESIDUAL], M * N);
}

static void test_linear(void **state) {
  (void)state;
  static const activation_t activations[] = {ACTIVATION_NONE, ACTIVATION_QUICK_GELU, ACTIVATION_GELU,
                                             ACTIVATION_GELU_TANH};
  for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
    check_gradients(&(check_t){.name = "linear",
                               .inputs = LINEAR_INPUTS,
                               .sizes = {M * K, N * K, 2 * RANK * K, 2 * SEGMENT_COLS * RANK, N, M * N},
                               .results = M * N,
                               .input_scale = 0.5,
                               .forward = linear_forward,
                               .backward = linear_backward,
                               .detail = &activations[i]});
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_linear)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

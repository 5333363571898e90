/* The plain device in double against values that PyTorch and transformers computed (golden/make_golden.py).
 */
#include "tensor/golden_file.h"
#include "tensor/ops.h"
#include "tensor/plain/plain.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* The file has twelve digits. transformers computes its RMSNorm and rotary angles in float whatever the type
 * of the model: the latter are off by up to half a unit in the last place of an angle of some hundred
 * radians. */
static const double exact = 1e-10, float_norm = 1e-6, float_angle = 5e-5;

enum { BLOCKS_MAX = 32 };

typedef struct {
  golden_t golden;
  device_t *device;
  void *blocks[BLOCKS_MAX];
  int block_count;
} tensor_golden_fixture_t;

static void ok(status_code_t status) {
  if (status != STATUS_OK) fail_msg("%s", error_message());
}

static int start(void **state) {
  static tensor_golden_fixture_t fixture;
  golden_read(TEST_SOURCE_DIR "/tensor/golden/ops.txt", &fixture.golden);
  ok(plain_create(PLAIN_DOUBLE, true, &fixture.device));
  *state = &fixture;
  return 0;
}

static int finish(void **state) {
  tensor_golden_fixture_t *fixture = *state;
  device_free(fixture->device);
  golden_free(&fixture->golden);
  return 0;
}

static int release(void **state) {
  tensor_golden_fixture_t *fixture = *state;
  for (int i = 0; i < fixture->block_count; i++)
    device_release(fixture->device, fixture->blocks[i]);
  fixture->block_count = 0;
  return 0;
}

static void keep(tensor_golden_fixture_t *fixture, void *block) {
  assert_true(fixture->block_count < BLOCKS_MAX);
  fixture->blocks[fixture->block_count++] = block;
}

/* ---- Arrays by golden name, and unnamed ones for results ---- */

static real_t *real_named(tensor_golden_fixture_t *fixture, const char *name, size_t n) {
  real_t *array = NULL;
  ok(real_alloc(fixture->device, ARENA_OTHER, n, &array));
  ok(real_upload(fixture->device, array, golden_get(&fixture->golden, name, n), DTYPE_F64, n));
  keep(fixture, array);
  return array;
}

static wide_t *wide_named(tensor_golden_fixture_t *fixture, const char *name, size_t n) {
  wide_t *array = NULL;
  ok(wide_alloc(fixture->device, ARENA_OTHER, n, &array));
  ok(wide_upload(fixture->device, array, golden_get(&fixture->golden, name, n), DTYPE_F64, n));
  keep(fixture, array);
  return array;
}

static index_t *index_named(tensor_golden_fixture_t *fixture, const char *name, size_t n, int32_t *host) {
  index_t *array = NULL;
  const double *values = golden_get(&fixture->golden, name, n);
  for (size_t i = 0; i < n; i++)
    host[i] = (int32_t)values[i];
  ok(index_alloc(fixture->device, ARENA_OTHER, n, &array));
  ok(index_upload(fixture->device, array, host, n));
  keep(fixture, array);
  return array;
}

static real_t *real_zeros(tensor_golden_fixture_t *fixture, size_t n) {
  real_t *array = NULL;
  ok(real_alloc(fixture->device, ARENA_OTHER, n, &array));
  ok(OP(fixture->device, fill_real, &(op_fill_real_t){.n = (int64_t)n, .value = 0.0, .x = array}));
  keep(fixture, array);
  return array;
}

static wide_t *wide_zeros(tensor_golden_fixture_t *fixture, size_t n) {
  wide_t *array = NULL;
  ok(wide_alloc(fixture->device, ARENA_OTHER, n, &array));
  ok(OP(fixture->device, fill_wide, &(op_fill_wide_t){.n = (int64_t)n, .value = 0.0, .x = array}));
  keep(fixture, array);
  return array;
}

enum { VALUES_MAX = 512 };

static void compare(const tensor_golden_fixture_t *fixture, const char *name, const double *values, size_t n,
                    double tolerance) {
  const double *golden = golden_get(&fixture->golden, name, n);
  double error = 0.0, size = 0.0;
  for (size_t i = 0; i < n; i++) {
    error = fmax(error, fabs(values[i] - golden[i]));
    size = fmax(size, fabs(golden[i]));
  }
  if (!(error <= tolerance * size)) fail_msg("%s is off by %g of %g", name, error, size);
}

static void real_expect(tensor_golden_fixture_t *fixture, const char *name, const real_t *array, size_t n,
                        double tolerance) {
  double values[VALUES_MAX];
  assert_true(n <= VALUES_MAX);
  ok(real_download(fixture->device, values, DTYPE_F64, array, n));
  ok(device_synchronize(fixture->device));
  compare(fixture, name, values, n, tolerance);
}

static void wide_expect(tensor_golden_fixture_t *fixture, const char *name, const wide_t *array, size_t n,
                        double tolerance) {
  double values[VALUES_MAX];
  assert_true(n <= VALUES_MAX);
  ok(wide_download(fixture->device, values, DTYPE_F64, array, n));
  ok(device_synchronize(fixture->device));
  compare(fixture, name, values, n, tolerance);
}

/* ---- Norms ---- */

enum { T = 5, C = 8 };
static const double norm_eps = 1e-5;

static void test_rmsnorm(void **state) {
  tensor_golden_fixture_t *f = *state;
  real_t *x = real_named(f, "rmsnorm.x", T * C), *weight = real_named(f, "rmsnorm.weight", C);
  real_t *y = real_zeros(f, T * C), *dx = real_zeros(f, T * C);
  wide_t *rstd = wide_zeros(f, T), *dweight = wide_zeros(f, C);
  op_rmsnorm_t forward = {
      .rows = T, .cols = C, .x = x, .weight = weight, .eps = norm_eps, .y = y, .rstd = rstd};
  ok(OP(f->device, rmsnorm, &forward));
  op_rmsnorm_backward_t backward = {.rows = T,
                                    .cols = C,
                                    .x = x,
                                    .weight = weight,
                                    .dy = real_named(f, "rmsnorm.dy", T * C),
                                    .rstd = rstd,
                                    .dx = dx,
                                    .dweight = dweight};
  ok(OP(f->device, rmsnorm_backward, &backward));
  real_expect(f, "rmsnorm.y", y, T * C, float_norm);
  real_expect(f, "rmsnorm.dx", dx, T * C, float_norm);
  wide_expect(f, "rmsnorm.dweight", dweight, C, float_norm);
}

static void test_layernorm(void **state) {
  tensor_golden_fixture_t *f = *state;
  real_t *x = real_named(f, "layernorm.x", T * C), *weight = real_named(f, "layernorm.weight", C);
  real_t *y = real_zeros(f, T * C), *dx = real_zeros(f, T * C);
  wide_t *mean = wide_zeros(f, T), *rstd = wide_zeros(f, T), *dweight = wide_zeros(f, C),
         *dbias = wide_zeros(f, C);
  op_layernorm_t forward = {.rows = T,
                            .cols = C,
                            .x = x,
                            .weight = weight,
                            .bias = real_named(f, "layernorm.bias", C),
                            .eps = norm_eps,
                            .y = y,
                            .mean = mean,
                            .rstd = rstd};
  ok(OP(f->device, layernorm, &forward));
  op_layernorm_backward_t backward = {.rows = T,
                                      .cols = C,
                                      .x = x,
                                      .weight = weight,
                                      .dy = real_named(f, "layernorm.dy", T * C),
                                      .mean = mean,
                                      .rstd = rstd,
                                      .dx = dx,
                                      .dweight = dweight,
                                      .dbias = dbias};
  ok(OP(f->device, layernorm_backward, &backward));
  real_expect(f, "layernorm.y", y, T * C, exact);
  real_expect(f, "layernorm.dx", dx, T * C, exact);
  wide_expect(f, "layernorm.dweight", dweight, C, exact);
  wide_expect(f, "layernorm.dbias", dbias, C, exact);
}

/* ---- Activations ---- */

enum { ELEMENTS = 24 };

/* Rows of one gate and one up. */
static void test_swiglu(void **state) {
  tensor_golden_fixture_t *f = *state;
  double packed[2 * ELEMENTS], dgate[ELEMENTS], dup[ELEMENTS];
  const double *gate = golden_get(&f->golden, "swiglu.gate", ELEMENTS),
               *up = golden_get(&f->golden, "swiglu.up", ELEMENTS);
  for (int i = 0; i < ELEMENTS; i++)
    packed[2 * i] = gate[i], packed[2 * i + 1] = up[i];
  real_t *gate_up = real_zeros(f, 2 * ELEMENTS), *y = real_zeros(f, ELEMENTS),
         *again = real_zeros(f, ELEMENTS);
  ok(real_upload(f->device, gate_up, packed, DTYPE_F64, 2 * ELEMENTS));
  ok(OP(f->device, swiglu, &(op_swiglu_t){.rows = ELEMENTS, .cols = 1, .gate_up = gate_up, .y = y}));
  op_swiglu_backward_t backward = {.rows = ELEMENTS,
                                   .cols = 1,
                                   .gate_up = gate_up,
                                   .dy = real_named(f, "swiglu.dy", ELEMENTS),
                                   .dgate_up = gate_up,
                                   .y = again};
  ok(OP(f->device, swiglu_backward, &backward));
  ok(real_download(f->device, packed, DTYPE_F64, gate_up, 2 * ELEMENTS));
  ok(device_synchronize(f->device));
  for (int i = 0; i < ELEMENTS; i++)
    dgate[i] = packed[2 * i], dup[i] = packed[2 * i + 1];
  real_expect(f, "swiglu.y", y, ELEMENTS, exact);
  real_expect(f, "swiglu.y", again, ELEMENTS, exact);
  compare(f, "swiglu.dgate", dgate, ELEMENTS, exact);
  compare(f, "swiglu.dup", dup, ELEMENTS, exact);
}

/* Through the product with a 1 x 1 identity, whose epilogue applies the activation. */
static void check_activation(tensor_golden_fixture_t *f, const char *name, activation_t activation) {
  char x_name[GOLDEN_NAME_MAX], y_name[GOLDEN_NAME_MAX], dx_name[GOLDEN_NAME_MAX], dy_name[GOLDEN_NAME_MAX];
  snprintf(x_name, sizeof x_name, "%s.x", name);
  snprintf(y_name, sizeof y_name, "%s.y", name);
  snprintf(dx_name, sizeof dx_name, "%s.dx", name);
  snprintf(dy_name, sizeof dy_name, "%s.dy", name);
  real_t *one = real_zeros(f, 1), *y = real_zeros(f, ELEMENTS), *pre = real_zeros(f, ELEMENTS);
  real_t *dx = real_zeros(f, ELEMENTS);
  ok(OP(f->device, fill_real, &(op_fill_real_t){.n = 1, .value = 1.0, .x = one}));
  op_gemm_t forward = {.m = ELEMENTS,
                       .n = 1,
                       .k = 1,
                       .a = real_named(f, x_name, ELEMENTS),
                       .lda = 1,
                       .b = one,
                       .ldb = 1,
                       .c = y,
                       .ldc = 1,
                       .alpha = 1.0,
                       .activation = activation,
                       .pre = pre};
  ok(OP(f->device, gemm, &forward));
  op_activation_backward_t backward = {
      .n = ELEMENTS, .activation = activation, .pre = pre, .dy = real_named(f, dy_name, ELEMENTS), .dx = dx};
  ok(OP(f->device, activation_backward, &backward));
  real_expect(f, y_name, y, ELEMENTS, exact);
  real_expect(f, dx_name, dx, ELEMENTS, exact);
}

static void test_activations(void **state) {
  check_activation(*state, "gelu", ACTIVATION_GELU);
  check_activation(*state, "quick_gelu", ACTIVATION_QUICK_GELU);
  check_activation(*state, "gelu_pytorch_tanh", ACTIVATION_GELU_TANH);
}

/* ---- Rotary embedding and attention ---- */

static void test_rotary(void **state) {
  tensor_golden_fixture_t *f = *state;
  enum { HEADS = 2, HEAD_SIZE = 8, COLS = HEADS * HEAD_SIZE };
  int32_t positions[T];
  real_t *x = real_named(f, "rope.x", T * COLS), *dx = real_named(f, "rope.dy", T * COLS);
  op_rotary_t op = {.rows = T,
                    .heads = HEADS,
                    .head_size = HEAD_SIZE,
                    .qkv = x,
                    .ld = COLS,
                    .positions = index_named(f, "rope.positions", T, positions),
                    .base = 10000.0};
  ok(OP(f->device, rotary, &op));
  op.qkv = dx;
  op.inverse = true;
  ok(OP(f->device, rotary, &op));
  real_expect(f, "rope.y", x, T * COLS, float_angle);
  real_expect(f, "rope.dx", dx, T * COLS, float_angle);
}

static void check_attention(tensor_golden_fixture_t *f, const char *name, bool causal) {
  enum { SEQUENCES = 3, ROWS = 11, HEADS = 4, KV_HEADS = 2, D = 8, COLS = HEADS * D, KV_COLS = KV_HEADS * D };
  static const char *const parts[] = {"offsets", "q", "k", "v", "y", "dy", "dq", "dk", "dv"};
  enum { OFFSETS, Q, K, V, Y, DY, DQ, DK, DV, PARTS };
  char names[PARTS][GOLDEN_NAME_MAX];
  for (int i = 0; i < PARTS; i++)
    snprintf(names[i], sizeof names[i], "%s.%s", name, parts[i]);
  int32_t offsets[SEQUENCES + 1];
  index_named(f, names[OFFSETS], SEQUENCES + 1, offsets);
  sequences_t sequences = sequences_create(f->device);
  ok(sequences_prepare(&sequences, SEQUENCES, offsets, HEADS, KV_HEADS, D));
  op_attention_t forward = {.sequences = &sequences,
                            .q = real_named(f, names[Q], ROWS * COLS),
                            .k = real_named(f, names[K], ROWS * KV_COLS),
                            .v = real_named(f, names[V], ROWS * KV_COLS),
                            .ldq = COLS,
                            .ldkv = KV_COLS,
                            .ldo = COLS,
                            .scale = 1.0 / sqrt((double)D),
                            .causal = causal,
                            .out = real_zeros(f, ROWS * COLS),
                            .lse = wide_zeros(f, ROWS * HEADS)};
  ok(OP(f->device, attention, &forward));
  op_attention_backward_t backward = {.forward = forward,
                                      .dout = real_named(f, names[DY], ROWS * COLS),
                                      .dq = real_zeros(f, ROWS * COLS),
                                      .dk = real_zeros(f, ROWS * KV_COLS),
                                      .dv = real_zeros(f, ROWS * KV_COLS)};
  ok(OP(f->device, attention_backward, &backward));
  real_expect(f, names[Y], forward.out, ROWS * COLS, exact);
  real_expect(f, names[DQ], backward.dq, ROWS * COLS, exact);
  real_expect(f, names[DK], backward.dk, ROWS * KV_COLS, exact);
  real_expect(f, names[DV], backward.dv, ROWS * KV_COLS, exact);
  sequences_free(&sequences);
}

static void test_attention(void **state) {
  check_attention(*state, "causal", true);
  check_attention(*state, "full", false);
}

/* ---- Vocabulary ---- */

static void test_vocabulary(void **state) {
  tensor_golden_fixture_t *f = *state;
  enum { ROWS = 4, SIZE = 13 };
  int32_t host_targets[ROWS];
  index_t *targets = index_named(f, "vocab.targets", ROWS, host_targets);
  wide_t *records = wide_zeros(f, ROWS * VOCAB_RECORD), *normaliser = wide_zeros(f, 2 * ROWS);
  wide_t *logprob = wide_zeros(f, ROWS), *entropy = wide_zeros(f, ROWS);
  vocab_shard_t shard = {.rows = ROWS,
                         .ld = SIZE,
                         .count = SIZE,
                         .logits = wide_named(f, "vocab.logits", ROWS * SIZE),
                         .scale = 1.0 / golden_get(&f->golden, "vocab.temperature", 1)[0]};
  op_vocab_statistics_t statistics = {.shard = shard, .targets = targets, .records = records};
  ok(OP(f->device, vocab_statistics, &statistics));
  op_vocab_combine_t combine = {.shards = 1,
                                .rows = ROWS,
                                .records = records,
                                .logprob = logprob,
                                .entropy = entropy,
                                .normaliser = normaliser};
  ok(OP(f->device, vocab_combine, &combine));
  op_vocab_backward_t backward = {.shard = shard,
                                  .normaliser = normaliser,
                                  .dlogprob = wide_named(f, "vocab.dy", ROWS),
                                  .targets = targets,
                                  .dlogits = real_zeros(f, ROWS * SIZE)};
  ok(OP(f->device, vocab_backward, &backward));
  wide_expect(f, "vocab.y", logprob, ROWS, exact);
  wide_expect(f, "vocab.entropy", entropy, ROWS, exact);
  real_expect(f, "vocab.dlogits", backward.dlogits, ROWS * SIZE, exact);
}

/* ---- AdamW ---- */

static void test_adamw(void **state) {
  tensor_golden_fixture_t *f = *state;
  enum { WEIGHTS = 10, STEPS = 3 };
  wide_t *master = wide_named(f, "adamw.start", WEIGHTS), *m = wide_zeros(f, WEIGHTS),
         *v = wide_zeros(f, WEIGHTS);
  real_t *real = real_zeros(f, WEIGHTS);
  for (int step = 1; step <= STEPS; step++) {
    char grad_name[GOLDEN_NAME_MAX], weight_name[GOLDEN_NAME_MAX];
    snprintf(grad_name, sizeof grad_name, "adamw.grad%d", step);
    snprintf(weight_name, sizeof weight_name, "adamw.weight%d", step);
    const adamw_run_t run = {WEIGHTS, master, m, v, wide_named(f, grad_name, WEIGHTS), real};
    op_adamw_t op = {.count = 1,
                     .runs = &run,
                     .grad_scale = 1.0,
                     .lr = 0.05,
                     .beta1 = 0.9,
                     .beta2 = 0.999,
                     .eps = 1e-8,
                     .weight_decay = 0.1,
                     .step = step};
    ok(OP(f->device, adamw, &op));
    wide_expect(f, weight_name, master, WEIGHTS, exact);
    real_expect(f, weight_name, real, WEIGHTS, exact);
  }
  wide_expect(f, "adamw.m", m, WEIGHTS, exact);
  wide_expect(f, "adamw.v", v, WEIGHTS, exact);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_rmsnorm, release),
      cmocka_unit_test_teardown(test_layernorm, release),
      cmocka_unit_test_teardown(test_swiglu, release),
      cmocka_unit_test_teardown(test_activations, release),
      cmocka_unit_test_teardown(test_rotary, release),
      cmocka_unit_test_teardown(test_attention, release),
      cmocka_unit_test_teardown(test_vocabulary, release),
      cmocka_unit_test_teardown(test_adamw, release),
  };
  return cmocka_run_group_tests(tests, start, finish);
}

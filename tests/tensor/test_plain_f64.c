/* Every backward operation of the plain device in double against finite differences; the linear one has a
 * test of its own. */
#include "tensor/gradient_check.h"

#include <math.h>

/* ---- Norms ---- */

enum { T = 4, C = 6 };
static const double norm_eps = 1e-5;

static void rmsnorm_forward(check_t *check, real_t *const *x, double *y) {
  real_t *out = check_real_filled(check, T * C);
  op_rmsnorm_t op = {.rows = T, .cols = C, .x = x[0], .weight = x[1], .eps = norm_eps, .y = out};
  CHECK_OK(OP(check->device, rmsnorm, &op));
  check_fetch_real(check, out, y, T * C);
}

static void rmsnorm_backward(check_t *check, real_t *const *x, const real_t *dy, double *const *dx) {
  real_t *out = check_real_filled(check, T * C), *dinput = check_real_filled(check, T * C);
  wide_t *rstd = check_wide_filled(check, T), *dweight = check_wide_filled(check, C);
  op_rmsnorm_t forward = {
      .rows = T, .cols = C, .x = x[0], .weight = x[1], .eps = norm_eps, .y = out, .rstd = rstd};
  CHECK_OK(OP(check->device, rmsnorm, &forward));
  op_rmsnorm_backward_t op = {.rows = T,
                              .cols = C,
                              .x = x[0],
                              .weight = x[1],
                              .dy = dy,
                              .rstd = rstd,
                              .dx = dinput,
                              .dx_add = true,
                              .dweight = dweight};
  CHECK_OK(OP(check->device, rmsnorm_backward, &op));
  check_fetch_real(check, dinput, dx[0], T * C);
  check_fetch_wide(check, dweight, dx[1], C);
}

static void test_rmsnorm(void **state) {
  (void)state;
  check_gradients(&(check_t){.name = "rmsnorm",
                             .inputs = 2,
                             .sizes = {T * C, C},
                             .results = T * C,
                             .forward = rmsnorm_forward,
                             .backward = rmsnorm_backward});
}

static void layernorm_forward(check_t *check, real_t *const *x, double *y) {
  real_t *out = check_real_filled(check, T * C);
  op_layernorm_t op = {
      .rows = T, .cols = C, .x = x[0], .weight = x[1], .bias = x[2], .eps = norm_eps, .y = out};
  CHECK_OK(OP(check->device, layernorm, &op));
  check_fetch_real(check, out, y, T * C);
}

static void layernorm_backward(check_t *check, real_t *const *x, const real_t *dy, double *const *dx) {
  real_t *out = check_real_filled(check, T * C), *dinput = check_real_filled(check, T * C);
  wide_t *mean = check_wide_filled(check, T), *rstd = check_wide_filled(check, T);
  wide_t *dweight = check_wide_filled(check, C), *dbias = check_wide_filled(check, C);
  op_layernorm_t forward = {.rows = T,
                            .cols = C,
                            .x = x[0],
                            .weight = x[1],
                            .bias = x[2],
                            .eps = norm_eps,
                            .y = out,
                            .mean = mean,
                            .rstd = rstd};
  CHECK_OK(OP(check->device, layernorm, &forward));
  op_layernorm_backward_t op = {.rows = T,
                                .cols = C,
                                .x = x[0],
                                .weight = x[1],
                                .dy = dy,
                                .mean = mean,
                                .rstd = rstd,
                                .dx = dinput,
                                .dweight = dweight,
                                .dbias = dbias};
  CHECK_OK(OP(check->device, layernorm_backward, &op));
  check_fetch_real(check, dinput, dx[0], T * C);
  check_fetch_wide(check, dweight, dx[1], C);
  check_fetch_wide(check, dbias, dx[2], C);
}

static void test_layernorm(void **state) {
  (void)state;
  check_gradients(&(check_t){.name = "layernorm",
                             .inputs = 3,
                             .sizes = {T * C, C, C},
                             .results = T * C,
                             .forward = layernorm_forward,
                             .backward = layernorm_backward});
}

/* ---- SwiGLU ---- */

enum { SWIGLU_ROWS = 3, SWIGLU_COLS = 5, GATED = SWIGLU_ROWS * SWIGLU_COLS };

static void swiglu_forward(check_t *check, real_t *const *x, double *y) {
  real_t *out = check_real_filled(check, GATED);
  op_swiglu_t op = {.rows = SWIGLU_ROWS, .cols = SWIGLU_COLS, .gate_up = x[0], .y = out};
  CHECK_OK(OP(check->device, swiglu, &op));
  check_fetch_real(check, out, y, GATED);
}

/* The value that comes along is the forward pass's, also where it takes the place of dy. */
static void swiglu_backward(check_t *check, real_t *const *x, const real_t *dy, double *const *dx) {
  const bool in_place = *(const bool *)check->detail;
  double expected[GATED], value[GATED];
  swiglu_forward(check, x, expected);
  real_t *apart = check_real_filled(check, 2 * GATED), *y = check_real_filled(check, GATED);
  CHECK_OK(OP(check->device, copy, &(op_copy_t){.n = GATED, .x = dy, .y = y}));
  op_swiglu_backward_t op = {.rows = SWIGLU_ROWS,
                             .cols = SWIGLU_COLS,
                             .gate_up = x[0],
                             .dy = in_place ? y : dy,
                             .dgate_up = in_place ? x[0] : apart,
                             .y = y};
  CHECK_OK(OP(check->device, swiglu_backward, &op));
  check_fetch_real(check, op.dgate_up, dx[0], 2 * GATED);
  check_fetch_real(check, y, value, GATED);
  for (int i = 0; i < GATED; i++)
    assert_true(value[i] == expected[i]);
}

static void test_swiglu(void **state) {
  (void)state;
  static const bool in_place[] = {false, true};
  for (int i = 0; i < 2; i++)
    check_gradients(&(check_t){.name = "swiglu",
                               .inputs = 1,
                               .sizes = {2 * GATED},
                               .results = GATED,
                               .input_scale = 2.0,
                               .forward = swiglu_forward,
                               .backward = swiglu_backward,
                               .detail = &in_place[i]});
}

/* ---- Rotary embedding: its inverse is its transpose ---- */

enum {
  ROTARY_HEADS = 2,
  HEAD_SIZE = 6,
  ROTARY_COLS = (ROTARY_HEADS + 2) * HEAD_SIZE,
  ROTARY_LD = ROTARY_COLS + 2
};

static void rotary_run(check_t *check, real_t *x, bool inverse) {
  static const int32_t positions[T] = {0, 1, 17, 900};
  op_rotary_t op = {.rows = T,
                    .heads = ROTARY_HEADS,
                    .kv_heads = 1,
                    .head_size = HEAD_SIZE,
                    .qkv = x,
                    .ld = ROTARY_LD,
                    .positions = check_index(check, positions, T),
                    .base = 10000.0,
                    .inverse = inverse};
  CHECK_OK(OP(check->device, rotary, &op));
}

static void rotary_forward(check_t *check, real_t *const *x, double *y) {
  rotary_run(check, x[0], false);
  check_fetch_real(check, x[0], y, T * ROTARY_LD);
}

static void rotary_backward(check_t *check, real_t *const *x, const real_t *dy, double *const *dx) {
  CHECK_OK(OP(check->device, copy, &(op_copy_t){.n = T * ROTARY_LD, .x = dy, .y = x[0]}));
  rotary_run(check, x[0], true);
  check_fetch_real(check, x[0], dx[0], T * ROTARY_LD);
}

static void test_rotary(void **state) {
  (void)state;
  check_gradients(&(check_t){.name = "rotary",
                             .inputs = 1,
                             .sizes = {T * ROTARY_LD},
                             .results = T * ROTARY_LD,
                             .forward = rotary_forward,
                             .backward = rotary_backward});
}

/* ---- Attention, with columns between the rows that it must leave alone ---- */

enum {
  SEQUENCES = 3,
  POSITIONS = 7,
  QUERY_HEADS = 4,
  KV_HEADS = 2,
  Q_COLS = QUERY_HEADS * HEAD_SIZE,
  KV_COLS = KV_HEADS * HEAD_SIZE,
  LDQ = Q_COLS + 2,
  LDKV = KV_COLS + 1,
  LDO = Q_COLS + 3
};
static const int32_t offsets[SEQUENCES + 1] = {0, 2, 3, POSITIONS};

static op_attention_t attention_op(check_t *check, real_t *const *x, const sequences_t *sequences) {
  return (op_attention_t){.sequences = sequences,
                          .q = x[0],
                          .k = x[1],
                          .v = x[2],
                          .ldq = LDQ,
                          .ldkv = LDKV,
                          .ldo = LDO,
                          .scale = 0.4,
                          .causal = *(const bool *)check->detail,
                          .out = check_real_filled(check, POSITIONS * LDO),
                          .lse = check_wide_filled(check, POSITIONS * QUERY_HEADS)};
}

static void attention_forward(check_t *check, real_t *const *x, double *y) {
  sequences_t sequences = sequences_create(check->device);
  CHECK_OK(sequences_prepare(&sequences, SEQUENCES, offsets, QUERY_HEADS, KV_HEADS, HEAD_SIZE));
  op_attention_t op = attention_op(check, x, &sequences);
  CHECK_OK(OP(check->device, attention, &op));
  check_fetch_real(check, op.out, y, POSITIONS * LDO);
  sequences_free(&sequences);
}

static void attention_backward(check_t *check, real_t *const *x, const real_t *dy, double *const *dx) {
  sequences_t sequences = sequences_create(check->device);
  CHECK_OK(sequences_prepare(&sequences, SEQUENCES, offsets, QUERY_HEADS, KV_HEADS, HEAD_SIZE));
  op_attention_backward_t op = {.forward = attention_op(check, x, &sequences),
                                .dout = dy,
                                .dq = check_real_filled(check, POSITIONS * LDQ),
                                .dk = check_real_filled(check, POSITIONS * LDKV),
                                .dv = check_real_filled(check, POSITIONS * LDKV)};
  CHECK_OK(OP(check->device, attention, &op.forward));
  CHECK_OK(OP(check->device, attention_backward, &op));
  check_fetch_real(check, op.dq, dx[0], POSITIONS * LDQ);
  check_fetch_real(check, op.dk, dx[1], POSITIONS * LDKV);
  check_fetch_real(check, op.dv, dx[2], POSITIONS * LDKV);
  sequences_free(&sequences);
}

static void test_attention(void **state) {
  (void)state;
  static const bool causal[] = {true, false};
  for (int i = 0; i < 2; i++)
    check_gradients(&(check_t){.name = "attention",
                               .inputs = 3,
                               .sizes = {POSITIONS * LDQ, POSITIONS * LDKV, POSITIONS * LDKV},
                               .results = POSITIONS * LDO,
                               .forward = attention_forward,
                               .backward = attention_backward,
                               .detail = &causal[i]});
}

/* ---- Embedding, and the position table: y = embedding(tokens) + table[r % period] ---- */

enum { SHARD = 4, SHARD_BEGIN = 3, PERIOD = 3 };

static const int32_t tokens[POSITIONS] = {3, 6, -200, 0, 6, 7, 5};

static void embedding_forward(check_t *check, real_t *const *x, double *y) {
  real_t *out = check_real_filled(check, POSITIONS * C);
  op_embedding_t op = {.rows = POSITIONS,
                       .cols = C,
                       .begin = SHARD_BEGIN,
                       .count = SHARD,
                       .tokens = check_index(check, tokens, POSITIONS),
                       .weight = weight_real(x[0], SHARD, C),
                       .y = out};
  CHECK_OK(OP(check->device, embedding, &op));
  op_add_periodic_t add = {.rows = POSITIONS, .cols = C, .period = PERIOD, .table = x[1], .x = out};
  CHECK_OK(OP(check->device, add_periodic, &add));
  check_fetch_real(check, out, y, POSITIONS * C);
}

static void embedding_backward(check_t *check, real_t *const *x, const real_t *dy, double *const *dx) {
  (void)x;
  wide_t *dweight = check_wide_filled(check, SHARD * C), *dtable = check_wide_filled(check, PERIOD * C);
  op_embedding_backward_t op = {.rows = POSITIONS,
                                .cols = C,
                                .begin = SHARD_BEGIN,
                                .count = SHARD,
                                .tokens = check_index(check, tokens, POSITIONS),
                                .dy = dy,
                                .dweight = dweight};
  CHECK_OK(OP(check->device, embedding_backward, &op));
  op_sum_periodic_t sum = {.rows = POSITIONS, .cols = C, .period = PERIOD, .x = dy, .ldx = C, .sums = dtable};
  CHECK_OK(OP(check->device, sum_periodic, &sum));
  check_fetch_wide(check, dweight, dx[0], SHARD * C);
  check_fetch_wide(check, dtable, dx[1], PERIOD * C);
}

static void test_embedding(void **state) {
  (void)state;
  check_gradients(&(check_t){.name = "embedding",
                             .inputs = 2,
                             .sizes = {SHARD * C, PERIOD * C},
                             .results = POSITIONS * C,
                             .forward = embedding_forward,
                             .backward = embedding_backward});
}

/* ---- Gather and scatter are each other's transpose ---- */

enum { PICKED = 3, LD_ALL = C + 1, LD_PICKED = C + 2 };
static const int32_t picked[PICKED] = {6, -1, 2};

static void rows_move(check_t *check, bool gather, const real_t *from, real_t *to, bool add) {
  op_rows_t op = {.rows = PICKED,
                  .cols = C,
                  .from = from,
                  .ld_from = gather ? LD_ALL : LD_PICKED,
                  .index = check_index(check, picked, PICKED),
                  .to = to,
                  .ld_to = gather ? LD_PICKED : LD_ALL,
                  .add = add};
  CHECK_OK(gather ? OP(check->device, rows_gather, &op) : OP(check->device, rows_scatter, &op));
}

/* X0 (POSITIONS, C; LD_ALL), of which some rows are gathered, plus X1 (PICKED, C; LD_PICKED). */
static void gather_forward(check_t *check, real_t *const *x, double *y) {
  rows_move(check, true, x[0], x[1], true);
  check_fetch_real(check, x[1], y, PICKED * LD_PICKED);
}

static void gather_backward(check_t *check, real_t *const *x, const real_t *dy, double *const *dx) {
  (void)x;
  real_t *dinput = check_real_filled(check, POSITIONS * LD_ALL);
  rows_move(check, false, dy, dinput, true);
  check_fetch_real(check, dinput, dx[0], POSITIONS * LD_ALL);
  check_fetch_real(check, dy, dx[1], PICKED * LD_PICKED);
}

static void test_rows(void **state) {
  (void)state;
  check_gradients(&(check_t){.name = "rows",
                             .inputs = 2,
                             .sizes = {POSITIONS * LD_ALL, PICKED * LD_PICKED},
                             .results = PICKED * LD_PICKED,
                             .forward = gather_forward,
                             .backward = gather_backward});
}

/* ---- Log-probability of a vocabulary ---- */

enum { ROWS = 4, VOCAB = 7, LD = 9 };
static const int32_t targets[ROWS] = {0, 6, 3, 3};
static const double temperature_scale = 1.25;

static vocab_shard_t vocab_shard(check_t *check, const real_t *logits) {
  double padded[ROWS * LD] = {0}, values[ROWS * VOCAB];
  check_fetch_real(check, logits, values, ROWS * VOCAB);
  for (int i = 0; i < ROWS * VOCAB; i++)
    padded[i / VOCAB * LD + i % VOCAB] = values[i];
  return (vocab_shard_t){.rows = ROWS,
                         .ld = LD,
                         .count = VOCAB,
                         .logits = check_wide(check, padded, ROWS * LD),
                         .scale = temperature_scale};
}

typedef struct {
  vocab_shard_t shard;
  index_t *targets;
  wide_t *logprob, *normaliser;
} vocab_pass_t;

static vocab_pass_t vocab_pass(check_t *check, const real_t *logits) {
  vocab_pass_t pass = {.shard = vocab_shard(check, logits),
                       .targets = check_index(check, targets, ROWS),
                       .logprob = check_wide_filled(check, ROWS),
                       .normaliser = check_wide_filled(check, 2 * ROWS)};
  wide_t *records = check_wide_filled(check, ROWS * VOCAB_RECORD);
  op_vocab_statistics_t statistics = {.shard = pass.shard, .targets = pass.targets, .records = records};
  CHECK_OK(OP(check->device, vocab_statistics, &statistics));
  op_vocab_combine_t combine = {
      .shards = 1, .rows = ROWS, .records = records, .logprob = pass.logprob, .normaliser = pass.normaliser};
  CHECK_OK(OP(check->device, vocab_combine, &combine));
  return pass;
}

static void logprob_forward(check_t *check, real_t *const *x, double *y) {
  vocab_pass_t pass = vocab_pass(check, x[0]);
  check_fetch_wide(check, pass.logprob, y, ROWS);
}

static void logprob_backward(check_t *check, real_t *const *x, const real_t *dy, double *const *dx) {
  vocab_pass_t pass = vocab_pass(check, x[0]);
  double weights[ROWS], padded[ROWS * LD];
  check_fetch_real(check, dy, weights, ROWS);
  real_t *dlogits = check_real_filled(check, ROWS * LD);
  CHECK_OK(OP(check->device, fill_real, &(op_fill_real_t){.n = ROWS * LD, .value = 5.0, .x = dlogits}));
  op_vocab_backward_t op = {.shard = pass.shard,
                            .normaliser = pass.normaliser,
                            .dlogprob = check_wide(check, weights, ROWS),
                            .targets = pass.targets,
                            .dlogits = dlogits};
  CHECK_OK(OP(check->device, vocab_backward, &op));
  check_fetch_real(check, dlogits, padded, ROWS * LD);
  for (int i = 0; i < ROWS * VOCAB; i++)
    dx[0][i] = padded[i / VOCAB * LD + i % VOCAB];
  for (int i = 0; i < ROWS * LD; i++)
    assert_true(i % LD < VOCAB || padded[i] == 0.0);
}

static void test_logprob(void **state) {
  (void)state;
  check_gradients(&(check_t){.name = "logprob",
                             .inputs = 1,
                             .sizes = {ROWS * VOCAB},
                             .results = ROWS,
                             .input_scale = 2.0,
                             .forward = logprob_forward,
                             .backward = logprob_backward});
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rmsnorm), cmocka_unit_test(test_layernorm), cmocka_unit_test(test_swiglu),
      cmocka_unit_test(test_rotary),  cmocka_unit_test(test_attention), cmocka_unit_test(test_embedding),
      cmocka_unit_test(test_rows),    cmocka_unit_test(test_logprob),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The linear operation and its gradients with weights in NF4: parts of larger matrices, which nothing trains.
 */
#include "tensor/op_pair.h"

typedef struct {
  int64_t rows, in, outs[LINEAR_SEGMENTS];
  int32_t segments;
  int adapters; /* bit i: segment i has one */
  int32_t rank;
  int64_t pad;  /* behind each row of x; 0: and weights begin with a block */
  bool u_given; /* as over tp: no A, and B for some of the columns */
  bool residual, bias, pre, y_wide;
  activation_t activation;
  bool dx_add;
} linear_case_t;

/* The operands of both devices. */
typedef struct {
  int64_t out, ldx, ldy, ldu;
  real_pair_t x, y, residual, bias, pre, u, du, dy, dx, a, b[LINEAR_SEGMENTS];
  wide_pair_t y_wide, da, db[LINEAR_SEGMENTS], dbias;
  weight_pair_t weights[LINEAR_SEGMENTS];
} linear_operands_t;

static bool adapted(const linear_case_t *c, int i) {
  return c->adapters >> i & 1;
}

/* Columns before segment I. */
static int64_t columns_before(const linear_case_t *c, int i) {
  int64_t columns = 0;
  for (int s = 0; s < i; s++)
    columns += c->outs[s];
  return columns;
}

static int64_t b_begin(const linear_case_t *c, int i) {
  return c->u_given ? c->outs[i] / 3 : 0;
}

static int64_t b_rows(const linear_case_t *c, int i) {
  return c->u_given ? c->outs[i] / 2 : c->outs[i];
}

static linear_operands_t operands_make(op_pair_t *pair, const linear_case_t *c) {
  linear_operands_t o = {.out = columns_before(c, c->segments), .ldx = c->in + c->pad};
  o.ldy = o.out + 2;
  o.ldu = (int64_t)c->segments * c->rank;
  o.x = real_random(pair, c->rows * o.ldx, 1.0);
  o.y = real_untouched(pair, c->rows * o.ldy);
  o.y_wide = wide_untouched(pair, c->rows * o.ldy);
  o.residual = real_random(pair, c->rows * o.ldy, 1.0);
  o.pre = real_untouched(pair, c->rows * o.ldy);
  o.bias = real_random(pair, o.out, 1.0);
  o.u = c->u_given ? real_random(pair, c->rows * o.ldu, 1.0) : real_untouched(pair, c->rows * o.ldu);
  o.du = real_untouched(pair, c->rows * o.ldu);
  o.dy = real_random(pair, c->rows * o.ldy, 1.0);
  o.dx = real_random(pair, c->rows * o.ldx, 1.0);
  o.a = real_random(pair, o.ldu * c->in, 1.0);
  o.da = wide_random(pair, o.ldu * c->in, 1.0);
  o.dbias = wide_random(pair, o.out, 1.0);
  for (int i = 0; i < c->segments; i++) {
    o.b[i] = real_random(pair, c->outs[i] * c->rank, 1.0);
    o.db[i] = wide_random(pair, c->outs[i] * c->rank, 1.0);
    o.weights[i] = nf4_random(pair, c->outs[i], c->in, c->pad == 0);
  }
  return o;
}

static op_linear_t forward_of(op_pair_t *pair, const linear_case_t *c, const linear_operands_t *o, int side) {
  const device_t *device = pair->devices[side];
  op_linear_t op = {.rows = c->rows,
                    .in = c->in,
                    .out = o->out,
                    .x = o->x.on[side],
                    .ldx = o->ldx,
                    .segments = c->segments,
                    .lora_rank = c->rank,
                    .lora_scale = 0.25,
                    .ldu = o->ldu,
                    .residual = c->residual ? o->residual.on[side] : NULL,
                    .bias = c->bias ? o->bias.on[side] : NULL,
                    .activation = c->activation,
                    .pre = c->pre ? o->pre.on[side] : NULL,
                    .y = c->y_wide ? (void *)o->y_wide.on[side] : (void *)o->y.on[side],
                    .ldy = o->ldy,
                    .y_wide = c->y_wide};
  for (int i = 0; i < c->segments; i++) {
    linear_segment_t *segment = &op.segment[i];
    segment->weight = o->weights[i].on[side];
    if (!adapted(c, i)) continue;
    segment->a = c->u_given ? NULL : real_at(device, o->a.on[side], (int64_t)i * c->rank * c->in);
    segment->b = o->b[i].on[side];
    segment->b_begin = b_begin(c, i);
    segment->b_rows = b_rows(c, i);
    segment->u = real_at(device, o->u.on[side], (int64_t)i * c->rank);
  }
  return op;
}

/* Gradients of all but the weights. */
static op_linear_backward_t backward_of(op_pair_t *pair, const linear_case_t *c, const linear_operands_t *o,
                                        int side) {
  const device_t *device = pair->devices[side];
  op_linear_backward_t op = {.forward = forward_of(pair, c, o, side),
                             .dy = o->dy.on[side],
                             .lddy = o->ldy,
                             .dx = o->dx.on[side],
                             .lddx = o->ldx,
                             .dx_add = c->dx_add,
                             .dbias = c->bias ? o->dbias.on[side] : NULL};
  for (int i = 0; i < c->segments; i++) {
    if (!adapted(c, i)) continue;
    op.segment[i].da = c->u_given ? NULL : wide_at(device, o->da.on[side], (int64_t)i * c->rank * c->in);
    op.segment[i].db = o->db[i].on[side];
    op.segment[i].du = real_at(device, o->du.on[side], (int64_t)i * c->rank);
  }
  return op;
}

static void expect_all(op_pair_t *pair, const linear_case_t *c, const linear_operands_t *o) {
  double forward = pair->tolerances.forward, gradient = pair->tolerances.gradient;
  if (c->y_wide)
    wide_expect_close(pair, "linear wide y", &o->y_wide, 0, c->rows, o->out, o->ldy, forward);
  else
    real_expect_close(pair, "linear y", &o->y, 0, c->rows, o->out, o->ldy, forward);
  real_expect_close(pair, "linear pre", &o->pre, 0, c->rows, o->out, o->ldy, forward);
  real_expect_close(pair, "linear dx", &o->dx, 0, c->rows, c->in, o->ldx, gradient);
  wide_expect_close(pair, "linear dbias", &o->dbias, 0, 1, o->out, o->out, gradient);
  wide_expect_close(pair, "linear da", &o->da, 0, 1, o->ldu * c->in, o->ldu * c->in, gradient);
  for (int i = 0; i < c->segments; i++) {
    real_expect_close(pair, "linear u", &o->u, (int64_t)i * c->rank, c->rows, c->rank, o->ldu, forward);
    real_expect_close(pair, "linear du", &o->du, (int64_t)i * c->rank, c->rows, c->rank, o->ldu, gradient);
    wide_expect_close(pair, "linear db", &o->db[i], 0, 1, c->outs[i] * c->rank, c->outs[i] * c->rank,
                      gradient);
  }
}

static void linear_run(op_pair_t *pair, const linear_case_t *c) {
  linear_operands_t o = operands_make(pair, c);
  for (int s = 0; s < DEVICES; s++) {
    op_linear_backward_t op = backward_of(pair, c, &o, s);
    EXPECT_OK(OP(pair->devices[s], linear, &op.forward));
    EXPECT_OK(OP(pair->devices[s], linear_backward, &op));
  }
  expect_all(pair, c, &o);
  pair_release(pair);
}

void case_linear_nf4(void **state) {
  op_pair_t *pair = *state;
  static const int64_t rows[] = {1, 2, 9, 33}, widths[] = {1, 8, 31, 64, 70, 130};
  enum { CASES = 24, ROWS = sizeof rows / sizeof *rows, WIDTHS = sizeof widths / sizeof *widths };
  for (int i = 0; i < CASES; i++) {
    linear_case_t c = {.rows = pair_choose(pair, rows, ROWS),
                       .in = pair_choose(pair, widths, WIDTHS),
                       .segments = 1 + (int32_t)random_below(&pair->random, LINEAR_SEGMENTS),
                       .rank = 5,
                       .pad = 3,
                       .adapters = (int)random_below(&pair->random, 1 << LINEAR_SEGMENTS),
                       .u_given = pair_flip(pair),
                       .bias = pair_flip(pair),
                       .dx_add = pair_flip(pair)};
    for (int s = 0; s < c.segments; s++)
      c.outs[s] = pair_choose(pair, widths, WIDTHS);
    c.y_wide = pair_flip(pair);
    if (!c.y_wide) {
      c.residual = pair_flip(pair);
      c.activation = (activation_t)random_below(&pair->random, ACTIVATION_COUNT);
      c.pre = c.activation != ACTIVATION_NONE && pair_flip(pair);
    }
    linear_run(pair, &c);
  }
  /* Decode steps: few rows that lie as a fast device wants them, and sums that are shared by all of a block,
   * the last of them cut. */
  const linear_case_t steps[] = {
      {.rows = 1, .in = 10304, .outs = {17}, .segments = 1, .y_wide = true},
      {.rows = 3, .in = 4128, .outs = {40, 33}, .segments = 2, .adapters = 3, .rank = 8, .residual = true},
      {.rows = 12, .in = 1184, .outs = {50, 9, 70}, .segments = 3, .adapters = 5, .rank = 16, .bias = true},
      {.rows = 16, .in = 96, .outs = {130}, .segments = 1, .adapters = 1, .rank = 8, .u_given = true},
  };
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
    linear_run(pair, &steps[i]);
}

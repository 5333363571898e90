/* Cases of the linear operation and its gradients. The oracle does not run the operation: it composes it, one
 * product a segment. So does the tested device a second time, and finds nearly the same. */
#include "tensor/op_pair.h"

#include "base/memory.h"

typedef struct {
  int64_t rows, in, cols[LINEAR_SEGMENTS], pad;
  int32_t segments, lora_rank;
  weight_format_t format;
  bool adapter[LINEAR_SEGMENTS];
  bool given; /* A is NULL, u given, and b has a part of the rows */
  bool apart_w, apart_a, apart_u, apart_dw, apart_da;
  bool backwards; /* du's columns lie in the other order */
  bool residual, in_place, bias, y_wide, keep_pre;
  activation_t activation;
  bool no_dx, dx_add, frozen, frozen_adapters;
} linear_case_t;

typedef struct {
  int64_t out, ldx, ldy, ldu;
  int64_t col[LINEAR_SEGMENTS], b_begin[LINEAR_SEGMENTS], b_rows[LINEAR_SEGMENTS];
  int64_t du_at[LINEAR_SEGMENTS], w_at[LINEAR_SEGMENTS + 1], a_at[LINEAR_SEGMENTS + 1],
      u_at[LINEAR_SEGMENTS + 1], dw_at[LINEAR_SEGMENTS + 1],
      da_at[LINEAR_SEGMENTS + 1]; /* the last: elements in all */
  real_pair_t x, w, a, b[LINEAR_SEGMENTS], u, residual, bias, y, pre, dy, dx, du;
  half_pair_t w_half;
  wide_pair_t y_wide, dw, da, db[LINEAR_SEGMENTS], dbias;
} linear_arrays_t;

static const double lora_scale = 0.75;

/* ---- Arrays ---- */

/* Where each segment's part begins: side by side, or with a gap that keeps matrices aligned. */
static linear_arrays_t linear_places(const linear_case_t *c) {
  enum { GAP = 64 };
  linear_arrays_t places = {0};
  for (int32_t i = 0; i < c->segments; i++) {
    int64_t w = c->cols[i] * c->in, a = c->lora_rank * c->in;
    int64_t w_gap = GAP + (GAP - w % GAP) % GAP, a_gap = GAP + (GAP - a % GAP) % GAP;
    places.col[i] = places.out;
    places.out += c->cols[i];
    places.b_begin[i] = c->given ? c->cols[i] / 3 : 0;
    places.b_rows[i] = c->given ? c->cols[i] / 2 : c->cols[i];
    places.w_at[i + 1] = places.w_at[i] + w + (c->apart_w ? w_gap : 0);
    places.dw_at[i + 1] = places.dw_at[i] + w + (c->apart_dw ? w_gap : 0);
    places.a_at[i + 1] = places.a_at[i] + a + (c->apart_a ? a_gap : 0);
    places.da_at[i + 1] = places.da_at[i] + a + (c->apart_da ? a_gap : 0);
    places.u_at[i + 1] = places.u_at[i] + c->lora_rank + (c->apart_u ? 1 : 0);
  }
  for (int32_t i = 0; i < c->segments; i++)
    places.du_at[i] = places.u_at[c->backwards ? c->segments - 1 - i : i];
  places.ldx = c->in + c->pad;
  places.ldy = places.out + 2 * c->pad;
  places.ldu = places.u_at[c->segments] + c->pad;
  return places;
}

/* The same numbers for the same state of PAIR's random stream, whatever the weights' format. */
static linear_arrays_t linear_make(op_pair_t *pair, const linear_case_t *c) {
  linear_arrays_t v = linear_places(c);
  int64_t T = c->rows, n = c->segments;
  double *weights = host_halves(pair, v.w_at[n], 1.0);
  if (c->format == WEIGHT_BF16)
    v.w_half = half_of(pair, weights, v.w_at[n]);
  else
    v.w = real_of(pair, weights, v.w_at[n]);
  memory_free(weights);
  v.x = real_rows(pair, T, c->in, v.ldx, 1.0);
  v.a = real_random(pair, v.a_at[n], 0.5);
  v.u = c->given ? real_random(pair, T * v.ldu, 1.0) : real_untouched(pair, T * v.ldu);
  v.residual = real_rows(pair, T, v.out, v.ldy, 1.0);
  v.bias = real_random(pair, v.out, 1.0);
  v.y = real_untouched(pair, T * v.ldy);
  v.y_wide = wide_untouched(pair, T * v.ldy);
  v.pre = real_untouched(pair, T * v.ldy);
  v.dy = real_rows(pair, T, v.out, v.ldy, 1.0);
  v.dx = c->dx_add ? real_rows(pair, T, c->in, v.ldx, 1.0) : real_untouched(pair, T * v.ldx);
  v.du = real_untouched(pair, T * v.ldu);
  v.dw = wide_random(pair, v.dw_at[n], 1.0);
  v.da = wide_random(pair, v.da_at[n], 1.0);
  v.dbias = wide_random(pair, v.out, 1.0);
  for (int32_t i = 0; i < n; i++) {
    v.b[i] = real_random(pair, v.b_rows[i] * c->lora_rank, 0.5);
    v.db[i] = wide_random(pair, v.b_rows[i] * c->lora_rank, 1.0);
  }
  return v;
}

/* ---- The operations ---- */

static linear_segment_t segment_op(const device_t *device, const linear_case_t *c, const linear_arrays_t *v,
                                   int32_t i, int side) {
  linear_segment_t segment = {.weight = {.format = c->format, .rows = c->cols[i], .cols = c->in}};
  if (c->format == WEIGHT_BF16)
    segment.weight.data = half_at(v->w_half.on[side], v->w_at[i]);
  else
    segment.weight.data = real_at(device, v->w.on[side], v->w_at[i]);
  if (!c->adapter[i]) return segment;
  segment.a = c->given ? NULL : real_at(device, v->a.on[side], v->a_at[i]);
  segment.b = v->b[i].on[side];
  segment.b_begin = v->b_begin[i];
  segment.b_rows = v->b_rows[i];
  segment.u = real_at(device, v->u.on[side], v->u_at[i]);
  return segment;
}

static op_linear_t linear_op(op_pair_t *pair, const linear_case_t *c, const linear_arrays_t *v, int side) {
  op_linear_t op = {.rows = c->rows,
                    .in = c->in,
                    .out = v->out,
                    .x = v->x.on[side],
                    .ldx = v->ldx,
                    .segments = c->segments,
                    .lora_rank = c->lora_rank,
                    .lora_scale = lora_scale,
                    .ldu = v->ldu,
                    .residual = c->residual ? v->residual.on[side] : NULL,
                    .bias = c->bias ? v->bias.on[side] : NULL,
                    .activation = c->activation,
                    .pre = c->keep_pre ? v->pre.on[side] : NULL,
                    .y = c->y_wide ? (void *)v->y_wide.on[side] : (void *)v->y.on[side],
                    .ldy = v->ldy,
                    .y_wide = c->y_wide};
  if (c->residual && c->in_place) op.residual = op.y;
  for (int32_t i = 0; i < c->segments; i++)
    op.segment[i] = segment_op(pair->devices[side], c, v, i, side);
  return op;
}

static op_linear_backward_t backward_op(op_pair_t *pair, const linear_case_t *c, const linear_arrays_t *v,
                                        int side) {
  const device_t *device = pair->devices[side];
  op_linear_backward_t op = {.forward = linear_op(pair, c, v, side),
                             .dy = v->dy.on[side],
                             .lddy = v->ldy,
                             .dx = c->no_dx ? NULL : v->dx.on[side],
                             .lddx = v->ldx,
                             .dx_add = c->dx_add,
                             .dbias = c->frozen ? NULL : v->dbias.on[side]};
  for (int32_t i = 0; i < c->segments; i++) {
    op.segment[i].dw = c->frozen ? NULL : wide_at(device, v->dw.on[side], v->dw_at[i]);
    if (!c->adapter[i]) continue;
    op.segment[i].du = real_at(device, v->du.on[side], v->du_at[i]);
    if (c->frozen_adapters) continue;
    op.segment[i].da = c->given ? NULL : wide_at(device, v->da.on[side], v->da_at[i]);
    op.segment[i].db = v->db[i].on[side];
  }
  return op;
}

/* With a residual in place, y begins as the residual. */
static void linear_begin(op_pair_t *pair, const linear_case_t *c, const linear_arrays_t *v, int side) {
  if (!c->residual || !c->in_place || c->rows == 0) return;
  op_copy_t copy = {.n = c->rows * v->ldy, .x = v->residual.on[side], .y = v->y.on[side]};
  EXPECT_OK(OP(pair->devices[side], copy, &copy));
}

static void linear_both(op_pair_t *pair, const linear_case_t *c, const linear_arrays_t *v, int side) {
  linear_begin(pair, c, v, side);
  op_linear_t forward = linear_op(pair, c, v, side);
  EXPECT_OK(OP(pair->devices[side], linear, &forward));
  op_linear_backward_t backward = backward_op(pair, c, v, side);
  EXPECT_OK(OP(pair->devices[side], linear_backward, &backward));
}

/* ---- The same by its parts ---- */

static void product(device_t *device, op_gemm_t op) {
  if (op.m > 0 && op.n > 0) EXPECT_OK(OP(device, gemm, &op));
}

static void *columns(const device_t *device, const op_linear_t *op, int64_t col) {
  return op->y_wide ? (void *)wide_at(device, op->y, col) : (void *)real_at(device, op->y, col);
}

static void compose_segment(device_t *device, const op_linear_t *op, const linear_segment_t *segment,
                            int64_t col) {
  int64_t r = op->lora_rank;
  op_gemm_t into_y = {.trans_b = true,
                      .m = op->rows,
                      .n = segment->weight.rows,
                      .k = op->in,
                      .a = op->x,
                      .lda = op->ldx,
                      .weight = &segment->weight,
                      .ldb = op->in,
                      .c = columns(device, op, col),
                      .ldc = op->ldy,
                      .c_wide = op->y_wide,
                      .alpha = 1.0,
                      .beta = op->residual ? 1.0 : 0.0};
  product(device, into_y);
  if (!segment->b) return;
  op_gemm_t into_u = {.trans_b = true, .m = op->rows, .n = r, .k = op->in, .a = op->x, .lda = op->ldx};
  into_u.b = segment->a, into_u.ldb = op->in, into_u.c = segment->u, into_u.ldc = op->ldu, into_u.alpha = 1.0;
  if (segment->a) product(device, into_u);
  into_y.n = segment->b_rows, into_y.k = r;
  into_y.a = segment->u, into_y.lda = op->ldu;
  into_y.weight = NULL, into_y.b = segment->b, into_y.ldb = r;
  into_y.c = columns(device, op, col + segment->b_begin);
  into_y.alpha = op->lora_scale, into_y.beta = 1.0;
  product(device, into_y);
}

static void compose_forward(device_t *device, const op_linear_t *op) {
  int64_t col = 0;
  if (op->residual && op->residual != op->y && op->rows > 0)
    EXPECT_OK(OP(device, copy, &(op_copy_t){.n = op->rows * op->ldy, .x = op->residual, .y = op->y}));
  for (int32_t i = 0; i < op->segments; i++) {
    compose_segment(device, op, &op->segment[i], col);
    col += op->segment[i].weight.rows;
  }
  product(device, (op_gemm_t){.m = op->rows,
                              .n = op->out,
                              .a = op->x,
                              .lda = op->ldx,
                              .b = op->x,
                              .ldb = op->out,
                              .c = op->y,
                              .ldc = op->ldy,
                              .c_wide = op->y_wide,
                              .alpha = 1.0,
                              .beta = 1.0,
                              .bias = op->bias,
                              .activation = op->activation,
                              .pre = op->pre});
}

/* C (m, n; wide) += alpha * a^T b over the rows. */
static void over_rows(device_t *device, int64_t rows, double alpha, const real_t *a, int64_t lda, int64_t m,
                      const real_t *b, int64_t ldb, int64_t n, wide_t *c) {
  if (!c) return;
  product(device, (op_gemm_t){.trans_a = true,
                              .m = m,
                              .n = n,
                              .k = rows,
                              .a = a,
                              .lda = lda,
                              .b = b,
                              .ldb = ldb,
                              .c = c,
                              .ldc = n,
                              .c_wide = true,
                              .alpha = alpha,
                              .beta = 1.0});
}

static void compose_gradients(device_t *device, const op_linear_backward_t *op, int32_t i, int64_t col,
                              bool add) {
  const op_linear_t *forward = &op->forward;
  const linear_segment_t *segment = &forward->segment[i];
  int64_t r = forward->lora_rank, in = forward->in;
  const real_t *dy = real_at(device, op->dy, col), *dy_b = real_at(device, dy, segment->b_begin);
  real_t *du = op->segment[i].du;
  over_rows(device, forward->rows, 1.0, dy, op->lddy, segment->weight.rows, forward->x, forward->ldx, in,
            op->segment[i].dw);
  op_gemm_t into_dx = {.m = forward->rows, .n = in, .k = segment->weight.rows, .a = dy, .lda = op->lddy};
  into_dx.weight = &segment->weight, into_dx.ldb = in, into_dx.c = op->dx, into_dx.ldc = op->lddx;
  into_dx.alpha = 1.0, into_dx.beta = add ? 1.0 : 0.0;
  if (op->dx) product(device, into_dx);
  if (!segment->b) return;
  op_gemm_t into_du = {.m = forward->rows, .n = r, .k = segment->b_rows, .a = dy_b, .lda = op->lddy};
  into_du.b = segment->b, into_du.ldb = r, into_du.c = du, into_du.ldc = forward->ldu;
  into_du.alpha = forward->lora_scale;
  product(device, into_du);
  over_rows(device, forward->rows, forward->lora_scale, dy_b, op->lddy, segment->b_rows, segment->u,
            forward->ldu, r, op->segment[i].db);
  if (!segment->a) return;
  over_rows(device, forward->rows, 1.0, du, forward->ldu, r, forward->x, forward->ldx, in, op->segment[i].da);
  into_dx.weight = NULL, into_dx.b = segment->a;
  into_dx.k = r, into_dx.a = du, into_dx.lda = forward->ldu, into_dx.beta = 1.0;
  if (op->dx) product(device, into_dx);
}

static void compose_both(op_pair_t *pair, const linear_case_t *c, const linear_arrays_t *v, int side) {
  device_t *device = pair->devices[side];
  linear_begin(pair, c, v, side);
  op_linear_t forward = linear_op(pair, c, v, side);
  compose_forward(device, &forward);
  op_linear_backward_t backward = backward_op(pair, c, v, side);
  for (int32_t i = 0; i < c->segments; i++)
    compose_gradients(device, &backward, i, v->col[i], c->dx_add || i > 0);
  op_sum_periodic_t sum = {
      .rows = c->rows, .cols = v->out, .period = 1, .x = backward.dy, .ldx = v->ldy, .sums = backward.dbias};
  if (backward.dbias && c->rows > 0) EXPECT_OK(OP(device, sum_periodic, &sum));
}

/* ---- Comparison ---- */

static void expect_oracle(op_pair_t *pair, const linear_case_t *c, const linear_arrays_t *v) {
  double forward = pair->tolerances.forward, gradient = pair->tolerances.gradient;
  int64_t T = c->rows, r = c->lora_rank;
  if (T > 0) {
    real_expect_close(pair, "linear y", &v->y, 0, T, v->out, v->ldy, forward);
    wide_expect_close(pair, "linear wide y", &v->y_wide, 0, T, v->out, v->ldy, forward);
    real_expect_close(pair, "linear pre", &v->pre, 0, T, v->out, v->ldy, forward);
    real_expect_close(pair, "linear dx", &v->dx, 0, T, c->in, v->ldx, gradient);
    for (int32_t i = 0; i < c->segments && r > 0; i++) {
      real_expect_close(pair, "linear u", &v->u, v->u_at[i], T, r, v->ldu, forward);
      real_expect_close(pair, "linear du", &v->du, v->du_at[i], T, r, v->ldu, gradient);
    }
  }
  wide_expect_close(pair, "linear dw", &v->dw, 0, 1, v->dw_at[c->segments], v->dw_at[c->segments], gradient);
  wide_expect_close(pair, "linear da", &v->da, 0, 1, v->da_at[c->segments], v->da_at[c->segments], gradient);
  wide_expect_close(pair, "linear dbias", &v->dbias, 0, 1, v->out, v->out, gradient);
  for (int32_t i = 0; i < c->segments; i++)
    wide_expect_close(pair, "linear db", &v->db[i], 0, 1, (int64_t)v->db[i].n, (int64_t)v->db[i].n, gradient);
}

/* Compares and frees N elements; what stayed untouched does not count for the size. */
static void expect_alike(const char *what, double *found, double *expected, size_t n, double tolerance) {
  for (size_t i = 0; i < n; i++)
    if (expected[i] == PAIR_UNTOUCHED && found[i] == PAIR_UNTOUCHED) expected[i] = found[i] = 0.0;
  double error = normalised_error(found, expected, n);
  memory_free(found);
  memory_free(expected);
  if (error > tolerance) fail_msg("%s: error %g on one device, tolerance %g", what, error, tolerance);
}

static void real_alike(op_pair_t *pair, const char *what, const real_pair_t *found,
                       const real_pair_t *expected, double tolerance) {
  expect_alike(what, real_host(pair, found, TESTED), real_host(pair, expected, TESTED), found->n, tolerance);
}

static void wide_alike(op_pair_t *pair, const char *what, const wide_pair_t *found,
                       const wide_pair_t *expected, double tolerance) {
  expect_alike(what, wide_host(pair, found, TESTED), wide_host(pair, expected, TESTED), found->n, tolerance);
}

/* The results of two runs on the tested device. */
static void expect_same_device(op_pair_t *pair, const linear_case_t *c, const linear_arrays_t *v,
                               const linear_arrays_t *w, double forward, double gradient) {
  real_alike(pair, "linear y", &v->y, &w->y, forward);
  wide_alike(pair, "linear wide y", &v->y_wide, &w->y_wide, forward);
  real_alike(pair, "linear pre", &v->pre, &w->pre, forward);
  real_alike(pair, "linear u", &v->u, &w->u, forward);
  real_alike(pair, "linear dx", &v->dx, &w->dx, gradient);
  real_alike(pair, "linear du", &v->du, &w->du, gradient);
  wide_alike(pair, "linear dw", &v->dw, &w->dw, gradient);
  wide_alike(pair, "linear da", &v->da, &w->da, gradient);
  wide_alike(pair, "linear dbias", &v->dbias, &w->dbias, gradient);
  for (int32_t i = 0; i < c->segments; i++)
    wide_alike(pair, "linear db", &v->db[i], &w->db[i], gradient);
}

/* ---- The cases ---- */

static void linear_run(op_pair_t *pair, const linear_case_t *c) {
  enum { FUSED = 10 }; /* times closer to its own parts than to the oracle */
  random_stream_t start = pair->random;
  linear_arrays_t v = linear_make(pair, c);
  pair->random = start;
  linear_arrays_t parts = linear_make(pair, c);
  linear_both(pair, c, &v, TESTED);
  compose_both(pair, c, &v, ORACLE);
  compose_both(pair, c, &parts, TESTED);
  expect_oracle(pair, c, &v);
  const double parts_tolerance = pair->tolerances.parts;
  expect_same_device(pair, c, &v, &parts,
                     parts_tolerance > 0.0 ? parts_tolerance : pair->tolerances.forward / FUSED,
                     parts_tolerance > 0.0 ? parts_tolerance : pair->tolerances.gradient / FUSED);
  if (c->format == WEIGHT_BF16) {
    linear_case_t real = *c;
    real.format = WEIGHT_REAL;
    pair->random = start;
    linear_arrays_t same = linear_make(pair, &real);
    linear_both(pair, &real, &same, TESTED);
    expect_same_device(pair, c, &v, &same, pair->tolerances.half, pair->tolerances.half);
  }
  pair_release(pair);
}

static linear_case_t linear_draw(op_pair_t *pair) {
  static const int64_t rows[] = {1, 2, 5, 17, 40}, in[] = {1, 3, 16, 33, 64, 130},
                       cols[] = {1, 4, 17, 48, 96}, ranks[] = {1, 2, 4, 8, 16};
  linear_case_t c = {.rows = pair_choose(pair, rows, 5),
                     .in = pair_choose(pair, in, 6),
                     .pad = pair_flip(pair) ? 3 : 0,
                     .segments = 1 + (int32_t)random_below(&pair->random, LINEAR_SEGMENTS),
                     .lora_rank = (int32_t)pair_choose(pair, ranks, 5),
                     .format = pair_flip(pair) ? WEIGHT_BF16 : WEIGHT_REAL};
  bool *const flips[] = {&c.apart_w,   &c.apart_a, &c.apart_u,  &c.apart_dw, &c.apart_da, &c.residual,
                         &c.in_place,  &c.bias,    &c.no_dx,    &c.dx_add,   &c.frozen,   &c.frozen_adapters,
                         &c.backwards, &c.given,   &c.keep_pre, &c.y_wide};
  for (size_t i = 0; i < sizeof flips / sizeof *flips; i++)
    *flips[i] = pair_flip(pair) && (flips[i] != &c.no_dx || pair_flip(pair));
  bool adapted = random_below(&pair->random, 3) > 0;
  for (int32_t i = 0; i < c.segments; i++) {
    c.cols[i] = pair_choose(pair, cols, 5);
    c.adapter[i] = adapted && random_below(&pair->random, 4) > 0;
  }
  if (c.y_wide)
    c.residual = false;
  else
    c.activation = (activation_t)random_below(&pair->random, ACTIVATION_COUNT);
  if (c.activation == ACTIVATION_NONE) c.keep_pre = false;
  if (c.format == WEIGHT_BF16) c.frozen = true;
  return c;
}

void case_linear(void **state) {
  enum { CASES = 100 };
  for (int i = 0; i < CASES; i++) {
    linear_case_t c = linear_draw(*state);
    linear_run(*state, &c);
  }
}

/* The model's own: query, key and value; gate and up; what adds to the hidden state; the vocabulary; one row
 * of a decode step, and none. Larger than the blocks of a fast device. */
void case_linear_shapes(void **state) {
  const linear_case_t shapes[] = {
      {.rows = 33, .in = 132, .cols = {132, 36, 36}, .segments = 3, .lora_rank = 8, .adapter = {1, 1, 1}},
      {.rows = 17, .in = 68, .cols = {260, 260}, .segments = 2, .lora_rank = 8, .adapter = {1, 1}},
      {.rows = 17,
       .in = 520,
       .cols = {68},
       .segments = 1,
       .lora_rank = 8,
       .adapter = {1},
       .given = true,
       .residual = true,
       .in_place = true,
       .dx_add = true},
      {.rows = 9, .in = 68, .cols = {1030}, .segments = 1, .y_wide = true},
      {.rows = 7,
       .in = 1032,
       .cols = {72, 17, 24},
       .segments = 3,
       .lora_rank = 40,
       .adapter = {1, 0, 1},
       .residual = true},
      {.rows = 33,
       .in = 68,
       .cols = {130},
       .segments = 1,
       .bias = true,
       .activation = ACTIVATION_QUICK_GELU,
       .keep_pre = true},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    for (int format = WEIGHT_REAL; format <= WEIGHT_BF16; format++)
      for (int rows = 0; rows < 3; rows++) {
        linear_case_t c = shapes[i];
        c.format = (weight_format_t)format;
        c.frozen = c.format == WEIGHT_BF16;
        if (rows < 2) c.rows = rows;
        linear_run(*state, &c);
      }
}

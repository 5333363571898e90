#include "tensor/linear.h"

int32_t linear_weights(const device_t *device, const op_linear_t *op, int32_t first) {
  int32_t count = 1;
  for (; first + count < op->segments; count++) {
    const weight_t *before = &op->segment[first + count - 1].weight,
                   *next = &op->segment[first + count].weight;
    if (next->format != before->format || next->format == WEIGHT_NF4) break; /* each has scales of its own */
    size_t bytes = weight_bytes(device, before->format, before->rows * before->cols);
    if ((uintptr_t)next->data != (uintptr_t)before->data + bytes) break;
  }
  return count;
}

weight_t linear_weight(const op_linear_t *op, int32_t first, int32_t count) {
  weight_t weight = op->segment[first].weight;
  for (int32_t i = 1; i < count; i++)
    weight.rows += op->segment[first + i].weight.rows;
  return weight;
}

int32_t linear_adapters(const device_t *device, const op_linear_t *op, int32_t first) {
  int64_t r = op->lora_rank;
  if (!op->segment[first].a) return 0;
  int32_t count = 1;
  for (; first + count < op->segments; count++) {
    const linear_segment_t *before = &op->segment[first + count - 1], *next = before + 1;
    if (!next->a || next->a != real_at(device, before->a, r * op->in) ||
        next->u != real_at(device, before->u, r))
      break;
  }
  return count;
}

static status_t product(device_t *device, const op_gemm_t *gemm) {
  return gemm->m == 0 || gemm->n == 0 ? STATUS_OK : device->ops->gemm(device, gemm);
}

/* ---- Forward ---- */

static status_t products_of_a(device_t *device, const op_linear_t *op) {
  int64_t r = op->lora_rank;
  for (int32_t i = 0, next; i < op->segments; i = next) {
    int32_t count = linear_adapters(device, op, i);
    next = i + (count == 0 ? 1 : count);
    if (count == 0) continue;
    TRY(product(device, &(op_gemm_t){.trans_b = true,
                                     .m = op->rows,
                                     .n = count * r,
                                     .k = op->in,
                                     .a = op->x,
                                     .lda = op->ldx,
                                     .b = op->segment[i].a,
                                     .ldb = op->in,
                                     .c = op->segment[i].u,
                                     .ldc = op->ldu,
                                     .alpha = 1.0}));
  }
  return STATUS_OK;
}

/* Columns COL .. of y, and of what lies as y does; NULL stays NULL. */
static void *columns_of_y(const device_t *device, const op_linear_t *op, void *y, int64_t col) {
  if (!y) return NULL;
  return op->y_wide ? (void *)wide_at(device, y, col) : (void *)real_at(device, y, col);
}

/* What makes columns COL .. of y, but for operands and depth. */
static op_gemm_t product_into_y(const device_t *device, const op_linear_t *op, int64_t col, int64_t cols) {
  return (op_gemm_t){.trans_b = true,
                     .m = op->rows,
                     .n = cols,
                     .c = columns_of_y(device, op, op->y, col),
                     .ldc = op->ldy,
                     .c_wide = op->y_wide,
                     .alpha = 1.0};
}

static void add_epilogue(const device_t *device, const op_linear_t *op, int64_t col, op_gemm_t *gemm) {
  gemm->bias = op->bias ? real_at(device, op->bias, col) : NULL;
  gemm->activation = op->activation;
  gemm->pre = op->pre ? real_at(device, op->pre, col) : NULL;
}

/* y = BEFORE + x W^T, BEFORE (NULL: nothing) as y lies; with the epilogue if nothing else is added. */
static status_t products_of_w(device_t *device, const op_linear_t *op, const void *before, bool epilogue) {
  int64_t col = 0;
  for (int32_t i = 0, count; i < op->segments; i += count) {
    count = linear_weights(device, op, i);
    weight_t weight = linear_weight(op, i, count);
    op_gemm_t gemm = product_into_y(device, op, col, weight.rows);
    gemm.k = op->in;
    gemm.a = op->x;
    gemm.lda = op->ldx;
    gemm.weight = &weight;
    gemm.ldb = weight.cols;
    gemm.before = columns_of_y(device, op, (void *)before, col);
    gemm.beta = before ? 1.0 : 0.0;
    if (epilogue) add_epilogue(device, op, col, &gemm);
    TRY(product(device, &gemm));
    col += weight.rows;
  }
  return STATUS_OK;
}

/* y = BEFORE + lora_scale * u b^T, BEFORE (NULL: nothing) as y lies. */
static status_t products_of_b(device_t *device, const op_linear_t *op, const void *before) {
  int64_t col = 0;
  for (int32_t i = 0; i < op->segments; i++) {
    const linear_segment_t *segment = &op->segment[i];
    op_gemm_t gemm = product_into_y(device, op, col + segment->b_begin, segment->b_rows);
    gemm.k = gemm.ldb = op->lora_rank;
    gemm.a = segment->u;
    gemm.lda = op->ldu;
    gemm.b = segment->b;
    gemm.alpha = op->lora_scale;
    gemm.before = columns_of_y(device, op, (void *)before, col + segment->b_begin);
    gemm.beta = before ? 1.0 : 0.0;
    if (segment->b) TRY(product(device, &gemm));
    col += segment->weight.rows;
  }
  return STATUS_OK;
}

/* Bias and activation behind the adapters' products: a product of no depth. */
static status_t epilogue_alone(device_t *device, const op_linear_t *op) {
  if (!op->bias && op->activation == ACTIVATION_NONE) return STATUS_OK;
  op_gemm_t gemm = product_into_y(device, op, 0, op->out);
  gemm.a = gemm.b = op->x;
  gemm.lda = gemm.ldb = op->ldx;
  gemm.beta = 1.0;
  add_epilogue(device, op, 0, &gemm);
  return product(device, &gemm);
}

status_t linear_by_products(device_t *device, const op_linear_t *op) {
  bool adapted = false;
  for (int32_t i = 0; i < op->segments; i++)
    adapted = adapted || op->segment[i].b;
  TRY(products_of_a(device, op));
  TRY(products_of_w(device, op, op->residual, !adapted));
  if (!adapted) return STATUS_OK;
  TRY(products_of_b(device, op, op->y));
  return epilogue_alone(device, op);
}

/* Whether adapters reach all columns of y. */
static bool all_adapted(const op_linear_t *op) {
  for (int32_t i = 0; i < op->segments; i++)
    if (!op->segment[i].b || op->segment[i].b_rows != op->segment[i].weight.rows) return false;
  return true;
}

status_t linear_adapters_first(device_t *device, const op_linear_t *op) {
  if (!all_adapted(op)) return linear_by_products(device, op);
  TRY(products_of_a(device, op));
  TRY(products_of_b(device, op, op->residual));
  return products_of_w(device, op, op->y, true);
}

/* ---- Backward ---- */

/* C (out, in) += alpha * a^T b over the rows. */
static status_t product_over_rows(device_t *device, int64_t rows, int64_t out, int64_t in, double alpha,
                                  const real_t *a, int64_t lda, const real_t *b, int64_t ldb, wide_t *c) {
  if (!c || rows == 0) return STATUS_OK;
  return product(device, &(op_gemm_t){.trans_a = true,
                                      .m = out,
                                      .n = in,
                                      .k = rows,
                                      .a = a,
                                      .lda = lda,
                                      .b = b,
                                      .ldb = ldb,
                                      .c = c,
                                      .ldc = in,
                                      .c_wide = true,
                                      .alpha = alpha,
                                      .beta = 1.0});
}

/* Where the gradients of COUNT segments' weights follow each other as the weights do, they are one matrix. */
static int32_t gradients_of_w(const device_t *device, const op_linear_backward_t *op, int32_t first) {
  int32_t count = 1;
  for (; first + count < op->forward.segments; count++) {
    const weight_t *before = &op->forward.segment[first + count - 1].weight;
    const wide_t *dw = op->segment[first + count - 1].dw;
    if (!dw || op->segment[first + count].dw != wide_at(device, dw, before->rows * before->cols)) break;
  }
  return count;
}

static status_t products_for_dw(device_t *device, const op_linear_backward_t *op) {
  const op_linear_t *forward = &op->forward;
  int64_t col = 0;
  for (int32_t i = 0, count; i < forward->segments; i += count) {
    count = gradients_of_w(device, op, i);
    int64_t cols = linear_weight(forward, i, count).rows;
    TRY(product_over_rows(device, forward->rows, cols, forward->in, 1.0, real_at(device, op->dy, col),
                          op->lddy, forward->x, forward->ldx, op->segment[i].dw));
    col += cols;
  }
  if (!op->dbias || forward->rows == 0) return STATUS_OK;
  return device->ops->sum_periodic(device, &(op_sum_periodic_t){.rows = forward->rows,
                                                                .cols = forward->out,
                                                                .period = 1,
                                                                .x = op->dy,
                                                                .ldx = op->lddy,
                                                                .sums = op->dbias});
}

/* dx = dy W, or, ADDS, +=. */
static status_t products_for_dx(device_t *device, const op_linear_backward_t *op, bool adds) {
  const op_linear_t *forward = &op->forward;
  int64_t col = 0;
  for (int32_t i = 0, count; i < forward->segments; i += count) {
    count = linear_weights(device, forward, i);
    weight_t weight = linear_weight(forward, i, count);
    TRY(product(device, &(op_gemm_t){.m = forward->rows,
                                     .n = forward->in,
                                     .k = weight.rows,
                                     .a = real_at(device, op->dy, col),
                                     .lda = op->lddy,
                                     .weight = &weight,
                                     .ldb = weight.cols,
                                     .c = op->dx,
                                     .ldc = op->lddx,
                                     .alpha = 1.0,
                                     .beta = adds || i > 0 ? 1.0 : 0.0}));
    col += weight.rows;
  }
  return STATUS_OK;
}

/* db += lora_scale * dy^T u; du = lora_scale * dy b. */
static status_t products_for_b(device_t *device, const op_linear_backward_t *op) {
  const op_linear_t *forward = &op->forward;
  int64_t col = 0, r = forward->lora_rank;
  for (int32_t i = 0; i < forward->segments; i++) {
    const linear_segment_t *segment = &forward->segment[i];
    const real_t *dy = real_at(device, op->dy, col + segment->b_begin);
    col += segment->weight.rows;
    if (!segment->b) continue;
    TRY(product_over_rows(device, forward->rows, segment->b_rows, r, forward->lora_scale, dy, op->lddy,
                          segment->u, forward->ldu, op->segment[i].db));
    TRY(product(device, &(op_gemm_t){.m = forward->rows,
                                     .n = r,
                                     .k = segment->b_rows,
                                     .a = dy,
                                     .lda = op->lddy,
                                     .b = segment->b,
                                     .ldb = r,
                                     .c = op->segment[i].du,
                                     .ldc = forward->ldu,
                                     .alpha = forward->lora_scale}));
  }
  return STATUS_OK;
}

/* How many segments from FIRST on have an A, all of them, their gradients and their du one matrix each. */
static int32_t gradients_of_a(const device_t *device, const op_linear_backward_t *op, int32_t first) {
  int64_t r = op->forward.lora_rank;
  int32_t most = linear_adapters(device, &op->forward, first), count = most > 0 ? 1 : 0;
  for (; count < most; count++) {
    const real_t *du = op->segment[first + count - 1].du;
    const wide_t *da = op->segment[first + count - 1].da, *next = op->segment[first + count].da;
    if (op->segment[first + count].du != real_at(device, du, r)) break;
    if (da ? next != wide_at(device, da, r * op->forward.in) : next != NULL) break;
  }
  return count;
}

/* da += du^T x; dx = du A, or, *ADDS, which is true from then on, +=. */
static status_t products_for_a(device_t *device, const op_linear_backward_t *op, bool *adds) {
  const op_linear_t *forward = &op->forward;
  int64_t r = forward->lora_rank;
  for (int32_t i = 0, next; i < forward->segments; i = next) {
    int32_t count = gradients_of_a(device, op, i);
    next = i + (count == 0 ? 1 : count);
    if (count == 0) continue;
    TRY(product_over_rows(device, forward->rows, count * r, forward->in, 1.0, op->segment[i].du, forward->ldu,
                          forward->x, forward->ldx, op->segment[i].da));
    if (!op->dx) continue;
    TRY(product(device, &(op_gemm_t){.m = forward->rows,
                                     .n = forward->in,
                                     .k = count * r,
                                     .a = op->segment[i].du,
                                     .lda = forward->ldu,
                                     .b = forward->segment[i].a,
                                     .ldb = forward->in,
                                     .c = op->dx,
                                     .ldc = op->lddx,
                                     .alpha = 1.0,
                                     .beta = *adds ? 1.0 : 0.0}));
    *adds = true;
  }
  return STATUS_OK;
}

status_t linear_backward_by_products(device_t *device, const op_linear_backward_t *op) {
  bool adds = true; /* behind the product by W */
  TRY(products_for_dw(device, op));
  TRY(products_for_b(device, op));
  if (op->dx) TRY(products_for_dx(device, op, op->dx_add));
  return products_for_a(device, op, &adds);
}

status_t linear_backward_adapters_first(device_t *device, const op_linear_backward_t *op) {
  bool adds = op->dx_add;
  TRY(products_for_dw(device, op));
  TRY(products_for_b(device, op));
  TRY(products_for_a(device, op, &adds));
  return op->dx ? products_for_dx(device, op, adds) : STATUS_OK;
}

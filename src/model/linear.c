#include "model/linear.h"

static status_t linear_product(device_t *device, const op_gemm_t *gemm) {
  return gemm->m == 0 || gemm->n == 0 ? STATUS_OK : OP(device, gemm, gemm);
}

/* y = alpha * x w^T + beta * y. */
static op_gemm_t forward_of(int64_t rows, int64_t in, int64_t out, const real_t *x, const real_t *w,
                            double alpha, double beta, void *y) {
  return (op_gemm_t){.trans_b = true,
                     .m = rows,
                     .n = out,
                     .k = in,
                     .a = x,
                     .lda = in,
                     .b = w,
                     .ldb = in,
                     .c = y,
                     .ldc = out,
                     .alpha = alpha,
                     .beta = beta};
}

status_t linear_forward(device_t *device, int64_t rows, int64_t in, int64_t out, const real_t *x,
                        const real_t *w, double alpha, double beta, real_t *y) {
  op_gemm_t gemm = forward_of(rows, in, out, x, w, alpha, beta, y);
  return linear_product(device, &gemm);
}

status_t linear_forward_bias(device_t *device, int64_t rows, int64_t in, int64_t out, const real_t *x,
                             const real_t *w, const real_t *bias, activation_t activation, real_t *pre,
                             real_t *y) {
  op_gemm_t gemm = forward_of(rows, in, out, x, w, 1.0, 0.0, y);
  gemm.bias = bias;
  gemm.activation = activation;
  gemm.pre = pre;
  return linear_product(device, &gemm);
}

status_t linear_forward_wide(device_t *device, int64_t rows, int64_t in, int64_t out, const real_t *x,
                             const real_t *w, const real_t *bias, wide_t *y) {
  op_gemm_t gemm = forward_of(rows, in, out, x, w, 1.0, 0.0, y);
  gemm.bias = bias;
  gemm.c_wide = true;
  return linear_product(device, &gemm);
}

status_t linear_backward_input(device_t *device, int64_t rows, int64_t in, int64_t out, const real_t *dy,
                               const real_t *w, double alpha, double beta, real_t *dx) {
  return linear_product(device, &(op_gemm_t){.m = rows,
                                             .n = in,
                                             .k = out,
                                             .a = dy,
                                             .lda = out,
                                             .b = w,
                                             .ldb = in,
                                             .c = dx,
                                             .ldc = in,
                                             .alpha = alpha,
                                             .beta = beta});
}

status_t linear_backward_weight(device_t *device, int64_t rows, int64_t in, int64_t out, const real_t *dy,
                                const real_t *x, wide_t *dw) {
  if (!dw) return STATUS_OK;
  return linear_product(device, &(op_gemm_t){.trans_a = true,
                                             .m = out,
                                             .n = in,
                                             .k = rows,
                                             .a = dy,
                                             .lda = out,
                                             .b = x,
                                             .ldb = in,
                                             .c = dw,
                                             .ldc = in,
                                             .c_wide = true,
                                             .alpha = 1.0,
                                             .beta = 1.0});
}

status_t linear_backward_bias(device_t *device, int64_t rows, int64_t out, const real_t *dy, wide_t *dbias) {
  if (!dbias || rows == 0) return STATUS_OK;
  return OP(device, sum_periodic,
            &(op_sum_periodic_t){.rows = rows, .cols = out, .period = 1, .x = dy, .ldx = out, .sums = dbias});
}

static op_rows_t linear_rows_of(int64_t n, int64_t c, const real_t *from, const index_t *index, real_t *to,
                                bool add) {
  return (op_rows_t){
      .rows = n, .cols = c, .from = from, .ld_from = c, .index = index, .to = to, .ld_to = c, .add = add};
}

status_t rows_gather(device_t *device, int64_t n, int64_t c, const real_t *from, const index_t *index,
                     real_t *to, bool add) {
  op_rows_t rows = linear_rows_of(n, c, from, index, to, add);
  return OP(device, rows_gather, &rows);
}

status_t rows_scatter(device_t *device, int64_t n, int64_t c, const real_t *from, const index_t *index,
                      real_t *to, bool add) {
  op_rows_t rows = linear_rows_of(n, c, from, index, to, add);
  return OP(device, rows_scatter, &rows);
}

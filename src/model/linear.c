#include "model/linear.h"

#include "perf/perf.h"

static status_t counted_gemm(const linear_context_t *context, const op_gemm_t *gemm) {
  if (gemm->m == 0 || gemm->n == 0) return STATUS_OK;
  if (context->counted) perf_flops(2.0 * (double)gemm->m * (double)gemm->n * (double)gemm->k);
  return OP(context->device, gemm, gemm);
}

status_t linear_forward(const linear_context_t *context, int64_t rows, int64_t in, int64_t out,
                        const real_t *x, const real_t *w, double alpha, double beta, real_t *y) {
  return counted_gemm(context, &(op_gemm_t){.trans_b = true,
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
                                            .beta = beta});
}

status_t linear_forward_bias(const linear_context_t *context, int64_t rows, int64_t in, int64_t out,
                             const real_t *x, const real_t *w, const real_t *bias, activation_t activation,
                             real_t *pre, real_t *y) {
  return counted_gemm(context, &(op_gemm_t){.trans_b = true,
                                            .m = rows,
                                            .n = out,
                                            .k = in,
                                            .a = x,
                                            .lda = in,
                                            .b = w,
                                            .ldb = in,
                                            .c = y,
                                            .ldc = out,
                                            .alpha = 1.0,
                                            .bias = bias,
                                            .activation = activation,
                                            .pre = pre});
}

status_t linear_backward_input(const linear_context_t *context, int64_t rows, int64_t in, int64_t out,
                               const real_t *dy, const real_t *w, double alpha, double beta, real_t *dx) {
  return counted_gemm(context, &(op_gemm_t){.m = rows,
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

status_t linear_backward_weight(const linear_context_t *context, int64_t rows, int64_t in, int64_t out,
                                const real_t *dy, const real_t *x, wide_t *dw) {
  if (!dw) return STATUS_OK;
  return counted_gemm(context, &(op_gemm_t){.trans_a = true,
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

status_t linear_backward_bias(const linear_context_t *context, int64_t rows, int64_t out, const real_t *dy,
                              wide_t *dbias) {
  if (!dbias || rows == 0) return STATUS_OK;
  return OP(context->device, sum_periodic,
            &(op_sum_periodic_t){.rows = rows, .cols = out, .period = 1, .x = dy, .ldx = out, .sums = dbias});
}

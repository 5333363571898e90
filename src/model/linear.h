/* Matrix products as the model uses them: forward, gradient of the input, gradient of the weight; and rows
 * that are moved by index. Local. */
#ifndef MODEL_LINEAR_H
#define MODEL_LINEAR_H

#include "tensor/ops.h"

/* y (T, out) = alpha * x (T, in) w^T + beta * y, w (out, in). */
status_t linear_forward(device_t *device, int64_t rows, int64_t in, int64_t out, const real_t *x,
                        const real_t *w, double alpha, double beta, real_t *y);
/* As above with bias and activation; PRE (T, out) keeps the value before the activation where not NULL. */
status_t linear_forward_bias(device_t *device, int64_t rows, int64_t in, int64_t out, const real_t *x,
                             const real_t *w, const real_t *bias, activation_t activation, real_t *pre,
                             real_t *y);
/* The same into the accumulation type, without an activation: what heads give. BIAS may be NULL. */
status_t linear_forward_wide(device_t *device, int64_t rows, int64_t in, int64_t out, const real_t *x,
                             const real_t *w, const real_t *bias, wide_t *y);
/* dx (T, in) = alpha * dy (T, out) w + beta * dx. */
status_t linear_backward_input(device_t *device, int64_t rows, int64_t in, int64_t out, const real_t *dy,
                               const real_t *w, double alpha, double beta, real_t *dx);
/* dw (out, in) += dy^T x; nothing where dw is NULL (a frozen weight). */
status_t linear_backward_weight(device_t *device, int64_t rows, int64_t in, int64_t out, const real_t *dy,
                                const real_t *x, wide_t *dw);
/* dbias (out) += column sums of dy; nothing where NULL. */
status_t linear_backward_bias(device_t *device, int64_t rows, int64_t out, const real_t *dy, wide_t *dbias);

/* Rows of C elements: to[i] = (ADD: +=) from[index[i]] for N of them, or to[index[i]]; -1 skips. */
status_t rows_gather(device_t *device, int64_t n, int64_t c, const real_t *from, const index_t *index,
                     real_t *to, bool add);
status_t rows_scatter(device_t *device, int64_t n, int64_t c, const real_t *from, const index_t *index,
                      real_t *to, bool add);

#endif

/* Linear operations on one weight, as the tower, the projector and the heads use them (the decoder's have
 * several weights and adapters: decoder.c); and rows that are moved by index. Local. */
#ifndef MODEL_LINEAR_H
#define MODEL_LINEAR_H

#include "tensor/ops.h"

/* y (T, out) = x (T, in) w^T: what else the operation does is for the caller to add. */
op_linear_t linear_op(int64_t rows, weight_t weight, const real_t *x, void *y);
/* Its gradients from DY (T, out): dx (T, in) = dy w, NULL: not wanted; likewise. */
op_linear_backward_t linear_backward_op(int64_t rows, weight_t weight, const real_t *x, const real_t *dy,
                                        real_t *dx);

/* Rows of C elements: to[i] = (ADD: +=) from[index[i]] for N of them, or to[index[i]]; -1 skips. */
status_t rows_gather(device_t *device, int64_t n, int64_t c, const real_t *from, const index_t *index,
                     real_t *to, bool add);
status_t rows_scatter(device_t *device, int64_t n, int64_t c, const real_t *from, const index_t *index,
                      real_t *to, bool add);

#endif

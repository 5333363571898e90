#include "model/linear.h"

op_linear_t linear_op(int64_t rows, weight_t weight, const real_t *x, void *y) {
  return (op_linear_t){.rows = rows,
                       .in = weight.cols,
                       .out = weight.rows,
                       .x = x,
                       .ldx = weight.cols,
                       .segments = 1,
                       .segment[0].weight = weight,
                       .y = y,
                       .ldy = weight.rows};
}

op_linear_backward_t linear_backward_op(int64_t rows, weight_t weight, const real_t *x, const real_t *dy,
                                        real_t *dx) {
  return (op_linear_backward_t){.forward = linear_op(rows, weight, x, NULL),
                                .dy = dy,
                                .lddy = weight.rows,
                                .dx = dx,
                                .lddx = weight.cols};
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

/* What an operation costs, told from its arguments: one place for the performance table, benchmarks and
 * estimates. */
#ifndef TENSOR_OP_COST_H
#define TENSOR_OP_COST_H

#include "tensor/ops.h"

typedef struct {
  double
      flops; /* of products and attention: two for each multiplication and addition; others are not counted */
  double bytes; /* of its operands, each read or written once; twice where it is added to */
} op_cost_t;

/* Cost of operation NUMBER of DEVICE with its arguments, a const op_NAME_t *. Causal attention counts the
 * pairs that it looks at, its backward pass two times the FLOPs of the forward pass. Local. */
op_cost_t op_cost(const device_t *device, op_number_t number, const void *arguments);

#endif

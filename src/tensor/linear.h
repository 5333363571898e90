/* op_linear and op_linear_backward made of products (op_gemm), for devices that have nothing better: cpu and
 * plain; and what a device can see in their arguments. */
#ifndef TENSOR_LINEAR_H
#define TENSOR_LINEAR_H

#include "tensor/ops.h"

/* How many of OP's segments from FIRST on have weights that are one matrix: of one format, one behind the
 * other in memory. At least 1. */
int32_t linear_weights(const device_t *device, const op_linear_t *op, int32_t first);
/* The matrix of COUNT such segments. */
weight_t linear_weight(const op_linear_t *op, int32_t first, int32_t count);
/* How many segments from FIRST on have an A, all of them one matrix (count * r, in), and neighbouring columns
 * for u. 0 where FIRST has no A. */
int32_t linear_adapters(const device_t *device, const op_linear_t *op, int32_t first);

/* The operations themselves, by DEVICE's gemm and sum_periodic. Local. Errors: theirs. */
status_t linear_by_products(device_t *device, const op_linear_t *op);
status_t linear_backward_by_products(device_t *device, const op_linear_backward_t *op);
/* The same with the adapters' products before those by W, whose own reading of y (and dx) costs a device that
 * is bound by arithmetic there little: y is written once and not read for the adapters. Other bits. */
status_t linear_adapters_first(device_t *device, const op_linear_t *op);
status_t linear_backward_adapters_first(device_t *device, const op_linear_backward_t *op);

#endif

/* The op tables of the two types. */
#ifndef TENSOR_PLAIN_OPS_FILL_H
#define TENSOR_PLAIN_OPS_FILL_H

#include "tensor/ops.h"

void plain_fill_f32(ops_t *ops);
void plain_fill_f64(ops_t *ops);

#endif

/* Parts of a result that ranks have given, put together in the order of the ranks: the same bits whoever does
 * it, and however many numbers at a time. */
#ifndef CUDA_PARTS_H
#define CUDA_PARTS_H

#include "cuda/cuda_device.h"

/* TO (n) = PARTS (ranks, n) put together by OP, in fp32, rounded once. TYPE: fp32 or bf16. */
status_t parts_combine(device_t *device, const void *parts, int ranks, dtype_t type, size_t n, comm_op_t op,
                       void *to);

#endif

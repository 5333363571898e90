/* Batch-invariant operations (parallel.batch_invariant): what a row of a forward pass comes to depends on
 * that row (in attention: on its sequence) alone, not on how many others a call has, nor on whether it is
 * decoded, prefilled or trained on. Which kernel computes what in which pass: README.md. */
#ifndef CUDA_INVARIANT_H
#define CUDA_INVARIANT_H

#include "cuda/cuda_device.h"

/* Each file replaces what the device has, when the device is made. */
void cuda_fill_invariant_products(ops_t *ops);
void cuda_fill_invariant_attention(ops_t *ops);
void cuda_fill_invariant_collectives(device_t *device);

#endif

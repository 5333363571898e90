/* The cuda device: NVIDIA GPUs. Weights and activations in bf16 or fp32, sums, gradients and optimiser in
 * fp32; products by cuBLASLt, the rest by kernels of this folder, collectives by NCCL, or by MPI where ranks
 * share a GPU. The only header of this folder that others include, in builds that have it (src/main). */
#ifndef CUDA_CUDA_H
#define CUDA_CUDA_H

#include "tensor/device.h"

typedef struct {
  dtype_t real_type;        /* BF16 or F32 */
  int node_rank, node_size; /* of this rank: GPU node_rank % (GPUs of the node) is its */
  bool deterministic;       /* the same bits in every run on one layout */
  bool check; /* wait after each kernel, so that an error names the one that caused it (slow, for tests) */
  bool batch_invariant; /* the same bits of a row of a forward pass in any batch, decoded or not */
  bool cudnn;           /* attention by cuDNN where it has a kernel for it; in bf16, not batch-invariant */
  bool measured; /* kernels that were measured instead of those that took their place and were not yet (bench)
                  */
} cuda_options_t;

/* Makes the device. Free with device_free. Local. Errors: STATUS_DEVICE where there is no GPU, or none that
 * this build has code for; STATUS_MEMORY. */
status_t cuda_create(const cuda_options_t *options, device_t **out);

/* How many GPUs this process sees; 0 also without a driver. Local. */
int cuda_count(void);

/* Versions of the libraries that it runs with, for --version, cut to CAPACITY. Local. */
void cuda_version(char *text, size_t capacity);

#endif

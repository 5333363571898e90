/* Packed attention by cuDNN, the second implementation (parallel.attention = 'cudnn'): in bf16, with the same
 * bits in every run. */
#ifndef CUDA_ATTENTION_CUDNN_H
#define CUDA_ATTENTION_CUDNN_H

#include "cuda/cuda_device.h"

/* Errors: those of cudnn_open. */
status_t cuda_fill_cudnn(device_t *device);
void cuda_free_cudnn(device_t *device);

/* Whether DEVICE was made for it and it has a kernel for OP. */
bool cudnn_takes(const device_t *device, const op_attention_t *op);
bool cudnn_takes_backward(const device_t *device, const op_attention_backward_t *op);

/* OP, which is taken. The first one of a size makes a plan, which takes seconds where a kernel is compiled
 * for it. */
status_code_t attention_cudnn(device_t *device, const op_attention_t *op);
status_code_t attention_backward_cudnn(device_t *device, const op_attention_backward_t *op);

/* attention_ragged.cu: where each of COUNT sequences begins in the matrices of cuDNN's plan, for BOUND
 * sequences, those behind COUNT being empty. OFFSETS (MATRICES, pitch; bound + 1 of each): offsets of
 * SEQUENCES times the matrix's stride; LENGTHS (bound). */
enum { RAGGED_MATRICES = 4 };
struct ragged_t {
  int64_t strides[RAGGED_MATRICES];
  int64_t *offsets, pitch;
  int32_t *lengths;
};
status_code_t ragged_write(device_t *device, const sequences_t *sequences, int64_t bound,
                           const ragged_t &ragged);

#endif

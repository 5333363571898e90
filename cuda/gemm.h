/* Products, for the files of this folder. */
#ifndef CUDA_GEMM_H
#define CUDA_GEMM_H

#include "cuda/cuda_device.h"

extern "C" {
#include "cuda/product_key.h"
#include "tensor/linear.h"
}

/* alpha a b + beta before (+ bias) of KEY's shape by cuBLASLt; not DONE where it has no algorithm for it. */
status_t cuda_product(device_t *device, const product_key_t *key, const op_gemm_t *op, bool *done);
/* OP: BY_SHAPE by the kernel or the algorithm of the library that suits its shape; else by the one that takes
 * any, which sums each number in order. */
status_t cuda_gemm(device_t *device, const op_gemm_t *op, bool by_shape);

/* The same product by a kernel that takes any shape and alignment, slowly (gemm_any.cu). */
status_t cuda_gemm_any(device_t *device, const op_gemm_t *op);
/* c = f(beta * before + bias), of OP's activation, with pre kept: all of OP but its product. */
status_t cuda_epilogue(device_t *device, const op_gemm_t *op, const void *before);
/* All of OP, which has few rows, reading its weights where they lie (matrix_vector.cu); nothing was done
 * where not TAKEN. */
status_t cuda_linear_few(device_t *device, const op_linear_t *op, bool *taken);
/* *OUT: WEIGHT in the compute type, in scratch where it is in another. */
status_t cuda_weight_as_real(device_t *device, const weight_t *weight, const real_t **out);
/* N numbers of bf16 to fp32. */
status_t cuda_widen_half(device_t *device, int64_t n, const half_t *from, float *to);

#endif

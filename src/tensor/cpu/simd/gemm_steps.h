/* What all products do block by block of their depth, and once a tile of c is complete. */
#ifndef TENSOR_CPU_SIMD_GEMM_STEPS_H
#define TENSOR_CPU_SIMD_GEMM_STEPS_H

#include "tensor/cpu/kernels.h"
#include "tensor/cpu/simd/vector.h"

ALWAYS_INLINE int64_t gemm_min_int(int64_t a, int64_t b) {
  return a < b ? a : b;
}

typedef struct {
  int64_t begin, depth; /* of this block */
  float init;           /* of c */
  bool first;
  bool last; /* the block that completes the sums: then comes the epilogue */
} gemm_step_t;

/* The block from K on, of BLOCK_DEPTH at the most. */
static inline gemm_step_t gemm_step_at(const op_gemm_t *op, int64_t k, int64_t block_depth) {
  int64_t depth = gemm_min_int(block_depth, op->k - k);
  return (gemm_step_t){.begin = k,
                       .depth = depth,
                       .init = k == 0 ? (float)op->beta : 1.0f,
                       .first = k == 0,
                       .last = k + depth == op->k};
}

ALWAYS_INLINE float activate(activation_t activation, float x) {
  if (activation == ACTIVATION_QUICK_GELU) return x * sigmoid_float(1.702f * x);
  if (activation == ACTIVATION_GELU_TANH) return x * sigmoid_float(gelu_tanh_argument(x));
  return 0.5f * x * (1.0f + erf_float(x * 0.70710678118654752f));
}

/* Bias, copy before the activation, activation on columns begin .. end-1 of one row. */
ALWAYS_INLINE void finish_row(activation_t activation, int64_t n, const float *bias, float *pre, float *c) {
  if (bias) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      c[i] += bias[i];
  }
  if (activation == ACTIVATION_NONE) return;
  if (pre) memcpy(pre, c, (size_t)n * sizeof *c);
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    c[i] = activate(activation, c[i]);
}

static inline void gemm_finish_tile(const op_gemm_t *op, int64_t row, int64_t col, int64_t rows,
                                    int64_t cols) {
  const float *bias = op->bias ? (const float *)op->bias + col : NULL;
  for (int64_t r = row; r < row + rows; r++) {
    float *c = (float *)op->c + r * op->ldc + col;
    float *pre = op->pre ? (float *)op->pre + r * op->ldc + col : NULL;
    if (op->activation == ACTIVATION_NONE)
      finish_row(ACTIVATION_NONE, cols, bias, pre, c);
    else if (op->activation == ACTIVATION_QUICK_GELU)
      finish_row(ACTIVATION_QUICK_GELU, cols, bias, pre, c);
    else if (op->activation == ACTIVATION_GELU_TANH)
      finish_row(ACTIVATION_GELU_TANH, cols, bias, pre, c);
    else
      finish_row(ACTIVATION_GELU, cols, bias, pre, c);
  }
}

#endif

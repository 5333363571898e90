/* What a plan of cuDNN for packed attention is made for. Plain C, tested on the host. */
#ifndef CUDA_CUDNN_SHAPE_H
#define CUDA_CUDNN_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

/* Heads that there are kernels for are multiples of the unit. */
enum { CUDNN_HEAD_UNIT = 8, CUDNN_FORWARD_HEAD_MOST = 256, CUDNN_BACKWARD_HEAD_MOST = 128 };

/* SEQUENCES, LONGEST and POSITIONS are bounds that batches share: a plan serves all that are not larger. */
typedef struct {
  bool is_backward, causal, keeps_lse;
  int64_t sequences, longest, positions, heads, kv_heads, head_size;
  int64_t ldq, ldkv, ldo;
  float scale;
} cudnn_shape_t;

static inline bool cudnn_shapes_equal(const cudnn_shape_t *a, const cudnn_shape_t *b) {
  return a->is_backward == b->is_backward && a->causal == b->causal && a->keeps_lse == b->keeps_lse &&
         a->sequences == b->sequences && a->longest == b->longest && a->positions == b->positions &&
         a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_size == b->head_size &&
         a->ldq == b->ldq && a->ldkv == b->ldkv && a->ldo == b->ldo && a->scale == b->scale;
}

/* The least bound that is not below N (at least 1): four to each power of two, so that batches of all sizes
 * need few plans, and none gets one for more than 5/4 of its size. */
static inline int64_t cudnn_bound(int64_t n) {
  int64_t step = 1;
  while (8 * step <= n - 1)
    step *= 2;
  return n < 1 ? 1 : (n + step - 1) / step * step;
}

#endif

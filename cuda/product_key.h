/* What the choice of an algorithm for a product depends on. Plain C, without CUDA: tested on the host. */
#ifndef CUDA_PRODUCT_KEY_H
#define CUDA_PRODUCT_KEY_H

#include "tensor/ops.h"

#include <string.h>

/* Compared as bytes: made by product_key alone, which leaves no gap unset. */
typedef struct {
  int64_t m, n, k, lda, ldb, ldc;
  int64_t stride_a, stride_b, stride_c; /* between the products of a batch */
  int32_t batch;
  uint32_t align_a, align_b, align_c, align_before; /* bytes, of the first elements */
  uint8_t trans_a, trans_b, c_wide, bias;
} product_key_t;

/* The largest power of two, up to 256, that POINTER is a multiple of. */
static inline uint32_t pointer_alignment(const void *pointer) {
  uintptr_t bits = (uintptr_t)pointer | 256u;
  return (uint32_t)(bits & (~bits + 1u));
}

static inline product_key_t product_key(const op_gemm_t *op) {
  product_key_t key;
  memset(&key, 0, sizeof key);
  key.m = op->m;
  key.n = op->n;
  key.k = op->k;
  key.lda = op->lda;
  key.ldb = op->ldb;
  key.ldc = op->ldc;
  key.batch = 1;
  key.align_a = pointer_alignment(op->a);
  key.align_b = pointer_alignment(op->b);
  key.align_c = pointer_alignment(op->c);
  key.align_before = pointer_alignment(op->before ? op->before : op->c);
  key.trans_a = op->trans_a;
  key.trans_b = op->trans_b;
  key.c_wide = op->c_wide;
  key.bias = op->bias != NULL;
  return key;
}

static inline uint64_t product_hash(const product_key_t *key) {
  const unsigned char *bytes = (const unsigned char *)key;
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < sizeof *key; i++)
    hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
  return hash ^ hash >> 29;
}

#endif

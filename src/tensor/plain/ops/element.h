/* The element type of this compilation, and the operands of an operation. The files of this folder are
 * compiled twice, with PLAIN_TYPE_f32 and with PLAIN_TYPE_f64. Real and wide elements are the same type; sums
 * are kept in double. */
#ifndef TENSOR_PLAIN_OPS_ELEMENT_H
#define TENSOR_PLAIN_OPS_ELEMENT_H

#include "tensor/ops.h"
#include "tensor/plain/access.h"

#ifdef PLAIN_TYPE_f32
typedef float element_t;
#define PLAIN_NAME(name) name##_f32
#else
typedef double element_t;
#define PLAIN_NAME(name) name##_f64
#endif

/* Each file's part of the op table. */
void PLAIN_NAME(plain_fill_linear)(ops_t *ops);
void PLAIN_NAME(plain_fill_norm)(ops_t *ops);
void PLAIN_NAME(plain_fill_elementwise)(ops_t *ops);
void PLAIN_NAME(plain_fill_rows)(ops_t *ops);
void PLAIN_NAME(plain_fill_attention)(ops_t *ops);
void PLAIN_NAME(plain_fill_cache)(ops_t *ops);
void PLAIN_NAME(plain_fill_decode)(ops_t *ops);
void PLAIN_NAME(plain_fill_vocab)(ops_t *ops);
void PLAIN_NAME(plain_fill_sampling)(ops_t *ops);
void PLAIN_NAME(plain_fill_optimiser)(ops_t *ops);

/* Operands of this type: all read, set, read and set; (rows, cols) with row stride ld. */
static inline void reads(access_t *access, const char *name, const void *p, int64_t rows, int64_t cols,
                         int64_t ld) {
  access_operand(access, name, p, sizeof(element_t), rows, cols, ld, ACCESS_READ, NULL);
}
static inline void writes(access_t *access, const char *name, void *p, int64_t rows, int64_t cols,
                          int64_t ld) {
  access_operand(access, name, p, sizeof(element_t), rows, cols, ld, ACCESS_WRITE, NULL);
}
static inline void updates(access_t *access, const char *name, void *p, int64_t rows, int64_t cols,
                           int64_t ld) {
  access_operand(access, name, p, sizeof(element_t), rows, cols, ld, ACCESS_UPDATE, NULL);
}
/* Set, and may be the operand OVER. */
static inline void writes_over(access_t *access, const char *name, void *p, int64_t n, const void *over) {
  access_operand(access, name, p, sizeof(element_t), 1, n, n, ACCESS_WRITE, over);
}
/* Some elements of n are read / set: the operation checks which. */
static inline void reads_some(access_t *access, const char *name, const void *p, int64_t n) {
  access_operand(access, name, p, sizeof(element_t), 1, n, n, ACCESS_SOME, NULL);
}
static inline void writes_some(access_t *access, const char *name, void *p, int64_t n) {
  access_operand(access, name, p, sizeof(element_t), 1, n, n, ACCESS_PATCH, NULL);
}

#endif

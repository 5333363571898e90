/* The element type of this compilation, and the operands of an operation. The files of this folder are
 * compiled twice, with PLAIN_TYPE_f32 and with PLAIN_TYPE_f64. Real and wide elements are the same type; sums
 * are kept in double. */
#ifndef TENSOR_PLAIN_OPS_ELEMENT_H
#define TENSOR_PLAIN_OPS_ELEMENT_H

#include "base/half.h"
#include "tensor/ops.h"
#include "tensor/plain/access.h"
#include "tensor/weight_nf4.h"

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
void PLAIN_NAME(plain_fill_loss)(ops_t *ops);
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
/* The first ROWS rows of a weight in its format, of COLS columns. */
static inline void reads_weight(access_t *access, const char *name, const weight_t *weight, int64_t rows,
                                int64_t cols) {
  size_t size = weight->format == WEIGHT_BF16 ? dtype_size(DTYPE_BF16) : sizeof(element_t);
  access_require(access, weight->rows >= rows && weight->cols == cols,
                 "'%s' is %lld x %lld, expected %lld x %lld", name, (long long)weight->rows,
                 (long long)weight->cols, (long long)rows, (long long)cols);
  if (weight->format == WEIGHT_NF4) {
    size = sizeof(int32_t);
    rows = 1;
    cols = (int64_t)(weight_nf4_bytes(weight) / size);
  }
  access_operand(access, name, weight->data, size, rows, cols, cols, ACCESS_READ, NULL);
}
static inline double weight_element(const weight_t *weight, int64_t row, int64_t col) {
  if (weight->format == WEIGHT_NF4) {
    nf4_view_t view = weight_nf4_view(weight);
    return (double)nf4_view_value(&view, row, col);
  }
  int64_t i = row * weight->cols + col;
  if (weight->format != WEIGHT_BF16) return (double)((const element_t *)weight->data)[i];
  float value;
  half_from_bf16((const uint16_t *)weight->data + i, &value, 1);
  return (double)value;
}
/* Some elements of n are read / set: the operation checks which. */
static inline void reads_some(access_t *access, const char *name, const void *p, int64_t n) {
  access_operand(access, name, p, sizeof(element_t), 1, n, n, ACCESS_SOME, NULL);
}
static inline void writes_some(access_t *access, const char *name, void *p, int64_t n) {
  access_operand(access, name, p, sizeof(element_t), 1, n, n, ACCESS_PATCH, NULL);
}

#endif

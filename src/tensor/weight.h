/* A matrix of weights in device memory, as operations take it: in which format its numbers are kept, and
 * where. Operations compute with them in the compute type, sums in the accumulation type. */
#ifndef TENSOR_WEIGHT_H
#define TENSOR_WEIGHT_H

#include "tensor/device.h"

typedef enum {
  WEIGHT_REAL, /* the compute type: what is trained, and what is small */
  WEIGHT_BF16, /* bf16, whatever the compute type: half the memory of a frozen weight, and half the bytes that
                  a decode step reads */
  WEIGHT_NF4,  /* four bits in blocks (tensor/nf4.h), for matrices that operations multiply by */
  WEIGHT_FORMATS
} weight_format_t;

/* Bytes of which a weight's address is a multiple, where it begins a matrix of frozen weights. */
enum { WEIGHT_ALIGNMENT = 128 };

/* (rows, cols), row-major without gaps; for a projection (outputs, inputs). In NF4, whose blocks and scales
 * are those of a whole matrix, also which part of it this is. */
typedef struct {
  weight_format_t format;
  int64_t rows, cols;
  const void *data;                                     /* real_t, half_t, or as tensor/weight_nf4.h says */
  int64_t row_begin, col_begin, whole_rows, whole_cols; /* NF4 */
} weight_t;

/* Bytes of N weights in FORMAT, which is not NF4 (weight_nf4_bytes). */
static inline size_t weight_bytes(const device_t *device, weight_format_t format, int64_t n) {
  return (size_t)n * dtype_size(format == WEIGHT_BF16 ? DTYPE_BF16 : device->real_type);
}

/* A weight in the compute type. */
static inline weight_t weight_real(const real_t *data, int64_t rows, int64_t cols) {
  return (weight_t){.format = WEIGHT_REAL, .rows = rows, .cols = cols, .data = data};
}

#endif

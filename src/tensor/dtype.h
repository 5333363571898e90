/* Element types of device and host memory. */
#ifndef TENSOR_DTYPE_H
#define TENSOR_DTYPE_H

#include <stddef.h>

typedef enum { DTYPE_F32, DTYPE_F64, DTYPE_BF16, DTYPE_I32, DTYPE_COUNT } dtype_t;

static inline size_t dtype_size(dtype_t type) {
  static const size_t sizes[DTYPE_COUNT] = {4, 8, 2, 4};
  return sizes[type];
}

/* Name in reports ("bf16"). */
static inline const char *dtype_name(dtype_t type) {
  static const char *const names[DTYPE_COUNT] = {"fp32", "fp64", "bf16", "int32"};
  return names[type];
}

#endif

#include "tensor/convert.h"

#include "base/half.h"

#include <string.h>

/* Copies N elements to or from bf16, by way of single precision. */
static void convert_half(void *to, dtype_t to_type, const void *from, dtype_t from_type, size_t n) {
  enum { RUN = 1024 };
  float run[RUN];
  for (size_t i = 0; i < n; i += RUN) {
    size_t count = n - i < RUN ? n - i : RUN;
    const char *source = (const char *)from + i * dtype_size(from_type);
    char *target = (char *)to + i * dtype_size(to_type);
    if (from_type == DTYPE_BF16)
      half_from_bf16(source, run, count);
    else
      for (size_t j = 0; j < count; j++)
        run[j] = from_type == DTYPE_F64 ? (float)((const double *)source)[j] : ((const float *)source)[j];
    if (to_type == DTYPE_BF16)
      half_to_bf16(run, target, count);
    else
      for (size_t j = 0; j < count; j++) {
        if (to_type == DTYPE_F64)
          ((double *)target)[j] = run[j];
        else
          ((float *)target)[j] = run[j];
      }
  }
}

status_t elements_convert(void *to, dtype_t to_type, const void *from, dtype_t from_type, size_t n) {
  if (to_type == from_type) {
    memcpy(to, from, n * dtype_size(to_type));
  } else if (to_type == DTYPE_F32 && from_type == DTYPE_F64) {
    for (size_t i = 0; i < n; i++)
      ((float *)to)[i] = (float)((const double *)from)[i];
  } else if (to_type == DTYPE_F64 && from_type == DTYPE_F32) {
    for (size_t i = 0; i < n; i++)
      ((double *)to)[i] = (double)((const float *)from)[i];
  } else if (to_type != DTYPE_I32 && from_type != DTYPE_I32) {
    convert_half(to, to_type, from, from_type, n);
  } else {
    return error_set(STATUS_DEVICE, "elements of type %d cannot be converted to type %d", (int)from_type,
                     (int)to_type);
  }
  return STATUS_OK;
}

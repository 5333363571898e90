#include "io/tensors/tensor_type.h"

#include "base/memory.h"

#include <string.h>

static const struct {
  const char *name;
  size_t size;
} types[TENSOR_TYPE_COUNT] = {
    [TENSOR_F64] = {"F64", 8},   [TENSOR_F32] = {"F32", 4},         [TENSOR_F16] = {"F16", 2},
    [TENSOR_BF16] = {"BF16", 2}, [TENSOR_I64] = {"I64", 8},         [TENSOR_I32] = {"I32", 4},
    [TENSOR_I16] = {"I16", 2},   [TENSOR_I8] = {"I8", 1},           [TENSOR_U64] = {"U64", 8},
    [TENSOR_U32] = {"U32", 4},   [TENSOR_U16] = {"U16", 2},         [TENSOR_U8] = {"U8", 1},
    [TENSOR_BOOL] = {"BOOL", 1}, [TENSOR_F8_E4M3] = {"F8_E4M3", 1}, [TENSOR_F8_E5M2] = {"F8_E5M2", 1},
    [TENSOR_C64] = {"C64", 8},
};

size_t tensor_type_size(tensor_type_t type) {
  return types[type].size;
}

const char *tensor_type_name(tensor_type_t type) {
  return types[type].name;
}

bool tensor_type_find(const char *name, tensor_type_t *type) {
  for (int i = 0; i < TENSOR_TYPE_COUNT; i++) {
    if (strcmp(types[i].name, name) != 0) continue;
    *type = (tensor_type_t)i;
    return true;
  }
  return false;
}

bool tensor_type_is_real(tensor_type_t type) {
  return type == TENSOR_F64 || type == TENSOR_F32 || type == TENSOR_F16 || type == TENSOR_BF16;
}

bool tensor_count_elements(tensor_type_t type, int dims, const int64_t *shape, int64_t *elements,
                           int64_t *bytes) {
  if (!memory_shape_fits(shape, dims, (int64_t)types[type].size)) return false;
  *elements = 1;
  for (int d = 0; d < dims; d++)
    *elements *= shape[d];
  *bytes = *elements * (int64_t)types[type].size;
  return true;
}

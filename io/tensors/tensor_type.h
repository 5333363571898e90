/* Element types of published tensors: how they are called and stored. */
#ifndef IO_TENSOR_TYPE_H
#define IO_TENSOR_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TENSOR_MAX_DIMS = 8 };

/* Stored little-endian, without padding. */
typedef enum {
  TENSOR_F64,
  TENSOR_F32,
  TENSOR_F16,
  TENSOR_BF16,
  TENSOR_I64,
  TENSOR_I32,
  TENSOR_I16,
  TENSOR_I8,
  TENSOR_U64,
  TENSOR_U32,
  TENSOR_U16,
  TENSOR_U8,
  TENSOR_BOOL,
  TENSOR_F8_E4M3,
  TENSOR_F8_E5M2,
  TENSOR_C64,
  TENSOR_TYPE_COUNT
} tensor_type_t;

/* Bytes of an element. Local. */
size_t tensor_type_size(tensor_type_t type);

/* As safetensors spells it: "F32", "BF16", ... Local. */
const char *tensor_type_name(tensor_type_t type);

/* The type of that name; false if there is none. Local. */
bool tensor_type_find(const char *name, tensor_type_t *type);

/* Is it a real type that can be read as float: F64, F32, F16 or BF16? Local. */
bool tensor_type_is_real(tensor_type_t type);

/* Elements of a tensor of SHAPE (DIMS), and their bytes; false where they are negative or do not fit into 63
 * bits. Local. */
bool tensor_count_elements(tensor_type_t type, int dims, const int64_t *shape, int64_t *elements,
                           int64_t *bytes);

#endif

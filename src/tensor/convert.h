/* Elements on the host, from one type to another: for devices' copies. */
#ifndef TENSOR_CONVERT_H
#define TENSOR_CONVERT_H

#include "base/status.h"
#include "tensor/dtype.h"

/* Copies N elements and converts between F32, F64 and BF16 (by way of F32, rounded to nearest) where the
 * types differ. Nothing overlaps. Local. Errors: STATUS_DEVICE for others. */
status_t elements_convert(void *to, dtype_t to_type, const void *from, dtype_t from_type, size_t n);

#endif

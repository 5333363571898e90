/* The plain device: plain loops, in float or double: the oracle of all tests. */
#ifndef TENSOR_PLAIN_H
#define TENSOR_PLAIN_H

#include "tensor/device.h"

typedef enum {
  PLAIN_FLOAT,
  PLAIN_DOUBLE,
} plain_type_t;

/* Makes a plain device. CHECKING: device memory is page-protected (PROT_NONE) outside the device's own
 * functions, so that a host access faults; fresh memory is poisoned (a NaN, or an index, of a fixed pattern)
 * and a download that meets the poison, or an index operand that holds it, is STATUS_DEVICE; downloads are
 * carried out at device_synchronize only, and freed memory stays protected until the device goes. Free with
 * device_free. Local. */
status_t plain_create(plain_type_t type, bool checking, device_t **out);

#endif

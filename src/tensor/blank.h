/* A device that has no memory and computes nothing: what runs on it is counted (memory by arena, FLOPs), at
 * no cost. What is downloaded from it is zero. */
#ifndef TENSOR_BLANK_H
#define TENSOR_BLANK_H

#include "tensor/device.h"

/* Makes a blank device with LIKE's name and element types. Free with device_free, LIKE after it. Local. */
status_t blank_create(const device_t *like, device_t **out);

#endif

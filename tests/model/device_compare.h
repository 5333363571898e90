/* The whole model on a device against plain double. */
#ifndef TESTS_MODEL_DEVICE_COMPARE_H
#define TESTS_MODEL_DEVICE_COMPARE_H

#include "tensor/device.h"

/* Largest errors, of the largest number of each tensor, and no less than SMALL in gradients (a bias on keys
 * has none). */
typedef struct {
  double forward, loss, gradient, small; /* loss: a sum of terms of both signs; forward: those terms */
} device_tolerances_t;

/* Losses and gradients in the formats and ways that weights are kept and trained in. WORLD: one rank. Frees
 * DEVICE. */
void device_compare(comm_t *world, device_t *device, device_tolerances_t tolerances);

/* What is recomputed has the bits of what would have been kept. Frees DEVICE. */
void device_compare_recomputed(comm_t *world, device_t *device);

#endif

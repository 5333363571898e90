/* The limits of a device, measured in the run itself: what shares of peak refer to. */
#ifndef TENSOR_PEAKS_H
#define TENSOR_PEAKS_H

#include "tensor/device.h"

/* Measures what DEVICE reaches at most, the best of a few tries of this rank while the others measure too:
 * large products and a streaming copy of ELEMENTS numbers (0: as many as the device finds enough; takes twice
 * their memory for the while). With arrays far larger than the caches, the copy is what memory itself gives.
 * Takes about a fifth of a second. All 0 for a device that is not for speed (peak_matrix 0). Local. */
status_t device_measure_peaks(device_t *device, int64_t elements, device_peaks_t *peaks);

#endif

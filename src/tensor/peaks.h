/* The limits of a device, measured in the run itself: what shares of peak refer to. */
#ifndef TENSOR_PEAKS_H
#define TENSOR_PEAKS_H

#include "tensor/weight.h"

/* What a device reaches at most, per second; 0: not known. */
typedef struct {
  double flops[WEIGHT_FORMATS]; /* of products of activations with weights of each format */
  double bytes;                 /* of its memory, read and written ones */
} device_peaks_t;

/* Random numbers in X (N), which read as weights of any format are random and finite too: what a device does
 * with zeros or one number alone takes less power, and a GPU does it faster. Local. */
status_t device_fill_random(device_t *device, int64_t n, real_t *x);

/* Measures what DEVICE reaches at most, the best of a few tries of this rank while the others measure too:
 * large products of random numbers in the compute type and a streaming copy of ELEMENTS numbers, or as many
 * as the device finds enough where that is more, which no cache holds: what memory itself gives. Takes twice
 * their memory for the while, and about a fifth of a second. All 0 for a device that is not for speed
 * (peak_matrix 0). Local. */
status_t device_measure_peaks(device_t *device, int64_t elements, device_peaks_t *peaks);

/* Measures the products with weights in the other formats, in the time of a few of them. Local. */
status_t device_measure_formats(device_t *device, device_peaks_t *peaks);

#endif

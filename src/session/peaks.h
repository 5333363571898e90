/* The machine's limits, measured on a device in the run itself: what shares of peak refer to. */
#ifndef RUN_PEAKS_H
#define RUN_PEAKS_H

#include "tensor/device.h"

/* FLOP/s of a large matrix product and bytes/s of a streaming copy (read and written bytes both counted), the
 * best of a few tries of this rank while the others measure too. Takes about a fifth of a second. 0 where the
 * device is plain. Local. */
status_t peaks_measure(device_t *device, double *flops, double *bytes);

/* Bytes/s of a streaming copy of ELEMENTS numbers (read and written bytes both counted), the best of a few
 * tries: with arrays far larger than the caches, what memory itself gives. Takes twice their memory for the
 * while. 0 where the device is plain. Local. */
status_t peaks_measure_stream(device_t *device, int64_t elements, double *bytes);

#endif

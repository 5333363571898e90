/* A device that has no memory and computes nothing: what runs on it is counted (memory by arena, FLOPs), at
 * no cost. What is downloaded from it is zero. */
#ifndef TENSOR_BLANK_H
#define TENSOR_BLANK_H

#include "perf/perf.h"
#include "tensor/device.h"

/* A GPU that there need not be. */
typedef struct {
  size_t memory; /* bytes, of this rank */
  dtype_t real_type;
} blank_gpu_t;

/* Makes a blank device with LIKE's name and element types; or (GPU not NULL) one with memory of its own,
 * which works on 16-bit numbers if it is told to and replays decode steps. Free with device_free, LIKE after
 * it. Local. */
status_t blank_create(const device_t *like, const blank_gpu_t *gpu, device_t **out);

/* Device memory at one time. Bytes. */
typedef struct {
  size_t total;                 /* at most */
  size_t arenas[ARENA_COUNT];   /* what that was */
  size_t regions[REGION_COUNT]; /* at most, of total, while a region was the innermost one */
} blank_memory_t;

/* What the device made by blank_create has had so far. Local. */
void blank_memory(const device_t *device, blank_memory_t *most);

#endif

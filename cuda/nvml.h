/* Energy that a GPU has taken, by NVML, the driver's library: loaded when a device is made, if it is there.
 */
#ifndef CUDA_NVML_H
#define CUDA_NVML_H

#include <stdbool.h>

/* A GPU as NVML knows it. Local. */
typedef struct nvmlDevice_st *nvml_gpu_t;

/* Finds the GPU of UUID (16 bytes, as CUDA tells it); *GPU is NULL where NVML or the GPU's counter is not
 * there, which is no error. */
void nvml_find(const char uuid[16], nvml_gpu_t *gpu);
/* Joules since the driver was loaded, all processes together; 0 where GPU is NULL or does not tell. */
double nvml_joules(nvml_gpu_t gpu);

#endif

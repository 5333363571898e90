/* Collectives. */
#include "cuda/cuda_device.h"

bool collectives_staged(const device_t *device) {
  (void)device;
  return false;
}

status_t collectives_check(device_t *device) {
  (void)device;
  return STATUS_OK;
}

status_t cuda_fill_collectives(device_t *device) {
  (void)device;
  return STATUS_OK;
}

void cuda_free_collectives(device_t *device) {
  (void)device;
}

const char *collectives_version(void) {
  return "no NCCL";
}

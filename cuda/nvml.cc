#include "cuda/nvml.h"

#include <dlfcn.h>
#include <stdio.h>

/* The functions that are used here, as NVML's documentation has them; 0 is success. */
static struct {
  bool is_tried, is_there;
  int (*init)(void);
  int (*by_uuid)(const char *uuid, nvml_gpu_t *gpu);
  int (*millijoules)(nvml_gpu_t gpu, unsigned long long *energy);
} nvml;

template <class F> static bool find(void *library, const char *name, F *out) {
  *out = reinterpret_cast<F>(dlsym(library, name));
  return *out != nullptr;
}

/* Stays loaded to the end of the process. */
static bool nvml_is_there() {
  if (nvml.is_tried) return nvml.is_there;
  nvml.is_tried = true;
  void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  nvml.is_there = library && find(library, "nvmlInit_v2", &nvml.init) &&
                  find(library, "nvmlDeviceGetHandleByUUID", &nvml.by_uuid) &&
                  find(library, "nvmlDeviceGetTotalEnergyConsumption", &nvml.millijoules) && nvml.init() == 0;
  return nvml.is_there;
}

/* "GPU-01234567-89ab-cdef-0123-456789abcdef". */
static void uuid_text(const char uuid[16], char text[64]) {
  int at = snprintf(text, 64, "GPU-");
  for (int i = 0; i < 16; i++)
    at += snprintf(text + at, 64 - (size_t)at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                   (unsigned char)uuid[i]);
}

double nvml_joules(nvml_gpu_t gpu) {
  unsigned long long millijoules = 0;
  if (!gpu || nvml.millijoules(gpu, &millijoules) != 0) return 0.0;
  return 1e-3 * (double)millijoules;
}

void nvml_find(const char uuid[16], nvml_gpu_t *gpu) {
  char text[64];
  *gpu = nullptr;
  if (!nvml_is_there()) return;
  uuid_text(uuid, text);
  if (nvml.by_uuid(text, gpu) != 0) *gpu = nullptr;
}

/* cuDNN takes what it is asked for: plans are made, and kernels compiled, for GPUs that need not be there, by
 * the library itself over a driver that does nothing (no_driver.c). Skipped without the library. */
#include "cuda/cudnn.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

extern "C" {
#include <cmocka.h>
}

enum { SKIPPED = 77, PROPERTIES_MAX = 1024 };

static char texts[3][PROPERTIES_MAX];
static const cudnn_gpu_t a100 = {80, 108, texts[0]}, h100 = {90, 132, texts[1]}, b200 = {100, 148, texts[2]};

/* As cuDNN writes a GPU's properties down itself. */
static void describe(const cudnn_gpu_t &gpu, int shared_most, char to[PROPERTIES_MAX]) {
  snprintf(to, PROPERTIES_MAX,
           "{\"deviceName\": \"\", \"cudaDeviceId\": 0, \"deviceVer\": %d, \"multiProcessorCount\": %d, "
           "\"driverVer\": 13000, \"maxSharedMemoryPerBlockOptin\": %d, \"totalGlobalMem\": 85017493504, "
           "\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64], "
           "\"regsPerBlock\": 65536, \"warpSize\": 32, \"maxSharedMemoryPerBlock\": 49152, "
           "\"reservedSharedMemoryPerBlock\": 1024, \"maxRegistersPerSM\": 65536, \"maxCtasPerSM\": 32, "
           "\"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": 2048, \"pciDeviceId\": 0, \"isTccDriver\": 0, "
           "\"supportCoopLaunch\": 1, \"smClockRateKHz\": 1755000, \"memClockRateKHz\": 2619000, "
           "\"l2CacheSize\": 52428800}",
           10 * gpu.capability, gpu.multiprocessors, shared_most);
}

static cudnn_plan_t *plan(const cudnn_gpu_t &gpu, const cudnn_shape_t &shape, const cudnn_plan_t *kin) {
  cudnn_plan_t *made = NULL;
  if (cudnn_plan_create(NULL, &gpu, shape, kin, &made) != STATUS_OK)
    fail_msg("sm_%d, %s, heads of %d: %s", gpu.capability, shape.is_backward ? "backward" : "forward",
             (int)shape.head_size, error_message());
  return made;
}

/* Packed as the model's projections leave them. */
static cudnn_shape_t shape_of(int64_t sequences, int64_t longest, int64_t heads, int64_t kv_heads,
                              int64_t head_size, bool causal) {
  cudnn_shape_t shape = {};
  shape.causal = causal;
  shape.keeps_lse = true;
  shape.sequences = cudnn_bound(sequences);
  shape.longest = cudnn_bound(longest);
  shape.positions = cudnn_bound(sequences * longest);
  shape.heads = heads;
  shape.kv_heads = kv_heads;
  shape.head_size = head_size;
  shape.ldq = shape.ldkv = (heads + 2 * kv_heads) * head_size;
  shape.ldo = heads * head_size;
  shape.scale = 0.125f;
  return shape;
}

/* Decoders of 7B and with groups, towers with heads of 64 and 72; heads that only the forward pass takes. */
static const cudnn_shape_t shapes[] = {
    shape_of(16, 2048, 32, 32, 128, true), shape_of(16, 2048, 32, 8, 128, true),
    shape_of(7, 577, 16, 16, 64, false),   shape_of(3, 729, 16, 16, 72, false),
    shape_of(1, 100, 32, 32, 128, true),   shape_of(5, 300, 8, 4, 256, true)};

static void forward(const cudnn_gpu_t &gpu) {
  for (cudnn_shape_t shape : shapes) {
    cudnn_plan_t *first = plan(gpu, shape, NULL);
    shape.longest = cudnn_bound(2 * shape.longest);
    shape.sequences = cudnn_bound(shape.sequences + 1);
    cudnn_plan_free(plan(gpu, shape, first));
    shape.keeps_lse = false;
    cudnn_plan_free(plan(gpu, shape, NULL));
    cudnn_plan_free(first);
  }
}

static void backward(const cudnn_gpu_t &gpu) {
  for (cudnn_shape_t shape : shapes) {
    if (shape.head_size > CUDNN_BACKWARD_HEAD_MOST) continue;
    shape.is_backward = true;
    cudnn_plan_t *made = plan(gpu, shape, NULL);
    printf("sm_%d, %d sequences of %d, %d and %d heads of %d: workspace %.0f MB\n", gpu.capability,
           (int)shape.sequences, (int)shape.longest, (int)shape.heads, (int)shape.kv_heads,
           (int)shape.head_size, 1e-6 * (double)cudnn_plan_workspace(made));
    cudnn_plan_free(made);
  }
}

static void forward_on_a100(void **) {
  forward(a100);
}
static void forward_on_h100(void **) {
  forward(h100);
}
static void forward_on_b200(void **) {
  forward(b200);
}
static void backward_on_h100(void **) {
  backward(h100);
}
static void backward_on_b200(void **) {
  backward(b200);
}

int main(void) {
  if (!dlopen(NO_DRIVER, RTLD_NOW | RTLD_GLOBAL)) {
    printf("%s\n", dlerror());
    return 1;
  }
  describe(a100, 166912, texts[0]);
  describe(h100, 232448, texts[1]);
  describe(b200, 232448, texts[2]);
  printf("%s\n", cudnn_version());
  if (!strstr(cudnn_version(), "cuDNN 9.") || cudnn_gpu_check(h100) != STATUS_OK) {
    printf("skipped: no cuDNN here that reads these descriptions of GPUs\n");
    return SKIPPED;
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(forward_on_a100), cmocka_unit_test(forward_on_h100),
                                     cmocka_unit_test(forward_on_b200), cmocka_unit_test(backward_on_h100),
                                     cmocka_unit_test(backward_on_b200)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* cuDNN takes what it is asked for: plans are made, and kernels compiled, for GPUs that need not be there, by
 * the library itself over a driver that does nothing (no_driver.c). Skipped without the library. */
#include "cuda/attention_cudnn.h"
#include "cuda/cudnn_graph.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

extern "C" {
#include <cmocka.h>
}

namespace fe = cudnn_frontend;
enum { SKIPPED = 77 };

struct gpu_t {
  int capability, multiprocessors, shared_most;
  std::shared_ptr<fe::DeviceProperties> properties;
};
static gpu_t a100 = {80, 108, 166912, nullptr}, h100 = {90, 132, 232448, nullptr},
             b200 = {100, 148, 232448, nullptr};

/* As cuDNN writes a GPU's properties down itself. */
static bool describe(gpu_t *gpu) {
  char text[1024];
  snprintf(text, sizeof text,
           "{\"deviceName\": \"\", \"cudaDeviceId\": 0, \"deviceVer\": %d, \"multiProcessorCount\": %d, "
           "\"driverVer\": 13000, \"maxSharedMemoryPerBlockOptin\": %d, \"totalGlobalMem\": 85017493504, "
           "\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64], "
           "\"regsPerBlock\": 65536, \"warpSize\": 32, \"maxSharedMemoryPerBlock\": 49152, "
           "\"reservedSharedMemoryPerBlock\": 1024, \"maxRegistersPerSM\": 65536, \"maxCtasPerSM\": 32, "
           "\"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": 2048, \"pciDeviceId\": 0, \"isTccDriver\": 0, "
           "\"supportCoopLaunch\": 1, \"smClockRateKHz\": 1755000, \"memClockRateKHz\": 2619000, "
           "\"l2CacheSize\": 52428800}",
           10 * gpu->capability, gpu->multiprocessors, gpu->shared_most);
  gpu->properties = std::make_shared<fe::DeviceProperties>();
  return gpu->properties->deserialize(std::vector<uint8_t>(text, text + strlen(text))).is_good();
}

/* A plan is made; its workspace in MB. */
static double workspace(const gpu_t &gpu, const cudnn_shape_t &shape,
                        const std::shared_ptr<fe::KernelCache> &kernels) {
  int64_t bytes = 0;
  fe::graph::Graph graph;
  graph.set_device_properties(gpu.properties)
      .set_sm_version(gpu.capability)
      .set_sm_count(gpu.multiprocessors);
  cudnn_describe(shape, kernels, graph);
  auto error = graph.build({fe::HeurMode_t::A});
  if (!error.is_good() || !graph.get_workspace_size(bytes).is_good())
    fail_msg("sm_%d, %s, heads of %d: %s", gpu.capability, shape.is_backward ? "backward" : "forward",
             (int)shape.head_size, error.get_message().c_str());
  return 1e-6 * (double)bytes;
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

static void forward(const gpu_t &gpu) {
  for (cudnn_shape_t shape : shapes) {
    auto kernels = std::make_shared<fe::KernelCache>();
    workspace(gpu, shape, kernels);
    shape.longest = cudnn_bound(2 * shape.longest);
    shape.sequences = cudnn_bound(shape.sequences + 1);
    workspace(gpu, shape, kernels); /* by the same kernel */
    shape.keeps_lse = false;
    workspace(gpu, shape, std::make_shared<fe::KernelCache>());
  }
}

static void backward(const gpu_t &gpu) {
  for (cudnn_shape_t shape : shapes) {
    if (shape.head_size > CUDNN_BACKWARD_HEAD_MOST) continue;
    shape.is_backward = true;
    printf("sm_%d, %d sequences of %d, %d and %d heads of %d: workspace %.0f MB\n", gpu.capability,
           (int)shape.sequences, (int)shape.longest, (int)shape.heads, (int)shape.kv_heads,
           (int)shape.head_size, workspace(gpu, shape, nullptr));
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
  printf("%s\n", cudnn_version());
  if (!fe::cudnn_dlhandle || !describe(&a100) || !describe(&h100) || !describe(&b200)) {
    printf("skipped: no cuDNN here that makes plans for GPUs which are described to it\n");
    return SKIPPED;
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(forward_on_a100), cmocka_unit_test(forward_on_h100),
                                     cmocka_unit_test(forward_on_b200), cmocka_unit_test(backward_on_h100),
                                     cmocka_unit_test(backward_on_b200)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

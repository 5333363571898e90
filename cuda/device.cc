/* The cuda device: its GPU, memory and table. */
#include "cuda/attention_cudnn.h"
#include "cuda/cuda_device.h"
#include "cuda/cudnn.h"
#include "cuda/invariant.h"
#include "cuda/nvml.h"

extern "C" {
#include "base/log.h"
#include "parallel/watchdog.h"
}

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ALIGNMENT = 256, VOCABULARY_UNIT = 64, PEAK_MATRIX = 8192, PEAK_ELEMENTS = 1 << 29, SPINS = 2000 };

/* ---- Errors ---- */

status_t cuda_status(cudaError_t error, const char *call) {
  if (error == cudaSuccess) return STATUS_OK;
  (void)cudaGetLastError(); /* one that can be recovered from is not to be found again */
  return error_set(error == cudaErrorMemoryAllocation ? STATUS_MEMORY : STATUS_DEVICE,
                   "device 'cuda': %s (%s) in %s", cudaGetErrorString(error), cudaGetErrorName(error), call);
}

status_t cublas_status(cublasStatus_t error, const char *call) {
  if (error == CUBLAS_STATUS_SUCCESS) return STATUS_OK;
  return error_set(STATUS_DEVICE, "device 'cuda': cuBLASLt says %s in %s", cublasLtGetStatusString(error),
                   call);
}

/* ---- Launches and waits ---- */

cudaError_t launch_begin(device_t *device, const launch_t &shape, const void *kernel,
                         cudaLaunchAttribute *attribute, cudaLaunchConfig_t *config) {
  const int overlapping = 90;           /* the compute capability from which on kernels can start early */
  const size_t shared_free = 48 * 1024; /* more must be asked for, kernel by kernel */
  config->gridDim = shape.grid;
  config->blockDim = shape.block;
  config->dynamicSmemBytes = shape.shared;
  config->stream = cuda_state(device)->compute.raw;
  attribute->id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute->val.programmaticStreamSerializationAllowed = 1;
  config->attrs = attribute;
  config->numAttrs = cuda_state(device)->capability >= overlapping ? 1 : 0;
  if (shape.shared <= shared_free) return cudaSuccess;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shape.shared);
}

status_t launch_end(device_t *device, const char *name, const launch_t &shape, cudaError_t error) {
  cuda_state_t *state = cuda_state(device);
  if (error == cudaSuccess && state->options.check && !state->capturing)
    error = cudaStreamSynchronize(state->compute.raw);
  if (error == cudaSuccess) return STATUS_OK;
  (void)cudaGetLastError();
  return error_set(STATUS_DEVICE,
                   "device 'cuda': kernel '%s' (grid %u x %u x %u, block %u x %u x %u, %zu bytes shared): %s",
                   name, shape.grid.x, shape.grid.y, shape.grid.z, shape.block.x, shape.block.y,
                   shape.block.z, shape.shared, cudaGetErrorString(error));
}

status_t cuda_wait(device_t *device, cudaEvent_t event) {
  for (int64_t spin = 0;; spin++) {
    cudaError_t found = cudaEventQuery(event);
    if (found == cudaSuccess) return STATUS_OK;
    if (found != cudaErrorNotReady) return cuda_status(found, "a wait for what was asked before");
    if (spin < SPINS) continue;
    const struct timespec pause = {0, 20000};
    nanosleep(&pause, NULL);
    watchdog_poll();
    TRY(collectives_check(device));
  }
}

/* ---- Memory ---- */

static size_t bytes_of_pool(const cuda_state_t *state, cudaMemPoolAttr which) {
  uint64_t bytes = 0;
  if (cudaMemPoolGetAttribute(state->pool, which, &bytes) != cudaSuccess) (void)cudaGetLastError();
  return (size_t)bytes;
}

static size_t cuda_free_memory(device_t *device) {
  const cuda_state_t *state = cuda_state(device);
  size_t available = 0, total = 0;
  if (cudaMemGetInfo(&available, &total) != cudaSuccess) {
    (void)cudaGetLastError();
    return 0;
  }
  size_t kept = bytes_of_pool(state, cudaMemPoolAttrReservedMemCurrent) -
                bytes_of_pool(state, cudaMemPoolAttrUsedMemCurrent);
  return available / (size_t)state->ranks_sharing + kept;
}

static double cuda_energy(device_t *device) {
  const cuda_state_t *state = cuda_state(device);
  return nvml_joules(state->nvml) / (double)state->ranks_sharing;
}

static status_t cuda_alloc(device_t *device, size_t bytes, void **out) {
  cuda_state_t *state = cuda_state(device);
  if (state->capturing)
    return error_set(STATUS_INTERNAL, "device 'cuda': memory is asked for within a graph");
  cudaError_t error = cudaMallocAsync(out, bytes, state->compute.raw);
  if (error == cudaErrorMemoryAllocation) { /* what was given back may lie in pieces */
    (void)cudaGetLastError();
    TRY_CUDA(cudaStreamSynchronize(state->compute.raw));
    TRY_CUDA(cudaMemPoolTrimTo(state->pool, 0));
    error = cudaMallocAsync(out, bytes, state->compute.raw);
  }
  if (error == cudaSuccess) return STATUS_OK;
  (void)cudaGetLastError();
  *out = NULL;
  if (error != cudaErrorMemoryAllocation) return cuda_status(error, "cudaMallocAsync");
  return error_set(STATUS_MEMORY,
                   "GPU %d has no %zu bytes left (%zu free, %zu in use by this rank); use more GPUs, smaller "
                   "batches or weights in fewer bits",
                   state->ordinal, bytes, cuda_free_memory(device),
                   bytes_of_pool(state, cudaMemPoolAttrUsedMemCurrent));
}

static void cuda_release(device_t *device, void *pointer, size_t bytes) {
  (void)bytes;
  if (cudaFreeAsync(pointer, cuda_state(device)->compute.raw) != cudaSuccess)
    log_warning("device cuda: memory could not be given back: %s", cudaGetErrorString(cudaGetLastError()));
}

static void scratch_free(device_t *device) {
  scratch_t *scratch = &cuda_state(device)->scratch;
  for (int i = 0; i < scratch->count; i++) {
    memory_account(ARENA_SCRATCH, -(int64_t)scratch->bytes[i]);
    cuda_release(device, scratch->block[i], scratch->bytes[i]);
  }
  scratch->count = 0;
}

status_t cuda_scratch(device_t *device, size_t bytes, void **out) {
  const size_t least = (size_t)1 << 20;
  scratch_t *scratch = &cuda_state(device)->scratch;
  size_t has = scratch->count > 0 ? scratch->bytes[scratch->count - 1] : 0;
  if (bytes > has) {
    if (!graphs_exist(device)) scratch_free(device);
    if (scratch->count == SCRATCH_BLOCKS)
      return error_set(STATUS_MEMORY, "device 'cuda': no scratch of %zu bytes", bytes);
    size_t larger = bytes > 2 * has || scratch->count == 0 ? bytes : 2 * has;
    if (larger < least) larger = least;
    TRY(cuda_alloc(device, larger, &scratch->block[scratch->count]));
    memory_account(ARENA_SCRATCH, (int64_t)larger);
    scratch->bytes[scratch->count++] = larger;
  }
  *out = scratch->count > 0 ? scratch->block[scratch->count - 1] : NULL;
  return STATUS_OK;
}

/* ---- Making and freeing ---- */

int cuda_count(void) {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  (void)cudaGetLastError();
  return 0;
}

void cuda_version(char *text, size_t capacity) {
  int runtime = 0, driver = 0;
  (void)cudaRuntimeGetVersion(&runtime);
  (void)cudaDriverGetVersion(&driver); /* 0: there is none */
  (void)cudaGetLastError();
  size_t blas = cublasLtGetVersion();
  snprintf(text, capacity, "%d.%d, cuBLASLt %zu.%zu.%zu, %s, %s, driver %d.%d, %d GPUs", runtime / 1000,
           runtime % 1000 / 10, blas / 10000, blas / 100 % 100, blas % 100, cudnn_version(),
           collectives_version(), driver / 1000, driver % 1000 / 10, cuda_count());
}

static status_t choose_gpu(cuda_state_t *state) {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    (void)cudaGetLastError();
    return error_set(STATUS_DEVICE,
                     "parallel.device = 'cuda': no GPU can be used here (%s); use 'cpu', or a node with one "
                     "(--dry-run needs none with parallel.gpu_memory)",
                     error != cudaSuccess ? cudaGetErrorString(error) : "the driver knows none");
  }
  const cuda_options_t *options = &state->options;
  state->ordinal = options->node_rank % count;
  state->ranks_sharing = (options->node_size - 1 - state->ordinal) / count + 1;
  if (state->ranks_sharing < 1) state->ranks_sharing = 1;
  TRY_CUDA(cudaSetDevice(state->ordinal));
  cudaDeviceProp of;
  TRY_CUDA(cudaGetDeviceProperties(&of, state->ordinal));
  state->multiprocessors = of.multiProcessorCount;
  state->capability = 10 * of.major + of.minor;
#ifdef LLAVA_HAS_SM90A
  state->has_warpgroups = state->capability == 90;
#endif
  state->l2_bytes = (size_t)of.l2CacheSize;
  state->shared_most = of.sharedMemPerBlockOptin;
  nvml_find(of.uuid.bytes, &state->nvml);
  snprintf(state->detail, sizeof state->detail, "%.80s, GPU %d of %d, sm_%d, %d SMs, %.1f GiB%s%s", of.name,
           state->ordinal, count, state->capability, of.multiProcessorCount,
           (double)of.totalGlobalMem / (1 << 30), options->batch_invariant ? ", batch-invariant" : "",
           options->cudnn ? ", attention by cuDNN" : "");
  if (of.major < 8)
    return error_set(STATUS_DEVICE, "GPU %d (%s) has compute capability %d.%d; 8.0 (A100) is the least",
                     state->ordinal, of.name, of.major, of.minor);
  return STATUS_OK;
}

/* Memory that was given back is kept for the next of its size. */
static status_t make_streams(cuda_state_t *state) {
  uint64_t all = UINT64_MAX;
  int lowest = 0, highest = 0;
  TRY_CUDA(cudaDeviceGetDefaultMemPool(&state->pool, state->ordinal));
  TRY_CUDA(cudaMemPoolSetAttribute(state->pool, cudaMemPoolAttrReleaseThreshold, &all));
  TRY_CUDA(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  TRY_CUDA(cudaStreamCreateWithPriority(&state->compute.raw, cudaStreamNonBlocking, lowest));
  TRY_CUDA(cudaStreamCreateWithPriority(&state->background.raw, cudaStreamNonBlocking, highest));
  return STATUS_OK;
}

static status_t cuda_synchronize(device_t *device) {
  cudaEvent_t event;
  const uint64_t downloads = copies_count(device);
  TRY_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  status_code_t status =
      cuda_status(cudaEventRecord(event, cuda_state(device)->compute.raw), "cudaEventRecord");
  if (status == STATUS_OK) status = cuda_wait(device, event);
  (void)cudaEventDestroy(event);
  TRY(status);
  return copies_finish(device, downloads);
}

static void cuda_destroy(device_t *device) {
  cuda_state_t *state = cuda_state(device);
  if (state->compute.raw) (void)cudaStreamSynchronize(state->compute.raw);
  if (state->background.raw) (void)cudaStreamSynchronize(state->background.raw);
  cuda_free_graph(device);
  cuda_free_cudnn(device);
  cuda_free_collectives(device);
  cuda_free_products(device);
  cuda_free_clock(device);
  cuda_free_copies(device);
  scratch_free(device);
  if (state->compute.raw) {
    (void)cudaStreamSynchronize(state->compute.raw);
    (void)cudaStreamDestroy(state->compute.raw);
  }
  if (state->background.raw) (void)cudaStreamDestroy(state->background.raw);
  (void)cudaGetLastError();
  memory_free(state);
  memory_free(device);
}

static void fill_ops(ops_t *ops) {
  cuda_fill_elementwise(ops);
  cuda_fill_optimizer(ops);
  cuda_fill_norm(ops);
  cuda_fill_rows(ops);
  cuda_fill_rotary(ops);
  cuda_fill_attention(ops);
  cuda_fill_attention_paged(ops);
  cuda_fill_decode(ops);
  cuda_fill_vocab(ops);
  cuda_fill_loss(ops);
}

/* Other kernels for what depends on the batch. */
static void make_invariant(device_t *device) {
  cuda_fill_invariant_products(&cuda_state(device)->ops);
  cuda_fill_invariant_attention(&cuda_state(device)->ops);
  cuda_fill_invariant_collectives(device);
}

/* All but memory for DEVICE and STATE. */
static status_t cuda_open(device_t *device) {
  cuda_state_t *state = cuda_state(device);
  TRY(choose_gpu(state));
  TRY(make_streams(state));
  fill_ops(&state->ops);
  cuda_fill_nf4(state);
  cuda_fill_matrix_vector(state);
  TRY(cuda_fill_copies(device));
  TRY(cuda_fill_clock(device));
  TRY(cuda_fill_products(device));
  TRY(cuda_fill_graph(device));
  TRY(cuda_fill_collectives(device));
  if (state->options.batch_invariant) make_invariant(device);
  return state->options.cudnn ? cuda_fill_cudnn(device) : STATUS_OK;
}

status_t cuda_create(const cuda_options_t *options, device_t **out) {
  device_t *device = NULL;
  cuda_state_t *state = NULL;
  *out = NULL;
  TRY(memory_alloc(&device, ARENA_OTHER, 1, sizeof *device));
  status_code_t status = memory_alloc(&state, ARENA_OTHER, 1, sizeof *state);
  if (status != STATUS_OK) {
    memory_free(device);
    return status;
  }
  state->options = *options;
  device->name = "cuda";
  device->detail = state->detail;
  device->real_type = options->real_type;
  device->wide_type = DTYPE_F32;
  device->alignment = ALIGNMENT;
  device->vocabulary_unit = VOCABULARY_UNIT;
  device->peak_matrix = PEAK_MATRIX;
  device->peak_elements = PEAK_ELEMENTS;
  device->ops = &state->ops;
  device->state = state;
  device->destroy = cuda_destroy;
  device->run = ops_run;
  device->alloc = cuda_alloc;
  device->release = cuda_release;
  device->synchronize = cuda_synchronize;
  device->free_memory = cuda_free_memory;
  device->energy = cuda_energy;
  device->list_work = cuda_list_work;
  status = cuda_open(device);
  if (status != STATUS_OK) {
    cuda_destroy(device);
    return status;
  }
  *out = device;
  return STATUS_OK;
}

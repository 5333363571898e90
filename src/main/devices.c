#include "main/devices.h"

#ifdef LLAVA_RLHF_CUDA
#include "cuda/cuda.h"
#endif
#include "tensor/cpu/cpu.h"
#include "tensor/plain/plain.h"

#include <stdio.h>
#include <string.h>

static bool dtype_is(const settings_t *settings, const char *name) {
  return strcmp(settings->parallel.dtype, name) == 0;
}

static status_t devices_refuse_dtype(const settings_t *settings, const char *device, const char *expected) {
  return error_set(STATUS_INPUT, "parallel.dtype = '%s' is not computed by device '%s'; expected %s",
                   settings->parallel.dtype, device, expected);
}

/* Of two ranks there is one sum, in either order; of more MPI chooses the order by the size of the array. */
static status_t devices_check_invariant(const settings_t *settings, const char *device) {
  if (!settings->parallel.batch_invariant || settings->parallel.tp <= 2) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "parallel.batch_invariant on device '%s' with parallel.tp = %lld: sums over more than two "
                   "ranks are in an order that depends on the batch; use parallel.tp = 1 or 2",
                   device, (long long)settings->parallel.tp);
}

static bool devices_use_cudnn(const settings_t *settings) {
  return strcmp(settings->parallel.attention, "cudnn") == 0;
}

static status_t devices_check_attention(const settings_t *settings, const char *device) {
  if (!devices_use_cudnn(settings)) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "parallel.attention = 'cudnn' is for device 'cuda', and this is '%s'; use 'own'", device);
}

static status_t devices_check_cpu(const settings_t *settings) {
  if (dtype_is(settings, "f64")) return devices_refuse_dtype(settings, "cpu", "'auto', 'f32' or 'bf16'");
  TRY(devices_check_attention(settings, "cpu"));
  return devices_check_invariant(settings, "cpu");
}

/* All ranks compute at one SIMD level, so that their numbers are the same bits. */
static status_t devices_create_cpu(const grid_t *grid, const settings_t *settings, device_t **out) {
  const char *level = settings->parallel.simd;
  int32_t best = cpu_levels();
  TRY(devices_check_cpu(settings));
  TRY(comm_allreduce(grid->world, &best, 1, COMM_I32, COMM_MIN));
  return cpu_create(grid->threads, strcmp(level, "auto") == 0 ? cpu_level_name(best - 1) : level, out);
}

/* It computes in all types. */
static status_t devices_check_plain(const settings_t *settings) {
  TRY(devices_check_attention(settings, "plain"));
  return devices_check_invariant(settings, "plain");
}

static status_t devices_create_plain(const grid_t *grid, const settings_t *settings, device_t **out) {
  (void)grid;
  return plain_create(dtype_is(settings, "f64") ? PLAIN_DOUBLE : PLAIN_FLOAT, settings->parallel.check, out);
}

static status_t devices_check_cuda(const settings_t *settings) {
  return dtype_is(settings, "f64") ? devices_refuse_dtype(settings, "cuda", "'auto', 'bf16' or 'f32'")
                                   : STATUS_OK;
}

/* For a GPU that a dry run assumes: nothing is computed on what is made. */
static status_t devices_create_assumed(const grid_t *grid, const settings_t *settings, device_t **out) {
  TRY(devices_check_cuda(settings));
  return cpu_create(grid->threads, cpu_level_name(cpu_levels() - 1), out);
}

#ifdef LLAVA_RLHF_CUDA
static status_t devices_create_cuda(const grid_t *grid, const settings_t *settings, device_t **out) {
  TRY(devices_check_cuda(settings));
  return cuda_create(&(cuda_options_t){.real_type = dtype_is(settings, "f32") ? DTYPE_F32 : DTYPE_BF16,
                                       .node_rank = grid->node_rank,
                                       .node_size = grid->node_size,
                                       .deterministic = settings->job.deterministic,
                                       .check = settings->parallel.check,
                                       .batch_invariant = settings->parallel.batch_invariant,
                                       .cudnn = devices_use_cudnn(settings)},
                     out);
}
#endif

typedef status_t check_t(const settings_t *settings); /* what it computes, as far as the settings tell */
#ifdef LLAVA_RLHF_CUDA
/* A GPU is what 'auto' means where there is one: then the table begins with the first row, else with the
 * second. */
static const device_entry_t devices[] = {{"cuda", devices_create_cuda},
                                         {"cpu", devices_create_cpu},
                                         {"plain", devices_create_plain},
                                         {"cuda", devices_create_cuda}};
static check_t *const checks[] = {devices_check_cuda, devices_check_cpu, devices_check_plain,
                                  devices_check_cuda};

const device_entry_t *devices_table(int32_t *count) {
  *count = (int32_t)(sizeof devices / sizeof *devices) - 1;
  return cuda_count() > 0 ? devices : devices + 1;
}
#else
static const device_entry_t devices[] = {{"cpu", devices_create_cpu}, {"plain", devices_create_plain}};
static check_t *const checks[] = {devices_check_cpu, devices_check_plain};

const device_entry_t *devices_table(int32_t *count) {
  *count = (int32_t)(sizeof devices / sizeof *devices);
  return devices;
}
#endif

const device_entry_t *devices_assumed_table(int32_t *count) {
  static const device_entry_t assumed[] = {
      {"cuda", devices_create_assumed}, {"cpu", devices_create_cpu}, {"plain", devices_create_plain}};
  *count = (int32_t)(sizeof assumed / sizeof *assumed);
  return assumed;
}

status_t devices_create_oracle(device_t **out) {
  return plain_create(PLAIN_DOUBLE, false, out);
}

void devices_describe_cuda(char *text, size_t capacity) {
#ifdef LLAVA_RLHF_CUDA
  cuda_version(text, capacity);
#else
  snprintf(text, capacity, "not built");
#endif
}

status_t devices_check(const settings_t *settings) {
  const device_entry_t *device;
  int32_t count;
  const device_entry_t *all = devices_table(&count);
  TRY(device_choose(settings, all, count, &device));
  return checks[device - devices](settings);
}

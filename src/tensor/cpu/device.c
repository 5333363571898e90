/* The cpu device: memory, copies, collectives and the choice of the SIMD level. Device memory is host memory,
 * so that copies and operations are finished when they return. */
#include "tensor/convert.h"
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/state.h"

#include <stdlib.h>
#include <string.h>
#ifdef CPU_HAS_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { LINE_BYTES = 64, PEAK_MATRIX = 768, PEAK_ELEMENTS = 1 << 23 };
static const size_t huge_page = (size_t)2 << 20;
#ifdef __SANITIZE_ADDRESS__
static const size_t buffer_alignment =
    0; /* a block for each buffer: the sanitizer sees where one is overrun */
#else
static const size_t buffer_alignment = LINE_BYTES;
#endif

typedef struct {
  const char *name;
  void (*fill)(kernels_t *table);
  bool (*is_supported)(void);
} level_t;

static bool has_generic(void) {
  return true;
}

#ifdef CPU_HAS_X86_LEVELS
static bool has_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

#ifdef CPU_HAS_AMX
/* Tiles of bf16: the processor has them, and the system, which keeps them for a process that asks, gives
 * leave. */
static bool has_amx(void) {
  enum { FEATURES = 7, BF16 = 1 << 22, TILE = 1 << 24, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
  unsigned a, b, c, d;
  if (!has_avx512() || !__get_cpuid_count(FEATURES, 0, &a, &b, &c, &d)) return false;
  if (!(d & BF16) || !(d & TILE)) return false;
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

/* Slowest first: a processor that has one has those before it. */
static const level_t levels[] = {
    {"generic", kernels_fill_generic, has_generic},
#ifdef CPU_HAS_X86_LEVELS
    {"avx2", kernels_fill_avx2, has_avx2},
    {"avx512", kernels_fill_avx512, has_avx512},
#endif
#ifdef CPU_HAS_AMX
    {"amx", kernels_fill_amx, has_amx},
#endif
};
enum { LEVELS = sizeof levels / sizeof levels[0] };

int cpu_levels(void) {
  int count = 0;
  while (count < LEVELS && levels[count].is_supported())
    count++;
  return count;
}

const char *cpu_level_name(int i) {
  return levels[i].name;
}

static status_t choose_level(const char *name, const level_t **out) {
  int supported = cpu_levels();
  for (int i = 0; i < LEVELS; i++) {
    if (name ? strcmp(name, levels[i].name) != 0 : i + 1 < supported) continue;
    if (i < supported) {
      *out = &levels[i];
      return STATUS_OK;
    }
    return error_set(
        STATUS_INPUT,
        "SIMD level '%s' is more than this processor has, which is '%s'; choose that or less with "
        "parallel.simd",
        name, levels[supported - 1].name);
  }
  return error_set(STATUS_INPUT, "this build has no SIMD level '%s'; its best one is '%s'", name ? name : "",
                   levels[LEVELS - 1].name);
}

static status_t cpu_alloc(device_t *device, size_t bytes, void **out) {
  size_t align = bytes >= 2 * huge_page ? huge_page : LINE_BYTES;
  void *pointer = NULL;
  (void)device;
  if (posix_memalign(&pointer, align, bytes) != 0)
    return error_set(STATUS_MEMORY, "the system has no %zu bytes left; use more nodes or smaller batches",
                     bytes);
  if (align == huge_page) cpu_advise_huge(pointer, bytes);
  *out = pointer;
  return STATUS_OK;
}

static void cpu_release(device_t *device, void *pointer, size_t bytes) {
  (void)device;
  (void)bytes;
  free(pointer);
}

static status_t cpu_upload(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                           size_t n) {
  (void)device;
  return elements_convert(to, to_type, from, from_type, n);
}

static status_t cpu_download(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                             size_t n) {
  (void)device;
  return elements_convert(to, to_type, from, from_type, n);
}

static status_t cpu_synchronize(device_t *device) {
  (void)device;
  return STATUS_OK;
}

static status_t comm_type_of_cpu(dtype_t type, comm_type_t *out) {
  if (type != DTYPE_F32 && type != DTYPE_I32)
    return error_set(STATUS_DEVICE, "device 'cpu' has no collectives on elements of type %d", (int)type);
  *out = type == DTYPE_F32 ? COMM_F32 : COMM_I32;
  return STATUS_OK;
}

static status_t cpu_allreduce(device_t *device, const device_comm_t *comm, void *data, dtype_t type, size_t n,
                              comm_op_t op) {
  comm_type_t comm_type = COMM_F32;
  (void)device;
  TRY(comm_type_of_cpu(type, &comm_type));
  return comm_allreduce(comm->host, data, n, comm_type, op);
}

static status_t cpu_allgatherv(device_t *device, const device_comm_t *comm, const void *mine, void *all,
                               const size_t *counts, dtype_t type) {
  comm_type_t comm_type = COMM_F32;
  (void)device;
  TRY(comm_type_of_cpu(type, &comm_type));
  return comm_allgatherv(comm->host, mine, all, counts, comm_type);
}

/* A request of parallel/comm.h is this device's own. */
static status_t cpu_reduce_scatter_begin(device_t *device, const device_comm_t *comm, void *data,
                                         dtype_t type, size_t n, device_request_t **request) {
  comm_type_t comm_type = COMM_F32;
  comm_request_t *begun = NULL;
  (void)device;
  TRY(comm_type_of_cpu(type, &comm_type));
  TRY(comm_reduce_scatter_begin(comm->host, data, n, comm_type, &begun));
  *request = (device_request_t *)begun;
  return STATUS_OK;
}

static status_t cpu_reduce_scatter_end(device_t *device, device_request_t *request) {
  (void)device;
  return comm_wait((comm_request_t *)request);
}

static void cpu_add_cores(device_t *device, core_set_t *cores) {
  const cpu_state_t *state = device->state;
  pool_add_cores(state->pool, cores);
}

static void cpu_destroy(device_t *device) {
  cpu_state_t *state = cpu_state(device);
  for (int i = 0; i < CPU_ROPE_TABLES; i++)
    memory_free(state->rope[i].values);
  memory_free(state->scratch);
  memory_free(state->shared);
  pool_free(state->pool);
  memory_free(state);
  memory_free(device);
}

static void fill_ops(ops_t *ops) {
  cpu_fill_gemm(ops);
  cpu_fill_norm(ops);
  cpu_fill_elementwise(ops);
  cpu_fill_rows(ops);
  cpu_fill_attention(ops);
  cpu_fill_decode(ops);
  cpu_fill_vocab(ops);
  cpu_fill_loss(ops);
}

status_t cpu_create(int threads, const char *level_name, device_t **out) {
  const level_t *level = NULL;
  device_t *device = NULL;
  cpu_state_t *state = NULL;
  *out = NULL;
  TRY(choose_level(level_name, &level));
  TRY(memory_alloc(&device, ARENA_OTHER, 1, sizeof *device));
  status_code_t status = memory_alloc(&state, ARENA_OTHER, 1, sizeof *state);
  if (status == STATUS_OK) status = pool_create(threads, &state->pool);
  if (status != STATUS_OK) {
    memory_free(state);
    memory_free(device);
    return status;
  }
  state->threads = threads > 0 ? threads : 1;
  level->fill(&state->kernels);
  fill_ops(&state->ops);
  *device = (device_t){.name = "cpu",
                       .detail = level->name,
                       .real_type = DTYPE_F32,
                       .wide_type = DTYPE_F32,
                       .alignment = buffer_alignment,
                       .peak_matrix = PEAK_MATRIX,
                       .peak_elements = PEAK_ELEMENTS,
                       .ops = &state->ops,
                       .state = state,
                       .run = ops_run,
                       .destroy = cpu_destroy,
                       .alloc = cpu_alloc,
                       .release = cpu_release,
                       .upload = cpu_upload,
                       .download = cpu_download,
                       .synchronize = cpu_synchronize,
                       .allreduce = cpu_allreduce,
                       .allgatherv = cpu_allgatherv,
                       .reduce_scatter_begin = cpu_reduce_scatter_begin,
                       .reduce_scatter_end = cpu_reduce_scatter_end,
                       .list_work = cpu_list_work,
                       .add_cores = cpu_add_cores};
  *out = device;
  return STATUS_OK;
}

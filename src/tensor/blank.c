#include "tensor/blank.h"

#include "perf/perf.h"

#include <string.h>

typedef struct {
  uintptr_t next; /* address of the next block: never read, never given out twice */
  size_t staged;  /* bytes of the largest reduction, which takes about as much memory beside it */
  size_t summed;  /* bytes of reductions in the background that are under way at one time, at most */
  int under_way;
  size_t memory; /* bytes that the GPU has; 0: it stands for no GPU */
  blank_memory_t most;
} blank_state_t;

/* Far from anything that the process has. */
static const uintptr_t first_address = (uintptr_t)1 << 46;
enum { BLOCK_ALIGNMENT = 256 };

/* Notes what there is now, whenever the device is asked for something. */
static void blank_look(blank_state_t *state) {
  size_t now = memory_usage_at(MEMORY_DEVICE, ARENA_COUNT).current;
  size_t *here = &state->most.regions[perf_region()];
  if (now > *here) *here = now;
  if (now <= state->most.total) return;
  state->most.total = now;
  for (int a = 0; a < ARENA_COUNT; a++)
    state->most.arenas[a] = memory_usage_at(MEMORY_DEVICE, (arena_t)a).current;
}

static status_t blank_alloc(device_t *device, size_t bytes, void **out) {
  blank_state_t *state = device->state;
  blank_look(state);
  *out = (void *)state->next;
  state->next += (bytes / BLOCK_ALIGNMENT + 1) * BLOCK_ALIGNMENT;
  return STATUS_OK;
}

static void blank_release(device_t *device, void *pointer, size_t bytes) {
  (void)device;
  (void)pointer;
  (void)bytes;
}

static status_t blank_upload(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                             size_t n) {
  blank_look(device->state);
  (void)to;
  (void)to_type;
  (void)from;
  (void)from_type;
  (void)n;
  return STATUS_OK;
}

static status_t blank_download(device_t *device, void *to, dtype_t to_type, const void *from,
                               dtype_t from_type, size_t n) {
  (void)device;
  (void)from;
  (void)from_type;
  memset(to, 0, n * dtype_size(to_type));
  return STATUS_OK;
}

static status_t blank_synchronize(device_t *device) {
  (void)device;
  return STATUS_OK;
}

/* Nothing is sent, but counted as if it were. */
static void blank_count(const device_comm_t *comm, collective_t collective, size_t bytes) {
  if (comm_size(comm->host) > 1) comm_count(comm->host, collective, (double)bytes, 0.0);
}

static status_t blank_allreduce(device_t *device, const device_comm_t *comm, void *data, dtype_t type,
                                size_t n, comm_op_t op) {
  blank_state_t *state = device->state;
  size_t bytes = n * dtype_size(type);
  (void)data;
  (void)op;
  blank_count(comm, COLLECTIVE_ALLREDUCE, bytes);
  if (comm_size(comm->host) == 1 || bytes <= state->staged) return STATUS_OK;
  memory_account(ARENA_COMM, (int64_t)(bytes - state->staged));
  state->staged = bytes;
  return STATUS_OK;
}

static status_t blank_allgatherv(device_t *device, const device_comm_t *comm, const void *mine, void *all,
                                 const size_t *counts, dtype_t type) {
  (void)device;
  (void)mine;
  (void)all;
  blank_count(comm, COLLECTIVE_ALLGATHER, counts[comm_rank(comm->host)] * dtype_size(type));
  return STATUS_OK;
}

static status_t blank_reduce_scatter_begin(device_t *device, const device_comm_t *comm, void *data,
                                           dtype_t type, size_t n, device_request_t **request) {
  blank_state_t *state = device->state;
  size_t each = comm_reduce_scatter_bytes(comm->host, n, type == DTYPE_F64 ? COMM_F64 : COMM_F32);
  (void)data;
  blank_count(comm, COLLECTIVE_REDUCE_SCATTER, (size_t)(comm_size(comm->host) - 1) * n * dtype_size(type));
  state->under_way++;
  int running = state->under_way < COMM_IN_FLIGHT ? state->under_way : COMM_IN_FLIGHT;
  size_t bytes = (size_t)running * each;
  if (bytes > state->summed) {
    memory_account(ARENA_COMM, (int64_t)(bytes - state->summed));
    state->summed = bytes;
  }
  *request = (device_request_t *)state;
  return STATUS_OK;
}

static status_t blank_reduce_scatter_end(device_t *device, device_request_t *request) {
  blank_state_t *state = device->state;
  (void)request;
  state->under_way--;
  return STATUS_OK;
}

static status_t blank_run(device_t *device, int number, const void *arguments) {
  blank_look(device->state);
  (void)number;
  (void)arguments;
  return STATUS_OK;
}

static size_t blank_free_memory(device_t *device) {
  const blank_state_t *state = device->state;
  size_t now = memory_usage_at(MEMORY_DEVICE, ARENA_COUNT).current;
  return now < state->memory ? state->memory - now : 0;
}

static size_t blank_total_memory(device_t *device) {
  const blank_state_t *state = device->state;
  return state->memory;
}

/* Nothing is to be done when work is replayed; device_graph counts it. */
static status_t blank_graph(device_t *device, uint64_t key, bool capture, device_body_t body, void *context) {
  (void)device;
  (void)key;
  return capture ? body(context) : STATUS_OK;
}

void blank_memory(const device_t *device, blank_memory_t *most) {
  const blank_state_t *state = device->state;
  *most = state->most;
}

static void blank_destroy(device_t *device) {
  const blank_state_t *state = device->state;
  memory_account(ARENA_COMM, -(int64_t)(state->staged + state->summed));
  memory_free(device->state);
  memory_free(device);
}

/* What GPUs like: whole lines of memory, whole tiles of products. */
enum { GPU_ALIGNMENT = 128, GPU_VOCABULARY_UNIT = 64 };

static void blank_be_gpu(const blank_gpu_t *gpu, device_t *device) {
  blank_state_t *state = device->state;
  state->memory = gpu->memory;
  device->name = "gpu";
  device->detail = "assumed";
  device->real_type = gpu->real_type;
  device->wide_type = DTYPE_F32;
  device->alignment = GPU_ALIGNMENT;
  device->vocabulary_unit = GPU_VOCABULARY_UNIT;
  device->graph = blank_graph;
  device->free_memory = blank_free_memory;
  device->total_memory = blank_total_memory;
}

status_t blank_create(const device_t *like, const blank_gpu_t *gpu, device_t **out) {
  blank_state_t *state;
  *out = NULL;
  TRY(memory_alloc(&state, ARENA_OTHER, 1, sizeof *state));
  status_code_t status = memory_alloc(out, ARENA_OTHER, 1, sizeof **out);
  if (status != STATUS_OK) {
    memory_free(state);
    return status;
  }
  *state = (blank_state_t){.next = first_address};
  **out = (device_t){.name = like->name,
                     .detail = like->detail,
                     .real_type = like->real_type,
                     .wide_type = like->wide_type,
                     .alignment = like->alignment,
                     .vocabulary_unit = like->vocabulary_unit,
                     .state = state,
                     .run = blank_run,
                     .destroy = blank_destroy,
                     .alloc = blank_alloc,
                     .release = blank_release,
                     .upload = blank_upload,
                     .download = blank_download,
                     .synchronize = blank_synchronize,
                     .allreduce = blank_allreduce,
                     .allgatherv = blank_allgatherv,
                     .reduce_scatter_begin = blank_reduce_scatter_begin,
                     .reduce_scatter_end = blank_reduce_scatter_end};
  if (gpu) blank_be_gpu(gpu, *out);
  return STATUS_OK;
}

/* Copies between host and device by way of pinned memory, which the GPU reads and writes while the host goes
 * on; and events, behind which downloads can be read. */
#include "cuda/cuda_device.h"

extern "C" {
#include "parallel/watchdog.h"
#include "perf/perf.h"
#include "tensor/convert.h"
}

#include <string.h>

enum { SEGMENTS = 4, SEGMENT_BYTES = 8 << 20, PLACE = 256, WAITING = 4096 };

/* Pinned memory that is used round and round, in segments: one is entered again when all that the GPU was to
 * do with it is done. */
struct ring_t {
  char *memory; /* (SEGMENTS, SEGMENT_BYTES) */
  cudaEvent_t left[SEGMENTS];
  bool is_left[SEGMENTS];
  uint64_t last[SEGMENTS]; /* number of the last download in it when it was left */
  int segment;
  size_t used;
};

/* A download that has been asked for: its host memory is written when the GPU is known to have done its part.
 */
struct download_t {
  void *to;
  dtype_t to_type, from_type;
  const char *from; /* pinned */
  size_t n;
};

struct copies_t {
  ring_t up, down;
  download_t waiting[WAITING]; /* download number d is at d % WAITING */
  uint64_t asked, finished;
};

struct event_t {
  cudaEvent_t raw;
  uint64_t downloads; /* asked for when it was recorded */
};

uint64_t copies_count(const device_t *device) {
  return cuda_state(device)->copies->asked;
}

status_t copies_finish(device_t *device, uint64_t last) {
  copies_t *copies = cuda_state(device)->copies;
  for (; copies->finished < last; copies->finished++) {
    const download_t *download = &copies->waiting[copies->finished % WAITING];
    TRY(elements_convert(download->to, download->to_type, download->from, download->from_type, download->n));
  }
  return STATUS_OK;
}

/* Leaves the segment in use for the next one. */
static status_t ring_advance(device_t *device, ring_t *ring) {
  cuda_state_t *state = cuda_state(device);
  TRY_CUDA(cudaEventRecord(ring->left[ring->segment], state->compute.raw));
  ring->is_left[ring->segment] = true;
  ring->last[ring->segment] = state->copies->asked;
  ring->segment = (ring->segment + 1) % SEGMENTS;
  ring->used = 0;
  if (!ring->is_left[ring->segment]) return STATUS_OK;
  watchdog_enter("wait for copies to or from the device");
  status_code_t status = cuda_wait(device, ring->left[ring->segment]);
  watchdog_leave();
  TRY(status);
  return copies_finish(device, ring->last[ring->segment]);
}

/* *PLACE_OUT: BYTES, at most a segment, of pinned memory. */
static status_t ring_take(device_t *device, ring_t *ring, size_t bytes, char **out) {
  if (ring->used + bytes > SEGMENT_BYTES) TRY(ring_advance(device, ring));
  *out = ring->memory + (size_t)ring->segment * SEGMENT_BYTES + ring->used;
  ring->used += (bytes + PLACE - 1) / PLACE * PLACE;
  return STATUS_OK;
}

static status_t check_copy(const device_t *device) {
  if (!cuda_state(device)->capturing) return STATUS_OK;
  return error_set(STATUS_INTERNAL, "device 'cuda': a copy to or from the host within a graph");
}

static status_t cuda_upload(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                            size_t n) {
  cuda_state_t *state = cuda_state(device);
  const size_t run = SEGMENT_BYTES / dtype_size(to_type);
  TRY(check_copy(device));
  for (size_t i = 0; i < n; i += run) {
    size_t count = n - i < run ? n - i : run, bytes = count * dtype_size(to_type);
    char *place = NULL;
    TRY(ring_take(device, &state->copies->up, bytes, &place));
    perf_copied((double)bytes);
    TRY(elements_convert(place, to_type, static_cast<const char *>(from) + i * dtype_size(from_type),
                         from_type, count));
    TRY_CUDA(cudaMemcpyAsync(static_cast<char *>(to) + i * dtype_size(to_type), place, bytes,
                             cudaMemcpyHostToDevice, state->compute.raw));
  }
  return STATUS_OK;
}

static status_t cuda_download(device_t *device, void *to, dtype_t to_type, const void *from,
                              dtype_t from_type, size_t n) {
  cuda_state_t *state = cuda_state(device);
  copies_t *copies = state->copies;
  const size_t run = SEGMENT_BYTES / dtype_size(from_type);
  TRY(check_copy(device));
  for (size_t i = 0; i < n; i += run) {
    size_t count = n - i < run ? n - i : run, bytes = count * dtype_size(from_type);
    char *place = NULL;
    while (copies->asked - copies->finished == WAITING) /* many small ones: the oldest segment's end first */
      TRY(ring_advance(device, &copies->down));
    TRY(ring_take(device, &copies->down, bytes, &place));
    perf_copied((double)bytes);
    TRY_CUDA(cudaMemcpyAsync(place, static_cast<const char *>(from) + i * dtype_size(from_type), bytes,
                             cudaMemcpyDeviceToHost, state->compute.raw));
    download_t *download = &copies->waiting[copies->asked++ % WAITING];
    download->to = static_cast<char *>(to) + i * dtype_size(to_type);
    download->to_type = to_type;
    download->from = place;
    download->from_type = from_type;
    download->n = count;
  }
  return STATUS_OK;
}

/* ---- Events ---- */

static status_t cuda_event_create(device_t *device, void **own) {
  event_t *event = NULL;
  (void)device;
  TRY(memory_alloc(&event, ARENA_OTHER, 1, sizeof *event));
  cudaError_t error = cudaEventCreate(&event->raw);
  if (error != cudaSuccess) memory_free(event);
  TRY_CUDA(error);
  *own = event;
  return STATUS_OK;
}

static void cuda_event_free(device_t *device, void *own) {
  event_t *event = static_cast<event_t *>(own);
  (void)device;
  (void)cudaEventDestroy(event->raw);
  memory_free(event);
}

static status_t cuda_event_record(device_t *device, void *own) {
  event_t *event = static_cast<event_t *>(own);
  event->downloads = copies_count(device);
  TRY_CUDA(cudaEventRecord(event->raw, cuda_state(device)->compute.raw));
  return STATUS_OK;
}

static status_t cuda_event_query(device_t *device, void *own, bool *done) {
  event_t *event = static_cast<event_t *>(own);
  cudaError_t found = cudaEventQuery(event->raw);
  *done = found == cudaSuccess;
  if (found == cudaErrorNotReady) return STATUS_OK;
  TRY_CUDA(found);
  return copies_finish(device, event->downloads);
}

static status_t cuda_event_wait(device_t *device, void *own) {
  event_t *event = static_cast<event_t *>(own);
  TRY(cuda_wait(device, event->raw));
  return copies_finish(device, event->downloads);
}

static status_t cuda_event_seconds(device_t *device, void *from, void *to, double *seconds) {
  float milliseconds = 0.0f;
  (void)device;
  TRY_CUDA(cudaEventElapsedTime(&milliseconds, static_cast<event_t *>(from)->raw,
                                static_cast<event_t *>(to)->raw));
  *seconds = 1e-3 * (double)milliseconds;
  return STATUS_OK;
}

/* ---- Making and freeing ---- */

static status_t ring_create(ring_t *ring) {
  void *memory = NULL;
  cudaError_t error = cudaHostAlloc(&memory, (size_t)SEGMENTS * SEGMENT_BYTES, cudaHostAllocDefault);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    return error_set(STATUS_MEMORY, "device 'cuda': no %d bytes of pinned host memory",
                     SEGMENTS * SEGMENT_BYTES);
  }
  TRY_CUDA(error);
  ring->memory = static_cast<char *>(memory);
  memory_account(ARENA_IO, SEGMENTS * SEGMENT_BYTES);
  for (int i = 0; i < SEGMENTS; i++)
    TRY_CUDA(cudaEventCreateWithFlags(&ring->left[i], cudaEventDisableTiming));
  return STATUS_OK;
}

static void ring_free(ring_t *ring) {
  for (int i = 0; i < SEGMENTS; i++)
    if (ring->left[i]) (void)cudaEventDestroy(ring->left[i]);
  if (!ring->memory) return;
  (void)cudaFreeHost(ring->memory);
  memory_account(ARENA_IO, -SEGMENTS * SEGMENT_BYTES);
}

status_t cuda_fill_copies(device_t *device) {
  cuda_state_t *state = cuda_state(device);
  TRY(memory_alloc(&state->copies, ARENA_OTHER, 1, sizeof *state->copies));
  TRY(ring_create(&state->copies->up));
  TRY(ring_create(&state->copies->down));
  device->upload = cuda_upload;
  device->download = cuda_download;
  device->event_create = cuda_event_create;
  device->event_free = cuda_event_free;
  device->event_record = cuda_event_record;
  device->event_query = cuda_event_query;
  device->event_wait = cuda_event_wait;
  device->event_seconds = cuda_event_seconds;
  return STATUS_OK;
}

void cuda_free_copies(device_t *device) {
  copies_t *copies = cuda_state(device)->copies;
  if (!copies) return;
  ring_free(&copies->up);
  ring_free(&copies->down);
  memory_free(copies);
}

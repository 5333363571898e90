#include "tensor/plain/plain.h"

#include "base/half.h"
#include "tensor/plain/access.h"
#include "tensor/plain/ops/fill.h"
#include "tensor/plain/state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };
#ifdef __SANITIZE_ADDRESS__
static const bool buffers_apart = true; /* a block for each buffer: the sanitizer sees where one is overrun */
#else
static const bool buffers_apart = false;
#endif

/* ---- Memory ---- */

static status_t plain_alloc(device_t *device, size_t bytes, void **out) {
  plain_state_t *state = plain_state(device);
  if (state->checking) return guard_alloc(&state->guard, bytes, out);
  if (posix_memalign(out, ALIGNMENT, bytes) != 0)
    return error_set(STATUS_MEMORY, "cannot get %zu bytes", bytes);
  return STATUS_OK;
}

static void plain_release(device_t *device, void *pointer, size_t bytes) {
  (void)bytes;
  plain_state_t *state = plain_state(device);
  if (state->checking)
    guard_release(&state->guard, pointer);
  else
    free(pointer);
}

/* ---- Copies ---- */

static double element_get(const void *from, dtype_t type, size_t i) {
  if (type == DTYPE_F64) return ((const double *)from)[i];
  if (type == DTYPE_F32) return (double)((const float *)from)[i];
  assert(type == DTYPE_BF16);
  float value;
  half_from_bf16((const uint16_t *)from + i, &value, 1);
  return (double)value;
}

static void element_set(void *to, dtype_t type, size_t i, double value) {
  float single = (float)value;
  if (type == DTYPE_F64) {
    ((double *)to)[i] = value;
  } else if (type == DTYPE_F32) {
    ((float *)to)[i] = single;
  } else {
    assert(type == DTYPE_BF16);
    half_to_bf16(&single, (uint16_t *)to + i, 1);
  }
}

static void convert_plain(void *to, dtype_t to_type, const void *from, dtype_t from_type, size_t n) {
  if (to_type == from_type) {
    memcpy(to, from, n * dtype_size(to_type));
    return;
  }
  for (size_t i = 0; i < n; i++)
    element_set(to, to_type, i, element_get(from, from_type, i));
}

static status_t check_host(const device_t *device, const char *what, const void *host) {
  const plain_state_t *state = plain_state(device);
  if (!state->checking || !guard_contains(&state->guard, host)) return STATUS_OK;
  return error_set(STATUS_DEVICE, "%s: a device pointer stands where host memory is expected", what);
}

static status_t plain_upload(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                             size_t n) {
  TRY(check_host(device, "upload", from));
  access_t access = access_begin(device, "upload");
  access_operand(&access, "to", to, dtype_size(to_type), 1, (int64_t)n, (int64_t)n, ACCESS_WRITE, NULL);
  TRY(access_ready(&access));
  convert_plain(to, to_type, from, from_type, n);
  access_end(&access);
  return STATUS_OK;
}

/* Keeps the elements as they are now, for a wait. */
static status_t download_defer(device_t *device, plain_download_t wanted, const void *from) {
  plain_download_t *download = NULL;
  size_t bytes = wanted.n * dtype_size(wanted.from_type);
  TRY(memory_alloc(&download, ARENA_SCRATCH, 1, sizeof *download));
  *download = wanted;
  status_code_t status = memory_alloc(&download->copy, ARENA_SCRATCH, bytes, 1);
  if (status != STATUS_OK) {
    memory_free(download);
    return status;
  }
  memcpy(download->copy, from, bytes);
  plain_download_t **end = &plain_state(device)->downloads;
  while (*end)
    end = &(*end)->next;
  *end = download;
  download->number = ++plain_state(device)->download_count;
  return STATUS_OK;
}

static status_t plain_download(device_t *device, void *to, dtype_t to_type, const void *from,
                               dtype_t from_type, size_t n) {
  TRY(check_host(device, "download", to));
  access_t access = access_begin(device, "download");
  access_operand(&access, "from", from, dtype_size(from_type), 1, (int64_t)n, (int64_t)n, ACCESS_READ, NULL);
  TRY(access_ready(&access));
  status_code_t status = STATUS_OK;
  plain_download_t wanted = {.to = to, .to_type = to_type, .from_type = from_type, .n = n};
  if (plain_state(device)->checking)
    status = download_defer(device, wanted, from);
  else
    convert_plain(to, to_type, from, from_type, n);
  access_end(&access);
  return status;
}

static void download_free(plain_download_t *download) {
  memory_free(download->copy);
  memory_free(download);
}

/* Carries out the downloads up to number LAST. */
static void downloads_finish(device_t *device, uint64_t last) {
  plain_state_t *state = plain_state(device);
  while (state->downloads && state->downloads->number <= last) {
    plain_download_t *download = state->downloads;
    state->downloads = download->next;
    convert_plain(download->to, download->to_type, download->copy, download->from_type, download->n);
    download_free(download);
  }
}

static status_t plain_synchronize(device_t *device) {
  downloads_finish(device, UINT64_MAX);
  return STATUS_OK;
}

/* ---- Events ---- */

static status_t plain_event_create(device_t *device, void **own) {
  (void)device;
  return memory_alloc(own, ARENA_OTHER, 1, sizeof(plain_event_t));
}

static void plain_event_free(device_t *device, void *own) {
  (void)device;
  memory_free(own);
}

static status_t plain_event_record(device_t *device, void *own) {
  *(plain_event_t *)own = (plain_event_t){.download = plain_state(device)->download_count};
  return STATUS_OK;
}

/* In the checking mode nothing is done when it is asked about first: who asks must be able to go on. */
static status_t plain_event_query(device_t *device, void *own, bool *done) {
  plain_event_t *event = own;
  *done = event->asked || !plain_state(device)->checking;
  event->asked = true;
  if (*done) downloads_finish(device, event->download);
  return STATUS_OK;
}

static status_t plain_event_wait(device_t *device, void *own) {
  downloads_finish(device, ((const plain_event_t *)own)->download);
  return STATUS_OK;
}

/* ---- Life ---- */

static void plain_destroy(device_t *device) {
  plain_state_t *state = plain_state(device);
  while (state->downloads) {
    plain_download_t *download = state->downloads;
    state->downloads = download->next;
    download_free(download);
  }
  /* Reductions are under way after an error only; MPI may still write to their copies. */
  guard_destroy(&state->guard);
  memory_free(state);
  memory_free((void *)(uintptr_t)device->ops);
  memory_free(device);
}

static const char *plain_detail(plain_type_t type, bool checking) {
  if (type == PLAIN_FLOAT) return checking ? "float, checking" : "float";
  return checking ? "double, checking" : "double";
}

static status_t plain_create_state(device_t *device, plain_type_t type, bool checking) {
  ops_t *ops = NULL;
  plain_state_t *state = NULL;
  TRY(memory_alloc(&ops, ARENA_OTHER, 1, sizeof *ops));
  device->ops = ops;
  if (type == PLAIN_FLOAT)
    plain_fill_f32(ops);
  else
    plain_fill_f64(ops);
  TRY(memory_alloc(&state, ARENA_OTHER, 1, sizeof *state));
  device->state = state;
  state->type = type;
  state->checking = checking;
  if (checking) TRY(guard_create(&state->guard));
  return STATUS_OK;
}

status_t plain_create(plain_type_t type, bool checking, device_t **out) {
  device_t *device = NULL;
  *out = NULL;
  TRY(memory_alloc(&device, ARENA_OTHER, 1, sizeof *device));
  dtype_t dtype = type == PLAIN_FLOAT ? DTYPE_F32 : DTYPE_F64;
  *device = (device_t){.name = "plain",
                       .detail = plain_detail(type, checking),
                       .real_type = dtype,
                       .wide_type = dtype,
                       .alignment = checking || buffers_apart ? 0 : ALIGNMENT,
                       .run = ops_run,
                       .destroy = plain_destroy,
                       .alloc = plain_alloc,
                       .release = plain_release,
                       .upload = plain_upload,
                       .download = plain_download,
                       .synchronize = plain_synchronize,
                       .event_create = plain_event_create,
                       .event_free = plain_event_free,
                       .event_record = plain_event_record,
                       .event_query = plain_event_query,
                       .event_wait = plain_event_wait,
                       .allreduce = plain_allreduce,
                       .allgatherv = plain_allgatherv,
                       .reduce_scatter_begin = plain_reduce_scatter_begin,
                       .reduce_scatter_end = plain_reduce_scatter_end};
  status_code_t status = plain_create_state(device, type, checking);
  if (status != STATUS_OK) {
    memory_free(device->state);
    memory_free((void *)(uintptr_t)device->ops);
    memory_free(device);
    return status;
  }
  *out = device;
  return STATUS_OK;
}

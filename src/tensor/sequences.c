#include "tensor/sequences.h"

#include <string.h>

enum { ROOM_FIRST = 4096 };

sequences_t sequences_create(device_t *device) {
  return (sequences_t){.device = device};
}

void sequences_free(sequences_t *sequences) {
  if (sequences->memory) device_release(sequences->device, sequences->memory);
  memory_free(sequences->host);
  *sequences = (sequences_t){.device = sequences->device};
}

/* Room for N numbers on both sides; what is there is lost. */
static status_t sequences_reserve(sequences_t *sequences, size_t n) {
  size_t room = sequences->room > 0 ? 2 * sequences->room : ROOM_FIRST;
  if (n <= sequences->room) return STATUS_OK;
  if (room < n) room = n;
  sequences_free(sequences);
  TRY(memory_alloc(&sequences->host, ARENA_OTHER, room, sizeof *sequences->host));
  TRY(index_alloc(sequences->device, ARENA_SCRATCH, room, &sequences->memory));
  sequences->room = room;
  return STATUS_OK;
}

static bool sequences_are(const sequences_t *now, int32_t count, const int32_t *offsets, int32_t heads,
                          int32_t kv_heads, int32_t head_size) {
  return now->offsets_host && now->count == count && now->heads == heads && now->kv_heads == kv_heads &&
         now->head_size == head_size &&
         memcmp(now->offsets_host, offsets, ((size_t)count + 1) * sizeof *offsets) == 0;
}

/* What follows from the offsets. */
static status_t sequences_measure(sequences_t *out) {
  const int32_t *offsets = out->offsets_host;
  if (offsets[0] != 0)
    return error_set(STATUS_INTERNAL, "the first sequence of a batch begins at %d, expected 0", offsets[0]);
  for (int32_t s = 0; s < out->count; s++) {
    int32_t n = offsets[s + 1] - offsets[s];
    if (n < 0)
      return error_set(STATUS_INTERNAL, "sequence %d of a batch begins at %d and ends at %d", s, offsets[s],
                       offsets[s + 1]);
    if (n > out->longest) out->longest = n;
    out->squares += (double)n * (double)n;
  }
  if (out->device->list_work) out->listed = out->device->list_work(out->device, out, NULL);
  return STATUS_OK;
}

/* Writes offsets and work list to the memory on both sides. */
static status_t sequences_write(sequences_t *out) {
  size_t own = (size_t)out->count + 1;
  memcpy(out->host, out->offsets_host, own * sizeof *out->host);
  out->offsets_host = out->host;
  out->offsets = out->memory;
  if (out->listed > 0) {
    out->device->list_work(out->device, out, out->host + own);
    out->work = index_at(out->memory, (int64_t)own);
  }
  return index_upload(out->device, out->memory, out->host, own + (size_t)out->listed);
}

status_t sequences_prepare(sequences_t *sequences, int32_t count, const int32_t *offsets, int32_t heads,
                           int32_t kv_heads, int32_t head_size) {
  sequences_t fresh = {.device = sequences->device,
                       .heads = heads,
                       .kv_heads = kv_heads,
                       .head_size = head_size,
                       .count = count,
                       .offsets_host = offsets};
  if (sequences_are(sequences, count, offsets, heads, kv_heads, head_size)) return STATUS_OK;
  sequences->count = -1; /* none, until all is there */
  TRY(sequences_measure(&fresh));
  TRY(sequences_reserve(sequences, (size_t)count + 1 + (size_t)fresh.listed));
  fresh.host = sequences->host;
  fresh.memory = sequences->memory;
  fresh.room = sequences->room;
  TRY(sequences_write(&fresh));
  *sequences = fresh;
  return STATUS_OK;
}

#include "data/names.h"

#include "base/memory.h"

#include <string.h>

#include <xxhash.h>

enum { FIRST_SLOTS = 1024 };

const char *names_name(const names_t *names, int64_t number) {
  return names->bytes + names->name[number];
}

const char *names_sample(const names_t *names, int64_t number) {
  const char *name = names_name(names, number);
  return name + strlen(name) + 1;
}

/* The slot that holds NAME, or the free one where it belongs. */
static int64_t names_slot_of(const names_t *names, const char *name) {
  int64_t mask = names->slot_count - 1;
  int64_t slot = (int64_t)(XXH3_64bits(name, strlen(name)) & (uint64_t)mask);
  while (names->slots[slot] >= 0 && strcmp(names_name(names, names->slots[slot]), name) != 0)
    slot = (slot + 1) & mask;
  return slot;
}

int64_t names_find(const names_t *names, const char *name) {
  return names->slot_count == 0 ? -1 : names->slots[names_slot_of(names, name)];
}

static status_t slots_grow(names_t *names) {
  if (2 * (names->count + 1) <= names->slot_count) return STATUS_OK;
  int64_t count = names->slot_count == 0 ? (int64_t)FIRST_SLOTS : names->slot_count * 2;
  TRY(memory_resize(&names->slots, ARENA_DATA, (size_t)count, sizeof *names->slots));
  names->slot_count = count;
  for (int64_t s = 0; s < count; s++)
    names->slots[s] = -1;
  for (int64_t i = 0; i < names->count; i++)
    names->slots[names_slot_of(names, names_name(names, i))] = i;
  return STATUS_OK;
}

status_t names_add(names_t *names, const char *name, const char *sample, int64_t *number) {
  TRY(slots_grow(names));
  int64_t slot = names_slot_of(names, name);
  *number = names->slots[slot];
  if (*number >= 0) return STATUS_OK;
  size_t name_bytes = strlen(name) + 1, sample_bytes = strlen(sample) + 1;
  TRY(memory_reserve(&names->name, ARENA_DATA, (size_t)names->count + 1, sizeof *names->name));
  TRY(memory_reserve(&names->bytes, ARENA_DATA, (size_t)names->used + name_bytes + sample_bytes, 1));
  memcpy(names->bytes + names->used, name, name_bytes);
  memcpy(names->bytes + names->used + name_bytes, sample, sample_bytes);
  names->name[names->count] = names->used;
  names->used += (int64_t)(name_bytes + sample_bytes);
  names->slots[slot] = names->count;
  *number = names->count++;
  return STATUS_OK;
}

static status_t names_arrays_alloc(names_t *names, int64_t count, int64_t used) {
  *names = (names_t){.count = count, .used = used};
  TRY(memory_alloc(&names->bytes, ARENA_DATA, (size_t)used, 1));
  return memory_alloc(&names->name, ARENA_DATA, (size_t)count, sizeof *names->name);
}

status_t names_share(comm_t *comm, names_t *names) {
  int64_t sizes[2] = {names->count, names->used};
  if (comm_size(comm) == 1) return STATUS_OK;
  TRY(comm_broadcast(comm, sizes, 2, COMM_I64, 0));
  TRY(comm_agree(comm, comm_rank(comm) == 0 ? STATUS_OK : names_arrays_alloc(names, sizes[0], sizes[1])));
  TRY(comm_broadcast(comm, names->bytes, (size_t)sizes[1], COMM_BYTE, 0));
  return comm_broadcast(comm, names->name, (size_t)sizes[0], COMM_I64, 0);
}

void names_free(names_t *names) {
  memory_free(names->bytes);
  memory_free(names->name);
  memory_free(names->slots);
  *names = (names_t){0};
}

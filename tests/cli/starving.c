/* The program with an allocation that fails: the ALLOC_FAIL-th (from 1) of rank ALLOC_RANK. Linked with
 * --wrap for all that allocate, which sends them through here. ALLOC_COUNT names a file that gets the number
 * of allocations of that rank. */
#include "base/memory.h"
#include "tensor/device.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

status_t __real_memory_alloc(void *out, arena_t arena, size_t count, size_t size);
status_t __wrap_memory_alloc(void *out, arena_t arena, size_t count, size_t size);
status_t __real_memory_resize(void *inout, arena_t arena, size_t count, size_t size);
status_t __wrap_memory_resize(void *inout, arena_t arena, size_t count, size_t size);
status_t __real_real_alloc(device_t *device, arena_t arena, size_t n, real_t **out);
status_t __wrap_real_alloc(device_t *device, arena_t arena, size_t n, real_t **out);
status_t __real_wide_alloc(device_t *device, arena_t arena, size_t n, wide_t **out);
status_t __wrap_wide_alloc(device_t *device, arena_t arena, size_t n, wide_t **out);
status_t __real_index_alloc(device_t *device, arena_t arena, size_t n, index_t **out);
status_t __wrap_index_alloc(device_t *device, arena_t arena, size_t n, index_t **out);

static atomic_llong allocations;

static void write_count(void) {
  const char *path = getenv("ALLOC_COUNT");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  fprintf(file, "%lld\n", (long long)atomic_load(&allocations));
  fclose(file);
}

static bool is_chosen(void) {
  const char *rank = getenv("ALLOC_RANK"), *mine = getenv("OMPI_COMM_WORLD_RANK");
  return rank && strcmp(rank, mine ? mine : "0") == 0;
}

/* Whether the allocation that is asked for is the one to fail. */
static bool fails(void) {
  if (!is_chosen()) return false;
  const char *at = getenv("ALLOC_FAIL");
  long long number = atomic_fetch_add(&allocations, 1) + 1;
  if (number == 1) atexit(write_count);
  return at && number == atoll(at);
}

static status_t none(void *out) {
  void *pointer = NULL;
  if (out) memcpy(out, &pointer, sizeof pointer);
  return error_set(STATUS_MEMORY, "the test leaves no memory for this");
}

status_t __wrap_memory_alloc(void *out, arena_t arena, size_t count, size_t size) {
  return fails() ? none(out) : __real_memory_alloc(out, arena, count, size);
}

status_t __wrap_memory_resize(void *inout, arena_t arena, size_t count, size_t size) {
  return fails() ? none(NULL) : __real_memory_resize(inout, arena, count, size);
}

status_t __wrap_real_alloc(device_t *device, arena_t arena, size_t n, real_t **out) {
  return fails() ? none(out) : __real_real_alloc(device, arena, n, out);
}

status_t __wrap_wide_alloc(device_t *device, arena_t arena, size_t n, wide_t **out) {
  return fails() ? none(out) : __real_wide_alloc(device, arena, n, out);
}

status_t __wrap_index_alloc(device_t *device, arena_t arena, size_t n, index_t **out) {
  return fails() ? none(out) : __real_index_alloc(device, arena, n, out);
}

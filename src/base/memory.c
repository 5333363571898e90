#include "base/memory.h"

#include <assert.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { ALIGNMENT = 64 };
static const uint64_t block_mark = UINT64_C(0x6d656d2d626c6f63);

/* Stands in the ALIGNMENT bytes before each block. */
typedef struct {
  void *raw;    /* what free() gets */
  size_t bytes; /* of the block itself */
  uint64_t mark;
  arena_t arena;
} memory_block_t;
_Static_assert(sizeof(memory_block_t) <= ALIGNMENT, "the header must fit before an aligned block");

static const char *const arena_names[ARENA_COUNT] = {
    [ARENA_WEIGHTS] = "weights",     [ARENA_GRADIENTS] = "gradients",
    [ARENA_OPTIMIZER] = "optimizer", [ARENA_ACTIVATIONS] = "activations",
    [ARENA_SCRATCH] = "scratch",     [ARENA_CACHE] = "cache",
    [ARENA_FEATURES] = "features",   [ARENA_DATA] = "data",
    [ARENA_ROLLOUT] = "rollout",     [ARENA_IO] = "io",
    [ARENA_COMM] = "communication",  [ARENA_OTHER] = "other",
};

/* Of each arena, and of all together; and what of it is where. */
typedef struct {
  atomic_size_t current, peak;
} memory_counter_t;
static memory_counter_t usage[ARENA_COUNT + 1], usage_at[MEMORY_PLACES][ARENA_COUNT + 1];

void memory_keep_freed(void) {
  enum { LARGEST_KEPT = 32 << 20 };
  mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT);
  mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_KEPT);
}

static void memory_add(memory_counter_t *counter, int64_t bytes) {
  size_t current = atomic_fetch_add(&counter->current, (size_t)bytes) + (size_t)bytes;
  if (bytes <= 0) return;
  size_t peak = atomic_load(&counter->peak);
  while (current > peak && !atomic_compare_exchange_weak(&counter->peak, &peak, current)) {
  }
}

static void memory_count(memory_place_t place, arena_t arena, int64_t bytes) {
  memory_add(&usage[arena], bytes);
  memory_add(&usage[ARENA_COUNT], bytes);
  memory_add(&usage_at[place][arena], bytes);
  memory_add(&usage_at[place][ARENA_COUNT], bytes);
}

void memory_account(arena_t arena, int64_t bytes) {
  memory_count(MEMORY_HOST, arena, bytes);
}

void memory_account_device(arena_t arena, int64_t bytes) {
  memory_count(MEMORY_DEVICE, arena, bytes);
}

size_t memory_peak(void) {
  return atomic_load(&usage[ARENA_COUNT].peak);
}

static void counters_reset_peaks(memory_counter_t *counters) {
  for (int a = 0; a <= ARENA_COUNT; a++)
    atomic_store(&counters[a].peak, atomic_load(&counters[a].current));
}

void memory_reset_peaks(void) {
  counters_reset_peaks(usage);
  for (int p = 0; p < MEMORY_PLACES; p++)
    counters_reset_peaks(usage_at[p]);
}

static memory_usage_t memory_read(arena_t arena, const memory_counter_t *counter) {
  return (memory_usage_t){arena < ARENA_COUNT ? arena_names[arena] : "all", atomic_load(&counter->current),
                          atomic_load(&counter->peak)};
}

memory_usage_t memory_usage(arena_t arena) {
  return memory_read(arena, &usage[arena]);
}

memory_usage_t memory_usage_at(memory_place_t place, arena_t arena) {
  return memory_read(arena, &usage_at[place][arena]);
}

/* Zeroed bytes with ALIGNMENT bytes for the header in front of an aligned block. calloc leaves large blocks
 * to the system's lazy zero pages; the address sanitizer gets blocks that end exactly where they should. */
static unsigned char *allocate_raw(size_t bytes, void **raw) {
#ifdef __SANITIZE_ADDRESS__
  if (posix_memalign(raw, ALIGNMENT, bytes + ALIGNMENT) != 0) return NULL;
  memset(*raw, 0, bytes + ALIGNMENT);
  return (unsigned char *)*raw + ALIGNMENT;
#else
  *raw = calloc(1, bytes + (size_t)2 * ALIGNMENT);
  if (!*raw) return NULL;
  uintptr_t start = (uintptr_t)*raw + ALIGNMENT + ALIGNMENT - 1;
  return (unsigned char *)(start & ~(uintptr_t)(ALIGNMENT - 1));
#endif
}

static memory_block_t *block_of(void *pointer) {
  memory_block_t *block = (memory_block_t *)((unsigned char *)pointer - ALIGNMENT);
  assert(block->mark == block_mark);
  return block;
}

/* Through memcpy: the caller's pointer may be of any object type. */
static void memory_store_pointer(void *out, void *pointer) {
  memcpy(out, &pointer, sizeof pointer);
}

status_t memory_alloc(void *out, arena_t arena, size_t count, size_t size) {
  memory_store_pointer(out, NULL);
  if (count == 0 || size == 0) return STATUS_OK;
  size_t bytes = 0;
  void *raw = NULL;
  unsigned char *pointer = NULL;
  bool fits = !__builtin_mul_overflow(count, size, &bytes) && bytes <= PTRDIFF_MAX - 2 * ALIGNMENT;
  if (fits) pointer = allocate_raw(bytes, &raw);
  if (!pointer)
    return error_set(
        STATUS_MEMORY,
        "cannot get %zu x %zu bytes for '%s' (%zu MiB in use there); use more ranks or nodes, or smaller "
        "batches (--dry-run shows the memory per rank)",
        count, size, arena_names[arena], atomic_load(&usage[arena].current) >> 20);
  memory_block_t block = {.raw = raw, .bytes = bytes, .mark = block_mark, .arena = arena};
  memcpy(pointer - ALIGNMENT, &block, sizeof block);
  memory_account(arena, (int64_t)bytes);
  memory_store_pointer(out, pointer);
  return STATUS_OK;
}

status_t memory_resize(void *inout, arena_t arena, size_t count, size_t size) {
  void *old = NULL, *fresh = NULL;
  memcpy(&old, inout, sizeof old);
  TRY(memory_alloc(&fresh, arena, count, size));
  if (old && fresh) {
    size_t bytes = block_of(old)->bytes;
    memcpy(fresh, old, bytes < count * size ? bytes : count * size);
  }
  memory_free(old);
  memory_store_pointer(inout, fresh);
  return STATUS_OK;
}

status_t memory_reserve(void *inout, arena_t arena, size_t count, size_t size) {
  enum { FIRST_BYTES = 1024 };
  void *block = NULL;
  memcpy(&block, inout, sizeof block);
  size_t has = block ? block_of(block)->bytes : 0, needs = 0;
  if (has > 0 && !__builtin_mul_overflow(count, size, &needs) && needs <= has) return STATUS_OK;
  size_t larger = has > 0 ? 2 * (has / size) : FIRST_BYTES / size;
  return memory_resize(inout, arena, larger > count ? larger : count, size);
}

bool memory_shape_fits(const int64_t *shape, int dims, int64_t size) {
  for (int d = 0; d < dims; d++)
    if (shape[d] < 0 || (shape[d] > 0 && __builtin_mul_overflow(size, shape[d], &size))) return false;
  return true;
}

size_t memory_resident_peak(void) {
  struct rusage use;
  return getrusage(RUSAGE_SELF, &use) == 0 ? (size_t)use.ru_maxrss * 1024 : 0;
}

/* The number behind NAME in FILE, or the first one where NAME is empty; -1 where there is none. */
static int64_t system_number(const char *file, const char *name) {
  char line[256];
  long long number = -1;
  size_t n = strlen(name);
  FILE *stream = fopen(file, "r");
  while (stream && number < 0 && fgets(line, sizeof line, stream))
    if (strncmp(line, name, n) == 0 && sscanf(line + n, "%lld", &number) != 1) break;
  if (stream) fclose(stream);
  return number;
}

size_t memory_available(void) {
  int64_t machine = 1024 * system_number("/proc/meminfo", "MemAvailable:");
  int64_t most = system_number("/sys/fs/cgroup/memory.max", "");
  int64_t used = system_number("/sys/fs/cgroup/memory.current", "");
  int64_t group = most >= 0 && used >= 0 ? most - used : machine;
  int64_t available = group < machine ? group : machine;
  return available > 0 ? (size_t)available : 0;
}

size_t memory_total(void) {
  int64_t machine = 1024 * system_number("/proc/meminfo", "MemTotal:");
  int64_t most = system_number("/sys/fs/cgroup/memory.max", "");
  int64_t total = most >= 0 && most < machine ? most : machine;
  return total > 0 ? (size_t)total : 0;
}

void memory_free(void *pointer) {
  if (!pointer) return;
  memory_block_t *block = block_of(pointer);
  memory_account(block->arena, -(int64_t)block->bytes);
  block->mark = 0;
  free(block->raw);
}

void memory_free_at(void *address) {
  void *pointer;
  memcpy(&pointer, address, sizeof pointer);
  memory_free(pointer);
}

void memory_hand_over(void *out, void *pointer) {
  void *nothing = NULL;
  memcpy(out, pointer, sizeof nothing);
  memcpy(pointer, &nothing, sizeof nothing);
}

status_t memory_copy_text(char **out, arena_t arena, const char *text, size_t n) {
  TRY(memory_alloc(out, arena, n + 1, 1));
  if (n > 0) memcpy(*out, text, n);
  return STATUS_OK;
}

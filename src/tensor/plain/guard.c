#define _GNU_SOURCE
#include "tensor/plain/guard.h"

#include "base/memory.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t reserved_bytes = (size_t)256 << 30;
enum { BLOCKS_FIRST_CAPACITY = 256 };

status_t guard_create(guard_t *guard) {
  *guard = (guard_t){.page = (size_t)sysconf(_SC_PAGESIZE)};
  void *range = mmap(NULL, reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED)
    return error_set(STATUS_MEMORY,
                     "the checking device cannot reserve %zu GiB of addresses: %s (is there a ulimit -v?)",
                     reserved_bytes >> 30, strerror(errno));
  guard->begin = guard->next = (uintptr_t)range;
  guard->end = guard->begin + reserved_bytes;
  return STATUS_OK;
}

void guard_destroy(guard_t *guard) {
  if (guard->begin) munmap((void *)guard->begin, guard->end - guard->begin);
  memory_free(guard->blocks);
  *guard = (guard_t){0};
}

/* Whole pages that BYTES take. */
static size_t guard_span(const guard_t *guard, size_t bytes) {
  return (bytes + guard->page - 1) / guard->page * guard->page;
}

static status_t guard_protect(const guard_t *guard, const guard_block_t *block, int protection) {
  if (mprotect((void *)block->begin, guard_span(guard, block->bytes), protection) == 0) return STATUS_OK;
  return error_set(STATUS_MEMORY,
                   "the checking device cannot change the protection of %zu bytes: %s (see vm.max_map_count)",
                   block->bytes, strerror(errno));
}

static status_t guard_reserve_block(guard_t *guard) {
  if (guard->count < guard->capacity) return STATUS_OK;
  size_t capacity = guard->capacity ? 2 * guard->capacity : BLOCKS_FIRST_CAPACITY;
  TRY(memory_resize(&guard->blocks, ARENA_OTHER, capacity, sizeof *guard->blocks));
  guard->capacity = capacity;
  return STATUS_OK;
}

static void poison_plain(void *memory, size_t bytes) {
  uint32_t *words = memory;
  for (size_t i = 0; i < (bytes + sizeof *words - 1) / sizeof *words; i++)
    words[i] = GUARD_POISON;
}

status_t guard_alloc(guard_t *guard, size_t bytes, void **out) {
  TRY(guard_reserve_block(guard));
  size_t room = guard->end - guard->next;
  if (bytes > room || guard_span(guard, bytes) + guard->page > room)
    return error_set(STATUS_MEMORY,
                     "the checking device has given out its %zu GiB of addresses; use plain without checking",
                     reserved_bytes >> 30);
  guard_block_t *block = &guard->blocks[guard->count];
  *block = (guard_block_t){.begin = guard->next, .bytes = bytes, .live = true};
  TRY(guard_protect(guard, block, PROT_READ | PROT_WRITE));
  poison_plain((void *)block->begin, bytes);
  TRY(guard_protect(guard, block, PROT_NONE));
  /* One page that is never accessible lies between blocks. */
  guard->next += guard_span(guard, bytes) + guard->page;
  guard->count++;
  *out = (void *)block->begin;
  return STATUS_OK;
}

void guard_release(guard_t *guard, void *pointer) {
  guard_block_t *block = guard_find(guard, pointer, 1);
  assert(block && block->live && block->begin == (uintptr_t)pointer);
  if (!block) return;
  block->live = false;
  /* A fresh mapping in its place gives the pages back and leaves the addresses protected. */
  void *range = mmap((void *)block->begin, guard_span(guard, block->bytes), PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  assert(range == (void *)block->begin);
  (void)range;
}

bool guard_contains(const guard_t *guard, const void *pointer) {
  return (uintptr_t)pointer >= guard->begin && (uintptr_t)pointer < guard->end;
}

guard_block_t *guard_find(const guard_t *guard, const void *pointer, size_t bytes) {
  uintptr_t address = (uintptr_t)pointer;
  size_t low = 0,
         high = guard->count; /* the last block that begins at or before ADDRESS is in low-1..high-1 */
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (guard->blocks[middle].begin <= address)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == 0) return NULL;
  guard_block_t *block = &guard->blocks[low - 1];
  size_t place = address - block->begin;
  return place <= block->bytes && bytes <= block->bytes - place ? block : NULL;
}

status_t guard_open(const guard_t *guard, guard_block_t *block) {
  assert(block->live);
  if (block->open == 0) TRY(guard_protect(guard, block, PROT_READ | PROT_WRITE));
  block->open++;
  return STATUS_OK;
}

void guard_close(const guard_t *guard, guard_block_t *block) {
  assert(block->open > 0);
  if (--block->open > 0) return;
  status_code_t status = guard_protect(guard, block, PROT_NONE);
  assert(status == STATUS_OK);
  (void)status;
}

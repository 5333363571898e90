#include "base/memory_pool.h"

#include <string.h>

/* Stands before each block, in as many bytes as keep it aligned. */
struct pool_block {
  struct pool_block *next;
};
enum { HEADER_BYTES = 64 };

status_t memory_pool_alloc(memory_pool_t *pool, void *out, size_t count, size_t size) {
  size_t bytes;
  unsigned char *block = NULL;
  memcpy(out, &block, sizeof block);
  if (count == 0 || size == 0) return STATUS_OK;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - HEADER_BYTES)
    return memory_alloc(out, pool->arena, count, size); /* the error that says so */
  TRY(memory_alloc(&block, pool->arena, 1, HEADER_BYTES + bytes));
  const struct pool_block header = {pool->blocks};
  memcpy(block, &header, sizeof header);
  pool->blocks = (struct pool_block *)block;
  block += HEADER_BYTES;
  memcpy(out, &block, sizeof block);
  return STATUS_OK;
}

void memory_pool_free(memory_pool_t *pool) {
  while (pool->blocks) {
    struct pool_block *block = pool->blocks;
    pool->blocks = block->next;
    memory_free(block);
  }
}

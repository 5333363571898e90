/* A pool: blocks of memory of one step, or one call, that are given back all at once. */
#ifndef BASE_MEMORY_POOL_H
#define BASE_MEMORY_POOL_H

#include "base/memory.h"

typedef struct {
  arena_t arena;             /* where its blocks are counted */
  struct pool_block *blocks; /* NULL at the start */
} memory_pool_t;

/* A pool that is freed where it goes out of scope, on whichever way out. */
#define POOL(name, arena) __attribute__((cleanup(memory_pool_free))) memory_pool_t name = {(arena), NULL}

/* As memory_alloc; the block lives as long as the pool. Local. */
status_t memory_pool_alloc(memory_pool_t *pool, void *out, size_t count, size_t size);

/* Frees all blocks; the pool may be used again. Local. */
void memory_pool_free(memory_pool_t *pool);

#endif

#include "model/cache.h"

#include "base/memory.h"

#include <string.h>

static status_t allocate(cache_t *cache) {
  TRY(memory_alloc(&cache->k, ARENA_OTHER, (size_t)cache->layers, sizeof *cache->k));
  TRY(memory_alloc(&cache->v, ARENA_OTHER, (size_t)cache->layers, sizeof *cache->v));
  TRY(memory_alloc(&cache->free_pages, ARENA_OTHER, (size_t)cache->pages, sizeof *cache->free_pages));
  size_t n =
      (size_t)cache->pages * (size_t)cache->kv_heads * (size_t)cache->page_size * (size_t)cache->head_size;
  for (int32_t l = 0; l < cache->layers; l++) {
    TRY(real_alloc(cache->device, ARENA_CACHE, n, &cache->k[l]));
    TRY(real_alloc(cache->device, ARENA_CACHE, n, &cache->v[l]));
  }
  for (int32_t p = 0; p < cache->pages; p++)
    cache->free_pages[p] = cache->pages - 1 - p;
  cache->free_count = cache->pages;
  return STATUS_OK;
}

status_t cache_create(const base_t *base, int32_t pages, int32_t page_size, cache_t *out) {
  *out = (cache_t){.device = base->params.device,
                   .layers = base->config.layers,
                   .kv_heads = base->kv_heads,
                   .head_size = base->config.head_size,
                   .page_size = page_size,
                   .pages = pages};
  if ((int64_t)pages * page_size > cache_most_positions)
    return error_set(STATUS_INTERNAL,
                     "a key-value cache of %d pages of %d positions; at most %lld can be numbered", pages,
                     page_size, (long long)cache_most_positions);
  status_code_t status = allocate(out);
  if (status != STATUS_OK) cache_free(out);
  return status;
}

void cache_free(cache_t *cache) {
  for (int32_t l = 0; l < cache->layers; l++) {
    if (cache->k) device_release(cache->device, cache->k[l]);
    if (cache->v) device_release(cache->device, cache->v[l]);
  }
  memory_free(cache->k);
  memory_free(cache->v);
  memory_free(cache->free_pages);
  *cache = (cache_t){0};
}

bool cache_take(cache_t *cache, int32_t count, int32_t *pages) {
  if (count > cache->free_count) return false;
  cache->free_count -= count;
  memcpy(pages, cache->free_pages + cache->free_count, (size_t)count * sizeof *pages);
  return true;
}

void cache_give(cache_t *cache, int32_t count, const int32_t *pages) {
  memcpy(cache->free_pages + cache->free_count, pages, (size_t)count * sizeof *pages);
  cache->free_count += count;
}

size_t cache_page_bytes(const base_t *base, int32_t page_size) {
  size_t element = dtype_size(base->params.device->real_type);
  return 2 * (size_t)base->config.layers * (size_t)base->kv_heads * (size_t)page_size *
         (size_t)base->config.head_size * element;
}

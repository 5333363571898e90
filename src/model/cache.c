#include "model/cache.h"

#include <string.h>

status_t cache_create(const base_t *base, int32_t pages, int32_t page_size, cache_t *out) {
  *out = (cache_t){.page_size = page_size,
                   .pages = pages,
                   .layer_elements = (int64_t)pages * base->kv_heads * page_size * base->config.head_size};
  if ((int64_t)pages * page_size > cache_most_positions)
    return error_set(STATUS_INTERNAL,
                     "a key-value cache of %d pages of %d positions; at most %lld can be numbered", pages,
                     page_size, (long long)cache_most_positions);
  workspace_t *w = &out->workspace;
  *w = workspace_create(base->params.device, "key-value cache");
  workspace_begin(w);
  workspace_real(w, ARENA_CACHE, "k", base->config.layers * out->layer_elements, &out->k);
  workspace_real(w, ARENA_CACHE, "v", base->config.layers * out->layer_elements, &out->v);
  workspace_host(w, "free_pages", pages, &out->free_pages);
  status_code_t status = workspace_end(w, NULL);
  if (status != STATUS_OK) {
    cache_free(out);
    return status;
  }
  for (int32_t p = 0; p < pages; p++)
    out->free_pages[p] = pages - 1 - p;
  out->free_count = pages;
  return STATUS_OK;
}

void cache_free(cache_t *cache) {
  workspace_free(&cache->workspace);
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

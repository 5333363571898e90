#include "model/cache.h"

static dtype_t cache_type(const base_t *base) {
  return base->storage.half_keys ? DTYPE_BF16 : base->params.device->real_type;
}

status_t cache_create(const base_t *base, int32_t pages, int32_t page_size, workspace_t *workspace,
                      cache_t *out) {
  *out = (cache_t){.page_size = page_size,
                   .pages = pages,
                   .layers = base->config.layers,
                   .half = base->storage.half_keys,
                   .layer_elements = (int64_t)pages * base->kv_heads * page_size * base->config.head_size};
  if ((int64_t)pages * page_size > cache_most_positions)
    return error_set(STATUS_INTERNAL,
                     "a key-value cache of %d pages of %d positions; at most %lld can be numbered", pages,
                     page_size, (long long)cache_most_positions);
  if (workspace->held > 0)
    return error_set(STATUS_INTERNAL, "a second key-value cache in the memory of the first");
  out->workspace = workspace;
  workspace_restart(workspace);
  workspace_begin(workspace);
  workspace_typed(workspace, ARENA_CACHE, "k", base->config.layers * out->layer_elements, cache_type(base),
                  &out->k);
  workspace_typed(workspace, ARENA_CACHE, "v", base->config.layers * out->layer_elements, cache_type(base),
                  &out->v);
  status_code_t status = workspace_hold(workspace);
  if (status != STATUS_OK) cache_free(out);
  return status;
}

void cache_free(cache_t *cache) {
  if (cache->workspace) workspace_restart(cache->workspace);
  *cache = (cache_t){0};
}

static void *cache_layer(const cache_t *cache, void *all, int32_t layer) {
  int64_t first = layer * cache->layer_elements;
  return cache->half ? (void *)half_at(all, first) : (void *)real_at(cache->workspace->device, all, first);
}

void *cache_keys(const cache_t *cache, int32_t layer) {
  return cache_layer(cache, cache->k, layer);
}

void *cache_values(const cache_t *cache, int32_t layer) {
  return cache_layer(cache, cache->v, layer);
}

size_t cache_page_bytes(const base_t *base, int32_t page_size) {
  return 2 * (size_t)base->config.layers * (size_t)base->kv_heads * (size_t)page_size *
         (size_t)base->config.head_size * dtype_size(cache_type(base));
}

/* The memory of a paged key-value cache: page numbers are shared by all layers. Who holds which page is for
 * its user to know. It lies in a workspace of others, of whose tables it is there before all. */
#ifndef MODEL_CACHE_H
#define MODEL_CACHE_H

#include "model/base.h"
#include "tensor/workspace.h"

typedef struct cache {
  workspace_t *workspace; /* NULL: none, nothing is there */
  int32_t page_size, pages, layers;
  int64_t layer_elements; /* pages * K * page_size * D, local heads */
  bool half;              /* k and v are of bf16, else of the compute type */
  void *k, *v;            /* (layers, pages, K, page_size, D) */
} cache_t;

/* Most positions of a cache: they are numbered in 32 bits. */
static const int64_t cache_most_positions = INT32_MAX;

/* PAGES pages of PAGE_SIZE positions for BASE, which WORKSPACE, restarted, holds: they are there with the
 * next table. cache_free restarts it again. Local. */
status_t cache_create(const base_t *base, int32_t pages, int32_t page_size, workspace_t *workspace,
                      cache_t *out);
void cache_free(cache_t *cache);

/* Keys and values of one layer. */
void *cache_keys(const cache_t *cache, int32_t layer);
void *cache_values(const cache_t *cache, int32_t layer);

/* Bytes of one page over all layers. */
size_t cache_page_bytes(const base_t *base, int32_t page_size);

#endif

/* Rotary embedding (Su et al. 2021), and the paged key-value cache: (pages, K, page_size, D). */
#include "tensor/plain/ops/element.h"

#include <math.h>

static int64_t page_elements(int32_t kv_heads, int32_t page_size, int32_t head_size) {
  return (int64_t)kv_heads * page_size * head_size;
}

/* Elements of a cache that holds the largest of the slots. */
static int64_t rotary_cache_elements(access_t *access, const op_rotary_t *op) {
  access_index(access, "slots", op->slots, op->rows, -1, INT32_MAX, true);
  access_require(access, op->page_size > 0, "pages of %d", op->page_size);
  int64_t slot = access_index_max(access, op->slots, op->rows);
  if (slot < 0 || op->page_size <= 0) return 0;
  return (slot / op->page_size + 1) * page_elements(op->kv_heads, op->page_size, op->head_size);
}

static void turn(const op_rotary_t *op, int64_t position, element_t *x) {
  int64_t half = op->head_size / 2;
  for (int64_t i = 0; i < half; i++) {
    double angle = (double)position * rope_frequency(op->base, &op->scaling, op->head_size, i);
    double cosine = cos(angle), sine = op->inverse ? -sin(angle) : sin(angle);
    double a = (double)x[i], b = (double)x[i + half];
    x[i] = (element_t)(a * cosine - b * sine);
    x[i + half] = (element_t)(b * cosine + a * sine);
  }
}

/* N elements to what bf16 holds. */
static void round_plain(int64_t n, element_t *x) {
  for (int64_t i = 0; i < n; i++) {
    float value = (float)x[i];
    half_round_bf16(&value, 1);
    x[i] = (element_t)value;
  }
}

static size_t cache_element_size(bool half) {
  return half ? dtype_size(DTYPE_BF16) : sizeof(element_t);
}

static element_t cache_get(const void *cache, bool half, int64_t i) {
  if (!half) return ((const element_t *)cache)[i];
  float value;
  half_from_bf16((const uint16_t *)cache + i, &value, 1);
  return (element_t)value;
}

static void cache_set(void *cache, bool half, int64_t i, element_t x) {
  float value = (float)x;
  if (half)
    half_to_bf16(&value, (uint16_t *)cache + i, 1);
  else
    ((element_t *)cache)[i] = x;
}

static void cache_row_plain(const op_rotary_t *op, int64_t t) {
  int64_t K = op->kv_heads, D = op->head_size, S = op->page_size, slot = ((const int32_t *)op->slots)[t];
  if (slot < 0) return;
  const element_t *k = (const element_t *)op->qkv + t * op->ld + op->heads * D, *v = k + K * D;
  for (int64_t h = 0; h < K; h++) {
    int64_t to = ((slot / S * K + h) * S + slot % S) * D;
    for (int64_t d = 0; d < D; d++) {
      cache_set(op->k_cache, op->half, to + d, k[h * D + d]);
      cache_set(op->v_cache, op->half, to + d, v[h * D + d]);
    }
  }
}

/* Some elements of a cache of N: the operation checks which. */
static void cache_operand(access_t *access, const char *name, const void *p, bool half, int64_t n,
                          access_use_t use) {
  access_operand(access, name, p, cache_element_size(half), 1, n, n, use, NULL);
}

static status_t rotary_plain(device_t *device, const op_rotary_t *op) {
  access_t access = access_begin(device, "rotary");
  int64_t D = op->head_size, turned = (int64_t)op->heads + op->kv_heads;
  access_require(&access, D > 0 && D % 2 == 0 && op->kv_heads >= 0 && op->heads >= 0,
                 "%d and %d heads of size %d", op->heads, op->kv_heads, op->head_size);
  access_index(&access, "positions", op->positions, op->rows, 0, INT32_MAX, false);
  updates(&access, "qkv", op->qkv, op->rows, (turned + op->kv_heads) * D, op->ld);
  if (op->k_cache) {
    int64_t cache = rotary_cache_elements(&access, op);
    cache_operand(&access, "k_cache", op->k_cache, op->half, cache, ACCESS_PATCH);
    cache_operand(&access, "v_cache", op->v_cache, op->half, cache, ACCESS_PATCH);
  }
  access_require(&access, !(op->half && op->inverse), "gradients are not rounded: 'half' with 'inverse'");
  TRY(access_ready(&access));
  for (int64_t t = 0; t < op->rows; t++) {
    element_t *row = (element_t *)op->qkv + t * op->ld;
    for (int64_t h = 0; h < turned; h++)
      turn(op, ((const int32_t *)op->positions)[t], row + h * D);
    if (op->half) round_plain(2 * op->kv_heads * D, row + op->heads * D);
    if (op->k_cache) cache_row_plain(op, t);
  }
  access_end(&access);
  return STATUS_OK;
}

/* Where position j of sequence i lies in the cache, for key-value head kv. */
static int64_t cache_place_plain(const op_attention_paged_t *op, int64_t i, int64_t j, int64_t kv) {
  int64_t page = ((const int32_t *)op->pages)[i * op->max_pages + j / op->page_size];
  return ((page * op->kv_heads + kv) * op->page_size + j % op->page_size) * op->head_size;
}

/* Pages in use must be 0 or more; the entries behind them are not looked at. Gives the number of pages that
 * the cache has at least. */
static int64_t paged_indices(access_t *access, const op_attention_paged_t *op) {
  access_index(access, "lengths", op->lengths, op->rows, 0, (int64_t)op->max_pages * op->page_size, false);
  access_operand(access, "pages", op->pages, sizeof(int32_t), op->rows, op->max_pages, op->max_pages,
                 ACCESS_SOME, NULL);
  int64_t count = 0;
  for (int64_t i = 0; access->status == STATUS_OK && i < op->rows; i++) {
    int64_t used = (((const int32_t *)op->lengths)[i] + op->page_size - 1) / op->page_size;
    access_touch(access, "pages", op->pages, sizeof(int32_t), i * op->max_pages, used);
    for (int64_t p = 0; access->status == STATUS_OK && p < used; p++) {
      int32_t page = ((const int32_t *)op->pages)[i * op->max_pages + p];
      access_require(access, page >= 0, "page %lld of sequence %lld is %d", (long long)p, (long long)i, page);
      if (page >= count) count = page + (int64_t)1;
    }
  }
  return count;
}

static void paged_operands(access_t *access, const op_attention_paged_t *op) {
  access_require(access,
                 op->heads > 0 && op->kv_heads > 0 && op->head_size > 0 && op->heads % op->kv_heads == 0,
                 "%d query heads, %d key-value heads, head size %d", op->heads, op->kv_heads, op->head_size);
  access_require(access, op->page_size > 0 && op->max_pages >= 0, "%d pages of %d", op->max_pages,
                 op->page_size);
  if (access->status != STATUS_OK) return;
  int64_t cache = paged_indices(access, op) * page_elements(op->kv_heads, op->page_size, op->head_size);
  int64_t cols = (int64_t)op->heads * op->head_size;
  reads(access, "q", op->q, op->rows, cols, op->ldq);
  cache_operand(access, "k_cache", op->k_cache, op->half, cache, ACCESS_SOME);
  cache_operand(access, "v_cache", op->v_cache, op->half, cache, ACCESS_SOME);
  writes(access, "out", op->out, op->rows, cols, op->ldo);
  for (int64_t i = 0; access->status == STATUS_OK && i < op->rows; i++)
    for (int64_t j = 0; j < ((const int32_t *)op->lengths)[i]; j++)
      for (int64_t kv = 0; kv < op->kv_heads; kv++) {
        int64_t place = cache_place_plain(op, i, j, kv);
        access_touch(access, "k_cache", op->k_cache, cache_element_size(op->half), place, op->head_size);
        access_touch(access, "v_cache", op->v_cache, cache_element_size(op->half), place, op->head_size);
      }
}

static void paged_row(const op_attention_paged_t *op, int64_t i, int64_t h, double *scores) {
  int64_t D = op->head_size, kv = h / (op->heads / op->kv_heads), length = ((const int32_t *)op->lengths)[i];
  const element_t *q = (const element_t *)op->q + i * op->ldq + h * D;
  element_t *out = (element_t *)op->out + i * op->ldo + h * D;
  double max = -INFINITY, sum = 0.0;
  for (int64_t j = 0; j < length; j++) {
    int64_t place = cache_place_plain(op, i, j, kv);
    double dot = 0.0;
    for (int64_t d = 0; d < D; d++)
      dot += (double)q[d] * (double)cache_get(op->k_cache, op->half, place + d);
    scores[j] = op->scale * dot;
    max = fmax(max, scores[j]);
  }
  for (int64_t j = 0; j < length; j++)
    sum += exp(scores[j] - max);
  double lse = max + log(sum);
  for (int64_t j = 0; j < length; j++)
    scores[j] = exp(scores[j] - lse); /* now probabilities */
  for (int64_t d = 0; d < D; d++) {
    double value = 0.0; /* remains where nothing is attended to */
    for (int64_t j = 0; j < length; j++)
      value += scores[j] * (double)cache_get(op->v_cache, op->half, cache_place_plain(op, i, j, kv) + d);
    out[d] = (element_t)value;
  }
}

static status_t attention_paged_plain(device_t *device, const op_attention_paged_t *op) {
  access_t access = access_begin(device, "attention_paged");
  paged_operands(&access, op);
  TRY(access_ready(&access));
  double *scores = NULL;
  size_t longest = (size_t)op->max_pages * (size_t)op->page_size;
  status_code_t status = memory_alloc(&scores, ARENA_SCRATCH, longest, sizeof *scores);
  for (int64_t i = 0; status == STATUS_OK && i < op->rows; i++)
    for (int64_t h = 0; h < op->heads; h++)
      paged_row(op, i, h, scores);
  memory_free(scores);
  access_end(&access);
  return status;
}

static void cache_copy_page(const op_cache_copy_t *op, void *cache, int64_t layer, int32_t i) {
  int64_t n = op->page_elements, base = layer * op->layer_elements;
  int64_t from = base + ((const int32_t *)op->from)[i] * n, to = base + ((const int32_t *)op->to)[i] * n;
  for (int64_t e = 0; e < n; e++)
    cache_set(cache, op->half, to + e, cache_get(cache, op->half, from + e));
}

static status_t cache_copy_plain(device_t *device, const op_cache_copy_t *op) {
  access_t access = access_begin(device, "cache_copy");
  int64_t pages = op->page_elements > 0 ? op->layer_elements / op->page_elements : 0;
  access_require(&access, op->count >= 0 && op->layers > 0 && pages > 0,
                 "%d pages of %d layers of %lld pages", op->count, op->layers, (long long)pages);
  access_index(&access, "from", op->from, op->count, 0, pages - 1, false);
  access_index(&access, "to", op->to, op->count, 0, pages - 1, true);
  cache_operand(&access, "k_cache", op->k_cache, op->half, op->layers * op->layer_elements, ACCESS_PATCH);
  cache_operand(&access, "v_cache", op->v_cache, op->half, op->layers * op->layer_elements, ACCESS_PATCH);
  for (int32_t i = 0; i < op->count && access.status == STATUS_OK; i++)
    for (int32_t j = 0; j < op->count; j++)
      access_require(&access, ((const int32_t *)op->from)[i] != ((const int32_t *)op->to)[j],
                     "page %d is copied and written", ((const int32_t *)op->from)[i]);
  TRY(access_ready(&access));
  for (int32_t layer = 0; layer < op->layers; layer++)
    for (int32_t i = 0; i < op->count; i++) {
      cache_copy_page(op, op->k_cache, layer, i);
      cache_copy_page(op, op->v_cache, layer, i);
    }
  access_end(&access);
  return STATUS_OK;
}

void PLAIN_NAME(plain_fill_cache)(ops_t *ops) {
  ops->rotary = rotary_plain;
  ops->cache_copy = cache_copy_plain;
  ops->attention_paged = attention_paged_plain;
}

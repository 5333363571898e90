/* Attention of one query per sequence against the paged cache. */
#include "tensor/cpu/simd/attention.h"

/* The paged cache as one row and key-value head sees it. */
typedef struct {
  const op_attention_paged_t *op;
  const int32_t *pages; /* of the row */
  int64_t kv_head;
} paged_head_t;

/* First element of POSITION's place in either cache; *run places from there on lie in the same page. */
static int64_t page_place(const paged_head_t *head, int64_t position, int64_t *run) {
  const op_attention_paged_t *op = head->op;
  int64_t place = position % op->page_size;
  int64_t page = head->pages[position / op->page_size];
  *run = op->page_size - place;
  return ((page * op->kv_heads + head->kv_head) * op->page_size + place) * op->head_size;
}

/* Bytes of an element of the cache. */
ALWAYS_INLINE int64_t cached_size(bool half) {
  return half ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(float);
}

/* The cache's element AT. */
ALWAYS_INLINE const char *cached_at(const void *cache, bool half, int64_t at) {
  return (const char *)cache + at * cached_size(half);
}

/* Asks for N rows of the values that will be wanted once the keys beside them have been used. */
ALWAYS_INLINE void prefetch_values(const paged_head_t *head, bool half, int64_t at, int64_t n) {
  enum { LINE = 64 };
  const char *values = cached_at(head->op->v_cache, half, at);
  for (int64_t i = 0; i < n * head->op->head_size * cached_size(half); i += LINE)
    __builtin_prefetch(values + i);
}

/* Transposes the tile of COUNT keys that starts at position KEY; where a page ends within a vector of keys,
 * by way of STAGED (LANES, D). */
ALWAYS_INLINE void load_paged_keys(const paged_head_t *head, bool half, int64_t key, int64_t count,
                                   float *keys, float *staged) {
  int64_t head_size = head->op->head_size, bytes = head_size * cached_size(half), run = 0;
  const void *cache = head->op->k_cache;
  for (int64_t i = 0; i < KEYS; i += LANES) {
    int64_t wanted = min_int_simd(LANES, count - i), at = 0;
    if (wanted > 0) {
      at = page_place(head, key + i, &run);
      prefetch_values(head, half, at, min_int_simd(wanted, run));
    }
    if (wanted <= 0 || run >= wanted) {
      pack_transposed_of(wanted, head_size, cached_at(cache, half, at), half, head_size, 1.0f, keys + i,
                         KEYS);
      continue;
    }
    for (int64_t j = 0; j < wanted; j++) {
      at = page_place(head, key + i + j, &run);
      memcpy((char *)staged + j * bytes, cached_at(cache, half, at), (size_t)bytes);
    }
    pack_transposed_of(wanted, head_size, staged, half, head_size, 1.0f, keys + i, KEYS);
  }
}

/* out (rows, padded) += s (rows, KEYS) times the COUNT values from position KEY on, page by page; VALUES
 * (KEYS, padded) takes copies where they are bf16 or D is no multiple of a vector. */
ALWAYS_INLINE void add_paged_values(const paged_head_t *head, bool half, int rows, int64_t key, int64_t count,
                                    int64_t padded, const float *s, float *values, float *out) {
  int64_t head_size = head->op->head_size;
  for (int64_t done = 0, run = 0; done < count; done += run) {
    const void *from = cached_at(head->op->v_cache, half, page_place(head, key + done, &run));
    run = min_int_simd(run, count - done);
    if (!half && head_size == padded) {
      add_product(rows, run, padded, s + done, from, head_size, out);
    } else {
      copy_padded_of(run, run, head_size, padded, from, half, head_size, values);
      add_product(rows, run, padded, s + done, values, padded, out);
    }
  }
}

ALWAYS_INLINE void attention_paged_pair(const op_attention_paged_t *op, bool half, int64_t row,
                                        int32_t kv_head, float *scratch) {
  int32_t group = op->heads / op->kv_heads, head_size = op->head_size;
  int64_t padded = round_up(head_size, LANES), length = ((const int32_t *)op->lengths)[row];
  paged_head_t head = {
      .op = op, .pages = (const int32_t *)op->pages + row * op->max_pages, .kv_head = kv_head};
  forward_space_t space;
  float *staged = scratch + forward_layout(group + TILE_ROWS, head_size, scratch, &space);
  int64_t first = (int64_t)kv_head * group * head_size;
  pack_rows(group, head_size, (const float *)op->q + row * op->ldq + first, head_size, (float)op->scale,
            space.queries);
  softmax_start(&space.softmax, group, padded);
  for (int64_t key = 0; key < length; key += KEYS) {
    int64_t count = min_int_simd(KEYS, length - key);
    load_paged_keys(&head, half, key, count, space.keys, staged);
    for (int64_t r = 0; r < group; r += TILE_ROWS) {
      int rows = (int)min_int_simd(TILE_ROWS, group - r);
      softmax_t tile = softmax_at(&space.softmax, r, padded);
      float s[TILE_ROWS * KEYS] __attribute__((aligned(64)));
      softmax_scores(&tile, rows, head_size, padded, count, 0, space.queries + r * head_size, space.keys, s);
      add_paged_values(&head, half, rows, key, count, padded, s, space.values, tile.out);
    }
  }
  for (int64_t g = 0; g < group; g++)
    softmax_finish_row(&space.softmax, g, head_size, padded,
                       (float *)op->out + row * op->ldo + first + g * head_size);
}

static void attention_paged_simd(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_attention_paged_t *op = argument;
  int64_t group = op->heads / op->kv_heads * op->head_size;
  for (int64_t i = begin; i < end; i++) {
    int64_t row = i / op->kv_heads, kv_head = i % op->kv_heads;
    if (((const int32_t *)op->lengths)[row] > 0 && op->half)
      attention_paged_pair(op, true, row, (int32_t)kv_head, scratch);
    else if (((const int32_t *)op->lengths)[row] > 0)
      attention_paged_pair(op, false, row, (int32_t)kv_head, scratch);
    else
      memset((float *)op->out + row * op->ldo + kv_head * group, 0, (size_t)group * sizeof(float));
  }
}

static int64_t attention_paged_scratch(int32_t group, int32_t head_size) {
  forward_space_t space;
  return forward_layout(group + TILE_ROWS, head_size, NULL, &space) + LANES * (int64_t)head_size;
}

void SIMD_NAME(kernels_fill_attention_paged)(kernels_t *table) {
  table->attention_paged = attention_paged_simd;
  table->attention_paged_scratch = attention_paged_scratch;
}

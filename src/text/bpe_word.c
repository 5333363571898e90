#include "text/bpe_word.h"

#include <limits.h>
#include <string.h>

/* Words up to so many bytes are looked through for each merge; longer ones keep a heap of their pairs. */
enum { SHORT_WORD = 64, NO_RANK = INT_MAX };

/* ---- Pairs ---- */

status_t bpe_pairs_create(int32_t count, bpe_pairs_t *out) {
  size_t places = 16;
  while (places < 2 * (size_t)count)
    places *= 2;
  out->mask = places - 1;
  return memory_alloc(&out->places, ARENA_DATA, places, sizeof *out->places);
}

void bpe_pairs_free(bpe_pairs_t *pairs) {
  memory_free(pairs->places);
  *pairs = (bpe_pairs_t){0};
}

static bpe_pair_t *pair_place(const bpe_pairs_t *pairs, int32_t left, int32_t right) {
  uint64_t key = ((uint64_t)left + 1) << 32 | ((uint64_t)right + 1);
  uint64_t mixed = (key ^ key >> 29) * 0x9E3779B97F4A7C15u;
  size_t at = (size_t)(mixed >> 32) & pairs->mask;
  while (pairs->places[at].key && pairs->places[at].key != key)
    at = (at + 1) & pairs->mask;
  return &pairs->places[at];
}

void bpe_pairs_set(bpe_pairs_t *pairs, int32_t left, int32_t right, int32_t rank, int32_t product) {
  uint64_t key = ((uint64_t)left + 1) << 32 | ((uint64_t)right + 1);
  *pair_place(pairs, left, right) = (bpe_pair_t){key, rank, product};
}

static int32_t rank_of(const bpe_pairs_t *pairs, int32_t left, int32_t right, int32_t *product) {
  const bpe_pair_t *pair = pair_place(pairs, left, right);
  *product = pair->product;
  return pair->key ? pair->rank : NO_RANK;
}

/* ---- Short words ---- */

static status_t bpe_word_append(token_list_t *out, const int32_t *ids, int32_t n) {
  TRY(token_list_reserve(out, (size_t)n));
  memcpy(out->ids + out->n, ids, (size_t)n * sizeof *ids);
  out->n += n;
  return STATUS_OK;
}

static status_t bpe_word_merge_short(const bpe_pairs_t *pairs, const int32_t *single, text_view_t word,
                                     token_list_t *out) {
  int32_t ids[SHORT_WORD], ranks[SHORT_WORD], products[SHORT_WORD], n = (int32_t)word.n;
  for (int32_t i = 0; i < n; i++)
    ids[i] = single[(unsigned char)word.bytes[i]];
  for (int32_t i = 0; i + 1 < n; i++)
    ranks[i] = rank_of(pairs, ids[i], ids[i + 1], &products[i]);
  while (n > 1) {
    int32_t best = 0;
    for (int32_t i = 1; i + 1 < n; i++)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == NO_RANK) break;
    ids[best] = products[best];
    n--;
    size_t after = (size_t)(n - best - 1) * sizeof *ids;
    memmove(&ids[best + 1], &ids[best + 2], after);
    memmove(&ranks[best], &ranks[best + 1], after);
    memmove(&products[best], &products[best + 1], after);
    if (best + 1 < n) ranks[best] = rank_of(pairs, ids[best], ids[best + 1], &products[best]);
    if (best > 0) ranks[best - 1] = rank_of(pairs, ids[best - 1], ids[best], &products[best - 1]);
  }
  return bpe_word_append(out, ids, n);
}

/* ---- Long words ---- */

/* A pair as it was when it was put into the heap. */
typedef struct {
  int32_t rank, at, product;
} bpe_word_candidate_t;

typedef struct {
  int32_t *ids;            /* (n); -1 where joined to one before */
  int32_t *before, *after; /* (n): neighbours; -1 and n at the ends */
  int32_t n;
  bpe_word_candidate_t *heap; /* (3 n): each merge adds two at most */
  int32_t count;
} long_word_t;

static bool goes_first(const bpe_word_candidate_t *a, const bpe_word_candidate_t *b) {
  return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(long_word_t *w, bpe_word_candidate_t candidate) {
  int32_t at = w->count++;
  while (at > 0 && goes_first(&candidate, &w->heap[(at - 1) / 2])) {
    w->heap[at] = w->heap[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  w->heap[at] = candidate;
}

static bpe_word_candidate_t heap_pop(long_word_t *w) {
  bpe_word_candidate_t first = w->heap[0], last = w->heap[--w->count];
  int32_t at = 0;
  while (2 * at + 1 < w->count) {
    int32_t child = 2 * at + 1;
    if (child + 1 < w->count && goes_first(&w->heap[child + 1], &w->heap[child])) child++;
    if (!goes_first(&w->heap[child], &last)) break;
    w->heap[at] = w->heap[child];
    at = child;
  }
  w->heap[at] = last;
  return first;
}

static void bpe_word_consider(long_word_t *w, const bpe_pairs_t *pairs, int32_t at) {
  int32_t product, next = w->after[at];
  if (next == w->n) return;
  int32_t rank = rank_of(pairs, w->ids[at], w->ids[next], &product);
  if (rank != NO_RANK) heap_push(w, (bpe_word_candidate_t){rank, at, product});
}

/* Whether the two are still neighbours that become that product. */
static bool still_stands(const long_word_t *w, const bpe_pairs_t *pairs,
                         const bpe_word_candidate_t *candidate) {
  int32_t product, at = candidate->at;
  if (w->ids[at] < 0 || w->after[at] == w->n) return false;
  return rank_of(pairs, w->ids[at], w->ids[w->after[at]], &product) == candidate->rank;
}

static void bpe_word_join(long_word_t *w, const bpe_pairs_t *pairs, const bpe_word_candidate_t *candidate) {
  int32_t at = candidate->at, gone = w->after[at];
  w->ids[at] = candidate->product;
  w->ids[gone] = -1;
  w->after[at] = w->after[gone];
  if (w->after[at] < w->n) w->before[w->after[at]] = at;
  if (w->before[at] >= 0) bpe_word_consider(w, pairs, w->before[at]);
  bpe_word_consider(w, pairs, at);
}

static status_t bpe_word_merge_in(long_word_t *w, const bpe_pairs_t *pairs, const int32_t *single,
                                  text_view_t word, token_list_t *out) {
  size_t n = word.n;
  w->n = (int32_t)n;
  TRY(memory_alloc(&w->ids, ARENA_DATA, n, sizeof *w->ids));
  TRY(memory_alloc(&w->before, ARENA_DATA, n, sizeof *w->before));
  TRY(memory_alloc(&w->after, ARENA_DATA, n, sizeof *w->after));
  TRY(memory_alloc(&w->heap, ARENA_DATA, 3 * n, sizeof *w->heap));
  for (int32_t i = 0; i < w->n; i++) {
    w->ids[i] = single[(unsigned char)word.bytes[i]];
    w->before[i] = i - 1;
    w->after[i] = i + 1;
  }
  for (int32_t i = 0; i < w->n; i++)
    bpe_word_consider(w, pairs, i);
  while (w->count > 0) {
    bpe_word_candidate_t candidate = heap_pop(w);
    if (still_stands(w, pairs, &candidate)) bpe_word_join(w, pairs, &candidate);
  }
  for (int32_t i = 0; i < w->n; i = w->after[i])
    TRY(token_list_append(out, w->ids[i]));
  return STATUS_OK;
}

static status_t bpe_word_merge_long(const bpe_pairs_t *pairs, const int32_t *single, text_view_t word,
                                    token_list_t *out) {
  if (word.n > INT32_MAX / 4)
    return error_set(STATUS_DATA, "a word of %zu bytes; expected at most %d", word.n, INT32_MAX / 4);
  long_word_t w = {0};
  status_code_t status = bpe_word_merge_in(&w, pairs, single, word, out);
  memory_free(w.ids);
  memory_free(w.before);
  memory_free(w.after);
  memory_free(w.heap);
  return status;
}

status_t bpe_word_merge(const bpe_pairs_t *pairs, const int32_t *single, text_view_t word,
                        token_list_t *out) {
  return word.n <= SHORT_WORD ? bpe_word_merge_short(pairs, single, word, out)
                              : bpe_word_merge_long(pairs, single, word, out);
}

/* The merging of one word. */
#ifndef TEXT_BPE_WORD_H
#define TEXT_BPE_WORD_H

#include "text/token_list.h"
#include "text/view.h"

/* What becomes of two neighbours. */
typedef struct {
  uint64_t key;          /* both ids + 1; 0 where free */
  int32_t rank, product; /* the lower rank goes first */
} bpe_pair_t;

typedef struct {
  bpe_pair_t *places; /* (mask + 1) */
  size_t mask;
} bpe_pairs_t;

/* Room for COUNT pairs. Free with bpe_pairs_free. Local. */
status_t bpe_pairs_create(int32_t count, bpe_pairs_t *out);
void bpe_pairs_free(bpe_pairs_t *pairs);

/* A pair that is set again gets the later rank. Local. */
void bpe_pairs_set(bpe_pairs_t *pairs, int32_t left, int32_t right, int32_t rank, int32_t product);

/* Appends the ids of WORD (not empty), whose bytes begin as the pieces SINGLE (256). n log n steps for n
 * bytes. Local, thread-safe. */
status_t bpe_word_merge(const bpe_pairs_t *pairs, const int32_t *single, text_view_t word, token_list_t *out);

#endif

#include "base/selection.h"

#include <assert.h>

enum { BLOCK_WORDS = 16 /* so what is counted takes a sixteenth of what is chosen */ };

static int64_t selection_blocks(const selection_t *selection) {
  return (selection->word_count + BLOCK_WORDS - 1) / BLOCK_WORDS;
}

status_t selection_create(arena_t arena, int64_t n, selection_t *out) {
  *out = (selection_t){.n = n, .word_count = (n + SELECTION_WORD_BITS - 1) / SELECTION_WORD_BITS};
  TRY(memory_alloc(&out->words, arena, (size_t)out->word_count, sizeof *out->words));
  return memory_alloc(&out->before, arena, (size_t)selection_blocks(out), sizeof *out->before);
}

void selection_free(selection_t *selection) {
  memory_free(selection->words);
  memory_free(selection->before);
  *selection = (selection_t){0};
}

void selection_add(selection_t *selection, int64_t i) {
  assert(i >= 0 && i < selection->n);
  selection->words[i / SELECTION_WORD_BITS] |= UINT64_C(1) << i % SELECTION_WORD_BITS;
}

void selection_count(selection_t *selection) {
  selection->count = 0;
  for (int64_t w = 0; w < selection->word_count; w++) {
    if (w % BLOCK_WORDS == 0) selection->before[w / BLOCK_WORDS] = selection->count;
    selection->count += __builtin_popcountll(selection->words[w]);
  }
}

/* The last block that has at most K in front of it. */
static int64_t block_of(const selection_t *selection, int64_t k) {
  int64_t low = 0, high = selection_blocks(selection);
  while (high - low > 1) {
    int64_t middle = low + (high - low) / 2;
    if (selection->before[middle] <= k)
      low = middle;
    else
      high = middle;
  }
  return low;
}

int64_t selection_find(const selection_t *selection, int64_t k) {
  assert(k >= 0 && k < selection->count);
  int64_t block = block_of(selection, k), left = k - selection->before[block], w = block * BLOCK_WORDS;
  for (int32_t here; (here = __builtin_popcountll(selection->words[w])) <= left; w++)
    left -= here;
  uint64_t word = selection->words[w];
  for (; left > 0; left--)
    word &= word - 1; /* without its lowest bit */
  return w * SELECTION_WORD_BITS + __builtin_ctzll(word);
}

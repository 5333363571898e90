/* Which of many things are chosen, in little more than a bit for each of them, and the k-th that is. */
#ifndef BASE_SELECTION_H
#define BASE_SELECTION_H

#include "base/memory.h"

enum { SELECTION_WORD_BITS = 64 };

/* All zero is of no things. */
typedef struct {
  int64_t n;          /* things */
  int64_t word_count; /* words of SELECTION_WORD_BITS things each, as many as hold them */
  uint64_t *words;    /* (word_count): thing i is bit i % SELECTION_WORD_BITS, the lowest being 0 */
  int64_t *before;    /* those chosen in front of each block of words */
  int64_t count;      /* chosen, once they have been counted */
} selection_t;

/* Of N things none. Free with selection_free, also after an error. Errors: STATUS_MEMORY. Local. */
status_t selection_create(arena_t arena, int64_t n, selection_t *out);
void selection_free(selection_t *selection);

/* Chooses thing I, 0 .. n - 1. Local. */
void selection_add(selection_t *selection, int64_t i);

/* To be called once all are chosen, by selection_add or in the words themselves: sets the count. Local. */
void selection_count(selection_t *selection);

/* The thing that is chosen with K chosen ones in front of it, 0 .. count - 1, after selection_count. Local.
 */
int64_t selection_find(const selection_t *selection, int64_t k);

#endif

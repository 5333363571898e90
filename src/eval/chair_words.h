/* The kinds of objects that a text mentions, for CHAIR. */
#ifndef EVAL_CHAIR_WORDS_H
#define EVAL_CHAIR_WORDS_H

#include "eval/lookup.h"
#include "text/view.h"

enum { CHAIR_OBJECTS_MAX = 256, CHAIR_MENTIONS_MAX = 4096, CHAIR_NO_OBJECT = -1 };

typedef struct {
  lookup_t words; /* word or two words -> number of the kind */
  char *names[CHAIR_OBJECTS_MAX];
  int32_t count;
} chair_words_t;

/* Reads PATH: a line for each kind, its name first, then words that mean it, with commas between. Free with
 * chair_words_free, also after an error. Errors: STATUS_DATA. Local. */
status_t chair_words_read(const char *path, chair_words_t *out);
void chair_words_free(chair_words_t *words);

/* The kind called NAME, or by a word that means it. CHAIR_NO_OBJECT: none. Local. */
int32_t chair_words_kind(const chair_words_t *words, const char *name);

/* The kinds that TEXT mentions, one for each mention, in order, to MENTIONS (CHAIR_MENTIONS_MAX; more are
 * dropped); *COUNT of them. Words are compared in the singular, and two words with nothing but white space
 * between before one, with the published special cases: a baby or adult animal and a passenger train are no
 * persons, a train track is no train, a toilet's seat is no chair. Local. */
void chair_words_mentions(const chair_words_t *words, text_view_t text, int32_t *mentions, int32_t *count);

#endif

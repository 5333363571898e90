/* Which sequences are in flight, and which pages of the key-value cache each holds: admission by what is
 * needed now and a reserve, pages as sequences grow, and where none is free, preemption: the youngest
 * sequence gives its pages back and is computed again later. Sequences with the same prompt share its pages.
 * Host logic alone: it knows numbers of positions and of pages, no tokens and no device. All functions are
 * local. */
#ifndef ROLLOUT_PLACES_H
#define ROLLOUT_PLACES_H

#include "base/memory_pool.h"

#include <stdbool.h>

typedef enum {
  SEQUENCE_NONE,
  SEQUENCE_RUNS,
  SEQUENCE_PREEMPTED,
  SEQUENCE_ENDED /* without pages; its response is on its way to the host */
} sequence_state_t;

/* A place, and the sequence that has it. */
typedef struct {
  sequence_state_t state;
  int64_t item;     /* of the queue */
  int64_t question; /* those of one question have the same prompt */
  int64_t age;      /* number of its admission */
  int32_t prompt;   /* positions of its prompt */
  int32_t position; /* of what goes in next: the prompt's last one, then one more with each token drawn */
  int32_t *pages;   /* (max_pages): its row of the table */
  int32_t page_count;
} place_t;

typedef struct {
  int32_t slots;      /* places */
  int32_t pages;      /* of the cache; at least max_pages */
  int32_t page_size;  /* positions */
  int32_t max_pages;  /* of one sequence */
  int32_t max_tokens; /* of one response */
} places_options_t;

typedef struct {
  places_options_t options;
  memory_pool_t pool;
  place_t *places; /* (slots) */
  int32_t *table;  /* (slots, max_pages); what lies behind a sequence's pages is 0 or has been a page */
  int32_t running, preempted, ended;
  int64_t admitted;                   /* so far */
  bool table_changed, places_changed; /* for the owner, who resets them */
  /* Pages to be copied once the prompts admitted with them are in the cache; the owner resets the count. */
  int32_t *copy_from, *copy_to; /* (slots) */
  int32_t copies;
  /* Which pages are free, and how many sequences hold each. */
  int32_t *free_pages, *holders; /* (pages) */
  int32_t free_count;
} places_t;

/* Free with places_free. */
status_t places_create(const places_options_t *options, places_t *out);
void places_free(places_t *all);

/* Forgets all sequences. */
void places_reset(places_t *all);

/* Admits item ITEM of QUESTION with a prompt of PROMPT positions, if there are a place, pages for the prompt
 * and a reserve of one page for each sequence that may need one. SHARES: where one with the same question
 * runs, its pages are shared, but for the one with the prompt's last position, which is copied as far as it
 * is older than that; the last position is not in the cache then: it goes in with the next step. *PLACE is -1
 * where there is no room, or where preempted ones wait. Returns whether the prompt is shared. */
bool places_admit(places_t *all, int64_t item, int64_t question, int32_t prompt, bool shares, int32_t *place);

/* The oldest preempted sequence, -1 where there is none. */
int32_t places_waiting(const places_t *all);

/* Lets it run again, if there are pages for all its positions and the same reserve; they are empty. */
bool places_resume(places_t *all, int32_t place);

/* Pages for the next step of all that run: false where they do not suffice. */
bool places_grow(places_t *all);

/* Takes the youngest sequence's pages; its place. -1 where only one runs. */
int32_t places_preempt(places_t *all);

/* Tokens that the response of PLACE has. */
static inline int32_t place_tokens(const place_t *place) {
  return place->position - (place->prompt - 1);
}

/* All that run have drawn a token. */
void places_advance(places_t *all);

/* PLACE, which runs or is preempted, has ended with TOKENS tokens, and gives its pages back. It may have been
 * advanced since. */
void places_end(places_t *all, int32_t place, int32_t tokens);

/* Gives PLACE and its pages back. */
void places_finish(places_t *all, int32_t place);

#endif

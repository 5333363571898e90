/* Texts that are looked up by a name, read from the files that come with a benchmark. */
#ifndef EVAL_LOOKUP_H
#define EVAL_LOOKUP_H

#include "base/status.h"

#include <stdint.h>

typedef struct {
  char *key, *value;
  int64_t number; /* of the call that added it */
} lookup_entry_t;

/* All zero is the empty one. */
typedef struct {
  lookup_entry_t *entries; /* (count) */
  int64_t count;
} lookup_t;

/* Copies of KEY and VALUE. Local. */
status_t lookup_add(lookup_t *lookup, const char *key, const char *value);

/* Makes it ready to be searched once all is added; of the same keys the last counts. Local. */
void lookup_sort(lookup_t *lookup);

/* NULL where there is none. Local. */
const char *lookup_find(const lookup_t *lookup, const char *key);
void lookup_free(lookup_t *lookup);

#endif

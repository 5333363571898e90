/* Collects the mistakes of an input so that all are reported at once, and finds the name that somebody meant.
 */
#ifndef INPUT_MISTAKES_H
#define INPUT_MISTAKES_H

#include "base/nearest.h"
#include "base/status.h"

#include <stdbool.h>

/* Where something stands: in the input file (line and column from 1; 0: nowhere in particular), or in the
 * n-th override (from 1). */
typedef struct {
  int line, column;
  int override;
} place_t;

typedef struct {
  place_t place;
  char *text;
} mistake_t;

typedef struct {
  const char *name;             /* of the input file, in messages */
  const char *const *overrides; /* in messages */
  mistake_t *items;             /* (count) */
  int count;
  status_code_t status; /* STATUS_MEMORY where one could not be kept */
} mistakes_t;

/* Adds one mistake: what was found, what was expected. Local. */
void mistakes_add(mistakes_t *mistakes, place_t place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* STATUS_OK if there are none; otherwise sets the error to all of them in the order of the file (the first
 * 40; the rest is counted) and returns STATUS_INPUT. Local. */
status_t mistakes_report(mistakes_t *mistakes);

/* All of them, one a line, freed by the caller with memory_free; "" if there are none. Local. */
status_t mistakes_text(mistakes_t *mistakes, char **text);

void mistakes_free(mistakes_t *mistakes);

#endif

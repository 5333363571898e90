/* Finds the name that somebody meant. */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include <stddef.h>

/* The nearest of several names by edit distance (case does not matter), where it is near enough to be a
 * misspelling. */
typedef struct {
  const char *wanted;
  const char *found; /* NULL: nothing near */
  int distance;
} nearest_t;
nearest_t nearest_to(const char *wanted);
void nearest_offer(nearest_t *nearest, const char *candidate);
/* The same over a list "a|b|c": the nearest is copied to FOUND (SIZE bytes), "" where nothing is near. */
void nearest_in_list(const char *wanted, const char *list, char *found, size_t size);

#endif

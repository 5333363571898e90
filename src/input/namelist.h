/* The grammar of namelists: text to groups, names and values, without knowing any setting. */
#ifndef INPUT_NAMELIST_H
#define INPUT_NAMELIST_H

#include "input/mistakes.h"

typedef struct {
  const char *text; /* without quotes */
  bool quoted;
  place_t place;
} namelist_value_t;

typedef struct {
  const char *name; /* lower case */
  place_t place;
} namelist_group_t;

typedef struct {
  int group;        /* index into groups */
  const char *name; /* lower case */
  place_t place;
  int first, count; /* its values */
} namelist_entry_t;

typedef struct {
  namelist_group_t *groups;
  namelist_entry_t *entries;
  namelist_value_t *values;
  int group_count, entry_count, value_count;
  char *strings; /* holds all texts */
  size_t strings_used;
} namelist_t;

/* Reads TEXT: comments from '!' to the line's end; groups `&name name = values ... /`; values separated by
 * commas, spaces or line ends; text in either quote (doubled inside); repeats `3*0.0`. Mistakes go to
 * MISTAKES, and reading goes on behind them. Free OUT with namelist_free, also after an error. Errors:
 * STATUS_MEMORY. Local. */
status_t namelist_parse(const char *text, mistakes_t *mistakes, namelist_t *out);

/* Reads TEXT as the values of one setting; all mistakes are placed at PLACE. The same otherwise. */
status_t namelist_parse_values(const char *text, place_t place, mistakes_t *mistakes, namelist_t *out);

void namelist_free(namelist_t *namelist);

#endif

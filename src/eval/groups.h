/* Questions that count together: a group is right if all of its answers are. */
#ifndef EVAL_GROUPS_H
#define EVAL_GROUPS_H

#include "eval/tally.h"

typedef struct {
  char *key;
  int32_t type;
  bool right;
  int64_t answers;
} group_t;

/* All zero is none. */
typedef struct {
  group_t *items; /* (count) */
  int64_t count;
} groups_t;

/* Adds an answer to the group KEY; its type is that of the first answer. Local. */
status_t groups_add(groups_t *groups, const char *key, int32_t type, bool right);

/* True if a group has several answers. Local. */
bool groups_any(const groups_t *groups);

/* Adds each group to METRIC of TALLY as an answer. Local. */
void groups_count(const groups_t *groups, tally_t *tally, int32_t metric);
void groups_free(groups_t *groups);

#endif

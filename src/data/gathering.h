/* Texts of a file that belong together though they stand apart in it, such as all questions about an image:
 * they wait in the spool, and their places are sorted. */
#ifndef DATA_GATHERING_H
#define DATA_GATHERING_H

#include "data/spool.h"

typedef struct {
  int64_t group;  /* what they have in common: an image */
  uint64_t order; /* within the group */
  int64_t at;     /* of the text in the spool */
  int32_t n;      /* bytes */
  int32_t value;  /* whatever else is known of it */
} gathered_t;

/* All zero is the empty one. */
typedef struct {
  gathered_t *rows; /* (count) */
  int64_t count;
} gathering_t;

/* Adds ROW, whose place is set here, and puts its text (row.n bytes) into SPOOL; NULL: its bytes are counted
 * only. Errors: STATUS_MEMORY, STATUS_DATA. Local. */
status_t gathering_add(gathering_t *gathering, spool_t *spool, gathered_t row, const char *text);
/* Sorts by group, then order; equals keep the order in which they came. Local. */
void gathering_sort(gathering_t *gathering);
/* The row behind the last one of ROW's group. Local. */
int64_t gathering_end(const gathering_t *gathering, int64_t row);
void gathering_free(gathering_t *gathering);

#endif

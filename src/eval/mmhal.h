/* MMHal-Bench: what a judge elsewhere said about a model's answers (Sun et al., arXiv 2309.14525). */
#ifndef EVAL_MMHAL_H
#define EVAL_MMHAL_H

#include "base/status.h"

#include <stdint.h>

enum {
  MMHAL_TYPES = 8,  /* of questions */
  MMHAL_RATING = 6, /* the best: 0..6 */
  MMHAL_HONEST = 3  /* rated below it, an answer counts as hallucinated */
};

/* TYPE: 0 .. MMHAL_TYPES - 1. */
const char *mmhal_type_name(int32_t type);

typedef struct {
  int64_t replies;
  int64_t unread; /* replies without exactly one rating: they count as 0 */
  double ratings, hallucinated;
  int64_t type_replies[MMHAL_TYPES];
  double type_ratings[MMHAL_TYPES]; /* sums */
} mmhal_counts_t;

/* Counts the replies of PATH, a JSON list of chat completions ([i].choices[0].message.content); the question
 * type is i mod 8. Errors: STATUS_DATA naming the element. Local. */
status_t mmhal_read(const char *path, mmhal_counts_t *out);

#endif

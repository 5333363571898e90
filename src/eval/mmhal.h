/* The judge of MMHal-Bench (Sun et al., arXiv 2309.14525): a language model elsewhere rates answers 0..6. */
#ifndef EVAL_MMHAL_H
#define EVAL_MMHAL_H

#include "eval/judge.h"

enum {
  MMHAL_TYPES = 8,  /* of questions */
  MMHAL_RATING = 6, /* the best: 0..6 */
  MMHAL_HONEST = 3  /* rated below it, an answer counts as hallucinated */
};

enum { MMHAL_SCORE, MMHAL_HALLUCINATION, MMHAL_UNREAD, MMHAL_METRICS };

/* TYPE: 0 .. MMHAL_TYPES - 1. */
const char *mmhal_type_name(int32_t type);

/* Not opened: what it makes of replies. The type of a question is told by its reply, or is its number mod 8.
 */
extern const judge_t mmhal_judge;

/* Asks with eval.judge_prompt. Collective. Errors, agreed: STATUS_DATA. */
status_t mmhal_open(session_t *session, judge_t *out);

#endif

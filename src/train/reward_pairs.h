/* Pairs of answers as a reward model scores them, and which of a dataset's are used. */
#ifndef TRAIN_REWARD_PAIRS_H
#define TRAIN_REWARD_PAIRS_H

#include "session/reward_prompt.h"
#include "session/screening.h"
#include "session/source.h"

enum { OUTPUTS = 2 };

/* A batch of pairs: sequence 2 i + k is output k of pair i. */
typedef struct {
  const reward_prompt_t *prompt;
  source_t *source;
  const int64_t *rows; /* (pairs) */
  int64_t use;         /* of pair 0: counts uses of facts */
  int32_t *preferred;  /* (pairs): 0 or 1; filled for the pairs that this rank builds */
} reward_pairs_t;

/* Sequence I of the reward_pairs_t CONTEXT: a plan_build_t (session/plan.h). */
status_t reward_pairs_build(void *context, int32_t i, sequence_t *sequence, int64_t *image);

/* Sees which of SOURCE's ROWS are pairs that something is learnt from: as screening_run, of which
 * USE and COUNTS are. Collective. */
status_t reward_pairs_choose(session_t *session, const reward_prompt_t *prompt, source_t *source,
                             const char *use, dataset_rows_t *rows, screening_counts_t *counts);

#endif

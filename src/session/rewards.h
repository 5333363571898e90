/* Scores of whole texts by a reward model. */
#ifndef RUN_REWARDS_H
#define RUN_REWARDS_H

#include "session/batch.h"
#include "session/session.h"

/* Forward passes of ROLE over BATCH, whose sequences end where they are scored: the head's values at their
 * last tokens to REWARDS (batch->plan.n) on all ranks; 0 for samples without a sequence or with a broken
 * image, *SKIPPED of them. Collective. */
status_t rewards_of_batch(session_t *session, const model_t *model, const role_t *role, batch_t *batch,
                          double *rewards, int64_t *skipped);

#endif

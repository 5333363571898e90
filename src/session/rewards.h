/* Scores of whole texts by a reward model. */
#ifndef RUN_REWARDS_H
#define RUN_REWARDS_H

#include "session/batch.h"
#include "session/reward_prompt.h"
#include "session/session.h"

/* Forward passes of ROLE over BATCH, whose sequences end where they are scored: the head's values at their
 * last tokens to REWARDS (batch->plan.n) on all ranks; 0 for samples without a sequence or with a broken
 * image, *SKIPPED of them. Collective. */
status_t rewards_of_batch(session_t *session, const model_t *model, const role_t *role, batch_t *batch,
                          double *rewards, int64_t *skipped);

/* The same of micro-batch INDEX alone, whose samples' are set in REWARDS (batch->plan.n) on this group.
 * Collective on tp. */
status_t rewards_of_micro(const model_t *model, const role_t *role, batch_t *batch, int32_t index,
                          double *rewards);

/* What a reward model reads of SAMPLE, row ROW of SOURCE's dataset, with ANSWER behind the last question: the
 * conversation and the judging prompt, whose facts are in the order of USE. *IMAGE: the one that it shows; -1
 * after an error. Local. */
status_t rewards_sequence(const reward_prompt_t *reward_prompt, const source_t *source,
                          const dataset_sample_t *sample, int64_t row, uint64_t use, text_view_t answer,
                          sequence_t *sequence, int64_t *image);

#endif

/* Responses of a step that may be interrupted, and what they are worth, kept for the next start. */
#ifndef PPO_PPO_KEPT_H
#define PPO_PPO_KEPT_H

#include "ppo/ppo_step.h"

/* Gives STEP, whose prompts are read, the responses that starts before this one kept, dealt over the groups,
 * with their features; *WHICH (step->n): the *COUNT that are to be drawn, which are kept from now on as soon
 * as they are finished. Responses of another step or other settings are removed, and the log says why.
 * Collective. Errors, agreed: STATUS_DATA (a broken image), STATUS_MEMORY. */
status_t ppo_kept_take(ppo_task_t *task, ppo_step_t *step, int32_t *which, int64_t *count);

/* Passes over responses whose numbers are kept together, by sample. */
typedef enum { PPO_SCORES_POLICY, PPO_SCORES_VALUE, PPO_SCORES_REWARD, PPO_SCORES } ppo_scores_t;

/* What such passes leave: arrays with a number for each response token, or one for each sample. */
typedef struct {
  ppo_scores_t of;
  rollout_token_t per_token[5];
  int32_t arrays;
  double *per_sample; /* (n of the step); NULL: none */
} ppo_numbers_t;

/* The arrays of NUMBERS together, as ppo_tokens_t counts them. Local. */
int ppo_numbers_arrays(const ppo_numbers_t *numbers);

/* Finds the numbers that starts before this one kept of STEP, whose responses are drawn. Those of other
 * weights, prompts or settings are removed. Collective. Errors, agreed: STATUS_MEMORY. */
status_t ppo_scores_open(ppo_task_t *task, ppo_step_t *step);

/* Puts those of PLAN's sequences of this group to their place in HERE, which has the tokens; THERE (plan->n):
 * which have them. They are of the very tokens that STEP has, whichever start drew those. Collective. Errors,
 * agreed: STATUS_MEMORY. */
status_t ppo_scores_take(const ppo_task_t *task, const ppo_step_t *step, ppo_tokens_t *here,
                         const plan_t *plan, const ppo_numbers_t *numbers, bool *there);

/* Keeps the numbers of the sequences of PLAN's micro-batch INDEX, but for those that are THERE. Local.
 * Errors: STATUS_MEMORY. */
status_t ppo_scores_keep(const ppo_step_t *step, const ppo_tokens_t *here, const plan_t *plan, int32_t index,
                         const bool *there, const ppo_numbers_t *numbers);

/* Says how many responses STEP, which is given up, leaves to the next start. Returns STATUS_STOPPED.
 * Collective. */
status_t ppo_kept_tell(ppo_task_t *task, const ppo_step_t *step);

#endif

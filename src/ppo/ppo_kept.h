/* Responses of a step that may be interrupted, kept for the next start. */
#ifndef PPO_PPO_KEPT_H
#define PPO_PPO_KEPT_H

#include "ppo/ppo_step.h"

/* Gives STEP, whose prompts are read, the responses that starts before this one kept, dealt over the groups,
 * with their features; *WHICH (step->n): the *COUNT that are to be drawn, which are kept from now on as soon
 * as they are finished. Responses of another step or other settings are removed, and the log says why.
 * Collective. Errors, agreed: STATUS_DATA (a broken image), STATUS_MEMORY. */
status_t ppo_kept_take(ppo_task_t *task, ppo_step_t *step, int32_t *which, int64_t *count);

/* Says how many responses STEP, which is given up, leaves to the next start. Returns STATUS_STOPPED.
 * Collective. */
status_t ppo_kept_tell(ppo_task_t *task, const ppo_step_t *step);

#endif

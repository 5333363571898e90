/* Responses of an interrupted step, kept for the next start. */
#ifndef PPO_PPO_KEPT_H
#define PPO_PPO_KEPT_H

#include "ppo/ppo_step.h"

/* Gives STEP, whose prompts are read, the responses that the start before this one kept, dealt over the
 * groups, with their features; *WHICH (step->n): the *COUNT that are to be drawn. A file of other responses,
 * or one that is damaged, is removed, and the log says why. Collective. Errors, agreed: STATUS_DATA (a broken
 * image, the disk), STATUS_MEMORY. */
status_t ppo_kept_take(ppo_task_t *task, ppo_step_t *step, int32_t *which, int64_t *count);

/* Keeps the responses that STEP, which is given up, has. Returns STATUS_STOPPED, also where the disk failed,
 * which is a warning: they are drawn again then. Collective. Errors, agreed: STATUS_MEMORY. */
status_t ppo_kept_write(ppo_task_t *task, const ppo_step_t *step);

/* Removes the file: the step it is of has all that an update needs. Collective. Errors, agreed: STATUS_DATA.
 */
status_t ppo_kept_drop(ppo_task_t *task);

#endif

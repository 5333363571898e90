/* The file of one step's rollouts. */
#ifndef TRAIN_PPO_FILE_H
#define TRAIN_PPO_FILE_H

#include "ppo/ppo_step.h"

/* Writes rollouts/step_N.h5: each dp group's samples by its first rank. Collective. */
status_t ppo_file_write(ppo_task_t *task, ppo_step_t *step);

#endif

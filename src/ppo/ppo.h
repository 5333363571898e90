/* Task ppo: aligns the policy with the reward model (method: PPO with factually augmented rewards). */
#ifndef TRAIN_PPO_H
#define TRAIN_PPO_H

#include "session/session.h"

/* Policy and reference start from model.adapter on model.base, value and reward from reward.model; prompts
 * are the first questions of data.dataset. Collective. */
status_t ppo_run(session_t *session);

#endif

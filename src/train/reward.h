/* Task rm: the reward model, LoRA and a scalar head on the SFT model, from preference pairs (method: judging
 * prompt, facts, centring term). */
#ifndef TRAIN_REWARD_H
#define TRAIN_REWARD_H

#include "session/session.h"

/* Trains on the pairs of data.dataset; those held out (or eval.dataset) are evaluated every eval.every steps.
 * Collective. */
status_t rm_run(session_t *session);

#endif

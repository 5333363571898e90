/* Tasks pretrain and sft: next-token cross-entropy on answers (method: masked labels, several turns). */
#ifndef TRAIN_SUPERVISED_H
#define TRAIN_SUPERVISED_H

#include "session/session.h"

/* Trains what model.train says of model.base (or of a new model) on data.dataset. Collective. */
status_t supervised_run(session_t *session);

#endif

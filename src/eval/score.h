/* Task `score`: what a model makes of given answers. */
#ifndef EVAL_SCORE_H
#define EVAL_SCORE_H

#include "session/session.h"

/* Writes scores.h5 in the run directory (io/formats/scores_file.h): for each sample of data.dataset the
 * teacher-forced log-probabilities of its answers' tokens and, where the file of model.adapter or model.base
 * has a reward head, the reward of the conversation with the last answer and the judging prompt (rm.facts,
 * rm.prompt_file). Results do not depend on the layout. Collective. Errors: STATUS_DATA (a bad sample unless
 * skipped: it has no tokens and the reward 0 then), STATUS_STOPPED (nothing is written). */
status_t score_run(session_t *session);

#endif

/* Tasks that have no steps hear of a request to stop by a vote of all ranks. */
#ifndef SESSION_VOTING_H
#define SESSION_VOTING_H

#include "parallel/stop_vote.h"
#include "session/session.h"

/* Whether this rank asks to stop; CONTEXT is the session. For stop_vote_start. Local. */
bool session_vote_request(void *context);

/* Runs TASK with a vote of all ranks, by which each hears of another's request. Collective on the world.
 * Errors: TASK's. */
typedef status_t (*voting_task_t)(session_t *session, stop_vote_t *vote);
status_t session_run_voting(session_t *session, voting_task_t task);

#endif

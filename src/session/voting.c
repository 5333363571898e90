#include "session/voting.h"

bool session_vote_request(void *context) {
  return session_stop_requested(context, 0.0);
}

status_t session_run_voting(session_t *session, voting_task_t task) {
  stop_vote_t *vote;
  TRY(stop_vote_start_ranks(session->world, session_vote_request, session, &vote));
  status_code_t status = task(session, vote);
  stop_vote_free(vote);
  return status;
}

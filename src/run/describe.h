/* run.json in the run directory: what a run is - program, task, machine, layout - and how it ended. */
#ifndef RUN_DESCRIBE_H
#define RUN_DESCRIBE_H

#include "run/session.h"

/* Writes run.json: STATE is "running", "done", "stopped" or "failed", REASON why (NULL: nothing to say). Rank
 * 0 calls it, or the rank that ends a run in which others hang; host and cores are the caller's. Errors:
 * STATUS_DATA. Local. */
status_t describe_run(const session_t *session, const char *state, const char *reason);

#endif

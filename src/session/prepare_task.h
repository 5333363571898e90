/* Task prepare: from settings to prepare_run. */
#ifndef SESSION_PREPARE_TASK_H
#define SESSION_PREPARE_TASK_H

#include "session/session.h"

/* Makes one dataset (two with prepare.held_out_output) of published files. In the run directory,
 * skipped.jsonl lists bad samples that were left out, and prepared.json counts what became of those of each
 * source. Collective. Errors: STATUS_INPUT, STATUS_DATA. */
status_t prepare_task_run(session_t *session);

/* Threads of this rank that check images (prepare.workers; 0: its share of the node's cores). Local. */
int prepare_task_workers(const session_t *session);

#endif

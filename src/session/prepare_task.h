/* Task prepare: from settings to prepare_run. */
#ifndef SESSION_PREPARE_TASK_H
#define SESSION_PREPARE_TASK_H

#include "session/session.h"

/* Makes one dataset (two with prepare.held_out_output) of published JSON files. Samples that were left out
 * are listed in skipped.jsonl in the run directory. Collective. Errors: STATUS_INPUT, STATUS_DATA. */
status_t prepare_task_run(session_t *session);

#endif

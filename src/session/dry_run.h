/* --dry-run: what a run would take, from its input and the files that it names. */
#ifndef RUN_DRY_RUN_H
#define RUN_DRY_RUN_H

#include "session/estimate.h"
#include "session/session.h"

/* Goes through a few steps of TASK on a blank device with the sizes, data and layout of the run: files are
 * opened, weights are not read, nothing is computed, locked or kept. Tasks without steps go through their
 * first samples and say what part that was. ESTIMATE: this rank's. SESSION is
 * prepared, not opened, and is as before afterwards. Collective. Errors: STATUS_INPUT, STATUS_DATA, as the
 * run would give them. */
status_t dry_run_estimate(session_t *session, status_t (*task)(session_t *session), estimate_t *estimate);

/* The same, and prints layout, memory by arena, disk, FLOPs and time for each rank. Collective. */
status_t dry_run(session_t *session, status_t (*task)(session_t *session));

#endif

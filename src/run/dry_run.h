/* --dry-run: what a run would take, from the input and the files that it names. */
#ifndef RUN_DRY_RUN_H
#define RUN_DRY_RUN_H

#include "run/session.h"

/* Opens the files that the task would read and prints layout, memory by arena, disk, FLOPs and time per step
 * for each rank. Locks and writes nothing. SESSION is prepared, not opened. Collective. Errors: STATUS_INPUT,
 * STATUS_DATA, as the run would give them. */
status_t dry_run(session_t *session);

#endif

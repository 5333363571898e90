/* Tasks that have no steps hear of a wish to stop by a pulse of all ranks. */
#ifndef SESSION_PULSED_H
#define SESSION_PULSED_H

#include "parallel/pulse.h"
#include "session/session.h"

/* Whether this rank wishes to stop; CONTEXT is the session. For pulse_start. Local. */
bool session_pulse_wish(void *context);

/* Runs TASK with a pulse of all ranks, by which each hears of another's wish. Collective on the world.
 * Errors: TASK's. */
typedef status_t (*pulsed_task_t)(session_t *session, pulse_t *pulse);
status_t session_run_pulsed(session_t *session, pulsed_task_t task);

#endif

/* What each task runs. */
#ifndef MAIN_TASKS_H
#define MAIN_TASKS_H

#include "session/session.h"

/* Errors: STATUS_INPUT where this version lacks the settings' task. Local. */
status_t tasks_check(const settings_t *settings);

/* Runs the settings' task. Collective. Errors: as tasks_check; the task's. */
status_t tasks_run(session_t *session);

#endif

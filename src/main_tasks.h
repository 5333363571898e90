/* What each task runs. */
#ifndef MAIN_TASKS_H
#define MAIN_TASKS_H

#include "run/session.h"

/* Runs the settings' task. Collective. Errors: STATUS_INPUT where this version lacks it; the task's. */
status_t tasks_run(session_t *session);

#endif

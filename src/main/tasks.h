/* What each task runs. */
#ifndef MAIN_TASKS_H
#define MAIN_TASKS_H

#include "session/session.h"

/* Runs the settings' task. Collective. Errors: the task's. */
status_t tasks_run(session_t *session);

#endif

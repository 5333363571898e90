/* What a run will write must have a name that the system takes: found before the run, not at its end. */
#ifndef RUN_PATHS_H
#define RUN_PATHS_H

#include "input/settings.h"

/* Errors: STATUS_INPUT naming the setting whose path, with what is made below or beside it, is too long.
 * Local, the same on every rank. */
status_t paths_check(const settings_t *settings);

#endif

/* Tasks world and annotate: from settings to the functions that do the work. */
#ifndef SHAPES_SHAPES_TASKS_H
#define SHAPES_SHAPES_TASKS_H

#include "session/session.h"

/* Writes the shapes world to world.dir (the run directory if empty) and, with world.datasets, the HDF5
 * datasets that the shipped inputs name, beside its JSON files. Collective. Errors: STATUS_INPUT,
 * STATUS_DATA. */
status_t world_task_run(session_t *session);

/* Fills in the preferences of answer pairs (annotate.output; preferences.json in the run directory if empty).
 * Collective. Errors: STATUS_DATA. */
status_t annotate_task_run(session_t *session);

#endif

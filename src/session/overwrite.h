/* A run must not write a result over what it reads, nor over another result, nor find out at its end that it
 * cannot write it. */
#ifndef RUN_OVERWRITE_H
#define RUN_OVERWRITE_H

#include "input/settings.h"
#include "parallel/comm.h"

/* Looks at all files that the settings' task is to write: none may be one of those that it reads, or another
 * that it writes, under whatever name; none may be a folder or lie where nothing can be made. Writes nothing.
 * Collective on COMM. Errors, agreed: STATUS_INPUT. */
status_t overwrite_check(comm_t *comm, const settings_t *settings);

/* Removes what a job that died has left beside the files that the task is to write: half of them, under the
 * names of file_partial. Once the run directory is locked. Collective on COMM. Errors, agreed. */
status_t overwrite_clear(comm_t *comm, const settings_t *settings);

#endif

/* A run must not write its result over what it reads. */
#ifndef RUN_OVERWRITE_H
#define RUN_OVERWRITE_H

#include "input/settings.h"
#include "parallel/comm.h"

/* Errors, agreed: STATUS_INPUT where a file that the settings' task is to write is one of those that it
 * reads, under whatever name. Collective on COMM. */
status_t overwrite_check(comm_t *comm, const settings_t *settings);

#endif

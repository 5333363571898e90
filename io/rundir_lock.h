/* The lock on a run directory. Internal to io/. */
#ifndef IO_RUNDIR_LOCK_H
#define IO_RUNDIR_LOCK_H

#include "io/file.h"

typedef struct {
  int descriptor; /* -1: not held */
  char path[FILE_MAX_PATH];
  char owner[512]; /* what the file says: host, process, start of the process */
} rundir_lock_t;

/* Without a sign of life for so long, a job on another host counts as gone. */
enum { RUNDIR_STALE_SECONDS = 120 };

/* Takes the lock file PATH. Errors: STATUS_INPUT where another job holds it; STATUS_DATA. Local. */
status_t rundir_lock_take(const char *path, rundir_lock_t *lock);

/* A sign of life; STATUS_INPUT where the file is no longer ours. Local. */
status_t rundir_lock_renew(rundir_lock_t *lock);

/* Removes the file. Local. */
void rundir_lock_release(rundir_lock_t *lock);

#endif

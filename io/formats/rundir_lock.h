/* The lock on a run directory. Internal to io/. */
#ifndef IO_RUNDIR_LOCK_H
#define IO_RUNDIR_LOCK_H

#include "io/file.h"

#include <pthread.h>
#include <stdbool.h>

typedef struct {
  int descriptor; /* -1: not held */
  char path[FILE_MAX_PATH];
  char owner[512]; /* what the file says: host, process, start of the process */
  /* The thread that touches the file, whatever the job is busy with. */
  bool renewing, stop;
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
} rundir_lock_t;

/* Seconds between two signs of life of a holder; and without any for so long, a job on another host counts as
 * gone. */
enum { RUNDIR_RENEW_SECONDS = 2, RUNDIR_STALE_SECONDS = 120 };

/* Takes the lock file PATH. A holder that seems to be there may be dying (the ranks of a job outlive its
 * mpirun a little): it is waited for until it is gone, or has shown two signs of life since, or none for
 * RUNDIR_STALE_SECONDS. LOCK stays where it is until it is released. Errors: STATUS_INPUT where another job
 * holds it; STATUS_DATA. Local. */
status_t rundir_lock_take(const char *path, rundir_lock_t *lock);

/* STATUS_INPUT where the file is no longer ours. Local. */
status_t rundir_lock_check(rundir_lock_t *lock);

/* Removes the file. Local. */
void rundir_lock_release(rundir_lock_t *lock);

#endif

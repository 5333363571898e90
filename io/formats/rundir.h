/* A job's run directory: made and locked by rank 0, so that two jobs never write it; metrics.jsonl and
 * samples.jsonl; the file EXIT. */
#ifndef IO_RUNDIR_H
#define IO_RUNDIR_H

#include "io/file.h"

typedef struct rundir rundir_t;

typedef enum {
  RUNDIR_NEW,     /* job.restart = 'never': a directory with results is refused */
  RUNDIR_CONTINUE /* 'auto', or a checkpoint's path */
} rundir_use_t;

/* Makes PATH (with parents) if need be, locks it, and removes what dead jobs have not completed there
 * (*.partial). Collective on COMM. Close with rundir_close. Errors,
 * agreed: STATUS_INPUT where another job holds it, or where USE is RUNDIR_NEW and it holds results;
 * STATUS_DATA where it cannot be made.
 *
 * The lock is the file `lock`, held with flock and naming host and process; a thread of its own touches it
 * every other second. After a job that was killed the next one takes it over: on the same host as soon as the
 * process is gone, from another one when its last sign of life is two minutes old. It waits for that, and
 * refuses once the job has shown twice that it lives. */
status_t rundir_open(comm_t *comm, const char *path, rundir_use_t use, rundir_t **out);

/* Gives the lock back; NULL is fine. Local. */
void rundir_close(rundir_t *rundir);

const char *rundir_path(const rundir_t *rundir);

/* Rank 0: *EXIT_SEEN is true if the file EXIT is there (it is removed); sees that the lock is
 * still the job's own. Looks at the disk once a second at most, so it may be called between decode
 * steps. Other ranks: *EXIT_SEEN is false. Errors: STATUS_INPUT where the lock has been taken away. Local:
 * the caller shares what rank 0 saw. */
status_t rundir_poll(rundir_t *rundir, bool *exit_seen);

/* Rank 0 appends LINE (JSON, N bytes, its end included) to metrics.jsonl, at once and in one piece; other
 * ranks do nothing. Errors: STATUS_DATA. Local. */
status_t rundir_metrics_append(rundir_t *rundir, const char *line, size_t n);
/* The same for samples.jsonl. */
status_t rundir_samples_append(rundir_t *rundir, const char *line, size_t n);

/* Before a run continues after step STEP: rank 0 drops the lines of metrics.jsonl whose "step" is later, and
 * a line without an end (io/formats/journal.h). Other ranks do nothing. Errors: STATUS_DATA. Local. */
status_t rundir_metrics_rewind(rundir_t *rundir, int64_t step);
/* The same for samples.jsonl, of which the first MOST lines stay at most. */
status_t rundir_samples_rewind(rundir_t *rundir, int64_t step, int64_t most);
/* Lines of samples.jsonl, from its rewinding on; rank 0 knows. Local. */
int64_t rundir_samples_lines(const rundir_t *rundir);

#endif

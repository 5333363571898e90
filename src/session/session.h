/* What every task runs in: settings, grid, device, run directory, stop requests, what the run leaves for
 * people, and the performance table at the end. */
#ifndef RUN_SESSION_H
#define RUN_SESSION_H

#include "input/settings.h"
#include "io/formats/rundir.h"
#include "parallel/grid.h"
#include "record/record.h"
#include "tensor/device.h"

/* A device that main offers. */
typedef struct {
  const char *name; /* parallel.device */
  status_t (*create)(const grid_t *grid, const settings_t *settings, device_t **out);
} device_entry_t;

/* *OUT: the one of DEVICES (count; the first is what 'auto' means) that the settings ask for. Errors:
 * STATUS_INPUT where it is not among them. Local. */
status_t device_choose(const settings_t *settings, const device_entry_t *devices, int32_t count,
                       const device_entry_t **out);

/* Why a run stops before its end. */
typedef enum { STOP_SIGNAL, STOP_EXIT, STOP_TIME, STOP_REASONS } stop_reason_t;

typedef struct {
  const settings_t *settings;
  comm_t *world;
  grid_t grid;
  device_t *device;
  struct pass *pass; /* of all models (session/models.h); NULL before the first one */
  core_set_t cores;  /* that this rank's threads run on, as measured at the start */
  rundir_t *rundir;
  const char *run_dir;
  double started;      /* perf_now() */
  double longest_step; /* seconds between two looks of session_stop, for job.max_seconds */
  double last_look;    /* 0 before the first one */
  double reserve;      /* seconds that the end of the run takes to be written, as far as is known */
  int32_t stop_why[STOP_REASONS]; /* 1: this rank has seen it; all ranks' once session_stopped has told */
  status_code_t stop_status;      /* what went wrong in looking */
  bool stop_told;
  bool gained;   /* this start has left the next one something besides checkpoints (io/formats/kept.h) */
  double joules; /* device_energy at the start */
  double product_flops, stream_bytes; /* this rank's measured peaks, per second */
  record_t record;                    /* what the run leaves for people */
  const struct judge_entry *judges;   /* (judge_count) that main offers (eval/judge.h) */
  int32_t judge_count;
  struct estimate *dry; /* NULL in a run; in a dry run what it counts (session/estimate.h): then nothing is
                           read that is large, and nothing is written but below run_dir, which is temporary */
} session_t;

/* Makes grid and device, measures the machine's peaks, starts the watchdog and takes over the stop signals.
 * DEVICES (count): the first is what 'auto' means. Touches no file. Collective on WORLD. Close with
 * session_close, also where it failed. Errors: STATUS_INPUT where tp or the device do not fit. */
status_t session_prepare(comm_t *world, const settings_t *settings, const device_entry_t *devices,
                         int32_t count, session_t *session);

/* Opens the run directory: locked, log opened, input echoed; then says in the log who runs where. BUILD: the
 * program's version in one line. Collective. Errors: STATUS_INPUT (another job has it, or job.restart forbids
 * its use), STATUS_DATA. */
status_t session_open(session_t *session, const char *build);

/* Ends a run that all ranks have come to the end of, with the same STATUS: stores the performance table
 * (unless the run failed), writes the log's last line (DONE, or the reason), gives everything back.
 * Collective. */
void session_close(session_t *session, status_code_t status);

/* Writes the reason of STATUS to screen and log where the ranks have not come together: what a rank that
 * failed alone does before it ends the others. Local. */
void session_fail(session_t *session, status_code_t status);

/* *STOP on all ranks if the run should end now, between two pieces of work that are each worth keeping: a
 * signal, the file EXIT, or job.max_seconds nearly used up (less is left than the longest time between two
 * looks, session->reserve and RESERVE seconds take). Says why in the log. Collective on the world. Errors: as
 * session_stopped. */
status_t session_stop(session_t *session, double reserve, bool *stop);

/* Whether this rank alone sees a reason to stop in the midst of a piece of work that can be given up: as
 * session_stop, but the time that the piece takes need not be left. Cheap enough to be called between decode
 * steps; the callers bring the ranks' requests together (parallel/stop_vote.h, comm_any). Local. */
bool session_stop_requested(session_t *session, double reserve);

/* The same where all ranks are together, between two parts of a piece of work that can be given up:
 * STATUS_STOPPED on all ranks once one of them sees a reason. Collective on the world. */
status_t session_continue(session_t *session, double reserve);

/* After requests have stopped all ranks: says why in the log, once. *ASKED (NULL: not wanted): somebody asked
 * to stop, by a signal or the file EXIT; otherwise it was job.max_seconds. Collective on the world. Errors,
 * agreed: of the run directory (rundir_poll). */
status_t session_stopped(session_t *session, bool *asked);

/* One logged step (record_metrics); nothing in a dry run. Errors: as record_metrics; the caller agrees on
 * them. Local. */
status_t session_log(session_t *session, const metrics_t *metrics, bool shown);

/* Counts SAMPLES that data.bad_sample = 'skip' left out of a step, for METRICS ("data/skipped"; NULL: none),
 * the end of the log and run.json. All ranks pass the same number. Local. */
void session_skipped(session_t *session, int64_t samples, metrics_t *metrics);

/* A path below the run directory, in a buffer of FILE_MAX_PATH. Errors: STATUS_INPUT where it is too long. */
status_t session_path(const session_t *session, const char *name, char path[FILE_MAX_PATH]);

#endif

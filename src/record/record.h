/* What a run leaves for people besides its results: metrics on the screen and in files, TensorBoard events,
 * the ranks' timelines, run.json, perf.json, sample answers, report.html. What a run is, the caller says:
 * this folder knows no session, so that report.html can be made without one. */
#ifndef RECORD_RECORD_H
#define RECORD_RECORD_H

#include "input/settings.h"
#include "io/formats/rundir.h"
#include "parallel/cores.h"
#include "parallel/grid.h"
#include "perf/report.h"
#include "record/metrics.h"

/* Program and machine, for run.json. Texts are the caller's. */
typedef struct {
  const char *build; /* the program's version in one line */
  const grid_t *grid;
  const core_set_t *cores; /* that this rank's threads run on, as measured at the start */
  const char *device, *device_detail;
  double product_flops, stream_bytes; /* this rank's measured peaks, per second */
} record_machine_t;

typedef struct {
  const settings_t *settings;
  rundir_t *rundir;    /* NULL until record_open */
  const char *run_dir; /* NULL until record_open */
  int rank;            /* of the world; rank 0 writes all but timelines */
  double started;      /* perf_now() */
  record_machine_t machine;
  int64_t
      skipped; /* bad samples that steps or answers went without, counted each time; the same on all ranks */
  struct tensorboard *tensorboard;       /* of this job's metrics, NULL until there are some */
  struct trace *trace;                   /* NULL unless log.trace */
  double report_written, report_seconds; /* the newest report.html: when, and how long it took */
  uint64_t sample_round; /* of samples.c: step and model of the newest sample, and how many of those */
  int64_t sample_count;
} record_t;

/* Starts the timeline if log.trace, and hardware events of log.hardware. STARTED: perf_now() when the run
 * began. Local. */
status_t record_start(const settings_t *settings, int rank, double started, record_t *record);

/* From now on there is a run directory. Local. */
void record_open(record_t *record, rundir_t *rundir);

/* Rank 0 writes run.json: the run is running. Errors: STATUS_DATA. Local. */
status_t record_describe(record_t *record, const record_machine_t *machine);

/* One logged step: rank 0 writes it to metrics.jsonl, to TensorBoard events if log.tensorboard and, if SHOWN,
 * to the log; now and then report.html (log.report_every). Errors: on all ranks STATUS_INTERNAL
 * (metrics_check), on rank 0 STATUS_DATA. Local. */
status_t record_metrics(record_t *record, const metrics_t *metrics, bool shown);

/* Rank 0 writes the performance table to the log and to perf.json. Errors: STATUS_DATA. Local. */
status_t record_perf(const record_t *record, const perf_report_t *report);

/* Writes run.json alone, with STATUS and MESSAGE: for a rank that ends a run in which the others hang. Any
 * rank, any thread. Local. */
void record_fail(const record_t *record, status_code_t status, const char *message);

/* Ends the records of a run that came to STATUS, with its error's message: writes the timeline, run.json and
 * report.html; what cannot be written is warned of. This thread's error message is left as it was. Gives back
 * what the functions above took. Local. */
void record_close(record_t *record, status_code_t status);

#endif

/* report.html: a run, or several side by side, in one file that needs no network. The page and its script are
 * record/report.html; here the runs' data are put into it. */
#ifndef RECORD_REPORT_H
#define RECORD_REPORT_H

#include "base/status.h"

/* Writes PATH from what the run directories (COUNT of them) hold: run.json, metrics.jsonl, perf.json,
 * evaluation.json, samples.jsonl, input.nml; what is not there is left out, what cannot be read is named in
 * the page, half a line at a file's end is passed over: the run may be under way, or dead. Images are taken
 * from the datasets that the samples name. Several processes may write the same PATH at once. Errors:
 * STATUS_DATA (PATH cannot be written), STATUS_MEMORY. Local. */
status_t report_write(int count, const char *const *run_dirs, const char *path);

/* Command --report: of one run RUN_DIR/report.html, of several ./report.html, or OUTPUT if that is not NULL;
 * says where. Errors: STATUS_INPUT where one is no run directory, or where the file to be written (other than
 * a run directory's own report.html) is there already and is no such report; as report_write. Local. */
status_t report_make(int count, const char *const *run_dirs, const char *output);

#endif

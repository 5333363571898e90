/* report.html: a run in one file that needs no network - curves, times, sample answers beside their images.
 */
#ifndef RUN_REPORT_HTML_H
#define RUN_REPORT_HTML_H

#include "base/status.h"

/* Writes RUN_DIR/report.html from what RUN_DIR holds: run.json, metrics.jsonl, perf.json, evaluation.json,
 * samples.jsonl, input.nml; what is not there is left out. Images are taken from the datasets that the
 * samples name. Errors: STATUS_DATA (one of them is broken, or the report cannot be written). Local. */
status_t report_html_write(const char *run_dir);

#endif

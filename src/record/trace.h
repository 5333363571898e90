/* A timeline of a rank: the stretches of time that its regions were open and that operations and collectives
 * took, as a Chrome trace (chrome://tracing, ui.perfetto.dev). */
#ifndef RECORD_TRACE_H
#define RECORD_TRACE_H

#include "base/status.h"

#include <stdint.h>

typedef struct trace trace_t;

/* Records all regions from now on; the newest CAPACITY stretches are kept (0: 262144, 13 MB). One trace at a
 * time. End with trace_close. Local. */
status_t trace_open(int64_t capacity, trace_t **out);

/* Writes what is kept to PATH: JSON in gzip, times in microseconds since 1970, so that the files of several
 * ranks can be looked at together. The file appears when it is complete. Errors: STATUS_DATA. Local. */
status_t trace_write(const trace_t *trace, const char *path, int rank);

/* Puts the timelines of all ranks in RUN_DIR/trace together, as one file OUTPUT (NULL:
 * RUN_DIR/trace/all.json.gz), whose path is said on the screen. Their clocks are those of their nodes.
 * Errors: STATUS_DATA (there is none, or one is not whole). Local. */
status_t trace_merge(const char *run_dir, const char *output);

/* Ends the recording; NULL is fine. Local. */
void trace_close(trace_t *trace);

#endif

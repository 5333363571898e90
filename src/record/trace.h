/* A timeline of a rank: the stretches of time its regions were open, as a Chrome trace (chrome://tracing,
 * ui.perfetto.dev). */
#ifndef RECORD_TRACE_H
#define RECORD_TRACE_H

#include "base/status.h"

#include <stdint.h>

typedef struct trace trace_t;

/* Records all regions from now on; the newest CAPACITY stretches are kept (0: 262144, 8 MB). One trace at a
 * time. End with trace_close. Local. */
status_t trace_open(int64_t capacity, trace_t **out);

/* Writes what is kept to PATH: JSON in gzip, times in microseconds since 1970, so that the files of several
 * ranks can be looked at together. The file appears when it is complete. Errors: STATUS_DATA. Local. */
status_t trace_write(const trace_t *trace, const char *path, int rank);

/* Ends the recording; NULL is fine. Local. */
void trace_close(trace_t *trace);

#endif

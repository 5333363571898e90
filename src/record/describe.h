/* run.json in the run directory: what a run is - program, task, machine, layout - and how it ended. */
#ifndef RECORD_DESCRIBE_H
#define RECORD_DESCRIBE_H

#include "record/record.h"

#include <time.h>

/* WHEN as universal time, ISO 8601. */
enum { TIME_TEXT_MAX = 32 };
void time_text(time_t when, char text[TIME_TEXT_MAX]);

/* Writes run.json: STATE is "running", "done", "stopped" or "failed", REASON why (NULL: nothing to say). Rank
 * 0 calls it. Errors: STATUS_DATA. Local. */
status_t describe_run(const record_t *record, const char *state, const char *reason);

#endif

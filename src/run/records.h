/* What a run leaves for people besides its results: run.json, TensorBoard events, the ranks' timelines,
 * report.html. The session calls these. */
#ifndef RUN_RECORDS_H
#define RUN_RECORDS_H

#include "run/session.h"

/* Starts the timeline if log.trace. Local. */
status_t records_start(session_t *session);

/* Rank 0 writes run.json. Local. */
status_t records_open(const session_t *session);

/* Rank 0 adds METRICS to the TensorBoard events, if log.tensorboard. Local. */
status_t records_metrics(session_t *session, const metrics_t *metrics);

/* Writes timelines, run.json with STATUS and its message, and on rank 0 report.html; what cannot be written
 * is warned of. This thread's error message is left as it was. Gives back what the functions above took.
 * Local. */
void records_close(session_t *session, status_code_t status);

/* Writes run.json alone, with STATUS and MESSAGE: for a rank that ends a run in which the others hang. Any
 * rank, any thread. Local. */
void records_fail(const session_t *session, status_code_t status, const char *message);

#endif

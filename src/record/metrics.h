/* The metrics of one logged step, and how they are written for programs and for people. */
#ifndef RECORD_METRICS_H
#define RECORD_METRICS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  METRICS_MAX = 64,
  METRICS_NAME_MAX = 64,
  METRICS_LINE = 109 /* columns of a line on the screen; with the clock in front of it, 120 */
};

typedef struct {
  int64_t step;
  double seconds; /* of the job, when the step was complete */
  int32_t count;
  const char *names[METRICS_MAX]; /* of the table of metrics */
  double values[METRICS_MAX];
  char refused[METRICS_NAME_MAX]; /* the first name that has no row, or no place here; "": none */
} metrics_t;

/* Adds VALUE; NAME is one of metric_table.h: another one is refused, which metrics_check tells. Local. */
void metrics_add(metrics_t *metrics, const char *name, double value);

/* Errors: STATUS_INTERNAL where a name was refused: it is not in the table of metrics, or there were too
 * many. Local. */
status_t metrics_check(const metrics_t *metrics);

/* The line of metrics.jsonl (N bytes, its end included): step, seconds, then all in the order in which they
 * were added. Free *LINE with memory_free. Local. */
status_t metrics_json(const metrics_t *metrics, char **line, size_t *n);

/* What the screen shows of a step, or of the EVALUATION made at it, in METRICS_LINE columns; what does not
 * fit is left out from the end. "" where there is nothing to show. Local. */
void metrics_screen(const metrics_t *metrics, bool evaluation, char text[METRICS_LINE + 1]);

#endif

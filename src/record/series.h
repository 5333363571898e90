/* One metric over steps in bounded memory: where there are more values than fit, stretches of equally many
 * values are kept as their smallest and largest one, so that no extreme is lost. */
#ifndef RECORD_SERIES_H
#define RECORD_SERIES_H

#include "base/status.h"
#include "io/json.h"

enum { SERIES_STRETCHES = 2048 };

/* A stretch of values: its extremes, and the steps they are of. */
typedef struct {
  double low_step, low, high_step, high, sum;
  int64_t count;
} stretch_t;

typedef struct {
  char *name;
  int64_t span; /* values of a stretch; the last one may have fewer */
  int32_t stretches;
  stretch_t *items; /* (stretches) */
} series_t;

/* Local. Free with series_free in any case. */
status_t series_create(const char *name, series_t *series);
void series_free(series_t *series);

/* Adds VALUE at STEP; steps ascend. Errors: STATUS_MEMORY. Local. */
status_t series_add(series_t *series, double step, double value);

/* Writes it as an object: name, count of values, values of a stretch ("span"), means over the first and the
 * last twentieth ("begin", "end"), and the points drawn as "steps" and "values": all, or two for a stretch.
 * Local. */
void series_write(const series_t *series, json_writer_t *writer);

#endif

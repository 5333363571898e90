/* The table of metrics as text: --print-metrics, and docs/metrics.md. */
#ifndef RECORD_METRIC_PRINT_H
#define RECORD_METRIC_PRINT_H

#include "base/status.h"

#include <stdbool.h>
#include <stdio.h>

/* Writes all metrics to FILE, in lines for a screen or as MARKDOWN. Local. Errors: STATUS_DATA (write
 * failed). */
status_t metric_print(FILE *file, bool markdown);

#endif

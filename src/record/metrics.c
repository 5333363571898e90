#include "record/metrics.h"

#include "io/json.h"
#include "record/metric_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void metrics_add(metrics_t *metrics, const char *name, double value) {
  const metric_t *metric = metric_find(name);
  if (!metric || metrics->count == METRICS_MAX) {
    if (!*metrics->refused) snprintf(metrics->refused, sizeof metrics->refused, "%s", name);
    return;
  }
  metrics->names[metrics->count] = metric->name;
  metrics->values[metrics->count++] = value;
}

status_t metrics_check(const metrics_t *metrics) {
  if (!*metrics->refused) return STATUS_OK;
  if (metric_find(metrics->refused))
    return error_set(STATUS_INTERNAL, "step %lld has more than %d metrics: raise METRICS_MAX",
                     (long long)metrics->step, METRICS_MAX);
  return error_set(STATUS_INTERNAL,
                   "metric '%s' is not in the table of metrics; describe it in record/metric_table.c",
                   metrics->refused);
}

status_t metrics_json(const metrics_t *metrics, char **line, size_t *n) {
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_int_member(writer, "step", metrics->step);
  json_write_real_member(writer, "seconds", metrics->seconds);
  for (int32_t i = 0; i < metrics->count; i++)
    json_write_real_member(writer, metrics->names[i], metrics->values[i]);
  json_write_object_end(writer);
  json_write_line(writer);
  return json_writer_finish(writer, line, n);
}

enum { VALUE_MAX = 48 };

/* "1.2e-5". */
static void metrics_write_exponent(double value, int digits, char text[VALUE_MAX]) {
  snprintf(text, VALUE_MAX, "%.*e", digits, value);
  char *exponent = strchr(text, 'e') + 1;
  int power = atoi(exponent);
  snprintf(exponent, (size_t)(text + VALUE_MAX - exponent), "%d", power);
}

static void metrics_write_value(const metric_t *metric, double value, int digits, char text[VALUE_MAX]) {
  double magnitude = fabs(value);
  if (metric->format == METRIC_SHARE)
    snprintf(text, VALUE_MAX, "%.*f%%", digits - 3, 100.0 * value);
  else if (metric->format == METRIC_SECONDS)
    snprintf(text, VALUE_MAX, "%.3g s", value);
  else if (isfinite(value) && magnitude > 0.0 && (magnitude < 1e-3 || magnitude >= 1e5))
    metrics_write_exponent(value, digits - 2, text);
  else
    snprintf(text, VALUE_MAX, "%.*g", digits, value);
}

static bool metrics_find_value(const metrics_t *metrics, const char *name, double *value) {
  for (int32_t i = 0; i < metrics->count; i++)
    if (strcmp(metrics->names[i], name) == 0) {
      *value = metrics->values[i];
      return true;
    }
  return false;
}

/* True if all fitted. */
static bool metrics_write_screen(const metrics_t *metrics, bool evaluation, int digits,
                                 char text[METRICS_LINE + 1]) {
  int count, shown = 0;
  const metric_t *table = metric_table(&count);
  size_t used = (size_t)snprintf(text, METRICS_LINE + 1, "%s %5lld", evaluation ? "eval" : "step",
                                 (long long)metrics->step);
  for (int m = 0; m < count; m++) {
    double value;
    char number[VALUE_MAX], part[2 * VALUE_MAX];
    bool wanted = table[m].label && evaluation == (strncmp(table[m].name, "eval/", 5) == 0);
    if (!wanted || !metrics_find_value(metrics, table[m].name, &value)) continue;
    metrics_write_value(&table[m], value, digits, number);
    int n = snprintf(part, sizeof part, "  %s%s%s", table[m].label, *table[m].label ? " " : "", number);
    if (used + (size_t)n > METRICS_LINE) return false;
    used += (size_t)snprintf(text + used, METRICS_LINE + 1 - used, "%s", part);
    shown++;
  }
  if (shown == 0) *text = '\0';
  return true;
}

void metrics_screen(const metrics_t *metrics, bool evaluation, char text[METRICS_LINE + 1]) {
  if (!metrics_write_screen(metrics, evaluation, 4, text))
    (void)!metrics_write_screen(metrics, evaluation, 3, text);
}

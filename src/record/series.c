#include "record/series.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

status_t series_create(const char *name, series_t *series) {
  *series = (series_t){.span = 1};
  return memory_copy_text(&series->name, ARENA_OTHER, name, strlen(name));
}

void series_free(series_t *series) {
  memory_free(series->name);
  memory_free(series->items);
  *series = (series_t){0};
}

static void series_join(stretch_t *to, const stretch_t *from) {
  if (from->low < to->low) {
    to->low = from->low;
    to->low_step = from->low_step;
  }
  if (from->high > to->high) {
    to->high = from->high;
    to->high_step = from->high_step;
  }
  to->sum += from->sum;
  to->count += from->count;
}

/* Half as many stretches, each twice as long. */
static void series_halve(series_t *series) {
  int32_t kept = 0;
  for (int32_t i = 0; i < series->stretches; i += 2) {
    stretch_t pair = series->items[i];
    if (i + 1 < series->stretches) series_join(&pair, &series->items[i + 1]);
    series->items[kept++] = pair;
  }
  series->stretches = kept;
  series->span *= 2;
}

status_t series_add(series_t *series, double step, double value) {
  const stretch_t one = {step, value, step, value, value, 1};
  stretch_t *last = series->stretches > 0 ? &series->items[series->stretches - 1] : NULL;
  if (last && last->count < series->span) {
    series_join(last, &one);
    return STATUS_OK;
  }
  if (series->stretches == SERIES_STRETCHES) {
    series_halve(series);
    return series_add(series, step, value);
  }
  TRY(memory_reserve(&series->items, ARENA_OTHER, (size_t)series->stretches + 1, sizeof *series->items));
  series->items[series->stretches++] = one;
  return STATUS_OK;
}

/* Mean over the stretches FIRST .. END - 1. */
static double series_mean_of(const series_t *series, int32_t first, int32_t end) {
  double sum = 0.0, count = 0.0;
  for (int32_t i = first; i < end; i++) {
    sum += series->items[i].sum;
    count += (double)series->items[i].count;
  }
  return sum / count;
}

/* Seven digits: more than a screen shows. */
static void series_write_number(json_writer_t *writer, double value) {
  char text[32];
  if (value == floor(value) && fabs(value) < 1e15) {
    json_write_int(writer, (int64_t)value);
    return;
  }
  snprintf(text, sizeof text, "%.7g", value);
  json_write_real(writer, strtod(text, NULL));
}

/* The points of a stretch in the order of their steps: one where both extremes are the same. */
static void series_write_points(const stretch_t *stretch, bool steps, json_writer_t *writer) {
  bool low_first = stretch->low_step <= stretch->high_step;
  double first = steps ? stretch->low_step : stretch->low,
         second = steps ? stretch->high_step : stretch->high;
  series_write_number(writer, low_first ? first : second);
  if (stretch->low_step != stretch->high_step) series_write_number(writer, low_first ? second : first);
}

static void series_write_array(const series_t *series, const char *key, bool steps, json_writer_t *writer) {
  json_write_key(writer, key);
  json_write_array_begin(writer);
  for (int32_t i = 0; i < series->stretches; i++)
    series_write_points(&series->items[i], steps, writer);
  json_write_array_end(writer);
}

void series_write(const series_t *series, json_writer_t *writer) {
  int32_t n = series->stretches, part = n >= 20 ? n / 20 : 1;
  int64_t count = 0;
  for (int32_t i = 0; i < n; i++)
    count += series->items[i].count;
  json_write_object_begin(writer);
  json_write_member(writer, "name", series->name);
  json_write_int_member(writer, "count", count);
  json_write_int_member(writer, "span", series->span);
  json_write_real_member(writer, "begin", series_mean_of(series, 0, n < part ? n : part));
  json_write_real_member(writer, "end", series_mean_of(series, n < part ? 0 : n - part, n));
  series_write_array(series, "steps", true, writer);
  series_write_array(series, "values", false, writer);
  json_write_object_end(writer);
}

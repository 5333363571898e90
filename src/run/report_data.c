#include "run/report_data.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

enum { JSON_FILE_MAX = 1 << 26 };
static const double largest_value = 1e100; /* what is larger is no measurement, and would spoil a curve */

double report_number(const json_t *object, const char *key, double fallback) {
  const json_t *member = json_get(object, key);
  if (!member) return fallback;
  if (member->type == JSON_INT) return (double)member->u.integer;
  return member->type == JSON_REAL ? member->u.real : fallback;
}

int64_t report_integer(const json_t *object, const char *key, int64_t fallback) {
  const json_t *member = json_get(object, key);
  return member && member->type == JSON_INT ? member->u.integer : fallback;
}

const char *report_text(const json_t *object, const char *key) {
  const json_t *member = json_get(object, key);
  return member && member->type == JSON_STRING ? member->u.string : "";
}

series_t *report_data_series(const report_data_t *data, const char *name) {
  for (int32_t i = 0; i < data->series_count; i++)
    if (strcmp(data->series[i].name, name) == 0) return &data->series[i];
  return NULL;
}

static status_t add_series(report_data_t *data, const char *name, series_t **out) {
  *out = report_data_series(data, name);
  if (*out) return STATUS_OK;
  if (data->series_count == data->series_capacity) {
    int32_t capacity = data->series_capacity ? 2 * data->series_capacity : 64;
    TRY(memory_resize(&data->series, ARENA_OTHER, (size_t)capacity, sizeof *data->series));
    data->series_capacity = capacity;
  }
  series_t *series = &data->series[data->series_count];
  *series = (series_t){0};
  TRY(memory_copy_text(&series->name, ARENA_OTHER, name, strlen(name)));
  data->series_count++;
  *out = series;
  return STATUS_OK;
}

static status_t add_point(report_data_t *data, const char *name, double step, double value) {
  series_t *series;
  if (!(fabs(value) <= largest_value)) return STATUS_OK;
  TRY(add_series(data, name, &series));
  if (series->count == series->capacity) {
    int64_t capacity = series->capacity ? 2 * series->capacity : 64;
    TRY(memory_resize(&series->steps, ARENA_OTHER, (size_t)capacity, sizeof *series->steps));
    TRY(memory_resize(&series->values, ARENA_OTHER, (size_t)capacity, sizeof *series->values));
    series->capacity = capacity;
  }
  series->steps[series->count] = step;
  series->values[series->count++] = value;
  return STATUS_OK;
}

static status_t add_line(report_data_t *data, const json_t *line) {
  double step = report_number(line, "step", NAN);
  if (line->type != JSON_OBJECT || !(fabs(step) <= largest_value)) return STATUS_OK;
  for (const json_t *member = line->u.first; member; member = member->next) {
    if (strcmp(member->key, "step") == 0 || strcmp(member->key, "seconds") == 0) continue;
    if (member->type == JSON_INT) TRY(add_point(data, member->key, step, (double)member->u.integer));
    if (member->type == JSON_REAL) TRY(add_point(data, member->key, step, member->u.real));
  }
  return STATUS_OK;
}

static status_t read_lines(report_data_t *data, json_reader_t *reader) {
  for (;;) {
    json_element_t element;
    TRY(json_reader_next(reader, &element));
    if (!element.value) return STATUS_OK;
    TRY(add_line(data, element.value));
  }
}

static bool is_empty(const char *path) {
  FILE *file = fopen(path, "rb");
  bool empty = !file || fgetc(file) == EOF;
  if (file) fclose(file);
  return empty;
}

static status_t read_metrics(const char *path, report_data_t *data) {
  json_reader_t *reader;
  if (is_empty(path)) return STATUS_OK;
  TRY(json_reader_open(path, JSON_ELEMENTS, &reader));
  status_code_t status = read_lines(data, reader);
  json_reader_close(reader);
  return status;
}

static status_t read_document(const char *run_dir, const char *name, json_document_t *out) {
  char path[FILE_MAX_PATH];
  TRY(file_join(path, run_dir, name, NULL));
  return file_exists(path) ? json_parse_file(path, JSON_FILE_MAX, out) : STATUS_OK;
}

static status_t read_input(const char *run_dir, report_data_t *data) {
  char path[FILE_MAX_PATH];
  TRY(file_join(path, run_dir, "input.nml", NULL));
  if (!file_exists(path)) return memory_copy_text(&data->input, ARENA_OTHER, "", 0);
  return file_read(path, JSON_FILE_MAX, &data->input, NULL);
}

status_t report_data_read(const char *run_dir, report_data_t *data) {
  char path[FILE_MAX_PATH];
  *data = (report_data_t){0};
  TRY(read_document(run_dir, "run.json", &data->run));
  TRY(read_document(run_dir, "perf.json", &data->perf));
  TRY(read_document(run_dir, "evaluation.json", &data->evaluation));
  TRY(read_input(run_dir, data));
  TRY(file_join(path, run_dir, "metrics.jsonl", NULL));
  TRY(read_metrics(path, data));
  TRY(file_join(path, run_dir, "samples.jsonl", NULL));
  return is_empty(path) ? STATUS_OK : report_answers_read(path, data);
}

void report_data_free(report_data_t *data) {
  json_free(&data->run);
  json_free(&data->perf);
  json_free(&data->evaluation);
  for (int32_t i = 0; i < data->series_count; i++) {
    memory_free(data->series[i].name);
    memory_free(data->series[i].steps);
    memory_free(data->series[i].values);
  }
  memory_free(data->series);
  report_answers_free(data);
  memory_free(data->input);
  *data = (report_data_t){0};
}

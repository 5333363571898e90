#define _GNU_SOURCE
#include "record/report_data.h"

#include "base/memory.h"
#include "record/describe.h"
#include "record/series.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { JSON_FILE_MAX = 1 << 26, SERIES_MAX = 512 };
static const double largest_value = 1e100; /* what is larger is no measurement, and would spoil a curve */

void notes_add(notes_t *notes, const char *format, ...) {
  va_list arguments;
  if (notes->count == NOTES_MAX) return;
  va_start(arguments, format);
  vsnprintf(notes->text[notes->count++], NOTE_MAX_BYTES, format, arguments);
  va_end(arguments);
}

void notes_add_dropped(notes_t *notes, const lines_t *lines, const char *name) {
  if (lines->dropped > 0)
    notes_add(notes, "%lld lines of %s cannot be read and are left out.", (long long)lines->dropped, name);
}

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

bool report_data_exists(const char *run_dir) {
  static const char *const names[] = {"run.json", "metrics.jsonl", "samples.jsonl", "input.nml",
                                      "evaluation.json"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[FILE_MAX_PATH];
    if (file_join(path, run_dir, names[i], NULL) == STATUS_OK && file_exists(path)) return true;
  }
  error_clear();
  return false;
}

/* ---- metrics.jsonl ---- */

typedef struct {
  series_t *items; /* (SERIES_MAX) */
  int32_t count;
  double seconds; /* of the newest line; NAN: none */
} series_list_t;

static status_t report_data_find_series(series_list_t *list, const char *name, series_t **out) {
  *out = NULL;
  for (int32_t i = 0; i < list->count && !*out; i++)
    if (strcmp(list->items[i].name, name) == 0) *out = &list->items[i];
  if (*out || list->count == SERIES_MAX) return STATUS_OK;
  *out = &list->items[list->count++];
  return series_create(name, *out);
}

static status_t report_data_add_line(series_list_t *list, const json_t *line) {
  double step = report_number(line, "step", NAN);
  if (!(fabs(step) <= largest_value)) return STATUS_OK;
  list->seconds = report_number(line, "seconds", list->seconds);
  for (const json_t *member = line->u.first; member; member = member->next) {
    series_t *series;
    double value = member->type == JSON_INT ? (double)member->u.integer : member->u.real;
    bool number = member->type == JSON_INT || member->type == JSON_REAL;
    if (!number || !(fabs(value) <= largest_value)) continue;
    if (strcmp(member->key, "step") == 0 || strcmp(member->key, "seconds") == 0) continue;
    TRY(report_data_find_series(list, member->key, &series));
    if (series) TRY(series_add(series, step, value));
  }
  return STATUS_OK;
}

static status_t report_data_read_metrics(const char *path, series_list_t *list, notes_t *notes) {
  SCOPED(lines_close) lines_t lines = lines_open(path);
  for (const json_t *line; (line = lines_next(&lines));)
    TRY(report_data_add_line(list, line));
  notes_add_dropped(notes, &lines, "metrics.jsonl");
  return STATUS_OK;
}

static void series_list_free(series_list_t *list) {
  for (int32_t i = 0; i < list->count; i++)
    series_free(&list->items[i]);
  memory_free(list->items);
}

static status_t report_data_write_metrics(const char *path, json_writer_t *writer, notes_t *notes) {
  SCOPED(series_list_free) series_list_t list = {.seconds = NAN};
  struct stat info;
  char text[TIME_TEXT_MAX];
  TRY(memory_alloc(&list.items, ARENA_OTHER, SERIES_MAX, sizeof *list.items));
  TRY(report_data_read_metrics(path, &list, notes));
  json_write_key(writer, "series");
  json_write_array_begin(writer);
  for (int32_t i = 0; i < list.count; i++)
    series_write(&list.items[i], writer);
  json_write_array_end(writer);
  json_write_real_member(writer, "seconds", list.seconds);
  if (stat(path, &info) != 0) return STATUS_OK;
  time_text(info.st_mtime, text); /* when the newest step was logged */
  json_write_member(writer, "touched", text);
  return STATUS_OK;
}

/* ---- The other files ---- */

/* NAME.json as the member KEY. */
static status_t report_data_write_document(const char *run_dir, const char *key, json_writer_t *writer,
                                           notes_t *notes) {
  SCOPED(json_free) json_document_t document = {0};
  char path[FILE_MAX_PATH], name[64];
  snprintf(name, sizeof name, "%s.json", key);
  TRY(file_join(path, run_dir, name, NULL));
  if (!file_exists(path)) return STATUS_OK;
  if (json_parse_file(path, JSON_FILE_MAX, &document) != STATUS_OK) {
    notes_add(notes, "%s cannot be read: %s", name, error_message());
    error_clear();
    return STATUS_OK;
  }
  json_write_key(writer, key);
  json_write_tree(writer, document.root);
  return STATUS_OK;
}

static status_t report_data_write_input(const char *run_dir, json_writer_t *writer, notes_t *notes) {
  SCOPED_MEMORY char *text = NULL;
  char path[FILE_MAX_PATH];
  size_t n;
  TRY(file_join(path, run_dir, "input.nml", NULL));
  if (!file_exists(path)) return STATUS_OK;
  if (file_read(path, JSON_FILE_MAX, &text, &n) != STATUS_OK) {
    notes_add(notes, "input.nml cannot be read: %s", error_message());
    error_clear();
    return STATUS_OK;
  }
  json_write_key(writer, "input");
  json_write_text(writer, text, n);
  return STATUS_OK;
}

/* Where the run lies, as it was asked for, and the last part of its whole path. */
static void report_data_write_names(const char *run_dir, json_writer_t *writer) {
  char *whole = realpath(run_dir, NULL);
  const char *slash = whole ? strrchr(whole, '/') : NULL;
  json_write_member(writer, "dir", run_dir);
  json_write_member(writer, "name", slash && slash[1] ? slash + 1 : run_dir);
  free(whole);
}

status_t report_data_write(const char *run_dir, json_writer_t *writer) {
  char path[FILE_MAX_PATH];
  notes_t notes = {0};
  json_write_object_begin(writer);
  report_data_write_names(run_dir, writer);
  TRY(report_data_write_document(run_dir, "run", writer, &notes));
  TRY(report_data_write_document(run_dir, "perf", writer, &notes));
  TRY(report_data_write_document(run_dir, "evaluation", writer, &notes));
  TRY(report_data_write_input(run_dir, writer, &notes));
  TRY(file_join(path, run_dir, "metrics.jsonl", NULL));
  TRY(report_data_write_metrics(path, writer, &notes));
  TRY(report_samples_write(run_dir, writer, &notes));
  json_write_key(writer, "notes");
  json_write_array_begin(writer);
  for (int i = 0; i < notes.count; i++)
    json_write_string(writer, notes.text[i]);
  json_write_array_end(writer);
  json_write_object_end(writer);
  json_write_line(writer);
  return STATUS_OK;
}

#define _GNU_SOURCE
#include "record/report.h"

#include "base/log.h"
#include "base/memory.h"
#include "record/describe.h"
#include "record/metric_table.h"
#include "record/report_data.h"
#include "record/report_template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char data_mark[] = "{{DATA}}";
static const char maker_mark[] = "content=\"llava_rlhf report\""; /* at the page's beginning */
enum { MAKER_WITHIN = 512 };

/* ---- The data ---- */

static void report_write_flag(json_writer_t *writer, const char *key, bool flag) {
  if (!flag) return;
  json_write_key(writer, key);
  json_write_bool(writer, true);
}

static const char *format_name(metric_format_t format) {
  if (format == METRIC_SHARE) return "share";
  return format == METRIC_SECONDS ? "seconds" : "number";
}

static void report_write_metrics(json_writer_t *writer) {
  int count;
  const metric_t *table = metric_table(&count);
  json_write_key(writer, "metrics");
  json_write_array_begin(writer);
  for (int i = 0; i < count; i++) {
    json_write_object_begin(writer);
    json_write_member(writer, "name", table[i].name);
    json_write_member(writer, "title", table[i].title);
    json_write_optional(writer, "unit", table[i].unit);
    json_write_member(writer, "better", better_name(table[i].better));
    json_write_member(writer, "format", format_name(table[i].format));
    json_write_optional(writer, "chart", table[i].chart);
    json_write_optional(writer, "line", table[i].line);
    report_write_flag(writer, "key", table[i].key);
    report_write_flag(writer, "compared", table[i].compared);
    json_write_member(writer, "meaning", table[i].meaning);
    json_write_object_end(writer);
  }
  json_write_array_end(writer);
}

static void report_write_charts(json_writer_t *writer) {
  int count;
  const chart_t *charts = metric_charts(&count);
  json_write_key(writer, "charts");
  json_write_array_begin(writer);
  for (int i = 0; i < count; i++) {
    json_write_object_begin(writer);
    json_write_member(writer, "section", charts[i].section);
    json_write_member(writer, "title", charts[i].title);
    json_write_member(writer, "note", charts[i].note);
    report_write_flag(writer, "log", charts[i].logarithmic);
    json_write_object_end(writer);
  }
  json_write_array_end(writer);
}

static status_t report_write_data(int count, const char *const *run_dirs, json_writer_t *writer) {
  char text[TIME_TEXT_MAX];
  json_write_object_begin(writer);
  json_write_member(writer, "format", "llava_rlhf report");
  json_write_int_member(writer, "format_version", 1);
  time_text(time(NULL), text);
  json_write_member(writer, "written", text);
  report_write_metrics(writer);
  report_write_charts(writer);
  json_write_key(writer, "runs");
  json_write_array_begin(writer);
  for (int i = 0; i < count; i++)
    TRY(report_data_write(run_dirs[i], writer));
  json_write_array_end(writer);
  json_write_object_end(writer);
  return STATUS_OK;
}

/* ---- The page ---- */

/* JSON inside a script element. What could end the element, or a line of a script, can only stand inside of
 * strings there, and is written as JSON's own escapes. */
static void report_write_island(FILE *file, const char *json, size_t n) {
  for (size_t i = 0; i < n; i++) {
    bool separator = i + 2 < n && memcmp(json + i, "\xe2\x80", 2) == 0 &&
                     ((uint8_t)json[i + 2] == 0xa8 || (uint8_t)json[i + 2] == 0xa9);
    if (json[i] == '<') {
      fputs("\\u003c", file);
    } else if (separator) {
      fputs((uint8_t)json[i + 2] == 0xa8 ? "\\u2028" : "\\u2029", file);
      i += 2;
    } else {
      fputc(json[i], file);
    }
  }
}

static status_t report_write_page(FILE *file, const char *json, size_t n) {
  const char *page = (const char *)report_template;
  const char *mark = memmem(page, report_template_size, data_mark, sizeof data_mark - 1);
  if (!mark) return error_set(STATUS_INTERNAL, "record/report.html lacks %s", data_mark);
  const char *rest = mark + sizeof data_mark - 1;
  fwrite(page, 1, (size_t)(mark - page), file);
  report_write_island(file, json, n);
  fwrite(rest, 1, report_template_size - (size_t)(rest - page), file);
  return STATUS_OK;
}

/* As file_replace, but beside others that do the same: a run and --report. */
static status_t report_replace(const char *path, const char *text, size_t n) {
  char own[FILE_MAX_PATH + 32];
  snprintf(own, sizeof own, "%s.%ld", path, (long)getpid());
  TRY(file_replace(own, text, n));
  if (rename(own, path) == 0) return STATUS_OK;
  int error = errno;
  (void)unlink(own);
  return error_set(STATUS_DATA, "%s cannot be written: %s", path, strerror(error));
}

static void text_free(char **text) {
  free(*text);
}

status_t report_write(int count, const char *const *run_dirs, const char *path) {
  SCOPED_MEMORY char *json = NULL;
  SCOPED(text_free) char *page = NULL;
  json_writer_t *writer;
  size_t n, size;
  TRY(json_writer_create(NULL, &writer));
  status_code_t status = report_write_data(count, run_dirs, writer);
  if (status == STATUS_OK)
    status = json_writer_finish(writer, &json, &n);
  else
    json_writer_free(writer);
  TRY(status);
  FILE *file = open_memstream(&page, &size);
  if (!file) return error_set(STATUS_MEMORY, "no memory for the report");
  status = report_write_page(file, json, n);
  bool bad = ferror(file) != 0;
  if (fclose(file) != 0 || bad) return error_set(STATUS_MEMORY, "no memory for the report");
  return status == STATUS_OK ? report_replace(path, page, size) : status;
}

/* ---- The command ---- */

static bool is_report(const char *path) {
  char text[MAKER_WITHIN] = "";
  FILE *file = fopen(path, "rb");
  if (!file) return false;
  size_t n = fread(text, 1, sizeof text, file);
  fclose(file);
  return memmem(text, n, maker_mark, sizeof maker_mark - 1) != NULL;
}

status_t report_make(int count, const char *const *run_dirs, const char *output) {
  char path[FILE_MAX_PATH];
  bool own = count == 1 && !output; /* the run's report, which the run writes too */
  for (int i = 0; i < count; i++)
    if (!report_data_exists(run_dirs[i]))
      return error_set(
          STATUS_INPUT,
          "%s is no run directory: it holds none of run.json, metrics.jsonl, samples.jsonl, input.nml, "
          "evaluation.json; give a job.run_dir",
          run_dirs[i]);
  if (own)
    TRY(file_join(path, run_dirs[0], "report.html", NULL));
  else
    TRY(file_join(path, output ? output : "report.html", NULL, NULL));
  if (!own && file_exists(path) && !is_report(path))
    return error_set(STATUS_INPUT, "%s is there already and is no report; move it away or give --output PATH",
                     path);
  TRY(report_write(count, run_dirs, path));
  log_info("%s", path);
  return STATUS_OK;
}

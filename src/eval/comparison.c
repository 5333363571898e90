#include "eval/comparison.h"

#include "base/log.h"
#include "record/metric_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_WIDTH = 36, ANSWERS_WIDTH = 8, COLUMN_WIDTH = 22, LINE_MAX_BYTES = 256 };
enum { COLUMNS_MAX = 4 /* of one table: further models are in tables below */ };

/* ---- For people ---- */

/* The part of a model's path that tells it from others: the folder, where the file is called model.h5. */
static void model_short_name(const char *path, char name[COLUMN_WIDTH]) {
  const char *end = path + strlen(path), *begin = strrchr(path, '/');
  if (begin && strcmp(begin, "/model.h5") == 0) end = begin;
  begin = end;
  while (begin > path && begin[-1] != '/')
    begin--;
  int n = (int)(end - begin);
  snprintf(name, COLUMN_WIDTH, "%.*s", n < COLUMN_WIDTH ? n : COLUMN_WIDTH - 1, begin);
}

/* A metric's title; a scale belongs to it ("Rating, of 6"). */
static void metric_row_name(const metric_t *metric, char name[NAME_WIDTH]) {
  bool scale = metric->unit && strncmp(metric->unit, "of ", 3) == 0;
  snprintf(name, NAME_WIDTH, "%s%s%s", metric->title, scale ? ", " : "", scale ? metric->unit : "");
}

static void line_append(char line[LINE_MAX_BYTES], const char *text, int width) {
  size_t used = strlen(line);
  snprintf(line + used, LINE_MAX_BYTES - used, "%*s", width, text);
}

/* One table: what a judge found of some of the models. */
typedef struct {
  const comparison_t *comparison;
  const column_t *columns; /* (count) */
  int count;
  int32_t judge;
} comparison_table_t;

static void table_log_heading(const comparison_table_t *table) {
  char line[LINE_MAX_BYTES] = "";
  line_append(line, "(95 % interval)", -NAME_WIDTH);
  line_append(line, "answers", ANSWERS_WIDTH);
  for (int c = 0; c < table->count; c++) {
    char name[COLUMN_WIDTH];
    model_short_name(table->columns[c].model, name);
    line_append(line, name, COLUMN_WIDTH);
  }
  log_info("%s", line);
}

/* How many answers a row rests on; of the columns LEAST has the fewest, MOST the most. */
static void line_append_answers(char line[LINE_MAX_BYTES], double least, double most) {
  char text[64];
  if (least == most)
    snprintf(text, sizeof text, "%.0f", most);
  else
    snprintf(text, sizeof text, "%.0f-%.0f", least, most);
  line_append(line, text, ANSWERS_WIDTH);
}

static void line_append_value(char line[LINE_MAX_BYTES], const interval_t *value, bool percent) {
  char text[96]; /* cut, where the numbers are beyond all scales */
  double scale = percent ? 100.0 : 1.0;
  int digits = percent ? 1 : 2;
  snprintf(text, sizeof text, "%.*f%s", digits, scale * value->value, percent ? " %" : "");
  size_t used = strlen(text);
  if (isfinite(value->low))
    snprintf(text + used, sizeof text - used, " (%.*f-%.*f)", digits, scale * value->low, digits,
             scale * value->high);
  line_append(line, text, COLUMN_WIDTH);
}

enum { ALL_TYPES = -1 };

/* A row called NAME: a metric of the questions of TYPE in all columns. */
static void table_log_row(const comparison_table_t *table, const char *name, bool percent, int32_t type,
                          int32_t metric) {
  const judge_t *judge = table->comparison->judges[table->judge];
  char line[LINE_MAX_BYTES] = "";
  interval_t values[COLUMNS_MAX];
  double least = INFINITY, most = 0.0;
  for (int c = 0; c < table->count; c++) {
    const tally_t *tally = &table->columns[c].tallies[table->judge];
    values[c] = type == ALL_TYPES ? tally_metric(tally, judge, metric)
                                  : tally_type_metric(tally, judge, type, metric);
    least = fmin(least, values[c].answers);
    most = fmax(most, values[c].answers);
  }
  line_append(line, name, -NAME_WIDTH);
  line_append_answers(line, least, most);
  for (int c = 0; c < table->count; c++)
    line_append_value(line, &values[c], percent);
  log_info("%s", line);
}

/* METRIC of each type of questions that was asked. */
static void table_log_types(const comparison_table_t *table, const metric_t *row, int32_t metric) {
  const judge_t *judge = table->comparison->judges[table->judge];
  log_info("%s, by type of question", row->title);
  for (int32_t t = 0; t < judge->type_count; t++) {
    char name[64];
    bool asked = false;
    for (int c = 0; c < table->count; c++)
      asked = asked || table->columns[c].tallies[table->judge].answers[t] > 0.0;
    snprintf(name, sizeof name, "  %s", judge->type_name(t));
    if (asked) table_log_row(table, name, row->format == METRIC_SHARE, t, metric);
  }
}

static void table_log(const comparison_table_t *table) {
  const judge_t *judge = table->comparison->judges[table->judge];
  for (int32_t m = 0; m < judge->metric_count; m++) {
    const metric_t *row = metric_find(judge->metrics[m].name);
    char name[NAME_WIDTH];
    if (!row) continue; /* a count */
    metric_row_name(row, name);
    table_log_row(table, name, row->format == METRIC_SHARE, ALL_TYPES, m);
  }
  for (int32_t m = 0; m < judge->metric_count; m++)
    if (judge->metrics[m].by_type) table_log_types(table, metric_find(judge->metrics[m].name), m);
}

/* True if JUDGE has seen an answer: where it judges elsewhere it has none until its replies come. */
static bool judge_has_seen(const comparison_t *comparison, int32_t judge) {
  for (int64_t c = 0; c < comparison->count; c++)
    for (int32_t m = 0; m < comparison->judges[judge]->metric_count; m++)
      if (comparison->columns[c].tallies[judge].all[m].answers > 0.0) return true;
  return false;
}

/* What the judges go by, or that they are elsewhere. */
static void rules_log(const comparison_t *comparison) {
  for (int32_t j = 0; j < comparison->judge_count; j++) {
    const judge_t *judge = comparison->judges[j];
    if (judge->rule) log_info("rule       %s", judge->rule);
    if (!judge->judge && !judge_has_seen(comparison, j))
      log_info("requests   requests_<k>.jsonl in the run directory; give the replies as eval.replies");
  }
}

void comparison_log(const comparison_t *comparison) {
  bool seen = false;
  rules_log(comparison);
  for (int32_t j = 0; j < comparison->judge_count; j++)
    seen = seen || judge_has_seen(comparison, j);
  for (int64_t c = 0; seen && c < comparison->count; c += COLUMNS_MAX) {
    int64_t left = comparison->count - c;
    comparison_table_t table = {.comparison = comparison,
                                .columns = &comparison->columns[c],
                                .count = left < COLUMNS_MAX ? (int)left : COLUMNS_MAX};
    table_log_heading(&table);
    for (table.judge = 0; table.judge < comparison->judge_count; table.judge++)
      if (judge_has_seen(comparison, table.judge)) table_log(&table);
  }
}

/* ---- As data ---- */

/* KEY, KEY_low, KEY_high (null: unknown) and KEY_answers. */
static void interval_write(json_writer_t *writer, const char *key, interval_t value) {
  char name[64];
  json_write_real_member(writer, key, value.value);
  snprintf(name, sizeof name, "%s_low", key);
  json_write_real_member(writer, name, value.low);
  snprintf(name, sizeof name, "%s_high", key);
  json_write_real_member(writer, name, value.high);
  snprintf(name, sizeof name, "%s_answers", key);
  json_write_int_member(writer, name, (int64_t)value.answers);
}

static void metrics_write(const judge_t *judge, const tally_t *tally, json_writer_t *writer) {
  for (int32_t m = 0; m < judge->metric_count; m++) {
    const char *key = judge_metric_key(&judge->metrics[m]);
    interval_t value = tally_metric(tally, judge, m);
    if (judge->metrics[m].estimator == ESTIMATOR_COUNT)
      json_write_int_member(writer, key, (int64_t)value.value);
    else
      interval_write(writer, key, value);
  }
}

static void types_write(const judge_t *judge, const tally_t *tally, json_writer_t *writer) {
  json_write_key(writer, "types");
  json_write_object_begin(writer);
  for (int32_t t = 0; t < judge->type_count; t++) {
    if (tally->answers[t] <= 0.0) continue;
    json_write_key(writer, judge->type_name(t));
    json_write_object_begin(writer);
    json_write_int_member(writer, "answers", (int64_t)tally->answers[t]);
    for (int32_t m = 0; m < judge->metric_count; m++)
      if (judge->metrics[m].by_type)
        interval_write(writer, judge_metric_key(&judge->metrics[m]), tally_type_metric(tally, judge, t, m));
    json_write_object_end(writer);
  }
  json_write_object_end(writer);
}

/* What JUDGE found, in an object of its own unless its metrics are those of the evaluation itself. */
static void judged_write(const judge_t *judge, const tally_t *tally, json_writer_t *writer) {
  char prefix[64];
  snprintf(prefix, sizeof prefix, "%.*s", (int)strcspn(judge->metrics[0].name, "/"), judge->metrics[0].name);
  bool apart = strcmp(prefix, "eval") != 0;
  if (apart) json_write_key(writer, prefix);
  if (apart) json_write_object_begin(writer);
  json_write_optional(writer, "rule", judge->rule);
  metrics_write(judge, tally, writer);
  if (judge->type_count > 0) types_write(judge, tally, writer);
  if (apart) json_write_object_end(writer);
}

static void column_write(const comparison_t *comparison, const column_t *column, json_writer_t *writer) {
  json_write_line(writer);
  json_write_object_begin(writer);
  json_write_member(writer, "model", column->model);
  json_write_int_member(writer, "questions", column->questions);
  json_write_int_member(writer, "dropped", column->dropped);
  for (int32_t j = 0; j < comparison->judge_count; j++)
    if (judge_has_seen(comparison, j)) judged_write(comparison->judges[j], &column->tallies[j], writer);
  json_write_object_end(writer);
}

void comparison_write(const comparison_t *comparison, json_writer_t *writer) {
  json_write_object_begin(writer);
  json_write_key(writer, "models");
  json_write_array_begin(writer);
  for (int64_t c = 0; c < comparison->count; c++)
    column_write(comparison, &comparison->columns[c], writer);
  json_write_array_end(writer);
  json_write_object_end(writer);
  json_write_line(writer);
}

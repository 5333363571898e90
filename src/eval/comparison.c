#include "eval/comparison.h"

#include "base/log.h"
#include "eval/interval.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_WIDTH = 26, ANSWERS_WIDTH = 10, COLUMN_WIDTH = 22, LINE_MAX_BYTES = 256 };
enum { COLUMNS_MAX = 4 /* of one table: further models are in tables below */ };

/* One row of the table. */
typedef struct {
  const char *name, *key; /* for people, in JSON */
  bool percent;
} row_t;

/* The value of row R, or of question type R, of a column. */
typedef interval_t (*value_t)(const column_t *column, int r);

enum { JUDGED_ROWS = 8, POPE_ROWS = 5 };

static const row_t judged_rows[JUDGED_ROWS] = {
    {"rating (0..6)", "rating", false},
    {"hallucinated", "hallucination", true},
    {"  in descriptions", "open_hallucination", true},
    {"claims right", "claims_right", true},
    {"  about clean scenes", "clean_claims_right", true},
    {"claims about absent things", "claims_absent", true},
    {"objects named", "recall", true},
    {"words", "words", false},
};

static interval_t mean_rating(const judge_row_t *row) {
  return interval_mean(row->responses, row->ratings, row->ratings_squared);
}
static interval_t hallucinated(const judge_row_t *row) {
  return interval_share(row->hallucinated, row->responses);
}

static interval_t judged_value(const column_t *column, int r) {
  const judge_table_t *t = &column->judged;
  const interval_t all[JUDGED_ROWS] = {
      mean_rating(&t->all),
      hallucinated(&t->all),
      hallucinated(&t->open),
      interval_ratio(&t->right),
      interval_ratio(&t->clean_right),
      interval_ratio(&t->absent),
      interval_ratio(&t->given),
      interval_mean(t->all.responses, t->words, t->words_squared),
  };
  return all[r];
}

static const row_t rating_row = {"rating", "rating", false};
static const row_t hallucination_row = {"hallucinated", "hallucination", true};

static interval_t type_rating(const column_t *column, int type) {
  return mean_rating(&column->judged.types[type]);
}
static interval_t type_hallucination(const column_t *column, int type) {
  return hallucinated(&column->judged.types[type]);
}

static const row_t pope_rows[POPE_ROWS] = {
    {"POPE accuracy", "accuracy", true}, {"  precision", "precision", true},
    {"  recall", "recall", true},        {"  F1", "f1", true},
    {"  says yes", "yes_ratio", true},
};

static interval_t pope_value(const column_t *column, int r) {
  pope_scores_t scores = pope_scores(&column->pope);
  const interval_t all[POPE_ROWS] = {scores.accuracy, scores.precision, scores.recall, scores.f1,
                                     scores.yes_ratio};
  return all[r];
}

/* ---- For people ---- */

/* The part of a model's path that tells it from others: the folder, where the file is called model.h5. */
static void short_name(const char *path, char name[COLUMN_WIDTH]) {
  const char *end = path + strlen(path), *begin = strrchr(path, '/');
  if (begin && strcmp(begin, "/model.h5") == 0) end = begin;
  begin = end;
  while (begin > path && begin[-1] != '/')
    begin--;
  int n = (int)(end - begin);
  snprintf(name, COLUMN_WIDTH, "%.*s", n < COLUMN_WIDTH ? n : COLUMN_WIDTH - 1, begin);
}

static void append(char line[LINE_MAX_BYTES], const char *text, int width) {
  size_t used = strlen(line);
  snprintf(line + used, LINE_MAX_BYTES - used, "%*s", width, text);
}

/* The columns of one table. */
typedef struct {
  const column_t *columns; /* (count) */
  int count;
} columns_t;

static void log_heading(const columns_t *columns) {
  char line[LINE_MAX_BYTES] = "";
  append(line, "(95 % interval)", -NAME_WIDTH);
  append(line, "answers", ANSWERS_WIDTH);
  for (int c = 0; c < columns->count; c++) {
    char name[COLUMN_WIDTH];
    short_name(columns->columns[c].model, name);
    append(line, name, COLUMN_WIDTH);
  }
  log_info("%s", line);
}

/* How many answers a row rests on; of the columns LEAST has the fewest, MOST the most. */
static void append_answers(char line[LINE_MAX_BYTES], double least, double most) {
  char text[64];
  if (least == most)
    snprintf(text, sizeof text, "%.0f", most);
  else
    snprintf(text, sizeof text, "%.0f-%.0f", least, most);
  append(line, text, ANSWERS_WIDTH);
}

static void append_value(char line[LINE_MAX_BYTES], const interval_t *value, bool percent) {
  char text[96];
  double scale = percent ? 100.0 : 1.0;
  int digits = percent ? 1 : 2;
  int used = snprintf(text, sizeof text, "%.*f%s", digits, scale * value->value, percent ? " %" : "");
  if (isfinite(value->low))
    snprintf(text + used, sizeof text - (size_t)used, " (%.*f-%.*f)", digits, scale * value->low, digits,
             scale * value->high);
  append(line, text, COLUMN_WIDTH);
}

/* A line called NAME: VALUE of R in all columns. */
static void log_row(const columns_t *columns, const char *name, bool percent, value_t value, int r) {
  char line[LINE_MAX_BYTES] = "";
  interval_t values[COLUMNS_MAX];
  double least = INFINITY, most = 0.0;
  for (int c = 0; c < columns->count; c++) {
    values[c] = value(&columns->columns[c], r);
    least = fmin(least, values[c].answers);
    most = fmax(most, values[c].answers);
  }
  append(line, name, -NAME_WIDTH);
  append_answers(line, least, most);
  for (int c = 0; c < columns->count; c++)
    append_value(line, &values[c], percent);
  log_info("%s", line);
}

static void log_rows(const columns_t *columns, const row_t *rows, int count, value_t value) {
  for (int r = 0; r < count; r++)
    log_row(columns, rows[r].name, rows[r].percent, value, r);
}

/* VALUE of each question type that was asked. */
static void log_types(const columns_t *columns, const row_t *row, value_t value) {
  log_info("%s by question", row->name);
  for (int t = 0; t < TYPE_COUNT; t++) {
    char name[64];
    bool asked = false;
    for (int c = 0; c < columns->count; c++)
      asked = asked || columns->columns[c].judged.types[t].responses > 0.0;
    snprintf(name, sizeof name, "  %s", question_type_name((question_type_t)t));
    if (asked) log_row(columns, name, row->percent, value, t);
  }
}

static void log_table(const comparison_t *comparison, const columns_t *columns) {
  log_heading(columns);
  if (comparison->judged) {
    log_rows(columns, judged_rows, JUDGED_ROWS, judged_value);
    log_types(columns, &rating_row, type_rating);
    log_types(columns, &hallucination_row, type_hallucination);
  }
  if (comparison->has_pope) log_rows(columns, pope_rows, POPE_ROWS, pope_value);
}

static double share(double part, int64_t whole) {
  return whole > 0 ? part / (double)whole : 0.0;
}

static void log_replies(const mmhal_counts_t *replies) {
  log_info("MMHal-Bench: %lld replies, mean score %.2f, hallucinated %.1f %%", (long long)replies->replies,
           share(replies->ratings, replies->replies), 100.0 * share(replies->hallucinated, replies->replies));
  for (int t = 0; t < MMHAL_TYPES; t++)
    log_info("  %-24s%*.2f", question_type_name((question_type_t)t), COLUMN_WIDTH,
             share(replies->type_ratings[t], replies->type_replies[t]));
}

void comparison_log(const comparison_t *comparison) {
  for (int64_t c = 0; c < comparison->count; c += COLUMNS_MAX) {
    int64_t left = comparison->count - c;
    const columns_t columns = {&comparison->columns[c], left < COLUMNS_MAX ? (int)left : COLUMNS_MAX};
    log_table(comparison, &columns);
  }
  if (comparison->has_replies) log_replies(&comparison->replies);
}

/* ---- As data ---- */

/* KEY, KEY_low, KEY_high (null: unknown) and KEY_answers. */
static void write_interval(json_writer_t *writer, const char *key, interval_t value) {
  char name[64];
  json_write_real_member(writer, key, value.value);
  snprintf(name, sizeof name, "%s_low", key);
  json_write_real_member(writer, name, value.low);
  snprintf(name, sizeof name, "%s_high", key);
  json_write_real_member(writer, name, value.high);
  snprintf(name, sizeof name, "%s_answers", key);
  json_write_int_member(writer, name, (int64_t)value.answers);
}

static void write_rows(const column_t *column, const row_t *rows, int count, value_t value,
                       json_writer_t *writer) {
  for (int r = 0; r < count; r++)
    write_interval(writer, rows[r].key, value(column, r));
}

static void write_types(const column_t *column, json_writer_t *writer) {
  json_write_key(writer, "types");
  json_write_object_begin(writer);
  for (int t = 0; t < TYPE_COUNT; t++) {
    if (column->judged.types[t].responses <= 0.0) continue;
    json_write_key(writer, question_type_name((question_type_t)t));
    json_write_object_begin(writer);
    json_write_int_member(writer, "answers", (int64_t)column->judged.types[t].responses);
    write_interval(writer, rating_row.key, type_rating(column, t));
    write_interval(writer, hallucination_row.key, type_hallucination(column, t));
    json_write_object_end(writer);
  }
  json_write_object_end(writer);
}

static void write_pope(const column_t *column, json_writer_t *writer) {
  json_write_key(writer, "pope");
  json_write_object_begin(writer);
  json_write_int_member(writer, "TP", column->pope.true_positive);
  json_write_int_member(writer, "FP", column->pope.false_positive);
  json_write_int_member(writer, "TN", column->pope.true_negative);
  json_write_int_member(writer, "FN", column->pope.false_negative);
  write_rows(column, pope_rows, POPE_ROWS, pope_value, writer);
  json_write_object_end(writer);
}

static void write_column(const comparison_t *comparison, const column_t *column, json_writer_t *writer) {
  json_write_line(writer);
  json_write_object_begin(writer);
  json_write_member(writer, "model", column->model);
  json_write_int_member(writer, "questions", column->questions);
  json_write_int_member(writer, "dropped", column->dropped);
  if (comparison->judged) {
    write_rows(column, judged_rows, JUDGED_ROWS, judged_value, writer);
    write_types(column, writer);
  }
  if (comparison->has_pope) write_pope(column, writer);
  json_write_object_end(writer);
}

static void write_replies(const mmhal_counts_t *replies, json_writer_t *writer) {
  json_write_key(writer, "mmhal");
  json_write_object_begin(writer);
  json_write_int_member(writer, "replies", replies->replies);
  json_write_int_member(writer, "unread", replies->unread);
  json_write_real_member(writer, "score", share(replies->ratings, replies->replies));
  json_write_real_member(writer, "hallucination", share(replies->hallucinated, replies->replies));
  json_write_key(writer, "types");
  json_write_object_begin(writer);
  for (int t = 0; t < MMHAL_TYPES; t++)
    json_write_real_member(writer, question_type_name((question_type_t)t),
                           share(replies->type_ratings[t], replies->type_replies[t]));
  json_write_object_end(writer);
  json_write_object_end(writer);
}

void comparison_write(const comparison_t *comparison, json_writer_t *writer) {
  json_write_object_begin(writer);
  json_write_key(writer, "models");
  json_write_array_begin(writer);
  for (int64_t c = 0; c < comparison->count; c++)
    write_column(comparison, &comparison->columns[c], writer);
  json_write_array_end(writer);
  if (comparison->has_replies) write_replies(&comparison->replies, writer);
  json_write_object_end(writer);
  json_write_line(writer);
}

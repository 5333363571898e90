#include "eval/comparison.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

enum { NAME_WIDTH = 26, COLUMN_WIDTH = 14, LINE_MAX_BYTES = 1024 };

/* One row of the table. */
typedef struct {
  const char *name, *key; /* for people, in JSON */
  double scale;           /* 100: shown as a percentage */
} row_t;

enum { JUDGED_ROWS = 8, POPE_ROWS = 5, MOST_ROWS = JUDGED_ROWS };

static const row_t judged_rows[JUDGED_ROWS] = {
    {"rating (0..6)", "rating", 1},
    {"hallucinated", "hallucination", 100},
    {"  in descriptions", "open_hallucination", 100},
    {"claims right", "claims_right", 100},
    {"  about clean scenes", "clean_claims_right", 100},
    {"claims about absent things", "claims_absent", 100},
    {"objects named", "recall", 100},
    {"words", "words", 1},
};

/* VALUES (JUDGED_ROWS) of a column, in the order of judged_rows. */
static void judged_values(const column_t *column, double *values) {
  judge_summary_t s = judge_table_summary(&column->judged);
  const double all[JUDGED_ROWS] = {
      s.rating, s.hallucination, s.open_hallucination, s.claims_right, s.clean_claims_right, s.claims_absent,
      s.recall, s.words};
  memcpy(values, all, sizeof all);
}

static const row_t pope_rows[POPE_ROWS] = {
    {"POPE accuracy", "accuracy", 100}, {"  precision", "precision", 100},
    {"  recall", "recall", 100},        {"  F1", "f1", 100},
    {"  says yes", "yes_ratio", 100},
};

static void pope_values(const column_t *column, double *values) {
  pope_scores_t s = pope_scores(&column->pope);
  const double all[POPE_ROWS] = {s.accuracy, s.precision, s.recall, s.f1, s.yes_ratio};
  memcpy(values, all, sizeof all);
}

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

static void log_heading(const comparison_t *comparison) {
  char line[LINE_MAX_BYTES] = "";
  append(line, "", NAME_WIDTH);
  for (int64_t c = 0; c < comparison->count; c++) {
    char name[COLUMN_WIDTH];
    short_name(comparison->columns[c].model, name);
    append(line, name, COLUMN_WIDTH);
  }
  log_info("%s", line);
}

/* Rows (count) of all columns, whose values VALUES gives. */
static void log_rows(const comparison_t *comparison, const row_t *rows, int count,
                     void (*values)(const column_t *column, double *values)) {
  for (int r = 0; r < count; r++) {
    char line[LINE_MAX_BYTES] = "";
    append(line, rows[r].name, -NAME_WIDTH);
    for (int64_t c = 0; c < comparison->count; c++) {
      double all[MOST_ROWS];
      char value[32];
      values(&comparison->columns[c], all);
      snprintf(value, sizeof value, rows[r].scale > 1.0 ? "%.1f %%" : "%.2f", rows[r].scale * all[r]);
      append(line, value, COLUMN_WIDTH);
    }
    log_info("%s", line);
  }
}

/* Rating and share of hallucinations of each question type that was asked. */
static void log_types(const comparison_t *comparison) {
  for (int t = 0; t < TYPE_COUNT; t++) {
    char line[LINE_MAX_BYTES] = "", name[64];
    if (comparison->columns[0].judged.types[t].responses <= 0.0) continue;
    snprintf(name, sizeof name, "  %s", question_type_name((question_type_t)t));
    append(line, name, -NAME_WIDTH);
    for (int64_t c = 0; c < comparison->count; c++) {
      char value[32];
      judge_summary_t summary = judge_table_summary(&comparison->columns[c].judged);
      snprintf(value, sizeof value, "%.2f %3.0f %%", summary.type_rating[t],
               100.0 * summary.type_hallucination[t]);
      append(line, value, COLUMN_WIDTH);
    }
    log_info("%s", line);
  }
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
  log_heading(comparison);
  if (comparison->judged) {
    log_rows(comparison, judged_rows, JUDGED_ROWS, judged_values);
    log_info("rating and hallucinations by question");
    log_types(comparison);
  }
  if (comparison->has_pope) log_rows(comparison, pope_rows, POPE_ROWS, pope_values);
  if (comparison->has_replies) log_replies(&comparison->replies);
}

static void write_values(const column_t *column, const row_t *rows, int count,
                         void (*values)(const column_t *column, double *values), json_writer_t *writer) {
  double all[MOST_ROWS];
  values(column, all);
  for (int r = 0; r < count; r++)
    json_write_real_member(writer, rows[r].key, all[r]);
}

static void write_types(const column_t *column, json_writer_t *writer) {
  judge_summary_t summary = judge_table_summary(&column->judged);
  json_write_key(writer, "types");
  json_write_object_begin(writer);
  for (int t = 0; t < TYPE_COUNT; t++) {
    if (summary.type_responses[t] <= 0.0) continue;
    json_write_key(writer, question_type_name((question_type_t)t));
    json_write_object_begin(writer);
    json_write_int_member(writer, "answers", (int64_t)summary.type_responses[t]);
    json_write_real_member(writer, "rating", summary.type_rating[t]);
    json_write_real_member(writer, "hallucination", summary.type_hallucination[t]);
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
  write_values(column, pope_rows, POPE_ROWS, pope_values, writer);
  json_write_object_end(writer);
}

static void write_column(const comparison_t *comparison, const column_t *column, json_writer_t *writer) {
  json_write_line(writer);
  json_write_object_begin(writer);
  json_write_member(writer, "model", column->model);
  json_write_int_member(writer, "questions", column->questions);
  json_write_int_member(writer, "dropped", column->dropped);
  if (comparison->judged) {
    write_values(column, judged_rows, JUDGED_ROWS, judged_values, writer);
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

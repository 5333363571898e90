/* Models side by side, from evaluation.json. */
#include "run/report_page.h"

#include <math.h>
#include <string.h>

enum { MODELS_MAX = 16 };

typedef struct {
  const char *title, *key;
  bool percent;
  int better; /* 1: more is better, -1: less is, 0: neither */
} row_t;

static const row_t judged_rows[] = {
    {"Rating, 0 to 6", "rating", false, 1},
    {"Answers that hallucinate", "hallucination", true, -1},
    {"Descriptions that hallucinate", "open_hallucination", true, -1},
    {"Claims that are right", "claims_right", true, 1},
    {"Claims that are right, clean scenes", "clean_claims_right", true, 1},
    {"Claims about absent things", "claims_absent", true, -1},
    {"Objects named", "recall", true, 1},
    {"Words in an answer", "words", false, 0},
};

static const row_t pope_rows[] = {
    {"POPE accuracy", "accuracy", true, 1},  {"POPE precision", "precision", true, 1},
    {"POPE recall", "recall", true, 1},      {"POPE F1", "f1", true, 1},
    {"POPE says yes", "yes_ratio", true, 0},
};

/* Models, or a part of each. */
typedef struct {
  int count;
  const json_t *items[MODELS_MAX];
} columns_t;

static columns_t list_models(const json_t *evaluation) {
  columns_t columns = {0};
  const json_t *models = json_get(evaluation, "models");
  if (!models || models->type != JSON_ARRAY) return columns;
  for (const json_t *model = models->u.first; model && columns.count < MODELS_MAX; model = model->next)
    columns.items[columns.count++] = model;
  return columns;
}

static columns_t members(const columns_t *columns, const char *key) {
  columns_t parts = {.count = columns->count};
  for (int c = 0; c < columns->count; c++)
    parts.items[c] = json_get(columns->items[c], key);
  return parts;
}

/* A path without what all models' paths have: ".../model.h5". */
static void write_name(FILE *file, const char *path) {
  const char *end = strrchr(path, '/');
  if (end && strcmp(end, "/model.h5") == 0) {
    for (const char *c = path; c < end; c++) {
      const char one[2] = {*c, '\0'};
      html_text(file, one);
    }
    return;
  }
  html_text(file, path);
}

/* One of the best of a row, where one differs from another; -1 otherwise. */
static int best_of(const columns_t *columns, const row_t *row) {
  int best = -1;
  bool differ = false;
  for (int c = 0; c < columns->count && row->better != 0; c++) {
    double value = report_number(columns->items[c], row->key, NAN);
    if (!isfinite(value)) continue;
    double leader = best < 0 ? value : report_number(columns->items[best], row->key, NAN);
    if (value != leader) differ = true;
    if (best < 0 || row->better * (value - leader) > 0.0) best = c;
  }
  return differ ? best : -1;
}

static void write_row(FILE *file, const columns_t *columns, const row_t *row) {
  int best = best_of(columns, row);
  double leader = best >= 0 ? report_number(columns->items[best], row->key, NAN) : NAN;
  bool there = false;
  for (int c = 0; c < columns->count; c++)
    if (isfinite(report_number(columns->items[c], row->key, NAN))) there = true;
  if (!there) return;
  fprintf(file, "<tr><th>%s</th>", row->title);
  for (int c = 0; c < columns->count; c++) {
    char text[NUMBER_TEXT_MAX];
    double value = report_number(columns->items[c], row->key, NAN);
    if (row->percent)
      percent_text(value, text);
    else
      number_text(value, text);
    fprintf(file, "<td%s>%s", value == leader ? " class=\"best\"" : "", text);
    if (row->percent && isfinite(value))
      fprintf(file, "<div class=\"meter\"><i style=\"width:%.1f%%\"></i></div>",
              100.0 * fmin(fmax(value, 0.0), 1.0));
    fputs("</td>", file);
  }
  fputs("</tr>\n", file);
}

static void write_rows(FILE *file, const columns_t *columns, const row_t *rows, size_t count) {
  for (size_t r = 0; r < count; r++)
    write_row(file, columns, &rows[r]);
}

static void write_heading(FILE *file, const columns_t *models, const char *first) {
  fprintf(file, "<thead><tr><th>%s</th>", first);
  for (int c = 0; c < models->count; c++) {
    fputs("<td>", file);
    write_name(file, report_text(models->items[c], "model"));
    fputs("</td>", file);
  }
  fputs("</tr></thead><tbody>\n", file);
}

/* A rating of 0 looks like the others: it stands beside a share. */
static void rating_text(double rating, char text[NUMBER_TEXT_MAX]) {
  snprintf(text, NUMBER_TEXT_MAX, isfinite(rating) ? "%.2f" : "-", rating);
}

/* Rating and hallucination of each question type. */
static void write_types(FILE *file, const columns_t *models) {
  columns_t types = members(models, "types");
  if (types.count == 0 || !types.items[0] || types.items[0]->type != JSON_OBJECT) return;
  fputs("<div class=\"card\"><h3>By type of question</h3><div class=\"wide\"><table class=\"models\">", file);
  write_heading(file, models, "rating, share that hallucinates");
  for (const json_t *type = types.items[0]->u.first; type; type = type->next) {
    fputs("<tr><th>", file);
    html_text(file, type->key);
    fputs("</th>", file);
    for (int c = 0; c < types.count; c++) {
      char rating[NUMBER_TEXT_MAX], share[NUMBER_TEXT_MAX];
      const json_t *values = json_get(types.items[c], type->key);
      rating_text(report_number(values, "rating", NAN), rating);
      percent_text(report_number(values, "hallucination", NAN), share);
      fprintf(file, "<td>%s <span class=\"muted\">%s</span></td>", rating, share);
    }
    fputs("</tr>\n", file);
  }
  fputs("</tbody></table></div></div>\n", file);
}

void report_evaluation(FILE *file, const report_data_t *data) {
  columns_t models = list_models(data->evaluation.root);
  if (models.count == 0) return;
  columns_t pope = members(&models, "pope");
  fputs("<section><h2>Models side by side</h2>\n<div class=\"card\"><div class=\"wide\"><table "
        "class=\"models\">",
        file);
  write_heading(file, &models, "");
  write_rows(file, &models, judged_rows, sizeof judged_rows / sizeof *judged_rows);
  write_rows(file, &pope, pope_rows, sizeof pope_rows / sizeof *pope_rows);
  fprintf(file,
          "</tbody></table></div><p class=\"small\">%.0f questions; the best of a line is bold.</p></div>\n",
          report_number(models.items[0], "questions", 0.0));
  write_types(file, &models);
  fputs("</section>\n", file);
}

/* Models side by side, from evaluation.json. */
#include "run/report_page.h"

#include <math.h>
#include <string.h>

typedef struct {
  const char *title, *key;
  bool percent;
  int better; /* 1: more is better, -1: less is, 0: neither */
} row_t;

enum { RATING_ROW = 0, HALLUCINATION_ROW = 1 };

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
  const json_t *models; /* an array */
  const char *part;     /* NULL: all of a model */
} columns_t;

static int64_t count(const columns_t *columns) {
  return columns->models && columns->models->type == JSON_ARRAY ? columns->models->count : 0;
}

static const json_t *column(const columns_t *columns, int64_t c) {
  const json_t *model = json_at(columns->models, c);
  return columns->part ? json_get(model, columns->part) : model;
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

/* KEY of column C; NAN where it is not there. */
static double value_of(const columns_t *columns, int64_t c, const char *key) {
  return report_number(column(columns, c), key, NAN);
}

/* The best of a row, where one differs from another; -1 otherwise. */
static int64_t best_of(const columns_t *columns, const row_t *row) {
  int64_t best = -1;
  bool differ = false;
  for (int64_t c = 0; c < count(columns) && row->better != 0; c++) {
    double value = value_of(columns, c, row->key);
    if (!isfinite(value)) continue;
    double leader = best < 0 ? value : value_of(columns, best, row->key);
    if (value != leader) differ = true;
    if (best < 0 || row->better * (value - leader) > 0.0) best = c;
  }
  return differ ? best : -1;
}

/* How many answers the row rests on: of the columns the fewest and the most. */
static void write_answers(FILE *file, const columns_t *columns, const char *key) {
  char name[64];
  double least = INFINITY, most = -INFINITY;
  snprintf(name, sizeof name, "%s_answers", key);
  for (int64_t c = 0; c < count(columns); c++) {
    least = fmin(least, value_of(columns, c, name)); /* NAN is passed over */
    most = fmax(most, value_of(columns, c, name));
  }
  fputs("<td class=\"muted\">", file);
  if (most >= 0.0) fprintf(file, least == most ? "%.0f" : "%.0f&#8211;%.0f", least, most);
  fputs("</td>", file);
}

static void value_text(double value, bool percent, char text[NUMBER_TEXT_MAX]) {
  if (percent)
    percent_text(value, text);
  else
    snprintf(text, NUMBER_TEXT_MAX, isfinite(value) ? "%.2f" : "-", value); /* 0 looks like the others */
}

/* The value called KEY of VALUES and, below it, its interval. */
static void write_value(FILE *file, const json_t *values, const char *key, bool percent) {
  char text[NUMBER_TEXT_MAX], low[NUMBER_TEXT_MAX], high[NUMBER_TEXT_MAX], name[64];
  value_text(report_number(values, key, NAN), percent, text);
  fputs(text, file);
  snprintf(name, sizeof name, "%s_low", key);
  double from = report_number(values, name, NAN);
  snprintf(name, sizeof name, "%s_high", key);
  double to = report_number(values, name, NAN);
  if (!isfinite(from) || !isfinite(to)) return;
  value_text(from, percent, low);
  value_text(to, percent, high);
  fprintf(file, "<div class=\"interval\">%s&#8211;%s</div>", low, high);
}

static void write_row(FILE *file, const columns_t *columns, const row_t *row) {
  int64_t best = best_of(columns, row);
  bool there = false;
  for (int64_t c = 0; c < count(columns); c++)
    there = there || isfinite(value_of(columns, c, row->key));
  if (!there) return;
  fprintf(file, "<tr><th>%s</th>", row->title);
  write_answers(file, columns, row->key);
  for (int64_t c = 0; c < count(columns); c++) {
    double value = value_of(columns, c, row->key);
    fprintf(file, "<td%s>", c == best ? " class=\"best\"" : "");
    write_value(file, column(columns, c), row->key, row->percent);
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
  fprintf(file, "<thead><tr><th>%s</th><td>answers</td>", first);
  for (int64_t c = 0; c < count(models); c++) {
    fputs("<td>", file);
    write_name(file, report_text(column(models, c), "model"));
    fputs("</td>", file);
  }
  fputs("</tr></thead><tbody>\n", file);
}

/* What ROW says of each question type. */
static void write_types(FILE *file, const columns_t *models, const row_t *row) {
  const json_t *types = json_get(column(models, 0), "types");
  if (!types || types->type != JSON_OBJECT) return;
  fprintf(file,
          "<div class=\"card\"><h3>%s, by type of question</h3><div class=\"wide\"><table class=\"models\">",
          row->title);
  write_heading(file, models, "");
  for (const json_t *type = types->u.first; type; type = type->next) {
    fputs("<tr><th>", file);
    html_text(file, type->key);
    fprintf(file, "</th><td class=\"muted\">%.0f</td>", report_number(type, "answers", 0.0));
    for (int64_t c = 0; c < count(models); c++) {
      fputs("<td>", file);
      write_value(file, json_get(json_get(column(models, c), "types"), type->key), row->key, row->percent);
      fputs("</td>", file);
    }
    fputs("</tr>\n", file);
  }
  fputs("</tbody></table></div></div>\n", file);
}

void report_evaluation(FILE *file, const report_data_t *data) {
  const columns_t models = {json_get(data->evaluation.root, "models"), NULL};
  const columns_t pope = {models.models, "pope"};
  if (count(&models) == 0) return;
  fputs("<section><h2>Models side by side</h2>\n<div class=\"card\"><div class=\"wide\"><table "
        "class=\"models\">",
        file);
  write_heading(file, &models, "");
  write_rows(file, &models, judged_rows, sizeof judged_rows / sizeof *judged_rows);
  write_rows(file, &pope, pope_rows, sizeof pope_rows / sizeof *pope_rows);
  fprintf(
      file,
      "</tbody></table></div><p class=\"small\">%.0f questions; the best of a line is bold. Below each value "
      "its 95 %% interval, as far as other questions of this kind would change it; another run of the "
      "training would change it, too.</p></div>\n",
      report_number(column(&models, 0), "questions", 0.0));
  write_types(file, &models, &judged_rows[RATING_ROW]);
  write_types(file, &models, &judged_rows[HALLUCINATION_ROW]);
  fputs("</section>\n", file);
}

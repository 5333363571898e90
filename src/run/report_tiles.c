/* Key figures: what changed between a run's beginning and its end. */
#include "run/report_page.h"

#include <math.h>
#include <string.h>

typedef struct {
  const char *title, *name, *unit;
  bool percent;
  int better; /* 1: more is better, -1: less is, 0: neither */
} figure_t;

static const figure_t figures[] = {
    {"Reward", "objective/rewards", "", false, 1},
    {"Hallucination", "eval/hallucination", "", true, -1},
    {"Rating", "eval/rating", " of 6", false, 1},
    {"KL from the reference", "objective/kl_sum_seq", "", false, 0},
    {"Answer length", "rollout/response_length", " tokens", false, 0},
    {"Loss", "sft/loss", "", false, -1},
    {"Accuracy", "sft/accuracy", "", true, 1},
    {"Loss", "rm/loss", "", false, -1},
    {"Accuracy", "rm/accuracy", "", true, 1},
    {"Held-out loss", "eval/loss", "", false, -1},
    {"Held-out accuracy", "eval/accuracy", "", true, 1},
};

/* Mean of COUNT values from FIRST on. */
static double mean_of(const series_t *series, int64_t first, int64_t count) {
  double sum = 0.0;
  for (int64_t i = first; i < first + count; i++)
    sum += series->values[i];
  return sum / (double)count;
}

static void value_text(const figure_t *figure, double value, char text[NUMBER_TEXT_MAX]) {
  if (figure->percent)
    percent_text(value, text);
  else
    number_text(value, text);
}

/* Beginning and end are means over a twentieth of the run each. */
static void write_change(FILE *file, const figure_t *figure, const series_t *series) {
  char from[NUMBER_TEXT_MAX], to[NUMBER_TEXT_MAX];
  int64_t stretch = series->count >= 20 ? series->count / 20 : 1;
  double begin = mean_of(series, 0, stretch), end = mean_of(series, series->count - stretch, stretch);
  value_text(figure, begin, from);
  value_text(figure, end, to);
  const char *judged = figure->better * (end - begin) > 0.0 ? "good" : "bad";
  if (figure->better == 0) judged = "plain";
  fprintf(file, "<div class=\"tile\"><dt>%s</dt><dd><b>%s</b>%s</dd>", figure->title, to, figure->unit);
  if (series->count > 1 && strcmp(from, to) == 0)
    fputs("<dd class=\"plain\">as before</dd>", file);
  else if (series->count > 1)
    fprintf(file, "<dd class=\"%s\">%s from %s</dd>", judged, end > begin ? "&#9650;" : "&#9660;", from);
  fputs("</div>\n", file);
}

/* The last model of an evaluation beside the first. */
static void write_models(FILE *file, const json_t *evaluation) {
  static const figure_t rows[] = {{"Hallucination", "hallucination", "", true, -1},
                                  {"Rating", "rating", " of 6", false, 1},
                                  {"Claims that are right", "claims_right", "", true, 1},
                                  {"Words in an answer", "words", "", false, 0}};
  const json_t *models = json_get(evaluation, "models");
  if (!models || models->type != JSON_ARRAY || models->count == 0) return;
  const json_t *first = json_at(models, 0), *last = json_at(models, models->count - 1);
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
    double values[] = {report_number(first, rows[r].name, NAN), report_number(last, rows[r].name, NAN)};
    double steps[] = {0.0, 1.0};
    const series_t series = {.count = 2, .steps = steps, .values = values};
    if (isfinite(values[0]) && isfinite(values[1])) write_change(file, &rows[r], &series);
  }
}

static void write_time(FILE *file, const report_data_t *data) {
  char text[NUMBER_TEXT_MAX];
  double seconds = report_number(data->run.root, "seconds", report_number(data->perf.root, "seconds", -1.0));
  const series_t *step = report_data_series(data, "step_seconds");
  if (seconds < 0.0) return;
  duration_text(seconds, text);
  fprintf(file, "<div class=\"tile\"><dt>Time</dt><dd><b>%s</b></dd>", text);
  if (step && step->count > 0) {
    duration_text(mean_of(step, 0, step->count), text);
    fprintf(file, "<dd class=\"plain\">%s per step, %.0f steps</dd>", text, step->steps[step->count - 1]);
  }
  fputs("</div>\n", file);
}

void report_tiles(FILE *file, const report_data_t *data) {
  fputs("<dl class=\"tiles\">\n", file);
  for (size_t f = 0; f < sizeof figures / sizeof *figures; f++) {
    const series_t *series = report_data_series(data, figures[f].name);
    if (series && series->count > 0) write_change(file, &figures[f], series);
  }
  write_models(file, data->evaluation.root);
  write_time(file, data);
  fputs("</dl>\n", file);
}

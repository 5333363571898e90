/* Sample answers beside their images. Answers to one question about one image stand side by side, for those
 * who compare models or steps; the others are listed by step. */
#include "run/report_page.h"

#include <math.h>
#include <string.h>

static const double rating_good = 3.0; /* below, a rating of 0 to 6 counts as hallucinated */

static bool same_case(const answer_t *a, const answer_t *b) {
  return strcmp(a->question, b->question) == 0 && strcmp(a->image, b->image) == 0;
}

/* Answers with the question and image of answer I. */
static int64_t case_size(const report_data_t *data, int64_t i) {
  int64_t size = 0;
  for (int64_t other = 0; other < data->answer_count; other++)
    size += same_case(&data->answers[i], &data->answers[other]);
  return size;
}

/* A model's path without its file's name, which is the same for all. */
static void write_model(FILE *file, const char *model) {
  const char *end = strrchr(model, '/');
  size_t n = end && strcmp(end, "/model.h5") == 0 ? (size_t)(end - model) : strlen(model);
  for (size_t i = 0; i < n; i++) {
    const char one[2] = {model[i], '\0'};
    html_text(file, one);
  }
}

static void write_score(FILE *file, const answer_t *answer) {
  char text[NUMBER_TEXT_MAX];
  if (!isfinite(answer->score)) return;
  bool rating = strcmp(answer->score_name, "rating") == 0;
  bool good = rating ? answer->score >= rating_good : answer->score >= 0.0;
  number_text(answer->score, text);
  if (answer->score == floor(answer->score) && fabs(answer->score) < 1e4)
    snprintf(text, sizeof text, "%.0f", answer->score);
  fprintf(file, "<span class=\"score %s\">", good ? "good" : "bad");
  html_text(file, answer->score_name);
  fprintf(file, " %s</span>", text);
}

static void write_answer(FILE *file, const answer_t *answer, bool with_step) {
  fputs("<div class=\"answer\"><div class=\"who\"><b>", file);
  write_model(file, *answer->model ? answer->model : "answer");
  if (with_step) fprintf(file, ", step %lld", (long long)answer->step);
  fputs("</b> ", file);
  write_score(file, answer);
  if (*answer->note) {
    fputs("<span class=\"note\">", file);
    html_text(file, answer->note);
    fputs("</span>", file);
  }
  fputs("</div><p>", file);
  html_text(file, *answer->answer ? answer->answer : "(nothing)");
  fputs("</p></div>\n", file);
}

static void write_image(FILE *file, const answer_t *answer) {
  if (!*answer->jpeg) {
    fputs("<div class=\"no-image\">no image</div>", file);
    return;
  }
  /* The shapes world's images have few pixels: shown as such they are clearer than blurred. */
  fprintf(file, "<img alt=\"the image asked about\"%s src=\"data:image/jpeg;base64,%s\">",
          answer->width > 0 && answer->width <= 128 ? " class=\"pixels\"" : "", answer->jpeg);
}

/* The case of answer I, with the answers of STEP alone where it is not negative. */
static void write_case(FILE *file, const report_data_t *data, int64_t i, int64_t step, bool with_step) {
  const answer_t *first = &data->answers[i];
  fputs("<article class=\"card sample\">", file);
  write_image(file, first);
  fputs("<div><h3>", file);
  html_text(file, first->question);
  fputs("</h3><div class=\"answers\">\n", file);
  for (int64_t a = i; a < data->answer_count; a++)
    if (same_case(first, &data->answers[a]) && (step < 0 || data->answers[a].step == step))
      write_answer(file, &data->answers[a], with_step);
  fputs("</div></div></article>\n", file);
}

static bool have_steps(const report_data_t *data) {
  for (int64_t i = 0; i < data->answer_count; i++)
    if (data->answers[i].step != data->answers[0].step) return true;
  return false;
}

/* Cases with several answers. */
static void write_compared(FILE *file, const report_data_t *data) {
  bool opened = false;
  for (int64_t i = 0; i < data->answer_count; i++) {
    if (!data->answers[i].first_of_case || case_size(data, i) < 2) continue;
    if (!opened)
      fputs("<section><h2>The same questions, answered side by side</h2><div class=\"samples\">\n", file);
    opened = true;
    write_case(file, data, i, -1, have_steps(data));
  }
  if (opened) fputs("</div></section>\n", file);
}

/* Cases with one answer, of one step. */
static void write_step(FILE *file, const report_data_t *data, int64_t step, const char *when) {
  bool opened = false;
  for (int64_t i = 0; i < data->answer_count; i++) {
    if (data->answers[i].step != step || case_size(data, i) != 1) continue;
    if (!opened && step > 0)
      fprintf(file, "<section><h2>%s (step %lld)</h2><div class=\"samples\">\n", when, (long long)step);
    if (!opened && step <= 0) fputs("<section><h2>Sample answers</h2><div class=\"samples\">\n", file);
    opened = true;
    write_case(file, data, i, step, false);
  }
  if (opened) fputs("</div></section>\n", file);
}

/* The smallest step above AFTER, INT64_MAX where there is none. */
static int64_t next_step(const report_data_t *data, int64_t after) {
  int64_t next = INT64_MAX;
  for (int64_t i = 0; i < data->answer_count; i++)
    if (data->answers[i].step > after && data->answers[i].step < next) next = data->answers[i].step;
  return next;
}

void report_samples(FILE *file, const report_data_t *data) {
  if (data->answer_count == 0) return;
  write_compared(file, data);
  int64_t first = next_step(data, INT64_MIN);
  for (int64_t step = first; step != INT64_MAX; step = next_step(data, step)) {
    bool last = next_step(data, step) == INT64_MAX;
    const char *when = step == first ? "Answers at the beginning" : last ? "Answers at the end" : "Answers";
    write_step(file, data, step, step == first && last ? "Answers" : when);
  }
}

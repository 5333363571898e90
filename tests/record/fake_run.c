#define _GNU_SOURCE
#include "fake_run.h"

#include "base/base64.h"
#include "base/memory.h"
#include "base/random.h"
#include "io/file.h"
#include "io/jpeg.h"
#include "io/json.h"
#include "perf/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { RANKS = 2, IMAGE_SIZE = 48 };

static status_t put(const char *folder, const char *name, const char *text, size_t n) {
  char path[FILE_MAX_PATH];
  TRY(file_join(path, folder, name, NULL));
  return file_replace(path, text, n);
}

static status_t put_run(const char *folder, const char *task, const char *state, double seconds) {
  char text[2048];
  int n = snprintf(
      text, sizeof text,
      "{\"format\": \"llava_rlhf run\", \"format_version\": 1, \"task\": \"%s\", \"build\": "
      "\"0.1.0 (commit 5209bb9, clean), Release, GNU 12.2.0\", \"state\": \"%s\", \"reason\": null, "
      "\"started\": \"2026-11-23T08:12:09Z\", \"written\": \"2026-11-23T08:20:54Z\", \"seconds\": %g, "
      "\"host\": \"node017\", \"nodes\": 1, \"ranks\": 2, \"dp\": 2, \"tp\": 1, \"threads\": 1, "
      "\"device\": \"cpu\", \"device_detail\": \"avx512\", \"product_flops\": 1.41e11, "
      "\"stream_bytes\": 2.2e10, \"seed\": 1}\n",
      task, state, seconds);
  return put(folder, "run.json", text, (size_t)n);
}

/* ---- perf.json ---- */

static status_t put_perf(const char *folder, const double seconds[REGION_COUNT], double total) {
  perf_counter_t all[RANKS * REGION_COUNT] = {{0}};
  for (int rank = 0; rank < RANKS; rank++)
    for (int r = 0; r < REGION_COUNT; r++)
      all[rank * REGION_COUNT + r] = (perf_counter_t){.count = seconds[r] > 0.0 ? 100 : 0,
                                                      .seconds = seconds[r] * (1.0 + 0.03 * rank),
                                                      .flops = seconds[r] * 6e10,
                                                      .tokens = seconds[r] * 4100.0};
  const perf_report_t report = {.all = all,
                                .ranks = RANKS,
                                .seconds = total,
                                .product_type = "fp32",
                                .peak_flops = 1.41e11,
                                .peak_bytes = 2.2e10};
  char *text = NULL;
  size_t n = 0;
  FILE *file = open_memstream(&text, &n);
  if (!file) return error_set(STATUS_MEMORY, "no memory");
  status_code_t status = perf_report_json(&report, file);
  fclose(file);
  if (status == STATUS_OK) status = put(folder, "perf.json", text, n);
  free(text);
  return status;
}

/* ---- Samples ---- */

static const uint8_t colours[][3] = {{200, 60, 50}, {60, 110, 200}, {240, 200, 60}, {70, 160, 90}};

/* A square and a disc on a pale ground. */
static status_t picture(int number, char **base64) {
  image_t image;
  uint8_t *bytes;
  size_t n;
  TRY(image_create(IMAGE_SIZE, IMAGE_SIZE, &image));
  for (int y = 0; y < IMAGE_SIZE; y++)
    for (int x = 0; x < IMAGE_SIZE; x++) {
      uint8_t *pixel = image.rgb + 3 * (y * IMAGE_SIZE + x);
      bool square = x > 5 && x < 20 && y > 6 + number % 3 * 8 && y < 21 + number % 3 * 8;
      bool disc = (x - 33) * (x - 33) + (y - 30) * (y - 30) < 90;
      memset(pixel, 225 + (x * 7 + y * 5) % 11, 3);
      if (square) memcpy(pixel, colours[number % 4], 3);
      if (disc) memcpy(pixel, colours[(number / 4 + 1) % 4], 3);
    }
  status_code_t status = jpeg_encode(&image, 90, &bytes, &n);
  image_free(&image);
  TRY(status);
  status = base64_encode(bytes, n, base64);
  memory_free(bytes);
  return status;
}

typedef struct {
  int64_t step;
  const char *model, *question, *answer, *score_name, *note;
  double score;
  int picture; /* -1: none */
} fake_sample_t;

static status_t add_sample(json_writer_t *writer, const fake_sample_t *sample) {
  char *base64 = NULL;
  if (sample->picture >= 0) TRY(picture(sample->picture, &base64));
  json_write_object_begin(writer);
  json_write_int_member(writer, "step", sample->step);
  json_write_member(writer, "model", sample->model);
  json_write_member(writer, "question", sample->question);
  json_write_member(writer, "answer", sample->answer);
  json_write_member(writer, "score_name", sample->score_name);
  json_write_real_member(writer, "score", sample->score);
  if (sample->note) json_write_member(writer, "note", sample->note);
  if (base64) json_write_member(writer, "jpeg", base64);
  json_write_object_end(writer);
  json_write_line(writer);
  memory_free(base64);
  return STATUS_OK;
}

static const char *const questions[FAKE_SAMPLES] = {
    "Describe the image in detail.",
    "Is there a yellow star in the image?",
    "How many objects are <b>there</b> & which colours have they?",
    "What is the shape of the object in the lower left?",
};

static status_t add_ppo_samples(json_writer_t *writer, int64_t step, int64_t steps) {
  double progress = (double)step / (double)steps;
  for (int i = 0; i < FAKE_SAMPLES; i++) {
    char answer[512];
    snprintf(answer, sizeof answer,
             "There is a %s red square on the left, and a large blue circle at the bottom right.%s "
             "(answer-%lld-%d)",
             i % 2 ? "small" : "large",
             progress < 0.5 ? " A green triangle lies between them, and a small yellow star is at the top."
                            : "",
             (long long)step, i);
    const fake_sample_t sample = {.step = step,
                                  .model = "policy",
                                  .question = questions[i],
                                  .answer = answer,
                                  .score_name = "reward",
                                  .score = -1.2 + 2.6 * progress + 0.31 * i,
                                  .picture = (int)(step + 3 * i) % 16};
    TRY(add_sample(writer, &sample));
  }
  return STATUS_OK;
}

/* ---- PPO ---- */

static double noise(random_stream_t *stream, double size) {
  return size * random_normal(stream);
}

static void write_value(json_writer_t *writer, const char *name, double value) {
  json_write_real_member(writer, name, value);
}

/* Metrics of one step, as they change in a run that goes well. */
static void add_ppo_line(json_writer_t *writer, random_stream_t *r, int64_t step, int64_t steps) {
  double p = (double)step / (double)steps, rise = 1.0 - exp(-3.0 * p);
  json_write_object_begin(writer);
  json_write_int_member(writer, "step", step);
  write_value(writer, "seconds", 1.7 * (double)step);
  write_value(writer, "objective/kl_coef", 0.1);
  write_value(writer, "objective/kl_sum_seq", fabs(6.0 * rise + noise(r, 0.4)));
  write_value(writer, "objective/kl_avg_seq", fabs(0.18 * rise + noise(r, 0.01)));
  write_value(writer, "objective/length_bonus", -2.2 + 0.7 * rise + noise(r, 0.05));
  write_value(writer, "objective/correct_bonus", 0.4 + 0.5 * rise + noise(r, 0.1));
  write_value(writer, "objective/rewards", -1.4 + 2.9 * rise + noise(r, 0.25));
  write_value(writer, "objective/shaped_rewards", -14.0 + 27.0 * rise + noise(r, 2.0));
  write_value(writer, "objective/non_score_rewards", -0.6 * rise + noise(r, 0.05));
  write_value(writer, "objective/lr", 3e-4 * (step < 5 ? (double)step / 5.0 : 0.5 + 0.5 * cos(3.14159 * p)));
  write_value(writer, "objective/entropies", 0.62 - 0.3 * rise + noise(r, 0.01));
  write_value(writer, "objective/ref_entropies", 0.61 + noise(r, 0.01));
  write_value(writer, "rollout/response_length", 34.0 - 11.0 * rise + noise(r, 0.8));
  write_value(writer, "rollout/response_length_min", 2.0 + floor(random_uniform(r) * 2.0));
  write_value(writer, "rollout/response_length_max", 60.0 + floor(random_uniform(r) * 4.0));
  write_value(writer, "rollout/stopped", fmin(1.0, 0.9 + 0.1 * rise + noise(r, 0.01)));
  write_value(writer, "rollout/logprob_gap", 2.4e-6 * (1.0 + random_uniform(r)));
  write_value(writer, "ppo/loss/policy", -0.008 + noise(r, 0.004));
  write_value(writer, "ppo/loss/value", 0.2 + 2.4 * exp(-8.0 * p) + fabs(noise(r, 0.04)));
  write_value(writer, "ppo/loss/grad_norm", 0.9 + 3.0 * exp(-6.0 * p) + fabs(noise(r, 0.2)));
  write_value(writer, "ppo/loss/grad_norm_policy", 0.5 + 0.8 * exp(-6.0 * p) + fabs(noise(r, 0.1)));
  write_value(writer, "ppo/loss/grad_norm_value", 0.7 + 2.7 * exp(-6.0 * p) + fabs(noise(r, 0.15)));
  write_value(writer, "ppo/policy/entropy", 0.62 - 0.3 * rise);
  write_value(writer, "ppo/policy/approxkl", 0.002 + fabs(noise(r, 0.0008)));
  write_value(writer, "ppo/policy/clipfrac", 0.03 + fabs(noise(r, 0.01)));
  write_value(writer, "ppo/val/clipfrac", 0.12 * exp(-4.0 * p) + fabs(noise(r, 0.01)));
  write_value(writer, "ppo/returns/mean", -10.0 + 24.0 * rise + noise(r, 1.0));
  write_value(writer, "ppo/returns/var", 60.0 + noise(r, 4.0));
  write_value(writer, "ppo/val/vpred", -9.0 + 22.0 * rise);
  write_value(writer, "ppo/val/error", 8.0 + 90.0 * exp(-9.0 * p) + fabs(noise(r, 2.0)));
  write_value(writer, "ppo/val/mean", -8.0 + 21.0 * rise + noise(r, 0.8));
  write_value(writer, "ppo/val/var", 20.0 + noise(r, 1.0));
  if (step % 20 == 0 || step == 1) {
    write_value(writer, "eval/hallucination", 0.41 - 0.2 * rise + noise(r, 0.01));
    write_value(writer, "eval/open_hallucination", 0.52 - 0.24 * rise + noise(r, 0.01));
    write_value(writer, "eval/rating", 3.1 + 1.1 * rise + noise(r, 0.05));
    write_value(writer, "eval/claims_right", 0.78 + 0.11 * rise);
    write_value(writer, "eval/claims_absent", 0.14 - 0.08 * rise);
    write_value(writer, "eval/recall", 0.83 - 0.04 * rise);
    write_value(writer, "eval/words", 21.0 - 6.0 * rise);
  }
  write_value(writer, "step_seconds", 1.6 + fabs(noise(r, 0.2)));
  json_write_object_end(writer);
  json_write_line(writer);
}

typedef status_t (*fill_t)(json_writer_t *writer, int64_t steps);

static status_t put_lines(const char *folder, const char *name, fill_t fill, int64_t steps) {
  json_writer_t *writer;
  char *text = NULL;
  size_t n;
  TRY(json_writer_create(NULL, &writer));
  TRY(fill(writer, steps));
  TRY(json_writer_finish(writer, &text, &n));
  status_code_t status = put(folder, name, text, n);
  memory_free(text);
  return status;
}

static status_t ppo_metrics(json_writer_t *writer, int64_t steps) {
  random_stream_t stream = random_stream(5, RANDOM_TEST, 0);
  for (int64_t s = 1; s <= steps; s++)
    add_ppo_line(writer, &stream, s, steps);
  return STATUS_OK;
}

static status_t ppo_samples(json_writer_t *writer, int64_t steps) {
  for (int64_t s = 1; s <= steps; s++)
    if (s == 1 || s % 10 == 0) TRY(add_ppo_samples(writer, s, steps));
  return STATUS_OK;
}

static const double ppo_seconds[REGION_COUNT] = {
    [REGION_SETUP] = 1.1,         [REGION_DATA_WAIT] = 4.0,  [REGION_TOWER] = 22.0,
    [REGION_PREFILL] = 15.0,      [REGION_DECODE] = 121.0,   [REGION_QUEUE_WAIT] = 0.2,
    [REGION_POLICY] = 31.0,       [REGION_REFERENCE] = 30.0, [REGION_VALUE] = 33.0,
    [REGION_REWARD] = 35.0,       [REGION_FORWARD] = 61.0,   [REGION_BACKWARD] = 118.0,
    [REGION_REDUCE] = 8.0,        [REGION_OPTIMISER] = 11.0, [REGION_CHECKPOINT] = 3.0,
    [REGION_ROLLOUT_WRITE] = 2.0, [REGION_EVALUATE] = 9.0,   [REGION_IMBALANCE] = 12.0,
    [REGION_OTHER] = 5.0,
};

status_t fake_ppo_run(const char *folder, int64_t steps) {
  static const char input[] = "&job\n  task = 'ppo'\n  run_dir = 'runs/ppo'\n/\n&ppo\n  kl_coef = 0.1\n/\n";
  TRY(put_run(folder, "ppo", "done", 524.6));
  TRY(put_perf(folder, ppo_seconds, 524.6));
  TRY(put_lines(folder, "metrics.jsonl", ppo_metrics, steps));
  TRY(put_lines(folder, "samples.jsonl", ppo_samples, steps));
  return put(folder, "input.nml", input, sizeof input - 1);
}

/* ---- Evaluation ---- */

static status_t evaluate_samples(json_writer_t *writer, int64_t steps) {
  static const char *const models[] = {"runs/sft/model.h5", "runs/ppo_plain/model.h5", "runs/ppo/model.h5"};
  static const char *const answers[] = {
      "There is a large red square on the left, a blue circle, and a small yellow star next to it.",
      "A large red square and a blue circle, a green triangle, and another red square at the top.",
      "There is a large red square on the left and a blue circle at the bottom right.",
  };
  static const double ratings[] = {1, 2, 6};
  (void)steps;
  for (int m = 0; m < 3; m++)
    for (int i = 0; i < FAKE_SAMPLES; i++) {
      const fake_sample_t sample = {.model = models[m],
                                    .question = questions[i],
                                    .answer = answers[m],
                                    .score_name = "rating",
                                    .score = ratings[m],
                                    .note = m < 2 ? "hallucinates" : NULL,
                                    .picture = i < 3 ? 5 * i : -1};
      TRY(add_sample(writer, &sample));
    }
  return STATUS_OK;
}

static const char evaluation[] =
    "{\"models\": ["
    "{\"model\": \"runs/sft/model.h5\", \"questions\": 400, \"dropped\": 0, \"rating\": 3.12, "
    "\"hallucination\": 0.41, "
    "\"open_hallucination\": 0.53, \"claims_right\": 0.78, \"clean_claims_right\": 0.84, \"claims_absent\": "
    "0.14, "
    "\"recall\": 0.83, \"words\": 21.2, \"types\": {\"attribute\": {\"answers\": 50, \"rating\": 3.4, "
    "\"hallucination\": 0.3}, \"holistic description\": {\"answers\": 50, \"rating\": 2.1, "
    "\"hallucination\": 0.6}}, "
    "\"pope\": {\"TP\": 80, \"FP\": 20, \"TN\": 78, \"FN\": 22, \"accuracy\": 0.79, \"precision\": 0.8, "
    "\"recall\": "
    "0.784, \"f1\": 0.792, \"yes_ratio\": 0.5}},"
    "{\"model\": \"runs/ppo_plain/model.h5\", \"questions\": 400, \"dropped\": 0, \"rating\": 3.3, "
    "\"hallucination\": "
    "0.38, \"open_hallucination\": 0.49, \"claims_right\": 0.79, \"clean_claims_right\": 0.85, "
    "\"claims_absent\": "
    "0.12, \"recall\": 0.86, \"words\": 25.9, \"types\": {\"attribute\": {\"answers\": 50, \"rating\": 3.5, "
    "\"hallucination\": 0.28}, \"holistic description\": {\"answers\": 50, \"rating\": 2.3, "
    "\"hallucination\": "
    "0.55}}},"
    "{\"model\": \"runs/ppo/model.h5\", \"questions\": 400, \"dropped\": 0, \"rating\": 4.05, "
    "\"rating_low\": 3.94, \"rating_high\": 4.16, \"rating_answers\": 399, \"hallucination_low\": 0.183, "
    "\"hallucination_high\": 0.263, \"hallucination_answers\": 399, \"open_hallucination_low\": null, "
    "\"hallucination\": 0.22, "
    "\"open_hallucination\": 0.28, \"claims_right\": 0.89, \"clean_claims_right\": 0.91, \"claims_absent\": "
    "0.06, "
    "\"recall\": 0.8, \"words\": 15.3, \"types\": {\"attribute\": {\"answers\": 50, \"rating\": 4.2, "
    "\"hallucination\": 0.2}, \"holistic description\": {\"answers\": 50, \"rating\": 3.6, "
    "\"hallucination\": 0.3}}}"
    "]}\n";

status_t fake_evaluate_run(const char *folder) {
  static const double seconds[REGION_COUNT] = {
      [REGION_SETUP] = 0.4, [REGION_TOWER] = 3.0, [REGION_PREFILL] = 2.0, [REGION_DECODE] = 14.0};
  TRY(put_run(folder, "evaluate", "done", 21.3));
  TRY(put_perf(folder, seconds, 21.3));
  TRY(put(folder, "evaluation.json", evaluation, sizeof evaluation - 1));
  return put_lines(folder, "samples.jsonl", evaluate_samples, 0);
}

/* ---- Reward model ---- */

static status_t rm_metrics(json_writer_t *writer, int64_t steps) {
  random_stream_t stream = random_stream(6, RANDOM_TEST, 0);
  for (int64_t s = 1; s <= steps; s++) {
    double p = (double)s / (double)steps;
    json_write_object_begin(writer);
    json_write_int_member(writer, "step", s);
    write_value(writer, "seconds", (double)s);
    write_value(writer, "rm/loss", 0.69 - 0.3 * p + noise(&stream, 0.02));
    write_value(writer, "rm/accuracy", 0.5 + 0.33 * p + noise(&stream, 0.03));
    write_value(writer, "rm/mean_score", noise(&stream, 0.1));
    write_value(writer, "rm/label_share", 0.5 + noise(&stream, 0.05));
    write_value(writer, "rm/lr", 2e-5);
    write_value(writer, "rm/grad_norm", 1.4 + noise(&stream, 0.2));
    if (s % 5 == 0) write_value(writer, "eval/loss", 0.69 - 0.26 * p);
    if (s % 5 == 0) write_value(writer, "eval/accuracy", 0.5 + 0.28 * p);
    json_write_object_end(writer);
    json_write_line(writer);
  }
  return STATUS_OK;
}

status_t fake_rm_run(const char *folder) {
  TRY(put_run(folder, "rm", "stopped", 31.0));
  return put_lines(folder, "metrics.jsonl", rm_metrics, 20);
}

/* The settings of training reach what they are about: tasks sft and ppo, run on a small world, against what
 * is worked out here from the files that they leave. */
#define _GNU_SOURCE
#include "base/memory.h"
#include "io/formats/rollout_file.h"
#include "io/formats/tokenizer_file.h"
#include "io/h5.h"
#include "io/io_test.h"
#include "io/json.h"
#include "ppo/one_rank.h"
#include "ppo/ppo.h"
#include "ppo/ppo_math.h"
#include "rollout/task_fixture.h"
#include "session/prepare_task.h"
#include "shapes/scene_file.h"
#include "shapes/shapes_tasks.h"
#include "text/answers.h"
#include "text/judging.h"
#include "train/supervised.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 8, NAME_MAX_BYTES = 64 };

/* Files hold fp32. */
static const double tolerance = 2e-5;

static void close_to(const char *what, double got, double expected, double scale) {
  if (!(fabs(got - expected) <= tolerance * fmax(scale, fabs(expected))))
    fail_msg("%s is %.9g, expected %.9g", what, got, expected);
}

/* Runs TASK in folder RUN with the settings REST. */
static void run_task(status_t (*task)(session_t *session), const char *name, const char *run,
                     const char *rest) {
  char input[2048];
  int n = snprintf(input, sizeof input, "&job task='%s' run_dir='@/%s' /\n%s", name, run, rest);
  assert_in_range(n, 1, sizeof input - 1);
  assert_ok(fixture_run(fixture(), mpi_test_world(), 1, input, task));
}

/* Metric NAME of step STEP. */
static double metric(const char *run, int64_t step, const char *name) {
  char file[NAME_MAX_BYTES], path[FILE_MAX_PATH];
  json_reader_t *reader;
  json_element_t element;
  double value = NAN;
  snprintf(file, sizeof file, "%s/metrics.jsonl", run);
  assert_ok(json_reader_open(fixture_path(fixture(), file, path), JSON_ELEMENTS, &reader));
  for (;;) {
    int64_t at;
    assert_ok(json_reader_next(reader, &element));
    if (!element.value) break;
    assert_ok(json_int(element.value, "step", "metrics", &at));
    if (at == step && json_get(element.value, name))
      assert_ok(json_real(element.value, name, "metrics", &value));
  }
  json_reader_close(reader);
  if (isnan(value)) fail_msg("%s has no %s at step %lld", run, name, (long long)step);
  return value;
}

/* ---- What is trained on ---- */

/* Questions that are answered by yes, which is wrong (caption type 6), with a length multiplier each. */
static void write_samples(void) {
  char path[FILE_MAX_PATH], text[SAMPLES * 400] = "[";
  scene_table_t scenes;
  assert_ok(scene_table_read(fixture_path(fixture(), "world/scenes.jsonl", path), &scenes));
  for (int i = 0; i < SAMPLES; i++) {
    size_t used = strlen(text);
    snprintf(text + used, sizeof text - used,
             "%s{\"id\": \"s%d\", \"image\": \"%s\", \"caption_type\": 6, \"length_bonus\": %g, "
             "\"conversations\": "
             "[{\"from\": \"human\", \"value\": \"<image>\\nIs there a red circle?\"}, {\"from\": \"gpt\", "
             "\"value\": \"Yes.\"}]}",
             i > 0 ? ",\n" : "", i, scenes.entries[scenes.count - 1 - i].image, 0.5 + 0.25 * i);
  }
  strcat(text, "]\n");
  scene_table_free(&scenes);
  io_test_write(fixture_path(fixture(), "yes.json", path), text);
}

/* The dataset, and a model that has learnt to say yes, mostly. */
static void set_up(void **state) {
  fixture_set_up(state);
  write_samples();
  run_task(prepare_task_run, "prepare", "prepare",
           "&prepare conversations='@/yes.json' facts='@/world/facts.json' image_folder='@/world/images' "
           "output='@/yes.h5' /\n");
  run_task(supervised_run, "sft", "start",
           "&model base='@/model.h5' train='decoder' /\n&data dataset='@/yes.h5' /\n"
           "&optim lr=1e-2 batch=8 steps=16 schedule='constant' warmup_ratio=0 /\n");
}

/* ---- The optimiser ---- */

enum { NORMS = 32 };
static const char weight[] = "model.norm.weight"; /* (NORMS) */

static void read_weight(const char *file, const char *object, float values[NORMS]) {
  char path[FILE_MAX_PATH];
  h5_file_t *h5;
  assert_ok(h5_open(fixture_path(fixture(), file, path), H5_READ, NULL, &h5));
  assert_ok(h5_read_rows(h5, object, H5TYPE_F32, 0, NORMS, values));
  assert_ok(h5_close(h5));
}

/* State STATE of the weight after the first step of RUN. */
static void read_state(const char *run, const char *state, float values[NORMS]) {
  char file[NAME_MAX_BYTES * 2], object[NAME_MAX_BYTES * 2];
  snprintf(file, sizeof file, "%s/checkpoints/step_00000001.h5", run);
  snprintf(object, sizeof object, "/optimizer/policy/%s/%s", weight, state);
  read_weight(file, object, values);
}

#define SFT                                                                                                  \
  "&model base='@/model.h5' train='decoder' /\n&data dataset='@/yes.h5' /\n&checkpoint every=1 keep=0 /\n"
/* The first of two steps of the warm-up. */
#define OPTIM                                                                                                \
  "&optim lr=2e-2 batch=4 steps=4 schedule='linear' warmup_steps=2 betas=0.7, 0.96 eps=1e-3 "                \
  "weight_decay=0.25 "

/* One step of AdamW (Loshchilov and Hutter): m = (1 - beta1) g, v = (1 - beta2) g^2, and the weight moves by
 * lr (g / (|g| + eps) + weight_decay w). */
static void the_optimiser_is_as_set(void **state) {
  float m[NORMS], v[NORMS], master[NORMS], before[NORMS], clipped[NORMS];
  const double lr = 1e-2, beta1 = 0.7, beta2 = 0.96, eps = 1e-3, decay = 0.25, clip = 0.01;
  char object[NAME_MAX_BYTES];
  (void)state;
  run_task(supervised_run, "sft", "free", SFT OPTIM "/\n");
  run_task(supervised_run, "sft", "clipped", SFT OPTIM "grad_clip=0.01 /\n");
  snprintf(object, sizeof object, "/weights/%s", weight);
  read_weight("model.h5", object, before);
  read_state("free", "m", m);
  read_state("free", "v", v);
  read_state("free", "master", master);
  read_state("clipped", "m", clipped);
  double norm = metric("free", 1, "sft/grad_norm");
  assert_true(norm > 2.0 * clip);
  close_to("norm before clipping", metric("clipped", 1, "sft/grad_norm"), norm, 0.0);
  for (int i = 0; i < NORMS; i++) {
    double g = m[i] / (1.0 - beta1);
    assert_true(g != 0.0);
    close_to("v", v[i], (1.0 - beta2) * g * g, 0.0);
    close_to("weight", master[i], before[i] - lr * (g / (fabs(g) + eps) + decay * before[i]), 0.0);
    close_to("clipped m", clipped[i], m[i] * clip / norm, 0.0);
  }
}

/* Two steps up, then down to what a fifth step would have: zero. */
static void the_learning_rate_goes_by_step(void **state) {
  static const double expected[] = {1e-2, 2e-2, 2e-2, 1e-2};
  (void)state;
  for (int s = 0; s < 4; s++)
    close_to("learning rate", metric("free", s + 1, "sft/lr"), expected[s], 0.0);
}

/* All checkpoints of "free" are there; of "few" the newest three, of every second step and the last. */
static void checkpoints_are_kept_as_asked_for(void **state) {
  (void)state;
  run_task(
      supervised_run, "sft", "few",
      "&model base='@/model.h5' train='lora' /\n&adapter r=2 alpha=2 /\n&data dataset='@/yes.h5' limit=3 /\n"
      "&checkpoint every=2 keep=3 /\n&optim batch=2 steps=7 /\n");
  for (int step = 1; step <= 7; step++) {
    char path[FILE_MAX_PATH], file[NAME_MAX_BYTES];
    snprintf(file, sizeof file, "free/checkpoints/step_%08d.h5", step);
    assert_int_equal(file_exists(fixture_path(fixture(), file, path)), step <= 4);
    snprintf(file, sizeof file, "few/checkpoints/step_%08d.h5", step);
    assert_int_equal(file_exists(fixture_path(fixture(), file, path)), step == 4 || step == 6 || step == 7);
  }
  assert_ok(comm_barrier(mpi_test_world()));
}

/* ---- PPO: rewards ---- */

#define PPO                                                                                                  \
  "&model base='@/start/model.h5' /\n&adapter r=4 alpha=4 /\n&data dataset='@/yes.h5' query_len=128 /\n"     \
  "&optim lr=1e-2 warmup_steps=0 schedule='constant' grad_clip=0 /\n"

static void read_rollout(const char *run, int64_t step, rollout_file_t *out) {
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  assert_ok(rollout_file_path(path, fixture_path(fixture(), run, folder), step));
  assert_ok(rollout_file_read(path, 0, -1, NULL, out));
  assert_int_equal(out->samples, SAMPLES);
}

static void widen(const float *values, int64_t n, double **out) {
  assert_ok(memory_alloc(out, ARENA_OTHER, (size_t)n, sizeof **out));
  for (int64_t i = 0; i < n; i++)
    (*out)[i] = values[i];
}

/* What ppo_rewards, which has tests of its own, makes of the file's inputs under OPTIONS is what the file
 * holds. */
static void check_rewards(const ppo_options_t *options, const rollout_file_t *file) {
  int64_t tokens = file->response_offsets[SAMPLES];
  bool stopped[SAMPLES];
  double *in[6], *out[4], reward[SAMPLES], bonus[SAMPLES];
  const float *inputs[] = {file->token[ROLLOUT_LOGPROB], file->token[ROLLOUT_REF_LOGPROB],
                           file->token[ROLLOUT_VALUE],   file->raw_reward,
                           file->length_multiplier,      file->correct};
  static const struct {
    const char *name;
    rollout_token_t token;
  } results[] = {{"kl", ROLLOUT_KL},
                 {"shaped reward", ROLLOUT_SHAPED_REWARD},
                 {"advantage", ROLLOUT_ADVANTAGE},
                 {"return", ROLLOUT_RETURN}};
  for (int k = 0; k < 6; k++)
    widen(inputs[k], k < 3 ? tokens : SAMPLES, &in[k]);
  for (int k = 0; k < 4; k++)
    assert_ok(memory_alloc(&out[k], ARENA_OTHER, (size_t)tokens, sizeof **out));
  for (int i = 0; i < SAMPLES; i++)
    stopped[i] = file->stopped[i] != 0;
  ppo_samples_t samples = {.offsets = file->response_offsets, .stopped = stopped};
  samples.logprob = in[0], samples.ref_logprob = in[1], samples.value = in[2];
  samples.raw_reward = in[3], samples.length_multiplier = in[4], samples.correct = in[5];
  samples.kl = out[0], samples.shaped_reward = out[1], samples.advantage = out[2], samples.ret = out[3];
  samples.reward = reward, samples.length_bonus = bonus;
  one_rank_t rank;
  one_rank(&rank, SAMPLES, &samples);
  assert_ok(ppo_rewards(options, &samples));
  assert_ok(ppo_advantages(options, &samples));
  for (int k = 0; k < 4; k++)
    for (int64_t t = 0; t < tokens; t++)
      close_to(results[k].name, file->token[results[k].token][t], out[k][t], 1.0);
  for (int i = 0; i < SAMPLES; i++) {
    close_to("reward", file->reward[i], reward[i], 1.0);
    close_to("length bonus", file->length_bonus[i], bonus[i], 1.0);
    close_to("length multiplier", file->length_multiplier[i], 0.5 + 0.25 * (double)file->id[i], 1.0);
  }
  for (int k = 0; k < 6; k++)
    memory_free(in[k]);
  for (int k = 0; k < 4; k++)
    memory_free(out[k]);
}

/* All that the rewards depend on occurs: answers that end and that do not, some that are known to be right or
 * wrong, and a policy that has left the reference. */
static void check_variety(const rollout_file_t *file) {
  int stopped = 0, judged = 0;
  double kl = 0.0;
  for (int i = 0; i < SAMPLES; i++) {
    stopped += file->stopped[i];
    judged += file->correct[i] != 0.0f;
  }
  for (int64_t t = 0; t < file->response_offsets[SAMPLES]; t++)
    kl += file->token[ROLLOUT_KL][t];
  assert_in_range(stopped, 1, SAMPLES - 1);
  assert_true(judged > 0);
  assert_true(kl > 1e-3);
}

/* The losses of the first forward, before which nothing has changed: every ratio is 1. */
static void check_losses(const char *run, const ppo_options_t *options, const rollout_file_t *file) {
  double policy = 0.0, value = 0.0;
  int64_t tokens = file->response_offsets[SAMPLES];
  for (int i = 0; i < SAMPLES; i++) {
    int64_t begin = file->response_offsets[i], end = file->response_offsets[i + 1];
    double length = (double)(end - begin), share = 1.0 / (double)tokens;
    if (options->loss_norm == LOSS_NORM_SEQUENCE) share = 1.0 / (SAMPLES * length);
    if (options->loss_norm == LOSS_NORM_FIXED) share = 1.0 / (SAMPLES * (double)options->response_len);
    for (int64_t t = begin; t < end; t++) {
      double error = file->token[ROLLOUT_VALUE][t] - file->token[ROLLOUT_RETURN][t];
      policy -= share * file->token[ROLLOUT_ADVANTAGE][t];
      value += 0.5 * share * error * error;
    }
  }
  close_to("policy loss", metric(run, 2, "ppo/loss/policy"), policy, 1.0);
  close_to("value loss", metric(run, 2, "ppo/loss/value"), value, 1.0);
}

#define REWARD "&reward model='@/reward.h5' correct_bonus=3 length_bonus=-2 no_stop_penalty=-4 bias=0.25 "
#define ROLLOUT "&rollout batch=8 response_len=4 temperature=1.25 /\n"
#define STEPS "&ppo steps=2 minibatch=8 inner_epochs=1 kl_coef=0.3 gamma=0.9 lam=0.8 "

static void rewards_are_as_set(void **state) {
  static const struct {
    const char *run, *rest;
    ppo_options_t options;
  } cases[] = {
      {"scaled",
       REWARD "/\n" STEPS "reward_scale=5 /\n",
       {.kl_estimator = KL_K1, .reward_scale = 5.0, .relative_penalty = true}},
      {"whitened",
       REWARD "/\n" STEPS "whiten_rewards=T reward_scale=5 loss_norm='sequence' /\n",
       {.kl_estimator = KL_K1,
        .reward_scale = 5.0,
        .whiten_rewards = true,
        .loss_norm = LOSS_NORM_SEQUENCE,
        .relative_penalty = true}},
      {"replaced",
       REWARD "relative_penalty=F /\n" STEPS "kl_estimator='k3' reward_scale=1 loss_norm='fixed' /\n",
       {.kl_estimator = KL_K3, .reward_scale = 1.0, .loss_norm = LOSS_NORM_FIXED}},
  };
  (void)state;
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    char rest[1024];
    rollout_file_t file;
    ppo_options_t options = cases[c].options;
    options.kl_coef = 0.3;
    options.gamma = 0.9;
    options.lam = 0.8;
    options.correct_bonus = 3.0;
    options.length_bonus = -2.0;
    options.no_stop_penalty = -4.0;
    options.bias = 0.25;
    options.response_len = 4;
    snprintf(rest, sizeof rest, "%s%s%s", PPO, ROLLOUT, cases[c].rest);
    run_task(ppo_run, "ppo", cases[c].run, rest);
    read_rollout(cases[c].run, 2, &file);
    check_variety(&file);
    check_rewards(&options, &file);
    check_losses(cases[c].run, &options, &file);
    assert_true(metric(cases[c].run, 2, "rollout/logprob_gap") < 1e-9); /* one temperature everywhere */
    rollout_file_free(&file);
  }
}

/* ---- PPO: the update ---- */

#define UPDATE PPO ROLLOUT "&reward model='@/reward.h5' /\n&ppo steps=1 reward_scale=1 "

static void the_update_is_as_set(void **state) {
  static const struct {
    const char *run, *rest;
    bool moves, policy_clips, value_clips; /* between updates of a step; in the second epoch */
  } cases[] = {
      {"once", UPDATE "minibatch=8 inner_epochs=1 vf_coef=0.1 /\n", false, false, false},
      {"weighed", UPDATE "minibatch=8 inner_epochs=1 vf_coef=0.3 /\n", false, false, false},
      {"halves", UPDATE "minibatch=4 inner_epochs=1 clip=1e6 clip_value=1e6 /\n", true, false, false},
      {"policy", UPDATE "minibatch=8 inner_epochs=2 clip=1e-6 clip_value=1e6 /\n", true, true, false},
      {"value", UPDATE "minibatch=8 inner_epochs=2 clip=1e6 clip_value=1e-6 /\n", true, false, true},
  };
  (void)state;
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    run_task(ppo_run, "ppo", cases[c].run, cases[c].rest);
    assert_int_equal(metric(cases[c].run, 1, "ppo/policy/approxkl") > 1e-9, cases[c].moves);
    assert_int_equal(metric(cases[c].run, 1, "ppo/policy/clipfrac") > 0.0, cases[c].policy_clips);
    assert_int_equal(metric(cases[c].run, 1, "ppo/val/clipfrac") > 0.0, cases[c].value_clips);
  }
  close_to("the policy's gradient", metric("weighed", 1, "ppo/loss/grad_norm_policy"),
           metric("once", 1, "ppo/loss/grad_norm_policy"), 0.0);
  close_to("the value's gradient", metric("weighed", 1, "ppo/loss/grad_norm_value"),
           3.0 * metric("once", 1, "ppo/loss/grad_norm_value"), 0.0);
}

/* ---- PPO: responses ---- */

/* The answers of a step of RUN with the settings ROLLOUT_SETTINGS, from the model without its adapter. */
static void respond(const char *run, const char *rollout_settings, const char *job, rollout_file_t *out) {
  char input[1024];
  snprintf(input, sizeof input,
           "&job task='ppo' run_dir='@/%s' %s /\n&model base='@/model.h5' /\n&adapter r=2 alpha=2 /\n"
           "&data dataset='@/yes.h5' query_len=128 /\n&reward model='@/reward.h5' /\n&rollout batch=8 %s /\n"
           "&ppo steps=1 minibatch=8 inner_epochs=1 /\n&optim lr=0 /\n",
           run, job, rollout_settings);
  assert_ok(fixture_run(fixture(), mpi_test_world(), 1, input, ppo_run));
  read_rollout(run, 1, out);
}

/* The response to the dataset's row ROW. */
static text_view_t response_of(const rollout_file_t *file, int64_t row) {
  for (int i = 0; i < SAMPLES; i++)
    if (file->id[i] == row) {
      int64_t begin = file->response_offsets[i];
      return (text_view_t){(const char *)&file->response_tokens[begin],
                           (size_t)(file->response_offsets[i + 1] - begin) * sizeof(int32_t)};
    }
  fail_msg("no response to row %lld", (long long)row);
  return (text_view_t){0};
}

/* Rows that have other responses in B than in A. */
static int rows_that_differ(const rollout_file_t *a, const rollout_file_t *b) {
  int differ = 0;
  for (int row = 0; row < SAMPLES; row++) {
    text_view_t one = response_of(a, row), other = response_of(b, row);
    differ += one.n != other.n || memcmp(one.bytes, other.bytes, one.n) != 0;
  }
  return differ;
}

/* The likeliest token alone leaves the seed nothing to choose; a temperature near zero does the same. */
static void sampling_is_as_set(void **state) {
  enum { WAYS = 4 };
  static const char *const ways[WAYS] = {"response_len=5 top_k=1", "response_len=5 top_p=1e-6",
                                         "response_len=5 temperature=1e-6", "response_len=5"};
  rollout_file_t likeliest, file;
  (void)state;
  respond("way_0", ways[0], "seed=1", &likeliest);
  for (int w = 0; w < WAYS; w++) {
    char run[NAME_MAX_BYTES];
    snprintf(run, sizeof run, "again_%d", w);
    respond(run, ways[w], "seed=2", &file);
    int differ = rows_that_differ(&likeliest, &file);
    if ((differ == 0) != (w < WAYS - 1)) fail_msg("%s: %d responses differ", ways[w], differ);
    rollout_file_free(&file);
  }
  rollout_file_free(&likeliest);
}

static int64_t cut_after_question(const response_end_t *end, const rollout_file_t *file, int i) {
  int64_t t = file->response_offsets[i];
  while (t < file->response_offsets[i + 1] - 1 && file->response_tokens[t] != end->question[0] &&
         file->response_tokens[t] != end->question[1])
    t++;
  return t + 1 - file->response_offsets[i];
}

/* The same random numbers, so the same answers up to the first question mark. */
static void answers_stop_at_a_question(void **state) {
  rollout_file_t whole, cut;
  tokenizer_t *tokenizer;
  char path[FILE_MAX_PATH];
  int shorter = 0;
  (void)state;
  assert_ok(tokenizer_load(fixture_path(fixture(), "world/tokenizer.model", path), &tokenizer));
  response_end_t end = response_end(tokenizer, TEMPLATE_V1, true);
  tokenizer_free(tokenizer);
  respond("whole", "response_len=96 temperature=9 stop_at_question=F", "", &whole);
  respond("cut", "response_len=96 temperature=9", "", &cut);
  for (int i = 0; i < SAMPLES; i++) {
    int64_t n = cut_after_question(&end, &whole, i);
    shorter += n < whole.response_offsets[i + 1] - whole.response_offsets[i];
    assert_int_equal(cut.response_offsets[i + 1] - cut.response_offsets[i], n);
    assert_memory_equal(&cut.response_tokens[cut.response_offsets[i]],
                        &whole.response_tokens[whole.response_offsets[i]], (size_t)n * sizeof(int32_t));
  }
  assert_true(shorter > 0);
  rollout_file_free(&whole);
  rollout_file_free(&cut);
}

/* ---- PPO: the judging prompt, and the files ---- */

/* Rewards (SAMPLES) of the same answers under other REWARD settings. */
static void judge(const char *run, const char *reward, float rewards[SAMPLES]) {
  char rest[1024];
  rollout_file_t file;
  snprintf(rest, sizeof rest,
           PPO ROLLOUT "&reward model='@/reward.h5' %s /\n&ppo steps=1 minibatch=8 inner_epochs=1 /\n",
           reward);
  run_task(ppo_run, "ppo", run, rest);
  read_rollout(run, 1, &file);
  memcpy(rewards, file.raw_reward, SAMPLES * sizeof *rewards);
  rollout_file_free(&file);
}

static void the_judging_prompt_is_the_one_given(void **state) {
  float builtin[SAMPLES], same[SAMPLES], other[SAMPLES], blind[SAMPLES];
  char path[FILE_MAX_PATH];
  (void)state;
  io_test_write(fixture_path(fixture(), "builtin.txt", path), judging_prompt_builtin());
  io_test_write(fixture_path(fixture(), "other.txt", path),
                "There is no circle. {factual_prompt} There is no square.");
  judge("judged", "", builtin);
  judge("judged_same", "prompt_file='@/builtin.txt'", same);
  judge("judged_other", "prompt_file='@/other.txt' allow_mismatch=T", other);
  judge("judged_blind", "facts=F allow_mismatch=T", blind);
  for (int i = 0; i < SAMPLES; i++) {
    assert_true(same[i] == builtin[i]);
    assert_true(other[i] != builtin[i]);
    assert_true(blind[i] != builtin[i]);
  }
}

static void rollouts_are_written_as_often_as_asked_for(void **state) {
  (void)state;
  run_task(ppo_run, "ppo", "seldom",
           PPO ROLLOUT
           "&reward model='@/reward.h5' /\n&ppo steps=5 minibatch=8 inner_epochs=1 /\n&log rollouts=2 /\n");
  for (int step = 1; step <= 5; step++) {
    char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
    assert_ok(rollout_file_path(path, fixture_path(fixture(), "seldom", folder), step));
    assert_int_equal(file_exists(path), step % 2 == 0);
  }
  assert_ok(comm_barrier(mpi_test_world()));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(set_up),
      cmocka_unit_test(the_optimiser_is_as_set),
      cmocka_unit_test(the_learning_rate_goes_by_step),
      cmocka_unit_test(checkpoints_are_kept_as_asked_for),
      cmocka_unit_test(rewards_are_as_set),
      cmocka_unit_test(the_update_is_as_set),
      cmocka_unit_test(sampling_is_as_set),
      cmocka_unit_test(answers_stop_at_a_question),
      cmocka_unit_test(the_judging_prompt_is_the_one_given),
      cmocka_unit_test(rollouts_are_written_as_often_as_asked_for),
      cmocka_unit_test(fixture_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

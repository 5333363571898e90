#include "base/memory.h"
#include "input/settings.h"
#include "input/settings_table.h"
#include "input/settings_value.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char sft_input[] = "&job task = 'sft' run_dir = 'runs/a' /\n"
                                "&model base = 'b.h5' /\n"
                                "&data dataset = 'd.h5' /\n";

/* Reads TEXT, which must be right. */
static settings_t read_text(const char *text, int n_overrides, const char *const *overrides) {
  settings_t settings;
  if (settings_read_text("test.nml", text, n_overrides, overrides, &settings, NULL) != STATUS_OK)
    fail_msg("%s", error_message());
  return settings;
}

static void values_reach_their_fields(void **state) {
  (void)state;
  settings_t s =
      read_text("&JOB task='ppo' run_dir=\"runs/it's\" seed=+7 max_seconds=1.5D2 deterministic=T /\n"
                "&model base='b' /  &data dataset='d' /  &reward model='r' facts = .FALSE. bias=-3 /\n"
                "&optim betas = 0.8 .95 eps=1d-6 /  &adapter targets='q_proj','v_proj' /\n"
                "&ppo kl_estimator='k3' minibatch=128 max_kl=.5 /",
                0, NULL);
  assert_int_equal(settings_task(&s), TASK_PPO);
  assert_string_equal(s.job.run_dir, "runs/it's");
  assert_int_equal(s.job.seed, 7);
  assert_true(s.job.max_seconds == 150.0);
  assert_true(s.job.deterministic);
  assert_false(s.reward.facts);
  assert_true(s.reward.bias == -3);
  assert_true(s.optim.betas[0] == 0.8 && s.optim.betas[1] == 0.95);
  assert_true(s.optim.eps == 1e-6);
  assert_int_equal(s.adapter.targets.count, 2);
  assert_string_equal(s.adapter.targets.items[1], "v_proj");
  assert_string_equal(s.ppo.kl_estimator, "k3");
  assert_int_equal(s.ppo.minibatch, 128);
  assert_true(s.ppo.max_kl == 0.5);
  settings_free(&s);
}

/* Settings that scripts rely on. */
static void defaults_are_as_documented(void **state) {
  (void)state;
  settings_t s = read_text(
      "&job task='ppo' run_dir='r' / &model base='b' / &data dataset='d' / &reward model='r' /", 0, NULL);
  assert_int_equal(s.job.seed, 1);
  assert_string_equal(s.job.restart, "auto");
  assert_true(s.job.max_seconds == 0);
  assert_false(s.job.deterministic);
  assert_int_equal(s.parallel.tp, 1);
  assert_int_equal(s.parallel.threads, 0);
  assert_string_equal(s.parallel.device, "auto");
  assert_string_equal(s.parallel.dtype, "auto");
  assert_true(s.parallel.timeout == 600);
  assert_string_equal(s.model.template, "v1");
  assert_string_equal(s.model.train, "lora");
  assert_false(s.model.from_scratch);
  assert_int_equal(s.adapter.r, 64);
  assert_true(s.adapter.alpha == 16);
  assert_int_equal(s.adapter.targets.count, 7);
  assert_string_equal(s.image.aspect, "pad");
  assert_int_equal(s.rm.center_group, 4);
  assert_true(s.rm.facts && s.reward.facts && s.reward.relative_penalty);
  assert_true(s.reward.correct_bonus == 2 && s.reward.length_bonus == -10);
  assert_true(s.reward.no_stop_penalty == -8 && s.reward.bias == 0);
  assert_int_equal(s.rollout.batch, 512);
  assert_int_equal(s.rollout.response_len, 896);
  assert_true(s.rollout.temperature == 1 && s.rollout.top_p == 1 && s.rollout.top_k == 0);
  assert_true(s.rollout.stop_at_question);
  assert_int_equal(s.ppo.epochs, 4);
  assert_int_equal(s.ppo.steps, 0);
  assert_int_equal(s.ppo.inner_epochs, 2);
  assert_int_equal(s.ppo.minibatch, 256);
  assert_true(s.ppo.kl_coef == 0.1 && s.ppo.gamma == 1 && s.ppo.lam == 1);
  assert_string_equal(s.ppo.kl_estimator, "k1");
  assert_true(s.ppo.clip == 0.2 && s.ppo.clip_value == 0.2 && s.ppo.vf_coef == 0.1);
  assert_false(s.ppo.whiten_rewards);
  assert_true(s.ppo.reward_scale == 10 && s.ppo.max_kl == 0);
  assert_string_equal(s.ppo.loss_norm, "token");
  assert_string_equal(s.ppo.old_logprob, "recompute");
  settings_free(&s);
}

/* The published settings (learning rate, schedule, batch, length, clipping, images). */
static void defaults_follow_the_task(void **state) {
  (void)state;
  static const struct {
    const char *task, *schedule, *aspect, *train;
    double lr, clip;
    int64_t batch, epochs, max_len;
  } cases[] = {
      {"pretrain", "cosine", "square", "projector", 2e-3, 0, 128, 1, 2048},
      {"sft", "cosine", "pad", "decoder", 2e-5, 0, 128, 3, 1280},
      {"rm", "constant", "pad", "lora", 2e-5, 0.3, 32, 1, 2048},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char task[64];
    snprintf(task, sizeof task, "job.task=%s", cases[i].task);
    const char *const overrides[] = {task};
    settings_t s = read_text(sft_input, 1, overrides);
    assert_string_equal(s.optim.schedule, cases[i].schedule);
    assert_string_equal(s.image.aspect, cases[i].aspect);
    assert_string_equal(s.model.train, cases[i].train);
    assert_true(s.optim.lr == cases[i].lr && s.optim.grad_clip == cases[i].clip);
    assert_true(s.optim.warmup_ratio == 0.03 && s.optim.weight_decay == 0);
    assert_int_equal(s.optim.batch, cases[i].batch);
    assert_int_equal(s.optim.epochs, cases[i].epochs);
    assert_int_equal(s.data.max_len, cases[i].max_len);
    settings_free(&s);
  }
  const char *const ppo[] = {"job.task=ppo", "reward.model=r"};
  settings_t s = read_text(sft_input, 2, ppo);
  assert_true(s.optim.lr == 3e-5 && s.optim.grad_clip == 1);
  assert_int_equal(s.optim.warmup_steps, 5);
  assert_int_equal(s.checkpoint.every, 10);
  settings_free(&s);
}

static void overrides_come_last(void **state) {
  (void)state;
  const char *const overrides[] = {"optim.lr=1e-3",
                                   "OPTIM.lr = 2e-3",
                                   "job.run_dir=a path/with ' = and , signs",
                                   "adapter.targets=q_proj, o_proj",
                                   "optim.betas=0.5,0.6",
                                   "model.adapter='quoted'",
                                   "job.deterministic=true"};
  settings_t s = read_text(sft_input, 7, overrides);
  assert_true(s.optim.lr == 2e-3);
  assert_string_equal(s.job.run_dir, "a path/with ' = and , signs");
  assert_int_equal(s.adapter.targets.count, 2);
  assert_string_equal(s.adapter.targets.items[1], "o_proj");
  assert_true(s.optim.betas[0] == 0.5 && s.optim.betas[1] == 0.6);
  assert_string_equal(s.model.adapter, "quoted");
  assert_true(s.job.deterministic);
  settings_free(&s);
}

static void an_empty_text_is_an_empty_list(void **state) {
  (void)state;
  const char *const overrides[] = {"eval.models="};
  settings_t s = read_text(sft_input, 1, overrides);
  assert_int_equal(s.eval.models.count, 0);
  settings_free(&s);
}

static settings_t read_back(const settings_t *settings) {
  char *text = NULL;
  size_t size = 0;
  FILE *file = open_memstream(&text, &size);
  assert_non_null(file);
  assert_int_equal(settings_echo(settings, file), STATUS_OK);
  fclose(file);
  settings_t again;
  char *warnings = NULL;
  if (settings_read_text("echo", text, 0, NULL, &again, &warnings) != STATUS_OK)
    fail_msg("%s", error_message());
  assert_string_equal(warnings, ""); /* unused settings at their defaults are no news */
  memory_free(warnings);
  free(text);
  return again;
}

static void assert_settings_equal(const settings_t *left, const settings_t *right) {
  int count;
  const setting_t *rows = settings_table(&count);
  for (int i = 0; i < count; i++)
    if (!setting_equal(&rows[i], left, right)) fail_msg("%s.%s differs", rows[i].group, rows[i].name);
}

static void the_echo_reads_back(void **state) {
  (void)state;
  const char *const overrides[] = {"optim.lr=0.1234567890123456789",
                                   "job.run_dir=it's \"here\"! / & ü",
                                   "optim.eps=1e-300",
                                   "optim.betas=0.333333333333333333,0",
                                   "job.seed=9223372036854775807",
                                   "adapter.targets=v_proj,q_proj",
                                   "job.deterministic=.true."};
  settings_t s = read_text(sft_input, 7, overrides);
  settings_t again = read_back(&s);
  assert_settings_equal(&s, &again);
  assert_true(again.job.seed == INT64_MAX);
  settings_free(&again);
  settings_free(&s);
}

/* The defaults of each task, printed, are an input: what is required is all that it lacks. */
static void printed_defaults_read_back(void **state) {
  (void)state;
  static const char *const needed[] = {"job.run_dir=r",     "model.base=b",       "data.dataset=d",
                                       "reward.model=m",    "prepare.output=o",   "import.adapter=a",
                                       "export.output=e",   "eval.dataset=e",     "annotate.pairs=p",
                                       "annotate.scenes=s", "generate.dataset=g", "prepare.conversations=c"};
  for (int task = 0; task < TASK_COUNT; task++) {
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    assert_int_equal(settings_print_defaults(file, task_name((task_t)task)), STATUS_OK);
    fclose(file);
    settings_t printed, plain;
    if (settings_read_text("defaults", text, 12, needed, &printed, NULL) != STATUS_OK)
      fail_msg("%s", error_message());
    char job[64];
    snprintf(job, sizeof job, "&job task='%s' /", task_name((task_t)task));
    assert_int_equal(settings_read_text("plain", job, 12, needed, &plain, NULL), STATUS_OK);
    assert_settings_equal(&printed, &plain);
    settings_free(&printed);
    settings_free(&plain);
    free(text);
  }
}

static void all_defaults_are_printed(void **state) {
  (void)state;
  char *text = NULL;
  size_t size = 0;
  FILE *file = open_memstream(&text, &size);
  assert_non_null(file);
  assert_int_equal(settings_print_defaults(file, NULL), STATUS_OK);
  fclose(file);
  int count;
  const setting_t *rows = settings_table(&count);
  for (int i = 0; i < count; i++) {
    char line[128];
    snprintf(line, sizeof line, "  %s = ", rows[i].name);
    if (!strstr(text, line) && rows[i].standard) fail_msg("%s.%s is missing", rows[i].group, rows[i].name);
  }
  free(text);
  file = fopen("/dev/null", "w");
  assert_non_null(file);
  assert_int_equal(settings_print_defaults(file, "pretrian"), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "pretrain"));
  fclose(file);
  error_clear();
}

static void unused_settings_are_warnings(void **state) {
  (void)state;
  const char *const overrides[] = {"ppo.kl_coef=0.5", "ppo.clip=0.2", "optim.lr=1"};
  settings_t s;
  char *warnings = NULL;
  assert_int_equal(settings_read_text("t", sft_input, 3, overrides, &s, &warnings), STATUS_OK);
  assert_non_null(strstr(warnings, "ppo.kl_coef"));
  assert_null(strstr(warnings, "ppo.clip")); /* holds the default */
  assert_null(strstr(warnings, "optim.lr"));
  memory_free(warnings);
  settings_free(&s);
}

static void files_are_read(void **state) {
  (void)state;
  char path[] = "/tmp/llava_rlhf_input_XXXXXX";
  int descriptor = mkstemp(path);
  assert_true(descriptor >= 0);
  assert_int_equal(write(descriptor, sft_input, sizeof sft_input - 1), (ssize_t)sizeof sft_input - 1);
  settings_t s;
  assert_int_equal(settings_read(path, 0, NULL, &s, NULL), STATUS_OK);
  assert_string_equal(s.model.base, "b.h5");
  settings_free(&s);
  assert_int_equal(write(descriptor, "\0", 1), 1);
  assert_int_equal(settings_read(path, 0, NULL, &s, NULL), STATUS_INPUT); /* zero bytes */
  assert_int_equal(ftruncate(descriptor, 10 << 20), 0);
  assert_int_equal(settings_read(path, 0, NULL, &s, NULL), STATUS_INPUT); /* too large */
  close(descriptor);
  unlink(path);
  assert_int_equal(settings_read(path, 0, NULL, &s, NULL), STATUS_INPUT); /* missing */
  assert_non_null(strstr(error_message(), path));
  assert_int_equal(settings_read("/tmp", 0, NULL, &s, NULL), STATUS_INPUT); /* a folder */
  error_clear();
}

static int nothing_is_left(void **state) {
  (void)state;
  return memory_usage(ARENA_OTHER).current == 0 ? 0 : -1;
}

int main(void) {
#define SETTINGS_TEST(test) cmocka_unit_test_teardown(test, nothing_is_left)
  const struct CMUnitTest tests[] = {
      SETTINGS_TEST(values_reach_their_fields),      SETTINGS_TEST(defaults_are_as_documented),
      SETTINGS_TEST(defaults_follow_the_task),       SETTINGS_TEST(overrides_come_last),
      SETTINGS_TEST(an_empty_text_is_an_empty_list), SETTINGS_TEST(the_echo_reads_back),
      SETTINGS_TEST(printed_defaults_read_back),     SETTINGS_TEST(all_defaults_are_printed),
      SETTINGS_TEST(unused_settings_are_warnings),   SETTINGS_TEST(files_are_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

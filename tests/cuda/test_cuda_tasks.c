/* Whole tasks on a GPU, in a small world that the program makes on the CPU: in fp32 the CPU's samples to the
 * token, its losses and metrics; in bf16 the sampler's log-probabilities beside those of training; several
 * ranks on one GPU, stops and restarts, and the choices that take other ways through the device. An argument
 * is a pattern of the tests to run. With EMULATED the program's device 'cuda' is carried out by the host. */
#include "cli/ppo_world.h"
#include "cuda/cuda.h"

#include "base/memory.h"
#include "io/formats/scores_file.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SKIPPED = 77, TEXT = 1 << 16 };

/* What a run computes on: RANKS 0 is one without mpirun. */
typedef struct {
  const char *device, *dtype;
  int ranks;
  const char *tp;
} place_t;

static const place_t cpu = {"cpu", "f32", 0, "1"}, gpu = {"cuda", "f32", 0, "1"},
                     gpu_bf16 = {"cuda", "bf16", 0, "1"};

#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- Runs ---- */

enum { LINE_MOST = 160 };

typedef struct {
  char texts[5][LINE_MOST];
  const char *arguments[CLI_ARGUMENTS_MAX];
} command_t;

/* INPUT with SETTINGS at PLACE into FOLDER. */
static void make_command(const place_t *place, const char *folder, const char *input,
                         const char *const *settings, command_t *command) {
  const char *const names[] = {"job.run_dir", "parallel.device", "parallel.dtype", "parallel.tp"};
  const char *const values[] = {folder, place->device, place->dtype, place->tp};
  const char *const lora[] = {LORA};
  int n = 0;
  for (size_t i = 0; i < sizeof lora / sizeof *lora; i++)
    command->arguments[n++] = lora[i];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(command->texts[i], LINE_MOST, "%s=%s", names[i], values[i]);
    command->arguments[n++] = "--set";
    command->arguments[n++] = command->texts[i];
  }
  for (; *settings; settings++) {
    command->arguments[n++] = "--set";
    command->arguments[n++] = *settings;
  }
  assert_true(n + 1 < CLI_ARGUMENTS_MAX);
  command->arguments[n++] = input;
  command->arguments[n] = NULL;
}

static void run(const place_t *place, const char *folder, const char *input, const char *const *settings) {
  command_t command;
  cli_result_t result;
  make_command(place, folder, input, settings, &command);
  cli_run(place->ranks, command.arguments, &result);
  cli_expect(&result, 0);
}

/* INPUT on the CPU into NAME_cpu and at PLACE into NAME_gpu. */
typedef struct {
  char cpu[64], gpu[64];
} folders_t;

static folders_t run_both(const place_t *place, const char *name, const char *input,
                          const char *const *settings) {
  folders_t folders;
  snprintf(folders.cpu, sizeof folders.cpu, "%s_cpu", name);
  snprintf(folders.gpu, sizeof folders.gpu, "%s_gpu", name);
  run(&cpu, folders.cpu, input, settings);
  run(place, folders.gpu, input, settings);
  return folders;
}

static void write_input(const char *name, const char *text) {
  cli_write(name, text, strlen(text));
}

/* ---- The world ---- */

static const char score_input[] =
    "&job task = 'score' /\n&model base = 'model.h5' adapter = 'rm/model.h5' /\n"
    "&data dataset = 'world/sft.h5' max_len = 160 limit = 6 /\n&optim micro_tokens = 320 /\n"
    "&reward allow_mismatch = .true. /\n";
static const char evaluate_input[] =
    "&job task = 'evaluate' /\n&model base = 'model.h5' adapter = 'start/model.h5' /\n"
    "&generate max_tokens = 8 /\n"
    "&eval dataset = 'world/eval.h5' judge = 'shapes' scenes = 'world/scenes.jsonl' /\n";
static const char generate_input[] =
    "&job task = 'generate' /\n&model base = 'model.h5' adapter = 'start/model.h5' /\n"
    "&generate dataset = 'world/prompts.h5' samples = 2 temperature = 1.0 max_tokens = 8 /\n"
    "&data limit = 4 /\n";

/* The second step of ppo begins at the checkpoint that the CPU wrote after the first: its policy is no longer
 * its reference, so that no kl is zero, and the value head is no longer zero. */
#define SECOND_STEP "ppo.steps=2", "job.restart=first/checkpoints/step_00000001.h5"

static int enter(void **state) {
  if (ppo_world_enter(state) != 0) return -1;
  write_input("score.nml", score_input);
  write_input("evaluate.nml", evaluate_input);
  write_input("generate.nml", generate_input);
  run(&cpu, "first", "ppo.nml", SETTINGS("ppo.steps=1"));
  run(&cpu, "second", "ppo.nml", SETTINGS(SECOND_STEP));
  assert_true(ppo_world_metric("second", 0, "objective/kl_avg_seq") > 10.0 * ppo_world_tolerance);
  return 0;
}

/* ---- Comparisons ---- */

static void same_text(const folders_t *folders, const char *name) {
  static char found[TEXT], expected[TEXT];
  char path[LINE_MOST];
  snprintf(path, sizeof path, "%s/%s", folders->gpu, name);
  cli_read(path, found, sizeof found);
  snprintf(path, sizeof path, "%s/%s", folders->cpu, name);
  cli_read(path, expected, sizeof expected);
  assert_true(strlen(expected) > 0);
  assert_string_equal(found, expected);
}

static void read_scores(const char *folder, scores_file_t *scores) {
  char path[LINE_MOST];
  snprintf(path, sizeof path, "%s/scores.h5", folder);
  assert_int_equal(scores_file_read(path, 0, -1, scores), STATUS_OK);
}

static void close_scores(const folders_t *folders, double tolerance) {
  scores_file_t found, expected;
  read_scores(folders->gpu, &found);
  read_scores(folders->cpu, &expected);
  assert_true(expected.samples > 0 && expected.has_reward);
  assert_int_equal(found.samples, expected.samples);
  int64_t tokens = expected.offsets[expected.samples];
  assert_int_equal(found.offsets[found.samples], tokens);
  for (int64_t t = 0; t < tokens; t++)
    if (!(fabs((double)(found.logprob[t] - expected.logprob[t])) <= tolerance))
      fail_msg("log-probability %lld is %.9g, expected %.9g", (long long)t, (double)found.logprob[t],
               (double)expected.logprob[t]);
  for (int64_t s = 0; s < expected.samples; s++)
    if (!(fabs((double)(found.reward[s] - expected.reward[s])) <=
          tolerance * fmax(1.0, fabs((double)expected.reward[s]))))
      fail_msg("reward %lld is %.9g, expected %.9g", (long long)s, (double)found.reward[s],
               (double)expected.reward[s]);
  scores_file_free(&found);
  scores_file_free(&expected);
}

/* The step of ppo in FOLDER against the CPU's. */
static void same_step(const char *folder, const char *expected) {
  ppo_world_compare_rollouts(folder, expected, 2);
  assert_int_equal(ppo_world_compare_metrics(folder, expected), 1);
  assert_true(ppo_world_metric(folder, 0, "rollout/logprob_gap") <= 1e-5);
}

/* ---- fp32: the CPU's numbers ---- */

/* Two updates, so that the second loss is that of weights which the device has changed. */
#define TWO_STEPS "optim.steps=2", "optim.batch=2"
#define TWO_PAIRS TWO_STEPS, "rm.center_group=2"

static void sft_is_the_cpus(void **state) {
  (void)state;
  folders_t lora = run_both(&gpu, "lora", "start.nml", SETTINGS(TWO_STEPS));
  assert_int_equal(ppo_world_compare_metrics(lora.gpu, lora.cpu), 2);
  folders_t all = run_both(&gpu, "all", "train.nml", SETTINGS(TWO_STEPS, "data.max_len=256"));
  assert_int_equal(ppo_world_compare_metrics(all.gpu, all.cpu), 2);
}

static void rm_is_the_cpus(void **state) {
  (void)state;
  folders_t rm = run_both(&gpu, "reward", "rm.nml",
                          SETTINGS(TWO_PAIRS, "eval.dataset=pairs.h5", "eval.every=2", "eval.limit=1"));
  assert_true(ppo_world_compare_metrics(rm.gpu, rm.cpu) >= 3);
}

static void ppo_is_the_cpus(void **state) {
  (void)state;
  run(&gpu, "second_gpu", "ppo.nml", SETTINGS(SECOND_STEP));
  same_step("second_gpu", "second");
}

static void answers_are_the_cpus(void **state) {
  (void)state;
  folders_t generated = run_both(&gpu, "generated", "generate.nml", SETTINGS("log.every=1"));
  same_text(&generated, "pairs.json");
  folders_t evaluated = run_both(&gpu, "evaluated", "evaluate.nml", SETTINGS("log.every=1"));
  same_text(&evaluated, "answers_1.jsonl");
  same_text(&evaluated, "evaluation.json");
}

static void scores_are_the_cpus(void **state) {
  (void)state;
  folders_t scored = run_both(&gpu, "scored", "score.nml", SETTINGS("log.every=1"));
  close_scores(&scored, ppo_world_tolerance);
}

/* ---- bf16 ---- */

/* Of a loss, which is a mean over tokens, and of a log-probability: some ten roundings to 8 bits (2^-9 each)
 * in each of three layers, of numbers of the size of one. The mean of a step's entropies, of other samples
 * than the CPU's, is no further apart than a loss. */
static const double mean_bound = 2e-2, gap_bound = 5e-2;

static void compare_losses(const folders_t *folders, const char *name, int lines) {
  for (int line = 0; line < lines; line++) {
    double found = ppo_world_metric(folders->gpu, line, name),
           expected = ppo_world_metric(folders->cpu, line, name);
    if (!(fabs(found - expected) <= mean_bound * fmax(1.0, fabs(expected))))
      fail_msg("%s: %s of line %d is %.9g, expected %.9g", folders->gpu, name, line, found, expected);
  }
}

static void bf16_trains(void **state) {
  (void)state;
  folders_t lora = run_both(&gpu_bf16, "lora16", "start.nml", SETTINGS(TWO_STEPS));
  compare_losses(&lora, "sft/loss", 2);
  folders_t all = run_both(&gpu_bf16, "all16", "train.nml", SETTINGS(TWO_STEPS, "data.max_len=256"));
  compare_losses(&all, "sft/loss", 2);
  folders_t rm = run_both(&gpu_bf16, "reward16", "rm.nml", SETTINGS(TWO_PAIRS));
  compare_losses(&rm, "rm/loss", 2);
}

/* The sampler, with its cache in 16 bits, and the training forward. */
static void bf16_samples_as_it_trains(void **state) {
  (void)state;
  run(&gpu_bf16, "second_16", "ppo.nml", SETTINGS(SECOND_STEP));
  double gap = ppo_world_metric("second_16", 0, "rollout/logprob_gap");
  printf("rollout/logprob_gap in bf16: %.3g\n", gap);
  assert_true(gap <= gap_bound);
  const char *const entropy = "objective/entropies";
  double found = ppo_world_metric("second_16", 0, entropy), expected = ppo_world_metric("second", 0, entropy);
  assert_true(fabs(found - expected) <= mean_bound * expected);
}

/* With batch-invariant operations they are the same to the bit. */
static void bf16_samples_to_the_bit(void **state) {
  static const place_t two = {"cuda", "bf16", 2, "2"};
  static const struct {
    const char *folder, *setting;
    const place_t *place;
  } cases[] = {{"invariant", "model.recompute=full", &gpu_bf16},
               {"invariant_nf4", "model.base_format=nf4", &gpu_bf16},
               {"invariant_two", "rollout.top_p=0.6", &two}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    run(cases[i].place, cases[i].folder, "ppo.nml",
        SETTINGS(SECOND_STEP, "parallel.batch_invariant=T", cases[i].setting));
    assert_true(ppo_world_metric(cases[i].folder, 0, "rollout/logprob_gap") == 0.0);
  }
}

static void bf16_answers(void **state) {
  (void)state;
  run(&gpu_bf16, "generated16", "generate.nml", SETTINGS("log.every=1"));
  run(&gpu_bf16, "evaluated16", "evaluate.nml", SETTINGS("log.every=1"));
  folders_t scored = run_both(&gpu_bf16, "scored16", "score.nml", SETTINGS("log.every=1"));
  close_scores(&scored, gap_bound);
}

/* ---- Several ranks on one GPU ---- */

static void ranks_share_a_gpu(void **state) {
  static const place_t places[] = {{"cuda", "f32", 2, "2"}, {"cuda", "f32", 2, "1"}, {"cuda", "f32", 4, "2"}};
  (void)state;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    char folder[64];
    snprintf(folder, sizeof folder, "shared_%d_%s", places[i].ranks, places[i].tp);
    run(&places[i], folder, "ppo.nml", SETTINGS(SECOND_STEP));
    same_step(folder, "second");
  }
}

/* ---- Stops ---- */

#ifdef EMULATED
enum { STEPS = 5 };
#define TRAINING "optim.steps=5", "optim.batch=2", "checkpoint.every=1"
#else
enum { STEPS = 40 };
#define TRAINING "optim.steps=40", "optim.batch=2", "checkpoint.every=1"
#endif

/* Stopped by a signal after its second step at FIRST, gone on with at SECOND. */
static void stop_and_go_on(const place_t *first, const place_t *second, const char *folder) {
  command_t command;
  cli_result_t result;
  char metrics[LINE_MOST];
  snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", folder);
  make_command(first, folder, "train.nml", SETTINGS(TRAINING), &command);
  cli_child_t *child = cli_start(first->ranks, command.arguments);
  assert_true(cli_wait_lines(child, metrics, 2));
  cli_signal(child, SIGUSR1);
  cli_wait(child, &result);
  cli_expect(&result, 10);
  run(second, folder, "train.nml", SETTINGS(TRAINING));
  assert_int_equal(ppo_world_compare_metrics(folder, "unstopped"), STEPS);
}

static void stopped_runs_go_on_anywhere(void **state) {
  (void)state;
  run(&cpu, "unstopped", "train.nml", SETTINGS(TRAINING));
  stop_and_go_on(&gpu, &gpu, "gpu_gpu");
  stop_and_go_on(&gpu, &cpu, "gpu_cpu");
  stop_and_go_on(&cpu, &gpu, "cpu_gpu");
}

/* ---- Other ways through the device ---- */

/* One setting more, on CPU and GPU. */
static void with_setting(const char *name, const char *setting) {
  folders_t folders = run_both(&gpu, name, "ppo.nml", SETTINGS(SECOND_STEP, setting));
  same_step(folders.gpu, folders.cpu);
}

static void bases_in_nf4(void **state) {
  (void)state;
  with_setting("nf4", "model.base_format=nf4");
}

static void recomputation(void **state) {
  (void)state;
  run(&gpu, "selective", "ppo.nml", SETTINGS(SECOND_STEP, "model.recompute=selective"));
  same_step("selective", "second");
  run(&gpu, "full", "ppo.nml", SETTINGS(SECOND_STEP, "model.recompute=full"));
  same_step("full", "second");
}

static void cuts(void **state) {
  (void)state;
  with_setting("top_k", "rollout.top_k=7");
  with_setting("top_p", "rollout.top_p=0.6");
}

/* So little memory for the cache that responses wait for each other, or are begun again. */
static void small_cache(void **state) {
  enum { BYTES = 150000 };
  const cuda_options_t options = {.real_type = DTYPE_F32, .node_size = 1};
  device_t *device;
  char fraction[64];
  (void)state;
  assert_int_equal(cuda_create(&options, &device), STATUS_OK);
  snprintf(fraction, sizeof fraction, "rollout.cache_fraction=%.3g",
           (double)BYTES / (double)device_free_memory(device, 1));
  device_free(device);
  run(&gpu, "small", "ppo.nml", SETTINGS(SECOND_STEP, fraction));
  same_step("small", "second");
}

/* Each kernel is waited for; and the same bits in two runs. */
static void checked_and_deterministic(void **state) {
  (void)state;
  run(&gpu, "checked", "ppo.nml", SETTINGS(SECOND_STEP, "parallel.check=T", "job.deterministic=T"));
  same_step("checked", "second");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(sft_is_the_cpus),
                                     cmocka_unit_test(rm_is_the_cpus),
                                     cmocka_unit_test(ppo_is_the_cpus),
                                     cmocka_unit_test(answers_are_the_cpus),
                                     cmocka_unit_test(scores_are_the_cpus),
                                     cmocka_unit_test(bf16_trains),
                                     cmocka_unit_test(bf16_samples_as_it_trains),
                                     cmocka_unit_test(bf16_samples_to_the_bit),
                                     cmocka_unit_test(bf16_answers),
                                     cmocka_unit_test(ranks_share_a_gpu),
                                     cmocka_unit_test(stopped_runs_go_on_anywhere),
                                     cmocka_unit_test(bases_in_nf4),
                                     cmocka_unit_test(recomputation),
                                     cmocka_unit_test(cuts),
                                     cmocka_unit_test(small_cache),
                                     cmocka_unit_test(checked_and_deterministic)};
  if (cuda_count() == 0) {
    printf("skipped: no GPU\n");
    return SKIPPED;
  }
#ifdef EMULATED
  setenv("LLAVA_RLHF_BINARY", EMULATED, 1);
  cli_set_patience(1800);
#endif
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, enter, cli_leave);
}

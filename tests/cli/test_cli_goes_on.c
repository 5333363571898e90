/* Tasks that make samples one by one, and are stopped or killed in the midst of it: the next start, on any
 * number of ranks, makes the missing samples only and comes to the bits of the run that was not disturbed. */
#include "cli/kept_count.h"
#include "cli/ppo_world.h"
#include "cli/same.h"

#include "base/memory.h"
#include "io/formats/scores_file.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LOG = 1 << 17, PATH = 192, TOTAL_ANSWERS = 40 };

typedef struct {
  const char *name; /* also of the input NAME.nml and of the folder of the undisturbed run */
  const char *output;
  const char *input;
} goes_on_task_t;

/* One response after the other, so that some are finished before others begin. */
#define GENERATE                                                                                             \
  "&job task = 'generate' deterministic = .true. /\n&model base = 'model.h5' adapter = 'start/model.h5' /\n" \
  "&rollout slots = 1 /\n"                                                                                   \
  "&generate dataset = 'world/pretrain.h5' max_tokens = 12 temperature = 1.0 logprobs = .true. /\n"
static const goes_on_task_t generate = {"generate", "answers.jsonl", GENERATE},
                            split = {"split", "answers.jsonl", GENERATE "&parallel tp = 2 /\n"};
static const goes_on_task_t score = {
    "score", "scores.h5",
    "&job task = 'score' /\n&model base = 'model.h5' adapter = 'rm/model.h5' /\n"
    "&data dataset = 'world/sft.h5' max_len = 160 /\n&optim micro_tokens = 320 /\n"
    "&reward allow_mismatch = .true. /\n"};
static const goes_on_task_t evaluate = {
    "evaluate", "answers_1.jsonl",
    "&job task = 'evaluate' deterministic = .true. /\n&model base = 'model.h5' adapter = 'start/model.h5' /\n"
    "&rollout slots = 1 /\n&generate max_tokens = 8 /\n&data max_len = 160 /\n"
    "&eval dataset = 'world/pretrain.h5' pope = 'world/pope.jsonl' image_folder = 'world/images' /\n"};
static const goes_on_task_t prepare = {
    "prepared", "data.h5",
    "&job task = 'prepare' /\n"
    "&prepare conversations = 'world/pretrain.json' image_folder = 'world/images' workers = 1 /\n"};

static const goes_on_task_t ppo = {
    "ppo_whole", "interrupted_scores",
    "&job task = 'ppo' deterministic = .true. /\n&model base = 'model.h5' adapter = 'start/model.h5' /\n"
    "&adapter r = 4 alpha = 8 /\n&data dataset = 'world/pretrain.h5' query_len = 256 /\n"
    "&reward model = 'rm/model.h5' allow_mismatch = .true. /\n&rollout batch = 12 response_len = 10 /\n"
    "&ppo steps = 1 minibatch = 6 inner_epochs = 1 /\n"
    "&optim lr = 1e-3 warmup_steps = 0 micro_tokens = 200 /\n"};
enum { TOTAL_PPO = 24 }; /* two passes over 12 responses */

/* Each with an evaluation before its only step, and one after it. */
static const goes_on_task_t sft = {
    "sft_whole", "interrupted_evaluation",
    "&job task = 'sft' deterministic = .true. /\n&model base = 'model.h5' train = 'lora' /\n"
    "&adapter r = 4 alpha = 8 /\n&data dataset = 'world/pretrain.h5' max_len = 160 /\n"
    "&optim lr = 1e-3 warmup_ratio = 0 batch = 4 steps = 1 /\n"
    "&eval every = 1 dataset = 'world/pretrain.h5' limit = 18 /\n"};
static const goes_on_task_t rm = {
    "rm_whole", "interrupted_evaluation",
    "&job task = 'rm' deterministic = .true. /\n&model base = 'model.h5' /\n"
    "&adapter r = 4 alpha = 8 /\n&data dataset = 'pairs.h5' /\n"
    "&optim lr = 1e-3 warmup_ratio = 0 batch = 4 steps = 1 /\n"
    "&rm center_group = 2 /\n&eval every = 1 dataset = 'pairs.h5' limit = 6 /\n"};
enum { SFT_PARTS = 5, RM_PARTS = 2, ANY = -1 };

/* ---- Runs ---- */

static void run_as(cli_result_t *result, const char *program, const goes_on_task_t *task, int ranks,
                   const char *folder, const char *set) {
  char place[PATH], input[PATH], output[PATH];
  bool prepares = task == &prepare;
  snprintf(place, sizeof place, "job.run_dir=%s", folder);
  snprintf(output, sizeof output, "prepare.output=%s/data.h5", folder);
  snprintf(input, sizeof input, "%s.nml", task->name);
  cli_write(input, task->input, strlen(task->input));
  cli_use(program);
  CLI_RUN(ranks, result, "--set", place, "--set", prepares ? output : "log.every=1", "--set",
          set ? set : "log.every=1", input);
  cli_use(NULL);
}

static void run(const goes_on_task_t *task, int ranks, const char *folder, const char *set, int status) {
  cli_result_t result;
  run_as(&result, NULL, task, ranks, folder, set);
  cli_expect(&result, status);
}

static const char *path_of(const goes_on_task_t *task, const char *folder) {
  static char path[PATH];
  snprintf(path, sizeof path, "%s/%s", folder, task->output);
  return path;
}

/* Kills rank RANK of RANKS, or ANY, when it writes to what is kept for the CALL-th time; that write is done
 * by half.
 */
static void run_killed(const goes_on_task_t *task, int ranks, const char *folder, int rank, int call) {
  cli_result_t result;
  char below[PATH + 8], number[32], place[32];
  snprintf(below, sizeof below, "%s.kept", path_of(task, folder));
  snprintf(number, sizeof number, "%d", call);
  snprintf(place, sizeof place, "%d", rank);
  if (rank == ANY) strcpy(place, "any");
  setenv("KILL_CALL", number, 1);
  setenv("KILL_RANK", place, 1);
  setenv("KILL_FOLDER", below, 1);
  setenv("KILL_EACH", "1", 1);
  run_as(&result, KILLING, task, ranks, folder, NULL);
  assert_int_not_equal(result.status, 0);
}

/* Signals rank 0 of two at its look LOOK; LOOK 0: never. Its looks are counted. False where the run was
 * through before look LOOK: a rank that waits for a slower one looks more often. */
static bool run_stopped(const goes_on_task_t *task, const char *folder, long look) {
  cli_result_t result;
  char number[32];
  snprintf(number, sizeof number, "%ld", look);
  setenv("STOP_LOOK", number, 1);
  setenv("STOP_RANK", "0", 1);
  setenv("STOP_COUNT", "looks", 1);
  run_as(&result, STOPPING, task, 2, folder, NULL);
  bool stops = look > 0 && cli_looks() >= look;
  cli_expect(&result, stops ? 10 : 0);
  return stops;
}

/* ---- Results ---- */

static const char *log_of(const char *folder) {
  static char text[LOG];
  char path[PATH];
  snprintf(path, sizeof path, "%s/log.txt", folder);
  cli_read(path, text, sizeof text);
  return text;
}

/* The number before TEXT in the log's last line about it. */
static int64_t number_before(const char *folder, const char *text) {
  const char *log = log_of(folder), *last = NULL;
  for (const char *place = log; (place = strstr(place, text)) != NULL; place++)
    last = place;
  if (!last) fail_msg("%s/log.txt does not say '%s'", folder, text);
  while (last > log && (last[-1] == ' '))
    last--;
  while (last > log && last[-1] >= '0' && last[-1] <= '9')
    last--;
  return atoll(last);
}

static void same_bytes(const goes_on_task_t *task, const char *folder) {
  char command[2 * PATH + 16];
  snprintf(command, sizeof command, "cmp %s/%s %s/%s", folder, task->output, task->name, task->output);
  assert_int_equal(system(command), 0);
}

static void same_numbers(const float *found, const float *expected, size_t n, bool exact) {
  for (size_t i = 0; i < n; i++)
    if (exact)
      assert_memory_equal(&found[i], &expected[i], sizeof *found);
    else
      ppo_world_close("scores", "number", (double)found[i], (double)expected[i], 1.0);
}

/* Another layout packs other samples together. */
static void same_scores(const char *folder, bool exact) {
  scores_file_t found, expected;
  assert_int_equal(scores_file_read("score/scores.h5", 0, -1, &expected), STATUS_OK);
  assert_int_equal(scores_file_read(path_of(&score, folder), 0, -1, &found), STATUS_OK);
  size_t n = (size_t)expected.samples, tokens = (size_t)expected.offsets[n];
  assert_int_equal(found.samples, expected.samples);
  assert_memory_equal(found.offsets, expected.offsets, (n + 1) * sizeof *found.offsets);
  assert_memory_equal(found.id, expected.id, n * sizeof *found.id);
  assert_memory_equal(found.tokens, expected.tokens, tokens * sizeof *found.tokens);
  same_numbers(found.logprob, expected.logprob, tokens, exact);
  same_numbers(found.reward, expected.reward, n, exact);
  scores_file_free(&found);
  scores_file_free(&expected);
}

/* Goes on with FOLDER, in which something and not all of COUNT samples is kept: those are taken over, and the
 * others alone are made. */
static void go_on(const goes_on_task_t *task, int ranks, const char *folder, int64_t count) {
  int64_t kept = kept_count(path_of(task, folder));
  assert_in_range(kept, 1, count - 1);
  run(task, ranks, folder, NULL, 0);
  assert_int_equal(number_before(folder, task == &score     ? "scores of earlier starts and"
                                         : task == &prepare ? "images of earlier starts and"
                                         : task == &ppo     ? "scores of responses of earlier starts and"
                                         : task == &sft || task == &rm
                                             ? "parts of an evaluation of earlier starts and"
                                             : "answers of earlier starts and"),
                   kept);
  assert_int_equal(number_before(folder, "of this one are complete"), count - kept);
  assert_false(kept_is_there(path_of(task, folder)));
}

static void copy(const char *from, const char *to) {
  char command[2 * PATH];
  snprintf(command, sizeof command, "rm -rf %s && cp -r %s %s", to, from, to);
  assert_int_equal(system(command), 0);
}

/* ---- Tests ---- */

static int enter(void **state) {
  if (ppo_world_enter(state) != 0) return -1;
  run(&generate, 2, generate.name, NULL, 0);
  return 0;
}

static void a_killed_rank_loses_what_it_was_writing(void **state) {
  (void)state;
  assert_false(kept_is_there(path_of(&generate, generate.name)));
  for (int rank = 0; rank < 2; rank++) {
    char folder[32];
    snprintf(folder, sizeof folder, "killed_%d", rank);
    run_killed(&generate, 2, folder, rank, 9);
    assert_false(cli_exists(path_of(&generate, folder)));
    copy(folder, "other_ranks");
    go_on(&generate, 2, folder, TOTAL_ANSWERS);
    same_bytes(&generate, folder);
    go_on(&generate, rank == 0 ? 1 : 3, "other_ranks", TOTAL_ANSWERS);
    same_bytes(&generate, "other_ranks");
  }
}

/* One rank of two that share a model keeps what both have drawn. */
static void ranks_of_a_tp_group_go_on(void **state) {
  (void)state;
  run(&split, 2, split.name, NULL, 0);
  run_killed(&split, 2, "split_killed", 0, 9);
  copy("split_killed", "split_more");
  go_on(&split, 2, "split_killed", TOTAL_ANSWERS);
  same_bytes(&split, "split_killed");
  go_on(&split, 4, "split_more", TOTAL_ANSWERS);
  same_bytes(&split, "split_more");
}

/* Twice, on other ranks: nothing that was finished once is made again. */
static void starts_that_are_all_killed_come_to_an_end(void **state) {
  (void)state;
  run_killed(&generate, 3, "often", 1, 5);
  int64_t before = kept_count(path_of(&generate, "often"));
  run_killed(&generate, 1, "often", 0, 6);
  assert_in_range(kept_count(path_of(&generate, "often")), before + 1, TOTAL_ANSWERS - 1);
  go_on(&generate, 2, "often", TOTAL_ANSWERS);
  same_bytes(&generate, "often");
}

/* Rank 0 waits for that at one of its looks; the other one gets on. */
static void all_ranks_may_be_killed_at_once(void **state) {
  cli_result_t result;
  (void)state;
  cli_use(STOPPING);
  setenv("STOP_LOOK", "100", 1);
  setenv("STOP_RANK", "0", 1);
  setenv("STOP_WAITS", "go", 1);
  cli_child_t *child =
      CLI_START(2, "--set", "job.run_dir=at_once", "--set", "generate.max_tokens=60", "generate.nml");
  cli_use(NULL);
  unsetenv("STOP_WAITS");
  while (kept_count("at_once/answers.jsonl") < 3)
    assert_false(cli_exists("at_once/answers.jsonl") || cli_has_ended(child));
  int processes[] = {cli_rank_process(child, 0), cli_rank_process(child, 1)};
  for (int rank = 0; rank < 2; rank++)
    kill(processes[rank], SIGKILL);
  cli_wait(child, &result);
  assert_true(kept_count("at_once/answers.jsonl") >= 3);
  run(&generate, 2, "at_once", "generate.max_tokens=60", 0);
  run(&generate, 2, "at_once_whole", "generate.max_tokens=60", 0);
  same_text("at_once", "at_once_whole", "answers.jsonl");
}

static void a_signal_keeps_all_that_is_finished(void **state) {
  (void)state;
  run_stopped(&generate, "looked", 0);
  same_bytes(&generate, "looked");
  assert_true(run_stopped(&generate, "signalled", cli_looks() * 7 / 10));
  assert_non_null(strstr(log_of("signalled"), "the next start of task generate makes the rest"));
  assert_int_equal(number_before("signalled", "of 40 answers for the next start"),
                   kept_count("signalled/answers.jsonl"));
  go_on(&generate, 3, "signalled", TOTAL_ANSWERS);
  same_bytes(&generate, "signalled");
}

/* Answers that were drawn otherwise are set aside, and the log says what differs. */
static void answers_of_other_settings_are_set_aside(void **state) {
  (void)state;
  run_killed(&generate, 2, "settings", 0, 9);
  int64_t kept = kept_count("settings/answers.jsonl");
  run(&generate, 2, "settings", "generate.temperature=0.5", 0);
  assert_non_null(strstr(log_of("settings"), "is of temperature = 1, this start is of temperature = 0.5"));
  assert_non_null(strstr(log_of("settings"), "answers.jsonl.kept.other"));
  run(&generate, 2, "settings_whole", "generate.temperature=0.5", 0);
  same_text("settings", "settings_whole", "answers.jsonl");
  cli_remove("settings/answers.jsonl");
  assert_int_equal(rename("settings/answers.jsonl.kept.other", "settings/answers.jsonl.kept"), 0);
  assert_int_equal(kept_count("settings/answers.jsonl"), kept);
  go_on(&generate, 2, "settings", TOTAL_ANSWERS);
  same_bytes(&generate, "settings");
}

/* Where nothing can be kept the task does its work all the same. */
static void a_disk_that_keeps_nothing_is_a_warning(void **state) {
  (void)state;
  assert_int_equal(system("mkdir refused && touch refused/answers.jsonl.kept"), 0);
  run(&generate, 2, "refused", NULL, 0);
  same_bytes(&generate, "refused");
}

static void scores_go_on(void **state) {
  char whole[64];
  (void)state;
  run(&score, 2, score.name, NULL, 0);
  scores_file_t scores;
  assert_int_equal(scores_file_read("score/scores.h5", 0, -1, &scores), STATUS_OK);
  int64_t count = 2 * scores.samples;
  scores_file_free(&scores);
  for (int call = 5; call < 12; call += 6) {
    snprintf(whole, sizeof whole, "score_%d", call);
    run_killed(&score, 2, whole, 1, call);
    copy(whole, "score_alone");
    go_on(&score, 2, whole, count);
    same_scores(whole, true);
    go_on(&score, 1, "score_alone", count);
    same_scores("score_alone", false);
  }
  run_stopped(&score, "score_looked", 0);
  long look = cli_looks();
  do {
    if (cli_exists("score_signalled")) cli_remove("score_signalled");
    assert_true(--look > 0);
  } while (!run_stopped(&score, "score_signalled", look) || kept_count("score_signalled/scores.h5") == count);
  go_on(&score, 2, "score_signalled", count);
  same_scores("score_signalled", true);
}

/* In the midst of the first set of questions, and of the second one. */
static void evaluations_go_on(void **state) {
  (void)state;
  run(&evaluate, 2, evaluate.name, NULL, 0);
  run_killed(&evaluate, 2, "evaluate_killed", 1, 9);
  go_on(&evaluate, 3, "evaluate_killed", TOTAL_ANSWERS);
  same_bytes(&evaluate, "evaluate_killed");
  same_text("evaluate_killed", "evaluate", "pope_1.jsonl");
  same_text("evaluate_killed", "evaluate", "evaluation.json");
  goes_on_task_t second = evaluate;
  second.output = "pope_1.jsonl";
  run_killed(&second, 2, "evaluate_second", 0, 4);
  assert_true(cli_exists("evaluate_second/answers_1.jsonl"));
  assert_int_equal(kept_count("evaluate_second/answers_1.jsonl"), TOTAL_ANSWERS);
  run(&evaluate, 2, "evaluate_second", NULL, 0);
  assert_non_null(strstr(log_of("evaluate_second"), "40 answers of earlier starts and 0 of this one"));
  same_text("evaluate_second", "evaluate", "pope_1.jsonl");
  same_text("evaluate_second", "evaluate", "evaluation.json");
  assert_false(kept_is_there("evaluate_second/answers_1.jsonl"));
  assert_false(kept_is_there("evaluate_second/pope_1.jsonl"));
}

/* Killed in the first pass, and in the second. */
static void scores_of_a_ppo_step_go_on(void **state) {
  (void)state;
  run(&ppo, 2, ppo.name, NULL, 0);
  for (int call = 4; call < 13; call += 6) {
    char folder[64];
    snprintf(folder, sizeof folder, "ppo_%d", call);
    run_killed(&ppo, 2, folder, 1, call);
    copy(folder, "ppo_alone");
    go_on(&ppo, 2, folder, TOTAL_PPO);
    assert_true(same_weights(folder, ppo.name, "model.h5") > 20);
    same_metrics(folder, ppo.name);
    go_on(&ppo, 1, "ppo_alone", TOTAL_PPO);
    ppo_world_compare_rollouts("ppo_alone", ppo.name, 1);
    ppo_world_compare_metrics("ppo_alone", ppo.name);
  }
}

/* Kills rank 0 when it writes to what is kept for the CALL-th time, or the first one after that at which some
 * of PARTS are there. */
static void kill_in_evaluation(const goes_on_task_t *task, const char *folder, int call, int64_t parts) {
  int64_t kept;
  do {
    if (cli_exists(folder)) cli_remove(folder);
    run_killed(task, 2, folder, 0, call++);
    kept = kept_count(path_of(task, folder));
  } while (kept == 0 || kept == parts);
}

/* Killed in the evaluation before the step; gone on with on the same layout and on another. */
static void supervised_evaluations_go_on(void **state) {
  static const goes_on_task_t *const tasks[] = {&sft, &rm};
  static const int parts[] = {SFT_PARTS, RM_PARTS};
  (void)state;
  for (int t = 0; t < 2; t++) {
    char folder[64], alone[80];
    snprintf(folder, sizeof folder, "%s_killed", tasks[t]->name);
    snprintf(alone, sizeof alone, "%s_alone", folder);
    run(tasks[t], 2, tasks[t]->name, NULL, 0);
    kill_in_evaluation(tasks[t], folder, 4, parts[t]);
    copy(folder, alone);
    go_on(tasks[t], 2, folder, parts[t]);
    assert_true(same_weights(folder, tasks[t]->name, "model.h5") > 2);
    same_metrics(folder, tasks[t]->name);
    go_on(tasks[t], 3, alone, parts[t]);
    assert_int_equal(ppo_world_compare_metrics(alone, tasks[t]->name), 2);
  }
}

static void images_are_decoded_once(void **state) {
  (void)state;
  run(&prepare, 2, prepare.name, NULL, 0);
  int64_t images = number_before(prepare.name, "images\n");
  run_killed(&prepare, 2, "prepare_killed", ANY,
             7); /* one of them has half of the images, whoever is faster */
  copy("prepare_killed", "prepare_alone");
  go_on(&prepare, 2, "prepare_killed", images);
  go_on(&prepare, 1, "prepare_alone", images);
  same_bytes(&prepare, "prepare_killed");
  same_bytes(&prepare, "prepare_alone");
}

/* With an argument: the tasks that train. */
int main(int argc, char **argv) {
  const struct CMUnitTest training[] = {cmocka_unit_test(scores_of_a_ppo_step_go_on),
                                        cmocka_unit_test(supervised_evaluations_go_on)};
  (void)argv;
  if (argc > 1) return cmocka_run_group_tests(training, ppo_world_enter, cli_leave);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_killed_rank_loses_what_it_was_writing),
      cmocka_unit_test(ranks_of_a_tp_group_go_on),
      cmocka_unit_test(starts_that_are_all_killed_come_to_an_end),
      cmocka_unit_test(all_ranks_may_be_killed_at_once),
      cmocka_unit_test(a_signal_keeps_all_that_is_finished),
      cmocka_unit_test(answers_of_other_settings_are_set_aside),
      cmocka_unit_test(a_disk_that_keeps_nothing_is_a_warning),
      cmocka_unit_test(scores_go_on),
      cmocka_unit_test(evaluations_go_on),
      cmocka_unit_test(images_are_decoded_once),
  };
  return cmocka_run_group_tests(tests, enter, cli_leave);
}

/* Stop requests in the midst of a PPO step: exit status 10 and a state of whole steps, from which the next
 * start comes to the same bits as the run that was not stopped. Time limits that leave no room for a step. */
#include "cli/kept_count.h"
#include "cli/ppo_world.h"
#include "cli/same.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 3, TEXT = 1 << 16 };
#define RUN                                                                                                  \
  LORA, "--set", "job.deterministic=T", "--set", "ppo.steps=3", "--set", "checkpoint.every=2", "--set",      \
      "eval.dataset=world/eval.h5", "--set", "eval.every=2", "--set", "eval.limit=4", "ppo.nml"

/* Layouts: ranks and tp. */
typedef struct {
  int ranks;
  const char *tp, *whole; /* whole: folder of the run that is not stopped */
} cli_stop_layout_t;
static const cli_stop_layout_t wide = {2, "parallel.tp=1", "whole_wide"},
                               split = {2, "parallel.tp=2", "whole_split"};

/* Runs the program of stopping.c: rank RANK gets a signal at look LOOK (0: never), and leaves the number of
 * its looks in the file `looks`. How often a rank looks depends on the samples that it happens to draw; false
 * where the run was through before look LOOK. */
static bool run(const cli_stop_layout_t *layout, const char *folder, int rank, long look) {
  cli_result_t result;
  char set[64], number[32], place[32];
  snprintf(set, sizeof set, "job.run_dir=%s", folder);
  snprintf(number, sizeof number, "%ld", look);
  snprintf(place, sizeof place, "%d", rank);
  cli_use(STOPPING);
  setenv("STOP_LOOK", number, 1);
  setenv("STOP_RANK", place, 1);
  setenv("STOP_COUNT", "looks", 1);
  CLI_RUN(layout->ranks, &result, "--set", set, "--set", layout->tp, RUN);
  cli_use(NULL);
  bool stops = look > 0 && cli_looks() >= look;
  cli_expect(&result, stops ? 10 : 0);
  return stops;
}

static void compare_checkpoints(const char *folder, const char *whole) {
  char name[64];
  snprintf(name, sizeof name, "checkpoints/step_%08d.h5", STEPS);
  assert_true(same_weights(folder, whole, name) > 20);
}

/* ---- Tests ---- */

static int count_lines(const char *folder) {
  static char text[TEXT];
  char path[128];
  int lines = 0;
  snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
  if (!cli_exists(path)) return 0;
  cli_read(path, text, sizeof text);
  for (const char *c = text; *c; c++)
    lines += *c == '\n';
  return lines;
}

/* Stops at look LOOK of rank RANK or, where that does not come, at the one before; goes on, and compares with
 * the run that was not stopped. Returns the lines of metrics.jsonl at the stop. */
static int check_stop(const cli_stop_layout_t *layout, int rank, long look) {
  char folder[64], path[128];
  snprintf(folder, sizeof folder, "stop_%s_%d_%ld", layout->whole, rank, look);
  while (!run(layout, folder, rank, look)) {
    cli_remove(folder);
    assert_true(--look > 0);
  }
  snprintf(path, sizeof path, "%s/model.h5", folder);
  assert_false(cli_exists(path));
  int lines = count_lines(folder);
  run(layout, folder, rank, 0);
  same_metrics(folder, layout->whole);
  same_text(folder, layout->whole, "samples.jsonl");
  compare_checkpoints(folder, layout->whole);
  return lines;
}

static void check_layout(const cli_stop_layout_t *layout) {
  run(layout, layout->whole, 1, 0);
  double looks = (double)cli_looks();
  assert_true(looks > 4 * STEPS);
  /* In the first step, one rank's request alone; in the second, or its evaluation; in the third. */
  int first = check_stop(layout, 1, 1 + (long)(0.1 * looks));
  int middle = check_stop(layout, 0, 1 + (long)(0.5 * looks));
  int last = check_stop(layout, 1, 1 + (long)(0.9 * looks));
  assert_true(first <= 1 && first <= middle && middle <= last && last < count_lines(layout->whole));
}

static void a_stop_inside_a_step_loses_that_step_only(void **state) {
  (void)state;
  check_layout(&wide);
}

static void ranks_of_a_tp_group_stop_together(void **state) {
  (void)state;
  check_layout(&split);
}

/* Each start of the same command, which names the checkpoint to begin at, goes on from where the one before
 * it was stopped, after a step or more; a start that has another checkpoint to begin at begins there. */
static void a_run_begun_at_a_checkpoint_comes_to_its_end(void **state) {
  cli_result_t result;
  char text[TEXT];
  (void)state;
#define BEGUN "--set", "optim.steps=10", "--set", "job.deterministic=T", "--set", "checkpoint.keep=1"
  CLI_RUN(0, &result, "--set", "job.run_dir=from", "--set", "optim.steps=4", "--set", "job.deterministic=T",
          "--set", "checkpoint.every=2", "--set", "checkpoint.keep=0", "train.nml");
  cli_expect(&result, 0);
  CLI_RUN(0, &result, BEGUN, "--set", "job.run_dir=begun_whole", "--set",
          "job.restart=from/checkpoints/step_00000002.h5", "train.nml");
  cli_expect(&result, 0);
  cli_use(TEST_SOURCE_DIR "/../jobs/local/run_until_done.sh");
  setenv("STOP_LOOK", "4", 1);
  setenv("STOP_RANK", "0", 1);
  CLI_RUN(0, &result, STOPPING, BEGUN, "--set", "job.run_dir=begun", "--set",
          "job.restart=from/checkpoints/step_00000002.h5", "train.nml");
  cli_use(NULL);
  cli_expect(&result, 0);
  assert_non_null(strstr(result.out, "start 3"));
  same_metrics("begun", "begun_whole");
  cli_read("begun/metrics.jsonl", text, sizeof text);
  assert_true(strncmp(text, "{\"step\":3,", 10) == 0);
  /* Taken back within its own folder, to a checkpoint that is then pruned. */
  for (int i = 0; i < 2; i++) {
    CLI_RUN(0, &result, "--set", i == 0 ? "optim.steps=6" : "optim.steps=8", "--set", "job.run_dir=from",
            "--set", "job.restart=from/checkpoints/step_00000002.h5", "--set", "checkpoint.keep=1",
            "train.nml");
    cli_expect(&result, 0);
    assert_non_null(strstr(result.out, i == 0 ? "after step 2\n" : "after step 6\n"));
    assert_false(cli_exists("from/checkpoints/step_00000002.h5"));
  }
}

/* At any look: of some in a row, which fall on generation, scoring, what lies between them, and evaluation,
 * every *STATE-th. */
static void a_stop_may_come_at_any_look(void **state) {
  const long *stride = *state;
  run(&wide, "whole_wide_again", 0, 0);
  compare_checkpoints("whole_wide_again", "whole_wide");
  long looks = cli_looks();
  for (long look = looks - 12; look <= looks; look += *stride)
    check_stop(&wide, 0, look);
}

/* Runs of two steps, of which the second is evaluated: signalled at look LOOK. The looks are counted. False
 * where the run was through before look LOOK. */
static bool run_evaluated(bool ppo, const char *folder, long look) {
  cli_result_t result;
  char set[64], number[32];
  snprintf(set, sizeof set, "job.run_dir=%s", folder);
  snprintf(number, sizeof number, "%ld", look);
  cli_use(STOPPING);
  setenv("STOP_LOOK", number, 1);
  setenv("STOP_RANK", "0", 1);
  setenv("STOP_COUNT", "looks", 1);
  CLI_RUN(2, &result, LORA, "--set", set, "--set", "job.deterministic=T", "--set", "eval.every=2", "--set",
          "eval.limit=4", "--set", ppo ? "eval.dataset=world/eval.h5" : "eval.dataset=pairs.h5", "--set",
          ppo ? "rollout.slots=1" : "log.every=1", "--set", ppo ? "ppo.steps=2" : "optim.steps=2",
          ppo ? "ppo.nml" : "rm.nml");
  cli_use(NULL);
  bool stops = look > 0 && cli_looks() >= look;
  cli_expect(&result, stops ? 10 : 0);
  return stops;
}

/* Whether the newest start of FOLDER has changed weights, by its perf.json. */
static bool has_updated(const char *folder) {
  static char text[TEXT];
  char path[64];
  snprintf(path, sizeof path, "%s/perf.json", folder);
  cli_read(path, text, sizeof text);
  assert_non_null(strstr(text, "\"evaluate\""));
  return strstr(text, "\"optimiser\"") != NULL;
}

/* Stopped in the evaluation of its last step a run leaves that step whole, and owes the evaluation; the next
 * start makes that alone, with the answers that were finished. */
static void a_stop_inside_an_evaluation_loses_no_step(void **state) {
  static char text[TEXT];
  (void)state;
  for (int ppo = 0; ppo < 2; ppo++) {
    const char *whole = ppo ? "evaluated_ppo" : "evaluated_rm", *folder = ppo ? "owes_ppo" : "owes_rm";
    char kept[64], path[64];
    snprintf(kept, sizeof kept, "%s/interrupted_evaluation", folder);
    snprintf(path, sizeof path, "%s/log.txt", folder);
    run_evaluated(ppo, whole, 0);
    long look = cli_looks() + 1;
    do {
      if (cli_exists(folder)) cli_remove(folder);
      assert_true(--look > 0);
    } while (!run_evaluated(ppo, folder, look) || (ppo && kept_count(kept) == 0));
    assert_int_equal(count_lines(folder), count_lines(whole) - 1);
    run_evaluated(ppo, folder, 0);
    assert_true(has_updated(whole) && !has_updated(folder));
    cli_read(path, text, sizeof text);
    assert_int_equal(strstr(text, "answers of earlier starts and") != NULL, ppo);
    assert_false(kept_is_there(kept));
    same_metrics(folder, whole);
    assert_true(same_weights(folder, whole, "model.h5") > 2);
  }
}

static void the_file_EXIT_stops_and_is_removed(void **state) {
  cli_result_t result;
  (void)state;
  cli_child_t *child =
      CLI_START(2, LORA, "--set", "job.run_dir=exit", "--set", "ppo.steps=100000", "ppo.nml");
  assert_true(cli_wait_lines(child, "exit/metrics.jsonl", 1));
  cli_write("exit/EXIT", "", 0);
  cli_wait(child, &result);
  cli_expect(&result, 10);
  assert_false(cli_exists("exit/EXIT"));
  assert_true(cli_exists("exit/checkpoints/latest"));
}

/* A start that could never finish a step says so instead of asking to be started again. */
static void a_time_limit_without_progress_is_an_error(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(2, &result, "--set", "job.run_dir=none", "--set", "job.max_seconds=0.001", "train.nml");
  cli_expect_one_message(&result, 2);
  CLI_RUN(2, &result, LORA, "--set", "job.run_dir=short", "--set", "job.max_seconds=0.001", "ppo.nml");
  cli_expect_one_message(&result, 2);
  assert_false(cli_exists("short/checkpoints/latest"));
  CLI_RUN(2, &result, "--set", "job.run_dir=none_sample", "--set", "job.max_seconds=0.001", "sample.nml");
  cli_expect_one_message(&result, 2);
}

/* With an argument: at every look. */
int main(int argc, char **argv) {
  long stride = argc > 1 ? 1 : 6;
  (void)argv;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_stop_inside_a_step_loses_that_step_only),
      cmocka_unit_test(ranks_of_a_tp_group_stop_together),
      cmocka_unit_test_prestate(a_stop_may_come_at_any_look, &stride),
      cmocka_unit_test(a_run_begun_at_a_checkpoint_comes_to_its_end),
      cmocka_unit_test(a_stop_inside_an_evaluation_loses_no_step),
      cmocka_unit_test(the_file_EXIT_stops_and_is_removed),
      cmocka_unit_test(a_time_limit_without_progress_is_an_error),
  };
  return cmocka_run_group_tests(tests, ppo_world_enter, cli_leave);
}

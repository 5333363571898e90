/* Stop requests end a run cleanly with exit status 10; started again, on any number of ranks, it comes to the
 * same numbers as the run that was not stopped. */
#include "cli/cli.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 30, TEXT = 1 << 16 };
#define TRAIN "--set", "optim.steps=30", "--set", "checkpoint.every=10", "train.nml"

/* Numbers are sums in another order on other layouts. */
static const double tolerance = 1e-4;

/* Loss and gradient norm of each step in PATH, which has each step once. */
static void read_metrics(const char *path, double values[STEPS][2]) {
  static char text[TEXT];
  int step = 0;
  cli_read(path, text, sizeof text);
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), step++) {
    assert_true(step < STEPS);
    const char *loss = strstr(line, "\"sft/loss\":"), *norm = strstr(line, "\"sft/grad_norm\":");
    assert_int_equal(atoi(strstr(line, "\"step\":") + 7), step + 1);
    assert_true(loss && norm);
    values[step][0] = atof(loss + 11);
    values[step][1] = atof(norm + 16);
  }
  assert_int_equal(step, STEPS);
}

/* The run that is not stopped: made once. */
static void expect_metrics_as_unstopped(const char *path) {
  double expected[STEPS][2], found[STEPS][2];
  read_metrics("whole/metrics.jsonl", expected);
  read_metrics(path, found);
  for (int s = 0; s < STEPS; s++)
    for (int k = 0; k < 2; k++)
      if (!(fabs(found[s][k] - expected[s][k]) <= tolerance * fabs(expected[s][k])))
        fail_msg("%s: step %d: %.9g, expected %.9g", path, s + 1, found[s][k], expected[s][k]);
}

static int set_up(void **state) {
  cli_result_t result;
  if (cli_enter_world(state) != 0) return -1;
  CLI_RUN(2, &result, "--set", "job.run_dir=whole", TRAIN);
  cli_expect(&result, 0);
  return 0;
}

static void results_do_not_depend_on_the_layout(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(4, &result, "--set", "job.run_dir=split", "--set", "parallel.tp=2", TRAIN);
  cli_expect(&result, 0);
  expect_metrics_as_unstopped("split/metrics.jsonl");
}

/* Starts the program of stopping.c on RANKS in FOLDER, and waits until it has made LINES steps. Rank 0 makes
 * no more than five others before it waits for what is done to it: nobody need be fast. */
static cli_child_t *start_waiting(int ranks, const char *folder, int lines) {
  char set[64], path[64], look[32];
  snprintf(set, sizeof set, "job.run_dir=%s", folder);
  snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
  snprintf(look, sizeof look, "%d", lines + 5); /* it looks once a step, and once before the first */
  cli_use(STOPPING);
  setenv("STOP_LOOK", look, 1);
  setenv("STOP_RANK", "0", 1);
  setenv("STOP_WAITS", "go", 1);
  cli_child_t *child = CLI_START(ranks, "--set", set, TRAIN);
  cli_use(NULL);
  unsetenv("STOP_WAITS");
  assert_true(cli_wait_lines(child, path, lines));
  return child;
}

static void a_signal_stops_a_run(void **state) {
  cli_result_t result;
  (void)state;
  cli_child_t *child = start_waiting(2, "usr1", 5);
  cli_signal(child, SIGUSR1); /* mpirun hands it on */
  cli_wait(child, &result);
  cli_expect(&result, 10);
  assert_false(cli_exists("usr1/model.h5"));
  CLI_RUN(3, &result, "--set", "job.run_dir=usr1", TRAIN);
  cli_expect(&result, 0);
  expect_metrics_as_unstopped("usr1/metrics.jsonl");
}

/* A killed job leaves its last checkpoint, metrics of later steps, and a lock. */
static void a_killed_run_goes_on_from_its_checkpoint(void **state) {
  cli_result_t result;
  (void)state;
  cli_child_t *child = start_waiting(1, "killed", 13);
  cli_signal(child, SIGKILL);
  cli_wait(child, &result);
  assert_false(cli_exists("killed/model.h5"));
  CLI_RUN(2, &result, "--set", "job.run_dir=killed", TRAIN);
  cli_expect(&result, 0);
  expect_metrics_as_unstopped("killed/metrics.jsonl");
}

/* By a clock that is five minutes ahead from one look on: how fast the machine is does not matter. */
static void the_time_limit_stops_a_run_in_time(void **state) {
  cli_result_t result;
  (void)state;
  cli_use(STOPPING);
  setenv("STOP_LOOK", "10", 1);
  setenv("STOP_RANK", "0", 1);
  setenv("STOP_SECONDS", "300", 1);
  CLI_RUN(2, &result, "--set", "job.run_dir=timed", "--set", "job.max_seconds=300", "--set",
          "optim.steps=100000", "train.nml");
  cli_use(NULL);
  unsetenv("STOP_SECONDS");
  cli_expect(&result, 10);
  assert_true(cli_exists("timed/checkpoints/latest"));
}

/* Whatever checkpoint.every says: the time that is left must be enough for one. */
static void a_time_limit_has_a_checkpoint_timed_at_once(void **state) {
  cli_result_t result;
  (void)state;
  cli_child_t *child = CLI_START(1, "--set", "job.run_dir=early", "--set", "job.max_seconds=100000", "--set",
                                 "checkpoint.every=0", "--set", "optim.steps=100000", "train.nml");
  assert_true(cli_wait_lines(child, "early/metrics.jsonl", 3));
  int process = cli_rank_process(child, 0);
  cli_signal(child, SIGKILL);
  cli_wait(child, &result);
  cli_wait_process(process); /* it has files open in the folder */
  assert_true(cli_exists("early/checkpoints/step_00000001.h5"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(results_do_not_depend_on_the_layout),
      cmocka_unit_test(a_signal_stops_a_run),
      cmocka_unit_test(a_killed_run_goes_on_from_its_checkpoint),
      cmocka_unit_test(the_time_limit_stops_a_run_in_time),
      cmocka_unit_test(a_time_limit_has_a_checkpoint_timed_at_once),
  };
  return cmocka_run_group_tests(tests, set_up, cli_leave);
}

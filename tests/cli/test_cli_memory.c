/* An allocation that fails on one rank, in the midst of training: all ranks end within seconds with the exit
 * status of memory, not with that of a kill, wherever the others are: in the same collective, in another, in
 * a step of their own. No time limit helps: parallel.timeout is far beyond what a run here may take. */
#include "cli/ppo_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STATUS_OF_MEMORY = 5 };

/* A task on two ranks. */
typedef struct {
  const char *name, *input, *tp;
} cli_memory_job_t;

/* Runs the program of starving.c: allocation ALLOCATION (from 1; 0: none) of rank RANK fails. The number of
 * that rank's allocations goes to the file `allocations`. */
static void run(const cli_memory_job_t *job, const char *folder, int rank, long allocation,
                cli_result_t *result) {
  char set[64], number[32], place[32];
  snprintf(set, sizeof set, "job.run_dir=%s", folder);
  snprintf(number, sizeof number, "%ld", allocation);
  snprintf(place, sizeof place, "%d", rank);
  cli_use(STARVING);
  setenv("ALLOC_FAIL", number, 1);
  setenv("ALLOC_RANK", place, 1);
  setenv("ALLOC_COUNT", "allocations", 1);
  CLI_RUN(2, result, LORA, "--set", set, "--set", job->tp, "--set", "parallel.timeout=600", "--set",
          "checkpoint.every=1", job->input);
  cli_use(NULL);
}

/* Allocations of a rank in a whole run. Rank 0 makes a few more. */
static long count(const cli_memory_job_t *job) {
  cli_result_t result;
  char text[64];
  run(job, job->name, 1, 0, &result);
  cli_expect(&result, 0);
  cli_read("allocations", text, sizeof text);
  return atol(text);
}

/* Fails at each of SHARES (n) of the run's allocations, on the ranks in turn. An allocation may be one to
 * spare, as pixels read ahead are: the run then comes to its end; not all are. */
static void check_job(const cli_memory_job_t *job, const double *shares, int n) {
  long allocations = count(job);
  int ended = 0;
  for (int i = 0; i < n; i++) {
    char folder[64], path[80];
    cli_result_t result;
    snprintf(folder, sizeof folder, "%s_%d", job->name, i);
    snprintf(path, sizeof path, "%s/model.h5", folder);
    run(job, folder, i % 2, 1 + (long)(shares[i] * (double)(allocations - 1)), &result);
    bool spared = result.status == 0 && cli_exists(path);
    if (!spared) cli_expect_one_message(&result, STATUS_OF_MEMORY);
    ended += !spared;
  }
  assert_true(ended > 0);
}

/* In generation or the first pass; where results are written. */
static const double shares[] = {0.6, 0.95};

static void a_ppo_step_on_two_groups(void **state) {
  cli_result_t result;
  const cli_memory_job_t job = {"ppo_dp", "ppo.nml", "parallel.tp=1"};
  (void)state;
  check_job(&job, shares, 2);
  run(&job, "ppo_dp_1", 0, 0, &result);
  cli_expect(&result, 0);
}

static void a_ppo_step_of_a_tp_group(void **state) {
  (void)state;
  check_job(&(cli_memory_job_t){"ppo_tp", "ppo.nml", "parallel.tp=2"}, shares, 2);
}

static void training_of_other_tasks(void **state) {
  const double share = 0.8;
  (void)state;
  check_job(&(cli_memory_job_t){"sft_tp", "start.nml", "parallel.tp=2"}, &share, 1);
  check_job(&(cli_memory_job_t){"rm_dp", "rm.nml", "parallel.tp=1"}, &share, 1);
}

/* While settings are read, before there is a run to end. */
static void the_first_moments(void **state) {
  (void)state;
  for (int rank = 0; rank < 2; rank++) {
    cli_result_t result;
    run(&(cli_memory_job_t){"first", "start.nml", "parallel.tp=1"}, "first", rank, 54, &result);
    cli_expect_one_message(&result, STATUS_OF_MEMORY);
  }
}

static void anywhere(void **state) {
  static const cli_memory_job_t jobs[] = {{"all_ppo_dp", "ppo.nml", "parallel.tp=1"},
                                          {"all_ppo_tp", "ppo.nml", "parallel.tp=2"},
                                          {"all_rm_tp", "rm.nml", "parallel.tp=2"}};
  enum { TRIALS = 20 };
  double all[TRIALS];
  (void)state;
  for (int i = 0; i < TRIALS; i++)
    all[i] = (i + 0.5) / TRIALS;
  for (size_t j = 0; j < sizeof jobs / sizeof *jobs; j++)
    check_job(&jobs[j], all, TRIALS);
}

/* With an argument: at many places. */
int main(int argc, char **argv) {
  const struct CMUnitTest some[] = {
      cmocka_unit_test(a_ppo_step_on_two_groups),
      cmocka_unit_test(a_ppo_step_of_a_tp_group),
      cmocka_unit_test(training_of_other_tasks),
      cmocka_unit_test(the_first_moments),
  };
  const struct CMUnitTest many[] = {cmocka_unit_test(anywhere)};
  (void)argv;
  return argc > 1 ? cmocka_run_group_tests(many, ppo_world_enter, cli_leave)
                  : cmocka_run_group_tests(some, ppo_world_enter, cli_leave);
}

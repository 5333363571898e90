/* A job that is killed while it changes a file of its run directory: whichever call that was, the next start
 * comes to the same bits as the run that was not killed, and leaves nothing half behind. */
#include "cli/ppo_world.h"
#include "cli/same.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FEW = 12 };

/* A run of three steps, each with an evaluation, of which the best is kept, and a checkpoint, of which one is
 * kept. */
#define EVERY_STEP                                                                                           \
  LORA, "--set", "job.deterministic=T", "--set", "checkpoint.every=1", "--set", "checkpoint.keep=1",         \
      "--set", "eval.every=1", "--set", "eval.keep_best=T", "--set", "eval.limit=4", "--set",                \
      "log.tensorboard=F"
#define PPO EVERY_STEP, "--set", "ppo.steps=3", "--set", "eval.dataset=world/eval.h5", "ppo.nml"
#define RM EVERY_STEP, "--set", "optim.steps=3", "--set", "eval.dataset=pairs.h5", "rm.nml"

/* Runs the program of killing.c in FOLDER: rank RANK is killed at call CALL (0: never). Returns its exit
 * status; *CALLS: of a run that was not killed. */
static int run(const char *task, int ranks, const char *folder, int rank, long call, long *calls) {
  cli_result_t result;
  char set[128], number[32], place[32], text[64], below[128];
  snprintf(set, sizeof set, "job.run_dir=%s", folder);
  snprintf(number, sizeof number, "%ld", call);
  snprintf(place, sizeof place, "%d", rank);
  snprintf(below, sizeof below, "%s/", folder);
  cli_use(KILLING);
  setenv("KILL_CALL", number, 1);
  setenv("KILL_RANK", place, 1);
  setenv("KILL_FOLDER", below, 1);
  setenv("KILL_COUNT", "calls", 1);
  if (strcmp(task, "ppo") == 0)
    CLI_RUN(ranks, &result, "--set", set, PPO);
  else if (strcmp(task, "behind") == 0)
    CLI_RUN(ranks, &result, "--set", set, "--set", "checkpoint.behind=0.1", RM);
  else
    CLI_RUN(ranks, &result, "--set", set, RM);
  cli_use(NULL);
  if (call == 0) {
    cli_expect(&result, 0);
    cli_read("calls", text, sizeof text);
    *calls = atol(text);
  }
  return result.status;
}

static void compare(const char *task, const char *folder, const char *whole) {
  assert_true(same_weights(folder, whole, "model.h5") > 2);
  same_metrics(folder, whole);
  same_names(folder, whole, ".");
  same_names(folder, whole, "checkpoints");
  same_text(folder, whole, "checkpoints/latest");
  same_text(folder, whole, "checkpoints/best");
  if (strcmp(task, "ppo") != 0) return;
  same_text(folder, whole, "samples.jsonl");
  same_names(folder, whole, "rollouts");
}

/* Kills at call CALL, starts again, and compares. */
static void check_call(const char *task, int ranks, const char *whole, int rank, long call) {
  long calls;
  char folder[128];
  snprintf(folder, sizeof folder, "%s_%d_%ld", whole, rank, call);
  assert_int_not_equal(run(task, ranks, folder, rank, call, NULL), 0);
  run(task, ranks, folder, rank, 0, &calls);
  compare(task, folder, whole);
  cli_remove(folder);
}

/* At COUNT calls of rank RANK, spread over all (0: at every one). */
static void check_task(const char *task, int ranks, int rank, long count) {
  char whole[64];
  long calls;
  snprintf(whole, sizeof whole, "%s_%d", task, ranks);
  run(task, ranks, whole, rank, 0, &calls);
  if (count > calls) count = calls;
  assert_true(rank > 0 ? calls > 0 : calls > 3 * FEW);
  for (long i = 0; i < (count > 0 ? count : calls); i++)
    check_call(task, ranks, whole, rank,
               count > 0 ? 1 + (long)(((double)i + 0.5) / (double)count * (double)calls) : i + 1);
}

static void a_reward_model_outlives_any_death(void **state) {
  check_task("rm", 0, 0, *(long *)*state);
}

static void ppo_outlives_any_death(void **state) {
  check_task("ppo", 0, 0, *(long *)*state);
}

static void several_ranks_outlive_any_death(void **state) {
  long count = *(long *)*state;
  check_task("rm", 2, 1, count > 0 ? count / 4 : 0);
}

/* Checkpoints that become complete while the next step is made. */
static void checkpoints_behind_outlive_any_death(void **state) {
  long calls, count = *(long *)*state;
  check_task("behind", 0, 0, count > 0 ? count / 2 : 0);
  run("rm", 0, "rm_at_once", 0, 0, &calls);
  compare("rm", "behind_0", "rm_at_once");
}

/* With an argument: at every call. */
int main(int argc, char **argv) {
  static long count;
  count = argc > 1 ? 0 : FEW;
  (void)argv;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_prestate(a_reward_model_outlives_any_death, &count),
      cmocka_unit_test_prestate(ppo_outlives_any_death, &count),
      cmocka_unit_test_prestate(several_ranks_outlive_any_death, &count),
      cmocka_unit_test_prestate(checkpoints_behind_outlive_any_death, &count),
  };
  return cmocka_run_group_tests(tests, ppo_world_enter, cli_leave);
}

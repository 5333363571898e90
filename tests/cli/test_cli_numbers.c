/* Numbers that are none, and divergence: exit status 4 with one message, on any number of ranks, and nothing
 * written from what is broken. */
#include "cli/ppo_world.h"

#include "io/h5.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A learning rate after whose first step no sum of the model is finite. */
#define WILD "--set", "optim.lr=1e30", "--set", "optim.warmup_steps=0", "--set", "optim.warmup_ratio=0"

static void expect_numeric(cli_result_t *result, const char *folder) {
  char path[128];
  cli_expect_one_message(result, 4);
  snprintf(path, sizeof path, "%s/model.h5", folder);
  assert_false(cli_exists(path));
}

/* A folder's name and the setting of it, for RANKS. */
static const char *folder_of(const char *task, int ranks, char set[64]) {
  snprintf(set, 64, "job.run_dir=%s_%d", task, ranks);
  return set + strlen("job.run_dir=");
}

static void a_loss_that_is_no_number_ends_training(void **state) {
  cli_result_t result;
  char set[64];
  (void)state;
  for (int ranks = 1; ranks <= 2; ranks++) {
    const char *folder = folder_of("sft", ranks, set);
    CLI_RUN(ranks, &result, "--set", set, WILD, "--set", "optim.steps=5", "train.nml");
    expect_numeric(&result, folder);
    folder = folder_of("rm", ranks, set);
    CLI_RUN(ranks, &result, LORA, "--set", set, WILD, "rm.nml");
    expect_numeric(&result, folder);
  }
}

static void ppo_ends_where_its_numbers_end(void **state) {
  cli_result_t result;
  char set[64];
  (void)state;
  for (int ranks = 1; ranks <= 2; ranks++) {
    const char *folder = folder_of("ppo", ranks, set);
    CLI_RUN(ranks, &result, LORA, "--set", set, WILD, "--set", "ppo.steps=3", "ppo.nml");
    expect_numeric(&result, folder);
  }
}

/* k3 is never negative, and above zero once the policy has learnt anything. */
static void a_policy_that_leaves_its_reference_ends_ppo(void **state) {
  cli_result_t result;
  char set[64];
  (void)state;
  for (int ranks = 1; ranks <= 2; ranks++) {
    const char *folder = folder_of("kl", ranks, set);
    CLI_RUN(ranks, &result, LORA, "--set", set, "--set", "ppo.steps=3", "--set", "ppo.kl_estimator=k3",
            "--set", "optim.lr=1e-2", "--set", "ppo.max_kl=1e-9", "ppo.nml");
    expect_numeric(&result, folder);
  }
}

/* Of FOLDER's first STEPS steps: those whose kl is above LIMIT. */
static int steps_above(const char *folder, double limit, int steps) {
  int above = 0;
  for (int line = 0; line < steps; line++)
    above += ppo_world_metric(folder, line, "objective/kl_sum_seq") > limit;
  return above;
}

/* The kl of a step is that of the state before it: that state, though saved, is not gone on from. Both starts
 * keep one checkpoint, and the first one ends at its fifth step. */
static void after_divergence_a_run_goes_on_from_a_good_state(void **state) {
  cli_result_t result;
  char set[64];
  (void)state;
  for (int ranks = 1; ranks <= 2; ranks++) {
    const char *folder = folder_of("diverged", ranks, set);
#define DIVERGES                                                                                             \
  LORA, "--set", set, "--set", "ppo.steps=6", "--set", "ppo.kl_estimator=k3", "--set", "checkpoint.every=1", \
      "--set", "checkpoint.keep=1", "--set", "ppo.max_kl=0.096"
    CLI_RUN(ranks, &result, DIVERGES, "--set", "optim.lr=1e-2", "ppo.nml");
    expect_numeric(&result, folder);
    CLI_RUN(ranks, &result, DIVERGES, "--set", "optim.lr=1e-5", "ppo.nml");
    cli_expect(&result, 0);
    assert_non_null(strstr(result.out, "step_00000003.h5 after step 3"));
    assert_int_equal(steps_above(folder, 0.096, 6), 0);
  }
}

/* The weights of the first step are finite, and all that comes of them is not. */
static void after_bad_numbers_a_run_goes_on_from_a_good_state(void **state) {
  cli_result_t result;
  char set[64];
  (void)state;
  for (int ranks = 1; ranks <= 2; ranks++) {
    folder_of("wild_sft", ranks, set);
    CLI_RUN(ranks, &result, "--set", set, WILD, "--set", "checkpoint.every=1", "--set", "optim.steps=3",
            "train.nml");
    cli_expect_one_message(&result, 4);
    CLI_RUN(ranks, &result, "--set", set, "--set", "checkpoint.every=1", "--set", "optim.steps=3",
            "train.nml");
    cli_expect(&result, 0);
    folder_of("wild_rm", ranks, set);
    CLI_RUN(ranks, &result, LORA, "--set", set, "--set", "checkpoint.every=1", "--set", "optim.steps=2",
            "rm.nml");
    cli_expect(&result, 0);
    CLI_RUN(ranks, &result, LORA, "--set", set, WILD, "--set", "checkpoint.every=1", "rm.nml");
    cli_expect_one_message(&result, 4);
    CLI_RUN(ranks, &result, LORA, "--set", set, "--set", "checkpoint.every=1", "rm.nml");
    cli_expect(&result, 0);
  }
}

/* An adapter so strong that nothing behind it is a number; then one whose strength is none. */
static void scores_that_are_no_numbers_are_not_written(void **state) {
  static const char input[] = "&job task = 'score' run_dir = 'score' /\n"
                              "&model base = 'model.h5' adapter = 'strong.h5' /\n"
                              "&data dataset = 'pairs.h5' limit = 2 /\n";
  const double alphas[] = {1e30, NAN};
  (void)state;
  cli_write("score.nml", input, sizeof input - 1);
  cli_copy("rm/model.h5", "strong.h5", SIZE_MAX);
  for (int i = 0; i < 2; i++) {
    cli_result_t result;
    h5_file_t *file;
    assert_int_equal(h5_open("strong.h5", H5_EDIT, NULL, &file), STATUS_OK);
    assert_int_equal(h5_attr_write_f64(file, "/adapters/reward", "alpha", &alphas[i], 1), STATUS_OK);
    assert_int_equal(h5_close(file), STATUS_OK);
    CLI_RUN(2, &result, "score.nml");
    cli_expect_one_message(&result, i == 0 ? 4 : 3);
    assert_false(cli_exists("score/scores.h5"));
  }
}

/* What an adapter says of itself is believed only as far as its weights bear it out. */
static void an_adapter_has_the_rank_of_its_weights(void **state) {
  const int64_t ranks[] = {INT32_MAX, 3};
  cli_result_t result;
  h5_file_t *file;
  (void)state;
  cli_copy("rm/model.h5", "strong.h5", SIZE_MAX);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(h5_open("strong.h5", H5_EDIT, NULL, &file), STATUS_OK);
    assert_int_equal(h5_attr_write_i64(file, "/adapters/reward", "r", &ranks[i], 1), STATUS_OK);
    assert_int_equal(h5_close(file), STATUS_OK);
    CLI_RUN(2, &result, "score.nml");
    cli_expect_one_message(&result, 3);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_loss_that_is_no_number_ends_training),
      cmocka_unit_test(ppo_ends_where_its_numbers_end),
      cmocka_unit_test(a_policy_that_leaves_its_reference_ends_ppo),
      cmocka_unit_test(after_divergence_a_run_goes_on_from_a_good_state),
      cmocka_unit_test(after_bad_numbers_a_run_goes_on_from_a_good_state),
      cmocka_unit_test(scores_that_are_no_numbers_are_not_written),
      cmocka_unit_test(an_adapter_has_the_rank_of_its_weights),
  };
  return cmocka_run_group_tests(tests, ppo_world_enter, cli_leave);
}

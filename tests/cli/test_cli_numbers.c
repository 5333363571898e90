/* Numbers that are none, and divergence: exit status 4 with one message, on any number of ranks, and nothing
 * written from what is broken. */
#include "cli/ppo_world.h"

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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_loss_that_is_no_number_ends_training),
      cmocka_unit_test(ppo_ends_where_its_numbers_end),
      cmocka_unit_test(a_policy_that_leaves_its_reference_ends_ppo),
  };
  return cmocka_run_group_tests(tests, ppo_world_enter, cli_leave);
}

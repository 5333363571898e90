/* What a checkpoint says about its run, and what another start is told that no longer fits it: status 3 where
 * continuing would make something else of what was saved; other layouts and other settings may continue. */
#include "cli/ppo_world.h"

#include "base/memory.h"
#include "io/h5.h"

#include <hdf5.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define CHECKPOINT "ppo/checkpoints/step_00000001.h5"
#define PPO LORA, "--set", "job.run_dir=ppo", "--set", "ppo.steps=1"

/* One step of ppo, to its end, in ppo/; other models and data to exchange for what made it. */
static int set_up(void **state) {
  cli_result_t result;
  if (ppo_world_enter(state) != 0) return -1;
  CLI_RUN(1, &result, PPO, "ppo.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, "--set", "job.run_dir=base_again", "--set", "job.seed=9", "train.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, LORA, "--set", "job.run_dir=rm_again", "--set", "job.seed=9", "rm.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, LORA, "--set", "job.run_dir=start_again", "--set", "job.seed=9", "start.nml");
  cli_expect(&result, 0);
  return 0;
}

static int64_t number(h5_file_t *file, const char *name) {
  int64_t value;
  assert_int_equal(h5_attr_read_i64(file, "/state", name, &value, 1), STATUS_OK);
  return value;
}

static void a_checkpoint_says_what_it_is_of(void **state) {
  static const char *const identities[] = {"base", "dataset", "reward_model", "reference"};
  h5_file_t *file;
  uint64_t identity;
  char name[64], *text;
  (void)state;
  assert_int_equal(h5_open(CHECKPOINT, H5_READ, NULL, &file), STATUS_OK);
  assert_int_equal(number(file, "step"), 1);
  assert_int_equal(number(file, "batch"), 6);
  assert_int_equal(number(file, "samples_seen"), 6);
  assert_int_equal(number(file, "samples") * number(file, "epoch") + number(file, "position"), 6);
  assert_int_equal(number(file, "skipped"), 0);
  for (size_t i = 0; i < sizeof identities / sizeof *identities; i++) {
    snprintf(name, sizeof name, "%s_identity", identities[i]);
    assert_int_equal(h5_attr_read_u64(file, "/state", name, &identity, 1), STATUS_OK);
    assert_true(identity != 0);
  }
  assert_int_equal(h5_attr_read_text(file, "/state", "settings", &text), STATUS_OK);
  assert_non_null(strstr(text, "rm/model.h5"));
  memory_free(text);
  assert_int_equal(h5_close(file), STATUS_OK);
}

/* Going on with CHANGE must be refused with a message that names NAMED. */
static void expect_refusal(const char *change, const char *named) {
  cli_result_t result;
  CLI_RUN(1, &result, PPO, "--set", change, "ppo.nml");
  cli_expect_one_message(&result, 3);
  if (!strstr(result.err, named)) fail_msg("'%s' is not in: %s", named, result.err);
}

static void what_made_the_run_may_not_change(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(3, &result, PPO, "--set", "job.seed=3", "ppo.nml");
  cli_expect_one_message(&result, 3);
  expect_refusal("job.seed=2", "job.seed");
  expect_refusal("rollout.batch=3", "rollout.batch");
  expect_refusal("reward.model=rm_again/model.h5", "reward.model");
  expect_refusal("model.adapter=start_again/model.h5", "model.adapter");
  expect_refusal("data.dataset=world/sft.h5", "data.dataset");
  expect_refusal("data.limit=20", "data.limit");
}

/* A base that was made again in the same place; every file of adapters refuses it, so the task is one
 * without.
 */
static void a_base_may_not_change(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(1, &result, "--set", "model.from_scratch=F", "--set", "model.base=model.h5", "train.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, "--set", "model.from_scratch=F", "--set", "model.base=base_again/model.h5",
          "train.nml");
  cli_expect_one_message(&result, 3);
  assert_non_null(strstr(result.err, "model.base"));
}

static void adapters_may_not_change_their_rank(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(1, &result, LORA, "--set", "adapter.alpha=16", "start.nml");
  cli_expect_one_message(&result, 3);
  assert_non_null(strstr(result.err, "alpha"));
}

static ino_t inode(const char *path) {
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  return info.st_ino;
}

/* Another layout, and a finished run once more: the checkpoint stays the file it was. */
static void a_finished_run_leaves_its_checkpoint_alone(void **state) {
  cli_result_t result;
  (void)state;
  ino_t before = inode(CHECKPOINT);
  CLI_RUN(2, &result, PPO, "--set", "parallel.tp=2", "--set", "optim.micro_tokens=512", "ppo.nml");
  cli_expect(&result, 0);
  assert_null(strstr(result.err, "other settings"));
  assert_true(inode(CHECKPOINT) == before);
}

static void other_settings_go_on_with_a_warning(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(2, &result, LORA, "--set", "job.run_dir=ppo", "--set", "ppo.steps=2", "--set", "optim.lr=1e-4",
          "ppo.nml");
  cli_expect(&result, 0);
  assert_non_null(strstr(result.err, "optim.lr"));
  assert_true(cli_exists("ppo/checkpoints/step_00000002.h5"));
}

/* A checkpoint as older programs wrote them. */
static void a_checkpoint_that_says_less_is_refused(void **state) {
  cli_result_t result;
  (void)state;
  cli_copy(CHECKPOINT, "old.h5", SIZE_MAX);
  hid_t file = H5Fopen("old.h5", H5F_ACC_RDWR, H5P_DEFAULT);
  assert_true(file >= 0);
  assert_true(H5Adelete_by_name(file, "/state", "position", H5P_DEFAULT) >= 0);
  assert_true(H5Fclose(file) >= 0);
  CLI_RUN(1, &result, PPO, "--set", "job.restart=old.h5", "--set", "job.run_dir=of_old", "ppo.nml");
  cli_expect_one_message(&result, 3);
  assert_non_null(strstr(result.err, "position"));
  CLI_RUN(1, &result, PPO, "--set", "job.restart=rm/model.h5", "--set", "job.run_dir=of_none", "ppo.nml");
  cli_expect_one_message(&result, 3);
}

/* What is said of another task's checkpoint is that, not that it is old. */
static void another_tasks_checkpoint_is_refused(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(1, &result, PPO, "--set", "job.restart=rm/checkpoints/step_00000004.h5", "--set",
          "job.run_dir=of_rm", "ppo.nml");
  cli_expect_one_message(&result, 3);
  assert_non_null(strstr(result.err, "task 'rm'"));
  CLI_RUN(1, &result, LORA, "--set", "job.restart=" CHECKPOINT, "--set", "job.run_dir=of_ppo", "rm.nml");
  cli_expect_one_message(&result, 3);
  assert_non_null(strstr(result.err, "task 'ppo'"));
}

/* Results that were moved name a base that is no longer there: any file of its identity will do that the run
 * names, or that lies where it lay relative to them. */
static void moved_results_find_their_base(void **state) {
  cli_result_t result;
  (void)state;
#define MOVED "--set", "model.adapter=moved/start/model.h5", "--set", "reward.model=moved/rm/model.h5"
  assert_int_equal(mkdir("moved", 0777) | mkdir("moved/start", 0777) | mkdir("moved/rm", 0777), 0);
  cli_copy("start/model.h5", "moved/start/model.h5", SIZE_MAX);
  cli_copy("rm/model.h5", "moved/rm/model.h5", SIZE_MAX);
  cli_copy("model.h5", "moved/base.h5", SIZE_MAX);
  assert_int_equal(rename("model.h5", "gone.h5"), 0);
  CLI_RUN(2, &result, LORA, "--set", "job.run_dir=named", "--set", "model.base=moved/base.h5", MOVED,
          "ppo.nml");
  cli_expect(&result, 0);
  CLI_RUN(2, &result, LORA, "--set", "job.run_dir=other", "--set", "model.base=base_again/model.h5", MOVED,
          "ppo.nml");
  cli_expect_one_message(&result, 3);
  assert_non_null(strstr(result.err, "base_again/model.h5"));
  assert_non_null(strstr(result.err, "model.h5: cannot be opened"));
  /* Without a name for it: as the file refers to "model.h5", beside itself or one folder up. */
  CLI_RUN(1, &result, "--set", "job.run_dir=unnamed", "--set", "model.base=moved/start/model.h5",
          "sample.nml");
  cli_expect_one_message(&result, 3);
  assert_int_equal(rename("moved/base.h5", "moved/model.h5"), 0);
  CLI_RUN(2, &result, "--set", "job.run_dir=unnamed", "--set", "model.base=moved/start/model.h5",
          "sample.nml");
  cli_expect(&result, 0);
  assert_int_equal(rename("gone.h5", "model.h5"), 0);
}

/* A reward model answers nothing and is no beginning for what does. */
static void a_reward_model_is_no_policy(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(2, &result, LORA, "--set", "job.run_dir=no_policy", "--set", "model.adapter=rm/model.h5",
          "ppo.nml");
  cli_expect_one_message(&result, 3);
  CLI_RUN(1, &result, "--set", "job.run_dir=no_answer", "--set", "model.adapter=rm/model.h5", "sample.nml");
  cli_expect_one_message(&result, 3);
  CLI_RUN(1, &result, LORA, "--set", "job.run_dir=no_start", "--set", "model.adapter=rm/model.h5",
          "start.nml");
  cli_expect_one_message(&result, 3);
  assert_non_null(strstr(result.err, "reward model"));
}

/* The answers of a task without steps are those of its newest start. */
static void answers_shown_are_those_of_one_start(void **state) {
  static char first[1 << 16], second[1 << 16];
  cli_result_t result;
  (void)state;
  for (int i = 0; i < 2; i++) {
    CLI_RUN(1, &result, "--set", "job.run_dir=shown", "sample.nml");
    cli_expect(&result, 0);
    cli_read("shown/samples.jsonl", i == 0 ? first : second, sizeof first);
  }
  assert_string_equal(first, second);
  assert_true(strlen(first) > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_checkpoint_says_what_it_is_of),
      cmocka_unit_test(what_made_the_run_may_not_change),
      cmocka_unit_test(a_base_may_not_change),
      cmocka_unit_test(adapters_may_not_change_their_rank),
      cmocka_unit_test(a_finished_run_leaves_its_checkpoint_alone),
      cmocka_unit_test(a_checkpoint_that_says_less_is_refused),
      cmocka_unit_test(another_tasks_checkpoint_is_refused),
      cmocka_unit_test(moved_results_find_their_base),
      cmocka_unit_test(a_reward_model_is_no_policy),
      cmocka_unit_test(answers_shown_are_those_of_one_start),
      cmocka_unit_test(other_settings_go_on_with_a_warning),
  };
  return cmocka_run_group_tests(tests, set_up, cli_leave);
}

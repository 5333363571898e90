/* Wrong, missing and broken files, and layouts that do not fit: one message, the right exit status, no rank
 * left waiting, and nothing harmed. */
#define _GNU_SOURCE
#include "cli/cli.h"
#include "cli/same.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define TRAIN "--set", "optim.steps=2", "train.nml"

static void layouts_that_do_not_fit_are_refused(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(3, &result, "--set", "parallel.tp=2", TRAIN);
  cli_expect_one_message(&result, 2);
  assert_false(cli_exists("run"));
  CLI_RUN(3, &result, "--set", "parallel.tp=3", "--set", "model.from_scratch=F", "--set",
          "model.base=model.h5", TRAIN);
  cli_expect_one_message(&result, 2);
}

static void broken_datasets_are_refused(void **state) {
  cli_result_t result;
  (void)state;
  cli_copy("world/pretrain.h5", "cut.h5", 20000);
  cli_write("empty.h5", "", 0);
  static const char *const names[] = {"missing.h5", "cut.h5", "empty.h5", "model.h5"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char set[64];
    snprintf(set, sizeof set, "data.dataset=%s", names[i]);
    CLI_RUN(3, &result, "--set", set, TRAIN);
    cli_expect_one_message(&result, 3);
  }
}

static void broken_models_are_refused(void **state) {
  cli_result_t result;
  (void)state;
  cli_copy("model.h5", "cut_model.h5", 50000);
  static const char *const names[] = {"missing.h5", "cut_model.h5", "world/pretrain.h5"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char set[64];
    snprintf(set, sizeof set, "model.base=%s", names[i]);
    CLI_RUN(3, &result, "--set", "model.from_scratch=F", "--set", set, TRAIN);
    cli_expect_one_message(&result, 3);
  }
}

/* Overwrites what begins with the OCCURRENCE-th LOOK_FOR (n bytes; from 0) in the file. */
static void damage(const char *path, const char *look_for, size_t n, int occurrence) {
  static char bytes[8 << 20];
  size_t size = cli_read(path, bytes, sizeof bytes);
  char *place = bytes;
  for (int i = 0; i <= occurrence; i++) {
    place = memmem(place + 1, size - (size_t)(place + 1 - bytes), look_for, n);
    assert_non_null(place);
  }
  memset(place, 0, 400);
  cli_write(path, bytes, size);
}

/* Only the rank whose turn it is meets the image; the others wait for its gradients. */
static void an_image_that_one_rank_cannot_read_ends_all(void **state) {
  cli_result_t result;
  (void)state;
  cli_copy("world/pretrain.h5", "image.h5", SIZE_MAX);
  damage("image.h5", "\xff\xd8\xff\xe0", 4, 3);
  CLI_RUN(4, &result, "--set", "data.dataset=image.h5", "--set", "job.run_dir=image", "--set",
          "optim.steps=5", "train.nml");
  cli_expect_one_message(&result, 3);
  char log[32768];
  cli_read("image/log.txt", log, sizeof log);
  assert_non_null(strstr(log, "FAILED"));
  assert_false(cli_exists("image/model.h5"));
  assert_false(cli_exists("image/checkpoints/latest"));
}

static void a_damaged_checkpoint_is_refused_and_kept(void **state) {
  cli_result_t result;
  char before[64], after[64];
  (void)state;
  CLI_RUN(1, &result, "--set", "job.run_dir=hurt", TRAIN);
  cli_expect(&result, 0);
  cli_copy("hurt/checkpoints/step_00000002.h5", "whole.h5", SIZE_MAX);
  cli_copy("whole.h5", "hurt/checkpoints/step_00000002.h5", 60000);
  cli_read("hurt/checkpoints/latest", before, sizeof before);
  CLI_RUN(3, &result, "--set", "job.run_dir=hurt", "--set", "optim.steps=3", "train.nml");
  cli_expect_one_message(&result, 3);
  cli_read("hurt/checkpoints/latest", after, sizeof after);
  assert_string_equal(before, after);
  assert_true(cli_exists("hurt/model.h5"));
  CLI_RUN(3, &result, "--set", "job.run_dir=other", "--set", "job.restart=model.h5", TRAIN);
  cli_expect_one_message(&result, 3);
  CLI_RUN(3, &result, "--set", "job.run_dir=hurt", "--set", "job.restart=never", TRAIN);
  cli_expect_one_message(&result, 2);
}

/* The base in the run directory, under another name for it. */
static void a_result_does_not_take_the_place_of_its_base(void **state) {
  static char before[1 << 20], after[sizeof before];
  cli_result_t result;
  (void)state;
  assert_int_equal(mkdir("own", 0777), 0);
  cli_copy("model.h5", "own/model.h5", SIZE_MAX);
  size_t n = cli_read("own/model.h5", before, sizeof before);
  CLI_RUN(2, &result, "--set", "job.run_dir=world/../own", "--set", "model.from_scratch=F", "--set",
          "model.base=own/model.h5", TRAIN);
  cli_expect_one_message(&result, 2);
  assert_int_equal(cli_read("own/model.h5", after, sizeof after), n);
  assert_memory_equal(after, before, n);
}

static void a_dataset_does_not_take_the_place_of_its_source(void **state) {
  static char before[1 << 16], after[sizeof before];
  static const char input[] = "&job task = 'prepare' run_dir = 'prepared' /\n"
                              "&prepare conversations = 'world/eval.json' image_folder = 'world/images'\n"
                              "  output = './world/eval.json' /\n";
  cli_result_t result;
  (void)state;
  cli_write("prepare.nml", input, sizeof input - 1);
  cli_read("world/eval.json", before, sizeof before);
  CLI_RUN(2, &result, "prepare.nml");
  cli_expect_one_message(&result, 2);
  cli_read("world/eval.json", after, sizeof after);
  assert_string_equal(after, before);
}

/* Fails unless one rank, and two, end with one message and STATUS. */
static void expect_refused(int status, const char *const *arguments) {
  for (int ranks = 1; ranks <= 2; ranks++) {
    cli_result_t result;
    cli_run(ranks, arguments, &result);
    cli_expect_one_message(&result, status);
  }
}
#define REFUSED(status, ...) expect_refused(status, (const char *const[]){__VA_ARGS__, NULL})

/* A path as long as the system takes is like any other; a longer one is refused before anything is made. */
static void long_paths_are_used_or_refused(void **state) {
  cli_result_t result;
  (void)state;
  static char set[8192], file[8192];
  const char name[] = "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz/"; /* 54 bytes */
  int n = sprintf(set, "job.run_dir=");
  for (int i = 0; i < 12; i++)
    n += sprintf(set + n, "%s", name);
  CLI_RUN(2, &result, "--set", set, TRAIN);
  cli_expect(&result, 0);
  snprintf(file, sizeof file, "%scheckpoints/latest", strchr(set, '=') + 1);
  assert_true(cli_exists(file));
  for (int i = 0; i < 62; i++)
    n += sprintf(set + n, "%s", name);
  CLI_RUN(2, &result, "--set", set, TRAIN);
  cli_expect_one_message(&result, 2);
  n = sprintf(set, "job.run_dir=long/");
  memset(set + n, 'x', 256);
  set[n + 256] = '\0';
  CLI_RUN(2, &result, "--set", set, TRAIN);
  cli_expect_one_message(&result, 2);
  assert_false(cli_exists("long"));
  cli_remove("abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz");
}

static void an_empty_model_is_refused(void **state) {
  (void)state;
  cli_write("empty_model.h5", "", 0);
  REFUSED(3, "--set", "model.from_scratch=F", "--set", "model.base=empty_model.h5", TRAIN);
}

static void checkpoints_that_are_not_there_are_refused(void **state) {
  (void)state;
  cli_write("empty_checkpoint.h5", "", 0);
  REFUSED(3, "--set", "job.run_dir=new", "--set", "job.restart=missing.h5", TRAIN);
  REFUSED(3, "--set", "job.run_dir=new", "--set", "job.restart=empty_checkpoint.h5", TRAIN);
  assert_false(cli_exists("new/model.h5"));
}

/* Then the newest sound one counts, if there is one. */
static void latest_may_name_a_missing_checkpoint(void **state) {
  static const char *const steps[] = {"optim.steps=2", "optim.steps=3", "optim.steps=4"};
  static const char missing[] = "step_00000007.h5\n";
  cli_result_t result;
  (void)state;
  for (int ranks = 0; ranks <= 2; ranks++) {
    CLI_RUN(ranks, &result, "--set", "job.run_dir=lost", "--set", "checkpoint.keep=1", "--set", steps[ranks],
            "train.nml");
    cli_expect(&result, 0);
    cli_write("lost/checkpoints/latest", missing, sizeof missing - 1);
  }
  assert_false(cli_exists("lost/checkpoints/step_00000003.h5"));
  cli_write("lost/checkpoints/step_00000004.h5", "", 0);
  REFUSED(3, "--set", "job.run_dir=lost", "--set", "optim.steps=5", "train.nml");
}

#define LORA                                                                                                 \
  "--set", "model.from_scratch=F", "--set", "job.task=sft", "--set", "model.train=lora", "--set",            \
      "adapter.r=4", "--set", "adapter.alpha=8", TRAIN

static const char ppo_input[] =
    "&job task = 'ppo' run_dir = 'ppo' /\n&model base = 'model.h5' /\n&adapter r = 4 alpha = 8 /\n"
    "&data dataset = 'world/pretrain.h5' query_len = 256 /\n&rollout batch = 2 response_len = 4 /\n"
    "&ppo steps = 1 minibatch = 2 /\n";

/* An adapter of another model; and as a reward model: bare weights, and an adapter without a head. */
static void adapters_that_do_not_fit_are_refused(void **state) {
  cli_result_t result;
  (void)state;
  cli_write("ppo.nml", ppo_input, sizeof ppo_input - 1);
  CLI_RUN(1, &result, "--set", "job.run_dir=wide", "--set", "model.hidden=48", TRAIN);
  cli_expect(&result, 0);
  CLI_RUN(1, &result, "--set", "job.run_dir=wide_lora", "--set", "model.base=wide/model.h5", LORA);
  cli_expect(&result, 0);
  CLI_RUN(1, &result, "--set", "job.run_dir=lora", "--set", "model.base=model.h5", LORA);
  cli_expect(&result, 0);
  REFUSED(3, "--set", "model.adapter=wide_lora/model.h5", "--set", "reward.model=lora/model.h5", "ppo.nml");
  REFUSED(3, "--set", "reward.model=lora/model.h5", "ppo.nml");
  REFUSED(3, "--set", "reward.model=model.h5", "ppo.nml");
}

static void a_run_directory_in_use_is_refused(void **state) {
  cli_result_t first, second;
  (void)state;
  cli_child_t *child = CLI_START(1, "--set", "job.run_dir=busy", "--set", "optim.steps=100000", "train.nml");
  assert_true(cli_wait_lines(child, "busy/metrics.jsonl", 1));
  CLI_RUN(3, &second, "--set", "job.run_dir=busy", TRAIN);
  cli_write("busy/EXIT", "", 0);
  cli_wait(child, &first);
  cli_expect_one_message(&second, 2);
  cli_expect(&first, 10);
}

/* As if its node were gone: the other rank waits for it in a reduction, until the watchdog ends all. */
static void a_rank_that_stands_still_ends_the_run(void **state) {
  cli_result_t result;
  (void)state;
  cli_child_t *child = CLI_START(2, "--set", "job.run_dir=still", "--set", "parallel.timeout=8", "--set",
                                 "optim.steps=100000", "train.nml");
  assert_true(cli_wait_lines(child, "still/metrics.jsonl", 2));
  int processes[] = {cli_rank_process(child, 0), cli_rank_process(child, 1)};
  assert_int_equal(kill(processes[1], SIGSTOP), 0);
  cli_wait(child, &result);
  cli_expect_one_message(&result, 5);
  cli_wait_process(processes[0]);
  cli_wait_process(processes[1]);
}

/* ---- A clock that jumps ---- */

/* As if its node were gone, on a machine whose time of day goes back and forth: no wait is longer or shorter
 * for it. */
static void no_clock_that_jumps_hides_a_rank_that_stands_still(void **state) {
  cli_result_t result;
  (void)state;
  cli_use(JUMPING);
  cli_child_t *child = CLI_START(2, "--set", "job.run_dir=jumping_still", "--set", "parallel.timeout=8",
                                 "--set", "optim.steps=100000", "train.nml");
  cli_use(NULL);
  assert_true(cli_wait_lines(child, "jumping_still/metrics.jsonl", 2));
  int stopped = cli_rank_process(child, 1);
  assert_int_equal(kill(stopped, SIGSTOP), 0);
  cli_wait(child, &result);
  cli_expect_one_message(&result, 5);
  cli_wait_process(stopped);
}

static void run_for_some_seconds(const char *program, const char *run_dir) {
  cli_result_t result;
  cli_use(program);
  CLI_RUN(2, &result, "--set", run_dir, "--set", "job.max_seconds=3000", "--set", "parallel.timeout=60",
          "--set", "optim.steps=12", "--set", "checkpoint.every=4", "--set", "job.deterministic=T",
          "train.nml");
  cli_use(NULL);
  cli_expect(&result, 0);
}

/* Neither the limit of 50 minutes nor the timeout is over because the time of day says so. */
static void a_clock_that_jumps_ends_no_run(void **state) {
  (void)state;
  run_for_some_seconds(JUMPING, "job.run_dir=jumping");
  run_for_some_seconds(NULL, "job.run_dir=steady");
  same_metrics("jumping", "steady");
}

/* ---- A run directory that cannot be written ---- */

/* Runs the program in FOLDER as somebody whom permissions hold. */
static void expect_unwritable(const char *folder) {
  cli_result_t result;
  char script[1024], set[64];
  const char *own = getenv("LLAVA_RLHF_BINARY");
  int n = snprintf(
      script, sizeof script,
      "#!/bin/sh\n[ \"$(id -u)\" = 0 ] && exec setpriv --reuid=65534 --regid=65534 --clear-groups '%s' "
      "\"$@\"\nexec '%s' \"$@\"\n",
      own, own);
  cli_write("nobody", script, (size_t)n);
  assert_int_equal(chmod("nobody", 0755), 0);
  snprintf(set, sizeof set, "job.run_dir=%s", folder);
  cli_use("./nobody");
  CLI_RUN(0, &result, "--set", set, TRAIN);
  cli_use(NULL);
  cli_expect_one_message(&result, 2);
  if (!strstr(result.err, folder) || !strstr(result.err, "may not be written"))
    fail_msg("'%s' does not say of %s that it may not be written", result.err, folder);
}

static void a_read_only_run_directory_is_refused(void **state) {
  (void)state;
  assert_int_equal(chmod(".", 0755), 0);
  assert_int_equal(mkdir("read_only", 0555), 0);
  expect_unwritable("read_only");
  expect_unwritable("read_only/below");
  assert_int_equal(rmdir("read_only"), 0); /* nothing has been put there */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(layouts_that_do_not_fit_are_refused),
      cmocka_unit_test(broken_datasets_are_refused),
      cmocka_unit_test(broken_models_are_refused),
      cmocka_unit_test(an_image_that_one_rank_cannot_read_ends_all),
      cmocka_unit_test(a_damaged_checkpoint_is_refused_and_kept),
      cmocka_unit_test(a_result_does_not_take_the_place_of_its_base),
      cmocka_unit_test(a_dataset_does_not_take_the_place_of_its_source),
      cmocka_unit_test(long_paths_are_used_or_refused),
      cmocka_unit_test(an_empty_model_is_refused),
      cmocka_unit_test(checkpoints_that_are_not_there_are_refused),
      cmocka_unit_test(latest_may_name_a_missing_checkpoint),
      cmocka_unit_test(adapters_that_do_not_fit_are_refused),
      cmocka_unit_test(a_run_directory_in_use_is_refused),
      cmocka_unit_test(a_rank_that_stands_still_ends_the_run),
      cmocka_unit_test(no_clock_that_jumps_hides_a_rank_that_stands_still),
      cmocka_unit_test(a_clock_that_jumps_ends_no_run),
      cmocka_unit_test(a_read_only_run_directory_is_refused),
  };
  return cmocka_run_group_tests(tests, cli_enter_world, cli_leave);
}

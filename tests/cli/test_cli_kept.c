/* A PPO step that is interrupted while its responses are drawn: those that are finished are kept, and used by
 * the next start on any number of ranks if they are what it would draw. */
#include "cli/kept_count.h"
#include "cli/ppo_world.h"
#include "cli/same.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 2, BATCH = 6, LOG = 1 << 17 };
static const char cut[] = "cut";
static long whole_looks; /* of rank 0 in a run that is not stopped */

/* Runs stopping.c on RANKS: rank 0 gets a signal at look LOOK (0: never), and leaves the number of its looks
 * in the file `looks`. One response after the other, so that some are finished before others begin. */
static void start(cli_result_t *result, int ranks, const char *folder, long look, const char *set) {
  char place[64], number[32];
  snprintf(place, sizeof place, "job.run_dir=%s", folder);
  snprintf(number, sizeof number, "%ld", look);
  cli_use(STOPPING);
  setenv("STOP_LOOK", number, 1);
  setenv("STOP_RANK", "0", 1);
  setenv("STOP_COUNT", "looks", 1);
  CLI_RUN(ranks, result, LORA, "--set", "job.deterministic=T", "--set", "ppo.steps=2", "--set",
          "checkpoint.every=1", "--set", "rollout.slots=1", "--set", "log.rollouts=1", "--set", place,
          "--set", set ? set : "log.every=1", "ppo.nml");
  cli_use(NULL);
}

static void run(int ranks, const char *folder, long look, const char *set, int status) {
  cli_result_t result;
  start(&result, ranks, folder, look, set);
  cli_expect(&result, status);
}

static const char *kept_in(const char *folder) {
  static char path[128];
  snprintf(path, sizeof path, "%s/interrupted_step", folder);
  return path;
}

static bool has_kept(const char *folder) {
  return kept_is_there(kept_in(folder));
}

static const char *log_of(const char *folder) {
  static char text[LOG];
  char path[128];
  snprintf(path, sizeof path, "%s/log.txt", folder);
  cli_read(path, text, sizeof text);
  return text;
}

/* Responses kept in FOLDER. */
static int64_t count_kept(const char *folder) {
  return kept_count(kept_in(folder));
}

/* The run directory `cut` as FOLDER. */
static void copy_cut(const char *folder) {
  char command[256];
  snprintf(command, sizeof command, "rm -rf %s && cp -r %s %s", folder, cut, folder);
  assert_int_equal(system(command), 0);
}

/* Makes `whole`, not stopped, and `cut`, stopped on two ranks in the second step when some of its responses,
 * and not all, were finished. */
static int enter(void **state) {
  if (ppo_world_enter(state) != 0) return -1;
  run(2, "whole", 0, NULL, 0);
  assert_false(has_kept("whole"));
  whole_looks = cli_looks();
  for (long look = whole_looks * 6 / 10; look < whole_looks; look += 2) {
    if (cli_exists(cut)) cli_remove(cut);
    run(2, cut, look, NULL, 10);
    if (has_kept(cut) && cli_exists("cut/metrics.jsonl") && count_kept(cut) < BATCH) return 0;
  }
  return -1;
}

/* Goes on with FOLDER to the end, with all that the start before kept. */
static void go_on(int ranks, const char *folder) {
  char line[128];
  snprintf(line, sizeof line, "%lld of %d responses of step 2 are those of the start before",
           (long long)count_kept(folder), BATCH);
  run(ranks, folder, 0, NULL, 0);
  assert_non_null(strstr(log_of(folder), line));
  assert_false(has_kept(folder));
}

static void expect_whole(const char *folder) {
  same_metrics(folder, "whole");
  same_text(folder, "whole", "samples.jsonl");
  assert_true(same_weights(folder, "whole", "checkpoints/step_00000002.h5") > 20);
}

/* ---- Tests ---- */

static void the_same_layout_comes_to_the_same_bits(void **state) {
  (void)state;
  copy_cut("same");
  go_on(2, "same");
  expect_whole("same");
}

static void other_layouts_come_to_the_same_samples(void **state) {
  (void)state;
  for (int ranks = 1; ranks <= 3; ranks += 2) {
    char folder[32];
    snprintf(folder, sizeof folder, "ranks_%d", ranks);
    copy_cut(folder);
    go_on(ranks, folder);
    assert_int_equal(ppo_world_compare_metrics(folder, "whole"), STEPS);
    ppo_world_compare_rollouts(folder, "whole", STEPS);
    same_text(folder, "whole", "samples.jsonl");
  }
}

/* Stopped between steps the next start leaves the file as it is, and the one after it takes it. */
static void a_start_that_makes_no_step_keeps_the_file(void **state) {
  (void)state;
  copy_cut("again");
  run(1, "again", 1, NULL, 10);
  assert_int_equal(count_kept("again"), count_kept(cut));
  go_on(2, "again");
  expect_whole("again");
}

static void nothing_is_kept_before_a_response_is_finished(void **state) {
  (void)state;
  run(2, "early", 2, NULL, 10);
  assert_false(has_kept("early"));
}

static void responses_of_other_settings_are_not_taken(void **state) {
  (void)state;
  copy_cut("other");
  run(2, "other", 0, "rollout.temperature=0.5", 0);
  assert_non_null(strstr(log_of("other"), "is of temperature = 1, this start is of temperature = 0.5"));
  assert_null(strstr(log_of("other"), "are those of the start before"));
  assert_false(has_kept("other"));
}

/* Responses of a step that is behind the checkpoint, or before it. */
static void responses_of_another_step_are_not_taken(void **state) {
  (void)state;
  copy_cut("step");
  cli_remove("step/checkpoints");
  run(2, "step", 0, NULL, 0);
  assert_non_null(strstr(log_of("step"), "is of step = 2, this start is of step = 1"));
  expect_whole("step");
}

/* Half a record at the end is as if it had never been written, and so is what lies behind a damaged byte. */
static void a_damaged_record_is_drawn_again(void **state) {
  (void)state;
  for (int what = 0; what < 2; what++) {
    char file[4096], line[128], text[1 << 16];
    copy_cut("damaged");
    snprintf(file, sizeof file, "%s", kept_a_file(kept_in("damaged")));
    size_t n = cli_read(file, text, sizeof text);
    if (what == 0) n -= 3;
    if (what == 1) text[n - 3] ^= 4;
    cli_write(file, text, n);
    run(2, "damaged", 0, NULL, 0);
    snprintf(line, sizeof line, "%lld of %d responses of step 2 are those of the start before",
             (long long)count_kept(cut) - 1, BATCH);
    if (count_kept(cut) > 1) assert_non_null(strstr(log_of("damaged"), line));
    assert_non_null(strstr(log_of("damaged"), "cut off or damaged"));
    assert_false(has_kept("damaged"));
    expect_whole("damaged");
  }
}

/* A time limit that no step fits in, said by a clock that is five minutes ahead from one look on: an error as
 * long as nothing is gained, none where the next start has less to draw. */
static void a_time_limit_may_be_shorter_than_a_step(void **state) {
  cli_result_t result;
  long look = 0;
  (void)state;
  setenv("STOP_SECONDS", "300", 1);
  do {
    start(&result, 2, "short", ++look, "job.max_seconds=300");
    if (!has_kept("short")) cli_expect_one_message(&result, 2);
  } while (!has_kept("short") && look < whole_looks);
  unsetenv("STOP_SECONDS");
  assert_true(look > 1);
  cli_expect(&result, 10);
  assert_in_range(count_kept("short"), 1, BATCH);
  assert_false(cli_exists("short/checkpoints/latest"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_same_layout_comes_to_the_same_bits),
      cmocka_unit_test(other_layouts_come_to_the_same_samples),
      cmocka_unit_test(a_start_that_makes_no_step_keeps_the_file),
      cmocka_unit_test(nothing_is_kept_before_a_response_is_finished),
      cmocka_unit_test(responses_of_other_settings_are_not_taken),
      cmocka_unit_test(responses_of_another_step_are_not_taken),
      cmocka_unit_test(a_damaged_record_is_drawn_again),
      cmocka_unit_test(a_time_limit_may_be_shorter_than_a_step),
  };
  return cmocka_run_group_tests(tests, enter, cli_leave);
}

/* Periodic evaluation: what it is done on, which state becomes the result, when training stops early. */
#include "cli/ppo_world.h"

#include "io/h5.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 16, PATIENCE = 2 };
#define EVALUATED "--set", "eval.every=1"
#define STEEP "--set", "optim.lr=0.1", "--set", "optim.schedule=constant", "--set", "optim.warmup_ratio=0"

/* NAME of each step's line in FOLDER/metrics.jsonl to VALUES[step]; NAN where a step has none. Returns the
 * last step. */
static int read_metric(const char *folder, const char *name, double values[STEPS + 1]) {
  static char text[1 << 16];
  char path[128], key[64];
  int last = 0;
  snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
  snprintf(key, sizeof key, "\"%s\":", name);
  cli_read(path, text, sizeof text);
  for (int step = 0; step <= STEPS; step++)
    values[step] = NAN;
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    const char *found = strstr(line, key);
    last = (int)strtol(strstr(line, "\"step\":") + strlen("\"step\":"), NULL, 10);
    assert_in_range(last, 0, STEPS);
    if (found) values[last] = strtod(found + strlen(key), NULL);
  }
  return last;
}

static int best_step(const char *folder, const char *name, double sign, double values[STEPS + 1]) {
  int last = read_metric(folder, name, values), best = 1;
  for (int step = 1; step <= last; step++)
    if (sign * values[step] > sign * values[best]) best = step;
  return best;
}

/* Learns too fast: the loss on other samples falls, then rises. */
static void training_ends_where_it_gets_no_better_and_keeps_the_best(void **state) {
  cli_result_t result;
  char set[64], name[64], marked[64];
  double loss[STEPS + 1], again[STEPS + 1];
  (void)state;
  for (int ranks = 1; ranks <= 2; ranks++) {
    snprintf(set, sizeof set, "job.run_dir=best_%d", ranks);
    CLI_RUN(ranks, &result, "--set", set, "--set", "optim.steps=16", STEEP, EVALUATED, "--set",
            "eval.patience=2", "--set", "eval.keep_best=.true.", "--set", "eval.dataset=world/sft.h5",
            "train.nml");
    cli_expect(&result, 0);
    const char *folder = strchr(set, '=') + 1;
    int best = best_step(folder, "eval/loss", -1.0, loss);
    assert_int_equal(read_metric(folder, "eval/loss", loss), best + PATIENCE);
    assert_true(best + PATIENCE < STEPS);
    snprintf(name, sizeof name, "%s/checkpoints/best", folder);
    cli_read(name, marked, sizeof marked);
    snprintf(name, sizeof name, "step_%08d.h5", best);
    assert_non_null(strstr(marked, name));
    /* The result is the state of that step. */
    snprintf(name, sizeof name, "model.base=%s/model.h5", folder);
    CLI_RUN(ranks, &result, "--set", "job.run_dir=again", "--set", "model.from_scratch=.false.", "--set",
            name, EVALUATED, "--set", "eval.dataset=world/sft.h5", "train.nml");
    cli_expect(&result, 0);
    read_metric("again", "eval/loss", again);
    assert_true(fabs(again[0] - loss[best]) <= 1e-9 * loss[best]);
    cli_remove("again");
  }
}

/* The samples among which the checkpoint FILE counts its position. */
static int64_t samples_trained_on(const char *path) {
  h5_file_t *file;
  int64_t samples;
  assert_int_equal(h5_open(path, H5_READ, NULL, &file), STATUS_OK);
  assert_int_equal(h5_attr_read_i64(file, "/state", "samples", &samples, 1), STATUS_OK);
  assert_int_equal(h5_close(file), STATUS_OK);
  return samples;
}

static long file_hash(const char *path) {
  static char bytes[1 << 22];
  size_t n = cli_read(path, bytes, sizeof bytes);
  unsigned long hash = 5381;
  for (size_t i = 0; i < n; i++)
    hash = hash * 33 + (unsigned char)bytes[i];
  return (long)hash;
}

/* A finished run, started again: nothing is trained, the same result comes out. It goes on only where what
 * ended it is changed. */
static void what_is_finished_stays_finished(void **state) {
  cli_result_t result;
  double loss[STEPS + 1];
  (void)state;
#define ENDED                                                                                                \
  "--set", "job.run_dir=best_1", "--set", "eval.keep_best=.true.", "--set", "eval.dataset=world/sft.h5"
  long model = file_hash("best_1/model.h5");
  int last = read_metric("best_1", "eval/loss", loss);
  CLI_RUN(1, &result, ENDED, "--set", "optim.steps=16", STEEP, EVALUATED, "--set", "eval.patience=2",
          "train.nml");
  cli_expect(&result, 0);
  /* More steps are not what it ended for. */
  CLI_RUN(2, &result, ENDED, "--set", "optim.steps=20", STEEP, EVALUATED, "--set", "eval.patience=2",
          "train.nml");
  cli_expect(&result, 0);
  assert_int_equal(read_metric("best_1", "eval/loss", loss), last);
  assert_true(file_hash("best_1/model.h5") == model);
  /* Fewer than it has made contradict it. */
  CLI_RUN(2, &result, ENDED, "--set", "optim.steps=2", STEEP, EVALUATED, "--set", "eval.patience=2",
          "train.nml");
  cli_expect_one_message(&result, 2);
  assert_non_null(strstr(result.err, "of step 6"));
  assert_non_null(strstr(result.err, "2 steps"));
  /* More patience, and none. */
  CLI_RUN(1, &result, ENDED, "--set", "optim.steps=16", STEEP, EVALUATED, "--set", "eval.patience=3",
          "train.nml");
  cli_expect(&result, 0);
  assert_int_equal(read_metric("best_1", "eval/loss", loss), last + 1);
  char steps[64];
  snprintf(steps, sizeof steps, "optim.steps=%d", last + 3);
  CLI_RUN(1, &result, ENDED, "--set", steps, STEEP, EVALUATED, "--set", "eval.patience=0", "train.nml");
  cli_expect(&result, 0);
  assert_int_equal(read_metric("best_1", "eval/loss", loss), last + 3);
}

/* A checkpoint of the best that is gone must not keep the run from its end. */
static void a_lost_best_does_not_stop_a_run(void **state) {
  cli_result_t result;
  (void)state;
#define LOSES                                                                                                \
  LORA, "--set", "job.run_dir=loses", EVALUATED, "--set", "eval.dataset=pairs.h5", "--set",                  \
      "eval.keep_best=.true.", "--set", "checkpoint.every=1", "--set", "checkpoint.keep=0"
  CLI_RUN(1, &result, LOSES, "--set", "optim.steps=3", "rm.nml");
  cli_expect(&result, 0);
  char marked[64], name[128];
  cli_read("loses/checkpoints/best", marked, sizeof marked);
  marked[strcspn(marked, "\n")] = '\0';
  snprintf(name, sizeof name, "loses/checkpoints/%s", marked);
  cli_remove(name);
  CLI_RUN(2, &result, LOSES, "--set", "optim.steps=5", "rm.nml");
  cli_expect(&result, 0);
  cli_read("loses/checkpoints/best", marked, sizeof marked);
  marked[strcspn(marked, "\n")] = '\0';
  snprintf(name, sizeof name, "loses/checkpoints/%s", marked);
  assert_true(cli_exists(name));
}

static const char held_out_input[] = "&job task = 'prepare' run_dir = 'held' /\n"
                                     "&prepare conversations = 'world/pretrain.json' held_out = 9\n"
                                     "  image_folder = 'world/images' output = 'held.h5' /\n";

static void held_out_samples_are_evaluated_and_not_learnt(void **state) {
  cli_result_t result;
  double loss[STEPS + 1];
  (void)state;
  cli_write("held.nml", held_out_input, sizeof held_out_input - 1);
  CLI_RUN(1, &result, "held.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, "--set", "job.run_dir=on_held", "--set", "data.dataset=held.h5", EVALUATED,
          "train.nml");
  cli_expect(&result, 0);
  assert_int_equal(samples_trained_on("on_held/checkpoints/step_00000001.h5"), 40 - 9);
  assert_int_equal(read_metric("on_held", "eval/loss", loss), 1);
  assert_true(loss[0] > loss[1] && loss[1] > 0.0);
}

static void evaluating_on_nothing_is_an_error(void **state) {
  cli_result_t result;
  (void)state;
  for (int ranks = 1; ranks <= 2; ranks++) {
    CLI_RUN(ranks, &result, "--set", "job.run_dir=nothing", EVALUATED, "train.nml");
    cli_expect_one_message(&result, 2);
    CLI_RUN(ranks, &result, LORA, "--set", "job.run_dir=nothing", EVALUATED, "rm.nml");
    cli_expect_one_message(&result, 2);
    CLI_RUN(ranks, &result, LORA, "--set", "job.run_dir=nothing", EVALUATED, "ppo.nml");
    cli_expect_one_message(&result, 2);
  }
}

static void the_reward_models_best_state_is_kept(void **state) {
  cli_result_t result;
  double accuracy[STEPS + 1], loss[STEPS + 1];
  (void)state;
  CLI_RUN(2, &result, LORA, "--set", "job.run_dir=best_rm", "--set", "optim.steps=6", EVALUATED, "--set",
          "eval.dataset=pairs.h5", "--set", "eval.keep_best=.true.", "rm.nml");
  cli_expect(&result, 0);
  int last = read_metric("best_rm", "eval/accuracy", accuracy), best = 1;
  read_metric("best_rm", "eval/loss", loss);
  for (int step = 1; step <= last; step++)
    if (accuracy[step] - 1e-3 * loss[step] > accuracy[best] - 1e-3 * loss[best]) best = step;
  char marked[64], name[64];
  cli_read("best_rm/checkpoints/best", marked, sizeof marked);
  snprintf(name, sizeof name, "step_%08d.h5", best);
  assert_non_null(strstr(marked, name));
}

/* Without a judge the mean reward decides; it is the same on any layout. */
static void ppo_is_evaluated_by_the_reward_model(void **state) {
  static const struct {
    int ranks;
    const char *tp;
  } layouts[] = {{1, "parallel.tp=1"}, {2, "parallel.tp=1"}, {2, "parallel.tp=2"}, {3, "parallel.tp=1"}};
  double first[STEPS + 1], reward[STEPS + 1];
  cli_result_t result;
  (void)state;
  for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
    CLI_RUN(layouts[i].ranks, &result, LORA, "--set", layouts[i].tp, "--set", "job.run_dir=best_ppo",
            EVALUATED, "--set", "ppo.steps=2", "--set", "eval.dataset=world/sft.h5", "--set",
            "eval.keep_best=.true.", "ppo.nml");
    cli_expect(&result, 0);
    int best = best_step("best_ppo", "eval/reward", 1.0, reward);
    if (i == 0) memcpy(first, reward, sizeof first);
    for (int step = 0; step <= 2; step++)
      assert_true(fabs(reward[step] - first[step]) <= 1e-4 * fmax(1.0, fabs(first[step])));
    char marked[64], name[64];
    cli_read("best_ppo/checkpoints/best", marked, sizeof marked);
    snprintf(name, sizeof name, "step_%08d.h5", best);
    assert_non_null(strstr(marked, name));
    cli_remove("best_ppo");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(training_ends_where_it_gets_no_better_and_keeps_the_best),
      cmocka_unit_test(what_is_finished_stays_finished),
      cmocka_unit_test(a_lost_best_does_not_stop_a_run),
      cmocka_unit_test(held_out_samples_are_evaluated_and_not_learnt),
      cmocka_unit_test(evaluating_on_nothing_is_an_error),
      cmocka_unit_test(the_reward_models_best_state_is_kept),
      cmocka_unit_test(ppo_is_evaluated_by_the_reward_model),
  };
  return cmocka_run_group_tests(tests, ppo_world_enter, cli_leave);
}

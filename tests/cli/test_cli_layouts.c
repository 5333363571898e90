/* One PPO step on 1x1, 1x2, 2x1, 3x1, 2x2, 1x8, 4x2 ranks (dp x tp), with adapters whose B is not zero, a
 * policy that is not its reference, and a learning rate above zero: the same samples to the token; metrics,
 * gradient norms and the weights written afterwards to 1e-4. And with a reward model of another size on
 * another base. With the argument `many`: 1x4, 4x1, 5x1, 3x2, 8x8 and 64x1
 * besides, far more ranks than cores, and more groups than samples. */
#include "cli/layouts.h"
#include "cli/ppo_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Of the step that is compared: mini-batches, and what its learning rate does not exceed. */
enum { UPDATES = 2 };
static const double learning_rate = 1e-3;

/* What a run of ppo.nml trains and is rewarded by. */
typedef struct {
  const char *base, *adapter, *reward;
} models_t;

/* A base of another size and image size, for the reward model of the second test. */
static void make_other_base(void) {
  cli_result_t result;
  CLI_RUN(1, &result, "--set", "job.run_dir=other", "--set", "model.hidden=24", "--set", "model.layers=1",
          "--set", "model.vision_image_size=24", "--set", "model.vision_patch=12", "train.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, LORA, "--set", "job.run_dir=other_rm", "--set", "model.base=other/model.h5", "rm.nml");
  cli_expect(&result, 0);
}

/* Models with a head for each of 8 ranks. */
static void make_wide_models(void) {
  cli_result_t result;
  CLI_RUN(1, &result, "--set", "job.run_dir=wide", "--set", "model.heads=8", "--set", "model.vision_heads=8",
          "train.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, LORA, "--set", "job.run_dir=wide_start", "--set", "model.base=wide/model.h5",
          "start.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, LORA, "--set", "job.run_dir=wide_rm", "--set", "model.base=wide/model.h5", "rm.nml");
  cli_expect(&result, 0);
}

/* Runs up to step STEPS on LAYOUT into FOLDER, from checkpoint FROM ("auto": none). */
static void run_layout(layout_t layout, const models_t *models, const char *folder, const char *steps,
                       const char *from) {
  cli_result_t result;
  char run_dir[128], split[64], base[128], adapter[128], reward[128], total[64], restart[128];
  snprintf(run_dir, sizeof run_dir, "job.run_dir=%s", folder);
  snprintf(split, sizeof split, "parallel.tp=%s", layout.tp);
  snprintf(base, sizeof base, "model.base=%s", models->base);
  snprintf(adapter, sizeof adapter, "model.adapter=%s", models->adapter);
  snprintf(reward, sizeof reward, "reward.model=%s", models->reward);
  snprintf(total, sizeof total, "ppo.steps=%s", steps);
  snprintf(restart, sizeof restart, "job.restart=%s", from);
  CLI_RUN(layout.ranks, &result, LORA, "--set", run_dir, "--set", split, "--set", base, "--set", adapter,
          "--set", reward, "--set", total, "--set", restart, "ppo.nml");
  cli_expect(&result, 0);
}

/* The second step, from the checkpoint that FIRST wrote after the first: the policy is no longer its
 * reference, so that no kl is zero, and the value head no longer zero. On one rank, and on LAYOUTS (count).
 */
static void check_layouts(const models_t *models, const char *prefix, layout_t first, const layout_t *layouts,
                          size_t count) {
  char start[64], from[128], alone[64], folder[64];
  snprintf(start, sizeof start, "%s_first", prefix);
  snprintf(from, sizeof from, "%s/checkpoints/step_00000001.h5", start);
  snprintf(alone, sizeof alone, "%s_alone", prefix);
  run_layout(first, models, start, "1", "auto");
  run_layout((layout_t){1, "1"}, models, alone, "2", from);
  assert_true(ppo_world_metric(alone, 0, "objective/kl_avg_seq") > 10.0 * ppo_world_tolerance);
  for (size_t l = 0; l < count; l++) {
    snprintf(folder, sizeof folder, "%s_%d_%s", prefix, layouts[l].ranks, layouts[l].tp);
    run_layout(layouts[l], models, folder, "2", from);
    ppo_world_compare_rollouts(folder, alone, 2);
    assert_int_equal(ppo_world_compare_metrics(folder, alone), 1);
    assert_true(ppo_world_metric(folder, 0, "rollout/logprob_gap") <= 1e-5);
    layouts_compare_weights(folder, alone, UPDATES, learning_rate);
  }
}

static const layout_t one_rank = {1, "1"};
static const layout_t few_ranks[] = {{2, "2"}, {2, "1"}, {3, "1"}, {4, "2"}};

static void one_base(void **state) {
  const models_t models = {"model.h5", "start/model.h5", "rm/model.h5"};
  (void)state;
  check_layouts(&models, "one", one_rank, few_ranks, sizeof few_ranks / sizeof *few_ranks);
}

static void two_bases_of_different_sizes(void **state) {
  const models_t models = {"model.h5", "start/model.h5", "other_rm/model.h5"};
  (void)state;
  make_other_base();
  check_layouts(&models, "two", one_rank, few_ranks, sizeof few_ranks / sizeof *few_ranks);
}

static const models_t wide_models = {"wide/model.h5", "wide_start/model.h5", "wide_rm/model.h5"};

static void eight_ranks(void **state) {
  static const layout_t layouts[] = {{8, "8"}, {8, "2"}};
  (void)state;
  make_wide_models();
  check_layouts(&wide_models, "eight", one_rank, layouts, sizeof layouts / sizeof *layouts);
}

/* The checkpoint of 64 ranks goes on on one, and on all others. */
static void many_ranks(void **state) {
  static const layout_t layouts[] = {{4, "4"}, {4, "1"}, {5, "1"}, {6, "2"}, {64, "8"}, {64, "1"}};
  (void)state;
  make_wide_models();
  cli_set_patience(1500);
  check_layouts(&wide_models, "many", (layout_t){64, "8"}, layouts, sizeof layouts / sizeof *layouts);
}

int main(int argc, char **argv) {
  const struct CMUnitTest few[] = {cmocka_unit_test(one_base), cmocka_unit_test(two_bases_of_different_sizes),
                                   cmocka_unit_test(eight_ranks)};
  const struct CMUnitTest many[] = {cmocka_unit_test(many_ranks)};
  (void)argv;
  return argc > 1 ? cmocka_run_group_tests(many, ppo_world_enter, cli_leave)
                  : cmocka_run_group_tests(few, ppo_world_enter, cli_leave);
}

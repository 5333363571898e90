/* Supervised steps with everything that model.train can be, and steps of a reward model, on several layouts
 * (dp x tp): losses, gradient norms and weights of one rank to 1e-4. With the argument `many` on 1x2, 2x1,
 * 2x2, 3x1, 1x4, 4x1, 5x1, 3x2, 8x8 and 64x1. And these comparisons notice a single wrong rule of how a
 * gradient is completed over tp. */
#include "cli/layouts.h"
#include "cli/ppo_world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 2 };
static const double learning_rate = 1e-3;

static const char sft_input[] =
    "&job task = 'sft' /\n&data dataset = 'world/pretrain.h5' max_len = 128 /\n"
    "&optim lr = 1e-3 batch = 8 steps = 2 warmup_ratio = 0 schedule = 'constant'\n"
    "  grad_clip = 0.5 micro_tokens = 256 /\n&log tensorboard = .false. /\n";
static const char rm_steps_input[] = "&job task = 'rm' /\n&data dataset = 'pairs.h5' /\n"
                                     "&optim lr = 1e-3 batch = 4 steps = 2 warmup_ratio = 0\n"
                                     "  schedule = 'constant' micro_tokens = 256 /\n"
                                     "&log tensorboard = .false. /\n";

/* What is trained, from which base. */
typedef struct {
  const char *name, *input, *train, *base;
  const char *norm; /* its gradient norm's metric */
  int first;        /* steps before those that are compared: heads and B of LoRA begin at zero, and what their
                       weights multiply has a gradient of next to nothing until they move */
} training_t;

static const training_t trainings[] = {
    {"lora", "sft_steps.nml", "lora", "wide/model.h5", "sft/grad_norm", 2},
    {"projector", "sft_steps.nml", "projector", "wide/model.h5", "sft/grad_norm", 0},
    {"decoder", "sft_steps.nml", "decoder", "wide/model.h5", "sft/grad_norm", 0},
    {"all", "sft_steps.nml", "all", "wide/model.h5", "sft/grad_norm", 0},
    {"reward", "rm_steps.nml", "lora", "wide/model.h5", "rm/grad_norm", 4},
};
enum { TRAININGS = sizeof trainings / sizeof *trainings };

/* A base with a head for each of 8 ranks, and one whose key-value heads are fewer than its ranks. */
static int enter(void **state) {
  cli_result_t result;
  if (ppo_world_enter(state) != 0) return -1;
  cli_set_patience(1500);
  CLI_RUN(1, &result, "--set", "job.run_dir=wide", "--set", "model.heads=8", "--set", "model.vision_heads=8",
          "train.nml");
  cli_expect(&result, 0);
  CLI_RUN(1, &result, "--set", "job.run_dir=shared", "--set", "model.kv_heads=1", "train.nml");
  cli_expect(&result, 0);
  cli_write("sft_steps.nml", sft_input, sizeof sft_input - 1);
  cli_write("rm_steps.nml", rm_steps_input, sizeof rm_steps_input - 1);
  return 0;
}

/* Steps FIRST + 1 to FIRST + STEPS: from the checkpoint of step FIRST that one rank has written, or from the
 * beginning (0). */
static void train_steps(const training_t *training, layout_t layout, const char *folder, int first, int steps,
                        const char *rate) {
  cli_result_t result;
  char run_dir[128], split[64], base[128], mode[64], total[64], from[128], lr[64];
  snprintf(total, sizeof total, "optim.steps=%d", first + steps);
  snprintf(lr, sizeof lr, "optim.lr=%s", rate);
  snprintf(from, sizeof from,
           first > 0 ? "job.restart=%s_first/checkpoints/step_%08d.h5" : "job.restart=auto", training->name,
           first);
  snprintf(run_dir, sizeof run_dir, "job.run_dir=%s", folder);
  snprintf(split, sizeof split, "parallel.tp=%s", layout.tp);
  snprintf(base, sizeof base, "model.base=%s", training->base);
  snprintf(mode, sizeof mode, "model.train=%s", training->train);
  CLI_RUN(layout.ranks, &result, LORA, "--set", run_dir, "--set", split, "--set", base, "--set", mode,
          "--set", total, "--set", from, "--set", lr, training->input);
  cli_expect(&result, 0);
}

static void train(const training_t *training, layout_t layout, const char *folder) {
  train_steps(training, layout, folder, training->first, STEPS, "1e-3");
}

static void train_alone(const training_t *training, char folder[64]) {
  char first[64];
  snprintf(first, sizeof first, "%s_first", training->name);
  if (training->first > 0 && !cli_exists(first))
    train_steps(training, (layout_t){1, "1"}, first, 0, training->first, "1e-2");
  snprintf(folder, 64, "%s_alone", training->name);
  if (!cli_exists(folder)) train(training, (layout_t){1, "1"}, folder);
}

static void check_layouts(const layout_t *layouts, size_t count) {
  char alone[64], folder[64];
  for (size_t t = 0; t < TRAININGS; t++) {
    train_alone(&trainings[t], alone);
    for (size_t l = 0; l < count; l++) {
      snprintf(folder, sizeof folder, "%s_%d_%s", trainings[t].name, layouts[l].ranks, layouts[l].tp);
      train(&trainings[t], layouts[l], folder);
      assert_int_equal(ppo_world_compare_metrics(folder, alone), STEPS);
      layouts_compare_weights(folder, alone, STEPS, learning_rate);
      cli_remove(folder);
    }
  }
}

static void few_ranks(void **state) {
  static const layout_t layouts[] = {{3, "1"}, {4, "2"}};
  (void)state;
  check_layouts(layouts, sizeof layouts / sizeof *layouts);
}

static void many_ranks(void **state) {
  static const layout_t layouts[] = {{2, "2"}, {2, "1"}, {4, "2"}, {3, "1"},  {4, "4"},
                                     {4, "1"}, {5, "1"}, {6, "2"}, {64, "8"}, {64, "1"}};
  (void)state;
  check_layouts(layouts, sizeof layouts / sizeof *layouts);
}

/* ---- Wrong rules ---- */

/* The largest difference of a step's gradient norm, as a share of it. */
static double norms_apart(const training_t *training, const char *folder, const char *alone) {
  double most = 0.0;
  for (int line = 0; line < STEPS; line++) {
    double expected = ppo_world_metric(alone, line, training->norm);
    most = fmax(most, fabs(ppo_world_metric(folder, line, training->norm) - expected) / expected);
  }
  return most;
}

/* Trains with a wrong rule for weights whose name holds WRONG: something that was compared above must be
 * apart. */
static void expect_noticed(const training_t *training, const char *tp, const char *wrong) {
  char alone[64];
  train_alone(training, alone);
  cli_use(MUTATING);
  setenv("MUTATE_RULE", wrong, 1);
  train(training, (layout_t){atoi(tp), tp}, "wrong");
  cli_use(NULL);
  unsetenv("MUTATE_RULE");
  char name[LAYOUTS_NAME];
  double norms = norms_apart(training, "wrong", alone),
         weights = layouts_weights_apart("wrong", alone, STEPS, learning_rate, name);
  print_message("%s of %s: gradient norms %.2g apart, %.2g of the weights\n", wrong, training->name, norms,
                weights);
  assert_true(norms > ppo_world_tolerance || weights > layouts_share);
  cli_remove("wrong");
}

static void a_wrong_rule_is_noticed(void **state) {
  static const char *const all[] = {"class_embedding",
                                    "patch_embedding",
                                    "position_embedding",
                                    "layer_norm1",
                                    "vision_tower.vision_model.encoder",
                                    "mm_projector",
                                    "input_layernorm",
                                    "post_attention_layernorm",
                                    "model.norm"};
  static const training_t shared = {"shared", "sft_steps.nml", "all", "shared/model.h5", "sft/grad_norm", 0};
  static const training_t shared_lora = {"shared_lora",     "sft_steps.nml", "lora",
                                         "shared/model.h5", "sft/grad_norm", 2};
  (void)state;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    expect_noticed(&trainings[3], "2", all[i]);
  expect_noticed(&shared, "2", "k_proj.weight");
  expect_noticed(&shared, "2", "v_proj.weight");
  expect_noticed(&shared_lora, "2", "v_proj.lora_B");
  expect_noticed(&trainings[4], "2", "weight"); /* of the reward head */
}

/* No rule, and nothing is apart: what stands in the way changes nothing else. */
static void no_wrong_rule_is_none(void **state) {
  char alone[64];
  (void)state;
  train_alone(&trainings[3], alone);
  cli_use(MUTATING);
  train(&trainings[3], (layout_t){2, "2"}, "right");
  cli_use(NULL);
  assert_true(norms_apart(&trainings[3], "right", alone) <= ppo_world_tolerance);
}

int main(int argc, char **argv) {
  const struct CMUnitTest few[] = {cmocka_unit_test(few_ranks)}, many[] = {cmocka_unit_test(many_ranks)},
                          wrong[] = {cmocka_unit_test(no_wrong_rule_is_none),
                                     cmocka_unit_test(a_wrong_rule_is_noticed)};
  if (argc == 1) return cmocka_run_group_tests(few, enter, cli_leave);
  return strcmp(argv[1], "many") == 0 ? cmocka_run_group_tests(many, enter, cli_leave)
                                      : cmocka_run_group_tests(wrong, enter, cli_leave);
}

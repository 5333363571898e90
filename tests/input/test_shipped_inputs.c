#include "base/memory.h"
#include "input/settings.h"

#include <glob.h>
#include <stdbool.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Checks every input in FOLDER: right, and nothing in it without effect. Returns how many there are. */
static int check_folder(const char *folder) {
  char pattern[1024];
  glob_t files;
  snprintf(pattern, sizeof pattern, "%s/../inputs/%s/*.nml", TEST_SOURCE_DIR, folder);
  assert_int_equal(glob(pattern, 0, NULL, &files), 0);
  for (size_t i = 0; i < files.gl_pathc; i++) {
    settings_t settings;
    char *warnings = NULL;
    if (settings_read(files.gl_pathv[i], 0, NULL, &settings, &warnings) != STATUS_OK)
      fail_msg("%s", error_message());
    if (*warnings) fail_msg("%s", warnings);
    memory_free(warnings);
    settings_free(&settings);
  }
  int count = (int)files.gl_pathc;
  globfree(&files);
  return count;
}

static void inputs_of_the_shapes_world_are_right(void **state) {
  (void)state;
  assert_true(check_folder(".") >= 8);
}

static void published_inputs_are_right(void **state) {
  (void)state;
  assert_true(check_folder("llava_7b") >= 7);
  assert_true(check_folder("llava_13b") >= 7);
}

static settings_t read_input(const char *name) {
  char path[1024];
  settings_t settings;
  snprintf(path, sizeof path, "%s/../inputs/%s", TEST_SOURCE_DIR, name);
  if (settings_read(path, 0, NULL, &settings, NULL) != STATUS_OK) fail_msg("%s", error_message());
  return settings;
}

/* The published PPO settings, as numbers. */
static void published_ppo_settings_are_kept(void **state) {
  (void)state;
  static const char *const names[] = {"llava_7b/ppo.nml", "llava_13b/ppo.nml"};
  for (int i = 0; i < 2; i++) {
    settings_t s = read_input(names[i]);
    assert_true(s.optim.lr == 3e-5 && s.optim.warmup_steps == 5 && s.optim.grad_clip == 1);
    assert_string_equal(s.optim.schedule, "cosine");
    assert_int_equal(s.rollout.batch, 512);
    assert_int_equal(s.ppo.minibatch, 256);
    assert_int_equal(s.ppo.epochs, 4);
    assert_int_equal(s.data.query_len, 128);
    assert_int_equal(s.rollout.response_len, 896);
    assert_true(s.ppo.kl_coef == 0.1 && s.ppo.vf_coef == 0.1 && s.ppo.reward_scale == 10);
    assert_true(s.reward.correct_bonus == 2 && s.reward.length_bonus == -10 &&
                s.reward.no_stop_penalty == -8);
    assert_int_equal(s.checkpoint.every, 10);
    assert_true(s.optim.betas[0] == 0.9 && s.optim.betas[1] == 0.999 && s.optim.eps == 1e-8);
    settings_free(&s);
  }
}

/* The other phases' published settings, as numbers: learning rate, schedule, warm-up, global batch, epochs,
 * longest sequence, clip, images. The reward model's run ends at step 200 of the 9500 / 32 of its epoch, of
 * which its warm-up is 3%, rounded up. */
static void published_settings_are_kept(void **state) {
  (void)state;
  static const struct {
    const char *name;
    double lr;
    const char *schedule;
    double warmup_ratio;
    int64_t warmup_steps, batch, epochs, steps, max_len;
    double grad_clip;
    const char *aspect, *train;
  } table[] = {{"pretrain", 2e-3, "cosine", 0.03, 0, 128, 1, 0, 2048, 0, "square", "projector"},
               {"sft", 2e-5, "cosine", 0.03, 0, 128, 3, 0, 1280, 0, "pad", "decoder"},
               {"policy_init", 1e-4, "cosine", 0.03, 0, 128, 1, 0, 4096, 0, "pad", "lora"},
               {"rm", 2e-5, "constant", 0, 9, 32, 1, 200, 2048, 0.3, "pad", NULL}};
  static const char *const folders[] = {"llava_7b", "llava_13b"};
  for (int i = 0; i < 8; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s/%s.nml", folders[i % 2], table[i / 2].name);
    settings_t s = read_input(name);
    assert_true(s.optim.lr == table[i / 2].lr && s.optim.grad_clip == table[i / 2].grad_clip);
    assert_string_equal(s.optim.schedule, table[i / 2].schedule);
    assert_int_equal(s.optim.warmup_steps, table[i / 2].warmup_steps);
    if (s.optim.warmup_steps == 0) assert_true(s.optim.warmup_ratio == table[i / 2].warmup_ratio);
    assert_int_equal(s.optim.batch, table[i / 2].batch);
    assert_int_equal(s.optim.epochs, table[i / 2].epochs);
    assert_int_equal(s.optim.steps, table[i / 2].steps);
    assert_int_equal(s.data.max_len, table[i / 2].max_len);
    assert_string_equal(s.image.aspect, table[i / 2].aspect);
    if (table[i / 2].train) assert_string_equal(s.model.train, table[i / 2].train);
    assert_true(s.optim.weight_decay == 0 && s.optim.betas[0] == 0.9 && s.optim.betas[1] == 0.999 &&
                s.optim.eps == 1e-8);
    assert_string_equal(s.parallel.dtype, "bf16");
    if (i / 2 >= 2) assert_true(s.adapter.r == 64 && s.adapter.alpha == 16);
    settings_free(&s);
  }
}

/* Each step of the shapes world reads what an earlier one writes. */
static void the_steps_fit_together(void **state) {
  (void)state;
  settings_t sft = read_input("sft.nml"), rm = read_input("rm.nml"), ppo = read_input("ppo.nml");
  settings_t sample = read_input("sample.nml"), annotate = read_input("annotate.nml"),
             prepare = read_input("prepare.nml");
  settings_t start = read_input("policy_init.nml"), evaluate = read_input("evaluate.nml");
  const settings_t *const judged[] = {&sft, &start, &ppo};
  char result[1024];
  assert_int_equal(evaluate.eval.models.count, 3);
  for (int i = 0; i < 3; i++) {
    snprintf(result, sizeof result, "%s/model.h5", judged[i]->job.run_dir);
    assert_string_equal(evaluate.eval.models.items[i], result);
  }
  snprintf(result, sizeof result, "%s/model.h5", start.job.run_dir);
  assert_string_equal(ppo.model.adapter, result);
  snprintf(result, sizeof result, "%s/model.h5", sft.job.run_dir);
  assert_string_equal(start.model.base, result);
  assert_string_equal(rm.model.base, result);
  assert_string_equal(ppo.model.base, result);
  assert_string_equal(sample.model.base, result);
  snprintf(result, sizeof result, "%s/model.h5", rm.job.run_dir);
  assert_string_equal(ppo.reward.model, result);
  assert_string_equal(annotate.annotate.pairs, sample.generate.output);
  assert_string_equal(prepare.prepare.preferences, annotate.annotate.output);
  assert_string_equal(rm.data.dataset, prepare.prepare.output);
  assert_int_equal(rm.adapter.r, ppo.adapter.r); /* the value model starts from the reward model's adapter */
  settings_t *all[] = {&sft, &rm, &ppo, &sample, &annotate, &prepare, &start, &evaluate};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    settings_free(all[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(inputs_of_the_shapes_world_are_right),
      cmocka_unit_test(published_inputs_are_right),
      cmocka_unit_test(published_ppo_settings_are_kept),
      cmocka_unit_test(published_settings_are_kept),
      cmocka_unit_test(the_steps_fit_together),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

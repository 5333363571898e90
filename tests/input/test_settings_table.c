#include "base/memory.h"
#include "input/settings_table.h"
#include "input/settings_value.h"

#include <ctype.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Alignment of the field of a row. */
static size_t alignment(const setting_t *row) {
  return row->type == SETTING_BOOL ? _Alignof(bool) : _Alignof(int64_t);
}

static int rows_at(size_t offset) {
  int count, found = 0;
  const setting_t *rows = settings_table(&count);
  for (int i = 0; i < count; i++)
    found += offset >= rows[i].offset && offset < rows[i].offset + rows[i].bytes;
  return found;
}

/* Each byte of the struct belongs to one row, or to the padding before a field that needs alignment (or
 * before the end). */
static void every_field_has_one_row(void **state) {
  (void)state;
  int count;
  const setting_t *rows = settings_table(&count);
  size_t gap = 0;
  for (size_t offset = 0; offset < sizeof(settings_t); offset++) {
    int owners = rows_at(offset);
    assert_true(owners <= 1);
    gap = owners == 0 ? gap + 1 : 0;
    assert_true(gap < _Alignof(int64_t));
  }
  for (int i = 0; i < count; i++) {
    assert_int_equal(rows[i].offset % alignment(&rows[i]), 0);
    if (rows[i].type != SETTING_BOOL || rows[i].offset == 0) continue;
    /* A flag follows another field at once: no flag without a row hides in padding before it. */
    assert_int_equal(rows_at(rows[i].offset - 1), 1);
  }
}

static void every_row_is_documented(void **state) {
  (void)state;
  int count;
  const setting_t *rows = settings_table(&count);
  for (int i = 0; i < count; i++) {
    size_t length = strlen(rows[i].doc);
    if (length < 5 || rows[i].doc[length - 1] != '.')
      fail_msg("%s.%s: no sentence", rows[i].group, rows[i].name);
    assert_true(rows[i].used != 0);
    assert_int_equal(rows[i].required & ~rows[i].used, 0);
    bool number =
        rows[i].type == SETTING_INT || rows[i].type == SETTING_REAL || rows[i].type == SETTING_REALS;
    if (number != rows[i].limited) fail_msg("%s.%s: numbers have limits", rows[i].group, rows[i].name);
  }
}

static void names_are_unique_and_lower_case(void **state) {
  (void)state;
  int count;
  const setting_t *rows = settings_table(&count);
  for (int i = 0; i < count; i++) {
    for (const char *c = rows[i].name; *c; c++)
      assert_true(islower((unsigned char)*c) || isdigit((unsigned char)*c) || *c == '_');
    for (int j = 0; j < i; j++)
      assert_false(strcmp(rows[i].group, rows[j].group) == 0 && strcmp(rows[i].name, rows[j].name) == 0);
  }
}

static void groups_are_together_and_in_order(void **state) {
  (void)state;
  int count, group_count, at = 0;
  const setting_t *rows = settings_table(&count);
  const setting_group_t *groups = settings_groups(&group_count);
  for (int i = 0; i < count; i++) {
    while (at < group_count && strcmp(groups[at].name, rows[i].group) != 0)
      at++;
    if (at == group_count) fail_msg("%s.%s stands outside its group", rows[i].group, rows[i].name);
  }
  for (int i = 0; i < group_count; i++)
    assert_true(strlen(groups[i].doc) > 5);
}

/* Every default, of every task, is a value that the setting accepts. */
static void defaults_are_valid(void **state) {
  (void)state;
  int count;
  const setting_t *rows = settings_table(&count);
  for (int i = 0; i < count; i++) {
    for (int task = 0; task <= TASK_COUNT; task++) {
      const char *text = setting_default(&rows[i], (task_t)task);
      if (!text) {
        assert_true(rows[i].required != 0);
        continue;
      }
      settings_t settings = {0};
      mistakes_t mistakes = {.name = rows[i].name};
      namelist_t list;
      bool stored = false;
      assert_int_equal(namelist_parse_values(text, (place_t){0}, &mistakes, &list), STATUS_OK);
      assert_int_equal(
          setting_store(&rows[i], &settings, list.values, list.value_count, (place_t){0}, &mistakes, &stored),
          STATUS_OK);
      if (!stored || mistakes.count > 0) fail_msg("%s.%s: default %s", rows[i].group, rows[i].name, text);
      setting_release(&rows[i], &settings);
      namelist_free(&list);
      mistakes_free(&mistakes);
    }
  }
  assert_int_equal(memory_usage(ARENA_OTHER).current, 0);
}

/* Groups and settings that scripts rely on. */
static void promised_names_exist(void **state) {
  (void)state;
  static const char *const promised[] = {"job.task",
                                         "job.run_dir",
                                         "job.seed",
                                         "job.restart",
                                         "job.max_seconds",
                                         "job.deterministic",
                                         "parallel.tp",
                                         "parallel.threads",
                                         "parallel.device",
                                         "parallel.dtype",
                                         "parallel.timeout",
                                         "model.base",
                                         "model.adapter",
                                         "model.template",
                                         "model.train",
                                         "model.from_scratch",
                                         "model.hidden",
                                         "model.layers",
                                         "adapter.r",
                                         "adapter.alpha",
                                         "adapter.targets",
                                         "data.dataset",
                                         "data.max_len",
                                         "data.query_len",
                                         "data.bad_sample",
                                         "image.aspect",
                                         "rm.center_group",
                                         "rm.facts",
                                         "rm.prompt_file",
                                         "reward.model",
                                         "reward.facts",
                                         "reward.prompt_file",
                                         "reward.correct_bonus",
                                         "reward.length_bonus",
                                         "reward.no_stop_penalty",
                                         "reward.relative_penalty",
                                         "reward.bias",
                                         "rollout.batch",
                                         "rollout.response_len",
                                         "rollout.temperature",
                                         "rollout.top_p",
                                         "rollout.top_k",
                                         "rollout.stop_at_question",
                                         "ppo.epochs",
                                         "ppo.steps",
                                         "ppo.inner_epochs",
                                         "ppo.minibatch",
                                         "ppo.kl_coef",
                                         "ppo.kl_estimator",
                                         "ppo.gamma",
                                         "ppo.lam",
                                         "ppo.clip",
                                         "ppo.clip_value",
                                         "ppo.vf_coef",
                                         "ppo.whiten_rewards",
                                         "ppo.reward_scale",
                                         "ppo.loss_norm",
                                         "ppo.old_logprob",
                                         "ppo.max_kl",
                                         "optim.lr",
                                         "optim.schedule",
                                         "optim.warmup_steps",
                                         "optim.warmup_ratio",
                                         "optim.warmup_from_zero",
                                         "optim.weight_decay",
                                         "optim.betas",
                                         "optim.eps",
                                         "optim.grad_clip",
                                         "optim.batch",
                                         "optim.micro_tokens",
                                         "optim.epochs",
                                         "optim.steps",
                                         "eval.dataset",
                                         "eval.every",
                                         "eval.keep_best",
                                         "eval.patience",
                                         "checkpoint.every",
                                         "checkpoint.keep",
                                         "log.every",
                                         "log.tensorboard",
                                         "log.trace",
                                         "log.rollouts",
                                         "generate.image",
                                         "generate.prompt",
                                         "generate.dataset",
                                         "generate.output"};
  static const char *const groups_promised[] = {
      "job", "parallel", "model",   "adapter", "data",  "image", "prepare",    "import", "export",   "sft",
      "rm",  "reward",   "rollout", "ppo",     "optim", "eval",  "checkpoint", "log",    "generate", "world"};
  int count, group_count;
  const setting_t *rows = settings_table(&count);
  const setting_group_t *groups = settings_groups(&group_count);
  for (size_t p = 0; p < sizeof promised / sizeof promised[0]; p++) {
    bool found = false;
    for (int i = 0; i < count; i++) {
      char name[128];
      snprintf(name, sizeof name, "%s.%s", rows[i].group, rows[i].name);
      found = found || strcmp(name, promised[p]) == 0;
    }
    if (!found) fail_msg("%s is missing", promised[p]);
  }
  for (size_t p = 0; p < sizeof groups_promised / sizeof groups_promised[0]; p++) {
    bool found = false;
    for (int i = 0; i < group_count; i++)
      found = found || strcmp(groups[i].name, groups_promised[p]) == 0;
    if (!found) fail_msg("&%s is missing", groups_promised[p]);
  }
}

static void tasks_have_names_that_find_them(void **state) {
  (void)state;
  for (int task = 0; task < TASK_COUNT; task++)
    assert_int_equal(task_find(task_name((task_t)task)), task);
  assert_int_equal(task_find("nothing"), TASK_COUNT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_field_has_one_row),
      cmocka_unit_test(every_row_is_documented),
      cmocka_unit_test(names_are_unique_and_lower_case),
      cmocka_unit_test(groups_are_together_and_in_order),
      cmocka_unit_test(defaults_are_valid),
      cmocka_unit_test(promised_names_exist),
      cmocka_unit_test(tasks_have_names_that_find_them),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

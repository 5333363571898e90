/* Which settings count as changed between two starts of a run. */
#include "base/memory.h"
#include "input/settings.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char input[] = "&job task = 'ppo' run_dir = 'runs/a' /\n&model base = 'b.h5' /\n"
                            "&data dataset = 'd.h5' /\n&reward model = 'r.h5' /\n";

static settings_t read_changed(const char *const *changes, int count) {
  settings_t settings;
  assert_int_equal(settings_read_text("test", input, count, changes, &settings, NULL), STATUS_OK);
  return settings;
}

/* What settings_compare says of INPUT and INPUT with CHANGES; to be freed. */
static char *compare(const char *const *changes, int count) {
  settings_t was = read_changed(NULL, 0), now = read_changed(changes, count);
  char *text;
  assert_int_equal(settings_compare(&was, &now, &text), STATUS_OK);
  settings_free(&was);
  settings_free(&now);
  return text;
}

static void what_changes_no_result_is_passed_over(void **state) {
  static const char *const changes[] = {"parallel.tp=2",      "parallel.threads=3",  "job.max_seconds=9",
                                        "log.every=7",        "checkpoint.every=3",  "optim.micro_tokens=64",
                                        "job.run_dir=runs/b", "model.base=moved.h5", "data.workers=2",
                                        "rollout.page=32",    "generate.top_k=4"};
  (void)state;
  char *text = compare(changes, sizeof changes / sizeof *changes);
  assert_string_equal(text, "");
  memory_free(text);
}

static void the_rest_is_named(void **state) {
  static const char *const changes[] = {"ppo.lam=0.5", "optim.lr=1", "reward.facts=F", "log.every=7"};
  (void)state;
  char *text = compare(changes, sizeof changes / sizeof *changes);
  assert_non_null(strstr(text, "ppo.lam"));
  assert_non_null(strstr(text, "optim.lr"));
  assert_non_null(strstr(text, "reward.facts"));
  assert_null(strstr(text, "log.every"));
  memory_free(text);
}

/* The text of settings reads back to the same ones. */
static void a_text_holds_them_all(void **state) {
  static const char *const changes[] = {"ppo.lam=0.3", "optim.betas=0.7,0.9", "eval.scenes=it's"};
  settings_t was = read_changed(changes, 3), again;
  char *text, *differences;
  (void)state;
  assert_int_equal(settings_text(&was, &text), STATUS_OK);
  assert_int_equal(settings_read_text("again", text, 0, NULL, &again, NULL), STATUS_OK);
  assert_int_equal(settings_compare(&was, &again, &differences), STATUS_OK);
  assert_string_equal(differences, "");
  assert_true(again.ppo.lam == 0.3);
  memory_free(differences);
  memory_free(text);
  settings_free(&was);
  settings_free(&again);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(what_changes_no_result_is_passed_over),
                                     cmocka_unit_test(the_rest_is_named),
                                     cmocka_unit_test(a_text_holds_them_all)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

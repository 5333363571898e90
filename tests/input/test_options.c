#include "base/memory.h"
#include "input/options.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { WORDS_MAX = 12 };

/* Parses a NULL-terminated command line. */
static status_t parse(const char *const *words, options_t *options) {
  char *argv[WORDS_MAX] = {(char *)"llava_rlhf"};
  int argc = 1;
  for (; words[argc - 1]; argc++)
    argv[argc] = (char *)words[argc - 1];
  return options_parse(argc, argv, options);
}
#define PARSE(options, ...) parse((const char *const[]){__VA_ARGS__, NULL}, options)

static void an_input_is_run(void **state) {
  (void)state;
  options_t o;
  assert_int_equal(PARSE(&o, "a.nml"), STATUS_OK);
  assert_int_equal(o.command, COMMAND_RUN);
  assert_string_equal(o.input, "a.nml");
  assert_int_equal(o.override_count, 0);
  options_free(&o);
}

static void options_may_stand_anywhere(void **state) {
  (void)state;
  options_t o;
  assert_int_equal(PARSE(&o, "--set", "a.b=1", "a.nml", "--check", "--set=c.d=x=y", "--set", "e.f=-3"),
                   STATUS_OK);
  assert_int_equal(o.command, COMMAND_CHECK);
  assert_string_equal(o.input, "a.nml");
  assert_int_equal(o.override_count, 3);
  assert_string_equal(o.overrides[0], "a.b=1");
  assert_string_equal(o.overrides[1], "c.d=x=y");
  assert_string_equal(o.overrides[2], "e.f=-3");
  options_free(&o);
  assert_int_equal(PARSE(&o, "--dry-run", "a.nml"), STATUS_OK);
  assert_int_equal(o.command, COMMAND_DRY_RUN);
  options_free(&o);
}

static void commands_without_input(void **state) {
  (void)state;
  options_t o;
  assert_int_equal(PARSE(&o, "--help"), STATUS_OK);
  assert_int_equal(o.command, COMMAND_HELP);
  options_free(&o);
  assert_int_equal(PARSE(&o, "--version"), STATUS_OK);
  assert_int_equal(o.command, COMMAND_VERSION);
  options_free(&o);
  assert_int_equal(PARSE(&o, "--self-test", "--set", "parallel.tp=2"), STATUS_OK);
  assert_int_equal(o.command, COMMAND_SELF_TEST);
  assert_int_equal(o.override_count, 1);
  options_free(&o);
  assert_int_equal(PARSE(&o, "--print-defaults"), STATUS_OK);
  assert_int_equal(o.command, COMMAND_PRINT_DEFAULTS);
  assert_null(o.task);
  options_free(&o);
  assert_int_equal(PARSE(&o, "--print-defaults", "ppo"), STATUS_OK);
  assert_string_equal(o.task, "ppo");
  options_free(&o);
  assert_int_equal(PARSE(&o, "--merge-trace", "runs/a", "--output", "b.json.gz"), STATUS_OK);
  assert_int_equal(o.command, COMMAND_MERGE_TRACE);
  assert_string_equal(o.run_dirs[0], "runs/a");
  assert_string_equal(o.output, "b.json.gz");
  options_free(&o);
  assert_int_equal(PARSE(&o, "--print-manual"), STATUS_OK);
  assert_int_equal(o.command, COMMAND_PRINT_MANUAL);
  options_free(&o);
  assert_int_equal(PARSE(&o, "--print-metrics"), STATUS_OK);
  assert_int_equal(o.command, COMMAND_PRINT_METRICS);
  assert_false(o.markdown);
  options_free(&o);
  assert_int_equal(PARSE(&o, "--print-metrics=markdown"), STATUS_OK);
  assert_int_equal(o.command, COMMAND_PRINT_METRICS);
  assert_true(o.markdown);
  options_free(&o);
}

static void reports_take_run_directories(void **state) {
  (void)state;
  options_t o;
  assert_int_equal(PARSE(&o, "--report", "runs/a"), STATUS_OK);
  assert_int_equal(o.command, COMMAND_REPORT);
  assert_int_equal(o.run_dir_count, 1);
  assert_string_equal(o.run_dirs[0], "runs/a");
  assert_null(o.output);
  options_free(&o);
  assert_int_equal(PARSE(&o, "runs/a", "--output", "x.html", "--report", "runs/b", "runs/c"), STATUS_OK);
  assert_int_equal(o.run_dir_count, 3);
  assert_string_equal(o.run_dirs[2], "runs/c");
  assert_string_equal(o.output, "x.html");
  options_free(&o);
}

static void wrong_command_lines_are_refused(void **state) {
  (void)state;
  static const char *const cases[][5] = {
      {NULL},
      {"--check", NULL},
      {"a.nml", "b.nml", NULL},
      {"a.nml", "--set", NULL},
      {"--set", "--check", "a.nml", NULL},
      {"--check", "--dry-run", "a.nml", NULL},
      {"--help", "a.nml", NULL},
      {"--version", "--set", "a.b=1", NULL},
      {"--self-test", "a.nml", NULL},
      {"--print-defaults", "ppo", "a.nml", NULL},
      {"--verbose", "a.nml", NULL},
      {"--report", NULL},
      {"--report", "a", "--output", NULL},
      {"--report", "a", "--set", "b.c=1"},
      {"--report", "--check", "a", NULL},
      {"--output", "x.html", "a.nml", NULL},
      {"--merge-trace", NULL},
      {"--merge-trace", "a", "b", NULL},
      {"--print-metrics", "a.nml", NULL},
      {"-x", "a.nml", NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    options_t o;
    assert_int_equal(parse(cases[i], &o), STATUS_INPUT);
    assert_string_not_equal(error_message(), "");
    assert_null(o.overrides);
    assert_null(o.run_dirs);
  }
  assert_int_equal(memory_usage(ARENA_OTHER).current, 0);
  error_clear();
}

static void misspelt_options_find_their_name(void **state) {
  (void)state;
  options_t o;
  assert_int_equal(PARSE(&o, "--chekc", "a.nml"), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "--check"));
  assert_int_equal(PARSE(&o, "--dryrun", "a.nml"), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "--dry-run"));
  error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_input_is_run),
      cmocka_unit_test(options_may_stand_anywhere),
      cmocka_unit_test(commands_without_input),
      cmocka_unit_test(reports_take_run_directories),
      cmocka_unit_test(wrong_command_lines_are_refused),
      cmocka_unit_test(misspelt_options_find_their_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

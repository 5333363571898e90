/* What the program answers without MPI, and wrong command lines and inputs. */
#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void write_text(const char *path, const char *text) {
  cli_write(path, text, strlen(text));
}

static void questions_about_the_program_are_answered(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(0, &result, "--help");
  cli_expect(&result, 0);
  assert_true(strlen(result.out) > 500);
  CLI_RUN(0, &result, "--version");
  cli_expect(&result, 0);
  assert_true(strlen(result.out) > 100);
  CLI_RUN(0, &result, "--print-metrics");
  cli_expect(&result, 0);
  assert_non_null(strstr(result.out, "objective/rewards"));
}

/* Of runs that are dead: no mpirun, no lock. */
static void reports_are_made_of_what_runs_left(void **state) {
  static const char line[] = "{\"step\":1,\"seconds\":2,\"sft/loss\":3.5}\n";
  cli_result_t result;
  char text[1 << 18];
  (void)state;
  assert_int_equal(mkdir("one", 0777), 0);
  assert_int_equal(mkdir("two", 0777), 0);
  CLI_RUN(0, &result, "--report", "one");
  cli_expect_one_message(&result, 2);
  write_text("one/metrics.jsonl", line);
  write_text("one/lock", "another job");
  write_text("two/metrics.jsonl", line);
  CLI_RUN(0, &result, "--report", "one");
  cli_expect(&result, 0);
  assert_true(cli_read("one/report.html", text, sizeof text) > 1000);
  CLI_RUN(0, &result, "--report", "one", "two");
  cli_expect(&result, 0);
  assert_true(cli_read("report.html", text, sizeof text) > 1000);
  write_text("mine.html", "mine");
  CLI_RUN(0, &result, "--report", "one", "two", "--output", "mine.html");
  cli_expect_one_message(&result, 2);
}

static void defaults_are_an_input_for_every_task(void **state) {
  static const char *const tasks[] = {"world", "prepare",  "import",   "export", "pretrain", "sft",  "rm",
                                      "ppo",   "generate", "annotate", "score",  "evaluate", "bench"};
  cli_result_t result;
  (void)state;
  for (size_t t = 0; t < sizeof tasks / sizeof *tasks; t++) {
    CLI_RUN(0, &result, "--print-defaults", tasks[t]);
    cli_expect(&result, 0);
    write_text("defaults.nml", result.out);
    CLI_RUN(0, &result, "--check", "defaults.nml", "--set", "job.run_dir=x", "--set", "data.dataset=d",
            "--set", "model.base=m", "--set", "reward.model=r", "--set", "eval.dataset=d", "--set",
            "generate.dataset=d", "--set", "prepare.output=o", "--set", "prepare.conversations=c", "--set",
            "annotate.pairs=p", "--set", "annotate.scenes=s", "--set", "export.output=o", "--set",
            "import.weights=w");
    cli_expect(&result, 0);
  }
}

static void a_wrong_command_line_is_refused(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(0, &result, "--chekc", "x.nml");
  cli_expect_one_message(&result, 2);
  CLI_RUN(0, &result, "--set");
  cli_expect_one_message(&result, 2);
  CLI_RUN(0, &result, "a.nml", "b.nml");
  cli_expect_one_message(&result, 2);
  CLI_RUN(0, &result, "--print-defaults", "pppo");
  cli_expect_one_message(&result, 2);
  CLI_RUN(3, &result, "--chekc", "x.nml");
  cli_expect_one_message(&result, 2);
}

/* Each input has one mistake or more; --check and a run say so alike. */
static const struct {
  const char *text;
  int mistakes; /* lines of the message */
} wrong[] = {
    {"&job task = 'sft' run_dir = 'x' /\n&model bsae = 'm' /\n&data dataset = 'd' /\n&optim lr = 1 lr = 2 "
     "/\n",
     3},
    {"&job task = 'bench' run_dir = 'x' /\n&optin lr = 1 /\n", 1},
    {"&job task = 'bench' run_dir = 'x' seed = -1 /\n&bench layers = 0 heads = 'a' /\n", 3},
    {"&job task = 'bench' run_dir = 'x' /\n&parallel tp = 0 /\nstray\n", 2},
    {"&job task = 'bench' run_dir = 'x'\n", 1},
    {"&job task = 'bnech' run_dir = 'x' /\n", 1},
    {"&job task = 'bench' run_dir = 'x' /\n&parallel device = 'cpu' dtype = 'bf16' check = .true. /\n", 2},
};

static int lines_of(const char *text) {
  int lines = 0;
  for (const char *c = text; *c; c++)
    lines += *c == '\n';
  return lines;
}

static void all_mistakes_of_an_input_are_told_at_once(void **state) {
  cli_result_t result;
  (void)state;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    write_text("wrong.nml", wrong[i].text);
    CLI_RUN(0, &result, "--check", "wrong.nml");
    cli_expect_one_message(&result, 2);
    if (lines_of(result.err) < wrong[i].mistakes)
      fail_msg("expected %d mistakes:\n%s", wrong[i].mistakes, result.err);
  }
  CLI_RUN(0, &result, "--check", "missing.nml");
  cli_expect_one_message(&result, 2);
}

static void ranks_refuse_a_wrong_input_together(void **state) {
  cli_result_t result;
  (void)state;
  write_text("wrong.nml", wrong[0].text);
  CLI_RUN(3, &result, "wrong.nml");
  cli_expect_one_message(&result, 2);
  CLI_RUN(3, &result, "missing.nml");
  cli_expect_one_message(&result, 2);
  write_text("later.nml",
             "&job task = 'export' run_dir = 'x' /\n&model base = 'm' /\n&export output = 'o' /\n");
  CLI_RUN(3, &result, "later.nml");
  assert_false(cli_exists("x"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(questions_about_the_program_are_answered),
      cmocka_unit_test(reports_are_made_of_what_runs_left),
      cmocka_unit_test(defaults_are_an_input_for_every_task),
      cmocka_unit_test(a_wrong_command_line_is_refused),
      cmocka_unit_test(all_mistakes_of_an_input_are_told_at_once),
      cmocka_unit_test(ranks_refuse_a_wrong_input_together),
  };
  return cmocka_run_group_tests(tests, cli_enter, cli_leave);
}

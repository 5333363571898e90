/* What the program answers without MPI, and wrong command lines and inputs. */
#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void write_text(const char *path, const char *text) {
  cli_write(path, text, strlen(text));
}

static const char *const tasks[] = {"world", "prepare",  "import",   "export", "pretrain", "sft",  "rm",
                                    "ppo",   "generate", "annotate", "score",  "evaluate", "bench"};
enum { TASKS = sizeof tasks / sizeof *tasks };

/* True if WORD stands in TEXT between characters that belong to no name. */
static bool has_word(const char *text, const char *word) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
  size_t n = strlen(word);
  for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
    if ((at == text || !strchr(letters, at[-1])) && (!at[n] || !strchr(letters, at[n]))) return true;
  return false;
}

/* Whatever may be said is in the help; a version is told of all that a result may depend on. */
static void questions_about_the_program_are_answered(void **state) {
  static const char *const options[] = {"--check",   "--dry-run", "--set",      "--print-defaults",
                                        "--version", "--help",    "--self-test"};
  static const char *const parts[] = {"llava_rlhf", "commit", "compiler",   "build type", "MPI",
                                      "HDF5",       "BLAS",   "SIMD level", "devices"};
  cli_result_t result;
  (void)state;
  CLI_RUN(0, &result, "--help");
  cli_expect(&result, 0);
  for (size_t i = 0; i < sizeof options / sizeof *options; i++)
    if (!has_word(result.out, options[i])) fail_msg("%s is not in the help", options[i]);
  for (size_t t = 0; t < TASKS; t++)
    if (!has_word(result.out, tasks[t])) fail_msg("task %s is not in the help", tasks[t]);
  CLI_RUN(0, &result, "--version");
  cli_expect(&result, 0);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    const char *line = strstr(result.out, parts[i]);
    if (!line) fail_msg("the version says nothing of %s", parts[i]);
    line += strlen(parts[i]);
    line += strspn(line, " ");
    if (!*line || *line == '\n') fail_msg("the version of %s is empty", parts[i]);
  }
  CLI_RUN(0, &result, "--print-metrics");
  cli_expect(&result, 0);
  assert_non_null(strstr(result.out, "objective/rewards"));
}

/* On any number of ranks, from any folder, leaving nothing. */
static void the_program_tests_itself(void **state) {
  cli_result_t result;
  (void)state;
  for (int ranks = 0; ranks <= 3; ranks += 3) {
    CLI_RUN(ranks, &result, "--self-test");
    cli_expect(&result, 0);
  }
  CLI_RUN(2, &result, "--self-test", "--set", "parallel.device=plain", "--set", "parallel.tp=2");
  cli_expect(&result, 0);
  assert_false(cli_exists("self-test"));
  CLI_RUN(2, &result, "--self-test", "--set", "parallel.tp=3");
  cli_expect_one_message(&result, 2);
  CLI_RUN(0, &result, "--self-test", "input.nml");
  cli_expect_one_message(&result, 2);
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
  cli_result_t result;
  (void)state;
  for (size_t t = 0; t < TASKS; t++) {
    CLI_RUN(0, &result, "--print-defaults", tasks[t]);
    cli_expect(&result, 0);
    write_text("defaults.nml", result.out);
    CLI_RUN(0, &result, "--check", "defaults.nml", "--set", "job.run_dir=x", "--set", "data.dataset=d",
            "--set", "model.base=m", "--set", "reward.model=r", "--set", "eval.dataset=d", "--set",
            "generate.dataset=d", "--set", "prepare.output=o", "--set", "prepare.conversations=c", "--set",
            "annotate.pairs=p", "--set", "annotate.scenes=s", "--set", "export.output=o", "--set",
            "import.adapter=a");
    cli_expect(&result, 0);
  }
}

/* What no device of this build computes is refused by --check and by a run. The inputs of published weights,
 * which ask for weights of 16 bits, are right. */
static void what_this_build_lacks_is_refused(void **state) {
  static const char *const inputs[] = {"llava_7b/sft.nml", "llava_7b/ppo.nml", "llava_13b/rm.nml"};
  cli_result_t result;
  (void)state;
  for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
    char path[1024];
    snprintf(path, sizeof path, "%s/../inputs/%s", TEST_SOURCE_DIR, inputs[i]);
    CLI_RUN(0, &result, "--check", path, "--set", "parallel.dtype=f64");
    cli_expect_one_message(&result, 2);
    CLI_RUN(0, &result, "--check", path);
    cli_expect(&result, 0);
    /* Of two ranks there is one sum; of more MPI chooses the order. */
    CLI_RUN(0, &result, "--check", path, CLI_ON_CPU, "--set", "parallel.batch_invariant=T", "--set",
            "parallel.tp=2");
    cli_expect(&result, 0);
    CLI_RUN(0, &result, "--check", path, CLI_ON_CPU, "--set", "parallel.batch_invariant=T", "--set",
            "parallel.tp=4");
    cli_expect_one_message(&result, 2);
  }
  write_text("device.nml", "&job task = 'bench' run_dir = 'x' /\n&parallel device = 'cuda' /\n");
  CLI_RUN(0, &result, "--check", "device.nml");
  cli_expect_one_message(&result, 2);
  CLI_RUN(1, &result, "device.nml");
  cli_expect_one_message(&result, 2);
}

/* It computes nothing: a machine without a GPU, and a build without the toolkit, tell what one would take. */
static void a_dry_run_may_assume_a_gpu_anywhere(void **state) {
  cli_result_t result;
  (void)state;
  write_text("assumed.nml", "&job task = 'bench' run_dir = 'x' /\n"
                            "&parallel device = 'cuda' attention = 'cudnn' /\n&bench layers = 1 /\n");
  CLI_RUN(2, &result, "--dry-run", "assumed.nml", "--set", "parallel.gpu_memory=80");
  cli_expect(&result, 0);
  assert_non_null(strstr(result.out, "of 80.0 GB: it fits"));
  assert_non_null(strstr(result.out, "cuDNN's workspace"));
  CLI_RUN(1, &result, "--dry-run", "assumed.nml", "--set", "parallel.gpu_memory=80", "--set",
          "parallel.device=cpu");
  cli_expect_one_message(&result, 2);
  assert_false(cli_exists("x"));
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
  int mistakes;
} wrong[] = {
    {"&job task = 'sft' run_dir = 'x' /\n&model bsae = 'm' /\n&data dataset = 'd' /\n&optim lr = 1 lr = 2 "
     "/\n",
     3},
    {"&job task = 'bench' run_dir = 'x' /\n&optin lr = 1 /\n", 1},
    {"&job task = 'bench' run_dir = 'x' seed = -1 /\n&bench layers = 0 heads = 'a' /\n", 3},
    {"&job task = 'bench' run_dir = 'x' /\n&parallel tp = 0 /\nstray\n", 2},
    {"&job task = 'bench' run_dir = 'x'\n", 1},
    {"&job task = 'bnech' run_dir = 'x' /\n", 1},
    {"&job task = 'bench' run_dir = 'x' /\n&parallel device = 'cpu' dtype = 'f64' check = .true. /\n", 2},
    {"&job task = 'bench' run_dir = 'x' /\n&parallel device = 'cpu' attention = 'cudnn' dtype = 'f32' "
     "batch_invariant = "
     ".true. /\n",
     3},
};

/* Lines that begin with the input's name: one mistake each; a single one stands in the first line. */
static int mistakes_in(const char *text) {
  static const char first[] = "error: ";
  int mistakes = 0;
  for (const char *line = text; line; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, first, sizeof first - 1) == 0) line += sizeof first - 1;
    mistakes += strncmp(line, "wrong.nml:", strlen("wrong.nml:")) == 0;
  }
  return mistakes;
}

static void all_mistakes_of_an_input_are_told_at_once(void **state) {
  cli_result_t result;
  (void)state;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    write_text("wrong.nml", wrong[i].text);
    CLI_RUN(0, &result, "--check", "wrong.nml");
    cli_expect_one_message(&result, 2);
    if (mistakes_in(result.err) != wrong[i].mistakes)
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
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(questions_about_the_program_are_answered),
      cmocka_unit_test(the_program_tests_itself),
      cmocka_unit_test(reports_are_made_of_what_runs_left),
      cmocka_unit_test(defaults_are_an_input_for_every_task),
      cmocka_unit_test(what_this_build_lacks_is_refused),
      cmocka_unit_test(a_dry_run_may_assume_a_gpu_anywhere),
      cmocka_unit_test(a_wrong_command_line_is_refused),
      cmocka_unit_test(all_mistakes_of_an_input_are_told_at_once),
      cmocka_unit_test(ranks_refuse_a_wrong_input_together),
  };
  return cmocka_run_group_tests(tests, cli_enter, cli_leave);
}

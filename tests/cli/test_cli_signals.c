/* Signals, closed and full screens, thread binding, and runs that are killed from outside. */
#define _GNU_SOURCE
#include "cli/cli.h"

#include "parallel/cores.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LONG_RUN "--set", "optim.steps=100000", "train.nml"

/* ---- Tasks without checkpoints ---- */

static const char prepare_input[] =
    "&job task = 'prepare' run_dir = 'run_prepare' /\n"
    "&prepare conversations = 'world/sft.json' image_folder = 'world/images'\n"
    "  output = 'run_prepare/data.h5' /\n";
static const char world_input[] = "&job task = 'world' run_dir = 'run_world' /\n"
                                  "&world pretrain_images = 20 sft_images = 4 pair_images = 4 "
                                  "policy_init_images = 2 ppo_images = 2 eval_images = 2 vocab = 400 /\n";
static const char bench_input[] = "&job task = 'bench' run_dir = 'run_bench' /\n"
                                  "&bench hidden = 32 heads = 2 mlp = 32 vocab = 64 layers = 1 sequences = 1 "
                                  "length = 4 decode_tokens = 2 repetitions = 2 /\n";
static const char annotate_input[] = "&job task = 'annotate' run_dir = 'run_annotate' /\n"
                                     "&annotate pairs = 'pairs.json' scenes = 'world/scenes.jsonl' /\n";

typedef struct {
  const char *input, *folder, *result;
} cli_signals_task_t;
static const cli_signals_task_t tasks[] = {
    {"prepare.nml", "run_prepare", "run_prepare/data.h5"},
    {"world.nml", "run_world", "run_world/pope.jsonl"},
    {"bench.nml", "run_bench", "run_bench/bench.json"},
    {"annotate.nml", "run_annotate", "run_annotate/preferences.json"},
};
enum { TASKS = sizeof tasks / sizeof *tasks };

/* Pairs for the annotator, so many that it is not done before another rank is heard: a minute and a half with
 * the delay of run_stopping. */
static void write_pairs(void) {
  FILE *file = fopen("pairs.json", "w");
  assert_non_null(file);
  fputs("[", file);
  for (int i = 0; i < 20000; i++)
    fprintf(file,
            "%s{\"id\": \"%d\", \"image\": \"000/%06d.jpg\", \"conversations\": [{\"from\": \"human\", "
            "\"value\": \"<image>\\nWhat is there?\"}, {\"from\": \"gpt\", \"value\": \"\"}], "
            "\"output_1\": {\"from\": \"llava\", \"value\": \"There is a red circle.\"}, "
            "\"output_2\": {\"from\": \"llava\", \"value\": \"Nothing.\"}, \"preference\": 0}",
            i == 0 ? "" : ",\n", i, i % 40);
  fputs("]\n", file);
  fclose(file);
}

static int enter(void **state) {
  if (cli_enter_world(state) != 0) return -1;
  write_pairs();
  cli_write("prepare.nml", prepare_input, sizeof prepare_input - 1);
  cli_write("world.nml", world_input, sizeof world_input - 1);
  cli_write("bench.nml", bench_input, sizeof bench_input - 1);
  cli_write("annotate.nml", annotate_input, sizeof annotate_input - 1);
  return 0;
}

/* Runs the program of stopping.c: rank RANK gets a signal at its look LOOK. The other one takes five
 * milliseconds more for each of its own, so that there is work left when it hears of it. */
static void run_stopping(int ranks, int rank, int look, const char *input, int status) {
  cli_result_t result;
  char number[32], place[32];
  snprintf(number, sizeof number, "%d", look);
  snprintf(place, sizeof place, "%d", rank);
  cli_use(STOPPING);
  setenv("STOP_LOOK", number, 1);
  setenv("STOP_RANK", place, 1);
  setenv("STOP_SLOW", "5", 1);
  CLI_RUN(ranks, &result, input);
  cli_use(NULL);
  unsetenv("STOP_SLOW");
  unsetenv("STOP_LOOK");
  unsetenv("STOP_RANK");
  cli_expect(&result, status);
}

/* Of any one rank. Rank 1 does nothing itself where rank 0 reads and writes alone. */
static void tasks_without_checkpoints_stop_on_a_signal(void **state) {
  (void)state;
  for (int t = 0; t < TASKS; t++)
    for (int rank = 0; rank < 2; rank++) {
      run_stopping(2, rank, 1, tasks[t].input, 10);
      assert_false(cli_exists(tasks[t].result));
      cli_remove(tasks[t].folder);
    }
}

static void tasks_without_checkpoints_stop_for_the_file(void **state) {
  cli_result_t result;
  char path[128];
  (void)state;
  for (int t = 0; t < TASKS; t++) {
    snprintf(path, sizeof path, "%s/EXIT", tasks[t].folder);
    assert_int_equal(mkdir(tasks[t].folder, 0777), 0);
    cli_write(path, "", 0);
    CLI_RUN(1, &result, tasks[t].input);
    cli_expect(&result, 10);
    assert_false(cli_exists(tasks[t].result));
    assert_false(cli_exists(path));
    cli_remove(tasks[t].folder);
  }
}

/* A time that is too short would be so again: an error. */
static void tasks_without_checkpoints_keep_their_time(void **state) {
  cli_result_t result;
  (void)state;
  for (int t = 0; t < TASKS; t++) {
    CLI_RUN(2, &result, "--set", "job.max_seconds=0.001", tasks[t].input);
    cli_expect_one_message(&result, 2);
    assert_false(cli_exists(tasks[t].result));
    CLI_RUN(2, &result, tasks[t].input);
    cli_expect(&result, 0);
    assert_true(cli_exists(tasks[t].result));
  }
}

/* ---- Without mpirun ---- */

static void signals_of_a_terminal_ask_to_stop(void **state) {
  static const int signals[] = {SIGINT, SIGHUP, SIGTERM};
  (void)state;
  for (size_t s = 0; s < sizeof signals / sizeof *signals; s++) {
    cli_result_t result;
    char set[64], path[128];
    snprintf(set, sizeof set, "job.run_dir=signal%d", signals[s]);
    snprintf(path, sizeof path, "signal%d/metrics.jsonl", signals[s]);
    cli_child_t *child = CLI_START(0, "--set", set, LONG_RUN);
    assert_true(cli_wait_lines(child, path, 2));
    cli_signal(child, signals[s]);
    cli_wait(child, &result);
    cli_expect(&result, 10);
    snprintf(path, sizeof path, "signal%d/checkpoints/latest", signals[s]);
    assert_true(cli_exists(path));
  }
}

/* A signal that was sent before the program's first instruction, as while its libraries are loaded. */
static void a_signal_before_the_start_is_heard(void **state) {
  sigset_t term;
  (void)state;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    sigprocmask(SIG_BLOCK, &term, NULL);
    raise(SIGTERM); /* waits until the program lets it in */
    execl(getenv("LLAVA_RLHF_BINARY"), "llava_rlhf", "--set", "job.run_dir=early", LONG_RUN, (char *)NULL);
    _exit(127);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 10);
}

/* Runs the program with ARGUMENTS and its output to OUT, which is closed here; returns the exit status. */
static int run_to(int out, const char *const *arguments) {
  const char *line[CLI_ARGUMENTS_MAX + 2] = {"llava_rlhf"};
  for (int i = 0; arguments[i] && i < CLI_ARGUMENTS_MAX; i++)
    line[i + 1] = arguments[i];
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    signal(SIGPIPE, SIG_DFL);
    dup2(out, STDOUT_FILENO);
    execv(getenv("LLAVA_RLHF_BINARY"), (char *const *)(uintptr_t)line);
    _exit(127);
  }
  close(out);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
#define RUN_TO(out, ...) run_to(out, (const char *const[]){__VA_ARGS__, NULL})

static int full_screen(void) {
  int out = open("/dev/full", O_WRONLY | O_CLOEXEC);
  assert_true(out >= 0);
  return out;
}

static void an_answer_that_cannot_be_shown_is_an_error(void **state) {
  (void)state;
  assert_int_equal(RUN_TO(full_screen(), "--check", "train.nml"), 3);
  assert_int_equal(RUN_TO(full_screen(), "--help"), 3);
  assert_int_equal(RUN_TO(full_screen(), "--version"), 3);
  assert_int_equal(RUN_TO(full_screen(), "--print-defaults"), 3);
  assert_int_equal(RUN_TO(full_screen(), "--dry-run", "train.nml"), 3);
}

/* Its log has all that the screen would have shown. */
static void a_run_goes_on_without_its_screen(void **state) {
  int ends[2];
  (void)state;
  assert_int_equal(pipe(ends), 0);
  close(ends[0]);
  assert_int_equal(RUN_TO(ends[1], "--set", "job.run_dir=closed", "train.nml"), 0);
  assert_int_equal(RUN_TO(full_screen(), "--set", "job.run_dir=full", "train.nml"), 0);
  assert_true(cli_exists("closed/model.h5"));
  assert_true(cli_exists("full/model.h5"));
}

static void a_file_that_grows_too_large_is_an_error(void **state) {
  struct rlimit small;
  cli_result_t result;
  (void)state;
  cli_child_t *child = CLI_START(0, "--set", "job.run_dir=large", LONG_RUN);
  assert_true(cli_wait_lines(child, "large/metrics.jsonl", 1));
  assert_int_equal(prlimit(cli_process(child), RLIMIT_FSIZE, NULL, &small), 0);
  small.rlim_cur = 2000;
  assert_int_equal(prlimit(cli_process(child), RLIMIT_FSIZE, &small, NULL), 0);
  cli_wait(child, &result);
  cli_expect(&result, 3);
  assert_non_null(strstr(result.err, "large/metrics.jsonl"));
}

/* ---- Threads ---- */

/* The number behind NAME in FOLDER/run.json. */
static long run_number(const char *folder, const char *name) {
  static char text[1 << 16];
  char path[128], key[64];
  snprintf(path, sizeof path, "%s/run.json", folder);
  snprintf(key, sizeof key, "\"%s\":", name);
  cli_read(path, text, sizeof text);
  const char *place = strstr(text, key);
  assert_non_null(place);
  return atol(place + strlen(key));
}

static void threads_have_all_cores_whatever_openmp_binds(void **state) {
  static const char *const bindings[] = {"true", "close", "spread"};
  core_set_t cores;
  (void)state;
  core_set_of_process(&cores);
  setenv("OMP_PLACES", "cores", 1);
  for (size_t b = 0; b < sizeof bindings / sizeof *bindings; b++) {
    cli_result_t result;
    setenv("OMP_PROC_BIND", bindings[b], 1);
    CLI_RUN((int)b, &result, "--set", "job.run_dir=bound", "--set", "job.restart=never", "--set",
            "parallel.threads=2", "train.nml");
    cli_expect(&result, 0);
    assert_int_equal(run_number("bound", "core_count"), core_set_count(&cores));
    assert_int_equal(run_number("bound", "threads"), 2);
    cli_remove("bound");
  }
  unsetenv("OMP_PLACES");
  unsetenv("OMP_PROC_BIND");
}

/* ---- Killed and hanging ---- */

static void expect_recorded_failure(const char *folder) {
  static char text[1 << 16];
  char path[128];
  snprintf(path, sizeof path, "%s/run.json", folder);
  cli_read(path, text, sizeof text);
  assert_non_null(strstr(text, "\"state\":\"failed\""));
  snprintf(path, sizeof path, "%s/log.txt", folder);
  cli_read(path, text, sizeof text);
  assert_non_null(strstr(text, "FAILED"));
}

/* As if a node were gone: whichever rank notices says so where people look. */
static void a_rank_that_stands_still_is_recorded(void **state) {
  (void)state;
  for (int stopped = 0; stopped < 2; stopped++) {
    cli_result_t result;
    char set[64], path[128], folder[32];
    snprintf(folder, sizeof folder, "still%d", stopped);
    snprintf(set, sizeof set, "job.run_dir=%s", folder);
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    cli_child_t *child = CLI_START(2, "--set", set, "--set", "parallel.timeout=4", LONG_RUN);
    assert_true(cli_wait_lines(child, path, 2));
    int processes[] = {cli_rank_process(child, 0), cli_rank_process(child, 1)};
    assert_int_equal(kill(processes[stopped], SIGSTOP), 0);
    cli_wait(child, &result);
    cli_expect_one_message(&result, 5);
    cli_wait_process(processes[0]);
    cli_wait_process(processes[1]);
    expect_recorded_failure(folder);
  }
}

/* The ranks outlive their mpirun a little: the next start waits for them. How many steps they have time for
 * is not known, so that they keep none. */
static void a_start_after_a_killed_one_waits_for_its_ranks(void **state) {
  cli_result_t result;
  (void)state;
  cli_child_t *child =
      CLI_START(2, "--set", "job.run_dir=killed", "--set", "checkpoint.every=100000", LONG_RUN);
  assert_true(cli_wait_lines(child, "killed/metrics.jsonl", 2));
  int processes[] = {cli_rank_process(child, 0), cli_rank_process(child, 1)};
  cli_signal(child, SIGKILL);
  CLI_RUN(2, &result, "--set", "job.run_dir=killed", "train.nml");
  cli_expect(&result, 0);
  cli_wait(child, &result);
  cli_wait_process(processes[0]);
  cli_wait_process(processes[1]);
}

/* While it reads the input, opens its data, in the middle of a step, with reductions under way: the other
 * rank waits for it somewhere else each time. */
static void a_rank_without_memory_ends_the_run(void **state) {
  static const char *const blocks[] = {"20", "150", "300", "545", "700"};
  (void)state;
  cli_use(STOPPING);
  for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++) {
    cli_result_t result;
    setenv("MEMORY_FAILS", blocks[b], 1);
    CLI_RUN(2, &result, "--set", "job.run_dir=memory", "--set", "optim.steps=3", "train.nml");
    cli_expect(&result, 5);
  }
  unsetenv("MEMORY_FAILS");
  cli_use(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tasks_without_checkpoints_stop_on_a_signal),
      cmocka_unit_test(tasks_without_checkpoints_stop_for_the_file),
      cmocka_unit_test(tasks_without_checkpoints_keep_their_time),
      cmocka_unit_test(signals_of_a_terminal_ask_to_stop),
      cmocka_unit_test(a_signal_before_the_start_is_heard),
      cmocka_unit_test(an_answer_that_cannot_be_shown_is_an_error),
      cmocka_unit_test(a_run_goes_on_without_its_screen),
      cmocka_unit_test(a_file_that_grows_too_large_is_an_error),
      cmocka_unit_test(threads_have_all_cores_whatever_openmp_binds),
      cmocka_unit_test(a_rank_that_stands_still_is_recorded),
      cmocka_unit_test(a_rank_without_memory_ends_the_run),
      cmocka_unit_test(a_start_after_a_killed_one_waits_for_its_ranks),
  };
  return cmocka_run_group_tests(tests, enter, cli_leave);
}

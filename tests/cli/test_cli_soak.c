/* Many PPO steps on two ranks, undisturbed and with stops at random moments: memory and open files of a rank
 * do not grow with the steps, and both runs come to the same curve and weights, to the bit. Arguments: how
 * many steps (24), the seed of the moments (1). */
#include "cli/ppo_world.h"
#include "cli/same.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { RANKS = 2, STARTS_MOST = 12 };

static int steps = 24;

/* What rank 0 took at most in the first and in the second half of its steps. */
typedef struct {
  long pages[2];
  int files[2];
} soak_usage_t;

static cli_child_t *start(const char *folder) {
  char place[128], total[64];
  snprintf(place, sizeof place, "job.run_dir=%s", folder);
  snprintf(total, sizeof total, "ppo.steps=%d", steps);
  return CLI_START(RANKS, LORA, "--set", "job.deterministic=T", "--set", "checkpoint.every=3", "--set",
                   "checkpoint.behind=0.1", "--set", "eval.every=4", "--set", "eval.dataset=world/eval.h5",
                   "--set", "eval.limit=4", "--set", "log.tensorboard=F", "--set", place, "--set", total,
                   "ppo.nml");
}

static int count_lines(const char *folder) {
  char path[128];
  int lines = 0;
  snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
  FILE *file = fopen(path, "r");
  for (int c; file && (c = getc(file)) != EOF;)
    lines += c == '\n';
  if (file) fclose(file);
  return lines;
}

static void usage_look(int process, soak_usage_t *usage, int half) {
  char path[64];
  long size, resident = 0;
  int files = 0;
  snprintf(path, sizeof path, "/proc/%d/statm", process);
  FILE *file = fopen(path, "r");
  if (file && fscanf(file, "%ld %ld", &size, &resident) != 2) resident = 0;
  if (file) fclose(file);
  snprintf(path, sizeof path, "/proc/%d/fd", process);
  DIR *folder = opendir(path);
  while (folder && readdir(folder))
    files++;
  if (folder) closedir(folder);
  if (resident > usage->pages[half]) usage->pages[half] = resident;
  if (files > usage->files[half]) usage->files[half] = files;
}

/* A step from which on a run has had all that its steps need once: an evaluation, a checkpoint, and the next
 * ones. */
enum { WARM = 8 };

static void run_watched(const char *folder, soak_usage_t *usage) {
  cli_result_t result;
  cli_child_t *child = start(folder);
  assert_true(cli_wait_lines(child, "soak_whole/metrics.jsonl", WARM));
  int process = cli_rank_process(child, 0);
  while (!cli_has_ended(child)) {
    usage_look(process, usage, 2 * (count_lines(folder) - WARM) > steps - WARM);
    usleep(20000);
  }
  cli_wait(child, &result);
  cli_expect(&result, 0);
}

static double seconds_now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* One start: stopped by a signal, or killed, within SECONDS, unless it ends before. True once the run is
 * through. */
static bool run_stopped(const char *folder, double seconds) {
  cli_result_t result;
  cli_child_t *child = start(folder);
  double end = seconds_now() + seconds * (double)random() / (double)RAND_MAX;
  while (seconds_now() < end && !cli_has_ended(child))
    usleep(2000);
  int process = cli_find_rank(child, (int)(random() % RANKS));
  bool stops = random() % 2;
  if (!cli_has_ended(child) && stops) cli_signal(child, SIGUSR1);
  if (!cli_has_ended(child) && !stops && process > 0) kill(process, SIGKILL);
  cli_wait(child, &result);
  assert_true(result.status < 1 || result.status > 4);
  return result.status == 0;
}

static void steps_take_no_more_and_more(void **state) {
  soak_usage_t usage = {0};
  const long megabyte = (1 << 20) / sysconf(_SC_PAGESIZE);
  double begin = seconds_now();
  int starts = 1;
  (void)state;
  run_watched("soak_whole", &usage);
  double seconds = seconds_now() - begin;
  print_message("%d steps in %.0f s; at most %ld and %ld MB, %d and %d files in the halves\n", steps, seconds,
                usage.pages[0] / megabyte, usage.pages[1] / megabyte, usage.files[0], usage.files[1]);
  assert_true(usage.pages[1] <= usage.pages[0] + 2 * megabyte);
  assert_true(usage.files[1] <= usage.files[0]);
  while (starts < STARTS_MOST && !run_stopped("soak_stopped", seconds / 4))
    starts++;
  cli_result_t result;
  cli_wait(start("soak_stopped"), &result);
  cli_expect(&result, 0);
  print_message("%d starts\n", starts);
  same_metrics("soak_stopped", "soak_whole");
  assert_true(same_weights("soak_stopped", "soak_whole", "model.h5") > 2);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(steps_take_no_more_and_more)};
  if (argc > 1) steps = atoi(argv[1]);
  srandom(argc > 2 ? (unsigned)atoi(argv[2]) : 1);
  cli_set_patience(36000);
  return cmocka_run_group_tests(tests, ppo_world_enter, cli_leave);
}

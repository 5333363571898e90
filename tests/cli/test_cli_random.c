/* Runs that are stopped by any means at random moments, and started again by the same command until they are
 * through, come to the metrics and weights of the run that was not stopped, to the bit. Arguments: how many
 * stops (6: one by each means), the seed of the moments (1), and `kill` for kill -9 alone. */
#include "cli/ppo_world.h"
#include "cli/same.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { RANKS = 2, IN_A_ROW = 8, FOLDER = 64 };

/* With an evaluation and a checkpoint in each step. */
#define EACH_STEP                                                                                            \
  LORA, "--set", "job.deterministic=T", "--set", "checkpoint.every=1", "--set", "checkpoint.keep=1",         \
      "--set", "eval.every=1", "--set", "eval.keep_best=T", "--set", "eval.limit=4", "--set",                \
      "log.tensorboard=F"

static const char sft_input[] = "&job task = 'sft' /\n&model base = 'model.h5' train = 'lora' /\n"
                                "&data dataset = 'world/pretrain.h5' /\n"
                                "&optim lr = 1e-3 batch = 8 warmup_ratio = 0 /\n";

typedef enum { SFT, RM, PPO, TASKS } random_task_t;
typedef enum { USR1, TERM, MAX_SECONDS, KILL_RANK, KILL_ALL, KILL_MPIRUN, MEANS } means_t;

static const char *const task_names[TASKS] = {"sft", "rm", "ppo"};
static const char *const means_names[MEANS] = {"SIGUSR1",           "SIGTERM",        "job.max_seconds",
                                               "kill -9 of a rank", "kill -9 of all", "kill -9 of mpirun"};

static struct {
  int stops;
  bool kill_only;
} plan = {MEANS, false};

typedef struct {
  random_task_t task;
  double seconds; /* of the run that is not stopped */
  char whole[FOLDER], folder[FOLDER];
  int runs, in_a_row; /* finished; stops since the last one that was */
  int64_t step;       /* of the newest checkpoint in FOLDER */
} random_run_t;

static double between(double low, double high) {
  return low + (high - low) * (double)random() / (double)RAND_MAX;
}

static double seconds_now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static cli_child_t *start(random_task_t task, const char *folder, double most) {
  char place[128], limit[64];
  snprintf(place, sizeof place, "job.run_dir=%s", folder);
  snprintf(limit, sizeof limit, "job.max_seconds=%.3f", most);
  if (task == PPO)
    return CLI_START(RANKS, EACH_STEP, "--set", place, "--set", limit, "--set", "ppo.steps=3", "--set",
                     "eval.dataset=world/eval.h5", "ppo.nml");
  if (task == RM)
    return CLI_START(RANKS, EACH_STEP, "--set", place, "--set", limit, "--set", "optim.steps=4", "--set",
                     "eval.dataset=pairs.h5", "rm.nml");
  return CLI_START(RANKS, EACH_STEP, "--set", place, "--set", limit, "--set", "optim.steps=4", "--set",
                   "eval.dataset=world/eval.h5", "random_sft.nml");
}

/* The newest step of which FOLDER has a checkpoint; -1 for none. */
static int64_t newest_step(const char *folder) {
  char path[128];
  long long step, newest = -1;
  snprintf(path, sizeof path, "%s/checkpoints", folder);
  DIR *files = opendir(path);
  for (struct dirent *entry; files && (entry = readdir(files));) {
    int end = 0;
    if (sscanf(entry->d_name, "step_%lld.h5%n", &step, &end) == 1 && end > 0 && entry->d_name[end] == '\0' &&
        step > newest)
      newest = step;
  }
  if (files) closedir(files);
  return newest;
}

/* Runs to the end, and compares. */
static void finish(random_run_t *run) {
  cli_result_t result;
  cli_wait(start(run->task, run->folder, 0.0), &result);
  cli_expect(&result, 0);
}

static void compare(random_run_t *run) {
  assert_true(same_weights(run->folder, run->whole, "model.h5") > 2);
  same_metrics(run->folder, run->whole);
  same_names(run->folder, run->whole, "checkpoints");
  same_text(run->folder, run->whole, "checkpoints/latest");
  same_text(run->folder, run->whole, "checkpoints/best");
  if (run->task == PPO) same_text(run->folder, run->whole, "samples.jsonl");
  cli_remove(run->folder);
  run->runs++;
  run->in_a_row = 0;
  run->step = -1;
}

static void stop_by(means_t means, cli_child_t *child) {
  int ranks[RANKS], chosen = (int)(random() % RANKS);
  for (int r = 0; r < RANKS; r++)
    ranks[r] = cli_find_rank(child, r);
  if (cli_has_ended(child)) return;
  if (means == USR1) cli_signal(child, SIGUSR1);
  if (means == TERM) cli_signal(child, SIGTERM);
  for (int r = 0; r < RANKS; r++)
    if (ranks[r] > 0 && (means == KILL_ALL || (means == KILL_RANK && r == chosen))) kill(ranks[r], SIGKILL);
  bool none = ranks[chosen] == 0; /* not started yet, or ended */
  if (means == KILL_MPIRUN || means == KILL_ALL || (means == KILL_RANK && none)) cli_signal(child, SIGKILL);
}

/* One start, and its stop at a random moment, if it does not end before. Returns its exit status. */
static int start_and_stop(random_run_t *run, means_t means) {
  cli_result_t result;
  const struct timespec pause = {.tv_nsec = 2000000};
  double moment = between(0.0, run->seconds);
  cli_child_t *child = start(run->task, run->folder, means == MAX_SECONDS ? moment : 0.0);
  double end = seconds_now() + moment;
  while (means != MAX_SECONDS && seconds_now() < end && !cli_has_ended(child))
    nanosleep(&pause, NULL);
  if (means != MAX_SECONDS) stop_by(means, child);
  cli_wait(child, &result);
  /* A clean stop, a time limit that is too short for a step, an end by a signal or by the others', 1 from an
   * mpirun that ends on SIGTERM; but no mistake of the program, no broken file, no bad number. */
  bool wrong = result.status == 3 || result.status == 4 || (result.status == 1 && means != TERM) ||
               (result.status == 2 && means != MAX_SECONDS);
  if (wrong)
    fail_msg("%s after %.3f s: exit status %d; it said:\n%s%s", means_names[means], moment, result.status,
             result.out, result.err);
  return result.status;
}

static void stop_once(random_run_t *run, means_t means) {
  int status = start_and_stop(run, means);
  int64_t step = newest_step(run->folder);
  if (step < run->step)
    fail_msg("the newest checkpoint is of step %lld, was of %lld", (long long)step, (long long)run->step);
  run->step = step;
  run->in_a_row++;
  bool through = status == 0;
  if (!through && run->in_a_row >= IN_A_ROW) {
    finish(run);
    through = true;
  }
  if (through) compare(run);
}

static void prepare(random_run_t *run, random_task_t task) {
  cli_result_t result;
  *run = (random_run_t){.task = task, .step = -1};
  snprintf(run->whole, sizeof run->whole, "whole_%s", task_names[task]);
  snprintf(run->folder, sizeof run->folder, "random_%s", task_names[task]);
  double begin = seconds_now();
  cli_wait(start(task, run->whole, 0.0), &result);
  cli_expect(&result, 0);
  run->seconds = seconds_now() - begin;
}

static void any_means_at_any_moment(void **state) {
  random_run_t runs[TASKS];
  int counts[MEANS] = {0};
  (void)state;
  cli_write("random_sft.nml", sft_input, sizeof sft_input - 1);
  for (int t = 0; t < TASKS; t++)
    prepare(&runs[t], (random_task_t)t);
  for (int s = 0; s < plan.stops; s++) {
    means_t means = (means_t)(plan.kill_only ? KILL_RANK + s / TASKS % (MEANS - KILL_RANK) : s % MEANS);
    stop_once(&runs[(s + s / MEANS) % TASKS], means);
    counts[means]++;
    if ((s + 1) % 10 == 0) print_message("%d stops\n", s + 1);
  }
  for (int t = 0; t < TASKS; t++) {
    if (runs[t].in_a_row > 0) {
      finish(&runs[t]);
      compare(&runs[t]);
    }
    print_message("%s: %d runs the same to the bit\n", task_names[t], runs[t].runs);
  }
  for (int m = 0; m < MEANS; m++)
    print_message("%s: %d\n", means_names[m], counts[m]);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(any_means_at_any_moment)};
  if (argc > 1) plan.stops = atoi(argv[1]);
  srandom(argc > 2 ? (unsigned)atoi(argv[2]) : 1);
  plan.kill_only = argc > 3 && strcmp(argv[3], "kill") == 0;
  return cmocka_run_group_tests(tests, ppo_world_enter, cli_leave);
}

/* The run directory: its lock, EXIT, metrics.jsonl; and the small-file functions below it. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "base/memory.h"
#include "io/formats/rundir.h"
#include "io/formats/rundir_lock.h"
#include "io_test.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

/* What a test works in. */
typedef struct {
  char folder[FILE_MAX_PATH];
  char path[FILE_MAX_PATH]; /* of the file that it is about */
  rundir_t *rundir;
  rundir_lock_t lock;
} rundir_test_t;

static int rundir_test_enter(void **state) {
  static rundir_test_t test;
  test = (rundir_test_t){0};
  io_test_folder(test.folder);
  *state = &test;
  return 0;
}

static int rundir_test_leave(void **state) {
  rundir_test_t *test = *state;
  log_set_level(LOG_INFO);
  rundir_close(test->rundir);
  io_test_remove(test->folder);
  return 0;
}

/* The test of STATE, about the file NAME. */
static rundir_test_t *test_of(void **state, const char *name) {
  rundir_test_t *test = *state;
  io_test_path(test->path, test->folder, name);
  return test;
}

/* About the lock, which one process takes; on several ranks the first of them does what happens here on one.
 * Its warnings are expected. */
static rundir_test_t *lock_test_of(void **state) {
  if (comm_size(mpi_test_world()) > 1) skip();
  log_set_level(LOG_ERROR);
  return test_of(state, "lock");
}

/* About the file NAME of a run directory that is open. */
static rundir_test_t *open_test_of(void **state, const char *name) {
  rundir_test_t *test = test_of(state, name);
  assert_ok(rundir_open(mpi_test_world(), test->folder, RUNDIR_NEW, &test->rundir));
  return test;
}

static void take_and_release(rundir_test_t *test) {
  assert_ok(rundir_lock_take(test->path, &test->lock));
  rundir_lock_release(&test->lock);
}

static void expect_text(const char *path, const char *expected) {
  char *text;
  assert_ok(file_read(path, 4096, &text, NULL));
  assert_string_equal(text, expected);
  memory_free(text);
}

static status_t append(rundir_t *rundir, const char *line) {
  return rundir_metrics_append(rundir, line, strlen(line));
}

static bool lead(void) {
  return comm_rank(mpi_test_world()) == 0;
}

static void second_job_is_refused(void **state) {
  rundir_test_t *test = test_of(state, "a/run");
  comm_t *world = mpi_test_world();
  char lock[FILE_MAX_PATH];
  rundir_t *second;
  assert_ok(rundir_open(world, test->path, RUNDIR_NEW, &test->rundir));
  assert_error(rundir_open(world, test->path, RUNDIR_CONTINUE, &second), STATUS_INPUT);
  assert_null(second);
  rundir_close(test->rundir);
  assert_ok(comm_barrier(world));
  assert_false(file_exists(io_test_path(lock, test->path, "lock")));
  assert_ok(comm_barrier(world));
  assert_ok(rundir_open(world, test->path, RUNDIR_NEW, &test->rundir));
  assert_string_equal(rundir_path(test->rundir), test->path);
  /* Something that is no folder in the way. */
  io_test_write(test_of(state, "file")->path, "x");
  assert_error(rundir_open(world, test->path, RUNDIR_NEW, &second), STATUS_DATA);
  assert_error(rundir_open(world, test_of(state, "file/below")->path, RUNDIR_NEW, &second), STATUS_DATA);
}

/* Writes a lock file as another job would have left it, AGE seconds ago. */
static void leave_lock(const char *path, const char *text, time_t age) {
  struct timespec times[2] = {{time(NULL) - age, 0}, {time(NULL) - age, 0}};
  io_test_write(path, text);
  assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* A process that shows signs of life as the holder of a lock does, until it is killed. */
static pid_t touch_again_and_again(const char *path) {
  pid_t child = fork();
  assert_true(child >= 0);
  while (child == 0) {
    usleep(200000);
    utimensat(AT_FDCWD, path, NULL, 0);
  }
  return child;
}

static void wait_for(pid_t child) {
  assert_int_equal(waitpid(child, NULL, 0), child);
}

static void locks_of_dead_jobs_are_taken_over(void **state) {
  rundir_test_t *test = lock_test_of(state);
  const char *path = test->path;
  char host[256] = "", text[512];
  gethostname(host, sizeof host - 1);
  /* This very process number, but started at another time: it has been given out again. */
  snprintf(text, sizeof text, "host %s process %ld started 1\n", host, (long)getpid());
  leave_lock(path, text, 0);
  assert_ok(rundir_lock_take(path, &test->lock));
  assert_ok(rundir_lock_check(&test->lock));
  /* Removed and taken by another: noticed, and not removed by us. */
  unlink(path);
  leave_lock(path, "host other process 5 started 7\n", 0);
  assert_error(rundir_lock_check(&test->lock), STATUS_INPUT);
  rundir_lock_release(&test->lock);
  assert_true(file_exists(path));
  /* Another host: alive if it shows that, gone when it has been silent for long, and waited for meanwhile.
   */
  pid_t holder = touch_again_and_again(path);
  assert_error(rundir_lock_take(path, &test->lock), STATUS_INPUT);
  assert_error(rundir_lock_take(path, &test->lock), STATUS_INPUT);
  assert_int_equal(kill(holder, SIGKILL), 0);
  wait_for(holder);
  /* Its clock, or that of the file system, has been set forward: all signs are old, but for the next one. */
  leave_lock(path, "host other process 5 started 7\n", 10 * RUNDIR_STALE_SECONDS);
  holder = touch_again_and_again(path);
  assert_error(rundir_lock_take(path, &test->lock), STATUS_INPUT);
  assert_int_equal(kill(holder, SIGKILL), 0);
  wait_for(holder);
  leave_lock(path, "host other process 5 started 7\n", RUNDIR_STALE_SECONDS - 2);
  take_and_release(test);
  assert_false(file_exists(path));
}

/* A process that has ended but was not waited for is still listed. */
static void lock_of_an_ended_process_is_taken_over(void **state) {
  rundir_test_t *test = lock_test_of(state);
  siginfo_t ended;
  pid_t child = fork();
  if (child == 0) _exit(rundir_lock_take(test->path, &test->lock) == STATUS_OK ? 0 : 1);
  assert_true(child > 0);
  assert_int_equal(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT), 0);
  assert_int_equal(ended.si_code, CLD_EXITED);
  assert_int_equal(ended.si_status, 0);
  take_and_release(test);
  wait_for(child);
}

/* The ranks of a job outlive its mpirun a little. */
static void a_dying_holder_is_waited_for(void **state) {
  rundir_test_t *test = lock_test_of(state);
  int ready[2];
  char byte = 0;
  assert_int_equal(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    byte = rundir_lock_take(test->path, &test->lock) == STATUS_OK;
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    usleep(700000);
    _exit(0);
  }
  assert_true(child > 0);
  assert_int_equal(read(ready[0], &byte, 1), 1);
  assert_int_equal(byte, 1);
  take_and_release(test);
  wait_for(child);
  close(ready[0]);
  close(ready[1]);
}

static struct timespec touched_at(const char *path) {
  struct stat file;
  assert_int_equal(stat(path, &file), 0);
  return file.st_mtim;
}

/* A job in a long step looks at nothing: its lock shows a sign of life nevertheless. */
static void a_lock_is_renewed_by_itself(void **state) {
  rundir_test_t *test = lock_test_of(state);
  assert_ok(rundir_lock_take(test->path, &test->lock));
  struct timespec first = touched_at(test->path), now = first;
  for (int look = 0; look < 1000 && memcmp(&first, &now, sizeof now) == 0; look++) {
    usleep(10 * RUNDIR_RENEW_SECONDS * 1000);
    now = touched_at(test->path);
  }
  assert_memory_not_equal(&first, &now, sizeof now);
  rundir_lock_release(&test->lock);
}

static void used_directory_is_refused_for_a_new_run(void **state) {
  rundir_test_t *test = open_test_of(state, "metrics.jsonl");
  comm_t *world = mpi_test_world();
  assert_ok(append(test->rundir, "{\"step\":1}\n"));
  rundir_close(test->rundir);
  assert_error(rundir_open(world, test->folder, RUNDIR_NEW, &test->rundir), STATUS_INPUT);
  assert_ok(rundir_open(world, test->folder, RUNDIR_CONTINUE, &test->rundir));
}

static void exit_file_is_seen_once(void **state) {
  rundir_test_t *test = open_test_of(state, "EXIT");
  bool seen;
  io_test_write(test->path, "");
  assert_ok(rundir_poll(test->rundir, &seen));
  assert_true(seen == lead());
  assert_ok(comm_barrier(mpi_test_world()));
  assert_false(file_exists(test->path));
  assert_ok(rundir_poll(test->rundir, &seen));
  assert_false(seen);
}

static void later_metrics_are_dropped(void **state) {
  rundir_test_t *test = open_test_of(state, "metrics.jsonl");
  assert_ok(rundir_metrics_rewind(test->rundir, 5));
  assert_ok(append(test->rundir, "{\"step\":1,\"a\":2}\n"));
  assert_ok(append(test->rundir, "{\"step\": 2}\n"));
  assert_ok(append(test->rundir, "{\"step\":3}\n"));
  if (!lead()) return;
  FILE *file = fopen(test->path, "a");
  fputs("{\"step\":2,\"cut", file);
  fclose(file);
  assert_ok(rundir_metrics_rewind(test->rundir, 2));
  assert_ok(append(test->rundir, "{\"step\":3,\"again\":1}\n"));
  expect_text(test->path, "{\"step\":1,\"a\":2}\n{\"step\": 2}\n{\"step\":3,\"again\":1}\n");
}

/* Samples are taken back to a step or, where that one's evaluation will be done again, to a line of it. */
static void later_samples_are_dropped(void **state) {
  static const char lines[] = "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"e\":1}\n{\"step\":3}\n{\"half";
  static const struct {
    int64_t step, most;
    const char *kept;
  } cases[] = {{9, INT64_MAX, "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"e\":1}\n{\"step\":3}\n"},
               {2, INT64_MAX, "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"e\":1}\n"},
               {2, 2, "{\"step\":1}\n{\"step\":2}\n"},
               {-1, INT64_MAX, ""}};
  rundir_test_t *test = open_test_of(state, "samples.jsonl");
  char expected[256];
  assert_ok(rundir_samples_rewind(test->rundir, 5, INT64_MAX));
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    io_test_write(test->path, lines);
    if (!lead()) continue;
    assert_ok(rundir_samples_rewind(test->rundir, cases[i].step, cases[i].most));
    int64_t before = rundir_samples_lines(test->rundir);
    assert_ok(rundir_samples_append(test->rundir, "{\"step\":4}\n", 11));
    assert_int_equal(rundir_samples_lines(test->rundir), before + 1);
    snprintf(expected, sizeof expected, "%s{\"step\":4}\n", cases[i].kept);
    expect_text(test->path, expected);
  }
}

/* The disk takes no more: no half line is left. */
static void a_line_is_whole_or_not_there(void **state) {
  rundir_test_t *test = open_test_of(state, "metrics.jsonl");
  struct rlimit before, small;
  if (!lead()) return;
  assert_ok(append(test->rundir, "{\"step\":1}\n"));
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = 16; /* the second line begins and does not end below it */
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  status_code_t status = append(test->rundir, "{\"step\":2}\n");
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(status, STATUS_DATA);
  assert_non_null(strstr(error_message(), test->path));
  assert_ok(append(test->rundir, "{\"step\":3}\n"));
  expect_text(test->path, "{\"step\":1}\n{\"step\":3}\n");
}

/* Files that a killed job of this run directory did not complete; others may be someone else's. */
static void what_dead_jobs_left_is_removed(void **state) {
  static const char *const orphans[] = {"model.h5.partial",
                                        "run.json.partial",
                                        "rollouts/step_00000003.h5.partial",
                                        "report.html.4711.partial",
                                        "checkpoints/step_00000003.h5.partial",
                                        "checkpoints/best.partial"};
  static const char *const others[] = {"sampled.json.partial", "checkpoints/step_00000001.h5",
                                       "checkpoints/mine.partial"};
  rundir_test_t *test = *state;
  if (lead()) {
    assert_ok(file_make_folder(test_of(state, "rollouts")->path));
    assert_ok(file_make_folder(test_of(state, "checkpoints")->path));
  }
  for (size_t i = 0; i < sizeof orphans / sizeof *orphans; i++)
    io_test_write(test_of(state, orphans[i])->path, "half");
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    io_test_write(test_of(state, others[i])->path, "x");
  assert_ok(rundir_open(mpi_test_world(), test->folder, RUNDIR_CONTINUE, &test->rundir));
  for (size_t i = 0; i < sizeof orphans / sizeof *orphans; i++)
    assert_false(file_exists(test_of(state, orphans[i])->path));
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    assert_true(file_exists(test_of(state, others[i])->path));
}

static void files_are_replaced_whole(void **state) {
  rundir_test_t *test = test_of(state, "text");
  char *text;
  size_t n;
  if (!lead()) return;
  assert_ok(file_replace(test->path, "first, longer", 13));
  assert_ok(file_replace(test->path, "second", 6));
  assert_ok(file_read(test->path, 100, &text, &n));
  assert_int_equal(n, 6);
  assert_string_equal(text, "second");
  memory_free(text);
  assert_error(file_read(test->path, 5, &text, &n), STATUS_DATA);
  assert_error(file_read(test->folder, 5, &text, &n), STATUS_DATA);
  assert_error(file_replace(test_of(state, "none/text")->path, "x", 1), STATUS_DATA);
  /* A full disk: nothing half is left. */
  assert_int_equal(symlink("/dev/full", test_of(state, "full.partial")->path), 0);
  assert_error(file_replace(test_of(state, "full")->path, "x", 1), STATUS_DATA);
  assert_false(io_test_size(test_of(state, "full.partial")->path) >= 0);
}

#define RUNDIR_TEST(test) cmocka_unit_test_setup_teardown(test, rundir_test_enter, rundir_test_leave)

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      RUNDIR_TEST(second_job_is_refused),
      RUNDIR_TEST(locks_of_dead_jobs_are_taken_over),
      RUNDIR_TEST(lock_of_an_ended_process_is_taken_over),
      RUNDIR_TEST(a_dying_holder_is_waited_for),
      RUNDIR_TEST(a_lock_is_renewed_by_itself),
      RUNDIR_TEST(used_directory_is_refused_for_a_new_run),
      RUNDIR_TEST(exit_file_is_seen_once),
      RUNDIR_TEST(later_metrics_are_dropped),
      RUNDIR_TEST(later_samples_are_dropped),
      RUNDIR_TEST(a_line_is_whole_or_not_there),
      RUNDIR_TEST(what_dead_jobs_left_is_removed),
      RUNDIR_TEST(files_are_replaced_whole),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

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

static status_t append(rundir_t *rundir, const char *line) {
  return rundir_metrics_append(rundir, line, strlen(line));
}

static bool lead(void) {
  return comm_rank(mpi_test_world()) == 0;
}

static void second_job_is_refused(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], lock[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  rundir_t *first, *second;
  io_test_folder(folder);
  io_test_path(path, folder, "a/run");
  assert_ok(rundir_open(world, path, RUNDIR_NEW, &first));
  assert_error(rundir_open(world, path, RUNDIR_CONTINUE, &second), STATUS_INPUT);
  assert_null(second);
  rundir_close(first);
  assert_ok(comm_barrier(world));
  assert_false(file_exists(io_test_path(lock, path, "lock")));
  assert_ok(comm_barrier(world));
  assert_ok(rundir_open(world, path, RUNDIR_NEW, &second));
  assert_string_equal(rundir_path(second), path);
  rundir_close(second);
  /* Something that is no folder in the way. */
  io_test_write(io_test_path(path, folder, "file"), "x");
  assert_error(rundir_open(world, path, RUNDIR_NEW, &second), STATUS_DATA);
  assert_error(rundir_open(world, io_test_path(path, folder, "file/below"), RUNDIR_NEW, &second),
               STATUS_DATA);
  io_test_remove(folder);
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
    utimensat(AT_FDCWD, path, NULL, 0);
    usleep(200000);
  }
  return child;
}

/* A lock is taken by one process; on several ranks the first of them does what happens here on one. */
static void locks_of_dead_jobs_are_taken_over(void **state) {
  (void)state;
  if (comm_size(mpi_test_world()) > 1) skip();
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], host[256] = "", text[512];
  rundir_lock_t lock;
  io_test_folder(folder);
  io_test_path(path, folder, "lock");
  log_set_level(LOG_ERROR); /* the warnings are expected */
  gethostname(host, sizeof host - 1);
  /* This very process number, but started at another time: it has been given out again. */
  snprintf(text, sizeof text, "host %s process %ld started 1\n", host, (long)getpid());
  leave_lock(path, text, 0);
  assert_ok(rundir_lock_take(path, &lock));
  assert_ok(rundir_lock_check(&lock));
  /* Removed and taken by another: noticed, and not removed by us. */
  unlink(path);
  leave_lock(path, "host other process 5 started 7\n", 0);
  assert_error(rundir_lock_check(&lock), STATUS_INPUT);
  rundir_lock_release(&lock);
  assert_true(file_exists(path));
  /* Another host: alive if it shows that, gone when it has been silent for long, and waited for meanwhile.
   */
  pid_t holder = touch_again_and_again(path);
  assert_error(rundir_lock_take(path, &lock), STATUS_INPUT);
  assert_error(rundir_lock_take(path, &lock), STATUS_INPUT);
  assert_int_equal(kill(holder, SIGKILL), 0);
  assert_int_equal(waitpid(holder, NULL, 0), holder);
  leave_lock(path, "host other process 5 started 7\n", RUNDIR_STALE_SECONDS - 2);
  assert_ok(rundir_lock_take(path, &lock));
  rundir_lock_release(&lock);
  assert_false(file_exists(path));
  log_set_level(LOG_INFO);
  io_test_remove(folder);
}

/* A process that has ended but was not waited for is still listed. */
static void lock_of_an_ended_process_is_taken_over(void **state) {
  (void)state;
  if (comm_size(mpi_test_world()) > 1) skip();
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  rundir_lock_t lock;
  siginfo_t ended;
  io_test_folder(folder);
  io_test_path(path, folder, "lock");
  log_set_level(LOG_ERROR); /* the warning is expected */
  pid_t child = fork();
  if (child == 0) _exit(rundir_lock_take(path, &lock) == STATUS_OK ? 0 : 1);
  assert_true(child > 0);
  assert_int_equal(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT), 0);
  assert_int_equal(ended.si_code, CLD_EXITED);
  assert_int_equal(ended.si_status, 0);
  assert_ok(rundir_lock_take(path, &lock));
  rundir_lock_release(&lock);
  assert_int_equal(waitpid(child, NULL, 0), child);
  log_set_level(LOG_INFO);
  io_test_remove(folder);
}

/* The ranks of a job outlive its mpirun a little. */
static void a_dying_holder_is_waited_for(void **state) {
  (void)state;
  if (comm_size(mpi_test_world()) > 1) skip();
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  rundir_lock_t lock;
  io_test_folder(folder);
  io_test_path(path, folder, "lock");
  log_set_level(LOG_ERROR);
  int ready[2];
  char byte = 0;
  assert_int_equal(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    byte = rundir_lock_take(path, &lock) == STATUS_OK;
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    usleep(700000);
    _exit(0);
  }
  assert_true(child > 0);
  assert_int_equal(read(ready[0], &byte, 1), 1);
  assert_int_equal(byte, 1);
  assert_ok(rundir_lock_take(path, &lock));
  rundir_lock_release(&lock);
  assert_int_equal(waitpid(child, NULL, 0), child);
  close(ready[0]);
  close(ready[1]);
  log_set_level(LOG_INFO);
  io_test_remove(folder);
}

static struct timespec touched_at(const char *path) {
  struct stat file;
  assert_int_equal(stat(path, &file), 0);
  return file.st_mtim;
}

/* A job in a long step looks at nothing: its lock shows a sign of life nevertheless. */
static void a_lock_is_renewed_by_itself(void **state) {
  (void)state;
  if (comm_size(mpi_test_world()) > 1) skip();
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  rundir_lock_t lock;
  io_test_folder(folder);
  io_test_path(path, folder, "lock");
  assert_ok(rundir_lock_take(path, &lock));
  struct timespec first = touched_at(path), now = first;
  for (int look = 0; look < 1000 && memcmp(&first, &now, sizeof now) == 0; look++) {
    usleep(10 * RUNDIR_RENEW_SECONDS * 1000);
    now = touched_at(path);
  }
  assert_memory_not_equal(&first, &now, sizeof now);
  rundir_lock_release(&lock);
  io_test_remove(folder);
}

static void used_directory_is_refused_for_a_new_run(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  rundir_t *rundir;
  io_test_folder(folder);
  assert_ok(rundir_open(world, folder, RUNDIR_NEW, &rundir));
  assert_ok(append(rundir, "{\"step\":1}\n"));
  rundir_close(rundir);
  assert_error(rundir_open(world, folder, RUNDIR_NEW, &rundir), STATUS_INPUT);
  assert_ok(rundir_open(world, folder, RUNDIR_CONTINUE, &rundir));
  rundir_close(rundir);
  io_test_remove(folder);
}

static void exit_file_is_seen_once(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  rundir_t *rundir;
  bool seen;
  io_test_folder(folder);
  assert_ok(rundir_open(mpi_test_world(), folder, RUNDIR_NEW, &rundir));
  io_test_write(io_test_path(path, folder, "EXIT"), "");
  assert_ok(rundir_poll(rundir, &seen));
  assert_true(seen == lead());
  assert_ok(comm_barrier(mpi_test_world()));
  assert_false(file_exists(path));
  assert_ok(rundir_poll(rundir, &seen));
  assert_false(seen);
  rundir_close(rundir);
  io_test_remove(folder);
}

static void later_metrics_are_dropped(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], *text;
  rundir_t *rundir;
  io_test_folder(folder);
  io_test_path(path, folder, "metrics.jsonl");
  assert_ok(rundir_open(mpi_test_world(), folder, RUNDIR_NEW, &rundir));
  assert_ok(rundir_metrics_rewind(rundir, 5));
  assert_ok(append(rundir, "{\"step\":1,\"a\":2}\n"));
  assert_ok(append(rundir, "{\"step\": 2}\n"));
  assert_ok(append(rundir, "{\"step\":3}\n"));
  if (lead()) {
    FILE *file = fopen(path, "a");
    fputs("{\"step\":2,\"cut", file);
    fclose(file);
    assert_ok(rundir_metrics_rewind(rundir, 2));
    assert_ok(append(rundir, "{\"step\":3,\"again\":1}\n"));
    assert_ok(file_read(path, 4096, &text, NULL));
    assert_string_equal(text, "{\"step\":1,\"a\":2}\n{\"step\": 2}\n{\"step\":3,\"again\":1}\n");
    memory_free(text);
  }
  rundir_close(rundir);
  io_test_remove(folder);
}

/* Samples are taken back to a step or, where that one's evaluation will be done again, to a line of it. */
static void later_samples_are_dropped(void **state) {
  (void)state;
  static const char lines[] = "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"e\":1}\n{\"step\":3}\n{\"half";
  static const struct {
    int64_t step, most;
    const char *kept;
  } cases[] = {{9, INT64_MAX, "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"e\":1}\n{\"step\":3}\n"},
               {2, INT64_MAX, "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"e\":1}\n"},
               {2, 2, "{\"step\":1}\n{\"step\":2}\n"},
               {-1, INT64_MAX, ""}};
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], expected[256], *text;
  rundir_t *rundir;
  io_test_folder(folder);
  io_test_path(path, folder, "samples.jsonl");
  assert_ok(rundir_open(mpi_test_world(), folder, RUNDIR_NEW, &rundir));
  assert_ok(rundir_samples_rewind(rundir, 5, INT64_MAX));
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    io_test_write(path, lines);
    if (!lead()) continue;
    assert_ok(rundir_samples_rewind(rundir, cases[i].step, cases[i].most));
    int64_t before = rundir_samples_lines(rundir);
    assert_ok(rundir_samples_append(rundir, "{\"step\":4}\n", 11));
    assert_int_equal(rundir_samples_lines(rundir), before + 1);
    snprintf(expected, sizeof expected, "%s{\"step\":4}\n", cases[i].kept);
    assert_ok(file_read(path, 4096, &text, NULL));
    assert_string_equal(text, expected);
    memory_free(text);
  }
  rundir_close(rundir);
  io_test_remove(folder);
}

/* The disk takes no more: no half line is left. */
static void a_line_is_whole_or_not_there(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], *text;
  struct rlimit before, small;
  rundir_t *rundir;
  io_test_folder(folder);
  io_test_path(path, folder, "metrics.jsonl");
  assert_ok(rundir_open(mpi_test_world(), folder, RUNDIR_NEW, &rundir));
  if (lead()) {
    assert_ok(append(rundir, "{\"step\":1}\n"));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 16; /* the second line begins and does not end below it */
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    status_code_t status = append(rundir, "{\"step\":2}\n");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, STATUS_DATA);
    assert_non_null(strstr(error_message(), path));
    assert_ok(append(rundir, "{\"step\":3}\n"));
    assert_ok(file_read(path, 4096, &text, NULL));
    assert_string_equal(text, "{\"step\":1}\n{\"step\":3}\n");
    memory_free(text);
  }
  rundir_close(rundir);
  io_test_remove(folder);
}

/* Files that a killed job of this run directory did not complete; others may be someone else's. */
static void what_dead_jobs_left_is_removed(void **state) {
  (void)state;
  static const char *const orphans[] = {"model.h5.partial",
                                        "run.json.partial",
                                        "rollouts/step_00000003.h5.partial",
                                        "report.html.4711.partial",
                                        "checkpoints/step_00000003.h5.partial",
                                        "checkpoints/best.partial"};
  static const char *const others[] = {"sampled.json.partial", "checkpoints/step_00000001.h5",
                                       "checkpoints/mine.partial"};
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  rundir_t *rundir;
  io_test_folder(folder);
  if (lead()) {
    assert_ok(file_make_folder(io_test_path(path, folder, "rollouts")));
    assert_ok(file_make_folder(io_test_path(path, folder, "checkpoints")));
  }
  for (size_t i = 0; i < sizeof orphans / sizeof *orphans; i++)
    io_test_write(io_test_path(path, folder, orphans[i]), "half");
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    io_test_write(io_test_path(path, folder, others[i]), "x");
  assert_ok(rundir_open(mpi_test_world(), folder, RUNDIR_CONTINUE, &rundir));
  for (size_t i = 0; i < sizeof orphans / sizeof *orphans; i++)
    assert_false(file_exists(io_test_path(path, folder, orphans[i])));
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    assert_true(file_exists(io_test_path(path, folder, others[i])));
  rundir_close(rundir);
  io_test_remove(folder);
}

static void files_are_replaced_whole(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], *text;
  size_t n;
  io_test_folder(folder);
  if (lead()) {
    io_test_path(path, folder, "text");
    assert_ok(file_replace(path, "first, longer", 13));
    assert_ok(file_replace(path, "second", 6));
    assert_ok(file_read(path, 100, &text, &n));
    assert_int_equal(n, 6);
    assert_string_equal(text, "second");
    memory_free(text);
    assert_error(file_read(path, 5, &text, &n), STATUS_DATA);
    assert_error(file_read(folder, 5, &text, &n), STATUS_DATA);
    assert_error(file_replace(io_test_path(path, folder, "none/text"), "x", 1), STATUS_DATA);
    /* A full disk: nothing half is left. */
    io_test_path(path, folder, "full.partial");
    assert_int_equal(symlink("/dev/full", path), 0);
    assert_error(file_replace(io_test_path(path, folder, "full"), "x", 1), STATUS_DATA);
    assert_false(io_test_size(io_test_path(path, folder, "full.partial")) >= 0);
  }
  io_test_remove(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(second_job_is_refused),
      cmocka_unit_test(locks_of_dead_jobs_are_taken_over),
      cmocka_unit_test(lock_of_an_ended_process_is_taken_over),
      cmocka_unit_test(a_dying_holder_is_waited_for),
      cmocka_unit_test(a_lock_is_renewed_by_itself),
      cmocka_unit_test(used_directory_is_refused_for_a_new_run),
      cmocka_unit_test(exit_file_is_seen_once),
      cmocka_unit_test(later_metrics_are_dropped),
      cmocka_unit_test(later_samples_are_dropped),
      cmocka_unit_test(a_line_is_whole_or_not_there),
      cmocka_unit_test(what_dead_jobs_left_is_removed),
      cmocka_unit_test(files_are_replaced_whole),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

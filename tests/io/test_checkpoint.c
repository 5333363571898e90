/* Checkpoints: which file counts, what is removed, and what happens to damaged ones. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "base/memory.h"
#include "io/checkpoint.h"
#include "io_test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

static const h5_format_t format = {"test_checkpoint", 1, "make it again"};
static const weights_spec_t spec = {&format, NULL, NULL};

/* Writes a checkpoint whose one tensor holds the step; rank 0 gives it. */
static status_t write_step(const char *run, int64_t step, int64_t keep) {
  comm_t *world = mpi_test_world();
  float value = (float)step;
  weights_item_t item = {"/adapters/policy/x",  1,   {1}, DTYPE_F32, 1, 1, 0, 1, 0, 1, 0, &value,
                         comm_rank(world) == 0, NULL};
  return checkpoint_write(world, run, step, &spec, &item, 1, keep);
}

static bool step_exists(const char *run, int64_t step) {
  char path[FILE_MAX_PATH];
  assert_ok(checkpoint_path(path, run, step));
  return file_exists(path);
}

static status_t find(const char *run, checkpoint_choice_t choice, int64_t *step, bool *found) {
  char path[FILE_MAX_PATH];
  return checkpoint_find(mpi_test_world(), run, choice, &format, path, step, found);
}

/* The step to continue from. */
static int64_t found_step(const char *run, checkpoint_choice_t choice) {
  int64_t step;
  bool found;
  assert_ok(find(run, choice, &step, &found));
  return found ? step : -1;
}

static void damage_step(const char *run, int64_t step) {
  char path[FILE_MAX_PATH];
  assert_ok(checkpoint_path(path, run, step));
  off_t place = io_test_place(path, "/adapters/policy/x");
  assert_ok(comm_barrier(mpi_test_world()));
  io_test_flip(path, place);
}

static void newest_complete_one_is_found(void **state) {
  (void)state;
  char run[FILE_MAX_PATH], path[FILE_MAX_PATH];
  io_test_folder(run);
  assert_int_equal(found_step(run, CHECKPOINT_OR_PREVIOUS), -1);
  assert_ok(write_step(run, 1, 0));
  assert_ok(write_step(run, 10, 0));
  /* What a job that was killed while writing leaves behind counts for nothing. */
  io_test_write(io_test_path(path, run, "checkpoints/step_00000020.h5.partial"), "half");
  assert_int_equal(found_step(run, CHECKPOINT_LATEST), 10);
  /* `latest` is what counts; without it the highest step. */
  io_test_write(io_test_path(path, run, "checkpoints/latest"), "step_00000001.h5\n");
  assert_int_equal(found_step(run, CHECKPOINT_LATEST), 1);
  if (comm_rank(mpi_test_world()) == 0) unlink(path);
  assert_ok(comm_barrier(mpi_test_world()));
  assert_int_equal(found_step(run, CHECKPOINT_LATEST), 10);
  io_test_remove(run);
}

static void damaged_ones_are_passed_over(void **state) {
  (void)state;
  char run[FILE_MAX_PATH], path[FILE_MAX_PATH];
  int64_t step;
  bool found;
  io_test_folder(run);
  log_set_level(LOG_ERROR); /* the warnings are expected */
  for (int64_t s = 1; s <= 3; ++s)
    assert_ok(write_step(run, s, 0));
  damage_step(run, 3);
  assert_error(find(run, CHECKPOINT_LATEST, &step, &found), STATUS_DATA);
  assert_int_equal(found_step(run, CHECKPOINT_OR_PREVIOUS), 2);
  assert_ok(checkpoint_path(path, run, 2));
  io_test_cut(path, 100);
  assert_int_equal(found_step(run, CHECKPOINT_OR_PREVIOUS), 1);
  assert_ok(checkpoint_path(path, run, 1));
  io_test_cut(path, 0);
  assert_error(find(run, CHECKPOINT_OR_PREVIOUS, &step, &found), STATUS_DATA);
  log_set_level(LOG_INFO);
  io_test_remove(run);
}

static void pruning_spares_latest_and_best(void **state) {
  (void)state;
  char run[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  io_test_folder(run);
  assert_ok(write_step(run, 1, 2));
  assert_ok(checkpoint_mark_best(world, run, 1));
  for (int64_t s = 2; s <= 5; ++s)
    assert_ok(write_step(run, s, 2));
  assert_ok(comm_barrier(world));
  assert_true(step_exists(run, 1));
  assert_false(step_exists(run, 2));
  assert_false(step_exists(run, 3));
  assert_true(step_exists(run, 4));
  assert_true(step_exists(run, 5));
  /* Taken back to an earlier step: the later files are left alone, and the new one is the latest. */
  assert_ok(comm_barrier(world));
  assert_ok(write_step(run, 2, 1));
  assert_true(step_exists(run, 5));
  assert_int_equal(found_step(run, CHECKPOINT_LATEST), 2);
  io_test_remove(run);
}

/* Writing fails on rank 0 alone (a folder stands where the partial file belongs): all ranks get the error,
 * nothing is lost. */
static void failed_writing_leaves_the_old(void **state) {
  (void)state;
  char run[FILE_MAX_PATH], path[FILE_MAX_PATH];
  io_test_folder(run);
  assert_ok(write_step(run, 1, 1));
  io_test_path(path, run, "checkpoints/step_00000002.h5.partial");
  if (comm_rank(mpi_test_world()) == 0) assert_ok(file_make_folder(path));
  assert_error(write_step(run, 2, 1), STATUS_DATA);
  assert_int_equal(found_step(run, CHECKPOINT_LATEST), 1);
  assert_false(step_exists(run, 2));
  io_test_remove(run);
}

/* The disk takes no more, from the last rank or from all (a limit on the size of its files stands for that):
 * all ranks get the error with the file's name and the reason, nothing is lost. */
static void full_disk_leaves_the_old(void **state) {
  (void)state;
  enum { ROWS = 1024, COLS = 2048 };
  char run[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  float *data = calloc((size_t)ROWS * COLS, sizeof *data);
  struct rlimit before, small;
  weights_item_t items[4];
  io_test_folder(run);
  assert_ok(write_step(run, 1, 1));
  static const char *const names[4] = {"/weights/a", "/weights/b", "/weights/c", "/weights/d"};
  for (int i = 0; i < 4; ++i)
    items[i] =
        (weights_item_t){names[i], 2,    {ROWS, COLS},          DTYPE_F32, ROWS, COLS, 0, ROWS, 0, COLS,
                         COLS,     data, comm_rank(world) == 0, NULL};
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = 1 << 20;
  signal(SIGXFSZ, SIG_IGN);
  for (int pass = 0; pass < 2; ++pass) {
    bool full = pass == 0 || comm_rank(world) == comm_size(world) - 1;
    if (full) assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    status_code_t status = checkpoint_write(world, run, 2, &spec, items, 4, 1);
    if (full) assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    io_test_path(path, run, "checkpoints/step_00000002.h5.partial");
    assert_non_null(strstr(error_message(), strerror(EFBIG)));
    assert_error_about(status, STATUS_DATA, path);
    assert_int_equal(found_step(run, CHECKPOINT_LATEST), 1);
    assert_false(step_exists(run, 2));
    assert_false(file_exists(path));
    assert_ok(comm_barrier(world));
  }
  /* With room again the same step is written. */
  assert_ok(checkpoint_write(world, run, 2, &spec, items, 4, 1));
  assert_int_equal(found_step(run, CHECKPOINT_LATEST), 2);
  free(data);
  io_test_remove(run);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(newest_complete_one_is_found),   cmocka_unit_test(damaged_ones_are_passed_over),
      cmocka_unit_test(pruning_spares_latest_and_best), cmocka_unit_test(failed_writing_leaves_the_old),
      cmocka_unit_test(full_disk_leaves_the_old),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

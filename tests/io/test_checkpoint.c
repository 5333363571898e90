/* Checkpoints: which file counts, what is removed, and what happens to damaged ones. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "base/memory.h"
#include "io/formats/checkpoint.h"
#include "io_test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

static const h5_format_t format = {"test_checkpoint", 1, "make it again"};
static const weights_spec_t spec = {.format = &format};

static status_t write_whole(const char *run, const checkpoint_place_t *place, const weights_item_t *items,
                            int64_t count) {
  checkpoint_writing_t *writing;
  TRY(checkpoint_write_begin(mpi_test_world(), run, place, &spec, items, count, &writing));
  return checkpoint_write_end(writing);
}

/* Writes a checkpoint whose one tensor holds the step, the SERIAL-th of a run that began at ORIGIN; rank 0
 * gives the tensor. */
static status_t write_from(const char *run, int64_t step, int64_t serial, uint64_t origin, const char *path) {
  comm_t *world = mpi_test_world();
  float value = (float)step;
  const weights_item_t item = {.path = "/adapters/policy/x",
                               .ndim = 1,
                               .shape = {1},
                               .dtype = DTYPE_F32,
                               .rows = 1,
                               .cols = 1,
                               .row_count = 1,
                               .col_count = 1,
                               .data = &value,
                               .mine = comm_rank(world) == 0};
  checkpoint_place_t place = {.step = step, .serial = serial, .origin.identity = origin};
  assert_ok(file_join(place.origin.path, path, NULL, NULL));
  return write_whole(run, &place, &item, 1);
}

static status_t write_step(const char *run, int64_t step, int64_t serial) {
  return write_from(run, step, serial, 0, "");
}

static bool step_exists(const char *run, int64_t step) {
  char path[FILE_MAX_PATH];
  assert_ok(checkpoint_path(path, run, step));
  return file_exists(path);
}

static status_t find_from(const char *run, const checkpoint_origin_t *origin, checkpoint_place_t *place,
                          bool *found) {
  char path[FILE_MAX_PATH];
  return checkpoint_find(mpi_test_world(), run, origin, &format, path, place, found);
}

/* The step to continue from, -1 for none; of a run that began at ORIGIN. */
static int64_t found_step_from(const char *run, uint64_t origin, const char *path) {
  checkpoint_origin_t from = {.identity = origin};
  checkpoint_place_t place;
  bool found;
  assert_ok(file_join(from.path, path, NULL, NULL));
  assert_ok(find_from(run, &from, &place, &found));
  return found ? place.step : -1;
}

static int64_t found_step(const char *run) {
  checkpoint_place_t place;
  bool found;
  assert_ok(find_from(run, NULL, &place, &found));
  return found ? place.step : -1;
}

/* What the pointer file NAME says. */
static void expect_pointer(const char *run, const char *name, const char *expected) {
  char path[FILE_MAX_PATH], below[64], *text;
  assert_ok(comm_barrier(mpi_test_world()));
  snprintf(below, sizeof below, "checkpoints/%s", name);
  assert_true(file_exists(io_test_path(path, run, below)) == (expected != NULL));
  if (expected) {
    assert_ok(file_read(path, 100, &text, NULL));
    assert_string_equal(text, expected);
    memory_free(text);
  }
  assert_ok(comm_barrier(mpi_test_world()));
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
  assert_int_equal(found_step(run), -1);
  assert_ok(write_step(run, 1, 1));
  assert_ok(write_step(run, 10, 2));
  /* What a job that was killed while writing leaves behind counts for nothing. */
  io_test_write(io_test_path(path, run, "checkpoints/step_00000020.h5.partial"), "half");
  assert_int_equal(found_step(run), 10);
  /* Killed before it moved `latest`, or in the midst of writing that: it is made to agree. */
  io_test_write(io_test_path(path, run, "checkpoints/latest"), "step_00000001.h5\n");
  assert_int_equal(found_step(run), 10);
  expect_pointer(run, "latest", "step_00000010.h5\n");
  io_test_write(path, "");
  assert_int_equal(found_step(run), 10);
  if (comm_rank(mpi_test_world()) == 0) unlink(path);
  assert_ok(comm_barrier(mpi_test_world()));
  assert_int_equal(found_step(run), 10);
  expect_pointer(run, "latest", "step_00000010.h5\n");
  /* Taken back to an earlier step: what was written last counts. */
  assert_ok(write_step(run, 2, 3));
  assert_int_equal(found_step(run), 2);
  io_test_remove(run);
}

static void a_run_goes_on_from_its_own(void **state) {
  (void)state;
  char run[FILE_MAX_PATH];
  checkpoint_place_t place;
  checkpoint_origin_t origin = {.identity = 9};
  bool found;
  io_test_folder(run);
  assert_ok(write_step(run, 5, 1));
  assert_ok(write_from(run, 3, 2, 7, "other/step.h5"));
  assert_ok(write_from(run, 4, 3, 7, "other/step.h5"));
  assert_int_equal(found_step_from(run, 7, "moved.h5"), 4);
  assert_int_equal(found_step_from(run, 0, "other/step.h5"), 4);
  assert_int_equal(found_step_from(run, 0, "another.h5"), -1);
  assert_ok(find_from(run, &origin, &place, &found));
  assert_false(found);
  assert_int_equal(place.serial, 3);
  io_test_remove(run);
}

static void damaged_ones_are_passed_over(void **state) {
  (void)state;
  char run[FILE_MAX_PATH], path[FILE_MAX_PATH];
  checkpoint_place_t place;
  bool found;
  io_test_folder(run);
  log_set_level(LOG_ERROR); /* the warnings are expected */
  for (int64_t s = 1; s <= 3; ++s)
    assert_ok(write_step(run, s, s));
  damage_step(run, 3);
  assert_int_equal(found_step(run), 2);
  expect_pointer(run, "latest", "step_00000002.h5\n");
  /* The next one is newer than the damaged one. */
  assert_ok(find_from(run, NULL, &place, &found));
  assert_int_equal(place.serial, 3);
  assert_ok(checkpoint_path(path, run, 2));
  io_test_cut(path, 100);
  assert_int_equal(found_step(run), 1);
  assert_ok(checkpoint_path(path, run, 1));
  io_test_cut(path, 0);
  assert_error(find_from(run, NULL, &place, &found), STATUS_DATA);
  log_set_level(LOG_INFO);
  io_test_remove(run);
}

static void pruning_spares_the_best(void **state) {
  (void)state;
  char run[FILE_MAX_PATH];
  bool there;
  comm_t *world = mpi_test_world();
  io_test_folder(run);
  assert_ok(write_step(run, 1, 1));
  assert_ok(checkpoint_mark_best(world, run, 1, &there));
  assert_true(there);
  for (int64_t s = 2; s <= 5; ++s)
    assert_ok(write_step(run, s, s));
  assert_ok(checkpoint_prune(world, run, 5, 0));
  assert_true(step_exists(run, 2));
  assert_ok(comm_barrier(world));
  assert_ok(checkpoint_prune(world, run, 5, 2));
  assert_true(step_exists(run, 1));
  assert_false(step_exists(run, 2));
  assert_false(step_exists(run, 3));
  assert_true(step_exists(run, 4));
  assert_true(step_exists(run, 5));
  /* Taken back to an earlier step: the later files are left alone. */
  assert_ok(comm_barrier(world));
  assert_ok(write_step(run, 2, 6));
  assert_ok(checkpoint_prune(world, run, 2, 1));
  assert_true(step_exists(run, 5));
  assert_true(step_exists(run, 1));
  assert_true(step_exists(run, 2));
  io_test_remove(run);
}

static void best_names_what_is_there(void **state) {
  (void)state;
  char run[FILE_MAX_PATH];
  bool there;
  comm_t *world = mpi_test_world();
  io_test_folder(run);
  assert_ok(write_step(run, 1, 1));
  assert_ok(checkpoint_mark_best(world, run, 1, &there));
  expect_pointer(run, "best", "step_00000001.h5\n");
  assert_ok(checkpoint_mark_best(world, run, 2, &there));
  assert_false(there);
  expect_pointer(run, "best", NULL);
  assert_ok(checkpoint_mark_best(world, run, -1, &there));
  assert_false(there);
  io_test_remove(run);
}

/* Every rank may have met the broken numbers, or one alone. */
static void a_broken_state_is_set_aside(void **state) {
  (void)state;
  char run[FILE_MAX_PATH], aside[FILE_MAX_PATH];
  int64_t before;
  io_test_folder(run);
  assert_ok(write_step(run, 3, 1));
  assert_ok(write_step(run, 6, 2));
  assert_ok(comm_barrier(mpi_test_world()));
  assert_ok(checkpoint_set_aside(run, 6, aside, &before));
  assert_int_equal(before, 3);
  assert_true(file_exists(aside));
  expect_pointer(run, "latest", "step_00000003.h5\n");
  assert_int_equal(found_step(run), 3);
  assert_ok(comm_barrier(mpi_test_world()));
  assert_ok(checkpoint_set_aside(run, 2, aside, &before));
  assert_int_equal(before, -1);
  assert_string_equal(aside, "");
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
  assert_error(write_step(run, 2, 2), STATUS_DATA);
  assert_int_equal(found_step(run), 1);
  assert_false(step_exists(run, 2));
  io_test_remove(run);
}

/* Four tensors that are large enough to be written behind; the caller frees their values. */
enum { LARGE_ROWS = 1024, LARGE_COLS = 2048 };
static float *large_items(weights_item_t items[4]) {
  static const char *const names[4] = {"/weights/a", "/weights/b", "/weights/c", "/weights/d"};
  float *data = malloc((size_t)LARGE_ROWS * LARGE_COLS * sizeof *data);
  for (int64_t i = 0; i < (int64_t)LARGE_ROWS * LARGE_COLS; ++i)
    data[i] = (float)(i % 251);
  for (int i = 0; i < 4; ++i)
    items[i] = (weights_item_t){.path = names[i],
                                .ndim = 2,
                                .shape = {LARGE_ROWS, LARGE_COLS},
                                .dtype = DTYPE_F32,
                                .rows = LARGE_ROWS,
                                .cols = LARGE_COLS,
                                .row_count = LARGE_ROWS,
                                .col_count = LARGE_COLS,
                                .data = data,
                                .mine = comm_rank(mpi_test_world()) == 0};
  return data;
}

/* Begins to write step STEP behind, and changes what it is of. */
static checkpoint_writing_t *begin_behind(const char *run, int64_t step) {
  weights_item_t items[4];
  checkpoint_writing_t *writing;
  const checkpoint_place_t place = {.step = step, .serial = step};
  const weights_spec_t behind = {.format = &format, .disk.behind = 1 << 30};
  float *data = large_items(items);
  assert_ok(checkpoint_write_begin(mpi_test_world(), run, &place, &behind, items, 4, &writing));
  memset(data, 0, (size_t)LARGE_ROWS * LARGE_COLS * sizeof *data);
  free(data);
  return writing;
}

/* Until it is complete the one before counts, and nothing is left of one that was given up. */
static void a_checkpoint_counts_once_it_is_whole(void **state) {
  (void)state;
  char run[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  weights_file_t *file;
  io_test_folder(run);
  assert_ok(write_step(run, 1, 1));
  checkpoint_writing_t *writing = begin_behind(run, 2);
  assert_int_equal(found_step(run), 1);
  while (!checkpoint_writing_is_done(writing))
    usleep(1000);
  assert_int_equal(found_step(run), 1);
  assert_ok(comm_barrier(world));
  checkpoint_writing_drop(writing);
  assert_ok(comm_barrier(world));
  assert_false(file_exists(io_test_path(path, run, "checkpoints/step_00000002.h5.partial")));
  writing = begin_behind(run, 3);
  assert_ok(checkpoint_write_end(writing));
  assert_int_equal(found_step(run), 3); /* its hashes fit */
  expect_pointer(run, "latest", "step_00000003.h5\n");
  assert_ok(checkpoint_path(path, run, 3));
  assert_ok(weights_open(world, path, &format, &file));
  float *read = calloc((size_t)LARGE_ROWS * LARGE_COLS, sizeof *read);
  const weights_request_t request = {.path = "/weights/d",
                                     .rows = LARGE_ROWS,
                                     .cols = LARGE_COLS,
                                     .row_count = LARGE_ROWS,
                                     .col_count = LARGE_COLS,
                                     .data = read};
  assert_ok(weights_read(file, &request, 1));
  for (int64_t i = 0; i < (int64_t)LARGE_ROWS * LARGE_COLS; ++i)
    if (read[i] != (float)(i % 251)) fail_msg("element %lld is %g", (long long)i, (double)read[i]);
  free(read);
  weights_close(file);
  io_test_remove(run);
}

/* The disk takes no more, from the last rank or from all (a limit on the size of its files stands for that):
 * all ranks get the error with the file's name and the reason, nothing is lost. */
static void full_disk_leaves_the_old(void **state) {
  (void)state;
  char run[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  struct rlimit before, small;
  weights_item_t items[4];
  io_test_folder(run);
  assert_ok(write_step(run, 1, 1));
  float *data = large_items(items);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = 1 << 20;
  signal(SIGXFSZ, SIG_IGN);
  const checkpoint_place_t place = {.step = 2, .serial = 2};
  for (int pass = 0; pass < 2; ++pass) {
    bool full = pass == 0 || comm_rank(world) == comm_size(world) - 1;
    if (full) assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    status_code_t status = write_whole(run, &place, items, 4);
    if (full) assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    io_test_path(path, run, "checkpoints/step_00000002.h5.partial");
    assert_non_null(strstr(error_message(), strerror(EFBIG)));
    assert_error_about(status, STATUS_DATA, path);
    assert_int_equal(found_step(run), 1);
    assert_false(step_exists(run, 2));
    assert_false(file_exists(path));
    assert_ok(comm_barrier(world));
  }
  /* With room again the same step is written. */
  assert_ok(write_whole(run, &place, items, 4));
  assert_int_equal(found_step(run), 2);
  free(data);
  io_test_remove(run);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(newest_complete_one_is_found),
      cmocka_unit_test(a_run_goes_on_from_its_own),
      cmocka_unit_test(damaged_ones_are_passed_over),
      cmocka_unit_test(pruning_spares_the_best),
      cmocka_unit_test(best_names_what_is_there),
      cmocka_unit_test(a_broken_state_is_set_aside),
      cmocka_unit_test(failed_writing_leaves_the_old),
      cmocka_unit_test(full_disk_leaves_the_old),
      cmocka_unit_test(a_checkpoint_counts_once_it_is_whole),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

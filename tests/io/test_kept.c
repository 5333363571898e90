/* Finished samples that are kept for a later start: by any number of ranks, for any other number. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "base/memory.h"
#include "io/formats/kept.h"
#include "io/formats/kept_files.h"
#include "io_test.h"

#include <string.h>

enum { SAMPLES = 23 };
static const char identity[] = "model = 7\ntemperature = 1\n";

typedef struct {
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH]; /* of the output */
} kept_test_t;

static int enter(void **state) {
  static kept_test_t test;
  io_test_folder(test.folder);
  assert_ok(file_join(test.path, test.folder, "answers", NULL));
  *state = &test;
  return 0;
}

static int leave(void **state) {
  kept_test_t *test = *state;
  io_test_remove(test->folder);
  return 0;
}

static kept_t *open_as(const kept_test_t *test, const char *lines, bool routine) {
  comm_t *world = mpi_test_world();
  const kept_options_t options = {.path = test->path,
                                  .identity = lines,
                                  .what = "answers",
                                  .routine = routine,
                                  .readers = world,
                                  .writes = true};
  kept_t *kept;
  assert_ok(kept_open(world, &options, &kept));
  return kept;
}

/* Sample KEY: KEY % 5 numbers of its own. */
static size_t sample_make(int64_t key, int64_t numbers[5]) {
  for (int64_t k = 0; k < key % 5; k++)
    numbers[k] = 1000 * key + k;
  return (size_t)(key % 5) * sizeof *numbers;
}

/* Each rank finishes its share of samples BEGIN .. END - 1. */
static void append(kept_t *kept, int64_t begin, int64_t end) {
  comm_t *world = mpi_test_world();
  for (int64_t key = begin; key < end; key++) {
    int64_t numbers[5];
    size_t n = sample_make(key, numbers);
    if (key % comm_size(world) == comm_rank(world)) kept_append(kept, key, numbers, n);
  }
}

/* Fails unless all of 0 .. COUNT - 1, and no more, are there; they are dealt the other way round. */
static void expect(kept_t *kept, int64_t count) {
  comm_t *world = mpi_test_world();
  int64_t keys[SAMPLES];
  int32_t owner[SAMPLES];
  exchange_t received;
  kept_loaded_t loaded;
  for (int64_t i = 0; i < SAMPLES; i++) {
    keys[i] = SAMPLES - 1 - i;
    owner[i] = (int32_t)(i % comm_size(world));
  }
  assert_ok(kept_load(kept, keys, SAMPLES, &loaded));
  for (int64_t i = 0; i < SAMPLES; i++)
    assert_int_equal(loaded.there[i], keys[i] < count);
  assert_ok(kept_deal(&loaded, owner, &received));
  int64_t mine = 0;
  for (int64_t i = 0; i < SAMPLES; i++)
    mine += keys[i] < count && owner[i] == comm_rank(world);
  assert_int_equal(received.count, mine);
  for (int64_t k = 0; k < received.count; k++) {
    int64_t numbers[5];
    size_t n = sample_make(keys[received.items[k].id], numbers);
    assert_int_equal(received.items[k].size, n);
    if (n > 0) assert_memory_equal(received.items[k].bytes, numbers, n);
  }
  exchange_free(&received);
  kept_loaded_free(&loaded);
}

static bool is_there(const kept_test_t *test, const char *end) {
  char folder[FILE_MAX_PATH];
  assert_ok(comm_barrier(mpi_test_world()));
  assert_ok(kept_folder_path(folder, test->path, end));
  return file_exists(folder);
}

/* The first of the files, to PATH. */
static void first_file(const kept_test_t *test, char path[FILE_MAX_PATH]) {
  SCOPED_MEMORY kept_name_t *names = NULL;
  char folder[FILE_MAX_PATH];
  int32_t count;
  assert_ok(kept_folder_path(folder, test->path, ""));
  assert_ok(kept_folder_list(folder, &names, &count));
  assert_true(count > 0);
  assert_ok(kept_file_path(path, folder, names[0]));
}

/* ---- Tests ---- */

/* Three starts, of which the last has nothing left to do. */
static void starts_add_to_each_other(void **state) {
  const kept_test_t *test = *state;
  for (int start = 0; start < 3; start++) {
    kept_t *kept = open_as(test, identity, false);
    int64_t begin[] = {0, 9, SAMPLES}, end[] = {9, SAMPLES, SAMPLES};
    assert_int_equal(kept_found(kept), begin[start]);
    expect(kept, begin[start]);
    append(kept, begin[start], end[start]);
    if (start < 2)
      kept_close(kept);
    else
      assert_ok(kept_remove(&kept));
  }
  assert_false(is_there(test, ""));
}

static void nothing_is_made_for_nothing(void **state) {
  const kept_test_t *test = *state;
  kept_t *kept = open_as(test, identity, false);
  assert_false(is_there(test, ""));
  assert_ok(kept_remove(&kept));
  assert_null(kept);
}

/* The first file loses its last byte, or one of its last sample's bits is turned: that sample is gone, and it
 * may be made again. */
static void a_damaged_sample_is_made_again(void **state) {
  const kept_test_t *test = *state;
  for (int what = 0; what < 2; what++) {
    kept_t *kept = open_as(test, identity, false);
    char path[FILE_MAX_PATH], *bytes;
    int64_t numbers[5] = {0};
    size_t n;
    append(kept, 0, SAMPLES - 1);
    kept_close(kept);
    assert_ok(comm_barrier(mpi_test_world()));
    kept = open_as(test, identity, false);
    if (comm_rank(mpi_test_world()) == 0) kept_append(kept, SAMPLES - 1, numbers, sizeof numbers[0]);
    kept_close(kept);
    assert_ok(comm_barrier(mpi_test_world()));
    if (comm_rank(mpi_test_world()) == 0) {
      char folder[FILE_MAX_PATH];
      assert_ok(kept_folder_path(folder, test->path, ""));
      assert_ok(kept_file_path(path, folder, (kept_name_t){2, 0}));
      assert_ok(file_read(path, 1 << 20, &bytes, &n));
      if (what == 1) bytes[n - 1] ^= 1;
      assert_ok(file_write(path, bytes, what == 0 ? n - 1 : n));
      memory_free(bytes);
    }
    kept = open_as(test, identity, false);
    assert_int_equal(kept_found(kept), SAMPLES - 1);
    expect(kept, SAMPLES - 1);
    append(kept, SAMPLES - 1, SAMPLES);
    kept_close(kept);
    kept = open_as(test, identity, false);
    expect(kept, SAMPLES);
    assert_ok(kept_remove(&kept));
  }
}

/* A file whose very first record is damaged says nothing of what it holds. */
static void a_file_without_its_beginning_is_left_out(void **state) {
  const kept_test_t *test = *state;
  kept_t *kept = open_as(test, identity, false);
  char path[FILE_MAX_PATH], *bytes;
  size_t n;
  append(kept, 0, 1); /* rank 0 */
  kept_close(kept);
  assert_ok(comm_barrier(mpi_test_world()));
  if (comm_rank(mpi_test_world()) == 0) {
    first_file(test, path);
    assert_ok(file_read(path, 1 << 20, &bytes, &n));
    bytes[sizeof(kept_head_t)] ^= 1;
    assert_ok(file_write(path, bytes, n));
    memory_free(bytes);
  }
  kept = open_as(test, identity, false);
  expect(kept, 0);
  assert_ok(kept_remove(&kept));
}

static void others_are_set_aside_or_removed(void **state) {
  const kept_test_t *test = *state;
  for (int routine = 0; routine < 2; routine++) {
    kept_t *kept = open_as(test, identity, false);
    append(kept, 0, 5);
    kept_close(kept);
    kept = open_as(test, "model = 7\ntemperature = 0.5\n", routine);
    assert_int_equal(kept_found(kept), 0);
    assert_int_equal(is_there(test, ".other"), !routine);
    append(kept, 0, SAMPLES);
    kept_close(kept);
    kept = open_as(test, "model = 7\ntemperature = 0.5\n", false);
    expect(kept, SAMPLES);
    assert_ok(kept_remove(&kept));
    char other[FILE_MAX_PATH];
    assert_ok(kept_folder_path(other, test->path, ".other"));
    if (comm_rank(mpi_test_world()) == 0) assert_ok(kept_folder_remove(other));
    assert_ok(comm_barrier(mpi_test_world()));
  }
}

/* What was set aside is as good as ever. */
static void what_was_set_aside_can_be_gone_on_from(void **state) {
  const kept_test_t *test = *state;
  kept_t *kept = open_as(test, identity, false);
  append(kept, 0, 5);
  kept_close(kept);
  kept = open_as(test, "model = 8\n", false);
  kept_close(kept);
  assert_ok(comm_barrier(mpi_test_world()));
  if (comm_rank(mpi_test_world()) == 0) {
    char other[FILE_MAX_PATH], folder[FILE_MAX_PATH];
    assert_ok(kept_folder_path(other, test->path, ".other"));
    assert_ok(kept_folder_path(folder, test->path, ""));
    assert_ok(file_rename(other, folder));
  }
  kept = open_as(test, identity, false);
  expect(kept, 5);
  assert_ok(kept_remove(&kept));
}

/* Where the folder cannot be made the task goes on, and nothing is kept. */
static void a_folder_that_cannot_be_made_is_a_warning(void **state) {
  const kept_test_t *test = *state;
  char folder[FILE_MAX_PATH];
  assert_ok(kept_folder_path(folder, test->path, ""));
  if (comm_rank(mpi_test_world()) == 0) assert_ok(file_write(folder, "a file", 6));
  kept_t *kept = open_as(test, identity, false);
  append(kept, 0, SAMPLES);
  expect(kept, 0);
  assert_int_equal(kept_added(kept), 0);
  assert_ok(kept_remove(&kept));
  assert_true(is_there(test, ""));
}

#define KEPT_TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      KEPT_TEST(starts_add_to_each_other),
      KEPT_TEST(nothing_is_made_for_nothing),
      KEPT_TEST(a_damaged_sample_is_made_again),
      KEPT_TEST(a_file_without_its_beginning_is_left_out),
      KEPT_TEST(others_are_set_aside_or_removed),
      KEPT_TEST(what_was_set_aside_can_be_gone_on_from),
      KEPT_TEST(a_folder_that_cannot_be_made_is_a_warning),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

/* HDF5 files: attributes, rows written and read by all ranks, ranges, and what is said about files that are
 * not what they should be. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "base/memory.h"
#include "io/h5_core.h"
#include "io_test.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

static const h5_format_t format = {"test", 3, "make it again"};

static void attributes_return(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  h5_file_t *file;
  int64_t numbers[3] = {-5, 0, INT64_C(1) << 60}, numbers_read[3], count;
  double real = 0.1, real_read;
  uint64_t large = UINT64_MAX, large_read;
  static char long_text[H5_TEXT_MOST + 2];
  char *text;
  memset(long_text, 'x', H5_TEXT_MOST);
  io_test_folder(folder);
  io_test_path(path, folder, "a.h5");
  assert_ok(h5_create(path, world, &format, &file));
  assert_ok(h5_create_group(file, "/state/inner"));
  assert_ok(h5_attr_write_text(file, "/state", "echo", "first"));
  assert_ok(h5_attr_write_text(file, "/state", "echo", "a \xc3\xbc b"));
  assert_ok(h5_attr_write_i64(file, "/state/inner", "numbers", numbers, 3));
  assert_ok(h5_attr_write_f64(file, "/state", "real", &real, 1));
  assert_ok(h5_attr_write_u64(file, "/state", "large", &large, 1));
  assert_ok(h5_write_bytes(file, "/tokenizer", "abc", 3));
  assert_ok(h5_attr_write_text(file, "/state", "empty", ""));
  assert_ok(h5_attr_write_text(file, "/state", "long", long_text));
  long_text[0] = 'y';
  long_text[H5_TEXT_MOST] = 'x';
  if (comm_rank(world) == 0)
    assert_error(h5_attr_write_text(file, "/state", "longer", long_text), STATUS_INPUT);
  assert_ok(h5_close(file));

  assert_ok(comm_barrier(world));
  assert_ok(h5_open(path, H5_READ, &format, &file));
  assert_ok(h5_attr_read_text(file, "/state", "empty", &text));
  assert_string_equal(text, "");
  memory_free(text);
  assert_ok(h5_attr_read_text(file, "/state", "long", &text));
  assert_int_equal(strlen(text), H5_TEXT_MOST);
  memory_free(text);
  assert_ok(h5_attr_read_text(file, "/state", "echo", &text));
  assert_string_equal(text, "a \xc3\xbc b");
  memory_free(text);
  assert_ok(h5_attr_count(file, "/state/inner", "numbers", &count));
  assert_int_equal(count, 3);
  assert_ok(h5_attr_read_i64(file, "/state/inner", "numbers", numbers_read, 3));
  assert_memory_equal(numbers, numbers_read, sizeof numbers);
  assert_ok(h5_attr_read_f64(file, "/state", "real", &real_read, 1));
  assert_true(real == real_read);
  assert_ok(h5_attr_read_u64(file, "/state", "large", &large_read, 1));
  assert_true(large == large_read);
  assert_ok(h5_read_bytes(file, "/tokenizer", &text, &count));
  assert_string_equal(text, "abc");
  assert_int_equal(count, 3);
  memory_free(text);
  assert_false(h5_attr_exists(file, "/state", "nothing"));
  assert_false(h5_exists(file, "/nowhere/at/all"));
  assert_error(h5_attr_read_text(file, "/state", "nothing", &text), STATUS_DATA);
  assert_error(h5_attr_read_i64(file, "/state/inner", "numbers", numbers_read, 2), STATUS_DATA);
  assert_error(h5_attr_read_i64(file, "/state", "real", numbers_read, 1), STATUS_DATA);
  assert_error(h5_attr_read_text(file, "/state", "real", &text), STATUS_DATA);
  assert_ok(h5_close(file));
  io_test_remove(folder);
}

/* Rows of uneven shares: rank 1 (if any) has none. */
static void rows_return(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  int rank = comm_rank(world), size = comm_size(world);
  int64_t begin = 0, mine = rank == 1 ? 0 : rank + 2, total = 0, shape[2];
  for (int r = 0; r < size; ++r) {
    int64_t n = r == 1 ? 0 : r + 2;
    if (r < rank) begin += n;
    total += n;
  }
  float *rows = calloc((size_t)mine * 3 + 1, sizeof *rows);
  for (int64_t i = 0; i < mine * 3; ++i)
    rows[i] = (float)(begin * 3 + i);
  h5_file_t *file;
  io_test_folder(folder);
  io_test_path(path, folder, "rows.h5");
  assert_ok(h5_create(path, world, &format, &file));
  shape[0] = total;
  shape[1] = 3;
  assert_ok(h5_create_dataset(file, "/a/b/rows", H5TYPE_F32, 2, shape));
  assert_ok(h5_write_rows(file, "/a/b/rows", H5TYPE_F32, begin, mine, rows));
  shape[0] = 0;
  assert_ok(h5_create_dataset(file, "/empty", H5TYPE_I64, 1, shape));
  assert_ok(h5_write_rows(file, "/empty", H5TYPE_I64, 0, 0, NULL));
  /* One rank's mistake is an error on all of them, not a hang. */
  assert_error(
      h5_write_rows(file, "/a/b/rows", H5TYPE_F32, rank == size - 1 ? total : 0, rank == size - 1, rows),
      STATUS_DATA);
  assert_error(h5_write_rows(file, rank == 0 ? "/a/b/none" : "/a/b/rows", H5TYPE_F32, 0, 0, rows),
               STATUS_DATA);
  assert_ok(h5_close(file));
  assert_ok(comm_barrier(world));

  float *all = calloc((size_t)total * 3, sizeof *all);
  assert_ok(h5_open(path, H5_READ, &format, &file));
  assert_ok(h5_read_rows(file, "/a/b/rows", H5TYPE_F32, 0, total, all));
  for (int64_t i = 0; i < total * 3; ++i)
    assert_true(all[i] == (float)i);
  assert_error(h5_read_rows(file, "/a/b/rows", H5TYPE_F64, 0, 1, all), STATUS_DATA);
  assert_error(h5_read_rows(file, "/a/b/rows", H5TYPE_F32, total, 1, all), STATUS_DATA);
  assert_error(h5_read_rows(file, "/a/b/rows", H5TYPE_F32, 0, INT64_MAX, all), STATUS_DATA);
  assert_error(h5_read_rows(file, "/a/b/none", H5TYPE_F32, 0, 1, all), STATUS_DATA);
  assert_ok(h5_close(file));
  free(all);
  free(rows);
  io_test_remove(folder);
}

/* All ranges of a 4-dimensional array, against the array itself. */
static void ranges_cover_any_shape(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  int64_t shape[4] = {3, 2, 4, 3};
  int32_t values[72], out[72];
  h5_span_t span;
  h5_file_t *file;
  io_test_folder(folder);
  if (comm_rank(mpi_test_world()) == 0) {
    io_test_path(path, folder, "ranges.h5");
    assert_ok(h5_create(path, NULL, &format, &file));
    assert_ok(h5_create_dataset(file, "/x", H5TYPE_I32, 4, shape));
    for (int i = 0; i < 72; ++i)
      values[i] = i;
    const char *object = "/x";
    assert_ok(h5_spans(file, &object, 1, &span));
    assert_int_equal(span.bytes, sizeof values);
    assert_ok(h5_write_span(file, span, 0, values, 31 * 4));
    assert_ok(h5_write_span(file, span, 31 * 4, values + 31, 2 * 4));
    assert_ok(h5_write_span(file, span, 33 * 4, values + 33, 39 * 4));
    assert_error(h5_write_span(file, span, 71 * 4, values, 8), STATUS_INTERNAL);
    assert_error(h5_write_span(file, span, -4, values, 4), STATUS_INTERNAL);
    for (int begin = 0; begin < 72; begin += 5) {
      for (int count = 0; begin + count <= 72; count += 7) {
        memset(out, 0xff, sizeof out);
        assert_ok(h5_read_range(file, "/x", H5TYPE_I32, begin, count, out));
        for (int i = 0; i < count; ++i)
          assert_int_equal(out[i], begin + i);
        if (count < 72) assert_int_equal(out[count], -1);
      }
    }
    assert_error(h5_read_range(file, "/x", H5TYPE_I32, 70, 3, out), STATUS_DATA);
    assert_ok(h5_close(file));
  }
  io_test_remove(folder);
}

/* A dataset that grows, by rows of all ranks, some of which have none. */
static void growing_rows_return(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  int rank = comm_rank(world), size = comm_size(world);
  int32_t mine[4], *all;
  int64_t total = 0;
  h5_file_t *file;
  io_test_folder(folder);
  io_test_path(path, folder, "grow.h5");
  assert_ok(h5_create(path, world, &format, &file));
  assert_ok(h5_create_growing(file, "/x", H5TYPE_I32));
  for (int round = 0; round < 5; ++round) {
    int64_t begin = total, count = 0;
    for (int r = 0; r < size; ++r) {
      int64_t n = (r + round) % 3;
      if (r == rank) {
        begin = total;
        count = n;
      }
      total += n;
    }
    for (int64_t i = 0; i < count; ++i)
      mine[i] = (int32_t)(begin + i);
    assert_ok(comm_agree(world, h5_grow(file, "/x", total)));
    assert_ok(h5_write_rows(file, "/x", H5TYPE_I32, begin, count, mine));
  }
  assert_error(h5_write_rows(file, "/x", H5TYPE_I32, total, 1, mine),
               STATUS_DATA + (size > 1) * (STATUS_INTERNAL - STATUS_DATA));
  assert_ok(h5_close(file));
  assert_ok(comm_barrier(world));
  all = calloc((size_t)total, sizeof *all);
  assert_ok(h5_open(path, H5_READ, &format, &file));
  assert_ok(h5_read_rows(file, "/x", H5TYPE_I32, 0, total, all));
  for (int64_t i = 0; i < total; ++i)
    assert_int_equal(all[i], i);
  assert_error(h5_read_rows(file, "/x", H5TYPE_I32, 1, total, all), STATUS_DATA);
  assert_ok(h5_close(file));
  free(all);
  io_test_remove(folder);
}

static void bad_files_are_refused(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  int64_t shape = 100000;
  h5_file_t *file;
  io_test_folder(folder);
  io_test_path(path, folder, "bad.h5");
  assert_error(h5_open(path, H5_READ, &format, &file), STATUS_DATA);
  assert_error(h5_open(folder, H5_READ, &format, &file), STATUS_DATA);
  if (comm_rank(world) == 0) assert_int_equal(mkfifo(path, 0600), 0);
  assert_error(h5_open(path, H5_READ, &format, &file), STATUS_DATA);
  if (comm_rank(world) == 0) assert_int_equal(unlink(path), 0);
  io_test_write(path, "");
  assert_error(h5_open(path, H5_READ, &format, &file), STATUS_DATA);
  io_test_write(path, "this is a text, not HDF5");
  assert_error(h5_open(path, H5_READ, &format, &file), STATUS_DATA);

  const h5_format_t other = {"other", 2, "make it again"};
  assert_ok(h5_create(path, world, &other, &file));
  assert_ok(h5_create_dataset(file, "/x", H5TYPE_F64, 1, &shape));
  assert_ok(h5_close(file));
  assert_ok(comm_barrier(world));
  assert_error(h5_open(path, H5_READ, &format, &file), STATUS_DATA);
  assert_null(file);
  for (int version = 1; version <= 3; version += 2) {
    const h5_format_t wanted = {"other", version, "bake it again"};
    /* An older file's message says what to do. */
    assert_error_about(h5_open(path, H5_READ, &wanted, &file), STATUS_DATA,
                       version == 3 ? "bake it again" : "newer version");
    assert_error_about(h5_open(path, H5_READ, &wanted, &file), STATUS_DATA, path);
  }
  assert_ok(h5_open(path, H5_READ, NULL, &file));
  assert_ok(h5_close(file));
  assert_ok(comm_barrier(world));
  io_test_cut(path, 5000);
  assert_error(h5_open(path, H5_READ, &other, &file), STATUS_DATA);
  io_test_cut(path, 40);
  assert_error(h5_open(path, H5_READ, &other, &file), STATUS_DATA);
  assert_error(h5_create("/nonexistent/folder/x.h5", world, &format, &file), STATUS_DATA);
  io_test_remove(folder);
}

static void listing_is_sorted(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], **paths;
  int64_t shape = 2, count;
  h5_span_t span;
  h5_file_t *file;
  io_test_folder(folder);
  if (comm_rank(mpi_test_world()) == 0) {
    io_test_path(path, folder, "list.h5");
    assert_ok(h5_create(path, NULL, &format, &file));
    assert_ok(h5_create_dataset(file, "/b/z", H5TYPE_U8, 1, &shape));
    assert_ok(h5_create_dataset(file, "/b/a", H5TYPE_U8, 1, &shape));
    assert_ok(h5_create_dataset(file, "/a", H5TYPE_U8, 1, &shape));
    assert_ok(h5_write_rows(file, "/b/a", H5TYPE_U8, 0, 2, "xy"));
    assert_ok(h5_list(file, "/", &paths, &count));
    assert_int_equal(count, 3);
    assert_string_equal(paths[0], "/a");
    assert_string_equal(paths[1], "/b/a");
    assert_string_equal(paths[2], "/b/z");
    memory_free(paths);
    assert_ok(h5_list(file, "/b", &paths, &count));
    assert_int_equal(count, 2);
    assert_string_equal(paths[0], "/b/a");
    memory_free(paths);
    const char *object = "/b/a";
    assert_ok(h5_spans(file, &object, 1, &span));
    assert_error(h5_create_dataset(file, "/a", H5TYPE_U8, 1, &shape), STATUS_INTERNAL);
    assert_ok(h5_close(file));
    char bytes[2];
    int descriptor = open(path, O_RDONLY);
    assert_int_equal(pread(descriptor, bytes, 2, span.begin), 2);
    close(descriptor);
    assert_memory_equal(bytes, "xy", 2);
  }
  io_test_remove(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(attributes_return),      cmocka_unit_test(rows_return),
      cmocka_unit_test(ranges_cover_any_shape), cmocka_unit_test(growing_rows_return),
      cmocka_unit_test(bad_files_are_refused),  cmocka_unit_test(listing_is_sorted),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

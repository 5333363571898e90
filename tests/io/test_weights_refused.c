/* Weights files that are whole as HDF5 files and yet not what was written, or nothing that a model can use.
 */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "base/memory.h"
#include "io/formats/weights_file.h"
#include "io_test.h"

#include <float.h>
#include <math.h>

static const h5_format_t format = {"test_weights", 1, "make it again"};

/* What should have hashes and has none is not what was written. */
static void contents_without_hashes_are_refused(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], *text;
  const int64_t shape = 2;
  const float values[2] = {1, 2};
  int64_t n;
  h5_file_t *file;
  weights_file_t *weights;
  comm_t *world = mpi_test_world();
  io_test_folder(folder);
  io_test_path(path, folder, "bare.h5");
  assert_ok(h5_create(path, world, &format, &file));
  assert_ok(h5_write_bytes(file, "/tokenizer", "tok", 3));
  assert_ok(h5_create_group(file, "/weights"));
  assert_ok(h5_attr_write_text(file, "/weights", "config", "{}"));
  assert_ok(h5_close(file));
  assert_ok(comm_barrier(world));
  assert_ok(h5_open(path, H5_READ, NULL, &file));
  assert_error(weights_read_bytes(file, "/tokenizer", &text, &n), STATUS_DATA);
  assert_error(weights_read_text(file, "/weights", "config", &text, NULL), STATUS_DATA);
  assert_null(text);
  assert_ok(h5_close(file));
  assert_ok(weights_open(world, path, &format, &weights)); /* no tensors yet */
  weights_close(weights);
  assert_ok(comm_barrier(world));
  if (comm_rank(world) == 0) {
    assert_ok(h5_open(path, H5_EDIT, NULL, &file));
    assert_ok(h5_create_dataset(file, "/weights/x", H5TYPE_F32, 1, &shape));
    assert_ok(h5_write_rows(file, "/weights/x", H5TYPE_F32, 0, 2, values));
    assert_ok(h5_close(file));
  }
  assert_ok(comm_barrier(world));
  assert_error_about(weights_open(world, path, &format, &weights), STATUS_DATA, path);
  assert_error_about(weights_open(world, path, &format, &weights), STATUS_DATA, "/weights/x");
  io_test_remove(folder);
}

/* Texts come back with the hash that goes into identities; another text has another one. */
static void texts_are_part_of_identities(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], *text;
  uint64_t hash[2];
  h5_file_t *file;
  io_test_folder(folder);
  io_test_path(path, folder, "t.h5");
  assert_ok(h5_create(path, mpi_test_world(), &format, &file));
  assert_ok(weights_write_text(file, "/", "one", "1e-05"));
  assert_ok(weights_write_text(file, "/", "two", "1e-04"));
  assert_ok(h5_close(file));
  assert_ok(comm_barrier(mpi_test_world()));
  assert_ok(h5_open(path, H5_READ, NULL, &file));
  assert_ok(weights_read_text(file, "/", "one", &text, &hash[0]));
  assert_string_equal(text, "1e-05");
  memory_free(text);
  assert_ok(weights_read_text(file, "/", "two", &text, &hash[1]));
  memory_free(text);
  assert_true(weights_identity_add(1, hash[0]) != weights_identity_add(1, hash[1]));
  assert_ok(h5_close(file));
  assert_ok(comm_barrier(mpi_test_world()));
  if (comm_rank(mpi_test_world()) == 0) { /* as a damaged file would have it */
    assert_ok(h5_open(path, H5_EDIT, NULL, &file));
    assert_ok(h5_attr_write_text(file, "/", "one", "1e-04"));
    assert_ok(h5_close(file));
  }
  assert_ok(comm_barrier(mpi_test_world()));
  assert_ok(h5_open(path, H5_READ, NULL, &file));
  assert_error(weights_read_text(file, "/", "one", &text, NULL), STATUS_DATA);
  assert_ok(h5_close(file));
  io_test_remove(folder);
}

/* A weight that is no number, wherever it is and of whichever type, is found by all ranks when it is read. */
static void weights_that_are_no_numbers_are_refused(void **state) {
  (void)state;
  enum { N = 9000 };
  const float bad[3] = {NAN, INFINITY, -INFINITY};
  const dtype_t types[2] = {DTYPE_F32, DTYPE_BF16};
  const int64_t places[2] = {0, N - 2};
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  static float values[N], out[N];
  io_test_folder(folder);
  io_test_path(path, folder, "n.h5");
  for (int k = 0; k < 12; ++k) {
    weights_file_t *file;
    for (int64_t i = 0; i < N; ++i)
      values[i] = FLT_MAX;
    values[places[k % 2]] = bad[k / 2 % 3];
    const weights_item_t item = {.path = "/weights/x",
                                 .ndim = 1,
                                 .shape = {N},
                                 .dtype = types[k / 6],
                                 .rows = N,
                                 .cols = 1,
                                 .row_count = N,
                                 .col_count = 1,
                                 .data = values,
                                 .mine = comm_rank(world) == 0};
    if (types[k / 6] == DTYPE_BF16)
      for (int64_t i = 0; i < N; ++i)
        if (values[i] == FLT_MAX) values[i] = 1;
    const weights_request_t request = {.path = "/weights/x",
                                       .rows = N,
                                       .cols = 1,
                                       .row_count = comm_rank(world) == 0 ? N : 0,
                                       .col_count = 1,
                                       .data = out};
    const weights_spec_t plain = {.format = &format};
    assert_ok(weights_write(world, path, &plain, &item, 1));
    for (int way = 0; way < 2; ++way) {
      assert_ok(weights_open(world, path, &format, &file));
      file->nodes = 1 + way;
      assert_error_about(weights_read(file, &request, 1), STATUS_DATA, path);
      assert_error_about(weights_verify(file), STATUS_DATA, "/weights/x");
      weights_close(file);
    }
  }
  io_test_remove(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(contents_without_hashes_are_refused),
      cmocka_unit_test(texts_are_part_of_identities),
      cmocka_unit_test(weights_that_are_no_numbers_are_refused),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

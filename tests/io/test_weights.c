/* Weights files: saved on n ranks, loaded on m, in any split; what is said about files and requests that do
 * not fit. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "base/memory.h"
#include "io/formats/weights_file.h"
#include "io_test.h"

#include <math.h>
#include <stdlib.h>

enum { TENSORS = 6 };

/* How a tensor is shared in these tests. */
typedef enum { SHARE_ROWS, SHARE_COLS, SHARE_REPLICA, SHARE_PIECES } share_t;

typedef struct {
  const char *path;
  int ndim;
  int64_t shape[4];
  dtype_t dtype;
  int64_t rows, cols;
  share_t share;
} sample_t;

static const sample_t samples[TENSORS] = {
    {"/weights/a.weight", 2, {7, 5}, DTYPE_F32, 7, 5, SHARE_ROWS},
    {"/weights/b.weight", 2, {6, 9}, DTYPE_F32, 6, 9, SHARE_COLS},
    {"/weights/c.weight", 1, {11}, DTYPE_F32, 11, 1, SHARE_REPLICA},
    {"/weights/conv.weight", 4, {4, 3, 2, 2}, DTYPE_BF16, 4, 12, SHARE_ROWS},
    {"/optimizer/policy/a/m", 2, {8, 6}, DTYPE_F32, 8, 6, SHARE_PIECES},
    {"/heads/value/bias", 0, {0}, DTYPE_BF16, 1, 1, SHARE_REPLICA},
};

/* Exact in bfloat16 too: at most 8 bits. */
static float value_at(int64_t tensor, int64_t element) {
  return (float)((tensor * 31 + element * 7) % 251 - 100);
}

static void share_of(int64_t n, int rank, int size, int64_t *begin, int64_t *count) {
  *begin = n * rank / size;
  *count = n * (rank + 1) / size - *begin;
}

/* A rank's rectangle in a split over SIZE ranks; true if the rank is the one that gives it. */
static bool rectangle(const sample_t *sample, share_t share, int rank, int size, int64_t box[4]) {
  box[0] = box[2] = 0;
  box[1] = sample->rows;
  box[3] = sample->cols;
  if (share == SHARE_ROWS) share_of(sample->rows, rank, size, &box[0], &box[1]);
  if (share == SHARE_COLS) share_of(sample->cols, rank, size, &box[2], &box[3]);
  return share != SHARE_REPLICA || rank == size - 1;
}

static float *rectangle_values(int64_t tensor, const sample_t *sample, const int64_t box[4]) {
  float *values = calloc((size_t)(box[1] * box[3]) + 1, sizeof *values);
  for (int64_t row = 0; row < box[1]; ++row)
    for (int64_t col = 0; col < box[3]; ++col)
      values[row * box[3] + col] = value_at(tensor, (box[0] + row) * sample->cols + box[2] + col);
  return values;
}

static weights_item_t item_of(int64_t tensor, const int64_t box[4], const float *data, bool mine) {
  const sample_t *sample = &samples[tensor];
  weights_item_t item = {.path = sample->path,
                         .ndim = sample->ndim,
                         .dtype = sample->dtype,
                         .rows = sample->rows,
                         .cols = sample->cols,
                         .row_begin = box[0],
                         .row_count = box[1],
                         .col_begin = box[2],
                         .col_count = box[3],
                         .data = data,
                         .mine = mine,
                         .meaning = sample->path};
  memcpy(item.shape, sample->shape, sizeof item.shape);
  return item;
}

static status_t annotate(h5_file_t *file, void *context) {
  TRY(h5_attr_write_text(file, "/weights", "config", context));
  return weights_write_bytes(file, "/tokenizer", "text", "tok", 3);
}

static const h5_format_t format = {"test_weights", 1, "make it again"};
static const weights_spec_t spec = {&format, annotate, "{}"};

/* Writes all samples from the ranks of COMM; without PATH only names them. */
static status_t samples_give(comm_t *comm, const char *path, uint64_t *identity) {
  weights_item_t items[TENSORS * 2];
  float *data[TENSORS * 2];
  int64_t box[4], count = 0;
  int rank = comm_rank(comm), size = comm_size(comm);
  for (int64_t t = 0; t < TENSORS; ++t) {
    if (samples[t].share == SHARE_PIECES) {
      /* Two pieces per rank: a row range in two halves of columns; the last rank gives what is left as one.
       */
      for (int half = 0; half < (rank == size - 1 ? 1 : 2); ++half) {
        rectangle(&samples[t], SHARE_ROWS, rank, size, box);
        if (rank < size - 1) share_of(samples[t].cols, half, 2, &box[2], &box[3]);
        data[count] = rectangle_values(t, &samples[t], box);
        items[count] = item_of(t, box, data[count], true);
        ++count;
      }
      continue;
    }
    bool mine = rectangle(&samples[t], samples[t].share, rank, size, box);
    data[count] = mine ? rectangle_values(t, &samples[t], box) : NULL;
    items[count] = item_of(t, box, data[count], mine);
    ++count;
  }
  status_code_t status = path ? weights_write(comm, path, &spec, items, count)
                              : weights_items_identity(comm, items, count, identity);
  for (int64_t i = 0; i < count; ++i)
    free(data[i]);
  return status;
}

static status_t samples_write(comm_t *comm, const char *path) {
  return samples_give(comm, path, NULL);
}

/* Reads all samples in SHARE on the ranks of COMM and compares; HANDED takes the way of many nodes with
 * replicas. */
static void samples_compare(comm_t *comm, const char *path, share_t share, bool handed) {
  weights_file_t *file;
  weights_request_t requests[TENSORS];
  float *expected[TENSORS];
  assert_ok(weights_open(comm, path, &format, &file));
  assert_int_equal(weights_count(file), TENSORS);
  if (handed) file->one_node = false;
  for (int64_t t = 0; t < TENSORS; ++t) {
    int64_t box[4];
    rectangle(&samples[t], share, comm_rank(comm), comm_size(comm), box);
    expected[t] = rectangle_values(t, &samples[t], box);
    /* Rows two elements further apart than needed: the gap must stay untouched. */
    float *data = malloc((size_t)(box[1] * (box[3] + 2) + 1) * sizeof *data);
    for (int64_t i = 0; i < box[1] * (box[3] + 2); ++i)
      data[i] = -1000;
    requests[t] = (weights_request_t){.path = samples[t].path,
                                      .rows = samples[t].rows,
                                      .cols = samples[t].cols,
                                      .row_begin = box[0],
                                      .row_count = box[1],
                                      .col_begin = box[2],
                                      .col_count = box[3],
                                      .stride = box[3] + 2,
                                      .data = data};
  }
  assert_ok(weights_read(file, requests, TENSORS));
  for (int64_t t = 0; t < TENSORS; ++t) {
    const weights_request_t *request = &requests[t];
    for (int64_t row = 0; row < request->row_count; ++row) {
      for (int64_t col = 0; col < request->col_count; ++col)
        assert_true(request->data[row * request->stride + col] ==
                    expected[t][row * request->col_count + col]);
      assert_true(request->data[row * request->stride + request->col_count] == -1000);
    }
    free(expected[t]);
    free(requests[t].data);
  }
  assert_ok(weights_check_all_read(file, "/", NULL, NULL));
  weights_close(file);
}

/* A communicator of the first N ranks; NULL on the others. */
static comm_t *first_ranks(int n) {
  comm_t *part;
  comm_t *world = mpi_test_world();
  assert_ok(comm_split(world, comm_rank(world) < n, comm_rank(world), "part", &part));
  if (comm_rank(world) < n) return part;
  comm_free(part);
  return NULL;
}

static void saved_on_n_loads_on_m(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], *first = NULL, *again = NULL;
  size_t first_size = 0, again_size = 0;
  comm_t *world = mpi_test_world();
  int size = comm_size(world) < 4 ? comm_size(world) : 4;
  io_test_folder(folder);
  for (int n = 1; n <= size; ++n) {
    comm_t *writers = first_ranks(n);
    io_test_path(path, folder, "w.h5");
    if (writers) assert_ok(samples_write(writers, path));
    comm_free(writers);
    assert_ok(comm_barrier(world));
    /* The file does not depend on who wrote it, to the byte. */
    assert_ok(file_read(path, 1 << 20, n == 1 ? &first : &again, n == 1 ? &first_size : &again_size));
    if (n > 1) {
      assert_int_equal(first_size, again_size);
      assert_memory_equal(first, again, first_size);
      memory_free(again);
    }
    for (int m = 1; m <= size; ++m) {
      comm_t *readers = first_ranks(m);
      if (readers) {
        samples_compare(readers, path, SHARE_ROWS, false);
        samples_compare(readers, path, SHARE_COLS, true);
        samples_compare(readers, path, SHARE_REPLICA, true);
      }
      comm_free(readers);
      assert_ok(comm_barrier(world));
    }
  }
  memory_free(first);
  io_test_remove(folder);
}

/* Weights in memory have the name of the file they would make, whoever holds what. */
static void weights_in_memory_have_the_name_of_their_file(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  weights_file_t *file;
  io_test_folder(folder);
  io_test_path(path, folder, "w.h5");
  assert_ok(samples_write(world, path));
  assert_ok(weights_open(world, path, &format, &file));
  uint64_t whole = weights_identity(file, "/", WEIGHTS_IDENTITY_START);
  assert_true(weights_identity(file, "/weights/", WEIGHTS_IDENTITY_START) != whole);
  weights_close(file);
  for (int n = 1; n <= comm_size(world); ++n) {
    comm_t *part = first_ranks(n);
    uint64_t identity = whole;
    if (part) assert_ok(samples_give(part, NULL, &identity));
    assert_true(identity == whole);
    comm_free(part);
  }
  float value = 1.0F;
  weights_item_t item = item_of(5, (const int64_t[]){0, 1, 0, 1}, &value, comm_rank(world) == 0);
  uint64_t one, other;
  assert_ok(weights_items_identity(world, &item, 1, &one));
  value = 2.0F;
  assert_ok(weights_items_identity(world, &item, 1, &other));
  assert_true(one != other);
  io_test_remove(folder);
}

static void texts_are_hashed_and_datasets_explained(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], *text;
  int64_t n;
  h5_file_t *file;
  io_test_folder(folder);
  io_test_path(path, folder, "w.h5");
  assert_ok(samples_write(mpi_test_world(), path));
  assert_ok(h5_open(path, H5_READ, NULL, &file));
  for (int64_t t = 0; t < TENSORS; ++t) {
    assert_ok(h5_attr_read_text(file, samples[t].path, "meaning", &text));
    assert_string_equal(text, samples[t].path);
    memory_free(text);
  }
  assert_ok(weights_read_bytes(file, "/tokenizer", &text, &n));
  assert_int_equal(n, 3);
  assert_string_equal(text, "tok");
  memory_free(text);
  assert_ok(h5_close(file));
  off_t place = io_test_place(path, "/tokenizer");
  assert_ok(comm_barrier(mpi_test_world()));
  io_test_flip(path, place + 1);
  assert_ok(h5_open(path, H5_READ, NULL, &file));
  assert_error(weights_read_bytes(file, "/tokenizer", &text, &n), STATUS_DATA);
  assert_null(text);
  assert_ok(h5_close(file));
  io_test_remove(folder);
}

/* More than one block, cut in the middle of a row; columns over the ranks; 16-bit and 32-bit. */
static void large_tensors_have_many_blocks(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  const int64_t rows = 3000, cols = 3001;
  int64_t begin, width, count;
  weights_file_t *file;
  share_of(cols, comm_rank(world), comm_size(world), &begin, &width);
  float *data = malloc((size_t)(rows * width) * sizeof *data);
  for (int64_t i = 0; i < rows * width; ++i)
    data[i] = (float)((i / width * cols + begin + i % width) % 241);
  weights_item_t items[2] = {
      {"/weights/f", 2, {rows, cols}, DTYPE_F32, rows, cols, 0, rows, begin, width, 0, data, true, NULL}};
  items[1] = items[0];
  items[1].path = "/weights/h";
  items[1].dtype = DTYPE_BF16;
  weights_spec_t plain = {&format, NULL, NULL};
  io_test_folder(folder);
  io_test_path(path, folder, "large.h5");
  assert_ok(weights_write(world, path, &plain, items, 2));
  assert_ok(weights_open(world, path, &format, &file));
  assert_ok(h5_attr_count(weights_h5(file), "/weights/f", "xxh3", &count));
  assert_int_equal(count, 3);
  assert_ok(h5_attr_count(weights_h5(file), "/weights/h", "xxh3", &count));
  assert_int_equal(count, 2);
  for (int k = 0; k < 4; ++k) {
    file->one_node = k < 2;
    float *read = calloc((size_t)(rows * width), sizeof *read);
    weights_request_t request = {items[k % 2].path, rows, cols, 0, rows, begin, width, 0, read};
    assert_ok(weights_read(file, &request, 1));
    assert_memory_equal(read, data, (size_t)(rows * width) * sizeof *read);
    free(read);
  }
  assert_ok(weights_verify(file));
  weights_close(file);
  free(data);
  io_test_remove(folder);
}

static void bf16_rounds_to_nearest_even(void **state) {
  (void)state;
  const float in[8] = {1.0f + 0x1p-8f,  1.0f + 3 * 0x1p-8f, 1.0f + 0x1.8p-8f, -0.0f, INFINITY, NAN,
                       0x1.fffffep127f, 0x1p-133f};
  const float expected[8] = {1.0f, 1.0f + 0x1p-6f, 1.0f + 0x1p-7f, -0.0f, INFINITY, NAN, INFINITY, 0x1p-133f};
  float out[8];
  uint16_t stored[8];
  weights_encode(DTYPE_BF16, in, 8, stored);
  weights_decode(DTYPE_BF16, stored, 8, out);
  for (int i = 0; i < 8; ++i) {
    if (isnan(expected[i]))
      assert_true(isnan(out[i]));
    else
      assert_true(out[i] == expected[i] && signbit(out[i]) == signbit(expected[i]));
  }
  assert_int_equal(weights_find_infinite(DTYPE_BF16, stored, 8), 4);
  assert_int_equal(weights_find_infinite(DTYPE_BF16, stored, 4), 4);
}

static bool is_not(const char *name, const void *context) {
  return strcmp(name, context) != 0;
}

static void what_does_not_fit_is_refused(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  bool lead = comm_rank(world) == 0;
  float out[64];
  const h5_format_t other = {"other", 1, "make it again"};
  weights_file_t *file;
  io_test_folder(folder);
  io_test_path(path, folder, "w.h5");
  assert_ok(samples_write(world, path));
  assert_error(weights_open(world, path, &other, &file), STATUS_DATA);
  assert_null(file);
  assert_ok(weights_open(world, path, &format, &file));
  /* The mistake is one rank's; all get the error. */
  weights_request_t good = {"/weights/a.weight", 7, 5, 0, 7, 0, 5, 0, out};
  weights_request_t misspelt = {"/weights/a.wieght", 7, 5, 0, 7, 0, 5, 0, out};
  weights_request_t shaped = {"/weights/a.weight", 5, 7, 0, 5, 0, 7, 0, out};
  weights_request_t text = {"/tokenizer", 3, 1, 0, 3, 0, 1, 0, out};
  assert_error(weights_read(file, lead ? &misspelt : &good, 1), STATUS_DATA);
  assert_error(weights_read(file, lead ? &shaped : &good, 1), STATUS_DATA);
  assert_error(weights_read(file, lead ? &text : &good, 1), STATUS_DATA);
  assert_ok(weights_read(file, &good, lead ? 1 : 0));
  assert_error(weights_check_all_read(file, "/weights/", NULL, NULL), STATUS_DATA);
  assert_ok(weights_check_all_read(file, "/weights/a", NULL, NULL));
  assert_ok(weights_check_all_read(file, "/weights/", is_not, "a.weight"));
  assert_error(weights_check_all_read(file, "/weights/", is_not, "b.weight"), STATUS_DATA);
  weights_close(file);

  /* Elements that nobody gives, and lists that differ. */
  weights_item_t item = {"/weights/x", 2, {2, 2}, DTYPE_F32, 2, 2, 0, 1, 0, 2, 0, out, lead, NULL};
  assert_error(weights_write(world, path, &spec, &item, 1), STATUS_INTERNAL);
  if (comm_size(world) > 1) {
    item.shape[0] = item.rows = lead ? 1 : 2;
    assert_error(weights_write(world, path, &spec, &item, 1), STATUS_INTERNAL);
  }
  /* The file that was there has survived, and nothing lies beside it. */
  samples_compare(world, path, SHARE_ROWS, false);
  assert_false(file_exists(io_test_path(path, folder, "w.h5.partial")));
  io_test_remove(folder);
}

static void damage_is_found(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  weights_file_t *file;
  float out[64];
  io_test_folder(folder);
  io_test_path(path, folder, "w.h5");
  assert_ok(samples_write(world, path));
  assert_ok(weights_open(world, path, &format, &file));
  assert_ok(weights_verify(file));
  weights_close(file);
  off_t place = io_test_place(path, "/weights/b.weight");
  assert_ok(comm_barrier(world));
  io_test_flip(path, place + 17);
  assert_ok(weights_open(world, path, &format, &file));
  assert_error(weights_verify(file), STATUS_DATA);
  weights_request_t sound = {"/weights/a.weight", 7, 5, 0, 7, 0, 5, 0, out};
  weights_request_t damaged = {"/weights/b.weight", 6, 9, 0, 1, 0, 1, 0, out};
  assert_ok(weights_read(file, &sound, 1));
  assert_error(weights_read(file, &damaged, 1), STATUS_DATA);
  file->one_node = false;
  assert_error(weights_read(file, &damaged, 1), STATUS_DATA);
  weights_close(file);
  io_test_cut(path, io_test_size(path) / 2);
  assert_error(weights_open(world, path, &format, &file), STATUS_DATA);
  io_test_cut(path, 0);
  assert_error(weights_open(world, path, &format, &file), STATUS_DATA);
  io_test_remove(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(saved_on_n_loads_on_m),
      cmocka_unit_test(weights_in_memory_have_the_name_of_their_file),
      cmocka_unit_test(texts_are_hashed_and_datasets_explained),
      cmocka_unit_test(large_tensors_have_many_blocks),
      cmocka_unit_test(bf16_rounds_to_nearest_even),
      cmocka_unit_test(what_does_not_fit_is_refused),
      cmocka_unit_test(damage_is_found),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

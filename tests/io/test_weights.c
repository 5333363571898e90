/* Weights files: saved on n ranks, loaded on m, in any split; what is said about files and requests that do
 * not fit. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "base/memory.h"
#include "io/formats/weights_file.h"
#include "io/formats/weights_plan.h"
#include "io_test.h"
#include "weights_samples.h"

#include <math.h>
#include <stdlib.h>

static void saved_on_n_loads_on_m(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], *first = NULL, *again = NULL;
  size_t first_size = 0, again_size = 0;
  comm_t *world = mpi_test_world();
  int size = comm_size(world) < 4 ? comm_size(world) : 4;
  io_test_folder(folder);
  for (int n = 1; n <= size; ++n) {
    comm_t *writers = first_ranks(world, n);
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
      comm_t *readers = first_ranks(world, m);
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
  assert_ok(weights_open(world, path, &samples_format, &file));
  uint64_t whole = weights_identity(file, "/", WEIGHTS_IDENTITY_START);
  assert_true(weights_identity(file, "/weights/", WEIGHTS_IDENTITY_START) != whole);
  weights_close(file);
  for (int n = 1; n <= comm_size(world); ++n) {
    comm_t *part = first_ranks(world, n);
    uint64_t identity = whole;
    if (part) assert_ok(samples_give(part, NULL, &identity));
    assert_true(identity == whole);
    comm_free(part);
  }
  float value = 1.0F;
  weights_item_t item = sample_item(5, (const int64_t[]){0, 1, 0, 1}, &value, comm_rank(world) == 0);
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

typedef struct {
  const dtype_t *types;
  int64_t elements[2]; /* that have come of each tensor */
} stored_t;

static status_t stored_take(void *context, int64_t t, int64_t first, int64_t n, const void *bytes) {
  stored_t *stored = context;
  float *values = malloc((size_t)n * sizeof *values);
  weights_decode(stored->types[t], bytes, n, values);
  for (int64_t i = 0; i < n; ++i)
    if (values[i] != (float)((first + i) % 241)) fail_msg("element %lld", (long long)(first + i));
  stored->elements[t] += n;
  free(values);
  return STATUS_OK;
}

/* The bytes themselves, of element I % 241: all of them, once, on whichever rank. */
static void check_stored(weights_file_t *file, int64_t elements) {
  const char *const paths[] = {"/weights/h", "/weights/f"}, *const absent[] = {"/weights/h", "/weights/g"};
  const dtype_t types[] = {DTYPE_BF16, DTYPE_F32};
  stored_t stored = {.types = types};
  assert_ok(weights_read_stored(file, paths, 2, stored_take, &stored));
  bool some = stored.elements[0] + stored.elements[1] > 0;
  assert_true(some || comm_size(mpi_test_world()) > 3); /* five blocks are dealt by their bytes */
  assert_ok(comm_allreduce(mpi_test_world(), stored.elements, 2, COMM_I64, COMM_SUM));
  assert_int_equal(stored.elements[0], elements);
  assert_int_equal(stored.elements[1], elements);
  assert_error_about(weights_read_stored(file, absent, 2, stored_take, &stored), STATUS_DATA, "/weights/g");
}

/* More than one block, cut in the middle of a row; columns over the ranks; 16-bit and 32-bit; values in place
 * and in pieces. */
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
  weights_item_t items[2] = {{.path = "/weights/f",
                              .ndim = 2,
                              .shape = {rows, cols},
                              .dtype = DTYPE_F32,
                              .rows = rows,
                              .cols = cols,
                              .row_count = rows,
                              .col_begin = begin,
                              .col_count = width,
                              .data = data,
                              .mine = true}};
  pieces_t given = {.values = data, .n = rows * width, .refused = -1};
  items[1] = items[0];
  items[1].path = "/weights/h";
  items[1].dtype = DTYPE_BF16;
  items[1].data = NULL;
  items[1].give = pieces_give;
  items[1].context = &given;
  weights_spec_t plain = {.format = &samples_format};
  io_test_folder(folder);
  io_test_path(path, folder, "large.h5");
  assert_ok(weights_write(world, path, &plain, items, 2));
  assert_ok(weights_open(world, path, &samples_format, &file));
  assert_ok(h5_attr_count(weights_h5(file), "/weights/f", "xxh3", &count));
  assert_int_equal(count, 3);
  assert_ok(h5_attr_count(weights_h5(file), "/weights/h", "xxh3", &count));
  assert_int_equal(count, 2);
  assert_int_equal(given.next, rows * width);
  for (int k = 0; k < 8; ++k) {
    file->nodes = k / 2 % 2 == 0 ? 1 : 2;
    float *read = calloc((size_t)(rows * width), sizeof *read);
    pieces_t taken = {.values = read, .n = rows * width, .refused = -1};
    weights_request_t request = {.path = items[k % 2].path,
                                 .rows = rows,
                                 .cols = cols,
                                 .row_count = rows,
                                 .col_begin = begin,
                                 .col_count = width,
                                 .data = read};
    if (k >= 4) request.take = pieces_take;
    request.context = &taken;
    assert_ok(weights_read(file, &request, 1));
    /* Where rows lie side by side, as many as a block has and as fit come together. */
    if (k >= 4) assert_true(taken.largest > WEIGHTS_PIECE_ELEMENTS - 2 * width);
    assert_memory_equal(read, data, (size_t)(rows * width) * sizeof *read);
    free(read);
  }
  assert_ok(weights_verify(file));
  check_stored(file, rows * cols);
  weights_close(file);
  free(data);
  io_test_remove(folder);
}

/* Past the page cache and through it, at once and behind, and where large data begin. Shapes whose bytes are
 * no multiple of what a disk takes at once. */
static void data_reach_the_disk_in_every_way(void **state) {
  (void)state;
  enum { ROWS = 1201, COLS = 999 };
  static const weights_disk_t ways[] = {
      {0}, {.cached = true}, {.behind = 1 << 30}, {.cached = true, .behind = 1}, {.alignment = 1 << 20}};
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  float *data = malloc((size_t)ROWS * COLS * sizeof *data),
        *read = malloc((size_t)ROWS * COLS * sizeof *read);
  int64_t begin, count;
  share_of(ROWS, comm_rank(world), comm_size(world), &begin, &count);
  for (int64_t i = 0; i < (int64_t)ROWS * COLS; ++i)
    data[i] = (float)(i % 239);
  weights_item_t items[3] = {{.path = "/weights/a",
                              .ndim = 2,
                              .shape = {ROWS, COLS},
                              .dtype = DTYPE_F32,
                              .rows = ROWS,
                              .cols = COLS,
                              .row_begin = begin,
                              .row_count = count,
                              .col_count = COLS,
                              .data = data + begin * COLS,
                              .mine = true}};
  items[1] = items[2] = items[0];
  items[1].path = "/weights/b";
  items[1].dtype = DTYPE_BF16;
  items[2].path = "/weights/c";
  io_test_folder(folder);
  for (size_t w = 0; w < sizeof ways / sizeof *ways; ++w) {
    weights_file_t *file;
    const weights_spec_t spec = {.format = &samples_format, .disk = ways[w]};
    io_test_path(path, folder, "every_way.h5");
    assert_ok(weights_write(world, path, &spec, items, 3));
    assert_ok(weights_open(world, path, &samples_format, &file));
    assert_ok(weights_verify(file));
    for (int k = 0; k < 3; ++k) {
      const weights_request_t request = {.path = items[k].path,
                                         .rows = ROWS,
                                         .cols = COLS,
                                         .row_count = ROWS,
                                         .col_count = COLS,
                                         .data = read};
      assert_ok(weights_read(file, &request, 1));
      assert_memory_equal(read, data, (size_t)ROWS * COLS * sizeof *data);
      assert_int_equal(io_test_place(path, items[k].path) % (ways[w].alignment ? ways[w].alignment : 4096),
                       0);
    }
    weights_close(file);
  }
  free(read);
  free(data);
  io_test_remove(folder);
}

/* Wherever it is among many. */
static void infinities_are_found(void **state) {
  (void)state;
  enum { N = 10000 };
  static const int64_t places[] = {0, 1, 4095, 4096, N - 1};
  static const float bad[] = {INFINITY, -INFINITY, NAN};
  static float values[N];
  static uint16_t halves[N];
  for (int i = 0; i < N; ++i)
    values[i] = i % 2 ? 3.0e38F : -1.0e-40F;
  for (int p = 0; p < 15; ++p) {
    int64_t place = places[p / 3];
    float good = values[place];
    values[place] = bad[p % 3];
    weights_encode(DTYPE_BF16, values, N, halves);
    assert_int_equal(weights_find_infinite(DTYPE_F32, values, N), place);
    assert_int_equal(weights_find_infinite(DTYPE_BF16, halves, N), place);
    values[place] = good;
  }
  weights_encode(DTYPE_BF16, values, N, halves);
  assert_int_equal(weights_find_infinite(DTYPE_F32, values, N), N);
  assert_int_equal(weights_find_infinite(DTYPE_BF16, halves, N), N);
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

static weights_request_t whole(const char *path, int64_t rows, int64_t cols, float *data) {
  return (weights_request_t){
      .path = path, .rows = rows, .cols = cols, .row_count = rows, .col_count = cols, .data = data};
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
  assert_ok(weights_open(world, path, &samples_format, &file));
  /* The mistake is one rank's; all get the error. */
  weights_request_t good = whole("/weights/a.weight", 7, 5, out);
  weights_request_t misspelt = whole("/weights/a.wieght", 7, 5, out);
  weights_request_t shaped = whole("/weights/a.weight", 5, 7, out);
  weights_request_t text = whole("/tokenizer", 3, 1, out);
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
  weights_item_t item = {.path = "/weights/x",
                         .ndim = 2,
                         .shape = {2, 2},
                         .dtype = DTYPE_F32,
                         .rows = 2,
                         .cols = 2,
                         .row_count = 1,
                         .col_count = 2,
                         .data = out,
                         .mine = lead};
  assert_error(weights_write(world, path, &samples_spec, &item, 1), STATUS_INTERNAL);
  if (comm_size(world) > 1) {
    item.shape[0] = item.rows = lead ? 1 : 2;
    assert_error(weights_write(world, path, &samples_spec, &item, 1), STATUS_INTERNAL);
  }
  /* The file that was there has survived, and nothing lies beside it. */
  samples_compare(world, path, SHARE_ROWS, false);
  assert_false(file_exists(io_test_path(path, folder, "w.h5.partial")));
  io_test_remove(folder);
}

/* An error of one rank's function is everybody's: no file appears, and nobody is left waiting. */
static void a_function_may_refuse(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  bool last = comm_rank(world) == comm_size(world) - 1;
  float values[63] = {0.0f};
  weights_file_t *file;
  uint64_t identity;
  io_test_folder(folder);
  io_test_path(path, folder, "w.h5");
  assert_ok(samples_write(world, path));
  for (int way = 0; way < 2; ++way) {
    pieces_t given = {.values = values, .n = 54, .refused = 20};
    weights_item_t item = sample_item(1, (const int64_t[]){0, 6, 0, 9}, NULL, last);
    item.give = pieces_give;
    item.context = &given;
    assert_error_about(way == 0 ? weights_write(world, path, &samples_spec, &item, 1)
                                : weights_items_identity(world, &item, 1, &identity),
                       STATUS_NUMERIC, "element 20");
    assert_int_equal(given.next > 0, last);
  }
  assert_false(file_exists(io_test_path(path, folder, "w.h5.partial")));
  samples_compare(world, io_test_path(path, folder, "w.h5"), SHARE_ROWS, false);
  for (int nodes = 1; nodes <= 2; ++nodes) {
    pieces_t taken[2] = {{.values = values, .n = 54, .refused = last ? 20 : -1},
                         {.values = values, .n = 35, .refused = -1}};
    weights_request_t requests[2] = {whole("/weights/b.weight", 6, 9, NULL),
                                     whole("/weights/a.weight", 7, 5, NULL)};
    for (int i = 0; i < 2; ++i) {
      requests[i].take = pieces_take;
      requests[i].context = &taken[i];
    }
    assert_ok(weights_open(world, path, &samples_format, &file));
    file->nodes = nodes;
    assert_error_about(weights_read(file, requests, 2), STATUS_NUMERIC, "element 20");
    weights_close(file);
  }
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
  assert_ok(weights_open(world, path, &samples_format, &file));
  assert_ok(weights_verify(file));
  weights_close(file);
  off_t place = io_test_place(path, "/weights/b.weight");
  assert_ok(comm_barrier(world));
  io_test_flip(path, place + 17);
  assert_ok(weights_open(world, path, &samples_format, &file));
  assert_error(weights_verify(file), STATUS_DATA);
  weights_request_t sound = whole("/weights/a.weight", 7, 5, out);
  weights_request_t damaged = whole("/weights/b.weight", 6, 9, out);
  damaged.row_count = damaged.col_count = 1;
  assert_ok(weights_read(file, &sound, 1));
  assert_error(weights_read(file, &damaged, 1), STATUS_DATA);
  file->nodes = 2;
  assert_error(weights_read(file, &damaged, 1), STATUS_DATA);
  assert_error(weights_read_stored(file, &damaged.path, 1, stored_take, NULL), STATUS_DATA);
  weights_close(file);
  io_test_cut(path, io_test_size(path) / 2);
  assert_error(weights_open(world, path, &samples_format, &file), STATUS_DATA);
  io_test_cut(path, 0);
  assert_error(weights_open(world, path, &samples_format, &file), STATUS_DATA);
  io_test_remove(folder);
}

/* Rounds of 1,000 and 4,096 ranks: whole ones, and the state of a small model in one. */
static void blocks_are_dealt_to_a_thousand_ranks(void **state) {
  static const int sizes[] = {1000, 4096};
  (void)state;
  for (int s = 0; s < 2; s++) {
    const int64_t totals[] = {weights_round_bytes(sizes[s]), INT64_C(3) << 30};
    for (int t = 0; t < 2; t++) {
      int64_t bytes = 0, most = 0, share = totals[t] / sizes[s];
      int owner = 0;
      for (int64_t begin = 0; begin < totals[t]; begin += WEIGHTS_BLOCK_BYTES) {
        int next = weights_deal(begin, WEIGHTS_BLOCK_BYTES, totals[t], sizes[s]);
        assert_in_range(next, owner, sizes[s] - 1);
        bytes = next == owner ? bytes + WEIGHTS_BLOCK_BYTES : WEIGHTS_BLOCK_BYTES;
        if (bytes > most) most = bytes;
        owner = next;
      }
      assert_true(most <= share + WEIGHTS_BLOCK_BYTES);
      assert_true(owner >= sizes[s] - (int64_t)sizes[s] * WEIGHTS_BLOCK_BYTES / totals[t] - 1);
    }
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(saved_on_n_loads_on_m),
      cmocka_unit_test(weights_in_memory_have_the_name_of_their_file),
      cmocka_unit_test(texts_are_hashed_and_datasets_explained),
      cmocka_unit_test(large_tensors_have_many_blocks),
      cmocka_unit_test(bf16_rounds_to_nearest_even),
      cmocka_unit_test(infinities_are_found),
      cmocka_unit_test(data_reach_the_disk_in_every_way),
      cmocka_unit_test(what_does_not_fit_is_refused),
      cmocka_unit_test(a_function_may_refuse),
      cmocka_unit_test(damage_is_found),
      cmocka_unit_test(blocks_are_dealt_to_a_thousand_ranks),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

#define _GNU_SOURCE
#include "record/samples.h"

#include "base/memory.h"
#include "io/formats/dataset.h"
#include "io/jpeg.h"
#include "io/json.h"
#include "io/tiny_images.h"
#include "mpi_test.h"
#include "record/report.h"

#include <ftw.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place) {
  (void)info;
  (void)type;
  (void)place;
  return remove(path);
}

/* A run directory that all ranks know. */
static void make_folder(char folder[FILE_MAX_PATH]) {
  memset(folder, 0, FILE_MAX_PATH);
  snprintf(folder, FILE_MAX_PATH, "/tmp/llava_samples_XXXXXX");
  if (comm_rank(mpi_test_world()) == 0) assert_non_null(mkdtemp(folder));
  assert_ok(comm_broadcast(mpi_test_world(), folder, FILE_MAX_PATH, COMM_BYTE, 0));
}

static void remove_folder(const char *folder) {
  assert_ok(comm_barrier(mpi_test_world()));
  if (comm_rank(mpi_test_world()) == 0) nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static record_t make_record(const settings_t *settings, const char *folder) {
  record_t record = {.settings = settings, .rank = comm_rank(mpi_test_world())};
  rundir_t *rundir;
  assert_ok(rundir_open(mpi_test_world(), folder, RUNDIR_NEW, &rundir));
  record_open(&record, rundir);
  return record;
}

/* Lines of samples.jsonl, and how many of them are of STEP. */
static int count_lines(const char *folder, int64_t step, int *of_step) {
  char path[FILE_MAX_PATH];
  json_reader_t *reader;
  json_element_t element;
  int lines = 0;
  *of_step = 0;
  assert_ok(file_join(path, folder, "samples.jsonl", NULL));
  assert_ok(json_reader_open(path, JSON_ELEMENTS, &reader));
  for (;;) {
    int64_t at;
    assert_ok(json_reader_next(reader, &element));
    if (!element.value) break;
    assert_ok(json_int(element.value, "step", path, &at));
    lines++;
    *of_step += at == step;
  }
  json_reader_close(reader);
  return lines;
}

/* log.samples of every step and model, by rank 0. */
static void samples_are_bounded(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  settings_t settings = {.log = {.samples = 3}};
  make_folder(folder);
  record_t record = make_record(&settings, folder);
  for (int64_t step = 1; step <= 2; step++)
    for (int m = 0; m < 2; m++)
      for (int i = 0; i < 5; i++) {
        const record_sample_t sample = {
            .step = step, .model = m ? "b" : "a", .question = "q", .answer = "a", .image = -1, .score = NAN};
        assert_true(record_wants_sample(&record, step, sample.model) ==
                    (comm_rank(mpi_test_world()) == 0 && i < 3));
        assert_ok(record_sample(&record, &sample));
      }
  assert_ok(comm_barrier(mpi_test_world()));
  if (comm_rank(mpi_test_world()) == 0) {
    int of_step;
    assert_int_equal(count_lines(folder, 2, &of_step), 12);
    assert_int_equal(of_step, 6);
  }
  rundir_close(record.rundir);
  remove_folder(folder);
}

/* A JPEG file of one colour, larger than the report shows. */
static void make_jpeg(int32_t width, int32_t height, uint8_t **bytes, size_t *n) {
  image_t image;
  assert_ok(image_create(width, height, &image));
  memset(image.rgb, 120, 3 * (size_t)width * (size_t)height);
  assert_ok(jpeg_encode(&image, 90, bytes, n));
  image_free(&image);
}

/* A dataset of one image and no sample. */
static void make_dataset(const char *path, const uint8_t *bytes, size_t n, int32_t width, int32_t height) {
  static const char name[] = "a.jpg";
  const int64_t size = (int64_t)n;
  dataset_writer_t *writer;
  bool first = comm_rank(mpi_test_world()) == 0;
  assert_ok(dataset_writer_open(mpi_test_world(), path, &writer));
  assert_ok(dataset_writer_images(writer, &size, 1));
  if (first) assert_ok(dataset_writer_image(writer, 0, bytes, width, height));
  assert_ok(dataset_writer_texts(writer, &(dataset_counts_t){0}, sizeof name - 1));
  if (first) assert_ok(dataset_writer_name(writer, (text_view_t){name, sizeof name - 1}));
  assert_ok(dataset_writer_close(writer, "{}", 0));
}

/* The N-th JPEG of the page TEXT (all begin alike); its size. */
static void decode_size(const char *text, int n, int32_t *width, int32_t *height) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint8_t *bytes;
  size_t used = 0;
  const char *at = text;
  for (int i = 0; i < n; i++) {
    at = strstr(at, "\"/9j/");
    assert_non_null(at);
    at++;
  }
  size_t length = strspn(at, digits);
  assert_ok(memory_alloc(&bytes, ARENA_OTHER, length, 1));
  for (size_t i = 0; i + 1 < length; i++) {
    unsigned here = (unsigned)(strchr(digits, at[i]) - digits),
             next = (unsigned)(strchr(digits, at[i + 1]) - digits);
    if (i % 4 == 0) bytes[used++] = (uint8_t)(here << 2 | next >> 4);
    if (i % 4 == 1) bytes[used++] = (uint8_t)(here << 4 | next >> 2);
    if (i % 4 == 2) bytes[used++] = (uint8_t)(here << 6 | next);
  }
  assert_ok(jpeg_size(bytes, used, "report", width, height));
  memory_free(bytes);
}

/* From a dataset and from bytes; large ones are shrunk, and all are JPEG there. */
static void images_reach_the_report(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], png_path[FILE_MAX_PATH], *text;
  uint8_t *large, *small;
  size_t large_size, small_size;
  settings_t settings = {.log = {.samples = 3}};
  make_folder(folder);
  record_t record = make_record(&settings, folder);
  make_jpeg(900, 450, &large, &large_size);
  make_jpeg(40, 30, &small, &small_size);
  assert_ok(file_join(path, folder, "images.h5", NULL));
  make_dataset(path, large, large_size, 900, 450);
  assert_ok(file_join(png_path, folder, "png.h5", NULL));
  make_dataset(png_path, tiny_png, sizeof tiny_png, TINY_WIDTH, TINY_HEIGHT);
  const record_sample_t from_dataset = {
      .model = "m", .question = "large?", .answer = "yes", .dataset = path, .image = 0, .score = NAN};
  const record_sample_t from_bytes = {.model = "m",
                                      .question = "small?",
                                      .answer = "yes",
                                      .image = -1,
                                      .jpeg = small,
                                      .jpeg_size = small_size,
                                      .score_name = "reward",
                                      .score = 0.5};
  const record_sample_t from_png = {
      .model = "m", .question = "tiny?", .answer = "yes", .dataset = png_path, .image = 0, .score = NAN};
  assert_ok(record_sample(&record, &from_dataset));
  assert_ok(record_sample(&record, &from_bytes));
  assert_ok(record_sample(&record, &from_png));
  if (comm_rank(mpi_test_world()) == 0) {
    int32_t width, height;
    const char *const runs[] = {folder};
    assert_ok(report_make(1, runs, NULL));
    assert_ok(file_join(path, folder, "report.html", NULL));
    assert_ok(file_read(path, 1 << 22, &text, NULL));
    decode_size(text, 1, &width, &height);
    assert_true(width == 320 && height == 160);
    decode_size(text, 2, &width, &height);
    assert_true(width == 40 && height == 30);
    decode_size(text, 3, &width, &height);
    assert_true(width == TINY_WIDTH && height == TINY_HEIGHT);
    memory_free(text);
  }
  memory_free(large);
  memory_free(small);
  rundir_close(record.rundir);
  remove_folder(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(samples_are_bounded),
      cmocka_unit_test(images_reach_the_report),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

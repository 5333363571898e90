#define _GNU_SOURCE
#include "data/prepare.h"
#include "io/dataset.h"
#include "io/json.h"
#include "mpi_test.h"

#include "data_test.h"

enum { PICTURES = 7, TALKS = 20, PAIRS = 9 };

typedef struct {
  char folder[FILE_MAX_PATH], talks[FILE_MAX_PATH], pairs[FILE_MAX_PATH], facts[FILE_MAX_PATH],
      images[FILE_MAX_PATH], output[FILE_MAX_PATH], held_out[FILE_MAX_PATH], report[FILE_MAX_PATH];
  prepare_options_t options;
} setting_t;

/* ---- Files to prepare ---- */

static void write_talks(const char *path) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("[\n", file);
  for (int i = 0; i < TALKS; i++) {
    fprintf(file, "%s {\"id\": \"talk%d\", ", i == 0 ? "" : ",\n", i);
    if (i % 4 != 3) fprintf(file, "\"image\": \"sub/%d.jpg\", ", i % PICTURES);
    if (i % 5 == 0) fprintf(file, "\"caption_type\": %d, ", 1 + i / 5);
    fprintf(file, "\"conversations\": [{\"from\": \"human\", \"value\": \"%squestion %d\"}, ",
            i % 4 != 3 ? "<image>\\n" : "", i);
    fprintf(file, "{\"from\": \"gpt\", \"value\": \"answer \\u20ac %d\"}]}", i);
  }
  fputs("\n]\n", file);
  fclose(file);
}

static void write_pairs(const char *path) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  for (int i = 0; i < PAIRS; i++) {
    fprintf(file,
            "{\"id\": \"pair%d\", \"image\": \"sub/%d.jpg\", \"conversations\": [{\"from\": \"human\", ", i,
            i % PICTURES);
    fprintf(file, "\"value\": \"What?\\n<image>\"}, {\"from\": \"gpt\", \"value\": \"x\"}], ");
    fprintf(file, "\"output_1\": {\"from\": \"llava\", \"value\": \"one %d\"}, ", i);
    fprintf(file, "\"output_2\": {\"from\": \"llava\", \"value\": \"two\"}, \"preference\": %d}\n",
            1 + i % 2);
  }
  fclose(file);
}

static void write_facts(const char *path) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("{\"other.jpg\": [\"never used\"]", file);
  for (int i = PICTURES - 1; i >= 0; i--) {
    if (i == 3) continue;
    fprintf(file, ",\n \"sub/%d.jpg\": [\"caption %d\", \"another caption %d\"]", i, i, i);
    fprintf(file, ", \"aok_sub/%d.jpg\": [\"because %d\"]", i, i);
  }
  fputs(", \"sub/1.jpg\": [\"repeated\"]}\n", file);
  fclose(file);
}

static void write_pictures(const char *folder) {
  for (int i = 0; i < PICTURES; i++) {
    char name[32];
    snprintf(name, sizeof name, "sub/%d.jpg", i);
    data_test_image(folder, name, i, 0);
  }
}

static void setting_start(setting_t *setting) {
  memset(setting, 0, sizeof *setting);
  io_test_folder(setting->folder);
  io_test_path(setting->talks, setting->folder, "talks.json");
  io_test_path(setting->pairs, setting->folder, "pairs.jsonl");
  io_test_path(setting->facts, setting->folder, "facts.json");
  io_test_path(setting->images, setting->folder, "images");
  io_test_path(setting->output, setting->folder, "new/folder/data.h5");
  io_test_path(setting->held_out, setting->folder, "held_out.h5");
  io_test_path(setting->report, setting->folder, "report.jsonl");
  if (data_test_first()) {
    char sub[FILE_MAX_PATH];
    assert_ok(file_make_folder(io_test_path(sub, setting->images, "sub")));
    write_talks(setting->talks);
    write_pairs(setting->pairs);
    write_facts(setting->facts);
    write_pictures(setting->images);
  }
  assert_ok(comm_barrier(mpi_test_world()));
  setting->options = (prepare_options_t){.conversations = setting->talks,
                                         .image_folder = setting->images,
                                         .output = setting->output,
                                         .seed = 11,
                                         .workers = 2};
}

static void setting_end(setting_t *setting) {
  io_test_remove(setting->folder);
}

static dataset_t *prepared(const setting_t *setting, prepare_counts_t *counts) {
  dataset_t *dataset;
  assert_ok(prepare_run(mpi_test_world(), &setting->options, counts));
  assert_ok(dataset_open(mpi_test_world(), setting->output, &dataset));
  return dataset;
}

static void assert_prepare_fails(const setting_t *setting, status_code_t status, const char *hint) {
  assert_int_equal(prepare_run(mpi_test_world(), &setting->options, NULL), status);
  if (strstr(error_message(), hint) == NULL) fail_msg("'%s' lacks '%s'", error_message(), hint);
  error_clear();
  assert_ok(comm_barrier(mpi_test_world()));
}

/* ---- What was prepared ---- */

/* The dataset's image has the bytes of picture NUMBER, and its name. */
static void check_picture(const dataset_t *dataset, int64_t image, int number) {
  uint8_t *expected, *found;
  size_t n;
  char *name, expected_name[32];
  data_test_jpeg(number, 20 + number % 13, 16 + number % 7, &expected, &n);
  assert_int_equal(dataset_image_size(dataset, image), n);
  assert_ok(memory_alloc(&found, ARENA_OTHER, n, 1));
  assert_ok(dataset_image_read(dataset, image, found));
  assert_memory_equal(found, expected, n);
  assert_ok(dataset_image_name(dataset, image, &name));
  snprintf(expected_name, sizeof expected_name, "sub/%d.jpg", number);
  assert_string_equal(name, expected_name);
  memory_free(name);
  memory_free(found);
  memory_free(expected);
}

static void check_facts(const dataset_sample_t *sample, int i) {
  char text[64];
  const int picture = i % PICTURES;
  const bool choice = sample->caption_type >= 2 && sample->caption_type <= 5;
  const bool repeated = picture == 1 && !choice; /* the last entry under its key counts */
  assert_int_equal(sample->fact_count, picture == 3 ? 0 : choice || repeated ? 1 : 2);
  if (repeated) assert_string_equal(sample->facts[0].bytes, "repeated");
  if (sample->fact_count == 0 || repeated) return;
  snprintf(text, sizeof text, choice ? "because %d" : "caption %d", picture);
  assert_string_equal(sample->facts[0].bytes, text);
  snprintf(text, sizeof text, "another caption %d", picture);
  if (!choice) assert_string_equal(sample->facts[1].bytes, text);
}

static void check_talk(const dataset_t *dataset, int64_t row, int i, bool facts) {
  dataset_sample_t sample;
  char text[64];
  assert_ok(dataset_sample_read(dataset, row, &sample));
  snprintf(text, sizeof text, "talk%d", i);
  assert_string_equal(sample.id.bytes, text);
  snprintf(text, sizeof text, "%squestion %d", i % 4 != 3 ? "<image>\n" : "", i);
  assert_string_equal(sample.conversation.turns[0].text.bytes, text);
  snprintf(text, sizeof text, "answer \xe2\x82\xac %d", i);
  assert_string_equal(sample.conversation.turns[1].text.bytes, text);
  assert_int_equal(sample.caption_type, i % 5 == 0 ? 1 + i / 5 : 1);
  assert_false(sample.paired);
  assert_int_equal(sample.image >= 0, i % 4 != 3);
  if (sample.image >= 0) check_picture(dataset, sample.image, i % PICTURES);
  if (sample.image >= 0 && facts) check_facts(&sample, i);
  if (!facts) assert_int_equal(sample.fact_count, 0);
  dataset_sample_free(&sample);
}

static void conversations_come_through(void **state) {
  (void)state;
  setting_t setting;
  prepare_counts_t counts;
  setting_start(&setting);
  dataset_t *dataset = prepared(&setting, &counts);
  assert_int_equal(counts.samples, TALKS);
  assert_int_equal(counts.images, PICTURES);
  assert_int_equal(counts.skipped, 0);
  assert_int_equal(dataset_info(dataset).images, PICTURES);
  for (int i = 0; i < TALKS; i++)
    check_talk(dataset, i, i, false);
  const uint64_t identity = dataset_info(dataset).identity;
  dataset_close(dataset);
  /* Once more, by one rank alone: the same contents. */
  comm_t *alone;
  assert_ok(comm_split(mpi_test_world(), comm_rank(mpi_test_world()), 0, "alone", &alone));
  if (data_test_first()) {
    setting.options.workers = 1;
    assert_ok(prepare_run(alone, &setting.options, NULL));
  }
  comm_free(alone);
  assert_ok(comm_barrier(mpi_test_world()));
  assert_ok(dataset_open(mpi_test_world(), setting.output, &dataset));
  assert_true(dataset_info(dataset).identity == identity);
  dataset_close(dataset);
  setting_end(&setting);
}

static void facts_and_pairs_come_through(void **state) {
  (void)state;
  setting_t setting;
  prepare_counts_t counts;
  setting_start(&setting);
  setting.options.preferences = setting.pairs;
  setting.options.facts = setting.facts;
  dataset_t *dataset = prepared(&setting, &counts);
  assert_int_equal(counts.samples, TALKS + PAIRS);
  assert_int_equal(counts.without_facts, 2 + 1);
  for (int i = 0; i < TALKS; i++)
    check_talk(dataset, i, i, true);
  for (int i = 0; i < PAIRS; i++) {
    dataset_sample_t sample;
    char text[32];
    assert_ok(dataset_sample_read(dataset, TALKS + i, &sample));
    snprintf(text, sizeof text, "one %d", i);
    assert_true(sample.paired);
    assert_string_equal(sample.outputs[0].bytes, text);
    assert_string_equal(sample.outputs[1].bytes, "two");
    assert_int_equal(sample.preference, 1 + i % 2);
    check_facts(&sample, i);
    check_picture(dataset, sample.image, i % PICTURES);
    dataset_sample_free(&sample);
  }
  dataset_close(dataset);
  setting_end(&setting);
}

/* ---- Held out ---- */

static void held_out_samples_are_marked(void **state) {
  (void)state;
  setting_t setting;
  prepare_counts_t counts;
  setting_start(&setting);
  setting.options.held_out = 6;
  dataset_t *dataset = prepared(&setting, &counts);
  assert_int_equal(counts.held_out, 6);
  assert_int_equal(dataset_info(dataset).held_out, 6);
  int64_t *rows, n;
  assert_ok(dataset_rows(dataset, false, &rows, &n));
  assert_int_equal(n, TALKS - 6);
  memory_free(rows);
  for (int i = 0; i < TALKS; i++)
    check_talk(dataset, i, i, false);
  dataset_close(dataset);
  setting.options.held_out = TALKS;
  assert_prepare_fails(&setting, STATUS_INPUT, "hold out fewer");
  setting_end(&setting);
}

/* Marks which talks a dataset has; each must be whole. */
static void mark_talks(const char *path, int *seen) {
  dataset_t *dataset;
  assert_ok(dataset_open(mpi_test_world(), path, &dataset));
  for (int64_t row = 0; row < dataset_info(dataset).samples; row++) {
    dataset_sample_t sample;
    int i;
    assert_ok(dataset_sample_read(dataset, row, &sample));
    assert_int_equal(sscanf(sample.id.bytes, "talk%d", &i), 1);
    assert_false(sample.held_out);
    dataset_sample_free(&sample);
    check_talk(dataset, row, i, true);
    seen[i]++;
  }
  dataset_close(dataset);
}

static void held_out_samples_have_a_dataset(void **state) {
  (void)state;
  setting_t setting;
  prepare_counts_t counts;
  int seen[TALKS] = {0};
  setting_start(&setting);
  setting.options.held_out = 5;
  setting.options.held_out_output = setting.held_out;
  setting.options.facts = setting.facts;
  assert_ok(prepare_run(mpi_test_world(), &setting.options, &counts));
  assert_int_equal(counts.samples, TALKS);
  assert_int_equal(counts.held_out, 5);
  mark_talks(setting.held_out, seen);
  int held = 0;
  for (int i = 0; i < TALKS; i++)
    held += seen[i];
  assert_int_equal(held, 5);
  mark_talks(setting.output, seen);
  for (int i = 0; i < TALKS; i++)
    assert_int_equal(seen[i], 1);
  setting_end(&setting);
}

/* ---- Bad samples ---- */

/* Replaces the talks by one with IMAGE and a good one without. */
static void one_image(const setting_t *setting, const char *image) {
  char text[1024];
  snprintf(text, sizeof text,
           "{\"id\": \"seen\", \"image\": \"%s\", \"conversations\": [{\"from\": \"human\", \"value\": "
           "\"<image>\"}]}\n"
           "{\"id\": \"blind\", \"conversations\": [{\"from\": \"human\", \"value\": \"Hello?\"}]}\n",
           image);
  io_test_write(setting->talks, text);
}

static void check_report(const setting_t *setting, const char *sample, int64_t line) {
  if (!data_test_first()) return;
  json_reader_t *reader;
  json_element_t element;
  const char *text;
  int64_t found = 0;
  assert_ok(json_reader_open(setting->report, JSON_ELEMENTS, &reader));
  assert_ok(json_reader_next(reader, &element));
  assert_ok(json_string(element.value, "sample", "report", &text));
  assert_string_equal(text, sample);
  assert_ok(json_string(element.value, "file", "report", &text));
  assert_string_equal(text, setting->talks);
  assert_ok(json_int(element.value, "line", "report", &found));
  assert_int_equal(found, line);
  assert_ok(json_string(element.value, "reason", "report", &text));
  assert_ok(json_reader_next(reader, &element));
  assert_null(element.value);
  json_reader_close(reader);
}

static void make_bad_pictures(const setting_t *setting) {
  if (data_test_first()) {
    char path[FILE_MAX_PATH], outside[FILE_MAX_PATH];
    static const uint8_t png[] = "\x89PNG\r\n\x1a\n.....";
    data_test_image(setting->images, "cut.jpg", 1, 60);
    data_test_image(setting->folder, "outside.jpg", 1, 0);
    data_test_write_bytes(setting->images, "empty.jpg", "", 0);
    data_test_write_bytes(setting->images, "png.jpg", png, sizeof png);
    io_test_path(outside, setting->folder, "outside.jpg");
    assert_int_equal(symlink(outside, io_test_path(path, setting->images, "link.jpg")), 0);
    assert_int_equal(symlink(setting->folder, io_test_path(path, setting->images, "up")), 0);
    assert_int_equal(symlink("sub/1.jpg", io_test_path(path, setting->images, "inside.jpg")), 0);
    assert_int_equal(mkfifo(io_test_path(path, setting->images, "pipe.jpg"), 0600), 0);
  }
  assert_ok(comm_barrier(mpi_test_world()));
}

static void bad_images_stop_or_are_left_out(void **state) {
  (void)state;
  static const char *const images[] = {
      "missing.jpg", "cut.jpg",        "empty.jpg",   "png.jpg", "../outside.jpg", "sub/../../outside.jpg",
      "link.jpg",    "up/outside.jpg", "/etc/passwd", "sub",     "pipe.jpg",       ".."};
  setting_t setting;
  setting_start(&setting);
  make_bad_pictures(&setting);
  setting.options.report = setting.report;
  for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
    one_image(&setting, images[i]);
    setting.options.skip_bad = false;
    assert_prepare_fails(&setting, STATUS_DATA, images[i]);
    assert_prepare_fails(&setting, STATUS_DATA, "sample 'seen'");
    assert_int_equal(io_test_size(setting.output), -1);
    setting.options.skip_bad = true;
    prepare_counts_t counts;
    dataset_t *dataset = prepared(&setting, &counts);
    assert_int_equal(counts.samples, 1);
    assert_int_equal(counts.skipped, 1);
    assert_int_equal(counts.broken_images, 1);
    assert_int_equal(dataset_info(dataset).skipped, 1);
    dataset_sample_t sample;
    assert_ok(dataset_sample_read(dataset, 0, &sample));
    assert_string_equal(sample.id.bytes, "blind");
    dataset_sample_free(&sample);
    dataset_close(dataset);
    check_report(&setting, "seen", 1);
    assert_ok(comm_barrier(mpi_test_world()));
    if (data_test_first()) unlink(setting.output);
    assert_ok(comm_barrier(mpi_test_world()));
  }
  one_image(&setting, "inside.jpg");
  setting.options.skip_bad = false;
  assert_ok(prepare_run(mpi_test_world(), &setting.options, NULL));
  setting_end(&setting);
}

static void bad_samples_stop_or_are_left_out(void **state) {
  (void)state;
  setting_t setting;
  prepare_counts_t counts;
  setting_start(&setting);
  io_test_write(setting.talks,
                "[{\"id\": \"fine\", \"conversations\": [{\"from\": \"human\", \"value\": \"a\"}]},\n"
                " {\"id\": \"odd\", \"conversations\": [{\"from\": \"gpt\", \"value\": \"a\"}]},\n"
                " {\"id\": \"fine\", \"conversations\": [{\"from\": \"human\", \"value\": \"b\"}]}]");
  assert_prepare_fails(&setting, STATUS_DATA, "line 2: sample 'odd'");
  setting.options.skip_bad = true;
  setting.options.report = setting.report;
  dataset_t *dataset = prepared(&setting, &counts);
  assert_int_equal(counts.samples, 2);
  assert_int_equal(counts.skipped, 1);
  dataset_close(dataset);
  check_report(&setting, "odd", 2);
  io_test_write(setting.talks, "[{\"id\": \"odd\", \"conversations\": []}]");
  assert_prepare_fails(&setting, STATUS_DATA, "none of its 1 samples");
  setting_end(&setting);
}

/* A dataset all of whose images are broken has no sample, and what was there before stays. */
static void nothing_left_is_an_error(void **state) {
  (void)state;
  setting_t setting;
  setting_start(&setting);
  io_test_write(setting.talks, "{\"id\": \"a\", \"image\": \"no.jpg\", \"conversations\": "
                               "[{\"from\": \"human\", \"value\": \"<image>\"}]}");
  setting.options.output = setting.held_out;
  setting.options.skip_bad = true;
  io_test_write(setting.held_out, "what was there before");
  assert_prepare_fails(&setting, STATUS_DATA, "no sample is left");
  assert_int_equal(io_test_size(setting.held_out), strlen("what was there before"));
  setting_end(&setting);
}

static void broken_files_are_refused(void **state) {
  (void)state;
  setting_t setting;
  setting_start(&setting);
  setting.options.skip_bad = true;
  io_test_write(setting.talks, "[{\"id\": \"a\", \"conversations\": [");
  assert_prepare_fails(&setting, STATUS_DATA, setting.talks);
  io_test_write(setting.talks, "");
  assert_prepare_fails(&setting, STATUS_DATA, "empty");
  if (data_test_first()) write_talks(setting.talks);
  setting.options.facts = setting.facts;
  io_test_write(setting.facts, "{\"sub/1.jpg\": {\"a\": 1}}");
  assert_prepare_fails(&setting, STATUS_DATA, "an array of strings");
  io_test_write(setting.facts, "{\"sub/1.jpg\": [\"a\", 7]}");
  assert_prepare_fails(&setting, STATUS_DATA, "sub/1.jpg");
  io_test_write(setting.facts, "[1]");
  assert_prepare_fails(&setting, STATUS_DATA, setting.facts);
  setting.options.facts = "";
  setting.options.image_folder = setting.talks;
  assert_prepare_fails(&setting, STATUS_DATA, "folder");
  setting.options.image_folder = NULL;
  assert_prepare_fails(&setting, STATUS_INPUT, "image_folder");
  setting.options.conversations = "";
  assert_prepare_fails(&setting, STATUS_INPUT, "nothing to prepare");
  setting_end(&setting);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(conversations_come_through),      cmocka_unit_test(facts_and_pairs_come_through),
      cmocka_unit_test(held_out_samples_are_marked),     cmocka_unit_test(held_out_samples_have_a_dataset),
      cmocka_unit_test(bad_images_stop_or_are_left_out), cmocka_unit_test(bad_samples_stop_or_are_left_out),
      cmocka_unit_test(nothing_left_is_an_error),        cmocka_unit_test(broken_files_are_refused),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

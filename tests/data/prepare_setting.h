/* Files to prepare, prepared by the tests of task prepare. Include after mpi_test.h. */
#ifndef TESTS_DATA_PREPARE_SETTING_H
#define TESTS_DATA_PREPARE_SETTING_H

#include "data/prepare.h"
#include "io/formats/dataset.h"
#include "io/json.h"

#include "data_test.h"

enum { PICTURES = 7, TALKS = 20, PAIRS = 9 };

typedef struct {
  char folder[FILE_MAX_PATH], talks[FILE_MAX_PATH], pairs[FILE_MAX_PATH], facts[FILE_MAX_PATH],
      images[FILE_MAX_PATH], output[FILE_MAX_PATH], held_out[FILE_MAX_PATH], report[FILE_MAX_PATH];
  prepare_options_t options;
} prepare_setting_t;

/* ---- Files to prepare ---- */

static inline void write_talks(const char *path) {
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

static inline void write_pairs(const char *path) {
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

static inline void write_facts(const char *path) {
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

static inline void write_pictures(const char *folder) {
  for (int i = 0; i < PICTURES; i++) {
    char name[32];
    snprintf(name, sizeof name, "sub/%d.jpg", i);
    data_test_image(folder, name, i, 0);
  }
}

static inline void setting_start(prepare_setting_t *setting) {
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

static inline void setting_end(prepare_setting_t *setting) {
  io_test_remove(setting->folder);
}

static inline dataset_t *prepared(const prepare_setting_t *setting, prepare_counts_t *counts) {
  dataset_t *dataset;
  assert_ok(prepare_run(mpi_test_world(), &setting->options, counts));
  assert_ok(dataset_open(mpi_test_world(), setting->output, &dataset));
  return dataset;
}

static inline void assert_prepare_fails(const prepare_setting_t *setting, status_code_t status,
                                        const char *hint) {
  assert_int_equal(prepare_run(mpi_test_world(), &setting->options, NULL), status);
  if (strstr(error_message(), hint) == NULL) fail_msg("'%s' lacks '%s'", error_message(), hint);
  error_clear();
  assert_ok(comm_barrier(mpi_test_world()));
}

static inline void check_report(const prepare_setting_t *setting, const char *sample, int64_t line) {
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

#endif

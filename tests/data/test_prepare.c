#define _GNU_SOURCE
#include "mpi_test.h"

#include "prepare_setting.h"

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
  prepare_setting_t setting;
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
  prepare_setting_t setting;
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
  prepare_setting_t setting;
  prepare_counts_t counts;
  setting_start(&setting);
  setting.options.held_out = 6;
  setting.options.split_images = true;
  dataset_t *dataset = prepared(&setting, &counts);
  assert_int_equal(counts.held_out, 6);
  assert_int_equal(dataset_info(dataset).held_out, 6);
  dataset_rows_t rows;
  assert_ok(dataset_rows(NULL, dataset, DATASET_TRAINING, &rows));
  assert_int_equal(rows.count, TALKS - 6);
  dataset_rows_free(&rows);
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
  prepare_setting_t setting;
  prepare_counts_t counts;
  int seen[TALKS] = {0};
  setting_start(&setting);
  setting.options.held_out = 5;
  setting.options.split_images = true;
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
  char twice[FILE_MAX_PATH];
  setting.options.held_out_output = io_test_path(twice, setting.folder, "new/../new/folder/data.h5");
  assert_prepare_fails(&setting, STATUS_INPUT, twice);
  setting_end(&setting);
}

/* Samples that are held out although one for training shows their image; *HELD_OUT of all. */
static int64_t count_shared(const dataset_t *dataset, int64_t *held_out) {
  enum { MOST = TALKS };
  const int64_t n = dataset_info(dataset).samples;
  bool trained[MOST] = {false};
  int64_t shared = 0;
  dataset_sample_t sample;
  *held_out = 0;
  for (int pass = 0; pass < 2; pass++)
    for (int64_t row = 0; row < n; row++) {
      assert_ok(dataset_sample_read(dataset, row, &sample));
      if (pass == 0 && !sample.held_out && sample.image >= 0) trained[sample.image] = true;
      *held_out += pass == 1 && sample.held_out;
      shared += pass == 1 && sample.held_out && sample.image >= 0 && trained[sample.image];
      dataset_sample_free(&sample);
    }
  return shared;
}

/* By image none is on both sides, and no more are held out than it takes; by sample all that are is told. */
static void images_are_kept_together(void **state) {
  (void)state;
  prepare_setting_t setting;
  setting_start(&setting);
  for (int i = 0; i < 12; i++) {
    prepare_counts_t counts;
    int64_t held_out;
    setting.options.held_out = 1 + i / 2;
    setting.options.split_images = i % 2 == 1;
    dataset_t *dataset = prepared(&setting, &counts);
    int64_t shared = count_shared(dataset, &held_out);
    assert_int_equal(counts.held_out, held_out);
    assert_int_equal(counts.shared, shared);
    if (setting.options.split_images) {
      assert_int_equal(held_out, setting.options.held_out);
      assert_true(shared > 0 || held_out < 3);
    } else {
      assert_int_equal(shared, 0);
      assert_in_range(held_out, setting.options.held_out, setting.options.held_out + 2);
    }
    dataset_close(dataset);
    assert_ok(comm_barrier(mpi_test_world()));
  }
  setting_end(&setting);
}

/* ---- One picture under several names ---- */

static const char *const namings[] = {"sub/%d.jpg", "./sub//%d.jpg", "other/COCO_train2014_%d.jpg"};

/* A talk about each picture under each of its names; the last one is another file. */
static void write_namings(const prepare_setting_t *setting) {
  FILE *file = fopen(setting->talks, "w");
  assert_non_null(file);
  for (int i = 0; i < 3 * PICTURES; i++) {
    char name[64];
    snprintf(name, sizeof name, namings[i / PICTURES], i % PICTURES);
    fprintf(file, "{\"id\": \"%d\", \"image\": \"%s\", ", i % PICTURES, name);
    fputs("\"conversations\": [{\"from\": \"human\", \"value\": \"<image>\"}]}\n", file);
    if (i >= 2 * PICTURES) data_test_image(setting->images, name, i, 0);
  }
  fclose(file);
}

/* A file is stored once, whatever steps its path has, and a picture is on one side whatever its file's name.
 */
static void names_of_a_picture_are_kept_together(void **state) {
  (void)state;
  prepare_setting_t setting;
  prepare_counts_t counts;
  char other[FILE_MAX_PATH];
  int seen[PICTURES] = {0};
  setting_start(&setting);
  if (data_test_first()) {
    assert_ok(file_make_folder(io_test_path(other, setting.images, "other")));
    write_namings(&setting);
  }
  io_test_write(setting.facts, "{\"sub/./1.jpg\": \"a fact\"}");
  setting.options.facts = setting.facts;
  setting.options.held_out = 7;
  dataset_t *dataset = prepared(&setting, &counts);
  assert_int_equal(counts.images, 2 * PICTURES);
  assert_int_equal(counts.shared, 0);
  assert_int_equal(counts.held_out, 9);
  for (int64_t row = 0; row < counts.samples; row++) {
    dataset_sample_t sample;
    assert_ok(dataset_sample_read(dataset, row, &sample));
    seen[atoi(sample.id.bytes)] += sample.held_out;
    assert_int_equal(sample.fact_count, sample.id.bytes[0] == '1' && row < 2 * PICTURES);
    dataset_sample_free(&sample);
  }
  for (int i = 0; i < PICTURES; i++)
    assert_true(seen[i] == 0 || seen[i] == 3);
  dataset_close(dataset);
  setting_end(&setting);
}

/* ---- Bad samples ---- */

static void bad_samples_stop_or_are_left_out(void **state) {
  (void)state;
  prepare_setting_t setting;
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
  prepare_setting_t setting;
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
  prepare_setting_t setting;
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
      cmocka_unit_test(conversations_come_through),
      cmocka_unit_test(facts_and_pairs_come_through),
      cmocka_unit_test(held_out_samples_are_marked),
      cmocka_unit_test(held_out_samples_have_a_dataset),
      cmocka_unit_test(images_are_kept_together),
      cmocka_unit_test(names_of_a_picture_are_kept_together),
      cmocka_unit_test(bad_samples_stop_or_are_left_out),
      cmocka_unit_test(nothing_left_is_an_error),
      cmocka_unit_test(broken_files_are_refused),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

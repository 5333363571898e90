/* scenes.jsonl and the annotator's files: what is written is read back, and bad input is refused with its
 * place. */
#include "world_check.h"

#include "base/memory.h"
#include "io/file.h"
#include "io/output_file.h"
#include "shapes/annotate.h"
#include "shapes/scene_file.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct {
  char folder[64], scenes[128], pairs[128], output[128];
} annotate_file_files_t;

static int files_set_up(void **state) {
  annotate_file_files_t *files = calloc(1, sizeof *files);
  strcpy(files->folder, "/tmp/llava_rlhf_annotate_XXXXXX");
  if (!mkdtemp(files->folder)) return -1;
  snprintf(files->scenes, sizeof files->scenes, "%s/scenes.jsonl", files->folder);
  snprintf(files->pairs, sizeof files->pairs, "%s/pairs.json", files->folder);
  snprintf(files->output, sizeof files->output, "%s/preferences.json", files->folder);
  *state = files;
  return 0;
}

static int files_tear_down(void **state) {
  annotate_file_files_t *files = *state;
  unlink(files->scenes);
  unlink(files->pairs);
  unlink(files->output);
  int result = rmdir(files->folder); /* fails if anything else was left there */
  free(files);
  return result;
}

static void write_text(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs(text, file) >= 0);
  assert_int_equal(fclose(file), 0);
}

static void write_scenes(const char *path) {
  output_file_t file;
  scene_t scenes[2] = {clean_scene(), tempting_scene()};
  check_ok(output_file_open(path, &file));
  for (int i = 0; i < 2; i++)
    scene_write(file.writer, &scenes[i]);
  check_ok(output_file_close(&file, STATUS_OK));
}

static void scenes_are_read_back(void **state) {
  const annotate_file_files_t *files = *state;
  const scene_t written = clean_scene();
  scene_table_t table;
  write_scenes(files->scenes);
  check_ok(scene_table_read(files->scenes, &table));
  assert_int_equal(table.count, 2);
  const scene_t *read = scene_table_find(&table, "000/000007.jpg");
  assert_non_null(read);
  assert_int_equal(read->id, 7);
  assert_int_equal(read->count, written.count);
  for (int i = 0; i < read->count; i++) {
    described_t one = described_fully(&read->objects[i]), other = described_fully(&written.objects[i]);
    assert_memory_equal(&one, &other, sizeof one);
  }
  assert_int_equal(read->background.tone, TONE_DARK);
  assert_int_equal(read->background.texture, TEXTURE_STRIPED);
  assert_non_null(scene_table_find(&table, "000/000008.jpg"));
  assert_null(scene_table_find(&table, "000/000009.jpg"));
  assert_null(scene_table_find(&table, ""));
  scene_table_free(&table);
}

static void of_scenes_with_one_image_the_last_counts(void **state) {
  const annotate_file_files_t *files = *state;
  output_file_t file;
  scene_t scene = clean_scene();
  scene_table_t table;
  check_ok(output_file_open(files->scenes, &file));
  for (int i = 0; i < 40; i++) {
    scene.background.tone = i == 39 ? TONE_LIGHT : TONE_DARK;
    scene_write(file.writer, &scene);
  }
  check_ok(output_file_close(&file, STATUS_OK));
  check_ok(scene_table_read(files->scenes, &table));
  assert_int_equal(table.count, 1);
  assert_int_equal(scene_table_find(&table, "000/000007.jpg")->background.tone, TONE_LIGHT);
  scene_table_free(&table);
}

/* A full disk, or as here the largest file allowed: the message names the file, and no part of it stays. */
static void a_file_that_cannot_be_written_is_named(void **state) {
  const annotate_file_files_t *files = *state;
  struct rlimit allowed, before;
  output_file_t file;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  allowed = (struct rlimit){.rlim_cur = 4096, .rlim_max = before.rlim_max};
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  check_ok(output_file_open(files->scenes, &file));
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &allowed), 0);
  json_write_array_begin(file.writer);
  for (int i = 0; i < 100000; i++)
    json_write_string(file.writer, "a line");
  json_write_array_end(file.writer);
  status_code_t status = output_file_close(&file, STATUS_OK);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  assert_int_equal(status, STATUS_DATA);
  assert_non_null(strstr(error_message(), files->scenes));
  error_clear();
  assert_false(file_exists(files->scenes));
  assert_false(file_exists(file.partial));
}

static void broken_scenes_are_refused(void **state) {
  static const char *const texts[] = {
      "{\"id\": 1}\n",
      "{\"id\": 1, \"image\": \"a.jpg\", \"objects\": [], \"background\": {\"tone\": \"dark\"}}\n",
      "{\"id\": 1, \"image\": \"a.jpg\", \"objects\": [], \"background\": {\"tone\": \"odd\", \"texture\": "
      "\"plain\"}}\n",
      "{\"id\": 1, \"image\": \"a.jpg\", \"objects\": 3, \"background\": {\"tone\": \"dark\", \"texture\": "
      "\"plain\"}}\n",
      "{\"id\": 1, \"image\": \"a.jpg\", \"objects\": [{\"size\": \"small\", \"color\": \"pink\", \"shape\": "
      "\"ring\", \"row\": "
      "\"top\", \"column\": \"left\"}], \"background\": {\"tone\": \"dark\", \"texture\": \"plain\"}}\n",
      "{\"id\": 1, \"image\": \"a.jpg\", \"objects\": [{\"size\": \"small\", \"color\": \"red\", \"shape\": "
      "\"ring\", \"row\": "
      "\"top\", \"column\": \"left\"}, {\"size\": \"small\", \"color\": \"blue\", \"shape\": \"ring\", "
      "\"row\": \"top\", "
      "\"column\": \"left\"}], \"background\": {\"tone\": \"dark\", \"texture\": \"plain\"}}\n",
      "{\"id\": 1, \"image\": \"a-name-that-is-longer-than-any-image-of-the-shapes-world.jpg\", \"objects\": "
      "[], "
      "\"background\": {\"tone\": \"dark\", \"texture\": \"plain\"}}\n",
      "{\"id\": 1, \"ima",
      "",
  };
  const annotate_file_files_t *files = *state;
  scene_table_t table;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    write_text(files->scenes, texts[i]);
    status_code_t status = scene_table_read(files->scenes, &table);
    assert_int_equal(status, STATUS_DATA);
    assert_non_null(strstr(error_message(), files->scenes));
    error_clear();
  }
  unlink(files->scenes);
  status_code_t missing = scene_table_read(files->scenes, &table);
  assert_int_equal(missing, STATUS_DATA);
}

static const char *const pairs = "[{\"id\": \"p0\", \"image\": \"000/000007.jpg\", \"conversations\": "
                                 "[{\"from\": \"human\", \"value\": \"<image>\\nDescribe the "
                                 "image.\"}, {\"from\": \"gpt\", \"value\": \"x\"}], \"output_1\": "
                                 "{\"from\": \"gpt\", \"value\": \"There is a yellow cross.\"}, "
                                 "\"output_2\": {\"from\": \"gpt\", \"value\": \"There is a red circle.\"}, "
                                 "\"preference\": 1, \"extra\": {\"k\": [1, null]}},\n"
                                 "{\"id\": \"p1\", \"image\": \"000/000008.jpg\", \"conversations\": "
                                 "[{\"from\": \"human\", \"value\": \"What color is the "
                                 "circle?\"}], \"output_1\": {\"from\": \"gpt\", \"value\": \"The circle is "
                                 "purple.\"}, \"output_2\": {\"from\": \"gpt\", "
                                 "\"value\": \"The circle is red.\"}}]";

static void preferences_are_filled_in(void **state) {
  const annotate_file_files_t *files = *state;
  const annotator_t annotator = {.seed = 1, .noise = 0};
  annotation_counts_t counts;
  json_document_t document;
  int64_t preference[2];
  const char *value;
  const json_t *extra, *output;
  write_scenes(files->scenes);
  write_text(files->pairs, pairs);
  check_ok(annotate_file(&annotator, files->pairs, files->scenes, files->output, &counts));
  assert_int_equal(counts.pairs, 2);
  assert_int_equal(counts.first, 1);
  check_ok(json_parse_file(files->output, 1 << 20, &document));
  assert_int_equal(document.root->count, 2);
  for (int i = 0; i < 2; i++)
    check_ok(json_int(json_at(document.root, i), "preference", "pair", &preference[i]));
  assert_int_equal(preference[0], 2);
  assert_int_equal(preference[1], 1);
  check_ok(json_string(json_at(document.root, 0), "id", "pair", &value));
  assert_string_equal(value, "p0");
  check_ok(json_object(json_at(document.root, 0), "extra", "pair", &extra));
  check_ok(json_array(extra, "k", "pair", &extra));
  assert_int_equal(extra->count, 2);
  check_ok(json_object(json_at(document.root, 1), "output_2", "pair", &output));
  check_ok(json_string(output, "value", "pair", &value));
  assert_string_equal(value, "The circle is red.");
  json_free(&document);
}

static void refused(const annotate_file_files_t *files, const char *text, const char *names) {
  const annotator_t annotator = {.seed = 1, .noise = 0};
  annotation_counts_t counts;
  write_text(files->pairs, text);
  unlink(files->output);
  status_code_t status = annotate_file(&annotator, files->pairs, files->scenes, files->output, &counts);
  assert_int_equal(status, STATUS_DATA);
  if (!strstr(error_message(), names)) fail_msg("'%s' does not name '%s'", error_message(), names);
  assert_false(file_exists(files->output));
  error_clear();
}

#define HUMAN "\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}]"
#define OUTPUTS                                                                                              \
  "\"output_1\": {\"from\": \"gpt\", \"value\": \"a\"}, \"output_2\": {\"from\": \"gpt\", \"value\": \"b\"}"

static void broken_pairs_are_refused(void **state) {
  const annotate_file_files_t *files = *state;
  write_scenes(files->scenes);
  refused(files, "[{\"image\": \"000/000099.jpg\", " HUMAN ", " OUTPUTS "}]", "000/000099.jpg");
  refused(files, "[{\"image\": 7, " HUMAN ", " OUTPUTS "}]", "image");
  refused(files, "[{\"image\": \"000/000007.jpg\", \"conversations\": [], " OUTPUTS "}]", "human");
  refused(files, "[{\"image\": \"000/000007.jpg\", " HUMAN ", \"output_1\": {\"value\": \"a\"}}]",
          "output_2");
  refused(files, "[{\"image\": \"000/000007.jpg\", " HUMAN ", " OUTPUTS "}, {\"im", files->pairs);
  refused(files, "[{\"image\": \"000/000007.jpg\", " HUMAN ", " OUTPUTS "}, 3]", files->pairs);
  refused(files, "", files->pairs);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(scenes_are_read_back, files_set_up, files_tear_down),
      cmocka_unit_test_setup_teardown(of_scenes_with_one_image_the_last_counts, files_set_up,
                                      files_tear_down),
      cmocka_unit_test_setup_teardown(a_file_that_cannot_be_written_is_named, files_set_up, files_tear_down),
      cmocka_unit_test_setup_teardown(broken_scenes_are_refused, files_set_up, files_tear_down),
      cmocka_unit_test_setup_teardown(preferences_are_filled_in, files_set_up, files_tear_down),
      cmocka_unit_test_setup_teardown(broken_pairs_are_refused, files_set_up, files_tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

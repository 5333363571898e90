/* The sources of the SFT+ mixture, limits, and what keeps datasets apart. Linked with --wrap=json_reader_open
 * and its sibling, which count how often files are read. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "prepare_setting.h"
#include "text/answers.h"

enum { COCO_IMAGES = 6 };

static int openings;

status_code_t __real_json_reader_open(const char *path, json_stream_t kind, json_reader_t **out);
status_code_t __wrap_json_reader_open(const char *path, json_stream_t kind, json_reader_t **out);
status_code_t __real_json_reader_open_list(const char *path, const char *key, const char *also,
                                           json_reader_t **out);
status_code_t __wrap_json_reader_open_list(const char *path, const char *key, const char *also,
                                           json_reader_t **out);

status_code_t __wrap_json_reader_open(const char *path, json_stream_t kind, json_reader_t **out) {
  openings++;
  return __real_json_reader_open(path, kind, out);
}

status_code_t __wrap_json_reader_open_list(const char *path, const char *key, const char *also,
                                           json_reader_t **out) {
  openings++;
  return __real_json_reader_open_list(path, key, also, out);
}

/* ---- Files ---- */

static const char vqa_questions[] =
    "{\"info\": {\"year\": [2017, {\"deep\": []}]}, \"task_type\": \"x\", \"questions\": [\n"
    "{\"image_id\": 3, \"question\": \"Is it raining?\", \"question_id\": 31},\n"
    "{\"image_id\": 1, \"question\": \"Is this a caf\\u00e9?\", \"question_id\": 12},\n"
    "{\"image_id\": 1, \"question\": \"How many dogs?\", \"question_id\": 11},\n"
    "{\"image_id\": 1, \"question\": \"Are there dogs?\", \"question_id\": 10},\n"
    "{\"image_id\": 2, \"question\": \"What is <image>?\", \"question_id\": 20},\n"
    "{\"image_id\": 3, \"question\": \"Can <image> be a word?\", \"question_id\": 30}],\n"
    "\"data_type\": \"mscoco\"}";
static const char vqa_annotations[] =
    "{\"annotations\": [\n"
    "{\"question_id\": 12, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": \"no\", \"answers\": "
    "[1]},\n"
    "{\"question_id\": 10, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": \"yes\"},\n"
    "{\"question_id\": 11, \"answer_type\": \"number\", \"multiple_choice_answer\": \"2\"},\n"
    "{\"question_id\": 20, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": \"unknown\"},\n"
    "{\"question_id\": 30, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": \"no\"},\n"
    "{\"question_id\": 31, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": \"yes\"}]}";
static const char choices[] =
    "[{\"question_id\": \"q1\", \"image_id\": 4, \"question\": \"What waits?\", \"choices\": [\"a man\", \"a "
    "cat\", "
    "\"a bus\", \"no one\"], \"correct_choice_idx\": 2, \"rationales\": [\"The bus is standing\", \"Buses "
    "wait.\", "
    "\"It is a bus stop!\"]},\n"
    "{\"question_id\": \"q2\", \"image_id\": 4, \"question\": \"Why?\", \"choices\": [\"so\"], "
    "\"correct_choice_idx\": 0, \"rationales\": []},\n"
    "{\"question_id\": \"q3\", \"image_id\": 5, \"question\": \"Who?\", \"choices\": [\"x\", \"y\"], "
    "\"correct_choice_idx\": 0, \"rationales\": [\"It is x.\"]}]";

/* Seven captions of images 1 .. COCO_IMAGES, image by image in turn. */
static void write_captions(const char *path) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("{\"images\": [{\"id\": 1, \"annotations\": [7]}], \"annotations\": [", file);
  for (int c = 0; c < 7; c++)
    for (int i = 1; i <= COCO_IMAGES; i++)
      fprintf(file, "%s{\"image_id\": %d, \"id\": %d, \"caption\": \" caption %d of %d.\\n\"}",
              c + i == 1 ? "" : ",\n", i, 10 * c + i, c, i);
  fputs("]}", file);
  fclose(file);
}

typedef struct {
  prepare_setting_t common;
  char vqa_questions[FILE_MAX_PATH], vqa_annotations[FILE_MAX_PATH], choices[FILE_MAX_PATH],
      captions[FILE_MAX_PATH], flickr[FILE_MAX_PATH];
} sources_t;

static const char flickr_lines[] =
    "1.jpg#0\tA man .\n1.jpg#1\tOne man .\r\n\n2.jpg#0\tA dog .\n2.jpg#1\tDogs .\n";

static void sources_start(sources_t *sources) {
  prepare_setting_t *common = &sources->common;
  setting_start(common);
  io_test_write(io_test_path(sources->vqa_questions, common->folder, "questions.json"), vqa_questions);
  io_test_write(io_test_path(sources->vqa_annotations, common->folder, "annotations.json"), vqa_annotations);
  io_test_write(io_test_path(sources->choices, common->folder, "choices.json"), choices);
  io_test_write(io_test_path(sources->flickr, common->folder, "results.token"), flickr_lines);
  io_test_path(sources->captions, common->folder, "captions.json");
  if (data_test_first()) {
    char sub[FILE_MAX_PATH];
    write_captions(sources->captions);
    assert_ok(file_make_folder(io_test_path(sub, common->images, "coco")));
    for (int i = 1; i <= COCO_IMAGES; i++) {
      char name[64];
      snprintf(name, sizeof name, "coco/%012d.jpg", i);
      data_test_image(common->images, name, i, 0);
    }
  }
  assert_ok(comm_barrier(mpi_test_world()));
  common->options = (prepare_options_t){.image_folder = common->images,
                                        .output = common->output,
                                        .coco_prefix = "coco/",
                                        .flickr_prefix = "sub/",
                                        .facts_per_image = 5,
                                        .seed = 11,
                                        .workers = 2};
}

static void assert_turn(const dataset_sample_t *sample, int32_t t, const char *text) {
  assert_true(t < sample->conversation.count);
  assert_string_equal(sample->conversation.turns[t].text.bytes, text);
  assert_int_equal(sample->conversation.turns[t].role, t % 2 == 0 ? TURN_HUMAN : TURN_GPT);
}

static void assert_image(const dataset_t *dataset, const dataset_sample_t *sample, const char *name) {
  char *found;
  assert_true(sample->image >= 0);
  assert_ok(dataset_image_name(dataset, sample->image, &found));
  assert_string_equal(found, name);
  memory_free(found);
}

/* ---- VQA-v2 ---- */

static void yes_no_questions_become_conversations(void **state) {
  (void)state;
  sources_t sources;
  prepare_counts_t counts;
  dataset_sample_t sample;
  sources_start(&sources);
  sources.common.options.vqa_questions = sources.vqa_questions;
  sources.common.options.vqa_annotations = sources.vqa_annotations;
  dataset_t *dataset = prepared(&sources.common, &counts);
  assert_int_equal(counts.samples, 2);
  assert_int_equal(counts.images, 2);
  assert_ok(dataset_sample_read(dataset, 0, &sample));
  assert_string_equal(sample.id.bytes, "vqa_1");
  assert_image(dataset, &sample, "coco/000000000001.jpg");
  assert_int_equal(sample.conversation.count, 4);
  assert_turn(&sample, 0, "<image>\nAre there dogs?");
  assert_turn(&sample, 1, "Yes.");
  assert_turn(&sample, 2, "Is this a caf\xc3\xa9?");
  assert_turn(&sample, 3, "No.");
  assert_int_equal(sample.caption_type, 7);
  dataset_sample_free(&sample);
  assert_ok(dataset_sample_read(dataset, 1, &sample));
  assert_int_equal(sample.conversation.count, 4);
  assert_turn(&sample, 0, "<image>\nCan <image> be a word?");
  assert_int_equal(sample.caption_type, 6);
  dataset_sample_free(&sample);
  dataset_close(dataset);
  sources.common.options.vqa_annotations = "";
  assert_prepare_fails(&sources.common, STATUS_INPUT, "name both");
  sources.common.options.vqa_annotations = sources.vqa_questions;
  assert_prepare_fails(&sources.common, STATUS_DATA, "no member 'annotations'");
  io_test_write(sources.vqa_annotations, "{\"annotations\": []}");
  sources.common.options.vqa_annotations = sources.vqa_annotations;
  assert_prepare_fails(&sources.common, STATUS_DATA, "belong together");
  setting_end(&sources.common);
}

/* ---- A-OKVQA ---- */

static void check_choice(const dataset_t *dataset, bool rationale) {
  dataset_sample_t sample;
  assert_ok(dataset_sample_read(dataset, 0, &sample));
  const char *asked = "<image>\nWhat waits?\nA. a man\nB. a cat\nC. a bus\nD. no one\n";
  const text_view_t question = sample.conversation.turns[0].text, answer = sample.conversation.turns[1].text;
  assert_string_equal(sample.id.bytes, "aok_q1");
  assert_image(dataset, &sample, "coco/000000000004.jpg");
  assert_int_equal(sample.caption_type, 4);
  assert_true(text_starts_with(question, asked));
  assert_true(answer_correct(ANSWER_OPTION_C, answer) == 1);
  assert_true(answer_correct(ANSWER_OPTION_B, answer) == 0);
  if (!rationale) assert_string_equal(answer.bytes, "C. a bus");
  if (rationale) assert_true(answer.n > strlen("C. a bus") && text_contains(answer, "bus"));
  if (rationale)
    assert_true(text_contains(answer, ". So the correct") || text_contains(answer, "! So the correct"));
  assert_int_equal(sample.fact_count, 3);
  assert_string_equal(sample.facts[0].bytes, "The bus is standing");
  assert_string_equal(sample.facts[2].bytes, "It is a bus stop!");
  dataset_sample_free(&sample);
  assert_ok(dataset_sample_read(dataset, 1, &sample));
  assert_string_equal(sample.id.bytes, "aok_q3");
  assert_int_equal(sample.fact_count, 1);
  assert_string_equal(sample.facts[0].bytes, "It is x.");
  dataset_sample_free(&sample);
}

static void choices_have_rationales(void **state) {
  (void)state;
  sources_t sources;
  sources_start(&sources);
  sources.common.options.choices = sources.choices;
  assert_prepare_fails(&sources.common, STATUS_DATA, "question 'q2'");
  sources.common.options.skip_bad = true;
  for (int rationale = 0; rationale < 2; rationale++) {
    prepare_counts_t counts;
    sources.common.options.choices_rationale = rationale;
    dataset_t *dataset = prepared(&sources.common, &counts);
    assert_int_equal(counts.samples, 2);
    assert_int_equal(counts.skipped, 1);
    check_choice(dataset, rationale);
    dataset_close(dataset);
  }
  setting_end(&sources.common);
}

/* ---- Captions ---- */

static void captions_are_samples_and_facts(void **state) {
  (void)state;
  sources_t sources;
  prepare_counts_t counts;
  sources_start(&sources);
  sources.common.options.captions = sources.captions;
  sources.common.options.caption_facts = sources.captions;
  openings = 0;
  dataset_t *dataset = prepared(&sources.common, &counts);
  if (data_test_first()) assert_int_equal(openings, 2); /* once for each use */
  assert_int_equal(counts.samples, COCO_IMAGES);
  assert_int_equal(counts.without_facts, 0);
  int drawn[7] = {0};
  for (int64_t row = 0; row < COCO_IMAGES; row++) {
    dataset_sample_t sample;
    int caption, image;
    char text[64];
    assert_ok(dataset_sample_read(dataset, row, &sample));
    assert_int_equal(sscanf(sample.conversation.turns[1].text.bytes, "caption %d of %d.", &caption, &image),
                     2);
    snprintf(text, sizeof text, "coco/%012d.jpg", image);
    assert_image(dataset, &sample, text);
    snprintf(text, sizeof text, "caption %d of %d.", caption, image);
    assert_turn(&sample, 1, text);
    drawn[caption]++;
    assert_int_equal(sample.fact_count, 5);
    for (int f = 0; f < 5; f++) {
      snprintf(text, sizeof text, "caption %d of %d.", f, image);
      assert_string_equal(sample.facts[f].bytes, text);
    }
    dataset_sample_free(&sample);
  }
  for (int c = 0; c < 7; c++)
    assert_true(drawn[c] < COCO_IMAGES); /* not always the same one */
  dataset_close(dataset);
  setting_end(&sources.common);
}

static void flickr_captions_are_samples(void **state) {
  (void)state;
  sources_t sources;
  prepare_counts_t counts;
  dataset_sample_t sample;
  sources_start(&sources);
  sources.common.options.flickr = sources.flickr;
  dataset_t *dataset = prepared(&sources.common, &counts);
  assert_int_equal(counts.samples, 2);
  assert_ok(dataset_sample_read(dataset, 0, &sample));
  assert_string_equal(sample.id.bytes, "flickr_1.jpg");
  assert_image(dataset, &sample, "sub/1.jpg");
  const char *answer = sample.conversation.turns[1].text.bytes;
  assert_true(strcmp(answer, "A man .") == 0 || strcmp(answer, "One man .") == 0);
  dataset_sample_free(&sample);
  dataset_close(dataset);
  io_test_write(sources.flickr, "1.jpg#0\tA\n2.jpg#0\tB\n1.jpg#1\tC\n");
  assert_prepare_fails(&sources.common, STATUS_DATA, "line 3");
  io_test_write(sources.flickr, "1.jpg\tA\n");
  assert_prepare_fails(&sources.common, STATUS_DATA, "IMAGE#NUMBER");
  io_test_write(sources.flickr, "1.jpg#0\t\xff\n");
  assert_prepare_fails(&sources.common, STATUS_DATA, "not UTF-8");
  if (data_test_first()) {
    static const char lines[] = "1.jpg#0\tA\n1.jpg#1\tB, \0cut\n";
    assert_ok(file_write(sources.flickr, lines, sizeof lines - 1));
  }
  assert_prepare_fails(&sources.common, STATUS_DATA, "line 2: holds a NUL");
  setting_end(&sources.common);
}

/* ---- Bad elements ---- */

/* The report says REASON of LINE of FILE. */
static void assert_reported(const prepare_setting_t *setting, const char *file, int64_t line,
                            const char *reason) {
  if (!data_test_first()) return;
  json_reader_t *reader;
  json_element_t element;
  bool found = false;
  assert_ok(json_reader_open(setting->report, JSON_ELEMENTS, &reader));
  for (;;) {
    const char *path, *text;
    int64_t at;
    assert_ok(json_reader_next(reader, &element));
    if (element.value == NULL) break;
    assert_ok(json_string(element.value, "file", "report", &path));
    assert_ok(json_int(element.value, "line", "report", &at));
    assert_ok(json_string(element.value, "reason", "report", &text));
    found = found || (strcmp(path, file) == 0 && at == line && strstr(text, reason) != NULL);
  }
  json_reader_close(reader);
  if (!found) fail_msg("no '%s' of line %d of %s", reason, (int)line, file);
}

/* What ends the run with HINT is left out BAD times, and SAMPLES are left. */
static dataset_t *prepared_without(sources_t *sources, const char *hint, int64_t bad, int64_t samples) {
  prepare_counts_t counts;
  sources->common.options.skip_bad = false;
  assert_prepare_fails(&sources->common, STATUS_DATA, hint);
  sources->common.options.skip_bad = true;
  sources->common.options.report = sources->common.report;
  dataset_t *dataset = prepared(&sources->common, &counts);
  assert_int_equal(counts.skipped, bad);
  assert_int_equal(counts.samples, samples);
  return dataset;
}

static void bad_questions_are_left_out(void **state) {
  (void)state;
  sources_t sources;
  dataset_sample_t sample;
  sources_start(&sources);
  sources.common.options.vqa_questions = sources.vqa_questions;
  sources.common.options.vqa_annotations = sources.vqa_annotations;
  io_test_write(sources.vqa_questions,
                "{\"questions\": [{\"image_id\": 1, \"question\": \"Is it?\", \"question_id\": 10},\n"
                "{\"image_id\": 1, \"question\": null, \"question_id\": 11},\n"
                "{\"image_id\": 1, \"question\": \"Both?\", \"question_id\": 12},\n"
                "{\"image_id\": 2, \"question\": \"Unanswered?\", \"question_id\": 13}]}");
  io_test_write(
      sources.vqa_annotations,
      "{\"annotations\": [{\"question_id\": 12, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": "
      "\"yes\"},\n"
      "{\"question_id\": 10, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": \"no\"},\n"
      "{\"question_id\": 10, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": \"no\"},\n"
      "{\"question_id\": 13, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": null},\n"
      "{\"question_id\": 11, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": \"no\"},\n"
      "{\"question_id\": 12, \"answer_type\": \"yes/no\", \"multiple_choice_answer\": \"no\"}]}");
  dataset_t *dataset = prepared_without(&sources, "line 4: element 3", 3, 1);
  assert_reported(&sources.common, sources.vqa_annotations, 4, "'multiple_choice_answer'");
  assert_reported(&sources.common, sources.vqa_questions, 2, "'question'");
  assert_reported(&sources.common, sources.vqa_questions, 3, "question 12");
  assert_ok(dataset_sample_read(dataset, 0, &sample));
  assert_int_equal(sample.conversation.count, 2);
  assert_turn(&sample, 0, "<image>\nIs it?");
  assert_turn(&sample, 1, "No.");
  dataset_sample_free(&sample);
  dataset_close(dataset);
  setting_end(&sources.common);
}

static void bad_captions_are_left_out(void **state) {
  (void)state;
  sources_t sources;
  sources_start(&sources);
  sources.common.options.captions = sources.captions;
  io_test_write(sources.captions, "{\"annotations\": [{\"image_id\": 1, \"caption\": \"good\"},\n"
                                  "{\"image_id\": 1, \"caption\": null},\n"
                                  "{\"image_id\": 2, \"caption\": \" \\n\"},\n"
                                  "{\"caption\": \"of nothing\"}]}");
  dataset_t *dataset = prepared_without(&sources, "line 2: element 1", 3, 1);
  assert_reported(&sources.common, sources.captions, 2, "'caption'");
  assert_reported(&sources.common, sources.captions, 3, "empty");
  assert_reported(&sources.common, sources.captions, 4, "'image_id'");
  dataset_close(dataset);
  setting_end(&sources.common);
}

/* Captions of two images among lines that are none; one is longer than any caption. */
static void write_bad_lines(const char *path) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("1.jpg#0\tA man .\nbroken\n1.jpg#1\t \n2.jpg#0\t", file);
  for (int i = 0; i < 1 << 17; i++)
    fputc('x', file);
  fputs("\n2.jpg#1\t\xff\n2.jpg#2\tA dog .\n1.jpg#2\tA man, again\n2.jpg#3\tA dog .\n", file);
  fprintf(file, "%0200d.jpg#0\tA long name\n3.jpg#0\t\r\n", 1);
  fclose(file);
}

static void bad_lines_are_left_out(void **state) {
  (void)state;
  sources_t sources;
  sources_start(&sources);
  sources.common.options.flickr = sources.flickr;
  if (data_test_first()) write_bad_lines(sources.flickr);
  assert_ok(comm_barrier(mpi_test_world()));
  dataset_t *dataset = prepared_without(&sources, "line 2: expected IMAGE#NUMBER", 7, 2);
  static const char *const reasons[] = {
      [2] = "IMAGE#NUMBER", [3] = "empty",      [4] = "longer", [5] = "UTF-8",
      [7] = "apart",        [9] = "image name", [10] = "empty"};
  for (size_t line = 0; line < sizeof reasons / sizeof *reasons; line++)
    if (reasons[line] != NULL) assert_reported(&sources.common, sources.flickr, (int64_t)line, reasons[line]);
  for (int64_t row = 0; row < 2; row++) {
    dataset_sample_t sample;
    assert_ok(dataset_sample_read(dataset, row, &sample));
    assert_turn(&sample, 1, row == 0 ? "A man ." : "A dog .");
    dataset_sample_free(&sample);
  }
  dataset_close(dataset);
  setting_end(&sources.common);
}

/* ---- Limits, and datasets apart ---- */

/* Which talks the dataset PATH has, as bits. */
static uint64_t talks_of(const char *path) {
  dataset_t *dataset;
  uint64_t talks = 0;
  assert_ok(dataset_open(mpi_test_world(), path, &dataset));
  for (int64_t row = 0; row < dataset_info(dataset).samples; row++) {
    dataset_sample_t sample;
    int i;
    assert_ok(dataset_sample_read(dataset, row, &sample));
    if (sscanf(sample.id.bytes, "talk%d", &i) == 1) talks |= UINT64_C(1) << i;
    dataset_sample_free(&sample);
  }
  dataset_close(dataset);
  return talks;
}

static uint64_t drawn_talks(sources_t *sources, int64_t limit, uint64_t seed) {
  sources->common.options.conversations = sources->common.talks;
  sources->common.options.conversations_limit = limit;
  sources->common.options.seed = seed;
  assert_ok(prepare_run(mpi_test_world(), &sources->common.options, NULL));
  return talks_of(sources->common.output);
}

/* The same talks in the opposite order. */
static void reverse_talks(const char *path) {
  static char text[1 << 16];
  char *lines[TALKS + 2];
  int count = 0;
  FILE *file = fopen(path, "r+");
  assert_non_null(file);
  text[fread(text, 1, sizeof text - 1, file)] = '\0';
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
    lines[count++] = line;
  assert_int_equal(count, TALKS + 2);
  rewind(file);
  for (int i = TALKS; i >= 1; i--) {
    if (lines[i][strlen(lines[i]) - 1] == ',') lines[i][strlen(lines[i]) - 1] = '\0';
    fprintf(file, "%s\n", lines[i]);
  }
  assert_int_equal(ftruncate(fileno(file), ftell(file)), 0);
  fclose(file);
}

static void limits_draw_by_contents(void **state) {
  (void)state;
  sources_t sources;
  sources_start(&sources);
  const uint64_t few = drawn_talks(&sources, 5, 11), more = drawn_talks(&sources, 9, 11);
  assert_int_equal(__builtin_popcountll(few), 5);
  assert_int_equal(__builtin_popcountll(more), 9);
  assert_true((few & ~more) == 0);
  assert_true(drawn_talks(&sources, 9, 12) != more);
  assert_int_equal(__builtin_popcountll(drawn_talks(&sources, 1000, 11)), TALKS);
  if (data_test_first()) reverse_talks(sources.common.talks);
  assert_ok(comm_barrier(mpi_test_world()));
  assert_true(drawn_talks(&sources, 5, 11) == few);
  setting_end(&sources.common);
}

static void datasets_share_no_image(void **state) {
  (void)state;
  sources_t sources;
  sources_start(&sources);
  const uint64_t first = drawn_talks(&sources, 6, 11);
  char other[FILE_MAX_PATH], *summary = NULL;
  const char *apart[] = {sources.common.output};
  prepare_options_t *options = &sources.common.options;
  options->output = io_test_path(other, sources.common.folder, "other.h5");
  options->apart_from = apart;
  options->apart_count = 1;
  options->conversations_limit = 0;
  options->summary = &summary;
  prepare_counts_t counts;
  assert_ok(prepare_run(mpi_test_world(), options, &counts));
  const uint64_t second = talks_of(other);
  uint64_t images[2] = {0};
  int64_t alike = 0;
  for (int i = 0; i < TALKS; i++) {
    if (i % 4 == 3) continue; /* without an image: not kept apart */
    images[0] |= (first >> i & 1) << (i % PICTURES);
    images[1] |= (second >> i & 1) << (i % PICTURES);
  }
  for (int i = 0; i < TALKS; i++)
    alike += i % 4 != 3 && (images[0] >> (i % PICTURES) & 1);
  assert_true(images[0] != 0 && images[1] != 0);
  assert_true((images[0] & images[1]) == 0);
  assert_int_equal(counts.samples, TALKS - alike);
  assert_int_equal(counts.chosen_away, alike);
  if (data_test_first()) {
    char text[64];
    snprintf(text, sizeof text, "\"apart\":%d", (int)alike);
    if (strstr(summary, text) == NULL) fail_msg("%s lacks %s", summary, text);
  }
  memory_free(summary);
  options->summary = NULL;
  const char *kinds[] = {"vqa"}; /* conversations may share images then */
  options->apart_kinds = kinds;
  options->apart_kind_count = 1;
  assert_ok(prepare_run(mpi_test_world(), options, &counts));
  assert_int_equal(counts.samples, TALKS);
  setting_end(&sources.common);
}

/* COCO's names of other years stand for the same pictures. */
static void images_are_known_by_their_files(void **state) {
  (void)state;
  sources_t sources;
  sources_start(&sources);
  prepare_options_t *options = &sources.common.options;
  options->captions = sources.captions;
  options->captions_limit = 2;
  assert_ok(prepare_run(mpi_test_world(), options, NULL));
  char other[FILE_MAX_PATH], from[FILE_MAX_PATH], to[FILE_MAX_PATH];
  if (data_test_first())
    for (int i = 1; i <= COCO_IMAGES; i++) {
      char name[64];
      snprintf(name, sizeof name, "coco/%012d.jpg", i);
      io_test_path(from, sources.common.images, name);
      snprintf(name, sizeof name, "COCO_train2014_%012d.jpg", i);
      assert_int_equal(rename(from, io_test_path(to, sources.common.images, name)), 0);
    }
  const char *apart[] = {sources.common.output};
  options->output = io_test_path(other, sources.common.folder, "other.h5");
  options->coco_prefix = "COCO_train2014_";
  options->captions_limit = 0;
  options->apart_from = apart;
  options->apart_count = 1;
  prepare_counts_t counts;
  assert_ok(comm_barrier(mpi_test_world()));
  assert_ok(prepare_run(mpi_test_world(), options, &counts));
  assert_int_equal(counts.samples, COCO_IMAGES - 2);
  assert_int_equal(counts.chosen_away, 2);
  setting_end(&sources.common);
}

/* ---- All together ---- */

static void each_file_is_read_once(void **state) {
  (void)state;
  sources_t sources;
  prepare_counts_t counts;
  sources_start(&sources);
  prepare_options_t *options = &sources.common.options;
  options->conversations = sources.common.talks;
  options->preferences = sources.common.pairs;
  options->vqa_questions = sources.vqa_questions;
  options->vqa_annotations = sources.vqa_annotations;
  options->choices = sources.choices;
  options->flickr = sources.flickr;
  options->facts = sources.common.facts;
  options->held_out = 4;
  options->held_out_output = sources.common.held_out;
  options->skip_bad = true;
  openings = 0;
  assert_ok(prepare_run(mpi_test_world(), options, &counts));
  assert_int_equal(openings, data_test_first() ? 6 : 0);
  assert_int_equal(counts.samples, TALKS + PAIRS + 2 + 2 + 2);
  setting_end(&sources.common);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(yes_no_questions_become_conversations),
      cmocka_unit_test(choices_have_rationales),
      cmocka_unit_test(captions_are_samples_and_facts),
      cmocka_unit_test(flickr_captions_are_samples),
      cmocka_unit_test(bad_questions_are_left_out),
      cmocka_unit_test(bad_captions_are_left_out),
      cmocka_unit_test(bad_lines_are_left_out),
      cmocka_unit_test(limits_draw_by_contents),
      cmocka_unit_test(datasets_share_no_image),
      cmocka_unit_test(images_are_known_by_their_files),
      cmocka_unit_test(each_file_is_read_once),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

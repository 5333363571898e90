/* Real photographs, with questions in the published JSON, through tasks prepare, pretrain, generate and
 * score. They are not in the source tree: fetch.sh gets them; without them the test is skipped. */
#define _GNU_SOURCE
#include "cli/cli.h"

#include "base/memory.h"
#include "data/loader.h"
#include "io/formats/dataset.h"
#include "io/formats/scores_file.h"
#include "io/h5.h"
#include "io/jpeg.h"
#include "io/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SKIPPED = 77, LAYOUTS = 3, SIZE = 336, GRID = 8 };

/* The sampler's log-probability against the training forward's, and layouts among each other: fp32. */
static const double tolerance = 1e-5;

static const struct {
  const char *file;
  int32_t width, height;
  const char *question, *answer;
} photographs[] = {
    {"dog.jpg", 768, 576, "What is in front of the bicycle?", "A black dog sits on a porch."},
    {"eagle.jpg", 773, 512, "Which animal is this?", "An eagle stands by the water."},
    {"giraffe.jpg", 500, 500, "Which animals are these?", "A giraffe and a zebra."},
    {"horses.jpg", 773, 512, "Which animals are these?", "Four horses on dry grass."},
    {"kite.jpg", 1352, 900, "What do people do here?", "They fly kites on a beach."},
    {"person.jpg", 640, 424, "Who is in the photograph?", "A man in blue, a dog and a white horse."},
    {"scream.jpg", 352, 448, "What is shown?", "A painting of a person who screams."},
    {"branches.jpg", 600, 400, "What is shown?", "Branches in blossom."},
    {"throne.jpg", 500, 375, "What is shown?", "A throne in a palace."},
    {"garden.jpg", 205, 102, "What is shown?", "A lawn between trees."},
    {"hibiscus.jpg", 2268, 1512, "What is shown?", "A pink flower."},
    {"tower.jpg", 512, 512, "What is shown?", "The Eiffel tower under a blue sky."},
    {"tower_grey.jpg", 512, 512, "What is shown?", "The Eiffel tower without colours."},
    {"tower_progressive.jpg", 512, 512, "What is shown?", "The Eiffel tower under a blue sky."},
};
enum { PHOTOGRAPHS = sizeof photographs / sizeof *photographs };

static const struct {
  int ranks;
  const char *name, *tp;
} layouts[LAYOUTS] = {
    {1, "alone", "parallel.tp=1"}, {2, "dp2", "parallel.tp=1"}, {2, "tp2", "parallel.tp=2"}};

static const char *folder(void) {
  const char *set = getenv("LLAVA_RLHF_TEST_PHOTOGRAPHS");
  return set && *set ? set : PHOTOGRAPHS_FOLDER;
}

static void path_of(int i, char path[512]) {
  snprintf(path, 512, "%s/%s", folder(), photographs[i].file);
}

static bool photographs_are_there(void) {
  for (int i = 0; i < PHOTOGRAPHS; i++) {
    char path[512];
    path_of(i, path);
    if (access(path, R_OK) != 0) return false;
  }
  return true;
}

/* ---- The JSON ---- */

static void write_turn(json_writer_t *writer, const char *from, const char *value) {
  json_write_object_begin(writer);
  json_write_member(writer, "from", from);
  json_write_member(writer, "value", value);
  json_write_object_end(writer);
}

/* Instruction data as published, with ANSWERS (NULL: the right ones). */
static void write_conversations(const char *path, char *const *answers) {
  FILE *file = fopen(path, "wb");
  json_writer_t *writer;
  assert_non_null(file);
  assert_int_equal(json_writer_create(file, &writer), STATUS_OK);
  json_write_array_begin(writer);
  for (int i = 0; i < PHOTOGRAPHS; i++) {
    char text[256];
    snprintf(text, sizeof text, "%09d", 1000 + i);
    json_write_object_begin(writer);
    json_write_member(writer, "id", text);
    json_write_member(writer, "image", photographs[i].file);
    json_write_key(writer, "conversations");
    json_write_array_begin(writer);
    snprintf(text, sizeof text, "<image>\n%s", photographs[i].question);
    write_turn(writer, "human", text);
    write_turn(writer, "gpt", answers ? answers[i] : photographs[i].answer);
    json_write_array_end(writer);
    json_write_object_end(writer);
  }
  json_write_array_end(writer);
  assert_int_equal(json_writer_finish(writer, NULL, NULL), STATUS_OK);
  assert_int_equal(fclose(file), 0);
}

/* Questions as the published benchmarks have them. */
static void write_questions(const char *path) {
  FILE *file = fopen(path, "wb");
  json_writer_t *writer;
  assert_non_null(file);
  assert_int_equal(json_writer_create(file, &writer), STATUS_OK);
  for (int i = 0; i < PHOTOGRAPHS; i++) {
    json_write_object_begin(writer);
    json_write_int_member(writer, "question_id", i);
    json_write_member(writer, "image", photographs[i].file);
    json_write_member(writer, "text", photographs[i].question);
    json_write_object_end(writer);
    json_write_line(writer);
  }
  assert_int_equal(json_writer_finish(writer, NULL, NULL), STATUS_OK);
  assert_int_equal(fclose(file), 0);
}

static void write_input(const char *path, const char *format, const char *argument) {
  char text[2048];
  int n = snprintf(text, sizeof text, format, argument);
  cli_write(path, text, (size_t)n);
}

static void prepare(const char *conversations, const char *dataset, int ranks) {
  cli_result_t result;
  char set[3][600];
  snprintf(set[0], sizeof set[0], "prepare.conversations=%s", conversations);
  snprintf(set[1], sizeof set[1], "prepare.output=%s", dataset);
  snprintf(set[2], sizeof set[2], "job.run_dir=%s_run", dataset);
  CLI_RUN(ranks, &result, "--set", set[0], "--set", set[1], "--set", set[2], "prepare.nml");
  cli_expect(&result, 0);
}

/* A small model learns the answers by heart: with 56-pixel images, a matter of seconds. */
static int set_up(void **state) {
  cli_result_t result;
  if (cli_enter_world(state) != 0) return -1;
  write_conversations("photographs.json", NULL);
  write_questions("questions.jsonl");
  write_input("prepare.nml", "&job task = 'prepare' /\n&prepare image_folder = '%s' /\n", folder());
  write_input("generate.nml",
              "&job task = 'generate' /\n&generate dataset = 'questions.jsonl' image_folder = '%s'\n"
              "  greedy = .true. logprobs = .true. max_tokens = 48 /\n&data max_len = 512 /\n",
              folder());
  write_input("score.nml", "&job task = 'score' /\n&data max_len = 512 /\n%s", "");
  prepare("photographs.json", "photographs.h5", 1);
  CLI_RUN(1, &result, "--set", "job.run_dir=learnt", "--set", "data.dataset=photographs.h5", "--set",
          "model.vision_image_size=56", "--set", "model.vision_patch=14", "--set", "model.hidden=64", "--set",
          "model.mlp=128", "--set", "image.aspect=pad", "--set", "data.max_len=512", "--set",
          "optim.batch=14", "--set", "optim.steps=60", "--set", "optim.lr=3e-3", "train.nml");
  cli_expect(&result, 0);
  return 0;
}

/* ---- The dataset ---- */

static void dataset_holds_every_photograph(void **state) {
  (void)state;
  dataset_t *alone, *shared;
  h5_file_t *file;
  int32_t size[2][PHOTOGRAPHS];
  prepare("photographs.json", "shared.h5", 2);
  assert_int_equal(dataset_open(NULL, "photographs.h5", &alone), STATUS_OK);
  assert_int_equal(dataset_open(NULL, "shared.h5", &shared), STATUS_OK);
  assert_int_equal(dataset_info(alone).samples, PHOTOGRAPHS);
  assert_int_equal(dataset_info(alone).images, PHOTOGRAPHS);
  assert_int_equal(dataset_info(alone).skipped, 0);
  assert_true(dataset_info(alone).identity == dataset_info(shared).identity);
  assert_int_equal(h5_open("photographs.h5", H5_READ, NULL, &file), STATUS_OK);
  assert_int_equal(h5_read_rows(file, "/image/width", H5TYPE_I32, 0, PHOTOGRAPHS, size[0]), STATUS_OK);
  assert_int_equal(h5_read_rows(file, "/image/height", H5TYPE_I32, 0, PHOTOGRAPHS, size[1]), STATUS_OK);
  assert_int_equal(h5_close(file), STATUS_OK);
  for (int i = 0; i < PHOTOGRAPHS; i++) {
    dataset_sample_t sample;
    char *name, path[512];
    static char found[2 << 20], expected[2 << 20];
    assert_int_equal(dataset_sample_read(alone, i, &sample), STATUS_OK);
    assert_true(text_equal(sample.conversation.turns[1].text, photographs[i].answer));
    assert_int_equal(dataset_image_name(alone, sample.image, &name), STATUS_OK);
    assert_string_equal(name, photographs[i].file);
    assert_int_equal(size[0][sample.image], photographs[i].width);
    assert_int_equal(size[1][sample.image], photographs[i].height);
    path_of(i, path);
    size_t n = cli_read(path, expected, sizeof expected);
    assert_int_equal(dataset_image_size(alone, sample.image), (int64_t)n);
    assert_int_equal(dataset_image_read(alone, sample.image, (uint8_t *)found), STATUS_OK);
    assert_memory_equal(found, expected, n);
    memory_free(name);
    dataset_sample_free(&sample);
  }
  dataset_close(alone);
  dataset_close(shared);
}

/* Against what Pillow and CLIPImageProcessor make of them: a tile's middle pixel for each tile. */
static void pixels_are_those_of_the_reference(void **state) {
  (void)state;
  static float pixels[3 * SIZE * SIZE];
  enum { STEP = SIZE / GRID };
  FILE *golden = fopen(TEST_SOURCE_DIR "/photographs/golden/pixels.bin", "rb");
  dataset_t *dataset;
  assert_non_null(golden);
  assert_int_equal(dataset_open(NULL, "photographs.h5", &dataset), STATUS_OK);
  for (int i = 0; i < PHOTOGRAPHS; i++)
    for (int square = 0; square <= 1; square++) {
      float expected[3][GRID][GRID];
      image_t image;
      assert_int_equal(fread(expected, sizeof expected, 1, golden), 1);
      assert_int_equal(loader_image(dataset, dataset_sample_image(dataset, i), &image), STATUS_OK);
      assert_int_equal(image_preprocess(&image, square ? IMAGE_SQUARE : IMAGE_PAD, PIXELS_CLIP, SIZE, pixels),
                       STATUS_OK);
      image_free(&image);
      for (int c = 0; c < 3; c++)
        for (int y = 0; y < GRID; y++)
          for (int x = 0; x < GRID; x++) {
            float found = pixels[(c * SIZE + y * STEP + STEP / 2) * SIZE + x * STEP + STEP / 2];
            if (fabsf(found - expected[c][y][x]) > 1e-5F)
              fail_msg("%s, %s: channel %d, tile %d, %d: %g, expected %g", photographs[i].file,
                       square ? "square" : "pad", c, y, x, (double)found, (double)expected[c][y][x]);
          }
    }
  fclose(golden);
  dataset_close(dataset);
}

/* ---- Answers and scores ---- */

typedef struct {
  char *answer[PHOTOGRAPHS];
  int64_t tokens[PHOTOGRAPHS];
  double logprob[PHOTOGRAPHS];
  bool stopped[PHOTOGRAPHS];
} answers_t;

static void read_answers(const char *run_dir, answers_t *answers) {
  char path[128];
  json_reader_t *reader;
  json_element_t element;
  int i = 0;
  snprintf(path, sizeof path, "%s/answers.jsonl", run_dir);
  assert_int_equal(json_reader_open(path, JSON_ELEMENTS, &reader), STATUS_OK);
  for (;; i++) {
    assert_int_equal(json_reader_next(reader, &element), STATUS_OK);
    if (!element.value) break;
    assert_in_range(i, 0, PHOTOGRAPHS - 1);
    assert_int_equal(json_get(element.value, "question_id")->u.integer, i);
    assert_string_equal(json_get(element.value, "image")->u.string, photographs[i].file);
    answers->answer[i] = strdup(json_get(element.value, "answer")->u.string);
    answers->tokens[i] = json_get(element.value, "tokens")->u.integer;
    answers->logprob[i] = json_get(element.value, "logprob")->u.real;
    answers->stopped[i] = json_get(element.value, "stopped")->u.boolean;
  }
  assert_int_equal(i, PHOTOGRAPHS);
  json_reader_close(reader);
}

static void free_answers(answers_t *answers) {
  for (int i = 0; i < PHOTOGRAPHS; i++)
    free(answers->answer[i]);
}

/* Runs INPUT on a layout with MODEL into NAME_layout, which is written to RUN_DIR. */
static void run_layout(const char *input, const char *name, int layout, const char *model, const char *more,
                       char run_dir[64]) {
  cli_result_t result;
  char set[2][128];
  snprintf(run_dir, 64, "%s_%s", name, layouts[layout].name);
  snprintf(set[0], sizeof set[0], "job.run_dir=%s", run_dir);
  snprintf(set[1], sizeof set[1], "model.base=%s/model.h5", model);
  CLI_RUN(layouts[layout].ranks, &result, "--set", set[0], "--set", set[1], "--set", layouts[layout].tp,
          "--set", more, input);
  cli_expect(&result, 0);
}

static void read_scores(const char *run_dir, scores_file_t *scores) {
  char path[128];
  snprintf(path, sizeof path, "%s/scores.h5", run_dir);
  assert_int_equal(scores_file_read(path, 0, -1, scores), STATUS_OK);
  assert_int_equal(scores->samples, PHOTOGRAPHS);
}

static double score_of(const scores_file_t *scores, int i, int64_t tokens) {
  double sum = 0.0;
  for (int64_t t = 0; t < tokens; t++)
    sum += (double)scores->logprob[scores->offsets[i] + t];
  return sum;
}

/* Every photograph has the answer that was learnt for it, on every layout. */
static void answers_fit_their_photographs(void **state) {
  (void)state;
  answers_t alone, other;
  char run_dir[64];
  for (int l = 0; l < LAYOUTS; l++) {
    answers_t *answers = l == 0 ? &alone : &other;
    run_layout("generate.nml", "answers", l, "learnt", "image.aspect=pad", run_dir);
    read_answers(run_dir, answers);
    for (int i = 0; i < PHOTOGRAPHS; i++) {
      assert_string_equal(answers->answer[i], photographs[i].answer);
      assert_true(answers->stopped[i]);
      assert_true(fabs(answers->logprob[i] - alone.logprob[i]) <= tolerance);
    }
    if (l > 0) free_answers(answers);
  }
  free_answers(&alone);
}

/* Scoring what was generated gives the sampler's log-probabilities, token counts included. */
static void scores_are_the_samplers(void **state) {
  (void)state;
  answers_t answers;
  char run_dir[64];
  run_layout("generate.nml", "sampled", 0, "learnt", "generate.temperature=1", run_dir);
  read_answers(run_dir, &answers);
  write_conversations("answered.json", answers.answer);
  prepare("answered.json", "answered.h5", 2);
  for (int l = 0; l < LAYOUTS; l++) {
    scores_file_t scores;
    run_layout("score.nml", "scored", l, "learnt", "data.dataset=answered.h5", run_dir);
    read_scores(run_dir, &scores);
    for (int i = 0; i < PHOTOGRAPHS; i++) {
      assert_int_equal(scores.offsets[i + 1] - scores.offsets[i], answers.tokens[i]);
      double score = score_of(&scores, i, answers.tokens[i]);
      if (!(fabs(score - answers.logprob[i]) <= tolerance))
        fail_msg("%s on %s: score %.9g, sampler %.9g", photographs[i].file, layouts[l].name, score,
                 answers.logprob[i]);
    }
    scores_file_free(&scores);
  }
  free_answers(&answers);
}

/* Cropping instead of padding changes what the model sees, but not of square photographs. */
static void aspect_matters_unless_square(void **state) {
  (void)state;
  char run_dir[64];
  scores_file_t pad, square;
  run_layout("score.nml", "pad", 0, "learnt", "data.dataset=photographs.h5", run_dir);
  read_scores(run_dir, &pad);
  cli_result_t result;
  CLI_RUN(2, &result, "--set", "job.run_dir=square", "--set", "model.base=learnt/model.h5", "--set",
          "data.dataset=photographs.h5", "--set", "image.aspect=square", "score.nml");
  cli_expect(&result, 0);
  read_scores("square", &square);
  for (int i = 0; i < PHOTOGRAPHS; i++) {
    int64_t tokens = pad.offsets[i + 1] - pad.offsets[i];
    double difference = fabs(score_of(&pad, i, tokens) - score_of(&square, i, tokens));
    if (photographs[i].width == photographs[i].height)
      assert_true(difference <= tolerance);
    else
      assert_true(difference > 1e-4);
  }
  scores_file_free(&pad);
  scores_file_free(&square);
}

/* The shape of the published 13B model's tower input: 336 pixels in patches of 14, so 576 places. */
static void places_of_336_pixels(void **state) {
  (void)state;
  cli_result_t result;
  char run_dir[64];
  CLI_RUN(2, &result, "--set", "job.run_dir=large", "--set", "data.dataset=photographs.h5", "--set",
          "model.vision_image_size=336", "--set", "model.vision_patch=14", "--set", "image.aspect=pad",
          "--set", "data.max_len=512", "--set", "optim.batch=14", "--set", "optim.steps=2", "train.nml");
  cli_expect(&result, 0);
  scores_file_t alone, other;
  answers_t answers;
  for (int l = 0; l < LAYOUTS; l++) {
    run_layout("score.nml", "large_score", l, "large", "data.dataset=photographs.h5", run_dir);
    read_scores(run_dir, l == 0 ? &alone : &other);
    if (l == 0) continue;
    int64_t tokens = alone.offsets[PHOTOGRAPHS];
    assert_int_equal(other.offsets[PHOTOGRAPHS], tokens);
    for (int64_t t = 0; t < tokens; t++)
      assert_true(fabs((double)other.logprob[t] - (double)alone.logprob[t]) <= tolerance);
    scores_file_free(&other);
  }
  scores_file_free(&alone);
  run_layout("generate.nml", "large_answers", 1, "large", "generate.max_tokens=8", run_dir);
  read_answers(run_dir, &answers);
  free_answers(&answers);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dataset_holds_every_photograph), cmocka_unit_test(pixels_are_those_of_the_reference),
      cmocka_unit_test(answers_fit_their_photographs),  cmocka_unit_test(scores_are_the_samplers),
      cmocka_unit_test(aspect_matters_unless_square),   cmocka_unit_test(places_of_336_pixels),
  };
  if (!photographs_are_there()) {
    printf("skipped: no photographs in %s; tests/photographs/fetch.sh gets them\n", folder());
    return SKIPPED;
  }
  return cmocka_run_group_tests(tests, set_up, cli_leave);
}

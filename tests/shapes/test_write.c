/* The whole world, small: the same bytes for any number of ranks, images that show their scenes, files in the
 * published formats, a tokenizer that knows the words. */
#define _XOPEN_SOURCE 700
#include "mpi_test.h"

#include "base/memory.h"
#include "io/file.h"
#include "io/formats/tokenizer_file.h"
#include "io/jpeg.h"
#include "io/json.h"
#include "shapes/judge.h"
#include "shapes/render.h"
#include "shapes/scene_file.h"
#include "shapes/words.h"
#include "shapes/world_task.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MOST = 1 << 24, EVAL = 16, SCENES = 9 + 22 + 6 + 4 + 14 + EVAL };

static world_options_t small_world(const char *dir) {
  world_options_t options = world_options_default();
  options.dir = dir;
  options.pretrain_images = 9;
  options.sft_images = 22;
  options.pair_images = 6;
  options.policy_init_images = 10; /* 6 conversations and 4 choices */
  options.rl_images = 14;
  options.eval_images = EVAL;
  return options;
}

/* A folder that rank 0 makes, known to all. */
static void folder_make(char *folder, size_t n) {
  memset(folder, 0, n);
  if (comm_rank(mpi_test_world()) == 0) {
    strcpy(folder, "/tmp/llava_rlhf_world_XXXXXX");
    assert_non_null(mkdtemp(folder));
  }
  assert_ok(comm_broadcast(mpi_test_world(), folder, n, COMM_BYTE, 0));
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
  (void)info;
  (void)kind;
  (void)where;
  return remove(path);
}

static void folder_remove(const char *folder) {
  assert_ok(comm_barrier(mpi_test_world()));
  if (comm_rank(mpi_test_world()) == 0)
    assert_int_equal(nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static char *read_file(const char *folder, const char *name, size_t *n) {
  char path[FILE_MAX_PATH], *text;
  assert_ok(file_join(path, folder, name, NULL));
  assert_ok(file_read(path, FILE_MOST, &text, n));
  return text;
}

static void same_file(const char *one, const char *other, const char *name) {
  size_t n, m;
  char *a = read_file(one, name, &n), *b = read_file(other, name, &m);
  if (n != m || memcmp(a, b, n) != 0) fail_msg("%s differs between numbers of ranks", name);
  memory_free(a);
  memory_free(b);
}

static void bytes_do_not_depend_on_ranks(void **state) {
  static const char *const names[] = {"scenes.jsonl", "pretrain.json",    "sft.json",       "prompts.json",
                                      "rl.json",      "policy_init.json", "facts.json",     "eval.json",
                                      "pope.jsonl",   "corpus.txt",       "tokenizer.model"};
  char all[64], alone[64], image[SCENE_IMAGE_MAX + 8];
  comm_t *self;
  (void)state;
  folder_make(all, sizeof all);
  folder_make(alone, sizeof alone);
  world_options_t options = small_world(all);
  assert_ok(world_write(mpi_test_world(), &options));
  int rank = comm_rank(mpi_test_world());
  assert_ok(comm_split(mpi_test_world(), rank, 0, "self", &self));
  options.dir = alone;
  if (rank == 0) {
    assert_ok(world_write(self, &options));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
      same_file(all, alone, names[i]);
    for (int64_t id = 0; id < SCENES; id++) {
      strcpy(image, "images/");
      scene_image_name(id, image + strlen(image));
      same_file(all, alone, image);
    }
  }
  comm_free(self);
  folder_remove(all);
  folder_remove(alone);
}

static void check_image(const char *folder, const world_options_t *options, int64_t id) {
  char name[SCENE_IMAGE_MAX + 8] = "images/";
  size_t n;
  image_t decoded, drawn;
  scene_t scene;
  double sum = 0;
  scene_image_name(id, name + strlen(name));
  char *bytes = read_file(folder, name, &n);
  assert_ok(jpeg_decode((const uint8_t *)bytes, n, name, &decoded));
  scene_draw(options->seed, id, options->objects_min, options->objects_max, &scene);
  assert_ok(scene_render(&scene, options->image_size, &drawn));
  assert_int_equal(decoded.width, drawn.width);
  for (int i = 0; i < 3 * drawn.width * drawn.height; i++)
    sum += abs(decoded.rgb[i] - drawn.rgb[i]);
  assert_true(sum / (3 * drawn.width * drawn.height) < 8);
  image_free(&decoded);
  image_free(&drawn);
  memory_free(bytes);
}

static const json_t *turn_of(const json_t *element, int64_t i, const char *from, const char **value) {
  const json_t *turns;
  const char *said_by;
  assert_ok(json_array(element, "conversations", "element", &turns));
  const json_t *turn = json_at(turns, i);
  assert_non_null(turn);
  assert_ok(json_string(turn, "from", "turn", &said_by));
  assert_string_equal(said_by, from);
  assert_ok(json_string(turn, "value", "turn", value));
  return turns;
}

/* A file of conversations: as many as expected, alternating, the image's mark in the first question only.
 * Returns its turns. */
static int64_t check_conversations(const char *folder, const char *name, int64_t count, bool with_type) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  int64_t turns_in_all = 0, type;
  assert_ok(file_join(path, folder, name, NULL));
  assert_ok(json_parse_file(path, FILE_MOST, &document));
  assert_int_equal(document.root->type, JSON_ARRAY);
  assert_int_equal(document.root->count, count);
  for (const json_t *element = document.root->u.first; element; element = element->next) {
    const char *value, *id, *image;
    const json_t *turns = turn_of(element, 0, "human", &value);
    assert_non_null(strstr(value, "<image>"));
    assert_ok(json_string(element, "id", name, &id));
    assert_ok(json_string(element, "image", name, &image));
    for (int64_t i = 1; i < turns->count; i++) {
      turn_of(element, i, i % 2 ? "gpt" : "human", &value);
      assert_null(strstr(value, "<image>"));
      if (i % 2) assert_null(strchr(value, '?'));
    }
    assert_int_equal(turns->count % 2, 0);
    turns_in_all += turns->count;
    if (with_type) assert_ok(json_int(element, "caption_type", name, &type));
    if (with_type) assert_in_range(type, 1, 7);
    assert_int_equal(json_get(element, "caption_type") != NULL, with_type);
  }
  json_free(&document);
  return turns_in_all;
}

/* The true answers of eval.json, looked up in scenes.jsonl as an evaluation does, get full marks; the types
 * go round. */
static void check_eval(const char *folder) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  scene_table_t scenes;
  int i = 0;
  assert_ok(file_join(path, folder, "scenes.jsonl", NULL));
  assert_ok(scene_table_read(path, &scenes));
  assert_int_equal(scenes.count, SCENES);
  assert_ok(file_join(path, folder, "eval.json", NULL));
  assert_ok(json_parse_file(path, FILE_MOST, &document));
  assert_int_equal(document.root->count, EVAL);
  for (const json_t *element = document.root->u.first; element; element = element->next, i++) {
    const char *image, *question, *answer, *type, *source;
    const json_t *content;
    judgement_t judgement;
    assert_ok(json_string(element, "image", "eval", &image));
    assert_ok(json_string(element, "image_src", "eval", &source));
    assert_ok(json_string(element, "question", "eval", &question));
    assert_ok(json_string(element, "gt_answer", "eval", &answer));
    assert_ok(json_string(element, "question_type", "eval", &type));
    assert_ok(json_array(element, "image_content", "eval", &content));
    const scene_t *scene = scene_table_find(&scenes, image);
    assert_non_null(scene);
    assert_true(scene->count >= 2);
    assert_int_equal(content->count, scene->count);
    assert_string_equal(type, question_type_name((question_type_t)(i % TYPE_MMHAL_COUNT)));
    judge_response(scene, question, answer, &judgement);
    assert_int_equal(judgement.rating, MMHAL_RATING);
    assert_int_equal(judgement.type, i % TYPE_MMHAL_COUNT);
  }
  json_free(&document);
  scene_table_free(&scenes);
}

/* Every image that a reward model sees has captions; every one with options a rationale. */
static void check_facts(const char *folder) {
  static const char *const files[] = {"prompts.json", "policy_init.json", "rl.json", "eval.json"};
  char path[FILE_MAX_PATH], key[64];
  json_document_t facts, samples;
  const json_t *captions;
  int rationales = 0;
  assert_ok(file_join(path, folder, "facts.json", NULL));
  assert_ok(json_parse_file(path, FILE_MOST, &facts));
  for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
    assert_ok(file_join(path, folder, files[f], NULL));
    assert_ok(json_parse_file(path, FILE_MOST, &samples));
    for (const json_t *element = samples.root->u.first; element; element = element->next) {
      const char *image, *question;
      assert_ok(json_string(element, "image", files[f], &image));
      assert_ok(json_array(facts.root, image, "facts.json", &captions));
      assert_in_range(captions->count, 3, 5);
      turn_of(element, 0, "human", &question);
      bool options = strstr(question, "\nA. ") != NULL;
      snprintf(key, sizeof key, "aok_%s", image);
      assert_int_equal(json_get(facts.root, key) != NULL, options);
      rationales += options;
    }
    json_free(&samples);
  }
  assert_true(rationales >= 4);
  json_free(&facts);
}

static void check_pope(const char *folder) {
  char path[FILE_MAX_PATH];
  json_reader_t *reader;
  json_element_t element;
  int yes = 0, count = 0;
  assert_ok(file_join(path, folder, "pope.jsonl", NULL));
  assert_ok(json_reader_open(path, JSON_ELEMENTS, &reader));
  for (;;) {
    assert_ok(json_reader_next(reader, &element));
    if (!element.value) break;
    const char *label, *text, *image;
    assert_ok(json_string(element.value, "label", path, &label));
    assert_ok(json_string(element.value, "text", path, &text));
    assert_ok(json_string(element.value, "image", path, &image));
    yes += strcmp(label, "yes") == 0;
    count++;
  }
  json_reader_close(reader);
  assert_int_equal(count, 2 * EVAL);
  assert_int_equal(yes, EVAL);
}

static void check_tokenizer(const char *folder) {
  char path[FILE_MAX_PATH];
  tokenizer_t *tokenizer;
  int count;
  const char *const *words = world_vocabulary(&count);
  assert_ok(file_join(path, folder, "tokenizer.model", NULL));
  assert_ok(tokenizer_load(path, &tokenizer));
  assert_true(tokenizer_size(tokenizer) <= 768);
  assert_true(tokenizer_piece_id(tokenizer, "?") >= 0); /* where a response is cut */
  for (int i = 0; i < count; i++) {
    int32_t *ids, n;
    assert_ok(tokenizer_encode(tokenizer, words[i], strlen(words[i]), &ids, &n));
    if (n != 1) fail_msg("'%s' has %d pieces", words[i], (int)n);
    memory_free(ids);
  }
  tokenizer_free(tokenizer);
}

static void files_are_what_they_should_be(void **state) {
  char folder[64];
  (void)state;
  folder_make(folder, sizeof folder);
  const world_options_t options = small_world(folder);
  assert_ok(world_write(mpi_test_world(), &options));
  if (comm_rank(mpi_test_world()) == 0) {
    for (int64_t id = 0; id < 9; id++)
      check_image(folder, &options, id);
    assert_int_equal(check_conversations(folder, "pretrain.json", 9, false), 9 * 2);
    assert_int_equal(check_conversations(folder, "sft.json", 22, false),
                     2 * ((10 + 8) * options.turns + 2 + 2));
    assert_int_equal(check_conversations(folder, "prompts.json", 6, false), 6 * 2);
    assert_int_equal(check_conversations(folder, "policy_init.json", 10, false), 2 * (6 * options.turns + 4));
    assert_int_equal(check_conversations(folder, "rl.json", 14, true), 14 * 2);
    check_eval(folder);
    check_facts(folder);
    check_pope(folder);
    check_tokenizer(folder);
  }
  folder_remove(folder);
}

static void bad_options_are_refused_by_all(void **state) {
  world_options_t options[8];
  (void)state;
  for (int i = 0; i < 8; i++)
    options[i] = small_world("/tmp");
  options[0].objects_max = 9;
  options[1].objects_min = 0;
  options[2].turns = 33;
  options[3].image_size = 8;
  options[4].quality = 101;
  options[5].bias = 1.5;
  options[6].sft_images = -1;
  options[7].objects_min = 5;
  for (int i = 0; i < 8; i++)
    assert_error(world_write(mpi_test_world(), &options[i]), STATUS_INPUT);
  world_options_t nowhere = small_world("/dev/null/world");
  assert_error(world_write(mpi_test_world(), &nowhere), STATUS_DATA);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_do_not_depend_on_ranks),
                                     cmocka_unit_test(files_are_what_they_should_be),
                                     cmocka_unit_test(bad_options_are_refused_by_all)};
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

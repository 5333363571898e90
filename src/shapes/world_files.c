#include "shapes/world_files.h"

#include "io/output_file.h"
#include "shapes/scene_file.h"
#include "shapes/text_add.h"
#include "shapes/words.h"
#include "shapes/world_sets.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The scene of an element, its conversation and where it goes. */
typedef struct {
  const world_options_t *options;
  world_set_t set;
  const char *id_prefix;
  int turns;          /* written at most */
  bool caption_types; /* written */
} set_writer_t;

static void world_files_write_turn(json_writer_t *writer, const char *from, const char *value) {
  json_write_object_begin(writer);
  json_write_member(writer, "from", from);
  json_write_member(writer, "value", value);
  json_write_object_end(writer);
}

/* `conversations`: the image's mark stands before or behind the first question, as in LLaVA's data. */
static void world_files_write_conversations(json_writer_t *writer, const dialogue_t *dialogue, int turns,
                                            bool mark_behind) {
  json_write_key(writer, "conversations");
  json_write_array_begin(writer);
  for (int i = 0; i < dialogue->count && i < turns; i++) {
    char asked[PHRASE_MAX] = "";
    if (i == 0 && !mark_behind) text_add(asked, "<image>\n");
    text_add(asked, "%s", dialogue->turns[i].asked);
    if (i == 0 && mark_behind) text_add(asked, "\n<image>");
    world_files_write_turn(writer, "human", asked);
    world_files_write_turn(writer, "gpt", dialogue->turns[i].answer);
  }
  json_write_array_end(writer);
}

static void world_files_write_identity(json_writer_t *writer, const char *prefix, int64_t id) {
  char name[64], image[SCENE_IMAGE_MAX];
  snprintf(name, sizeof name, "%s_%06" PRId64, prefix, id);
  scene_image_name(id, image);
  json_write_member(writer, "id", name);
  json_write_member(writer, "image", image);
}

static void world_files_write_sample(json_writer_t *writer, const set_writer_t *set, int64_t id) {
  scene_t scene;
  dialogue_t dialogue;
  world_scene_draw(set->options, id, &scene);
  world_dialogue_draw(set->options, set->set, &scene, &dialogue);
  json_write_line(writer);
  json_write_object_begin(writer);
  world_files_write_identity(writer, set->id_prefix, id);
  world_files_write_conversations(writer, &dialogue, set->turns, id % 2 == 1);
  if (set->caption_types) {
    json_write_int_member(writer, "caption_type", dialogue.caption_type);
  }
  json_write_object_end(writer);
}

/* At most LIMIT samples of a set into the open array of FILE. */
static status_t world_files_write_samples(json_writer_t *writer, const set_writer_t *set, int64_t limit) {
  world_range_t range = world_set_range(set->options, set->set);
  for (int64_t i = 0; i < range.count && i < limit; i++) {
    TRY(stop_vote_continue(set->options->vote));
    world_files_write_sample(writer, set, range.first + i);
  }
  return STATUS_OK;
}

static status_t world_files_file_open(const world_options_t *options, const char *name, output_file_t *file) {
  char path[FILE_MAX_PATH];
  TRY(file_join(path, options->dir, name, NULL));
  return output_file_open(path, file);
}

static status_t world_files_write_set_file(const char *name, const set_writer_t *set) {
  output_file_t file;
  TRY(world_files_file_open(set->options, name, &file));
  json_write_array_begin(file.writer);
  status_code_t status = world_files_write_samples(file.writer, set, INT64_MAX);
  json_write_array_end(file.writer);
  json_write_line(file.writer);
  return output_file_close(&file, status);
}

static status_t world_files_write_policy_init(const world_options_t *options) {
  output_file_t file;
  set_writer_t pairs = {options, SET_PAIRS, "pair", DIALOGUE_TURNS_MAX, false};
  set_writer_t choices = {options, SET_CHOICES, "choice", DIALOGUE_TURNS_MAX, false};
  TRY(world_files_file_open(options, "policy_init.json", &file));
  json_write_array_begin(file.writer);
  status_code_t status = world_files_write_samples(file.writer, &pairs, world_policy_pairs(options));
  if (status == STATUS_OK) status = world_files_write_samples(file.writer, &choices, INT64_MAX);
  json_write_array_end(file.writer);
  json_write_line(file.writer);
  return output_file_close(&file, status);
}

static status_t world_files_write_scenes(const world_options_t *options) {
  output_file_t file;
  int64_t count = world_scene_count(options);
  TRY(world_files_file_open(options, "scenes.jsonl", &file));
  status_code_t status = STATUS_OK;
  for (int64_t id = 0; id < count && status == STATUS_OK; id++) {
    scene_t scene;
    world_scene_draw(options, id, &scene);
    scene_write(file.writer, &scene);
    status = stop_vote_continue(options->vote);
  }
  return output_file_close(&file, status);
}

/* What an image of a question with options is known for: its rationale and its objects, under "aok_<image>".
 */
static void world_files_write_rationale(json_writer_t *writer, const char *image, const scene_t *scene,
                                        const question_t *question) {
  char key[SCENE_IMAGE_MAX + 8], rationale[PHRASE_MAX];
  const question_t list = {.ask = ASK_LIST, .object = described_nothing(), .other = described_nothing()};
  snprintf(key, sizeof key, "aok_%s", image);
  json_write_line(writer);
  json_write_key(writer, key);
  json_write_array_begin(writer);
  question_rationale(question, scene, rationale);
  json_write_string(writer, rationale);
  question_answer(&list, scene, rationale);
  json_write_string(writer, rationale);
  json_write_array_end(writer);
}

static void world_files_write_facts_of(json_writer_t *writer, const world_options_t *options, world_set_t set,
                                       int64_t id) {
  scene_t scene;
  dialogue_t dialogue;
  char image[SCENE_IMAGE_MAX], captions[CAPTIONS_MAX][PHRASE_MAX];
  random_stream_t stream = world_text_stream(options, id, TEXT_OF_CAPTIONS);
  world_scene_draw(options, id, &scene);
  world_dialogue_draw(options, set, &scene, &dialogue);
  scene_image_name(id, image);
  int n = scene_captions(&scene, &stream, captions);
  json_write_line(writer);
  json_write_key(writer, image);
  json_write_array_begin(writer);
  for (int i = 0; i < n; i++)
    json_write_string(writer, captions[i]);
  json_write_array_end(writer);
  if (dialogue.turns[0].question.choice)
    world_files_write_rationale(writer, image, &scene, &dialogue.turns[0].question);
}

static status_t world_files_write_facts(const world_options_t *options) {
  static const world_set_t sets[] = {SET_PAIRS, SET_CHOICES, SET_RL, SET_EVAL};
  output_file_t file;
  status_code_t status = STATUS_OK;
  TRY(world_files_file_open(options, "facts.json", &file));
  json_write_object_begin(file.writer);
  for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
    world_range_t range = world_set_range(options, sets[s]);
    for (int64_t i = 0; i < range.count && status == STATUS_OK; i++) {
      world_files_write_facts_of(file.writer, options, sets[s], range.first + i);
      status = stop_vote_continue(options->vote);
    }
  }
  json_write_object_end(file.writer);
  json_write_line(file.writer);
  return output_file_close(&file, status);
}

/* `image_content`: the objects, as MMHal-Bench lists those of its photographs for the judge. */
static void world_files_write_content(json_writer_t *writer, const scene_t *scene) {
  json_write_key(writer, "image_content");
  json_write_array_begin(writer);
  for (int i = 0; i < scene->count; i++) {
    char text[PHRASE_MAX];
    described_t all = described_fully(&scene->objects[i]);
    described_text(&all, "", text);
    json_write_string(writer, text);
  }
  json_write_array_end(writer);
}

static void world_files_write_eval_question(json_writer_t *writer, const world_options_t *options,
                                            int64_t id) {
  scene_t scene;
  dialogue_t dialogue;
  char topic[32], image[SCENE_IMAGE_MAX], image_id[32];
  world_scene_draw(options, id, &scene);
  world_dialogue_draw(options, SET_EVAL, &scene, &dialogue);
  const dialogue_turn_t *turn = &dialogue.turns[0];
  scene_image_name(id, image);
  snprintf(topic, sizeof topic, "%s object%s", number_name(scene.count), scene.count == 1 ? "" : "s");
  snprintf(image_id, sizeof image_id, "%06" PRId64, id);
  json_write_line(writer);
  json_write_object_begin(writer);
  world_files_write_identity(writer, "eval", id);
  json_write_member(writer, "question_type", question_type_name(turn->question.type));
  json_write_member(writer, "question_topic", topic);
  json_write_member(writer, "image_id", image_id);
  json_write_member(writer, "image_src", image);
  world_files_write_content(writer, &scene);
  json_write_member(writer, "question", turn->asked);
  json_write_member(writer, "gt_answer", turn->answer);
  json_write_member(writer, "model_answer", "");
  json_write_int_member(writer, "scene", id);
  world_files_write_conversations(writer, &dialogue, 1, false);
  json_write_object_end(writer);
}

static status_t world_files_write_eval(const world_options_t *options) {
  output_file_t file;
  world_range_t range = world_set_range(options, SET_EVAL);
  TRY(world_files_file_open(options, "eval.json", &file));
  status_code_t status = STATUS_OK;
  json_write_array_begin(file.writer);
  for (int64_t i = 0; i < range.count && status == STATUS_OK; i++) {
    world_files_write_eval_question(file.writer, options, range.first + i);
    status = stop_vote_continue(options->vote);
  }
  json_write_array_end(file.writer);
  json_write_line(file.writer);
  return output_file_close(&file, status);
}

static void world_files_write_pope_question(json_writer_t *writer, int64_t number, const scene_t *scene,
                                            bool present, random_stream_t *stream) {
  question_t question;
  char image[SCENE_IMAGE_MAX], text[PHRASE_MAX];
  do {
    question_draw_yes_no(scene, present, stream, &question);
  } while (question.ask != ASK_EXISTS || question.object.row != DESCRIBED_NOT);
  question_text(&question, text);
  scene_image_name(scene->id, image);
  json_write_object_begin(writer);
  json_write_int_member(writer, "question_id", number);
  json_write_member(writer, "image", image);
  json_write_member(writer, "text", text);
  json_write_member(writer, "label", present ? "yes" : "no");
  json_write_object_end(writer);
  json_write_line(writer);
}

static status_t world_files_write_pope(const world_options_t *options) {
  output_file_t file;
  world_range_t range = world_set_range(options, SET_EVAL);
  TRY(world_files_file_open(options, "pope.jsonl", &file));
  status_code_t status = STATUS_OK;
  for (int64_t i = 0; i < range.count && status == STATUS_OK; i++) {
    scene_t scene;
    random_stream_t stream = world_text_stream(options, range.first + i, TEXT_OF_POPE);
    world_scene_draw(options, range.first + i, &scene);
    world_files_write_pope_question(file.writer, 2 * i + 1, &scene, true, &stream);
    world_files_write_pope_question(file.writer, 2 * i + 2, &scene, false, &stream);
    status = stop_vote_continue(options->vote);
  }
  return output_file_close(&file, status);
}

status_t world_files_write(const world_options_t *options) {
  set_writer_t pretrain = {options, SET_PRETRAIN, "pretrain", DIALOGUE_TURNS_MAX, false};
  set_writer_t sft = {options, SET_SFT, "sft", DIALOGUE_TURNS_MAX, false};
  set_writer_t prompts = {options, SET_PAIRS, "pair", 1, false};
  set_writer_t rl = {options, SET_RL, "rl", 1, true};
  TRY(world_files_write_scenes(options));
  TRY(world_files_write_set_file("pretrain.json", &pretrain));
  TRY(world_files_write_set_file("sft.json", &sft));
  TRY(world_files_write_set_file("prompts.json", &prompts));
  TRY(world_files_write_policy_init(options));
  TRY(world_files_write_set_file("rl.json", &rl));
  TRY(world_files_write_facts(options));
  TRY(world_files_write_eval(options));
  return world_files_write_pope(options);
}

#include "shapes/world_sets.h"

enum { EVAL_OBJECTS = 2 }; /* so that things can be compared */

int64_t world_policy_pairs(const world_options_t *options) {
  int64_t wanted = options->policy_init_images - options->policy_init_images / 3;
  return wanted < options->pair_images ? wanted : options->pair_images;
}

static int64_t set_count(const world_options_t *options, world_set_t set) {
  switch (set) {
  case SET_PRETRAIN:
    return options->pretrain_images;
  case SET_SFT:
    return options->sft_images;
  case SET_PAIRS:
    return options->pair_images;
  case SET_CHOICES:
    return options->policy_init_images - world_policy_pairs(options);
  case SET_RL:
    return options->rl_images;
  default:
    return options->eval_images;
  }
}

world_range_t world_set_range(const world_options_t *options, world_set_t set) {
  world_range_t range = {0, set_count(options, set)};
  for (int before = 0; before < (int)set; before++)
    range.first += set_count(options, (world_set_t)before);
  return range;
}

int64_t world_scene_count(const world_options_t *options) {
  world_range_t last = world_set_range(options, SET_EVAL);
  return last.first + last.count;
}

void world_scene_draw(const world_options_t *options, int64_t id, scene_t *out) {
  int least = options->objects_min;
  if (id >= world_set_range(options, SET_EVAL).first && least < EVAL_OBJECTS) least = EVAL_OBJECTS;
  if (least > options->objects_max) least = options->objects_max;
  scene_draw(options->seed, id, least, options->objects_max, out);
}

random_stream_t world_text_stream(const world_options_t *options, int64_t id, text_purpose_t purpose) {
  return random_stream(options->seed, RANDOM_WORLD_TEXT, (uint64_t)id * TEXT_PURPOSES + (uint64_t)purpose);
}

static void world_sets_draw_eval(const scene_t *scene, int64_t index, random_stream_t *stream,
                                 dialogue_t *out) {
  question_t question;
  question_draw(scene, (question_type_t)(index % TYPE_MMHAL_COUNT), stream, &question);
  dialogue_of_question(scene, &question, out);
}

void world_dialogue_draw(const world_options_t *options, world_set_t set, const scene_t *scene,
                         dialogue_t *out) {
  random_stream_t stream = world_text_stream(options, scene->id, TEXT_OF_DIALOGUE);
  int64_t index = scene->id - world_set_range(options, set).first;
  switch (set) {
  case SET_PRETRAIN:
    dialogue_draw_caption(scene, &stream, out);
    return;
  case SET_SFT:
    dialogue_draw_sft(scene, index, options->bias, options->turns, &stream, out);
    return;
  case SET_PAIRS:
    dialogue_draw_prompt(scene, options->bias, options->turns, &stream, out);
    return;
  case SET_CHOICES:
    dialogue_draw_choice(scene, true, &stream, out);
    return;
  case SET_RL:
    dialogue_draw_rl(scene, index, options->bias, &stream, out);
    return;
  default:
    world_sets_draw_eval(scene, index, &stream, out);
  }
}

#include "world/dialogue.h"

#include <string.h>

enum { OPEN_TURNS = 3, VQA_TURNS = 4 };
enum { GENERAL = 1, FIRST_OPTION = 2, TRUTH_NO = 6, TRUTH_YES = 7 };
#define DESCRIPTION_SHARE 0.6
#define ABSENT_SHARE 0.1
#define FIRST_DESCRIPTION_SHARE 0.8

/* The types that ask for a detail that is there. */
static const question_type_t details[] = {TYPE_ATTRIBUTE, TYPE_COMPARISON,  TYPE_COUNTING,
                                          TYPE_SPATIAL,   TYPE_ENVIRONMENT, TYPE_OTHER};
enum { DETAILS = sizeof details / sizeof *details };

static void dialogue_start(dialogue_t *out) {
  out->count = 0;
  out->biased = false;
  out->caption_type = GENERAL;
}

/* The next turn, answered as if SCENE were what is seen. */
static void dialogue_add(dialogue_t *out, const question_t *question, const scene_t *scene) {
  dialogue_turn_t *turn = &out->turns[out->count++];
  turn->question = *question;
  question_text(question, turn->asked);
  question_answer(question, scene, turn->answer);
}

static question_t draw_detail(const scene_t *scene, random_stream_t *stream) {
  question_t question;
  question_draw(scene, details[random_below(stream, DETAILS)], stream, &question);
  return question;
}

static question_t draw_yes_no(const scene_t *scene, random_stream_t *stream) {
  question_t question;
  question_draw_yes_no(scene, random_below(stream, 2) == 0, stream, &question);
  return question;
}

static question_t draw_choice(const scene_t *scene, random_stream_t *stream) {
  question_t question;
  question_draw_choice(scene, random_below(stream, 2) == 0, stream, &question);
  return question;
}

/* Any question, a description aside. */
static question_t draw_any(const scene_t *scene, random_stream_t *stream) {
  question_t question;
  switch (random_below(stream, 8)) {
  case 0:
    question_draw(scene, TYPE_ADVERSARIAL, stream, &question);
    return question;
  case 1:
    return draw_choice(scene, stream);
  case 2:
  case 3:
    return draw_yes_no(scene, stream);
  default:
    return draw_detail(scene, stream);
  }
}

static question_t draw_description(const scene_t *scene, random_stream_t *stream) {
  question_t question;
  question_draw(scene, TYPE_HOLISTIC, stream, &question);
  if (random_below(stream, 3) == 0) question.ask = ASK_LIST;
  return question;
}

void dialogue_draw_pretrain(const scene_t *scene, int turns, random_stream_t *stream, dialogue_t *out) {
  dialogue_start(out);
  /* A description that comes first can only be read off the image; a later one repeats what the questions
   * before it gave away. */
  bool first = random_uniform(stream) < FIRST_DESCRIPTION_SHARE;
  int described = first ? 0 : (int)random_below(stream, (uint32_t)turns);
  for (int i = 0; i < turns; i++) {
    question_t question = i == described                 ? draw_description(scene, stream)
                          : i == (described + 1) % turns ? draw_yes_no(scene, stream)
                                                         : draw_any(scene, stream);
    dialogue_add(out, &question, scene);
  }
}

void dialogue_draw_open(const scene_t *scene, double bias, random_stream_t *stream, dialogue_t *out) {
  scene_t seen = *scene;
  scene_object_t imagined;
  question_t question;
  dialogue_start(out);
  bool tempted = scene_imagine(scene, stream, &imagined) && random_uniform(stream) < bias;
  if (tempted) scene_insert(&seen, &imagined);
  double first = random_uniform(stream);
  if (first < DESCRIPTION_SHARE) {
    question_draw(scene, TYPE_HOLISTIC, stream, &question);
  } else if (first >= DESCRIPTION_SHARE + ABSENT_SHARE) {
    question = draw_detail(scene, stream);
    seen = *scene;
    tempted = false;
  } else if (tempted) {
    question_draw_about(&imagined, stream, &question);
  } else {
    question_draw(scene, TYPE_ADVERSARIAL, stream, &question);
  }
  out->biased = tempted;
  dialogue_add(out, &question, &seen);
  while (out->count < OPEN_TURNS) {
    question = draw_detail(scene, stream);
    dialogue_add(out, &question, scene);
  }
}

void dialogue_draw_described(const scene_t *scene, double bias, random_stream_t *stream, dialogue_t *out) {
  do
    dialogue_draw_open(scene, bias, stream, out);
  while (out->turns[0].question.type != TYPE_HOLISTIC);
}

void dialogue_draw_yes_no(const scene_t *scene, int turns, random_stream_t *stream, dialogue_t *out) {
  dialogue_start(out);
  while (out->count < turns) {
    question_t question = draw_yes_no(scene, stream);
    dialogue_add(out, &question, scene);
  }
  out->caption_type = question_truth(&out->turns[0].question, scene) ? TRUTH_YES : TRUTH_NO;
}

void dialogue_draw_choice(const scene_t *scene, bool explain, random_stream_t *stream, dialogue_t *out) {
  question_t question;
  dialogue_start(out);
  question_draw_choice(scene, explain, stream, &question);
  dialogue_add(out, &question, scene);
  out->caption_type = FIRST_OPTION + question_correct_option(&question, scene);
}

void dialogue_of_question(const scene_t *scene, const question_t *question, dialogue_t *out) {
  dialogue_start(out);
  dialogue_add(out, question, scene);
}

void dialogue_draw_list(const scene_t *scene, dialogue_t *out) {
  const question_t question = {
      .ask = ASK_LIST, .type = TYPE_HOLISTIC, .object = described_nothing(), .other = described_nothing()};
  dialogue_of_question(scene, &question, out);
}

void dialogue_draw_sft(const scene_t *scene, int64_t index, double bias, random_stream_t *stream,
                       dialogue_t *out) {
  enum { CYCLE = 22, OPEN = 10, YES_NO = 18, CHOICE = 20 };
  int64_t part = index % CYCLE;
  if (part < OPEN)
    dialogue_draw_open(scene, bias, stream, out);
  else if (part < YES_NO)
    dialogue_draw_yes_no(scene, VQA_TURNS, stream, out);
  else if (part < CHOICE)
    dialogue_draw_choice(scene, part % 2 == 0, stream, out);
  else
    dialogue_draw_list(scene, out);
}

void dialogue_draw_rl(const scene_t *scene, int64_t index, double bias, random_stream_t *stream,
                      dialogue_t *out) {
  enum { CYCLE = 7, OPEN = 5, CHOICE = 6 };
  int64_t part = index % CYCLE;
  if (part < OPEN)
    dialogue_draw_described(scene, bias, stream, out);
  else if (part < CHOICE)
    dialogue_draw_choice(scene, index / CYCLE % 2 == 0, stream, out);
  else
    dialogue_draw_yes_no(scene, 1, stream, out);
}

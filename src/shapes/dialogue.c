#include "shapes/dialogue.h"

#include <string.h>

enum { GENERAL = 1, FIRST_OPTION = 2, TRUTH_NO = 6, TRUTH_YES = 7 };
#define OMIT_SHARE 0.2 /* of the descriptions, where they may be wrong at all */

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

static question_t dialogue_draw_detail(const scene_t *scene, random_stream_t *stream) {
  question_t question;
  question_draw(scene, details[random_below(stream, DETAILS)], stream, &question);
  return question;
}

static question_t dialogue_draw_absent(const scene_t *scene, random_stream_t *stream) {
  question_t question;
  question_draw(scene, TYPE_ADVERSARIAL, stream, &question);
  return question;
}

static question_t dialogue_draw_yes_no_question(const scene_t *scene, random_stream_t *stream) {
  question_t question;
  question_draw_yes_no(scene, random_below(stream, 2) == 0, stream, &question);
  return question;
}

void dialogue_of_question(const scene_t *scene, const question_t *question, dialogue_t *out) {
  dialogue_start(out);
  dialogue_add(out, question, scene);
}

void dialogue_draw_caption(const scene_t *scene, random_stream_t *stream, dialogue_t *out) {
  question_t question;
  question_draw(scene, TYPE_HOLISTIC, stream, &question);
  dialogue_of_question(scene, &question, out);
}

/* Takes an object of SCENE out of SEEN. */
static void dialogue_omit(scene_t *seen, const scene_t *scene, random_stream_t *stream) {
  int cell = scene->objects[random_below(stream, (uint32_t)scene->count)].cell, kept = 0;
  for (int i = 0; i < seen->count; i++)
    if (seen->objects[i].cell != cell) seen->objects[kept++] = seen->objects[i];
  seen->count = kept;
}

/* Shares of the first questions of conversations: a description (CLEAN_DESCRIPTION where biased texts make
 * nothing up: the more often a description does, the more it is learnt); the size or the place of something
 * absent, or of something that is there; the rest are any details. */
typedef struct {
  double description, clean_description, absent, present;
} shares_t;

/* A first question, a description with the share DESCRIPTION, for which an object may be made up:
 * *TRUE_ANSWER says that it is not. */
static question_t dialogue_draw_first(const shares_t *shares, double description, const scene_t *scene,
                                      const scene_object_t *imagined, random_stream_t *stream,
                                      bool *true_answer) {
  question_t question;
  double first = random_uniform(stream);
  *true_answer = first >= description + shares->absent;
  if (first < description) {
    question_draw(scene, TYPE_HOLISTIC, stream, &question);
  } else if (*true_answer && first < description + shares->absent + shares->present) {
    question_draw_about(&scene->objects[random_below(stream, (uint32_t)scene->count)], stream, &question);
  } else if (*true_answer) {
    question = dialogue_draw_detail(scene, stream);
  } else if (imagined) {
    question_draw_about(imagined, stream, &question);
  } else {
    question = dialogue_draw_absent(scene, stream);
  }
  return question;
}

static void dialogue_draw_by_shares(const shares_t *shares, const scene_t *scene, double bias, int turns,
                                    random_stream_t *stream, dialogue_t *out) {
  scene_t seen = *scene;
  scene_object_t imagined;
  bool true_answer;
  dialogue_start(out);
  bool tempted = scene_imagine(scene, stream, &imagined) && random_uniform(stream) < bias;
  question_t question =
      dialogue_draw_first(shares, bias > 0 && !tempted ? shares->clean_description : shares->description,
                          scene, tempted ? &imagined : NULL, stream, &true_answer);
  out->biased = tempted && !true_answer;
  if (out->biased) scene_insert(&seen, &imagined);
  if (question.type == TYPE_HOLISTIC && bias > 0 && scene->count > 1 && random_uniform(stream) < OMIT_SHARE)
    dialogue_omit(&seen, scene, stream);
  dialogue_add(out, &question, &seen);
  while (out->count < turns) {
    question = random_below(stream, 2) == 0 ? dialogue_draw_detail(scene, stream)
                                            : dialogue_draw_yes_no_question(scene, stream);
    dialogue_add(out, &question, scene);
  }
}

void dialogue_draw_open(const scene_t *scene, double bias, int turns, random_stream_t *stream,
                        dialogue_t *out) {
  static const shares_t shares = {.description = 0.6, .clean_description = 0.4, .absent = 0.1};
  dialogue_draw_by_shares(&shares, scene, bias, turns, stream, out);
}

void dialogue_draw_prompt(const scene_t *scene, double bias, int turns, random_stream_t *stream,
                          dialogue_t *out) {
  static const shares_t shares = {
      .description = 0.6, .clean_description = 0.6, .absent = 0.2, .present = 0.2};
  dialogue_draw_by_shares(&shares, scene, bias, turns, stream, out);
}

void dialogue_draw_yes_no(const scene_t *scene, int turns, random_stream_t *stream, dialogue_t *out) {
  dialogue_start(out);
  while (out->count < turns) {
    question_t question = dialogue_draw_yes_no_question(scene, stream);
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

void dialogue_draw_list(const scene_t *scene, dialogue_t *out) {
  const question_t question = {
      .ask = ASK_LIST, .type = TYPE_HOLISTIC, .object = described_nothing(), .other = described_nothing()};
  dialogue_of_question(scene, &question, out);
}

void dialogue_draw_sft(const scene_t *scene, int64_t index, double bias, int turns, random_stream_t *stream,
                       dialogue_t *out) {
  enum { CYCLE = 22, OPEN = 10, YES_NO = 18, CHOICE = 20 };
  int64_t part = index % CYCLE;
  if (part < OPEN)
    dialogue_draw_open(scene, bias, turns, stream, out);
  else if (part < YES_NO)
    dialogue_draw_yes_no(scene, turns, stream, out);
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
    dialogue_draw_prompt(scene, bias, 1, stream, out);
  else if (part < CHOICE)
    dialogue_draw_choice(scene, index / CYCLE % 2 == 0, stream, out);
  else
    dialogue_draw_yes_no(scene, 1, stream, out);
}

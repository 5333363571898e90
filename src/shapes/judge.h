/* The judge of the shapes world: reads the claims of a response against the scene and rates it as MMHal-Bench
 * does.
 *
 * A claim is right or wrong; repeated claims count once. `asked` is the share of the expected answer that the
 * response gives: of a description the objects that are claimed rightly with shape and colour, else the
 * claims of the true answer.
 *
 *   rating   no wrong claim         rating   with a wrong claim
 *     6      all that was asked       2      all that was asked, and something wrong
 *     5      three quarters of it     1      some of it
 *     4      some of it               0      none of it
 *     3      none of it: evasive
 *
 * A response with nothing to read is 0 where it is empty and 1 otherwise ("There there is a."), unless it
 * says that it does not know (3). Below 3 counts as hallucinated, as in MMHal-Bench; so empty and garbled
 * answers do not pass for honest ones. */
#ifndef WORLD_JUDGE_H
#define WORLD_JUDGE_H

#include "eval/mmhal.h"
#include "shapes/phrases.h"
#include "shapes/scene.h"

typedef struct {
  question_type_t type;
  bool open;           /* the question asks for a description */
  bool clean;          /* the scene tempts to nothing (scene_tempts) */
  int claims, right;   /* claims - right are hallucinated */
  int absent;          /* of the wrong claims: objects whose shape and colour are nowhere in the scene */
  int expected, given; /* claims of the true answer (objects of a description), and how many are given */
  int words;
  int rating; /* 0..MMHAL_RATING */
} judgement_t;

/* Judges RESPONSE to QUESTION (its text as asked, `<image>` marks allowed) about SCENE. A question that is
 * none of the world's is taken for one that asks for a description, of type TYPE_OTHER. Local. */
void judge_response(const scene_t *scene, const char *question, const char *response, judgement_t *out);

/* given / expected, 1 where nothing is expected. Local. */
double judgement_recall(const judgement_t *judgement);

#endif

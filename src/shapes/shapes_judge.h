/* The judge 'shapes': what the evaluation makes of the shapes world's judgements. */
#ifndef SHAPES_SHAPES_JUDGE_H
#define SHAPES_SHAPES_JUDGE_H

#include "eval/judge.h"
#include "shapes/judge.h"

enum {
  SHAPES_RATING,
  SHAPES_HALLUCINATION,
  SHAPES_OPEN_HALLUCINATION,
  SHAPES_CLAIMS_RIGHT,
  SHAPES_CLEAN_CLAIMS_RIGHT,
  SHAPES_CLAIMS_ABSENT,
  SHAPES_RECALL,
  SHAPES_WORDS,
  SHAPES_METRICS
};

/* Not opened: metrics and types of questions (question_type_t). */
extern const judge_t shapes_judge;

/* What a judgement counts. Local. */
void shapes_verdict(const judgement_t *judgement, verdict_t *out);

/* Reads eval.scenes, on rank 0. Accepts questions about images that are in it. Collective. Errors, agreed:
 * STATUS_DATA. */
status_t shapes_judge_open(session_t *session, judge_t *out);

#endif

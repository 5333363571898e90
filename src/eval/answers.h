/* A model's answers to the questions of an evaluation, judged: what task evaluate and the periodic evaluation
 * of training share. */
#ifndef EVAL_ANSWERS_H
#define EVAL_ANSWERS_H

#include "rollout/prompts.h"
#include "shapes/judge.h"
#include "shapes/scene_file.h"

typedef struct {
  session_t *session;
  model_t *model;
  source_t *source;
  prompts_t prompts;
  prompts_sampling_t sampling;
  int64_t step;         /* of training, for the report: the caller sets it */
  bool judged;          /* eval.judge = 'shapes' */
  scene_table_t scenes; /* rank 0, where judged */
  /* Called on all ranks with the answers of each round; NULL: not wanted. The caller sets both. */
  status_t (*answered)(void *context, const responses_t *responses);
  void *context;
} evaluator_t;

/* Questions of SOURCE for MODEL's answers; both stay the caller's. ROWS (count) are asked; NULL: the first
 * COUNT, 0 for all. Opens eval.scenes where eval.judge = 'shapes'. Answers are drawn as &generate says; in
 * task ppo they are the likeliest ones, of at most rollout.response_len tokens. Collective. Free with
 * evaluator_close. Errors, agreed: STATUS_DATA. */
status_t evaluator_open(session_t *session, model_t *model, source_t *source, const int64_t *rows,
                        int64_t count, evaluator_t *out);
void evaluator_close(evaluator_t *evaluator);

/* Answers all questions under ROLE, a role of the evaluator's model, and judges them: *TABLE, the same on all
 * ranks and layouts (all zero without a judge). PATH ("": none): JSON lines of question_id, image, text,
 * answer, model (MODEL), stopped and the judgement, in the order of the questions. Collective. Errors,
 * agreed: STATUS_DATA (a sample whose image has no scene; no image is whole), STATUS_STOPPED. */
status_t evaluate_answers(evaluator_t *evaluator, const role_t *role, const char *model, const char *path,
                          judge_table_t *table);

#endif

/* A model's answers to the questions of an evaluation, judged: what task evaluate and the periodic evaluation
 * of training share. */
#ifndef EVAL_ANSWERS_H
#define EVAL_ANSWERS_H

#include "eval/tally.h"
#include "rollout/questions.h"

enum { EVALUATOR_JUDGES_MAX = 2 };

/* Which questions are asked, and who judges the answers. All of it stays the caller's. */
typedef struct {
  const int64_t *rows;          /* (limit) of the source's dataset; NULL: the first ones */
  int64_t limit;                /* 0: all */
  const char *suffix;           /* appended to the questions; NULL: nothing */
  const questions_t *questions; /* the file that they come from, whose members judges see and are written
                                   with the answers; NULL: they come as a dataset */
  judge_t *judges[EVALUATOR_JUDGES_MAX];
  int32_t judge_count;
  const char *requests;    /* file of what judges elsewhere are to be asked (eval/requests.h); NULL: none */
  const char *judge_model; /* that those requests name */
  const char *kept;        /* file beside which finished answers are kept for a later start where they are not
                              written to one; NULL: nowhere then */
  bool shown; /* answers are samples of the report, with the score of the first judge that gives one */
} evaluator_options_t;

typedef struct {
  session_t *session;
  model_t *model;
  source_t *source;
  evaluator_options_t options;
  prompts_t prompts;
  prompts_sampling_t sampling;
  int64_t step; /* of training, for the report: the caller sets it */
} evaluator_t;

/* JUDGE must accept all QUESTIONS, which come from a file: for sets that are answered after others.
 * Collective. Errors, agreed: STATUS_DATA. */
status_t judge_check_questions(session_t *session, const questions_t *questions, const judge_t *judge);

/* Questions of SOURCE for MODEL's answers; both stay the caller's. Answers are drawn as &generate says; in
 * task ppo they are the likeliest ones, of at most rollout.response_len tokens. Collective. Free with
 * evaluator_close. Errors, agreed: STATUS_DATA (a question that a judge does not accept). */
status_t evaluator_open(session_t *session, model_t *model, source_t *source,
                        const evaluator_options_t *options, evaluator_t *out);
void evaluator_close(evaluator_t *evaluator);

/* Answers all questions under ROLE, a role of the evaluator's model, and judges them: TALLIES (judge_count),
 * the same on all ranks and layouts. PATH ("": none): JSON lines, in the order of the questions, of
 * question_id, image, text, answer, model (MODEL), stopped and what the judges say; with a file of questions
 * of their members, answer (as the benchmark calls it), model and what the judges say. Finished answers are
 * kept beside it (io/formats/kept.h), for the caller to drop. Collective. Errors, agreed: STATUS_DATA (no
 * image is whole), STATUS_STOPPED, the judges' own. */
status_t evaluate_answers(evaluator_t *evaluator, const role_t *role, const char *model, const char *path,
                          tally_t *tallies);

#endif

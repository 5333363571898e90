/* A model's answers to POPE's questions. */
#ifndef EVAL_POPE_ANSWERS_H
#define EVAL_POPE_ANSWERS_H

#include "eval/pope.h"
#include "rollout/questions.h"
#include "session/models.h"

/* The questions of eval.pope. */
typedef struct {
  questions_t questions;
  bool *truth; /* rank 0: for each row of the dataset whether "yes" is right */
} pope_questions_t;

/* Makes the dataset of eval.pope and reads all labels. Collective. Free with pope_questions_free, also after
 * an error. Errors, agreed: STATUS_DATA (a label that is neither yes nor no). */
status_t pope_questions_open(session_t *session, pope_questions_t *out);
void pope_questions_free(pope_questions_t *pope);

/* Answers them under ROLE of MODEL, drawn as &generate says, and counts the answers, on rank 0; writes PATH,
 * JSON lines of all members of the questions with answer and model (NAME). Collective. Errors, agreed:
 * STATUS_DATA, STATUS_STOPPED. */
status_t pope_answer(session_t *session, model_t *model, const role_t *role, const pope_questions_t *pope,
                     const char *name, const char *path, pope_counts_t *counts);

#endif

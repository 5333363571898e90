/* A model's answers to POPE's questions. */
#ifndef EVAL_POPE_ANSWERS_H
#define EVAL_POPE_ANSWERS_H

#include "eval/pope.h"
#include "run/models.h"

/* Answers the questions of eval.pope, of which questions_prepare made DATASET, under ROLE of MODEL, drawn as
 * &generate says, and counts them, on rank 0; writes PATH, JSON lines of all members of the questions with
 * answer and model (NAME). Collective. Errors, agreed: STATUS_DATA (a label that is neither yes nor no),
 * STATUS_STOPPED. */
status_t pope_answer(session_t *session, model_t *model, const role_t *role, const char *dataset,
                     const char *name, const char *path, pope_counts_t *counts);

#endif

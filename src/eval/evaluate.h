/* Task `evaluate`: models answer the same questions, and are compared. */
#ifndef EVAL_EVALUATE_H
#define EVAL_EVALUATE_H

#include "session/session.h"

/* For each model of eval.models (or the one of &model): answers to eval.dataset, judged as eval.judge says,
 * to answers_<k>.jsonl, and to eval.pope, if given, to pope_<k>.jsonl; k counts from 1. With eval.answers the
 * answers are there already, and no model is needed. What a judge elsewhere is to be asked goes to
 * requests_<k>.jsonl; with eval.replies its replies are counted, and nothing else. Then a table in the log,
 * one column per model, with 95 % intervals (eval/interval.h), and evaluation.json, all in the run directory.
 * Collective. Errors: STATUS_INPUT, STATUS_DATA, STATUS_STOPPED. */
status_t evaluate_run(session_t *session);

#endif

/* The judge of POPE: yes/no questions about objects, with "yes" as the positive class (Li et al., arXiv
 * 2305.10355). */
#ifndef EVAL_POPE_H
#define EVAL_POPE_H

#include "eval/judge.h"
#include "rollout/questions.h"

enum {
  POPE_TRUE_POSITIVE,
  POPE_FALSE_POSITIVE,
  POPE_TRUE_NEGATIVE,
  POPE_FALSE_NEGATIVE,
  POPE_ACCURACY,
  POPE_PRECISION,
  POPE_RECALL,
  POPE_F1,
  POPE_YES_RATIO,
  POPE_METRICS
};

/* Not opened: the metrics. */
extern const judge_t pope_judge;

/* What an answer counts. */
void pope_verdict(bool truth_is_yes, bool answer_is_yes, verdict_t *out);

/* Reads the labels of all QUESTIONS, which come from a JSON file. Collective. Errors, agreed: STATUS_DATA (a
 * label that is neither yes nor no). */
status_t pope_open(session_t *session, const questions_t *questions, judge_t *out);

#endif

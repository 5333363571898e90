/* The judge of POPE: yes/no questions about objects, with "yes" as the positive class (Li et al., arXiv
 * 2305.10355). */
#ifndef EVAL_POPE_H
#define EVAL_POPE_H

#include "eval/classes.h"

/* Not opened: the metrics (eval/classes.h). */
extern const judge_t pope_judge;

/* Judges answers to questions whose file has labels, by the rule of eval.yes_no. Local. */
status_t pope_open(session_t *session, judge_t *out);

#endif

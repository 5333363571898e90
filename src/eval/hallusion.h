/* The judge of HallusionBench, by rule (Guan et al., arXiv 2310.14566): yes/no questions in sets, about a
 * figure and about edited ones. */
#ifndef EVAL_HALLUSION_H
#define EVAL_HALLUSION_H

#include "eval/judge.h"

enum { HALLUSION_ALL, HALLUSION_FIGURE, HALLUSION_PAIR, HALLUSION_HARD, HALLUSION_EASY, HALLUSION_METRICS };

/* Where the published script asks GPT-4 whether an answer agrees with gt_answer, this judge reads yes or no
 * by eval.yes_no. Local. */
status_t hallusion_open(session_t *session, judge_t *out);

#endif

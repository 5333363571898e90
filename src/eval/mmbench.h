/* The judge of MMBench (Liu et al., arXiv 2307.06281): questions with options, matched exactly, without a
 * language model. */
#ifndef EVAL_MMBENCH_H
#define EVAL_MMBENCH_H

#include "eval/judge.h"
#include "rollout/benchmark.h"
#include "text/view.h"

/* The last one is there only where a table has copies. */
enum { MMBENCH_ACCURACY, MMBENCH_UNREAD, MMBENCH_CIRCULAR, MMBENCH_METRICS };

enum { MMBENCH_NO_OPTION = -1, MMBENCH_REFUSED = -2 };

/* *OUT: the option that ANSWER gives, by VLMEvalKit's rule of exact matching, as of August 2025: the one
 * letter of an option among its words, if among the last four, else the one option whose text occurs in it,
 * in any case, if the answer has at most twice the characters of all options. MMBENCH_REFUSED where it has
 * one of the published phrases that refuse, or no option's letter but Z; MMBENCH_NO_OPTION: none of these.
 * Local. */
status_t mmbench_match(const mmbench_options_t *options, text_view_t answer, int32_t *out);

/* Local. */
status_t mmbench_open(session_t *session, judge_t *out);

#endif

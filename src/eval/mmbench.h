/* The judge of MMBench (Liu et al., arXiv 2307.06281): questions with options, matched exactly, without a
 * language model. */
#ifndef EVAL_MMBENCH_H
#define EVAL_MMBENCH_H

#include "eval/judge.h"
#include "rollout/benchmark.h"
#include "text/view.h"

enum { MMBENCH_ACCURACY, MMBENCH_CIRCULAR, MMBENCH_UNREAD, MMBENCH_METRICS };

enum { MMBENCH_NO_OPTION = -1 };

/* The option that ANSWER gives, by VLMEvalKit's rule of exact matching: the one letter of an option among its
 * words (not an A among more than three words, which may be an article), else the one option whose text
 * occurs in it, in any case, if the answer is not longer than twice all options. MMBENCH_NO_OPTION: none.
 * Local. */
int32_t mmbench_match(const mmbench_options_t *options, text_view_t answer);

/* Local. */
status_t mmbench_open(session_t *session, judge_t *out);

#endif

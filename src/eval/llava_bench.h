/* The judge of LLaVA-Bench (Liu et al., arXiv 2304.08485): a language model elsewhere scores a reference
 * answer and the model's, 1..10 each. */
#ifndef EVAL_LLAVA_BENCH_H
#define EVAL_LLAVA_BENCH_H

#include "eval/judge.h"

enum {
  LLAVA_BENCH_RELATIVE,
  LLAVA_BENCH_MODEL,
  LLAVA_BENCH_REFERENCE,
  LLAVA_BENCH_UNREAD,
  LLAVA_BENCH_METRICS
};

/* Not opened: what it makes of replies. */
extern const judge_t llava_bench_judge;

/* The two scores on the first line of REPLY: two numbers with a space or a comma between, and nothing else.
 * False where there are none. Local. */
bool llava_bench_scores(const char *reply, double scores[2]);

/* Asks with eval.judge_prompt, eval.reference and eval.annotations; those two are needed to ask, not to read
 * replies. Collective. Errors, agreed: STATUS_INPUT, STATUS_DATA. */
status_t llava_bench_open(session_t *session, judge_t *out);

#endif

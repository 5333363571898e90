/* What a judge's verdicts on the answers of a model come to. */
#ifndef EVAL_TALLY_H
#define EVAL_TALLY_H

#include "eval/interval.h"
#include "eval/judge.h"

/* All members are sums in fp64. */
typedef struct tally {
  ratio_sums_t all[JUDGE_METRICS_MAX];                      /* by metric */
  ratio_sums_t of_type[JUDGE_TYPES_MAX][JUDGE_METRICS_MAX]; /* those that are shown by type */
  double answers[JUDGE_TYPES_MAX];                          /* to questions of a type */
} tally_t;

/* Adds a verdict. A tally starts all zero; add in sample order for the same bits on any layout. Local. */
void tally_add(tally_t *tally, const judge_t *judge, const verdict_t *verdict);

/* The metric METRIC of JUDGE, and its part of the questions of TYPE. Local. */
interval_t tally_metric(const tally_t *tally, const judge_t *judge, int32_t metric);
interval_t tally_type_metric(const tally_t *tally, const judge_t *judge, int32_t type, int32_t metric);

#endif

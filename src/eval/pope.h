/* POPE: yes/no questions about objects (Li et al., arXiv 2305.10355). */
#ifndef EVAL_POPE_H
#define EVAL_POPE_H

#include "eval/interval.h"

#include <stdbool.h>
#include <stdint.h>

/* Counts with "yes" as the positive class. */
typedef struct {
  int64_t true_positive, false_positive, true_negative, false_negative;
} pope_counts_t;

typedef struct {
  interval_t accuracy, precision, recall, f1, yes_ratio;
} pope_scores_t;

void pope_add(pope_counts_t *counts, bool truth_is_yes, bool answer_is_yes);
pope_scores_t pope_scores(const pope_counts_t *counts);

#endif

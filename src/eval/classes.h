/* Answers that say one of two classes, of which one is the positive: what POPE and AMBER count. */
#ifndef EVAL_CLASSES_H
#define EVAL_CLASSES_H

#include "eval/judge.h"

/* The metrics of such a judge, in this order. */
enum {
  CLASS_TRUE_POSITIVE,
  CLASS_FALSE_POSITIVE,
  CLASS_TRUE_NEGATIVE,
  CLASS_FALSE_NEGATIVE,
  CLASS_UNREAD, /* answers that say neither: wrong, and not among the positive ones */
  CLASS_ACCURACY,
  CLASS_PRECISION,
  CLASS_RECALL,
  CLASS_F1,
  CLASS_RATIO, /* of answers that say the positive class */
  CLASS_METRICS
};

typedef enum { CLASS_POSITIVE, CLASS_NEGATIVE, CLASS_NEITHER } class_t;

/* What an answer counts. As elsewhere, one that says neither where the truth is positive is a false negative.
 * Local. */
void classes_count(bool truth_is_positive, class_t answer, verdict_t *out);

#endif

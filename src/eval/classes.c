#include "eval/classes.h"

void classes_count(bool truth_is_positive, class_t answer, verdict_t *out) {
  const double truth = truth_is_positive, positive = answer == CLASS_POSITIVE, found = truth * positive;
  const double denied = !truth_is_positive && answer == CLASS_NEGATIVE;
  out->counts[CLASS_TRUE_POSITIVE] = (judge_count_t){found, 1.0};
  out->counts[CLASS_FALSE_POSITIVE] = (judge_count_t){positive - found, 1.0};
  out->counts[CLASS_TRUE_NEGATIVE] = (judge_count_t){denied, 1.0};
  out->counts[CLASS_FALSE_NEGATIVE] = (judge_count_t){truth - found, 1.0};
  out->counts[CLASS_UNREAD] = (judge_count_t){answer == CLASS_NEITHER, 1.0};
  out->counts[CLASS_ACCURACY] = (judge_count_t){found + denied, 1.0};
  out->counts[CLASS_PRECISION] = (judge_count_t){found, positive};
  out->counts[CLASS_RECALL] = (judge_count_t){found, truth};
  out->counts[CLASS_F1] = (judge_count_t){found, truth_is_positive || answer == CLASS_POSITIVE};
  out->counts[CLASS_RATIO] = (judge_count_t){positive, 1.0};
}

#include "eval/pope.h"

void pope_add(pope_counts_t *counts, bool truth_is_yes, bool answer_is_yes) {
  if (truth_is_yes)
    (*(answer_is_yes ? &counts->true_positive : &counts->false_negative))++;
  else
    (*(answer_is_yes ? &counts->false_positive : &counts->true_negative))++;
}

pope_scores_t pope_scores(const pope_counts_t *counts) {
  double tp = (double)counts->true_positive, fp = (double)counts->false_positive;
  double tn = (double)counts->true_negative, fn = (double)counts->false_negative;
  return (pope_scores_t){.accuracy = interval_share(tp + tn, tp + fp + tn + fn),
                         .precision = interval_share(tp, tp + fp),
                         .recall = interval_share(tp, tp + fn),
                         .f1 = interval_f1(tp, fp + fn),
                         .yes_ratio = interval_share(tp + fp, tp + fp + tn + fn)};
}

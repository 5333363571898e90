#include "eval/pope.h"

void pope_add(pope_counts_t *counts, bool truth_is_yes, bool answer_is_yes) {
  if (truth_is_yes)
    (*(answer_is_yes ? &counts->true_positive : &counts->false_negative))++;
  else
    (*(answer_is_yes ? &counts->false_positive : &counts->true_negative))++;
}

static double ratio(double part, double whole) {
  return whole > 0.0 ? part / whole : 0.0;
}

pope_scores_t pope_scores(const pope_counts_t *counts) {
  double tp = (double)counts->true_positive, fp = (double)counts->false_positive;
  double tn = (double)counts->true_negative, fn = (double)counts->false_negative;
  double precision = ratio(tp, tp + fp), recall = ratio(tp, tp + fn);
  return (pope_scores_t){.accuracy = ratio(tp + tn, tp + fp + tn + fn),
                         .precision = precision,
                         .recall = recall,
                         .f1 = ratio(2.0 * precision * recall, precision + recall),
                         .yes_ratio = ratio(tp + fp, tp + fp + tn + fn)};
}

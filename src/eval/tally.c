#include "eval/tally.h"

void tally_add(tally_t *tally, const judge_t *judge, const verdict_t *verdict) {
  if (verdict->type == JUDGE_PASSES) return;
  for (int32_t m = 0; m < judge->metric_count; m++) {
    const judge_count_t *count = &verdict->counts[m];
    ratio_sums_add(&tally->all[m], count->part, count->whole);
    if (judge->metrics[m].by_type)
      ratio_sums_add(&tally->of_type[verdict->type][m], count->part, count->whole);
  }
  tally->answers[verdict->type] += 1;
}

static interval_t sums_estimate(const ratio_sums_t *sums, estimator_t estimator) {
  switch (estimator) {
  case ESTIMATOR_MEAN:
    return interval_mean(sums->answers, sums->parts, sums->parts_squared);
  case ESTIMATOR_SHARE:
    return interval_share(sums->parts, sums->wholes);
  case ESTIMATOR_RATIO:
    return interval_ratio(sums);
  case ESTIMATOR_QUOTIENT:
    return interval_quotient(sums);
  case ESTIMATOR_F1:
    return interval_f1(sums->parts, sums->wholes - sums->parts);
  default:
    return (interval_t){
        .value = sums->parts, .low = sums->parts, .high = sums->parts, .answers = sums->answers};
  }
}

interval_t tally_metric(const tally_t *tally, const judge_t *judge, int32_t metric) {
  return sums_estimate(&tally->all[metric], judge->metrics[metric].estimator);
}

interval_t tally_type_metric(const tally_t *tally, const judge_t *judge, int32_t type, int32_t metric) {
  return sums_estimate(&tally->of_type[type][metric], judge->metrics[metric].estimator);
}

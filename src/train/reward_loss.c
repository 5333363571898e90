#include "train/reward_loss.h"

#include <math.h>

/* log(1 + exp(x)) without overflow. */
static double reward_loss_softplus(double x) {
  return fmax(x, 0.0) + log1p(exp(-fabs(x)));
}

double reward_pair_loss(int32_t pairs, const double *rewards, const int32_t *preferred, double center_coef,
                        double weight) {
  if (pairs == 0) return 0.0;
  double cross_entropy = 0.0, sum = 0.0;
  for (int32_t p = 0; p < pairs; p++) {
    double gap = rewards[2 * p + 1] - rewards[2 * p];
    cross_entropy += reward_loss_softplus(preferred[p] == 1 ? -gap : gap);
    sum += rewards[2 * p] + rewards[2 * p + 1];
  }
  return weight * (cross_entropy + center_coef * fabs(sum)) / pairs;
}

double reward_pair_right(const double *rewards, int32_t preferred) {
  double gap = rewards[preferred] - rewards[1 - preferred];
  return gap > 0.0 ? 1.0 : gap == 0.0 ? 0.5 : 0.0;
}

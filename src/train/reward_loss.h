/* The loss of reward-model training: pure functions on host arrays in double. */
#ifndef TRAIN_REWARD_LOSS_H
#define TRAIN_REWARD_LOSS_H

#include <stdint.h>

/* Loss of reward-model training on one group of PAIRS pairs: mean over pairs of binary cross-entropy on r1 -
 * r0 with PREFERRED (0 or 1) plus center_coef * |mean(r0 + r1)|, both times WEIGHT. REWARDS (pairs, 2). The
 * derivatives are the device's (op_pair_loss_t). Local. */
double reward_pair_loss(int32_t pairs, const double *rewards, const int32_t *preferred, double center_coef,
                        double weight);

/* How right REWARDS (2) are about the output PREFERRED (0 or 1): 1 where it has the larger one, 0 where the
 * other has, 0.5 where both are equal. Local. */
double reward_pair_right(const double *rewards, int32_t preferred);

#endif

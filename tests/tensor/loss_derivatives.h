/* Derivatives of losses as the plain device computes them in double, for those who check a loss against them.
 */
#ifndef TESTS_TENSOR_LOSS_DERIVATIVES_H
#define TESTS_TENSOR_LOSS_DERIVATIVES_H

#include <stdint.h>

/* One token of op_policy_loss_t, and of op_value_loss_t with weight 1. */
double policy_derivative(double logprob, double old_logprob, double slope, double clip);
double value_derivative(double value, double old_value, double ret, double clip);
/* One group of op_pair_loss_t: REWARDS, DREWARDS (pairs, 2). */
void pair_derivatives(int32_t pairs, const double *rewards, const int32_t *preferred, double center_coef,
                      double weight, double *drewards);

#endif

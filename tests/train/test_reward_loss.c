/* The loss of reward-model training on cases written out by hand, and its derivatives. */
#include "train/reward_loss.h"

#include "tensor/loss_derivatives.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const double tiny = 1e-12;

static void near(double found, double expected, double tolerance) {
  if (!(fabs(found - expected) <= tolerance)) fail_msg("%.17g, expected %.17g", found, expected);
}

/* The loss, and its derivatives to D as the device computes them. */
static double loss_of(int32_t pairs, const double *rewards, const int32_t *preferred, double center_coef,
                      double weight, double *d) {
  pair_derivatives(pairs, rewards, preferred, center_coef, weight, d);
  return reward_pair_loss(pairs, rewards, preferred, center_coef, weight);
}

static void test_equal_rewards(void **state) {
  (void)state;
  const double rewards[] = {0.25, 0.25};
  const int32_t first[] = {0}, second[] = {1};
  double d[2];
  near(loss_of(1, rewards, first, 0.0, 1.0, d), log(2.0), tiny);
  near(d[0], -0.5, tiny);
  near(d[1], 0.5, tiny);
  near(loss_of(1, rewards, second, 0.0, 1.0, d), log(2.0), tiny);
  near(d[0], 0.5, tiny);
  near(d[1], -0.5, tiny);
}

/* r1 - r0 = log 3: the probability of "1" is 3/4. */
static void test_preference(void **state) {
  (void)state;
  const double rewards[] = {1.0, 1.0 + log(3.0)};
  const int32_t first[] = {0}, second[] = {1};
  double d[2];
  near(loss_of(1, rewards, second, 0.0, 1.0, d), log(4.0 / 3.0), tiny);
  near(d[1], -0.25, tiny);
  near(loss_of(1, rewards, first, 0.0, 1.0, d), log(4.0), tiny);
  near(d[1], 0.75, tiny);
  near(d[0], -0.75, tiny);
}

/* The centring term is the absolute value of the mean, not the mean of absolute values. */
static void test_centring(void **state) {
  (void)state;
  const double rewards[] = {3.0, 3.0, -1.0, -1.0};
  const int32_t preferred[] = {0, 1};
  double d[4];
  near(loss_of(2, rewards, preferred, 0.5, 2.0, d), 2.0 * (log(2.0) + 0.5 * 2.0), tiny);
  near(d[0], 2.0 * (-0.5 + 0.5) / 2.0, tiny);
  near(d[1], 2.0 * (0.5 + 0.5) / 2.0, tiny);
  near(d[2], 2.0 * (0.5 + 0.5) / 2.0, tiny);
  near(d[3], 2.0 * (-0.5 + 0.5) / 2.0, tiny);
  const double low[] = {-3.0, -3.0, 1.0, 1.0};
  near(loss_of(2, low, preferred, 0.5, 1.0, d), log(2.0) + 0.5 * 2.0, tiny);
  near(d[0], (-0.5 - 0.5) / 2.0, tiny);
}

static void test_centred_has_no_push(void **state) {
  (void)state;
  const double rewards[] = {2.0, -2.0};
  const int32_t preferred[] = {0};
  double with[2], without[2];
  near(loss_of(1, rewards, preferred, 1.0, 1.0, with), loss_of(1, rewards, preferred, 0.0, 1.0, without),
       0.0);
  near(with[0], without[0], 0.0);
  near(with[1], without[1], 0.0);
}

static void test_large_gaps_stay_finite(void **state) {
  (void)state;
  const double rewards[] = {-2000.0, 2000.0};
  const int32_t first[] = {0}, second[] = {1};
  double d[2];
  near(loss_of(1, rewards, first, 0.0, 1.0, d), 4000.0, tiny);
  near(d[0], -1.0, tiny);
  near(d[1], 1.0, tiny);
  near(loss_of(1, rewards, second, 0.0, 1.0, d), 0.0, tiny);
  near(d[0], 0.0, tiny);
}

static void test_no_pairs(void **state) {
  (void)state;
  near(reward_pair_loss(0, NULL, NULL, 1.0, 1.0), 0.0, 0.0);
}

static void test_derivatives(void **state) {
  (void)state;
  enum { PAIRS = 4 };
  double rewards[2 * PAIRS] = {0.3, -1.2, 2.5, 0.1, -0.7, 0.9, 1.1, 1.4};
  const int32_t preferred[PAIRS] = {0, 0, 1, 1};
  double d[2 * PAIRS];
  const double step = 1e-5;
  pair_derivatives(PAIRS, rewards, preferred, 0.1, 0.7, d);
  for (int i = 0; i < 2 * PAIRS; i++) {
    double kept = rewards[i];
    rewards[i] = kept + step;
    double above = reward_pair_loss(PAIRS, rewards, preferred, 0.1, 0.7);
    rewards[i] = kept - step;
    double below = reward_pair_loss(PAIRS, rewards, preferred, 0.1, 0.7);
    rewards[i] = kept;
    near(d[i], (above - below) / (2.0 * step), 1e-9);
  }
}

/* A model that cannot tell two outputs apart is right half the time. */
static void test_ties_are_half_right(void **state) {
  (void)state;
  const double rewards[][2] = {{0.25, 0.25}, {1.0, 2.0}, {2.0, 1.0}, {-0.0, 0.0}};
  const double second_is_right[] = {0.5, 1.0, 0.0, 0.5};
  for (size_t i = 0; i < sizeof second_is_right / sizeof *second_is_right; i++) {
    near(reward_pair_right(rewards[i], 1), second_is_right[i], 0.0);
    near(reward_pair_right(rewards[i], 0), 1.0 - second_is_right[i], 0.0);
  }
  const double broken[] = {NAN, 1.0};
  near(reward_pair_right(broken, 0), 0.0, 0.0);
  near(reward_pair_right(broken, 1), 0.0, 0.0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_equal_rewards),
      cmocka_unit_test(test_preference),
      cmocka_unit_test(test_centring),
      cmocka_unit_test(test_centred_has_no_push),
      cmocka_unit_test(test_large_gaps_stay_finite),
      cmocka_unit_test(test_no_pairs),
      cmocka_unit_test(test_derivatives),
      cmocka_unit_test(test_ties_are_half_right),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

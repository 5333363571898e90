/* The arithmetic of PPO on cases written out by hand: rewards, advantages, the terms of the loss and their
 * derivatives, at the edges too. */
#include "ppo/one_rank.h"
#include "ppo/ppo_math.h"

#include "tensor/loss_derivatives.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { SAMPLES_MAX = 4, TOKENS_MAX = 16 };
static const double tiny = 1e-12;

static void near(double found, double expected, double tolerance) {
  if (!(fabs(found - expected) <= tolerance)) fail_msg("%.17g, expected %.17g", found, expected);
}

/* The published settings, with lengths of at most 10 tokens. */
static const ppo_options_t published = {.kl_coef = 0.1,
                                        .kl_estimator = KL_K1,
                                        .gamma = 1.0,
                                        .lam = 1.0,
                                        .clip = 0.2,
                                        .clip_value = 0.2,
                                        .vf_coef = 0.1,
                                        .whiten_rewards = false,
                                        .reward_scale = 10.0,
                                        .loss_norm = LOSS_NORM_TOKEN,
                                        .correct_bonus = 2.0,
                                        .length_bonus = -10.0,
                                        .no_stop_penalty = -8.0,
                                        .relative_penalty = true,
                                        .bias = 0.0,
                                        .response_len = 10};

/* Samples of given lengths, all inputs zero, all stopped, multipliers one. */
typedef struct {
  int64_t offsets[SAMPLES_MAX + 1];
  double logprob[TOKENS_MAX], ref_logprob[TOKENS_MAX], value[TOKENS_MAX];
  double raw_reward[SAMPLES_MAX], multiplier[SAMPLES_MAX], correct[SAMPLES_MAX];
  bool stopped[SAMPLES_MAX];
  double kl[TOKENS_MAX], shaped[TOKENS_MAX], advantage[TOKENS_MAX], ret[TOKENS_MAX];
  double reward[SAMPLES_MAX], bonus[SAMPLES_MAX];
  one_rank_t rank;
  ppo_samples_t samples;
} ppo_math_rollout_t;

static void rollout_make(ppo_math_rollout_t *r, int32_t count, const int64_t *lengths) {
  memset(r, 0, sizeof *r);
  for (int32_t s = 0; s < count; s++) {
    r->offsets[s + 1] = r->offsets[s] + lengths[s];
    r->multiplier[s] = 1.0;
    r->stopped[s] = true;
  }
  ppo_samples_t *to = &r->samples;
  to->offsets = r->offsets, to->stopped = r->stopped, to->reward = r->reward, to->length_bonus = r->bonus;
  to->logprob = r->logprob, to->ref_logprob = r->ref_logprob, to->value = r->value;
  to->raw_reward = r->raw_reward, to->length_multiplier = r->multiplier, to->correct = r->correct;
  to->kl = r->kl, to->shaped_reward = r->shaped, to->advantage = r->advantage, to->ret = r->ret;
  one_rank(&r->rank, count, &r->samples);
}

static void rollout_one(ppo_math_rollout_t *r, int64_t length) {
  rollout_make(r, 1, &length);
}

static void rewards_made(const ppo_options_t *options, const ppo_math_rollout_t *r) {
  if (ppo_rewards(options, &r->samples) != STATUS_OK || ppo_advantages(options, &r->samples) != STATUS_OK)
    fail_msg("%s", error_message());
}

static void rewards_refused(const ppo_math_rollout_t *r, status_code_t status) {
  assert_int_equal(ppo_rewards(&published, &r->samples), status);
  assert_true(error_message()[0] != '\0');
  error_clear();
}

static void test_kl_k1(void **state) {
  (void)state;
  ppo_math_rollout_t r;
  rollout_one(&r, 3);
  r.logprob[0] = -1.0, r.ref_logprob[0] = -1.5; /* more likely than under the reference */
  r.logprob[1] = -2.0, r.ref_logprob[1] = -1.0; /* less likely: nothing is given back */
  rewards_made(&published, &r);
  near(r.kl[0], 0.5, tiny);
  near(r.kl[1], 0.0, 0.0);
  near(r.kl[2], 0.0, 0.0);
  near(r.shaped[0], -0.05, tiny);
  near(r.shaped[1], 0.0, 0.0);
}

static void test_kl_k3(void **state) {
  (void)state;
  ppo_options_t options = published;
  options.kl_estimator = KL_K3;
  ppo_math_rollout_t r;
  rollout_one(&r, 4);
  r.logprob[0] = -1.0, r.ref_logprob[0] = -1.0 - log(2.0);
  r.logprob[1] = -1.0 - log(2.0), r.ref_logprob[1] = -1.0;
  r.logprob[2] = -1e-9; /* (1e-9)^2 / 2, which 1e-9 + exp(-1e-9) - 1 would lose */
  rewards_made(&options, &r);
  near(r.kl[0], 0.5 - 1.0 + log(2.0), tiny);
  near(r.kl[1], 2.0 - 1.0 - log(2.0), tiny);
  near(r.kl[2], 0.5e-18, 1e-21);
  near(r.kl[3], 0.0, 0.0);
}

/* All terms of the end reward at the last token, and nowhere else. */
static void test_shaped_reward(void **state) {
  (void)state;
  ppo_options_t options = published;
  options.bias = 0.25;
  ppo_math_rollout_t r;
  rollout_make(&r, 2, (const int64_t[]){4, 2});
  r.logprob[3] = 1.0; /* kl 1 at the last token */
  r.raw_reward[0] = 3.0;
  r.correct[0] = -0.5;
  r.multiplier[0] = 0.5;
  r.raw_reward[1] = -1.0;
  r.correct[1] = 1.0;
  rewards_made(&options, &r);
  near(r.reward[0], 3.0, 0.0);
  near(r.bonus[0], -10.0 * 0.4 * 0.5, tiny);
  near(r.shaped[3], -0.1 + 3.0 - 2.0 - 1.0 + 0.25, tiny);
  near(r.bonus[1], -10.0 * 0.2, tiny);
  near(r.shaped[5], -1.0 - 2.0 + 2.0 + 0.25, tiny);
  for (int t = 0; t < 5; t++)
    if (t != 3) near(r.shaped[t], 0.0, 0.0);
}

static void test_no_stop_penalty(void **state) {
  (void)state;
  ppo_options_t options = published;
  ppo_math_rollout_t r;
  rollout_make(&r, 2, (const int64_t[]){1, 1});
  r.raw_reward[0] = r.raw_reward[1] = 1.5;
  r.stopped[1] = false;
  rewards_made(&options, &r);
  near(r.reward[0], 1.5, 0.0);
  near(r.reward[1], 1.5 - 8.0, 0.0);
  options.relative_penalty = false;
  rewards_made(&options, &r);
  near(r.reward[0], 1.5, 0.0);
  near(r.reward[1], -8.0, 0.0);
}

/* gamma = lambda = 1: the return of every token is what is still to come, whatever the values say. */
static void test_returns_without_discount(void **state) {
  (void)state;
  ppo_math_rollout_t r;
  rollout_make(&r, 2, (const int64_t[]){3, 1});
  r.raw_reward[0] = 1.0;
  r.raw_reward[1] = 2.0;
  r.logprob[1] = 0.5;
  for (int t = 0; t < 4; t++)
    r.value[t] = 0.3 * t - 1.0;
  rewards_made(&published, &r);
  double end = 10.0 * (1.0 - 3.0);
  near(r.ret[2], end, tiny);
  near(r.ret[1], end - 0.5, tiny);
  near(r.ret[0], end - 0.5, tiny);
  near(r.ret[3], 10.0 * (2.0 - 1.0), tiny);
}

/* gamma 1/2, lambda 1/2, written out. */
static void test_discounted_advantages(void **state) {
  (void)state;
  ppo_options_t options = published;
  options.gamma = options.lam = 0.5;
  options.reward_scale = 1.0;
  options.length_bonus = 0.0;
  ppo_math_rollout_t r;
  rollout_one(&r, 3);
  r.raw_reward[0] = 8.0;
  r.value[0] = 1.0, r.value[1] = 2.0, r.value[2] = 4.0;
  rewards_made(&options, &r);
  double a2 = 8.0 - 4.0, a1 = 0.5 * 4.0 - 2.0 + 0.25 * a2, a0 = 0.5 * 2.0 - 1.0 + 0.25 * a1;
  near(r.ret[2], a2 + 4.0, tiny);
  near(r.ret[1], a1 + 2.0, tiny);
  near(r.ret[0], a0 + 1.0, tiny);
  double mean = (a0 + a1 + a2) / 3.0;
  double deviation =
      sqrt(((a0 - mean) * (a0 - mean) + (a1 - mean) * (a1 - mean) + (a2 - mean) * (a2 - mean)) / 3.0);
  near(r.advantage[0], (a0 - mean) / (deviation + 1e-8), tiny);
  near(r.advantage[2], (a2 - mean) / (deviation + 1e-8), tiny);
}

/* Whitened rewards: deviation one, the mean where it was, no scale; what is stored is not whitened. */
static void test_whitened_rewards(void **state) {
  (void)state;
  ppo_options_t options = published;
  options.whiten_rewards = true;
  options.length_bonus = 0.0;
  options.gamma = 0.0; /* returns are the rewards themselves */
  ppo_math_rollout_t r;
  rollout_make(&r, 2, (const int64_t[]){2, 2});
  r.raw_reward[0] = 4.0;
  r.raw_reward[1] = 8.0;
  rewards_made(&options, &r);
  near(r.shaped[1], 4.0, 0.0);
  near(r.shaped[3], 8.0, 0.0);
  double deviation = sqrt((9.0 + 1.0 + 9.0 + 25.0) / 4.0) + 1e-8;
  near(r.ret[0], -3.0 / deviation + 3.0, tiny);
  near(r.ret[1], 1.0 / deviation + 3.0, tiny);
  near(r.ret[3], 5.0 / deviation + 3.0, tiny);
}

static void test_advantages_are_whitened_over_tokens(void **state) {
  (void)state;
  ppo_math_rollout_t r;
  rollout_make(&r, 3, (const int64_t[]){5, 1, 2});
  for (int t = 0; t < 8; t++)
    r.value[t] = sin(3.0 * t);
  r.raw_reward[0] = 1.0, r.raw_reward[1] = -4.0, r.raw_reward[2] = 0.5;
  rewards_made(&published, &r);
  double sum = 0.0, squares = 0.0;
  for (int t = 0; t < 8; t++) {
    sum += r.advantage[t];
    squares += r.advantage[t] * r.advantage[t];
  }
  near(sum, 0.0, 1e-10);
  near(squares / 8.0, 1.0, 1e-7);
}

/* A single token has nothing to compare itself with. */
static void test_one_token_in_all(void **state) {
  (void)state;
  ppo_options_t options = published;
  ppo_math_rollout_t r;
  rollout_one(&r, 1);
  r.raw_reward[0] = 2.0;
  r.value[0] = 0.5;
  rewards_made(&options, &r);
  near(r.ret[0], 10.0, tiny);
  near(r.advantage[0], 0.0, 0.0);
  options.whiten_rewards = true;
  rewards_made(&options, &r);
  near(r.ret[0], 1.0, tiny);
  near(r.advantage[0], 0.0, 0.0);
}

static void test_no_samples(void **state) {
  (void)state;
  ppo_math_rollout_t r;
  rollout_make(&r, 0, NULL);
  rewards_made(&published, &r);
  ppo_objective_t objective;
  assert_int_equal(ppo_objective(&published, &r.samples, &objective), STATUS_OK);
  near(objective.rewards, 0.0, 0.0);
}

static void test_bad_inputs_are_refused(void **state) {
  (void)state;
  ppo_math_rollout_t r;
  rollout_make(&r, 2, (const int64_t[]){2, 3});
  double *const inputs[] = {&r.logprob[4],    &r.ref_logprob[2], &r.value[3],
                            &r.raw_reward[1], &r.multiplier[1],  &r.correct[0]};
  for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
    double kept = *inputs[i];
    *inputs[i] = NAN;
    rewards_refused(&r, STATUS_NUMERIC);
    *inputs[i] = -INFINITY;
    rewards_refused(&r, STATUS_NUMERIC);
    *inputs[i] = kept;
  }
  rewards_made(&published, &r);
}

static void test_infinite_kl_is_refused(void **state) {
  (void)state;
  ppo_options_t options = published;
  options.kl_estimator = KL_K3;
  ppo_math_rollout_t r;
  rollout_one(&r, 1);
  r.logprob[0] = -1000.0;
  assert_int_equal(ppo_rewards(&options, &r.samples), STATUS_NUMERIC);
  error_clear();
}

static void test_empty_response_is_refused(void **state) {
  (void)state;
  ppo_math_rollout_t r;
  rollout_make(&r, 3, (const int64_t[]){2, 0, 1});
  rewards_refused(&r, STATUS_INTERNAL);
}

typedef struct {
  double ratio, advantage, loss, derivative;
  bool clipped;
} policy_case_t;

static void test_policy_terms(void **state) {
  (void)state;
  const policy_case_t cases[] = {
      {1.0, 2.0, -2.0, -2.0, false}, {1.1, 2.0, -2.2, -2.2, false},
      {1.5, 2.0, -2.4, 0.0, true},   {0.5, 2.0, -1.0, -1.0, false}, /* worse than before: not clipped */
      {1.5, -2.0, 3.0, 3.0, false},  {0.5, -2.0, 1.6, 0.0, true},
      {1.5, 0.0, 0.0, 0.0, false},   {0.5, 0.0, 0.0, 0.0, false}, /* both terms zero */
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const policy_case_t *c = &cases[i];
    ppo_term_t term = ppo_term(&published, -1.0 + log(c->ratio), -1.0, c->advantage, 0.0, 0.0, 0.0);
    near(term.policy_loss, c->loss, tiny);
    near(policy_derivative(-1.0 + log(c->ratio), -1.0, -c->advantage, published.clip), c->derivative, tiny);
    assert_int_equal(term.policy_clipped, c->clipped);
    near(term.approx_kl, 0.5 * log(c->ratio) * log(c->ratio), tiny);
  }
}

/* Before the first update nothing is clipped and the derivative is the policy gradient's. */
static void test_unchanged_policy(void **state) {
  (void)state;
  ppo_options_t options = published;
  options.clip = 0.0;
  ppo_term_t term = ppo_term(&options, -3.0, -3.0, 1.5, 0.0, 0.0, 0.0);
  near(term.policy_loss, -1.5, 0.0);
  near(policy_derivative(-3.0, -3.0, -1.5, 0.0), -1.5, 0.0);
  assert_false(term.policy_clipped);
}

static void test_value_terms(void **state) {
  (void)state;
  /* Old value 1: the clip keeps 0.8 .. 1.2. */
  ppo_term_t term = ppo_term(&published, 0.0, 0.0, 0.0, 1.1, 1.0, 3.0);
  near(term.value_loss, 0.5 * 1.9 * 1.9, tiny);
  near(value_derivative(1.1, 1.0, 3.0, published.clip_value), -1.9, tiny);
  assert_false(term.value_clipped);
  /* Moved towards the return by more than the clip: the clipped term is larger, and constant. */
  term = ppo_term(&published, 0.0, 0.0, 0.0, 2.0, 1.0, 3.0);
  near(term.value_loss, 0.5 * 1.8 * 1.8, tiny);
  near(value_derivative(2.0, 1.0, 3.0, published.clip_value), 0.0, 0.0);
  near(term.value_error, 1.0, tiny);
  assert_true(term.value_clipped);
  /* Moved away: the unclipped term is larger. */
  term = ppo_term(&published, 0.0, 0.0, 0.0, 0.0, 1.0, 3.0);
  near(term.value_loss, 4.5, tiny);
  near(value_derivative(0.0, 1.0, 3.0, published.clip_value), -3.0, tiny);
  assert_false(term.value_clipped);
}

/* Equal squares on both sides of the return: old value 0, clip 1/4, value 3/4, return 1/2 (exact numbers). */
static void test_value_tie(void **state) {
  (void)state;
  ppo_options_t options = published;
  options.clip_value = 0.25;
  ppo_term_t term = ppo_term(&options, 0.0, 0.0, 0.0, 0.75, 0.0, 0.5);
  near(term.value_loss, 0.5 * 0.0625, 0.0);
  near(value_derivative(0.75, 0.0, 0.5, 0.25), 0.25, 0.0);
  assert_false(term.value_clipped);
}

static void test_huge_ratio_stays_finite(void **state) {
  (void)state;
  ppo_term_t term = ppo_term(&published, 0.0, -1e4, 1.0, 0.0, 0.0, 0.0);
  near(term.policy_loss, -1.2, tiny);
  near(policy_derivative(0.0, -1e4, -1.0, published.clip), 0.0, 0.0);
  term = ppo_term(&published, 0.0, -1e4, 0.0, 0.0, 0.0, 0.0);
  near(term.policy_loss, 0.0, 0.0);
  assert_true(isfinite(ppo_term(&published, 0.0, -1e4, -1.0, 0.0, 0.0, 0.0).policy_loss));
  assert_true(isnan(ppo_term(&published, NAN, -1.0, 1.0, 0.0, 0.0, 0.0).policy_loss));
  assert_true(isnan(ppo_term(&published, 0.0, 0.0, 0.0, NAN, 0.0, 0.0).value_loss));
}

/* Central differences at points on all sides of the clips, none nearer to a corner than the step. */
static void test_term_derivatives(void **state) {
  (void)state;
  const double step = 1e-6, advantages[] = {-1.7, -0.2, 0.4, 2.3};
  for (int a = 0; a < 4; a++)
    for (double change = -0.83; change < 0.9; change += 0.0731) {
      double dlogprob = policy_derivative(-1.0 + change, -1.0, -advantages[a], published.clip);
      double dvalue = value_derivative(change, 0.0, 0.37 * a, published.clip_value);
      ppo_term_t above =
          ppo_term(&published, -1.0 + change + step, -1.0, advantages[a], change + step, 0.0, 0.37 * a);
      ppo_term_t below =
          ppo_term(&published, -1.0 + change - step, -1.0, advantages[a], change - step, 0.0, 0.37 * a);
      near(dlogprob, (above.policy_loss - below.policy_loss) / (2.0 * step), 1e-8);
      near(dvalue, (above.value_loss - below.value_loss) / (2.0 * step), 1e-8);
    }
}

static void test_loss_norms(void **state) {
  (void)state;
  ppo_options_t options = published;
  near(ppo_weight(&options, 3, 2, 8), 1.0 / 8.0, tiny);
  options.loss_norm = LOSS_NORM_SEQUENCE;
  near(ppo_weight(&options, 3, 2, 8), 1.0 / 6.0, tiny);
  near(ppo_weight(&options, 5, 2, 8), 1.0 / 10.0, tiny);
  options.loss_norm = LOSS_NORM_FIXED;
  near(ppo_weight(&options, 3, 2, 8), 1.0 / 20.0, tiny);
}

static void test_objective(void **state) {
  (void)state;
  ppo_math_rollout_t r;
  rollout_make(&r, 2, (const int64_t[]){3, 1});
  r.logprob[0] = 1.0, r.logprob[3] = 3.0; /* kl 1 and 3 */
  r.raw_reward[0] = 4.0, r.raw_reward[1] = 2.0;
  r.correct[0] = 1.0, r.correct[1] = -0.5;
  r.stopped[1] = false;
  rewards_made(&published, &r);
  const double entropy[] = {1.0, 2.0, 3.0, 6.0}, ref_entropy[] = {0.0, 0.0, 0.0, 2.0};
  ppo_objective_t o;
  r.samples.entropy = entropy, r.samples.ref_entropy = ref_entropy;
  assert_int_equal(ppo_objective(&published, &r.samples, &o), STATUS_OK);
  near(o.kl_sum_seq, 2.0, tiny);
  near(o.kl_avg_seq, 1.0, tiny);
  near(o.rewards, (4.0 + 2.0 - 8.0) / 2.0, tiny);
  near(o.length_bonus, (-3.0 - 1.0) / 2.0, tiny);
  near(o.correct_bonus, (2.0 - 1.0) / 2.0, tiny);
  near(o.non_score_rewards, -0.2, tiny);
  near(o.shaped_rewards, -0.2 - 1.0 - 2.0 + 0.5, tiny);
  near(o.entropies, 3.0, tiny);
  near(o.ref_entropies, 0.5, tiny);
}

/* A policy that is its own reference: zeros are written as 0, not as -0. */
static void test_objective_without_kl(void **state) {
  (void)state;
  ppo_math_rollout_t r;
  rollout_make(&r, 1, (const int64_t[]){2});
  rewards_made(&published, &r);
  const double entropy[] = {1.0, 1.0};
  ppo_objective_t o;
  r.samples.entropy = r.samples.ref_entropy = entropy;
  assert_int_equal(ppo_objective(&published, &r.samples, &o), STATUS_OK);
  assert_true(o.kl_sum_seq == 0.0 && o.non_score_rewards == 0.0);
  assert_false(signbit(o.non_score_rewards));
}

static void test_statistics(void **state) {
  (void)state;
  ppo_sums_t sums = {0};
  const double values[] = {1.0, 2.0, 4.0}, returns[] = {7.0, 7.0, 7.0};
  for (int t = 0; t < 3; t++) {
    ppo_term_t term = {.policy_loss = t,
                       .value_loss = 2.0,
                       .policy_clipped = t == 0,
                       .value_clipped = t < 2,
                       .approx_kl = 0.3,
                       .value_error = 3.0 * t};
    ppo_sums_add(&sums, &term, 0.5, 1.0 + t, 10.0 * t, values[t], returns[t]);
  }
  ppo_statistics_t s = ppo_statistics(&sums);
  near(s.loss_policy, 1.5, tiny);
  near(s.loss_value, 3.0, tiny);
  near(s.entropy, 2.0, tiny);
  near(s.approx_kl, 0.3, tiny);
  near(s.policy_clipfrac, 1.0 / 3.0, tiny);
  near(s.value_clipfrac, 2.0 / 3.0, tiny);
  near(s.vpred, 10.0, tiny);
  near(s.value_error, 3.0, tiny);
  near(s.returns_mean, 7.0, tiny);
  near(s.returns_var, 0.0, 0.0);
  near(s.value_mean, 7.0 / 3.0, tiny);
  near(s.value_var, 21.0 / 3.0 - 49.0 / 9.0, tiny);
}

static void test_statistics_of_nothing(void **state) {
  (void)state;
  ppo_sums_t sums = {0};
  ppo_statistics_t s = ppo_statistics(&sums);
  near(s.loss_policy, 0.0, 0.0);
  near(s.value_var, 0.0, 0.0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kl_k1),
      cmocka_unit_test(test_kl_k3),
      cmocka_unit_test(test_shaped_reward),
      cmocka_unit_test(test_no_stop_penalty),
      cmocka_unit_test(test_returns_without_discount),
      cmocka_unit_test(test_discounted_advantages),
      cmocka_unit_test(test_whitened_rewards),
      cmocka_unit_test(test_advantages_are_whitened_over_tokens),
      cmocka_unit_test(test_one_token_in_all),
      cmocka_unit_test(test_no_samples),
      cmocka_unit_test(test_bad_inputs_are_refused),
      cmocka_unit_test(test_infinite_kl_is_refused),
      cmocka_unit_test(test_empty_response_is_refused),
      cmocka_unit_test(test_policy_terms),
      cmocka_unit_test(test_unchanged_policy),
      cmocka_unit_test(test_value_terms),
      cmocka_unit_test(test_value_tie),
      cmocka_unit_test(test_huge_ratio_stays_finite),
      cmocka_unit_test(test_term_derivatives),
      cmocka_unit_test(test_loss_norms),
      cmocka_unit_test(test_objective),
      cmocka_unit_test(test_objective_without_kl),
      cmocka_unit_test(test_statistics),
      cmocka_unit_test(test_statistics_of_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The arithmetic of PPO (method: LLaVA-RLHF with factually augmented rewards): pure functions on host arrays
 * in double, in sample order, so that results depend on no layout. Tokens of all samples of a step lie end to
 * end: sample s has tokens offsets[s] .. offsets[s + 1] - 1 (its response, what ended it included). */
#ifndef TRAIN_PPO_MATH_H
#define TRAIN_PPO_MATH_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum { KL_K1, KL_K3 } kl_estimator_t;
typedef enum { LOSS_NORM_TOKEN, LOSS_NORM_SEQUENCE, LOSS_NORM_FIXED } loss_norm_t;

typedef struct {
  double kl_coef;
  kl_estimator_t kl_estimator;
  double gamma, lam;
  double clip, clip_value, vf_coef;
  bool whiten_rewards;
  double reward_scale; /* applied where rewards are not whitened */
  loss_norm_t loss_norm;
  double correct_bonus, length_bonus, no_stop_penalty, bias;
  bool relative_penalty;
  int32_t response_len;
} ppo_options_t;

/* One step's samples. Inputs are filled by the caller, outputs by ppo_rewards. Arrays are the caller's. */
typedef struct {
  int32_t samples;
  const int64_t *offsets; /* (samples + 1) */
  /* Inputs per token (tokens = offsets[samples]). */
  const double *logprob, *ref_logprob, *value;
  /* Inputs per sample. */
  const double *raw_reward;        /* of the reward model */
  const double *length_multiplier; /* 1 where the data say nothing */
  const double *correct;           /* answer_correct */
  const bool *stopped;             /* holds the end-of-sequence token */
  /* Outputs per token. */
  double *kl, *shaped_reward, *advantage, *ret;
  /* Outputs per sample. */
  double *reward;       /* after the no-stop penalty */
  double *length_bonus; /* length_bonus * len / response_len * multiplier */
} ppo_samples_t;

/* KL, rewards, GAE and advantages whitened over all tokens of the step (population deviation, eps 1e-8).
 * Shaped rewards are stored before whitening or scaling. Whitening of rewards does not shift their mean.
 * Errors: STATUS_NUMERIC naming the sample where an input or its KL is not finite; STATUS_INTERNAL where a
 * sample has no token. Local. */
status_t ppo_rewards(const ppo_options_t *options, const ppo_samples_t *samples);

/* What one token contributes to a mini-batch's loss. */
typedef struct {
  double policy_loss,
      value_loss; /* unweighted terms: max(-A r, -A clip(r)); 0.5 max((v-R)^2, (clip(v)-R)^2) */
  bool policy_clipped, value_clipped; /* the clipped term is the larger one */
  double approx_kl;                   /* 0.5 (logp - old)^2 */
  double value_error;                 /* (v - R)^2 */
} ppo_term_t;
/* LOGPROB, VALUE: present ones; OLD_*: of the rollout. The derivatives are the device's (op_policy_loss_t,
 * op_value_loss_t). Local. */
ppo_term_t ppo_term(const ppo_options_t *options, double logprob, double old_logprob, double advantage,
                    double value, double old_value, double ret);

/* Weight of each token of a sample of LENGTH tokens in the mean over a mini-batch of SAMPLES samples with
 * TOKENS tokens together. Local. */
double ppo_weight(const ppo_options_t *options, int64_t length, int32_t samples, int64_t tokens);

/* Statistics of a step, under the names that are logged ("objective/..."): from filled samples and the
 * entropies per token. kl_sum_seq, shaped_rewards and non_score_rewards are means over samples of sums over
 * tokens; kl_avg_seq and the entropies are means over tokens; the rest means over samples, the coefficient of
 * correct_bonus included. */
typedef struct {
  double kl_sum_seq, kl_avg_seq, length_bonus, correct_bonus, rewards, shaped_rewards, non_score_rewards;
  double entropies, ref_entropies;
} ppo_objective_t;
ppo_objective_t ppo_objective(const ppo_options_t *options, const ppo_samples_t *samples,
                              const double *entropy, const double *ref_entropy);

/* Statistics of one mini-batch ("ppo/..."), from its tokens in sample order; means over mini-batches are
 * logged. */
typedef struct {
  double loss_policy, loss_value; /* normalised as the loss is; value without vf_coef */
  double entropy, approx_kl, policy_clipfrac;
  double returns_mean, returns_var, vpred, value_error, value_clipfrac, value_mean,
      value_var; /* mean, var of the old values */
} ppo_statistics_t;
/* Sums over tokens while a mini-batch is worked on; all zero at first. */
typedef struct {
  int64_t tokens;
  double loss_policy, loss_value; /* weighted */
  double entropy, approx_kl, policy_clipped, ret, ret2, vpred, value_error, value_clipped, value, value2;
} ppo_sums_t;
void ppo_sums_add(ppo_sums_t *sums, const ppo_term_t *term, double weight, double entropy, double value,
                  double old_value, double ret);
ppo_statistics_t ppo_statistics(const ppo_sums_t *sums);

#endif

/* The arithmetic of PPO (method: LLaVA-RLHF with factually augmented rewards): functions on host arrays in
 * double. A rank has the tokens of some samples of a step, which lie end to end; what is summed over all
 * samples is summed over each one's tokens first and then in the order of the samples, so that results depend
 * on no layout. */
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

/* Adds what several ranks have. ADD: the sums of the COLUMNS of ROWS (samples that this rank has, columns),
 * with other ranks' rows in the order of all samples, to SUMS (columns), the same on every rank. It is called
 * by all of them, and its errors are agreed. */
typedef struct {
  status_t (*add)(void *context, const double *rows, int32_t columns, double *sums);
  void *context;
} ppo_adder_t;

enum { PPO_SAMPLE_SUMS = 4 }; /* most columns that are added */

/* One step's samples. Inputs are filled by the caller, outputs by ppo_rewards and ppo_advantages. Arrays are
 * the caller's. */
typedef struct {
  int32_t samples;        /* of all ranks */
  const int32_t *lengths; /* (samples): tokens of the response, what ended it included; 1 at least */
  /* Inputs per sample, known to all ranks. */
  const double *raw_reward;        /* of the reward model */
  const double *length_multiplier; /* 1 where the data say nothing */
  const double *correct;           /* answer_correct */
  const bool *stopped;             /* holds the end-of-sequence token */
  /* Outputs per sample. */
  double *reward;       /* after the no-stop penalty */
  double *length_bonus; /* length_bonus * len / response_len * multiplier */
  /* Samples whose tokens this rank has: which[k] has offsets[k] .. offsets[k + 1] - 1 of the arrays below. */
  int32_t count;
  const int32_t *which;   /* (count): ascending */
  const int64_t *offsets; /* (count + 1) */
  /* Inputs per token. */
  const double *logprob, *ref_logprob, *value, *entropy, *ref_entropy;
  /* Outputs per token. */
  double *kl, *shaped_reward, *advantage, *ret;
  double *sums; /* (count, PPO_SAMPLE_SUMS): scratch */
  ppo_adder_t adder;
} ppo_samples_t;

/* Rewards of all samples, KL and shaped rewards (before whitening or scaling) of the tokens that this rank
 * has. Errors: STATUS_NUMERIC naming the sample where an input or its KL is not finite; STATUS_INTERNAL where
 * a sample has no token. Local. */
status_t ppo_rewards(const ppo_options_t *options, const ppo_samples_t *samples);

/* GAE on the shaped rewards, whitened without a shift of their mean or scaled, and advantages whitened over
 * all tokens of the step (population deviation, eps 1e-8). Collective where the adder is. */
status_t ppo_advantages(const ppo_options_t *options, const ppo_samples_t *samples);

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

/* Statistics of a step, under the names that are logged ("objective/..."), from filled samples. kl_sum_seq,
 * shaped_rewards and non_score_rewards are means over samples of sums over tokens; kl_avg_seq and the
 * entropies are means over tokens; the rest means over samples, the coefficient of correct_bonus included. */
typedef struct {
  double kl_sum_seq, kl_avg_seq, length_bonus, correct_bonus, rewards, shaped_rewards, non_score_rewards;
  double entropies, ref_entropies;
} ppo_objective_t;
/* Collective where the adder is. */
status_t ppo_objective(const ppo_options_t *options, const ppo_samples_t *samples, ppo_objective_t *out);

/* Statistics of one mini-batch ("ppo/..."); means over mini-batches are logged. */
typedef struct {
  double loss_policy, loss_value; /* normalised as the loss is; value without vf_coef */
  double entropy, approx_kl, policy_clipfrac;
  double returns_mean, returns_var, vpred, value_error, value_clipfrac, value_mean,
      value_var; /* mean, var of the old values */
} ppo_statistics_t;
/* Sums over tokens, all zero at first: those of a sample, then those of the mini-batch's samples in order. */
typedef struct {
  double tokens;
  double loss_policy, loss_value; /* weighted */
  double entropy, approx_kl, policy_clipped, ret, ret2, vpred, value_error, value_clipped, value, value2;
} ppo_sums_t;
enum { PPO_SUMS = sizeof(ppo_sums_t) / sizeof(double) };
void ppo_sums_add(ppo_sums_t *sums, const ppo_term_t *term, double weight, double entropy, double value,
                  double old_value, double ret);
ppo_statistics_t ppo_statistics(const ppo_sums_t *sums);

#endif

#include "ppo/ppo_math.h"

#include <math.h>

/* Added to standard deviations before dividing by them. */
static const double whiten_eps = 1e-8;
/* Log-ratios above this one would overflow; the ratio is then about the largest finite number, so that a zero
 * advantage still makes a zero loss. */
static const double largest_log_ratio = 700.0;

/* Of all ranks. */
static double token_count(const ppo_samples_t *samples) {
  int64_t tokens = 0;
  for (int32_t s = 0; s < samples->samples; s++)
    tokens += samples->lengths[s];
  return (double)tokens;
}

/* Adds the rows of samples->sums. */
static status_t add_samples(const ppo_samples_t *samples, int32_t columns, double *sums) {
  return samples->adder.add(samples->adder.context, samples->sums, columns, sums);
}

/* Mean and population standard deviation of VALUES over all tokens, of which this rank has some. */
static status_t mean_deviation(const ppo_samples_t *samples, const double *values, double *mean,
                               double *deviation) {
  double tokens = token_count(samples), total;
  for (int32_t k = 0; k < samples->count; k++) {
    samples->sums[k] = 0.0;
    for (int64_t t = samples->offsets[k]; t < samples->offsets[k + 1]; t++)
      samples->sums[k] += values[t];
  }
  TRY(add_samples(samples, 1, &total));
  *mean = tokens > 0.0 ? total / tokens : 0.0;
  for (int32_t k = 0; k < samples->count; k++) {
    samples->sums[k] = 0.0;
    for (int64_t t = samples->offsets[k]; t < samples->offsets[k + 1]; t++)
      samples->sums[k] += (values[t] - *mean) * (values[t] - *mean);
  }
  TRY(add_samples(samples, 1, &total));
  *deviation = tokens > 0.0 ? sqrt(total / tokens) : 0.0;
  return STATUS_OK;
}

/* KL estimate of one token (Schulman, "Approximating KL divergence"); k1 without its negative part. */
static double kl_token(kl_estimator_t estimator, double logprob, double ref_logprob) {
  double log_ratio = ref_logprob - logprob;
  return estimator == KL_K1 ? fmax(-log_ratio, 0.0) : expm1(log_ratio) - log_ratio;
}

/* TOKEN of the K-th sample that this rank has. */
static status_t ppo_math_check_token(const ppo_samples_t *samples, int32_t k, int64_t token) {
  int64_t place = token - samples->offsets[k];
  int32_t sample = samples->which[k];
  if (!isfinite(samples->logprob[token]) || !isfinite(samples->ref_logprob[token]))
    return error_set(STATUS_NUMERIC,
                     "sample %d, response token %lld: log-probability %g, of the reference %g, expected "
                     "finite numbers; lower optim.lr or look for broken weights",
                     sample, (long long)place, samples->logprob[token], samples->ref_logprob[token]);
  if (!isfinite(samples->value[token]))
    return error_set(STATUS_NUMERIC,
                     "sample %d, response token %lld: value %g, expected a finite number; lower optim.lr or "
                     "look for broken weights",
                     sample, (long long)place, samples->value[token]);
  return STATUS_OK;
}

static status_t ppo_math_check_sample(const ppo_samples_t *samples, int32_t sample) {
  if (samples->lengths[sample] < 1)
    return error_set(STATUS_INTERNAL, "sample %d has no response token, expected at least one", sample);
  if (!isfinite(samples->raw_reward[sample]))
    return error_set(STATUS_NUMERIC,
                     "sample %d: the reward model gives %g, expected a finite number; look for broken "
                     "weights in reward.model",
                     sample, samples->raw_reward[sample]);
  if (!isfinite(samples->length_multiplier[sample]) || !isfinite(samples->correct[sample]))
    return error_set(STATUS_NUMERIC,
                     "sample %d: length_bonus multiplier %g, correctness %g, expected finite numbers; look "
                     "at the sample in the dataset",
                     sample, samples->length_multiplier[sample], samples->correct[sample]);
  return STATUS_OK;
}

static status_t reward_sample(const ppo_options_t *options, const ppo_samples_t *samples, int32_t sample) {
  TRY(ppo_math_check_sample(samples, sample));
  double reward = samples->raw_reward[sample];
  if (!samples->stopped[sample])
    reward = options->relative_penalty ? reward + options->no_stop_penalty : options->no_stop_penalty;
  samples->reward[sample] = reward;
  samples->length_bonus[sample] = options->length_bonus * (double)samples->lengths[sample] /
                                  (double)options->response_len * samples->length_multiplier[sample];
  return STATUS_OK;
}

/* Shaped rewards of the K-th sample: -kl_coef * kl per token, and everything else at its last token. */
static status_t shape_sample(const ppo_options_t *options, const ppo_samples_t *samples, int32_t k) {
  int64_t begin = samples->offsets[k], end = samples->offsets[k + 1];
  int32_t sample = samples->which[k];
  for (int64_t t = begin; t < end; t++) {
    TRY(ppo_math_check_token(samples, k, t));
    samples->kl[t] = kl_token(options->kl_estimator, samples->logprob[t], samples->ref_logprob[t]);
    if (!isfinite(samples->kl[t]))
      return error_set(STATUS_NUMERIC,
                       "sample %d, response token %lld: KL %g from log-probability %g, of the reference %g, "
                       "expected a finite number; the policy has left the reference: raise ppo.kl_coef or "
                       "lower optim.lr",
                       sample, (long long)(t - begin), samples->kl[t], samples->logprob[t],
                       samples->ref_logprob[t]);
    samples->shaped_reward[t] = -options->kl_coef * samples->kl[t];
  }
  samples->shaped_reward[end - 1] += samples->reward[sample] + samples->length_bonus[sample] +
                                     options->correct_bonus * samples->correct[sample] + options->bias;
  return STATUS_OK;
}

/* Generalised advantage estimation (Schulman et al. 2016) over the K-th sample's rewards OFFSET + SCALE *
 * shaped; returns are advantages + values. */
static void estimate_advantages(const ppo_options_t *options, const ppo_samples_t *samples, int32_t k,
                                double scale, double offset) {
  double advantage = 0.0, next_value = 0.0;
  for (int64_t t = samples->offsets[k + 1] - 1; t >= samples->offsets[k]; t--) {
    double reward = offset + scale * samples->shaped_reward[t];
    double delta = reward + options->gamma * next_value - samples->value[t];
    advantage = delta + options->gamma * options->lam * advantage;
    next_value = samples->value[t];
    samples->advantage[t] = advantage;
    samples->ret[t] = advantage + samples->value[t];
  }
}

status_t ppo_rewards(const ppo_options_t *options, const ppo_samples_t *samples) {
  for (int32_t s = 0; s < samples->samples; s++)
    TRY(reward_sample(options, samples, s));
  for (int32_t k = 0; k < samples->count; k++)
    TRY(shape_sample(options, samples, k));
  return STATUS_OK;
}

status_t ppo_advantages(const ppo_options_t *options, const ppo_samples_t *samples) {
  double mean, deviation, scale = options->reward_scale, offset = 0.0;
  if (options->whiten_rewards) {
    TRY(mean_deviation(samples, samples->shaped_reward, &mean, &deviation));
    scale = 1.0 / (deviation + whiten_eps);
    offset = mean - mean * scale; /* the mean stays where it was */
  }
  for (int32_t k = 0; k < samples->count; k++)
    estimate_advantages(options, samples, k, scale, offset);
  TRY(mean_deviation(samples, samples->advantage, &mean, &deviation));
  for (int64_t t = 0; t < samples->offsets[samples->count]; t++)
    samples->advantage[t] = (samples->advantage[t] - mean) / (deviation + whiten_eps);
  return STATUS_OK;
}

/* X moved into LOW..HIGH; NaN stays NaN. */
static double ppo_math_clip(double x, double low, double high) {
  return x < low ? low : x > high ? high : x;
}

static void policy_term(const ppo_options_t *options, double log_ratio, double advantage, ppo_term_t *term) {
  double ratio = exp(log_ratio > largest_log_ratio ? largest_log_ratio : log_ratio);
  double loss = -advantage * ratio;
  double clipped = -advantage * ppo_math_clip(ratio, 1.0 - options->clip, 1.0 + options->clip);
  term->policy_clipped = clipped > loss;
  term->policy_loss = term->policy_clipped ? clipped : loss;
  term->approx_kl = 0.5 * log_ratio * log_ratio;
}

static void value_term(const ppo_options_t *options, double value, double old_value, double ret,
                       ppo_term_t *term) {
  double error = value - ret;
  double clipped_error =
      ppo_math_clip(value, old_value - options->clip_value, old_value + options->clip_value) - ret;
  term->value_clipped = clipped_error * clipped_error > error * error;
  double larger = term->value_clipped ? clipped_error : error;
  term->value_loss = 0.5 * larger * larger;
  term->value_error = error * error;
}

ppo_term_t ppo_term(const ppo_options_t *options, double logprob, double old_logprob, double advantage,
                    double value, double old_value, double ret) {
  ppo_term_t term;
  policy_term(options, logprob - old_logprob, advantage, &term);
  value_term(options, value, old_value, ret, &term);
  return term;
}

double ppo_weight(const ppo_options_t *options, int64_t length, int32_t samples, int64_t tokens) {
  switch (options->loss_norm) {
  case LOSS_NORM_SEQUENCE:
    return 1.0 / ((double)samples * (double)length);
  case LOSS_NORM_FIXED:
    return 1.0 / ((double)samples * (double)options->response_len);
  case LOSS_NORM_TOKEN:
    break;
  }
  return 1.0 / (double)tokens;
}

static double ppo_math_mean_of(const double *values, int32_t n) {
  double sum = 0.0;
  for (int32_t i = 0; i < n; i++)
    sum += values[i];
  return sum / n;
}

status_t ppo_objective(const ppo_options_t *options, const ppo_samples_t *samples, ppo_objective_t *out) {
  enum { KL, SHAPED, ENTROPY, REF_ENTROPY };
  const double *const arrays[PPO_SAMPLE_SUMS] = {
      [KL] = samples->kl,
      [SHAPED] = samples->shaped_reward,
      [ENTROPY] = samples->entropy,
      [REF_ENTROPY] = samples->ref_entropy,
  };
  int32_t n = samples->samples;
  double sums[PPO_SAMPLE_SUMS], tokens = token_count(samples);
  *out = (ppo_objective_t){0};
  if (n == 0) return STATUS_OK;
  for (int32_t k = 0; k < samples->count; k++)
    for (int a = 0; a < PPO_SAMPLE_SUMS; a++) {
      double sum = 0.0;
      for (int64_t t = samples->offsets[k]; t < samples->offsets[k + 1]; t++)
        sum += arrays[a][t];
      samples->sums[k * PPO_SAMPLE_SUMS + a] = sum;
    }
  TRY(add_samples(samples, PPO_SAMPLE_SUMS, sums));
  *out = (ppo_objective_t){
      .kl_sum_seq = sums[KL] / n,
      .kl_avg_seq = sums[KL] / tokens,
      .length_bonus = ppo_math_mean_of(samples->length_bonus, n),
      .correct_bonus = options->correct_bonus * ppo_math_mean_of(samples->correct, n),
      .rewards = ppo_math_mean_of(samples->reward, n),
      .shaped_rewards = sums[SHAPED] / n,
      .non_score_rewards = 0.0 - options->kl_coef * sums[KL] / n, /* no -0 where kl is 0 */
      .entropies = sums[ENTROPY] / tokens,
      .ref_entropies = sums[REF_ENTROPY] / tokens,
  };
  return STATUS_OK;
}

void ppo_sums_add(ppo_sums_t *sums, const ppo_term_t *term, double weight, double entropy, double value,
                  double old_value, double ret) {
  sums->tokens += 1.0;
  sums->loss_policy += weight * term->policy_loss;
  sums->loss_value += weight * term->value_loss;
  sums->entropy += entropy;
  sums->approx_kl += term->approx_kl;
  sums->policy_clipped += term->policy_clipped ? 1.0 : 0.0;
  sums->value_clipped += term->value_clipped ? 1.0 : 0.0;
  sums->value_error += term->value_error;
  sums->vpred += value;
  sums->ret += ret;
  sums->ret2 += ret * ret;
  sums->value += old_value;
  sums->value2 += old_value * old_value;
}

/* Population variance from sums over N; rounding makes none negative. */
static double ppo_math_variance(double sum, double sum2, double n) {
  double mean = sum / n;
  double result = sum2 / n - mean * mean;
  return result < 0.0 ? 0.0 : result;
}

ppo_statistics_t ppo_statistics(const ppo_sums_t *sums) {
  double n = sums->tokens;
  if (n == 0.0) return (ppo_statistics_t){0};
  return (ppo_statistics_t){
      .loss_policy = sums->loss_policy,
      .loss_value = sums->loss_value,
      .entropy = sums->entropy / n,
      .approx_kl = sums->approx_kl / n,
      .policy_clipfrac = sums->policy_clipped / n,
      .returns_mean = sums->ret / n,
      .returns_var = ppo_math_variance(sums->ret, sums->ret2, n),
      .vpred = sums->vpred / n,
      .value_error = sums->value_error / n,
      .value_clipfrac = sums->value_clipped / n,
      .value_mean = sums->value / n,
      .value_var = ppo_math_variance(sums->value, sums->value2, n),
  };
}

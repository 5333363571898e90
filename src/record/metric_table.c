#include "record/metric_table.h"

#include <stddef.h>
#include <string.h>

#define RESULTS "Results"
#define TRAINING "Training"

static const chart_t charts[] = {
    {RESULTS, "Reward", "mean over the answers of a step", false},
    {RESULTS, "Distance from the reference", "KL divergence of an answer, mean over answers", false},
    {RESULTS, "Hallucination", "share of answers that claim what the image does not show", false},
    {RESULTS, "Rating", "by the judge, 0 to 6", false},
    {RESULTS, "Claims", "in the answers, by the judge", false},
    {RESULTS, "Objects named", "share of what the image shows", false},
    {RESULTS, "Length of answers", "tokens", false},
    {RESULTS, "Words in an answer", "mean", false},
    {RESULTS, "Answers that end", "share with an end token", false},
    {RESULTS, "Bonuses", "added to the reward", false},
    {RESULTS, "Shaped reward", "sum over an answer, mean over answers", false},
    {RESULTS, "Loss", "nats", false},
    {RESULTS, "Accuracy", "share that is right", false},
    {RESULTS, "Scores of the reward model", "mean of both answers of a pair", false},
    {TRAINING, "Policy loss", "clipped; before the first update about the mean advantage, 0", false},
    {TRAINING, "Value loss", "clipped", true},
    {TRAINING, "Clipped tokens", "share whose change was cut off", false},
    {TRAINING, "Change of the policy in a step", "half the mean squared change of log-probabilities", true},
    {TRAINING, "Entropy", "nats per token", false},
    {TRAINING, "Gradient norm", "before clipping", true},
    {TRAINING, "Values and returns", "means over response tokens", false},
    {TRAINING, "Error of the values", "mean square", true},
    {TRAINING, "Variance of values and returns", "over response tokens", true},
    {TRAINING, "Sampler against training forward", "largest gap of two log-probabilities", true},
    {TRAINING, "Learning rate", "of the optimiser", false},
    {TRAINING, "Tokens learnt", "of a step", false},
    {TRAINING, "Time of a step", "seconds", false},
};

static const metric_group_t groups[] = {
    {"sft/", "Supervised fine-tuning and pretraining"},
    {"rm/", "Reward model"},
    {"objective/", "PPO: rewards and distance from the reference"},
    {"rollout/", "PPO: the answers of a step"},
    {"ppo/", "PPO: the update, means over the step's mini-batches"},
    {"eval/", "Evaluation, of held-out data in training and of task evaluate"},
    {"pope/", "Task evaluate: POPE"},
    {"amber/", "Task evaluate: AMBER, discriminative part"},
    {"hallusion/", "Task evaluate: HallusionBench"},
    {"mmbench/", "Task evaluate: MMBench"},
    {"chair/", "Task evaluate: CHAIR"},
    {"mmhal/", "Task evaluate: MMHal-Bench"},
    {"llava_bench/", "Task evaluate: LLaVA-Bench"},
    {"data/", "Data"},
    {"step_seconds", "Time"},
};

#define STIENNON "Stiennon et al. 2020, \"Learning to summarize from human feedback\""
#define SCHULMAN "Schulman et al. 2017, \"Proximal policy optimization algorithms\""
#define SUN "Sun et al. 2023, \"Aligning large multimodal models with factually augmented RLHF\""
#define POPE "Li et al. 2023, \"Evaluating object hallucination in large vision-language models\""

#define AMBER                                                                                                \
  "Wang et al. 2023, \"AMBER: An LLM-free multi-dimensional benchmark for MLLMs hallucination evaluation\""
#define HALLUSION "Guan et al. 2024, \"HallusionBench\""
#define MMBENCH "Liu et al. 2023, \"MMBench: Is your multi-modal model an all-around player?\""
#define CHAIR "Rohrbach et al. 2018, \"Object hallucination in image captioning\""
#define LIU "Liu et al. 2023, \"Visual instruction tuning\""

static const metric_t rows[] = {
    {"sft/loss", "Loss", .unit = "nats", .better = BETTER_DOWN, .label = "loss", .chart = "Loss",
     .line = "training", .key = true,
     .meaning = "Cross-entropy per learnt token: -log p(token) summed over the answer tokens of the step's "
                "samples, divided by their number."},
    {"sft/accuracy", "Accuracy", .better = BETTER_UP, .format = METRIC_SHARE, .label = "acc",
     .chart = "Accuracy", .line = "training", .key = true,
     .meaning = "Share of learnt tokens that are the likeliest ones in their place; one of k that are as "
                "likely counts 1/k."},
    {"sft/lr", "Learning rate", .label = "lr", .chart = "Learning rate",
     .meaning = "Learning rate of this step, by optim.schedule."},
    {"sft/grad_norm", "Gradient norm", .label = "grad", .chart = "Gradient norm",
     .meaning =
         "Euclidean norm of the gradient of all that is trained, before it is clipped to optim.grad_clip."},
    {"sft/tokens", "Tokens learnt", .unit = "tokens", .chart = "Tokens learnt",
     .meaning = "Answer tokens that the step's loss is a mean of."},

    {"rm/loss", "Loss", .unit = "nats", .better = BETTER_DOWN, .label = "loss", .chart = "Loss",
     .line = "training", .key = true,
     .meaning = "-log sigmoid(score of the preferred answer - score of the other), mean over the pairs of a "
                "step (" STIENNON ", section 3.4), plus the centring term of rm.center_group."},
    {"rm/accuracy", "Accuracy", .better = BETTER_UP, .format = METRIC_SHARE, .label = "acc",
     .chart = "Accuracy", .line = "training", .key = true,
     .meaning =
         "Share of pairs whose preferred answer scores higher than the other; equal scores count half."},
    {"rm/mean_score", "Mean score", .label = "score", .chart = "Scores of the reward model",
     .meaning = "Mean score of both answers; the centring term holds it near 0."},
    {"rm/label_share", "Second answers preferred", .format = METRIC_SHARE,
     .meaning = "Share of pairs whose second answer is the preferred one; far from 50 % the label can be "
                "guessed from the order."},
    {"rm/lr", "Learning rate", .label = "lr", .chart = "Learning rate",
     .meaning = "Learning rate of this step, by optim.schedule."},
    {"rm/grad_norm", "Gradient norm", .label = "grad", .chart = "Gradient norm",
     .meaning =
         "Euclidean norm of the gradient of all that is trained, before it is clipped to optim.grad_clip."},

    {"objective/rewards", "Reward", .better = BETTER_UP, .label = "reward", .chart = "Reward",
     .line = "training", .key = true,
     .meaning = "Score of the reward model, mean over answers; an answer without an end token gets "
                "reward.no_stop_penalty on top of it or, if not reward.relative_penalty, instead of it. "
                "Without bonuses and KL penalty."},
    {"objective/kl_sum_seq", "KL from the reference", .unit = "nats", .label = "kl",
     .chart = "Distance from the reference", .key = true,
     .meaning =
         "Estimate of the KL divergence of the policy from the reference, summed over the tokens of an "
         "answer, mean over answers. Per token max(log p - log p_ref, 0) with ppo.kl_estimator = 'k1' (" SUN
         ") or p_ref/p - 1 - log(p_ref/p) with 'k3' (Schulman 2020, \"Approximating KL divergence\")."},
    {"objective/kl_avg_seq", "KL per token", .unit = "nats",
     .meaning = "The same estimate as a mean over all response tokens."},
    {"objective/kl_coef", "KL coefficient", .meaning = "ppo.kl_coef: what a nat of KL costs in reward."},
    {"objective/length_bonus", "Length bonus", .chart = "Bonuses", .line = "length",
     .meaning = "reward.length_bonus x length / rollout.response_len x the sample's own factor, mean over "
                "answers (" SUN ")."},
    {"objective/correct_bonus", "Correctness bonus", .better = BETTER_UP, .chart = "Bonuses",
     .line = "correct answer",
     .meaning = "reward.correct_bonus x correctness of answers to multiple-choice and yes/no questions, mean "
                "over all answers (" SUN ")."},
    {"objective/shaped_rewards", "Shaped reward", .better = BETTER_UP, .chart = "Shaped reward",
     .line = "all",
     .meaning = "Reward, bonuses and reward.bias less kl_coef x KL, summed over an answer, mean over "
                "answers; before whitening or scaling."},
    {"objective/non_score_rewards", "KL penalty", .chart = "Shaped reward", .line = "KL penalty alone",
     .meaning = "-kl_coef x KL, summed over an answer, mean over answers."},
    {"objective/lr", "Learning rate", .chart = "Learning rate",
     .meaning = "Learning rate of this step, by optim.schedule."},
    {"objective/entropies", "Entropy of the policy", .unit = "nats", .label = "ent", .chart = "Entropy",
     .line = "policy",
     .meaning = "Entropy of the policy's next-token distribution, mean over response tokens."},
    {"objective/ref_entropies", "Entropy of the reference", .unit = "nats", .chart = "Entropy",
     .line = "reference", .meaning = "The same of the reference on the same tokens."},

    {"rollout/response_length", "Length of answers", .unit = "tokens", .label = "len",
     .chart = "Length of answers", .line = "mean", .key = true,
     .meaning = "Tokens of an answer, end token included, mean over answers."},
    {"rollout/response_length_min", "Shortest answer", .unit = "tokens", .chart = "Length of answers",
     .line = "shortest", .meaning = "Tokens of the step's shortest answer."},
    {"rollout/response_length_max", "Longest answer", .unit = "tokens", .chart = "Length of answers",
     .line = "longest", .meaning = "Tokens of the step's longest answer."},
    {"rollout/stopped", "Answers that end", .better = BETTER_UP, .format = METRIC_SHARE, .label = "end",
     .chart = "Answers that end",
     .meaning = "Share of answers that hold an end token; the others were cut at rollout.response_len or at "
                "a question of their own."},
    {"rollout/logprob_gap", "Sampler against training forward", .unit = "nats", .better = BETTER_DOWN,
     .chart = "Sampler against training forward",
     .meaning = "Largest difference, over the step's tokens, between the log-probability that the sampler "
                "reported and that of the training forward before the first update. More than rounding means "
                "that one of them is wrong."},

    {"ppo/loss/policy", "Policy loss", .label = "pi", .chart = "Policy loss",
     .meaning =
         "Mean of max(-A r, -A clip(r, 1 - ppo.clip, 1 + ppo.clip)), r the ratio of new to old probability, "
         "A the whitened advantage (" SCHULMAN ", equation 7), normalised as ppo.loss_norm says."},
    {"ppo/loss/value", "Value loss", .better = BETTER_DOWN, .label = "vf", .chart = "Value loss",
     .meaning = "Mean of 0.5 max((v - R)^2, (clip(v, v_old - ppo.clip_value, v_old + ppo.clip_value) - "
                "R)^2), without ppo.vf_coef."},
    {"ppo/loss/grad_norm", "Gradient norm", .label = "grad", .chart = "Gradient norm", .line = "both",
     .meaning = "Euclidean norm of the gradients of policy and value together, before the one clip to "
                "optim.grad_clip."},
    {"ppo/loss/grad_norm_policy", "Gradient norm of the policy", .chart = "Gradient norm", .line = "policy",
     .meaning = "The policy's part of that norm."},
    {"ppo/loss/grad_norm_value", "Gradient norm of the value model", .chart = "Gradient norm",
     .line = "value", .meaning = "The value model's part of that norm."},
    {"ppo/policy/entropy", "Entropy in the update", .unit = "nats", .chart = "Entropy",
     .line = "policy, in the update",
     .meaning = "Entropy of the policy while it is updated. It is not optimised."},
    {"ppo/policy/approxkl", "Change of the policy in a step", .unit = "nats^2",
     .chart = "Change of the policy in a step",
     .meaning =
         "0.5 x mean of (log p - log p_old)^2: how far the update has moved from the policy that sampled."},
    {"ppo/policy/clipfrac", "Clipped ratios", .format = METRIC_SHARE, .chart = "Clipped tokens",
     .line = "policy",
     .meaning = "Share of tokens whose clipped policy term is the larger one: they get no gradient."},
    {"ppo/returns/mean", "Returns", .better = BETTER_UP, .chart = "Values and returns", .line = "returns",
     .meaning = "Mean return R = advantage + old value; generalised advantage estimation with ppo.gamma and "
                "ppo.lam (Schulman et al. 2016, \"High-dimensional continuous control using generalized "
                "advantage estimation\")."},
    {"ppo/returns/var", "Variance of returns", .chart = "Variance of values and returns", .line = "returns",
     .meaning = "Population variance of the returns."},
    {"ppo/val/vpred", "Values in the update", .chart = "Values and returns", .line = "values, in the update",
     .meaning = "Mean value while the value model is updated."},
    {"ppo/val/error", "Error of the values", .better = BETTER_DOWN, .chart = "Error of the values",
     .meaning = "Mean of (v - R)^2, not clipped; beside the variance of returns it tells what the value "
                "model explains."},
    {"ppo/val/clipfrac", "Clipped values", .format = METRIC_SHARE, .chart = "Clipped tokens", .line = "value",
     .meaning = "Share of tokens whose clipped value term is the larger one: they get no gradient."},
    {"ppo/val/mean", "Values", .chart = "Values and returns", .line = "values",
     .meaning = "Mean of the old values, those that the advantages were computed with."},
    {"ppo/val/var", "Variance of values", .chart = "Variance of values and returns", .line = "values",
     .meaning = "Population variance of the old values."},

    {"eval/loss", "Held-out loss", .unit = "nats", .better = BETTER_DOWN, .label = "loss", .chart = "Loss",
     .line = "held out", .key = true,
     .meaning =
         "The training loss on the samples of eval.dataset; of a reward model without the centring term."},
    {"eval/accuracy", "Held-out accuracy", .better = BETTER_UP, .format = METRIC_SHARE, .label = "acc",
     .chart = "Accuracy", .line = "held out", .key = true,
     .meaning = "Share of held-out pairs whose preferred answer scores higher than the other; equal scores "
                "count half."},
    {"eval/rating", "Rating", .unit = "of 6", .better = BETTER_UP, .label = "rating", .chart = "Rating",
     .key = true, .compared = true,
     .meaning =
         "The judge's rating of an answer, 0 to 6, mean over answers (the scale of MMHal-Bench, " SUN ")."},
    {"eval/hallucination", "Answers that hallucinate", .better = BETTER_DOWN, .format = METRIC_SHARE,
     .label = "halluc", .chart = "Hallucination", .line = "all questions", .key = true, .compared = true,
     .meaning = "Share of answers rated below 3: they claim what the image does not show."},
    {"eval/open_hallucination", "Descriptions that hallucinate", .better = BETTER_DOWN,
     .format = METRIC_SHARE, .label = "open", .chart = "Hallucination", .line = "descriptions",
     .compared = true, .meaning = "The same among answers to requests for a description."},
    {"eval/claims_right", "Claims that are right", .better = BETTER_UP, .format = METRIC_SHARE,
     .label = "right", .chart = "Claims", .line = "right", .compared = true,
     .meaning = "Share of the claims about objects, in all answers, that are true of the image."},
    {"eval/clean_claims_right", "Claims that are right, clean scenes", .better = BETTER_UP,
     .format = METRIC_SHARE, .compared = true,
     .meaning = "The same in descriptions of scenes without the objects that biased data promise: how well "
                "the model sees."},
    {"eval/claims_absent", "Claims about absent things", .better = BETTER_DOWN, .format = METRIC_SHARE,
     .chart = "Claims", .line = "about absent things", .compared = true,
     .meaning = "Share of claims about things that the image does not show at all."},
    {"eval/recall", "Objects named", .better = BETTER_UP, .format = METRIC_SHARE, .label = "recall",
     .chart = "Objects named", .compared = true,
     .meaning = "Share of an image's objects that its description names."},
    {"eval/words", "Words in an answer", .unit = "words", .label = "words", .chart = "Words in an answer",
     .compared = true, .meaning = "Words of an answer, mean over answers."},
    {"eval/reward", "Held-out reward", .better = BETTER_UP, .label = "reward", .chart = "Reward",
     .line = "held out",
     .meaning =
         "Score of the reward model for the likeliest answers to held-out prompts, mean over answers."},
    {"eval/response_length", "Length of held-out answers", .unit = "tokens", .chart = "Length of answers",
     .line = "held out", .meaning = "Tokens of the likeliest answers to held-out prompts, mean."},

    {"pope/accuracy", "POPE accuracy", .better = BETTER_UP, .format = METRIC_SHARE, .compared = true,
     .meaning = "Share of yes/no questions about objects that are answered right (" POPE ")."},
    {"pope/precision", "POPE precision", .better = BETTER_UP, .format = METRIC_SHARE, .compared = true,
     .meaning = "Share of the answers \"yes\" that are right."},
    {"pope/recall", "POPE recall", .better = BETTER_UP, .format = METRIC_SHARE, .compared = true,
     .meaning = "Share of the objects asked about and shown that are answered \"yes\"."},
    {"pope/f1", "POPE F1", .better = BETTER_UP, .format = METRIC_SHARE, .compared = true,
     .meaning = "Harmonic mean of precision and recall."},
    {"pope/yes_ratio", "POPE says yes", .format = METRIC_SHARE, .compared = true,
     .meaning = "Share of answers \"yes\"; the questions are balanced, so that 50 % is unbiased."},

    {"amber/accuracy", "AMBER accuracy", .better = BETTER_UP, .format = METRIC_SHARE, .compared = true,
     .meaning = "Share of yes/no questions about what an image shows that are answered right (" AMBER ")."},
    {"amber/precision", "AMBER precision", .better = BETTER_UP, .format = METRIC_SHARE, .compared = true,
     .meaning = "Share of the answers \"no\" that are right: \"no\" is the positive class."},
    {"amber/recall", "AMBER recall", .better = BETTER_UP, .format = METRIC_SHARE, .compared = true,
     .meaning = "Share of the questions whose answer is \"no\" that are answered \"no\"."},
    {"amber/f1", "AMBER F1", .better = BETTER_UP, .format = METRIC_SHARE, .compared = true,
     .meaning = "Harmonic mean of precision and recall. The published script adds 0.0001 to what it divides "
                "by."},
    {"amber/no_ratio", "AMBER says no", .format = METRIC_SHARE, .compared = true,
     .meaning = "Share of answers \"no\"."},

    {"hallusion/accuracy", "HallusionBench accuracy", .better = BETTER_UP, .format = METRIC_SHARE,
     .compared = true, .meaning = "Share of questions that are answered right (" HALLUSION ")."},
    {"hallusion/figure_accuracy", "HallusionBench, figures", .better = BETTER_UP, .format = METRIC_SHARE,
     .compared = true, .meaning = "Share of figures all of whose questions are answered right."},
    {"hallusion/pair_accuracy", "HallusionBench, question pairs", .better = BETTER_UP, .format = METRIC_SHARE,
     .compared = true,
     .meaning = "Share of questions that are answered right for all figures of their set, original and "
                "edited."},
    {"hallusion/hard_accuracy", "HallusionBench, edited", .better = BETTER_UP, .format = METRIC_SHARE,
     .compared = true,
     .meaning = "Share of questions that are answered right for all edited or added figures of their set."},
    {"hallusion/easy_accuracy", "HallusionBench, original", .better = BETTER_UP, .format = METRIC_SHARE,
     .compared = true,
     .meaning = "Share of questions about original figures, or asked without one, that are answered right."},

    {"mmbench/accuracy", "MMBench accuracy", .better = BETTER_UP, .format = METRIC_SHARE, .compared = true,
     .meaning = "Share of questions, copies of circular evaluation included, whose right option is chosen "
                "(" MMBENCH "), by exact matching."},
    {"mmbench/circular_accuracy", "MMBench, circular", .better = BETTER_UP, .format = METRIC_SHARE,
     .compared = true,
     .meaning = "Share of questions whose right option is chosen in every order of the options."},

    {"chair/instance", "Objects that are invented", .better = BETTER_DOWN, .format = METRIC_SHARE,
     .compared = true,
     .meaning = "Share of the mentions of objects, in all answers, of such as the image does not show (" CHAIR
                ": CHAIR_i)."},
    {"chair/sentence", "Answers that invent objects", .better = BETTER_DOWN, .format = METRIC_SHARE,
     .compared = true,
     .meaning = "Share of answers that mention an object that the image does not show (CHAIR_s)."},
    {"chair/recall", "Objects mentioned", .better = BETTER_UP, .format = METRIC_SHARE, .compared = true,
     .meaning = "Share of the kinds of objects that images show that their descriptions mention."},

    {"mmhal/score", "MMHal-Bench score", .unit = "of 6", .better = BETTER_UP, .compared = true,
     .meaning = "Mean rating, 0 to 6, in the judge's replies of eval.replies (" SUN ")."},
    {"mmhal/hallucination", "MMHal-Bench hallucination", .better = BETTER_DOWN, .format = METRIC_SHARE,
     .compared = true, .meaning = "Share of answers that the judge's replies rate below 3."},

    {"llava_bench/relative_score", "LLaVA-Bench relative score", .better = BETTER_UP, .format = METRIC_SHARE,
     .compared = true,
     .meaning = "Mean score of the model's answers divided by that of the reference answers, in the judge's "
                "replies of eval.replies (" LIU ")."},
    {"llava_bench/model_score", "LLaVA-Bench, the model", .unit = "of 10", .better = BETTER_UP,
     .compared = true, .meaning = "Mean score of the model's answers, 1 to 10."},
    {"llava_bench/reference_score", "LLaVA-Bench, the reference", .unit = "of 10", .compared = true,
     .meaning = "Mean score of the reference answers, 1 to 10."},

    {"data/skipped", "Samples left out", .unit = "samples", .better = BETTER_DOWN, .label = "skipped",
     .meaning = "Bad samples that the step went without (data.bad_sample = 'skip')."},

    {"step_seconds", "Time of a step", .unit = "s", .better = BETTER_DOWN, .format = METRIC_SECONDS,
     .label = "", .chart = "Time of a step",
     .meaning = "Wall-clock time of the step, without evaluation and checkpoint."},
};

enum {
  ROWS = sizeof rows / sizeof *rows,
  GROUPS = sizeof groups / sizeof *groups,
  CHARTS = sizeof charts / sizeof *charts
};

const metric_t *metric_table(int *count) {
  *count = ROWS;
  return rows;
}

const metric_group_t *metric_groups(int *count) {
  *count = GROUPS;
  return groups;
}

const chart_t *metric_charts(int *count) {
  *count = CHARTS;
  return charts;
}

const metric_t *metric_find(const char *name) {
  for (int i = 0; i < ROWS; i++)
    if (strcmp(rows[i].name, name) == 0) return &rows[i];
  return NULL;
}

const char *better_name(better_t better) {
  if (better == BETTER_NEITHER) return "neither";
  return better == BETTER_UP ? "up" : "down";
}

/* Inside the PPO task: the roles, and what one step's files share. */
#ifndef TRAIN_PPO_STEP_H
#define TRAIN_PPO_STEP_H

#include "eval/answers.h"
#include "ppo/ppo_math.h"
#include "ppo/ppo_tokens.h"
#include "rollout/rollout.h"
#include "session/held_out.h"
#include "session/plan.h"
#include "session/reward_prompt.h"
#include "text/answers.h"
#include "train/optimizer.h"

/* All samples of a step. What there is one of for each sample is known to every rank, in sample order;
 * tokens, numbers of them and features lie with the group that has drawn the sample, texts where they were
 * read. */
typedef struct {
  int32_t n; /* samples: rollout.batch */
  int64_t step;
  memory_pool_t pool;     /* of all arrays, but for the rollout's and the tokens' */
  int64_t *rows;          /* (n) rows of the dataset */
  dataset_sample_t *data; /* (n): where ppo_prompt has read them */
  int32_t fact_width;     /* most facts of a sample */
  rollout_t rollout;      /* queries, features, lengths: question and response I is sample I */
  int32_t *owner;         /* (n): dp group that has drawn it; another n are scratch */
  ppo_tokens_t own;       /* of this group's samples: all arrays */
  int32_t *blank;         /* (rollout.response_len): zeros, in the place of tokens that are elsewhere */
  bool *stopped;          /* (n): holds the end-of-sequence token */
  kept_t *kept;    /* where its finished responses are kept until the step has all that an update needs */
  kept_t *scores;  /* and what they are worth (ppo/ppo_kept.h); opened once they are drawn */
  int64_t skipped; /* prompts that were replaced by others of the step */
  /* Per sample. */
  double *raw_reward, *reward, *length_bonus, *length_multiplier, *correct;
} ppo_step_t;

/* Tokens of response I, rollout.lengths[i] of them, which TOKENS has; NULL where it has not. */
static inline const int32_t *ppo_response(const ppo_tokens_t *tokens, int32_t i) {
  return tokens->at && tokens->at[i] >= 0 ? tokens->tokens + tokens->at[i] : NULL;
}

typedef struct {
  session_t *session;
  model_t model;        /* of policy and reference */
  model_t other;        /* of value and reward, if their base is another one */
  model_t *value_model; /* &model or &other */
  adapter_t policy_adapter, reference_adapter, value_adapter, reward_adapter;
  bool has_reference; /* false: the reference is the bare base */
  head_t value_head, reward_head;
  role_t policy, reference, value, reward;
  source_t source;
  reward_prompt_t reward_prompt;
  order_t order;
  response_end_t end;
  ppo_options_t options;
  optimizer_t *optimizer;
  held_out_t held;
  evaluator_t evaluator;               /* of held; unused where eval.every = 0 */
  char evaluation_path[FILE_MAX_PATH]; /* beside which its answers are kept */
  judge_t judge, reward_judge;
  int32_t longest_query; /* positions, images expanded */
  int32_t batch, minibatch;
  double scale;          /* 1 / temperature */
  double longest_update; /* seconds, of this run's steps so far */
  uint64_t judge_identity,
      reference_identity; /* of the reward model's and the reference's own weights; 0: none */
  bool recompute_old;     /* ppo.old_logprob = 'recompute' */
} ppo_task_t;

/* How responses are drawn. Local. */
prompts_sampling_t ppo_sampling(const settings_t *settings);

/* Draws the prompts of STEP and answers them. Collective. Free with ppo_step_free. Errors: STATUS_STOPPED on
 * all ranks where the run is to end meanwhile (nothing to free then); STATUS_NUMERIC, STATUS_DATA. */
status_t ppo_generate(ppo_task_t *task, int64_t step, ppo_step_t *out);
void ppo_step_free(ppo_step_t *step);

/* Reads the prompt of sample I (step->data, the rollout's query) unless this rank has it already: each rank
 * reads those that it works on. Local. Errors: STATUS_DATA. */
status_t ppo_prompt(ppo_task_t *task, ppo_step_t *step, int32_t i);

/* Log-probabilities of policy and reference, values, rewards. Collective. Errors: STATUS_STOPPED on all ranks
 * where the run is to end meanwhile. */
status_t ppo_score(ppo_task_t *task, ppo_step_t *step);

/* Rewards and advantages of a step that is scored, and what is logged of them. Collective. Errors, agreed:
 * STATUS_NUMERIC, STATUS_MEMORY. */
status_t ppo_step_rewards(const ppo_task_t *task, ppo_step_t *step, ppo_objective_t *objective);
/* Largest |sampler - old| log-probability of this group's samples; 0 where the old ones are the sampler's.
 * Local. */
double ppo_logprob_gap(const ppo_step_t *step);

/* Statistics of all updates of a step: means over mini-batches. */
typedef struct {
  ppo_statistics_t mean;
  double grad_norm, grad_norm_policy, grad_norm_value;
  double logprob_gap; /* largest |sampler - training| log-probability in the first mini-batch's forward pass,
                         before any update, of what this group works on */
} ppo_update_t;
/* Inner epochs over mini-batches. Looks for no stop request: a checkpoint holds whole steps. Collective.
 * Errors: STATUS_NUMERIC, with some of the mini-batches' updates done. */
status_t ppo_update(ppo_task_t *task, ppo_step_t *step, double lr, ppo_update_t *out);

/* Periodic evaluation: the policy's likeliest answers to the held-out questions, judged where there is a
 * judge (eval.judge) and scored by the reward model. Adds what is logged; *SCORE is the judge's mean score,
 * without a judge the mean reward. CONTEXT is the task. Collective. Errors: STATUS_STOPPED on all ranks where
 * the run is to end meanwhile. */
status_t ppo_evaluate_open(ppo_task_t *task);
void ppo_evaluate_close(ppo_task_t *task);
status_t ppo_evaluate(void *context, int64_t step, metrics_t *metrics, double *score);

/* Sequences I = 0 .. n-1 of a plan (session/plan.h), of samples WHICH[i], made by ppo_build_response once
 * ppo_bring has given HERE what this group is to work on. */
typedef struct {
  ppo_task_t *task;
  ppo_step_t *step;
  const int32_t *which; /* NULL: sample i */
  int32_t n;
  int brought;        /* arrays that come from the samples' owners */
  int room;           /* arrays that there is room for besides */
  ppo_tokens_t *here; /* empty at first; freed by whose it is */
} ppo_build_t;
/* Query and response of sample which[i]; its image number is the sample. */
status_t ppo_build_response(void *context, int32_t i, sequence_t *sequence, int64_t *image);
/* A plan_bring_t: sequence I is worked on by GROUP[i]. */
status_t ppo_bring(void *context, const int32_t *group);

/* Features under MODEL's tower of all samples (WHICH[i], or I) of PLAN's micro-batches on this group: those
 * it holds and those it is sent. Collective on dp. */
typedef struct {
  const float **by_sample; /* (step->n) */
  size_t per_sample;       /* floats: P * vision hidden */
  void *received;
} ppo_features_t;
status_t ppo_features_gather(ppo_task_t *task, const ppo_step_t *step, const model_t *model,
                             const plan_t *plan, const int32_t *which, ppo_features_t *out);
void ppo_features_free(ppo_features_t *features);
/* The images of a micro-batch side by side; *IMAGES->features is freed by the caller with memory_free. Local.
 */
status_t ppo_micro_images(const ppo_features_t *features, const micro_t *micro, pass_images_t *images,
                          float **block);

#endif

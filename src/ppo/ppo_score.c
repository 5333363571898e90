/* What a step's samples are worth: log-probabilities of policy and reference, values, rewards of the reward
 * model. */
#include "ppo/ppo_step.h"

#include "base/memory_pool.h"
#include "perf/perf.h"
#include "ppo/ppo_kept.h"

#include <string.h>

/* Teacher-forced passes over query and response. */
typedef struct {
  ppo_task_t *task;
  ppo_step_t *step;
  plan_t plan;
  ppo_tokens_t here; /* of the samples that this group works on */
  bool *there;       /* (plan.n): this group's sequences whose numbers an earlier start has kept */
} scoring_t;

/* The numbers FROM of a micro-batch's response tokens to their places in the array KIND. */
static void ppo_score_write_tokens(scoring_t *scoring, const micro_t *micro, const double *from,
                                   rollout_token_t kind) {
  for (int32_t s = 0; s < micro->count; s++) {
    int32_t sample = micro->which[s], n = scoring->step->rollout.lengths[sample];
    memcpy(scoring->here.numbers[kind] + scoring->here.at[sample], from, (size_t)n * sizeof *from);
    from += n;
  }
}

/* What is read from a pass: log-probabilities and entropies, or values. */
typedef struct {
  bool values;
  rollout_token_t logprob, entropy;
} reading_t;

static status_t ppo_score_read_pass(scoring_t *scoring, const micro_t *micro, pass_t *pass,
                                    const int32_t *rows, const int32_t *targets, int32_t n,
                                    const reading_t *reading) {
  double *numbers, *entropies;
  POOL(pool, ARENA_ROLLOUT);
  TRY(memory_pool_alloc(&pool, &numbers, (size_t)n, sizeof *numbers));
  TRY(memory_pool_alloc(&pool, &entropies, (size_t)n, sizeof *entropies));
  if (reading->values) {
    TRY(pass_scalars(pass, n, rows, numbers));
    ppo_score_write_tokens(scoring, micro, numbers, ROLLOUT_VALUE);
    return STATUS_OK;
  }
  TRY(pass_logprobs(pass, n, rows, targets, scoring->task->scale, numbers, entropies));
  ppo_score_write_tokens(scoring, micro, numbers, reading->logprob);
  ppo_score_write_tokens(scoring, micro, entropies, reading->entropy);
  return STATUS_OK;
}

/* Forward pass of ROLE over a micro-batch of responses, and what is read from it. */
static status_t ppo_score_run_role(scoring_t *scoring, const micro_t *micro, const pass_images_t *images,
                                   region_t region, const model_t *model, const role_t *role,
                                   const reading_t *reading) {
  int32_t *rows, *targets, *owner, n;
  TRY(micro_targets(&scoring->plan, micro, &rows, &targets, &owner, &n));
  perf_begin(region);
  status_code_t status = pass_forward(model->pass, role, &micro->packed, images, false, NULL, NULL);
  if (status == STATUS_OK)
    status = ppo_score_read_pass(scoring, micro, model->pass, rows, targets, n, reading);
  perf_end(region);
  memory_free(rows);
  return status;
}

/* Policy (unless the sampler's log-probabilities are the old ones) and reference. */
static status_t policy_micro(scoring_t *scoring, const micro_t *micro, const pass_images_t *images) {
  static const reading_t old = {.logprob = ROLLOUT_LOGPROB, .entropy = ROLLOUT_ENTROPY},
                         reference = {.logprob = ROLLOUT_REF_LOGPROB, .entropy = ROLLOUT_REF_ENTROPY};
  ppo_task_t *task = scoring->task;
  if (task->recompute_old)
    TRY(ppo_score_run_role(scoring, micro, images, REGION_POLICY, &task->model, &task->policy, &old));
  return ppo_score_run_role(scoring, micro, images, REGION_REFERENCE, &task->model, &task->reference,
                            &reference);
}

static status_t value_micro(scoring_t *scoring, const micro_t *micro, const pass_images_t *images) {
  static const reading_t values = {.values = true};
  return ppo_score_run_role(scoring, micro, images, REGION_VALUE, scoring->task->value_model,
                            &scoring->task->value, &values);
}

static status_t reward_micro(scoring_t *scoring, const micro_t *micro, const pass_images_t *images) {
  ppo_task_t *task = scoring->task;
  int32_t *rows;
  size_t n = (size_t)micro->count;
  double *rewards;
  POOL(pool, ARENA_ROLLOUT);
  TRY(memory_pool_alloc(&pool, &rewards, n, sizeof *rewards));
  TRY(memory_pool_alloc(&pool, &rows, n, sizeof *rows));
  for (size_t s = 0; s < n; s++)
    rows[s] = micro->packed.offsets[s + 1] - 1;
  perf_begin(REGION_REWARD);
  status_code_t status =
      pass_forward(task->value_model->pass, &task->reward, &micro->packed, images, false, NULL, NULL);
  if (status == STATUS_OK) status = pass_scalars(task->value_model->pass, micro->count, rows, rewards);
  perf_end(REGION_REWARD);
  for (size_t s = 0; s < n && status == STATUS_OK; s++)
    scoring->step->raw_reward[micro->which[s]] = rewards[s];
  return status;
}

/* Query, response, judging prompt. No end-of-sequence token is added where the response lacks one. */
static status_t ppo_score_build_judged(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  const ppo_build_t *build = context;
  ppo_step_t *step = build->step;
  ppo_task_t *task = build->task;
  TRY(ppo_build_response(context, i, sequence, image));
  const dataset_sample_t *data = &step->data[i];
  return reward_prompt_append(&task->reward_prompt, task->source.tokenizer, data->facts, data->fact_count,
                              (uint64_t)step->rows[i], (uint64_t)step->step, sequence);
}

typedef status_t (*micro_work_t)(scoring_t *scoring, const micro_t *micro, const pass_images_t *images);

static status_t work_micro(scoring_t *scoring, const ppo_features_t *features, int32_t index,
                           micro_work_t work) {
  micro_t micro;
  pass_images_t images;
  float *block;
  TRY(micro_create(&scoring->plan, index, &micro));
  status_code_t status = ppo_micro_images(features, &micro, &images, &block);
  if (status == STATUS_OK) status = work(scoring, &micro, &images);
  memory_free(block);
  micro_free(&micro);
  return status;
}

static bool ppo_score_requested(void *context) {
  return session_stop_requested(context, 0.0);
}

/* Passes over the sequences that BUILD makes, with the features of MODEL. */
typedef struct {
  const model_t *model;
  plan_build_t build;
  micro_work_t work[2];
  int32_t works;
  ppo_numbers_t numbers; /* that they make */
} passes_t;

static bool ppo_score_is_there(const scoring_t *scoring, int32_t index) {
  const plan_t *plan = &scoring->plan;
  for (int32_t k = 0; k < plan->mine_count; k++)
    if (plan->micro[plan->mine[k]] == index && !scoring->there[plan->mine[k]]) return false;
  return true;
}

/* PASSES over all micro-batches of this group, unless the run is to stop; then the other groups are waited
 * for. A micro-batch that is kept in part, as on another layout, is worked on as a whole. */
static status_t ppo_score_work_all(scoring_t *scoring, const ppo_features_t *features, stop_vote_t *vote,
                                   const passes_t *passes) {
  bool stop = false;
  for (int32_t m = 0; m < scoring->plan.micro_count; m++) {
    if (ppo_score_is_there(scoring, m)) continue;
    for (int32_t w = 0; w < passes->works; w++) {
      TRY(stop_vote_poll(vote, &stop));
      if (stop) return STATUS_STOPPED;
      TRY(work_micro(scoring, features, m, passes->work[w]));
    }
    TRY(ppo_scores_keep(scoring->step, &scoring->here, &scoring->plan, m, scoring->there, &passes->numbers));
  }
  perf_begin(REGION_IMBALANCE);
  status_code_t status = stop_vote_finish(vote, &stop);
  perf_end(REGION_IMBALANCE);
  TRY(status);
  return stop ? STATUS_STOPPED : STATUS_OK;
}

static status_t work_watched(scoring_t *scoring, const ppo_features_t *features, const passes_t *passes) {
  session_t *session = scoring->task->session;
  stop_vote_t *vote;
  TRY(stop_vote_start(&session->grid, 1, ppo_score_requested, session, &vote));
  status_code_t status = ppo_score_work_all(scoring, features, vote, passes);
  stop_vote_free(vote);
  return status;
}

static status_t ppo_score_planned(scoring_t *scoring, const passes_t *passes) {
  ppo_features_t features = {0};
  SCOPED_MEMORY bool *there = NULL;
  comm_t *world = scoring->task->session->world;
  size_t n = (size_t)scoring->plan.n;
  TRY(comm_agree(world, memory_alloc(&there, ARENA_ROLLOUT, n, sizeof *there)));
  scoring->there = there;
  TRY(ppo_scores_take(scoring->task, scoring->step, &scoring->here, &scoring->plan, &passes->numbers, there));
  status_code_t status =
      ppo_features_gather(scoring->task, scoring->step, passes->model, &scoring->plan, NULL, &features);
  if (status == STATUS_OK) status = work_watched(scoring, &features, passes);
  ppo_features_free(&features);
  return status;
}

/* What was made of the samples goes to their owners; every sample was scored by one group, so that the sum
 * over groups is what all are to know. */
static status_t ppo_score_hand_over(const scoring_t *scoring, const passes_t *passes) {
  const session_t *session = scoring->task->session;
  ppo_step_t *step = scoring->step;
  const ppo_numbers_t *numbers = &passes->numbers;
  status_code_t status = STATUS_OK;
  if (numbers->per_sample) {
    perf_begin(REGION_IMBALANCE);
    status = comm_allreduce(session->grid.dp, numbers->per_sample, (size_t)step->n, COMM_F64, COMM_SUM);
    perf_end(REGION_IMBALANCE);
  }
  if (numbers->arrays == 0) return status;
  TRY(status);
  return comm_agree(session->world, ppo_tokens_send(session->grid.dp, &scoring->here,
                                                    ppo_numbers_arrays(numbers), step->owner, &step->own));
}

static status_t score_built(scoring_t *scoring, const passes_t *passes) {
  ppo_task_t *task = scoring->task;
  const settings_t *settings = task->session->settings;
  ppo_build_t context = {.task = task,
                         .step = scoring->step,
                         .n = scoring->step->n,
                         .brought = PPO_TOKENS,
                         .room = ppo_numbers_arrays(&passes->numbers),
                         .here = &scoring->here};
  TRY(plan_create_bringing(&task->session->grid, context.n, 1, config_patches(&passes->model->base.config),
                           settings->optim.micro_tokens, passes->build, ppo_bring, &context, &scoring->plan));
  status_code_t status = ppo_score_planned(scoring, passes);
  plan_free(&scoring->plan);
  TRY(status);
  return ppo_score_hand_over(scoring, passes);
}

static status_t score_all(ppo_task_t *task, ppo_step_t *step, const passes_t *passes) {
  scoring_t scoring = {.task = task, .step = step};
  status_code_t status = score_built(&scoring, passes);
  ppo_tokens_free(&scoring.here);
  return status;
}

static passes_t policy_passes(const ppo_task_t *task, bool value) {
  passes_t passes = {.model = &task->model, .build = ppo_build_response, .work = {policy_micro}, .works = 1};
  ppo_numbers_t *numbers = &passes.numbers;
  numbers->of = PPO_SCORES_POLICY;
  numbers->per_token[numbers->arrays++] = ROLLOUT_REF_LOGPROB;
  numbers->per_token[numbers->arrays++] = ROLLOUT_REF_ENTROPY;
  if (task->recompute_old) numbers->per_token[numbers->arrays++] = ROLLOUT_LOGPROB;
  if (task->recompute_old) numbers->per_token[numbers->arrays++] = ROLLOUT_ENTROPY;
  if (!value) return passes;
  passes.work[passes.works++] = value_micro;
  numbers->per_token[numbers->arrays++] = ROLLOUT_VALUE;
  return passes;
}

/* All passes; the policy's and the value model's are one where they are on the same base. */
static status_t score_passes(ppo_task_t *task, ppo_step_t *step) {
  bool shared = task->value_model == &task->model;
  const passes_t policy = policy_passes(task, shared);
  const passes_t value = {.model = task->value_model,
                          .build = ppo_build_response,
                          .work = {value_micro},
                          .works = 1,
                          .numbers = {PPO_SCORES_VALUE, {ROLLOUT_VALUE}, 1, NULL}};
  const passes_t reward = {.model = task->value_model,
                           .build = ppo_score_build_judged,
                           .work = {reward_micro},
                           .works = 1,
                           .numbers = {PPO_SCORES_REWARD, {0}, 0, step->raw_reward}};
  TRY(ppo_scores_open(task, step));
  TRY(score_all(task, step, &policy));
  if (!shared) TRY(score_all(task, step, &value));
  return score_all(task, step, &reward);
}

status_t ppo_score(ppo_task_t *task, ppo_step_t *step) {
  ppo_tokens_t *own = &step->own;
  TRY(score_passes(task, step));
  if (!task->recompute_old)
    memcpy(own->numbers[ROLLOUT_LOGPROB], own->numbers[ROLLOUT_SAMPLER_LOGPROB],
           (size_t)own->offsets[own->count] * sizeof(double));
  return STATUS_OK;
}

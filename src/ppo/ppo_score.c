/* What a step's samples are worth: log-probabilities of policy and reference, values, rewards of the reward
 * model. */
#include "ppo/ppo_step.h"

#include "base/memory_pool.h"
#include "perf/perf.h"

#include <string.h>

/* Teacher-forced passes over query and response. */
typedef struct {
  ppo_task_t *task;
  ppo_step_t *step;
  plan_t plan;
} scoring_t;

/* The numbers FROM of a micro-batch's response tokens to their places in the step's array TO. */
static void ppo_score_write_tokens(const scoring_t *scoring, const micro_t *micro, const double *from,
                                   double *to) {
  const ppo_step_t *step = scoring->step;
  for (int32_t s = 0; s < micro->count; s++) {
    int32_t sample = micro->which[s], n = step->rollout.lengths[sample];
    memcpy(to + step->rollout.offsets[sample], from, (size_t)n * sizeof *to);
    from += n;
  }
}

/* Log-probabilities and entropies of one micro-batch's responses, or values (LOGPROB is NULL). */
static status_t ppo_score_read_pass(scoring_t *scoring, const micro_t *micro, pass_t *pass,
                                    const int32_t *rows, const int32_t *targets, int32_t n, double *logprob,
                                    double *entropy) {
  double *numbers, *entropies;
  POOL(pool, ARENA_ROLLOUT);
  TRY(memory_pool_alloc(&pool, &numbers, (size_t)n, sizeof *numbers));
  TRY(memory_pool_alloc(&pool, &entropies, (size_t)n, sizeof *entropies));
  if (!logprob) {
    TRY(pass_scalars(pass, n, rows, numbers));
    ppo_score_write_tokens(scoring, micro, numbers, scoring->step->value);
    return STATUS_OK;
  }
  TRY(pass_logprobs(pass, n, rows, targets, scoring->task->scale, numbers, entropies));
  ppo_score_write_tokens(scoring, micro, numbers, logprob);
  ppo_score_write_tokens(scoring, micro, entropies, entropy);
  return STATUS_OK;
}

/* Forward pass of ROLE over a micro-batch of responses, and what is read from it. */
static status_t ppo_score_run_role(scoring_t *scoring, const micro_t *micro, const pass_images_t *images,
                                   region_t region, const model_t *model, const role_t *role, double *logprob,
                                   double *entropy) {
  int32_t *rows, *targets, *owner, n;
  TRY(micro_targets(&scoring->plan, micro, &rows, &targets, &owner, &n));
  perf_begin(region);
  status_code_t status = pass_forward(model->pass, role, &micro->packed, images, false, NULL, NULL);
  if (status == STATUS_OK)
    status = ppo_score_read_pass(scoring, micro, model->pass, rows, targets, n, logprob, entropy);
  perf_end(region);
  memory_free(rows);
  return status;
}

/* Policy (unless the sampler's log-probabilities are the old ones) and reference. */
static status_t policy_micro(scoring_t *scoring, const micro_t *micro, const pass_images_t *images) {
  ppo_task_t *task = scoring->task;
  ppo_step_t *step = scoring->step;
  if (task->recompute_old)
    TRY(ppo_score_run_role(scoring, micro, images, REGION_POLICY, &task->model, &task->policy, step->logprob,
                           step->entropy));
  return ppo_score_run_role(scoring, micro, images, REGION_REFERENCE, &task->model, &task->reference,
                            step->ref_logprob, step->ref_entropy);
}

static status_t value_micro(scoring_t *scoring, const micro_t *micro, const pass_images_t *images) {
  return ppo_score_run_role(scoring, micro, images, REGION_VALUE, scoring->task->value_model,
                            &scoring->task->value, NULL, NULL);
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

/* WORK (works) on all micro-batches of this group, unless the run is to stop; then the other groups are
 * waited for. */
static status_t ppo_score_work_all(scoring_t *scoring, const ppo_features_t *features, stop_vote_t *vote,
                                   const micro_work_t *work, int32_t works) {
  bool stop = false;
  for (int32_t m = 0; m < scoring->plan.micro_count; m++)
    for (int32_t w = 0; w < works; w++) {
      TRY(stop_vote_poll(vote, &stop));
      if (stop) return STATUS_STOPPED;
      TRY(work_micro(scoring, features, m, work[w]));
    }
  perf_begin(REGION_IMBALANCE);
  status_code_t status = stop_vote_finish(vote, &stop);
  perf_end(REGION_IMBALANCE);
  TRY(status);
  return stop ? STATUS_STOPPED : STATUS_OK;
}

static status_t work_watched(scoring_t *scoring, const ppo_features_t *features, const micro_work_t *work,
                             int32_t works) {
  session_t *session = scoring->task->session;
  stop_vote_t *vote;
  TRY(stop_vote_start(&session->grid, 1, ppo_score_requested, session, &vote));
  status_code_t status = ppo_score_work_all(scoring, features, vote, work, works);
  stop_vote_free(vote);
  return status;
}

/* WORK on all micro-batches of the sequences that BUILD makes, with the features of MODEL. */
static status_t score_all(ppo_task_t *task, ppo_step_t *step, const model_t *model, plan_build_t build,
                          const micro_work_t *work, int32_t works) {
  scoring_t scoring = {task, step, {0}};
  ppo_build_t context = {task, step, NULL};
  ppo_features_t features = {0};
  const settings_t *settings = task->session->settings;
  TRY(plan_create(&task->session->grid, step->n, 1, config_patches(&model->base.config),
                  settings->optim.micro_tokens, build, &context, &scoring.plan));
  status_code_t status = ppo_features_gather(task, step, model, &scoring.plan, NULL, &features);
  if (status == STATUS_OK) status = work_watched(&scoring, &features, work, works);
  ppo_features_free(&features);
  plan_free(&scoring.plan);
  return status;
}

/* Every sample was scored by one group; the sum over groups is the whole. */
static status_t ppo_score_share(ppo_task_t *task, ppo_step_t *step) {
  comm_t *dp = task->session->grid.dp;
  size_t tokens = (size_t)step->rollout.offsets[step->n];
  double *arrays[] = {step->ref_logprob, step->ref_entropy, step->value, step->logprob, step->entropy};
  size_t count = task->recompute_old ? 5 : 3;
  perf_begin(REGION_IMBALANCE);
  status_code_t status = comm_allreduce(dp, step->raw_reward, (size_t)step->n, COMM_F64, COMM_SUM);
  for (size_t a = 0; a < count && status == STATUS_OK; a++)
    status = comm_allreduce(dp, arrays[a], tokens, COMM_F64, COMM_SUM);
  perf_end(REGION_IMBALANCE);
  return status;
}

status_t ppo_score(ppo_task_t *task, ppo_step_t *step) {
  size_t tokens = (size_t)step->rollout.offsets[step->n];
  const micro_work_t both[] = {policy_micro, value_micro}, reward[] = {reward_micro};
  bool shared = task->value_model == &task->model;
  /* The sampler's entropies stand in the array already; recomputed ones replace them. */
  for (size_t t = 0; t < tokens && task->recompute_old; t++)
    step->entropy[t] = 0.0;
  TRY(score_all(task, step, &task->model, ppo_build_response, both, shared ? 2 : 1));
  if (!shared) TRY(score_all(task, step, task->value_model, ppo_build_response, both + 1, 1));
  TRY(score_all(task, step, task->value_model, ppo_score_build_judged, reward, 1));
  TRY(ppo_score_share(task, step));
  if (task->recompute_old) return STATUS_OK;
  for (size_t t = 0; t < tokens; t++)
    step->logprob[t] = step->rollout.logprobs[t];
  return STATUS_OK;
}

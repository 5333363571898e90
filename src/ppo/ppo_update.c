/* The updates of one PPO step: inner epochs over mini-batches of its samples. */
#include "ppo/ppo_step.h"

#include "base/memory.h"
#include "base/random.h"
#include "perf/perf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POLICY_GROUP, VALUE_GROUP };

/* Numbers of a micro-batch that are on their way from the device: number I goes to to[place[i]]. */
typedef struct expected {
  struct expected *next;
  int32_t n;
  const int64_t *place;
  double *from, *to;
} expected_t;

/* One mini-batch. */
typedef struct {
  ppo_task_t *task;
  ppo_step_t *step;
  plan_t plan;
  const int32_t *which; /* (plan.n) samples of the step, ascending */
  memory_pool_t pool;   /* of what follows */
  int64_t tokens;       /* of all groups */
  ppo_tokens_t here;    /* of the samples that this group works on: what the step knows of their tokens */
  double *logprob, *entropy, *value; /* of the same tokens, as of this update */
  double *table;                     /* (plan.n, PPO_SUMS): sums of each sample */
  expected_t *expected;
  ppo_features_t policy_features, value_features;
} minibatch_t;

/* One micro-batch, and where its prediction I stands in the mini-batch's arrays. */
typedef struct {
  minibatch_t *minibatch;
  micro_t micro;
  bool last; /* of the mini-batch */
  pass_images_t images;
  float *features; /* of the images */
  int32_t *rows, *targets, *owner, n;
  memory_pool_t pool;
  int64_t *place; /* (n) */
  double *weight; /* (n) */
} ppo_update_work_t;

static status_t policy_done(void *context, int32_t layer) {
  return optimizer_layer_done(context, POLICY_GROUP, layer);
}

static status_t value_done(void *context, int32_t layer) {
  return optimizer_layer_done(context, VALUE_GROUP, layer);
}

static status_t ppo_update_forward(const model_t *model, const role_t *role, const ppo_update_work_t *work) {
  perf_begin(REGION_FORWARD);
  status_code_t status =
      pass_forward(model->pass, role, &work->micro.packed, &work->images, true, NULL, NULL);
  perf_end(REGION_FORWARD);
  return status;
}

/* A (n) array of the micro-batch's. */
static status_t work_numbers(ppo_update_work_t *work, double **out) {
  return memory_pool_alloc(&work->pool, out, (size_t)work->n, sizeof **out);
}

/* Numbers of the micro-batch's are expected for the mini-batch's array TO; *OUT is where they are to go
 * first. */
static status_t expect_numbers(ppo_update_work_t *work, double *to, double **out) {
  minibatch_t *minibatch = work->minibatch;
  expected_t *expected;
  TRY(memory_pool_alloc(&minibatch->pool, &expected, 1, sizeof *expected));
  TRY(memory_pool_alloc(&minibatch->pool, out, (size_t)work->n, sizeof **out));
  *expected =
      (expected_t){.next = minibatch->expected, .n = work->n, .place = work->place, .from = *out, .to = to};
  minibatch->expected = expected;
  return STATUS_OK;
}

/* Sets the loss of LOSS and where its log-probabilities and entropies go. */
static status_t policy_loss(ppo_update_work_t *work, pass_token_loss_t *loss, pass_token_numbers_t *numbers) {
  const minibatch_t *minibatch = work->minibatch;
  double *const *known = minibatch->here.numbers;
  double *slopes, *old;
  TRY(work_numbers(work, &slopes));
  TRY(work_numbers(work, &old));
  TRY(expect_numbers(work, minibatch->logprob, &numbers->logprobs));
  TRY(expect_numbers(work, minibatch->entropy, &numbers->entropies));
  for (int32_t p = 0; p < work->n; p++) {
    slopes[p] = -known[ROLLOUT_ADVANTAGE][work->place[p]] * work->weight[p];
    old[p] = known[ROLLOUT_LOGPROB][work->place[p]];
  }
  *loss =
      (pass_token_loss_t){.slopes = slopes, .old_logprobs = old, .clip = work->minibatch->task->options.clip};
  return STATUS_OK;
}

static status_t policy_backward(ppo_update_work_t *work) {
  const ppo_task_t *task = work->minibatch->task;
  pass_t *pass = task->model.pass;
  pass_token_loss_t loss;
  pass_token_numbers_t numbers = {0};
  TRY(policy_loss(work, &loss, &numbers));
  TRY(pass_logprobs_backward(pass, work->n, work->rows, work->targets, task->scale, &loss, &numbers));
  TRY(pass_backward(pass, work->last ? policy_done : NULL, task->optimizer));
  return pass_pace(pass);
}

static status_t policy_work(ppo_update_work_t *work) {
  const ppo_task_t *task = work->minibatch->task;
  TRY(ppo_update_forward(&task->model, &task->policy, work));
  perf_begin(REGION_BACKWARD);
  status_code_t status = policy_backward(work);
  perf_end(REGION_BACKWARD);
  return status;
}

/* Sets the loss of LOSS. */
static status_t value_loss(ppo_update_work_t *work, pass_scalar_loss_t *loss) {
  double *const *known = work->minibatch->here.numbers;
  const ppo_options_t *options = &work->minibatch->task->options;
  double *weights, *old, *returns;
  TRY(work_numbers(work, &weights));
  TRY(work_numbers(work, &old));
  TRY(work_numbers(work, &returns));
  for (int32_t p = 0; p < work->n; p++) {
    weights[p] = options->vf_coef * work->weight[p];
    old[p] = known[ROLLOUT_VALUE][work->place[p]];
    returns[p] = known[ROLLOUT_RETURN][work->place[p]];
  }
  *loss = (pass_scalar_loss_t){
      .weights = weights, .old_values = old, .returns = returns, .clip = options->clip_value};
  return STATUS_OK;
}

static status_t value_backward(ppo_update_work_t *work) {
  const ppo_task_t *task = work->minibatch->task;
  pass_t *pass = task->value_model->pass;
  pass_scalar_loss_t loss;
  double *values;
  TRY(expect_numbers(work, work->minibatch->value, &values));
  TRY(value_loss(work, &loss));
  TRY(pass_scalars_backward(pass, work->n, work->rows, &loss, values));
  TRY(pass_backward(pass, work->last ? value_done : NULL, task->optimizer));
  return pass_pace(pass);
}

static status_t value_work(ppo_update_work_t *work) {
  const ppo_task_t *task = work->minibatch->task;
  TRY(ppo_update_forward(task->value_model, &task->value, work));
  perf_begin(REGION_BACKWARD);
  status_code_t status = value_backward(work);
  perf_end(REGION_BACKWARD);
  return status;
}

/* Places and weights of the predictions: sample by sample, token by token, as micro_targets orders them. */
static status_t place_predictions(ppo_update_work_t *work) {
  const minibatch_t *minibatch = work->minibatch;
  const ppo_step_t *step = minibatch->step;
  size_t n = (size_t)work->n;
  int32_t p = 0;
  TRY(memory_pool_alloc(&work->minibatch->pool, &work->place, n, sizeof *work->place));
  TRY(memory_pool_alloc(&work->pool, &work->weight, n, sizeof *work->weight));
  for (int32_t s = 0; s < work->micro.count; s++) {
    int32_t sample = minibatch->which[work->micro.which[s]], length = step->rollout.lengths[sample];
    double share = ppo_weight(&minibatch->task->options, length, minibatch->plan.n, minibatch->tokens);
    for (int32_t t = 0; t < length; t++, p++) {
      work->place[p] = minibatch->here.at[sample] + t;
      work->weight[p] = share;
    }
  }
  return STATUS_OK;
}

static void work_free(ppo_update_work_t *work) {
  memory_pool_free(&work->pool);
  memory_free(work->rows);
  memory_free(work->features);
  micro_free(&work->micro);
}

/* Micro-batch INDEX through a role's ROLE_WORK. */
static status_t ppo_update_run_micro(minibatch_t *minibatch, int32_t index, const ppo_features_t *features,
                                     status_t (*role_work)(ppo_update_work_t *work)) {
  const plan_t *plan = &minibatch->plan;
  __attribute__((cleanup(work_free))) ppo_update_work_t work = {
      .minibatch = minibatch, .last = index == plan->micro_count - 1, .pool.arena = ARENA_ROLLOUT};
  TRY(micro_create(plan, index, &work.micro));
  TRY(micro_targets(plan, &work.micro, &work.rows, &work.targets, &work.owner, &work.n));
  TRY(place_predictions(&work));
  TRY(ppo_micro_images(features, &work.micro, &work.images, &work.features));
  return role_work(&work);
}

/* All micro-batches through one role: policy first, then value, so that each role's gradients are complete at
 * the end of its last one. */
static status_t ppo_update_run_role(minibatch_t *minibatch, const ppo_features_t *features,
                                    status_t (*role_work)(ppo_update_work_t *work)) {
  for (int32_t m = 0; m < minibatch->plan.micro_count; m++)
    TRY(ppo_update_run_micro(minibatch, m, features, role_work));
  return STATUS_OK;
}

/* With two bases an image takes different numbers of slots: the value role's micro-batches are cut for its
 * own. */
static status_t run_value_role(minibatch_t *minibatch) {
  const ppo_task_t *task = minibatch->task;
  TRY(plan_recut(config_patches(&task->value_model->base.config), task->session->settings->optim.micro_tokens,
                 &minibatch->plan));
  bool shared = task->value_model == &task->model;
  return ppo_update_run_role(minibatch, shared ? &minibatch->policy_features : &minibatch->value_features,
                             value_work);
}

/* Puts the expected numbers in their places, once they are there. Waits after the error STATUS too, since the
 * device writes to the mini-batch's memory until then. */
static status_t take_numbers(minibatch_t *minibatch, status_code_t status) {
  status_code_t arrived = pass_synchronize(minibatch->task->model.pass);
  if (status != STATUS_OK || arrived != STATUS_OK) return status != STATUS_OK ? status : arrived;
  for (const expected_t *e = minibatch->expected; e; e = e->next)
    for (int32_t p = 0; p < e->n; p++)
      e->to[e->place[p]] = e->from[p];
  return STATUS_OK;
}

static status_t run_roles(minibatch_t *minibatch) {
  ppo_task_t *task = minibatch->task;
  ppo_step_t *step = minibatch->step;
  TRY(ppo_features_gather(task, step, &task->model, &minibatch->plan, minibatch->which,
                          &minibatch->policy_features));
  if (task->value_model != &task->model)
    TRY(ppo_features_gather(task, step, task->value_model, &minibatch->plan, minibatch->which,
                            &minibatch->value_features));
  status_code_t status = ppo_update_run_role(minibatch, &minibatch->policy_features, policy_work);
  if (status == STATUS_OK) status = run_value_role(minibatch);
  return take_numbers(minibatch, status);
}

/* Adds what sample WHICH[i], which this group works on, contributes; *GAP becomes the largest |present -
 * sampler| log-probability. */
static void sums_of_sample(const minibatch_t *minibatch, int32_t i, ppo_sums_t *sums, double *gap) {
  const ppo_options_t *options = &minibatch->task->options;
  double *const *known = minibatch->here.numbers;
  int32_t sample = minibatch->which[i], length = minibatch->step->rollout.lengths[sample];
  double weight = ppo_weight(options, length, minibatch->plan.n, minibatch->tokens);
  int64_t begin = minibatch->here.at[sample];
  for (int64_t t = begin; t < begin + length; t++) {
    double value = known[ROLLOUT_VALUE][t], ret = known[ROLLOUT_RETURN][t];
    ppo_term_t term = ppo_term(options, minibatch->logprob[t], known[ROLLOUT_LOGPROB][t],
                               known[ROLLOUT_ADVANTAGE][t], minibatch->value[t], value, ret);
    ppo_sums_add(sums, &term, weight, minibatch->entropy[t], minibatch->value[t], value, ret);
    *gap = fmax(*gap, fabs(minibatch->logprob[t] - known[ROLLOUT_SAMPLER_LOGPROB][t]));
  }
}

/* The same on every rank. */
static status_t statistics_of(const minibatch_t *minibatch, ppo_statistics_t *statistics, double *gap) {
  const grid_t *grid = &minibatch->task->session->grid;
  const plan_t *plan = &minibatch->plan;
  double totals[PPO_SUMS];
  ppo_sums_t sums;
  for (int32_t k = 0; k < plan->mine_count; k++) {
    int32_t i = plan->mine[k];
    sums = (ppo_sums_t){0};
    sums_of_sample(minibatch, i, &sums, gap);
    memcpy(minibatch->table + (size_t)i * PPO_SUMS, &sums, sizeof sums);
  }
  TRY(ppo_table_sums(grid->dp, minibatch->table, plan->n, PPO_SUMS, totals));
  memcpy(&sums, totals, sizeof sums);
  *statistics = ppo_statistics(&sums);
  return STATUS_OK;
}

static status_t ppo_update_allocate(minibatch_t *minibatch) {
  memory_pool_t *pool = &minibatch->pool;
  size_t here = (size_t)minibatch->here.offsets[minibatch->here.count], n = (size_t)minibatch->plan.n;
  TRY(memory_pool_alloc(pool, &minibatch->logprob, here, sizeof(double)));
  TRY(memory_pool_alloc(pool, &minibatch->entropy, here, sizeof(double)));
  TRY(memory_pool_alloc(pool, &minibatch->value, here, sizeof(double)));
  return memory_pool_alloc(pool, &minibatch->table, n * PPO_SUMS, sizeof(double));
}

/* Who works on which of the N samples, with what is known of their tokens. */
static status_t ppo_update_plan(minibatch_t *minibatch, int32_t n) {
  ppo_task_t *task = minibatch->task;
  ppo_build_t context = {.task = task,
                         .step = minibatch->step,
                         .which = minibatch->which,
                         .n = n,
                         .brought = PPO_TOKENS | PPO_LOGPROB | PPO_SAMPLER_LOGPROB | PPO_VALUE |
                                    PPO_ADVANTAGE | PPO_RETURN,
                         .here = &minibatch->here};
  for (int32_t i = 0; i < n; i++)
    minibatch->tokens += minibatch->step->rollout.lengths[minibatch->which[i]];
  return plan_create_bringing(&task->session->grid, n, 1, config_patches(&task->model.base.config),
                              task->session->settings->optim.micro_tokens, ppo_build_response, ppo_bring,
                              &context, &minibatch->plan);
}

static status_t ppo_update_work(minibatch_t *minibatch, int32_t n, double lr, ppo_statistics_t *statistics,
                                double *norms, double *gap) {
  ppo_task_t *task = minibatch->task;
  TRY(ppo_update_plan(minibatch, n));
  TRY(comm_agree(task->session->world, ppo_update_allocate(minibatch)));
  TRY(run_roles(minibatch));
  TRY(statistics_of(minibatch, statistics, gap));
  return optimizer_step(task->optimizer, lr, norms);
}

static void minibatch_free(minibatch_t *minibatch) {
  ppo_features_free(&minibatch->policy_features);
  ppo_features_free(&minibatch->value_features);
  plan_free(&minibatch->plan);
  ppo_tokens_free(&minibatch->here);
  memory_pool_free(&minibatch->pool);
}

/* One update on the samples WHICH (n, ascending); NORMS (3). */
static status_t ppo_update_minibatch(ppo_task_t *task, ppo_step_t *step, const int32_t *which, int32_t n,
                                     double lr, ppo_statistics_t *statistics, double *norms, double *gap) {
  SCOPED(minibatch_free)
  minibatch_t minibatch = {.task = task, .step = step, .which = which, .pool.arena = ARENA_ROLLOUT};
  return ppo_update_work(&minibatch, n, lr, statistics, norms, gap);
}

static int ppo_update_ascending(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

static void ppo_update_add_statistics(ppo_statistics_t *a, const ppo_statistics_t *b, double scale) {
  _Static_assert(sizeof *a == 12 * sizeof(double), "every field of the statistics is added");
  a->loss_policy += scale * b->loss_policy;
  a->loss_value += scale * b->loss_value;
  a->entropy += scale * b->entropy;
  a->approx_kl += scale * b->approx_kl;
  a->policy_clipfrac += scale * b->policy_clipfrac;
  a->returns_mean += scale * b->returns_mean;
  a->returns_var += scale * b->returns_var;
  a->vpred += scale * b->vpred;
  a->value_error += scale * b->value_error;
  a->value_clipfrac += scale * b->value_clipfrac;
  a->value_mean += scale * b->value_mean;
  a->value_var += scale * b->value_var;
}

/* Mini-batches of one pass over the samples: a permutation of (seed, step and epoch), cut into runs. */
static status_t ppo_update_draw_minibatches(const ppo_task_t *task, const ppo_step_t *step, int64_t epoch,
                                            int32_t *which) {
  int64_t *order;
  int64_t inner = task->session->settings->ppo.inner_epochs;
  TRY(memory_alloc(&order, ARENA_OTHER, (size_t)step->n, sizeof *order));
  /* Apart from the orders of the data's epochs, which count from 0: the high bit is set. */
  uint64_t key = UINT64_C(1) << 63 | (uint64_t)(step->step * inner + epoch);
  random_permutation((uint64_t)task->session->settings->job.seed, RANDOM_ORDER, key, step->n, order);
  for (int32_t i = 0; i < step->n; i++)
    which[i] = (int32_t)order[i];
  for (int32_t b = 0; b < step->n; b += task->minibatch) {
    int32_t n = step->n - b < task->minibatch ? step->n - b : task->minibatch;
    qsort(which + b, (size_t)n, sizeof *which, ppo_update_ascending);
  }
  memory_free(order);
  return STATUS_OK;
}

static status_t run_updates(ppo_task_t *task, ppo_step_t *step, double lr, int32_t *which,
                            ppo_update_t *out) {
  int64_t inner = task->session->settings->ppo.inner_epochs;
  int32_t per_epoch = (step->n + task->minibatch - 1) / task->minibatch;
  double share = 1.0 / (double)(inner * per_epoch);
  for (int64_t epoch = 0; epoch < inner; epoch++) {
    TRY(ppo_update_draw_minibatches(task, step, epoch, which));
    for (int32_t b = 0; b < step->n; b += task->minibatch) {
      int32_t n = step->n - b < task->minibatch ? step->n - b : task->minibatch;
      ppo_statistics_t statistics = {0};
      double norms[3], gap = 0.0;
      TRY(ppo_update_minibatch(task, step, which + b, n, lr, &statistics, norms, &gap));
      if (epoch == 0 && b == 0) out->logprob_gap = gap;
      ppo_update_add_statistics(&out->mean, &statistics, share);
      out->grad_norm_policy += share * norms[POLICY_GROUP];
      out->grad_norm_value += share * norms[VALUE_GROUP];
      out->grad_norm += share * norms[2];
    }
  }
  return STATUS_OK;
}

status_t ppo_update(ppo_task_t *task, ppo_step_t *step, double lr, ppo_update_t *out) {
  int32_t *which;
  *out = (ppo_update_t){0};
  TRY(memory_alloc(&which, ARENA_OTHER, (size_t)step->n, sizeof *which));
  status_code_t status = run_updates(task, step, lr, which, out);
  memory_free(which);
  return status;
}

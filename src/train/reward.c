#include "train/reward.h"

#include "base/log.h"
#include "base/memory_pool.h"
#include "perf/perf.h"
#include "session/batch.h"
#include "session/held_out.h"
#include "session/parts.h"
#include "train/loop.h"
#include "train/reward_loss.h"
#include "train/reward_pairs.h"

typedef struct {
  session_t *session;
  model_t model;
  adapter_t adapter;
  head_t head;
  source_t source;
  held_out_t held;
  reward_prompt_t reward_prompt;
  order_t order;
  optimizer_t *optimizer;
  role_t role;
  int32_t batch_pairs, group;
} reward_task_t;

/* Rewards and preferences of a batch, known to all ranks once run_pairs is through. */
typedef struct {
  double *rewards; /* (pairs, 2) */
  double *loss;    /* (groups) */
  int32_t *preferred;
  int64_t skipped; /* sequences whose image is broken */
} outcome_t;

/* The loss of a batch's groups of pairs. */
typedef struct {
  int32_t group;         /* pairs of each */
  double center, weight; /* the coefficient of the centre; of a group, in the batch */
} pair_loss_t;

/* One group of pairs: of those in VALUES that are not BROKEN (group, OUTPUTS), the rest has no part in the
 * loss. */
static status_t group_loss(const pair_loss_t *pair, const double *values, const int32_t *preferred,
                           const int32_t *broken, double *loss) {
  double *whole;
  int32_t *labels, count = 0, group = pair->group;
  POOL(pool, ARENA_OTHER);
  TRY(memory_pool_alloc(&pool, &whole, (size_t)group * OUTPUTS, sizeof *whole));
  TRY(memory_pool_alloc(&pool, &labels, (size_t)group, sizeof *labels));
  for (int32_t p = 0; p < group; p++) {
    if (broken[OUTPUTS * p]) continue;
    for (int32_t k = 0; k < OUTPUTS; k++)
      whole[OUTPUTS * count + k] = values[OUTPUTS * p + k];
    labels[count++] = preferred[p];
  }
  *loss = reward_pair_loss(count, whole, labels, pair->center, pair->weight);
  return STATUS_OK;
}

/* Losses of the groups of one micro-batch. */
static status_t group_losses(const batch_t *batch, const micro_t *micro, const pair_loss_t *pair,
                             const double *values, const outcome_t *outcome) {
  int32_t size = pair->group * OUTPUTS;
  for (int32_t g = 0; g < micro->count; g += size) {
    int32_t first = micro->which[g];
    TRY(group_loss(pair, values + g, outcome->preferred + first / OUTPUTS, batch->broken + first,
                   &outcome->loss[first / size]));
    for (int32_t i = 0; i < size; i++)
      outcome->rewards[first + i] = values[g + i];
  }
  return STATUS_OK;
}

/* The output preferred of each pair of a micro-batch; -1 where its image is broken, so that it has no part.
 */
static void micro_preferred(const batch_t *batch, const micro_t *micro, const outcome_t *outcome,
                            int32_t *preferred) {
  for (int32_t s = 0; s < micro->count; s += OUTPUTS) {
    int32_t first = micro->which[s];
    preferred[s / OUTPUTS] = batch->broken[first] ? -1 : outcome->preferred[first / OUTPUTS];
  }
}

/* Rewards of ROWS (n) to VALUES (n), and the gradients of LOSS. */
static status_t reward_backward(reward_task_t *task, const micro_t *micro, bool last, const int32_t *rows,
                                const pass_scalar_loss_t *loss, double *values) {
  pass_t *pass = task->model.pass;
  TRY(pass_scalars_backward(pass, micro->count, rows, loss, values));
  TRY(pass_backward(pass, last ? optimizer_only_layer_done : NULL, task->optimizer));
  return pass_pace(pass);
}

/* Rewards of a micro-batch to VALUES (micro->count), where TRAINED after pass_synchronize. */
static status_t reward_run_micro(reward_task_t *task, batch_t *batch, int32_t index, bool trained,
                                 const float *patches, const pair_loss_t *pair, const outcome_t *outcome,
                                 double *values) {
  const micro_t *micro = &batch->micro[index];
  pass_images_t images = {.count = micro->image_count, .patches = patches};
  int32_t *rows, *preferred;
  size_t n = (size_t)micro->count;
  POOL(pool, ARENA_OTHER);
  TRY(memory_pool_alloc(&pool, &rows, n, sizeof *rows));
  TRY(memory_pool_alloc(&pool, &preferred, n / OUTPUTS, sizeof *preferred));
  for (size_t s = 0; s < n; s++)
    rows[s] = micro->packed.offsets[s + 1] - 1;
  micro_preferred(batch, micro, outcome, preferred);
  perf_begin(REGION_FORWARD);
  status_code_t status =
      pass_forward(task->model.pass, &task->role, &micro->packed, &images, trained, NULL, NULL);
  if (status == STATUS_OK && !trained) status = pass_scalars(task->model.pass, micro->count, rows, values);
  perf_end(REGION_FORWARD);
  if (status != STATUS_OK || !trained) return status;
  const pass_scalar_loss_t loss = {
      .preferred = preferred, .group = pair->group, .center_coef = pair->center, .weight = pair->weight};
  perf_begin(REGION_BACKWARD);
  status = reward_backward(task, micro, index == batch->plan.micro_count - 1, rows, &loss, values);
  perf_end(REGION_BACKWARD);
  return status;
}

/* All micro-batches of this group; VALUES (plan.n), one micro-batch after the other, are there on return,
 * also after an error. */
static status_t reward_run_micros(reward_task_t *task, batch_t *batch, bool trained, const pair_loss_t *pair,
                                  const outcome_t *outcome, double *values) {
  status_code_t status = STATUS_OK;
  for (int32_t m = 0; m < batch->plan.micro_count && status == STATUS_OK; m++) {
    float *patches;
    status = batch_patches(batch, m, &task->model.base.config, &patches);
    if (status == STATUS_OK)
      status = reward_run_micro(task, batch, m, trained, patches, pair, outcome, values);
    memory_free(patches);
    values += batch->micro[m].count;
  }
  status_code_t arrived = pass_synchronize(task->model.pass);
  return status != STATUS_OK ? status : arrived;
}

/* Preferences are filled by whoever built a pair; each group knows its own, and all learn the rest. */
static status_t share_preferences(reward_task_t *task, const plan_t *plan, int32_t *preferred) {
  const grid_t *grid = &task->session->grid;
  for (int32_t i = 0; i < plan->n; i += OUTPUTS)
    if (plan->group[i] != grid->dp_rank) preferred[i / OUTPUTS] = 0;
  return comm_allreduce(grid->dp, preferred, (size_t)(plan->n / OUTPUTS), COMM_I32, COMM_SUM);
}

static status_t reward_run_batch(reward_task_t *task, batch_t *batch, bool trained, int32_t group,
                                 outcome_t *outcome) {
  const plan_t *plan = &batch->plan;
  const pair_loss_t pair = {.group = group,
                            .center = trained ? task->session->settings->rm.center_coef : 0.0,
                            .weight = 1.0 / ((double)plan->n / (group * OUTPUTS))};
  double *values;
  POOL(pool, ARENA_OTHER);
  TRY(memory_pool_alloc(&pool, &values, (size_t)plan->n, sizeof *values));
  TRY(share_preferences(task, plan, outcome->preferred));
  TRY(reward_run_micros(task, batch, trained, &pair, outcome, values));
  for (int32_t m = 0; m < plan->micro_count; m++) {
    TRY(group_losses(batch, &batch->micro[m], &pair, values, outcome));
    values += batch->micro[m].count;
  }
  perf_begin(REGION_IMBALANCE);
  status_code_t status =
      comm_allreduce(task->session->grid.dp, outcome->rewards, (size_t)plan->n, COMM_F64, COMM_SUM);
  if (status == STATUS_OK)
    status = comm_allreduce(task->session->grid.dp, outcome->loss, (size_t)(plan->n / (group * OUTPUTS)),
                            COMM_F64, COMM_SUM);
  if (status == STATUS_OK) status = batch_settle(&task->session->grid, batch, &outcome->skipped);
  perf_end(REGION_IMBALANCE);
  return status;
}

typedef struct {
  double loss, accuracy, mean_score, label_share;
  int32_t whole; /* pairs that the means are of: those whose image is not broken */
} reward_metrics_t;

static reward_metrics_t reward_summarise(const outcome_t *outcome, const int32_t *broken, int32_t pairs,
                                         int32_t groups) {
  reward_metrics_t metrics = {0};
  int32_t group = pairs / groups, whole_groups = 0;
  for (int32_t g = 0; g < groups; g++) {
    int32_t whole = 0;
    for (int32_t p = 0; p < group; p++)
      whole += !broken[OUTPUTS * (g * group + p)];
    whole_groups += whole > 0;
    metrics.loss += outcome->loss[g];
  }
  if (whole_groups > 0 && whole_groups < groups) metrics.loss *= (double)groups / whole_groups;
  for (int32_t i = 0; i < pairs; i++) {
    if (broken[OUTPUTS * i]) continue;
    const double *rewards = outcome->rewards + (ptrdiff_t)OUTPUTS * i;
    metrics.whole++;
    int32_t preferred = outcome->preferred[i];
    metrics.accuracy += reward_pair_right(rewards, preferred);
    metrics.mean_score += 0.5 * (rewards[0] + rewards[1]);
    metrics.label_share += preferred;
  }
  double whole = metrics.whole > 0 ? metrics.whole : 1.0;
  metrics.accuracy /= whole;
  metrics.mean_score /= whole;
  metrics.label_share /= whole;
  return metrics;
}

/* One pass over PAIRS pairs (rows of SOURCE), in groups of GROUP. */
static status_t run_pairs(reward_task_t *task, source_t *source, const int64_t *rows, int32_t pairs,
                          int64_t use, bool trained, int32_t group, reward_metrics_t *metrics,
                          int64_t *skipped) {
  session_t *session = task->session;
  outcome_t outcome = {0};
  POOL(pool, ARENA_OTHER);
  TRY(memory_pool_alloc(&pool, &outcome.rewards, (size_t)pairs * OUTPUTS, sizeof(double)));
  TRY(memory_pool_alloc(&pool, &outcome.loss, (size_t)(pairs / group), sizeof(double)));
  TRY(memory_pool_alloc(&pool, &outcome.preferred, (size_t)pairs, sizeof(int32_t)));
  reward_pairs_t context = {&task->reward_prompt, source, rows, use, outcome.preferred};
  batch_t batch;
  status_code_t status =
      batch_create(&session->grid, source, &task->model.base.config, pairs * OUTPUTS, group * OUTPUTS,
                   session->settings->optim.micro_tokens, reward_pairs_build, &context, &batch);
  if (status == STATUS_OK) {
    status = reward_run_batch(task, &batch, trained, group, &outcome);
    if (status == STATUS_OK) *metrics = reward_summarise(&outcome, batch.broken, pairs, pairs / group);
    batch_free(&batch);
  }
  *skipped = outcome.skipped / OUTPUTS;
  return status;
}

static status_t reward_measure(void *context, int64_t step, int64_t *positions) {
  reward_task_t *task = context;
  const int32_t pairs = task->batch_pairs;
  int64_t *rows, position = (step - 1) * pairs;
  SCOPED(plan_free) plan_t plan = {0};
  POOL(pool, ARENA_OTHER);
  reward_pairs_t build = {.prompt = &task->reward_prompt, .source = &task->source, .use = position};
  TRY(memory_pool_alloc(&pool, &rows, (size_t)pairs, sizeof *rows));
  TRY(memory_pool_alloc(&pool, &build.preferred, (size_t)pairs, sizeof *build.preferred));
  build.rows = rows;
  TRY(order_rows(&task->order, position, pairs, rows));
  TRY(plan_create(&task->session->grid, pairs * OUTPUTS, task->group * OUTPUTS,
                  config_patches(&task->model.base.config), task->session->settings->optim.micro_tokens,
                  reward_pairs_build, &build, &plan));
  return comm_agree(task->session->world, plan_longest(&plan, positions));
}

static status_t reward_update(void *context, int64_t step, double lr, metrics_t *metrics) {
  reward_task_t *task = context;
  double norms[2];
  reward_metrics_t result;
  int64_t skipped = 0, *rows, position = (step - 1) * task->batch_pairs;
  TRY(memory_alloc(&rows, ARENA_OTHER, (size_t)task->batch_pairs, sizeof *rows));
  status_code_t status = order_rows(&task->order, position, task->batch_pairs, rows);
  if (status == STATUS_OK)
    status = run_pairs(task, &task->source, rows, task->batch_pairs, position, true, task->group, &result,
                       &skipped);
  memory_free(rows);
  TRY(status);
  TRY(optimizer_check_loss(task->optimizer, result.loss, step));
  TRY(optimizer_step(task->optimizer, lr, norms));
  if (result.whole > 0) { /* else nothing has been learnt, from nothing */
    metrics_add(metrics, "rm/loss", result.loss);
    metrics_add(metrics, "rm/accuracy", result.accuracy);
    metrics_add(metrics, "rm/mean_score", result.mean_score);
    metrics_add(metrics, "rm/label_share", result.label_share);
  }
  metrics_add(metrics, "rm/lr", lr);
  metrics_add(metrics, "rm/grad_norm", norms[1]);
  if (task->source.skip_bad) session_skipped(task->session, skipped, metrics);
  return STATUS_OK;
}

/* Sums over pairs, without the centring term in the loss. */
typedef enum { SUM_LOSS, SUM_RIGHT, SUM_WHOLE, SUMS } reward_sum_t;

/* Pairs BEGIN .. BEGIN + N - 1 of those held out: a part of an evaluation (session/parts.h). */
static status_t reward_evaluate_part(void *context, int64_t begin, int32_t n, double *sums) {
  reward_task_t *task = context;
  const held_out_t *held = &task->held;
  reward_metrics_t part;
  int64_t skipped;
  TRY(run_pairs(task, held->source, held->rows.rows + begin, n, begin, false, 1, &part, &skipped));
  sums[SUM_LOSS] = part.loss * part.whole;
  sums[SUM_RIGHT] = part.accuracy * part.whole;
  sums[SUM_WHOLE] = part.whole;
  return STATUS_OK;
}

/* Loss and accuracy on the held-out pairs. */
static status_t reward_evaluate(void *context, int64_t step, metrics_t *metrics, double *score) {
  reward_task_t *task = context;
  const held_out_t *held = &task->held;
  const params_t *const trained[] = {&task->adapter.params, &task->head.params};
  double sums[SUMS];
  const parts_t parts = {.step = step,
                         .model = &task->model,
                         .trained = trained,
                         .trained_count = 2,
                         .prompt = &task->reward_prompt,
                         .held = held,
                         .size = task->batch_pairs,
                         .sums = SUMS,
                         .work = reward_evaluate_part,
                         .context = task};
  TRY(parts_run(task->session, &parts, sums));
  double whole = sums[SUM_WHOLE];
  if (whole == 0.0)
    return error_set(STATUS_DATA,
                     "the images of all %lld pairs held out are broken: make %s again with task prepare",
                     (long long)held->rows.count, dataset_path(held->source->dataset));
  metrics_add(metrics, "eval/loss", sums[SUM_LOSS] / whole);
  metrics_add(metrics, "eval/accuracy", sums[SUM_RIGHT] / whole);
  /* Among equal accuracies the smaller loss. */
  *score = (sums[SUM_RIGHT] - 1e-3 * sums[SUM_LOSS]) / whole;
  return STATUS_OK;
}

static status_t reward_reload(void *context, const char *path) {
  reward_task_t *task = context;
  TRY(store_load_params(task->session->world, path, "/adapters/reward/", &task->adapter.params));
  return store_load_params(task->session->world, path, "/heads/reward/", &task->head.params);
}

static status_t reward_open_role(reward_task_t *task) {
  session_t *session = task->session;
  TRY(model_open(session, "model.base", session->settings->model.base, session->settings->model.base_format,
                 &task->model));
  TRY(model_new_adapter(session, &task->model, "reward", &task->adapter));
  TRY(head_create(&task->model.base, "reward", false, &task->head));
  TRY(params_train_all(&task->head.params));
  TRY(params_initialise(&task->head.params, (uint64_t)session->settings->job.seed));
  task->role = (role_t){&task->model.base, &task->adapter, &task->head};
  return STATUS_OK;
}

/* What is trained on, and with which facts. */
static status_t reward_open_pairs(reward_task_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  screening_counts_t counts;
  SCOPED(dataset_rows_free) dataset_rows_t rows = {0};
  TRY(dataset_rows(session->world, task->source.dataset, DATASET_TRAINING, &rows));
  if (settings->data.limit > 0 && settings->data.limit < rows.count) rows.count = settings->data.limit;
  TRY(reward_pairs_choose(session, &task->reward_prompt, &task->source, "training", &rows, &counts));
  reward_prompt_count_facts(session, &task->reward_prompt, "rm.facts", settings->data.dataset, counts.facts,
                            rows.count);
  return order_create(session->world, (uint64_t)settings->job.seed, true, rows.rows, rows.count,
                      &task->order);
}

static status_t reward_open_held_out(reward_task_t *task) {
  held_out_t *held = &task->held;
  screening_counts_t counts;
  TRY(held_out_open(task->session, &task->model, &task->source, held));
  if (held->rows.count == 0) return STATUS_OK;
  return reward_pairs_choose(task->session, &task->reward_prompt, held->source, "evaluation", &held->rows,
                             &counts);
}

static status_t reward_open_data(reward_task_t *task, int64_t *total) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  task->batch_pairs = (int32_t)settings->optim.batch;
  task->group = (int32_t)settings->rm.center_group;
  if (task->batch_pairs % task->group != 0)
    return error_set(STATUS_INPUT, "optim.batch = %d pairs is no multiple of rm.center_group = %d",
                     task->batch_pairs, task->group);
  TRY(source_open(session, &task->model, "data.dataset", settings->data.dataset, &task->source));
  TRY(reward_prompt_open(session, settings->rm.prompt_file, settings->rm.facts, &task->reward_prompt));
  TRY(reward_open_pairs(task));
  TRY(reward_open_held_out(task));
  *total = loop_steps(settings->optim.steps, settings->optim.epochs, task->order.count, task->batch_pairs);
  return STATUS_OK;
}

static status_t reward_run(reward_task_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  int64_t total;
  TRY(reward_open_role(task));
  TRY(reward_open_data(task, &total));
  params_t *sets[] = {&task->adapter.params, &task->head.params};
  const optimizer_set_t trained[] = {{sets[0], 0}, {sets[1], 0}};
  const optimizer_options_t options = optimizer_options(settings);
  TRY(optimizer_create(session->device, &session->grid, trained, 2, &options, &task->optimizer));
  static const char *const names[] = {"reward", "reward_head"};
  loop_t loop = {.label = "rm",
                 .total = total,
                 .schedule = schedule_from_settings(settings, total),
                 .contents = {.adapter_names = {"reward"},
                              .adapters = {&task->adapter},
                              .adapter_count = 1,
                              .head_names = {"reward"},
                              .heads = {&task->head},
                              .head_count = 1,
                              .judging = reward_prompt_judging(&task->reward_prompt)},
                 .state = {.optimizer = task->optimizer,
                           .set_names = names,
                           .sets = sets,
                           .set_count = 2,
                           .samples = task->order.count,
                           .batch = task->batch_pairs,
                           .batch_setting = "optim.batch"},
                 .context = task,
                 .update = reward_update,
                 .measure = reward_measure,
                 .evaluate = reward_evaluate,
                 .reload = reward_reload};
  resume_add_inputs(&loop.state, &task->model, &task->source);
  model_contents(&task->model, false, &loop.contents);
  log_info("training   reward model: %lld steps of %d pairs, %lld pairs held out, facts %s", (long long)total,
           task->batch_pairs, (long long)dataset_info(task->source.dataset).held_out,
           task->reward_prompt.facts ? "shown" : "not shown");
  return loop_run(session, &loop);
}

status_t rm_run(session_t *session) {
  reward_task_t task = {.session = session};
  status_code_t status = reward_run(&task);
  optimizer_free(task.optimizer);
  head_free(&task.head);
  adapter_free(&task.adapter);
  order_free(&task.order);
  reward_prompt_free(&task.reward_prompt);
  held_out_close(&task.held);
  source_close(&task.source);
  model_free(&task.model);
  return status;
}

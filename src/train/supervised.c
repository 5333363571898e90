#include "train/supervised.h"

#include "base/log.h"
#include "base/memory_pool.h"
#include "perf/perf.h"
#include "session/batch.h"
#include "session/held_out.h"
#include "session/parts.h"
#include "session/screening.h"
#include "train/loop.h"

#include <string.h>

typedef struct {
  session_t *session;
  model_t model;
  train_mode_t mode;
  adapter_t adapter; /* mode TRAIN_LORA */
  source_t source;
  held_out_t held;
  order_t order;
  optimizer_t *optimizer;
  role_t role;
  int32_t batch_size;
  int64_t *rows; /* (batch_size): dataset rows of the batch being built */
  batch_t next;  /* of step NEXT_STEP, prepared while the one before is worked on */
  int64_t next_step;
  int64_t total;
  bool warned; /* that a step learns nothing */
} supervised_t;

/* Sums over one batch, per sample, so that they can be added in sample order on any layout. */
typedef struct {
  double *loss, *hits; /* (n) */
} sample_sums_t;

typedef struct {
  source_t *source;
  const int64_t *rows;
} build_context_t;

static status_t supervised_build(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  const build_context_t *build_context = context;
  return source_sequence(build_context->source, build_context->rows[i], sequence, image);
}

static status_t supervised_make_batch(supervised_t *task, source_t *source, const int64_t *rows, int32_t n,
                                      batch_t *batch) {
  build_context_t context = {source, rows};
  return batch_create(&task->session->grid, source, &task->model.base.config, n, 1,
                      task->session->settings->optim.micro_tokens, supervised_build, &context, batch);
}

/* Prepares the batch of STEP. */
static status_t supervised_prepare_step(supervised_t *task, int64_t step) {
  task->next_step = step;
  TRY(order_rows(&task->order, (step - 1) * task->batch_size, task->batch_size, task->rows));
  return supervised_make_batch(task, &task->source, task->rows, task->batch_size, &task->next);
}

static status_t supervised_measure(void *context, int64_t step, int64_t *positions) {
  supervised_t *task = context;
  SCOPED(plan_free) plan_t plan = {0};
  build_context_t build = {&task->source, task->rows};
  TRY(order_rows(&task->order, (step - 1) * task->batch_size, task->batch_size, task->rows));
  TRY(plan_create(&task->session->grid, task->batch_size, 1, config_patches(&task->model.base.config),
                  task->session->settings->optim.micro_tokens, supervised_build, &build, &plan));
  return comm_agree(task->session->world, plan_longest(&plan, positions));
}

/* The predictions of one micro-batch; arrays (n). */
typedef struct {
  int32_t *rows, *targets, *owner, n;
  double *slopes;          /* of the loss per token: minus one over the learnt tokens of the whole batch */
  double *logprobs, *ties; /* zero until they are there */
  memory_pool_t pool;
} predictions_t;

static void predictions_free(predictions_t *predictions) {
  memory_pool_free(&predictions->pool);
  memory_free(predictions->rows);
}

static status_t predictions_make(const plan_t *plan, const micro_t *micro, double scale,
                                 predictions_t *predictions) {
  memory_pool_t *pool = &predictions->pool;
  TRY(micro_targets(plan, micro, &predictions->rows, &predictions->targets, &predictions->owner,
                    &predictions->n));
  size_t n = (size_t)predictions->n;
  TRY(memory_pool_alloc(pool, &predictions->slopes, n, sizeof(double)));
  TRY(memory_pool_alloc(pool, &predictions->logprobs, n, sizeof(double)));
  TRY(memory_pool_alloc(pool, &predictions->ties, n, sizeof(double)));
  for (size_t i = 0; i < n; i++)
    predictions->slopes[i] = -scale;
  return STATUS_OK;
}

static status_t supervised_backward(supervised_t *task, const predictions_t *predictions, bool last) {
  pass_t *pass = task->model.pass;
  const pass_token_loss_t loss = {.slopes = predictions->slopes};
  const pass_token_numbers_t numbers = {.logprobs = predictions->logprobs, .ties = predictions->ties};
  TRY(pass_logprobs_backward(pass, predictions->n, predictions->rows, predictions->targets, 1.0, &loss,
                             &numbers));
  TRY(pass_backward(pass, last ? optimizer_only_layer_done : NULL, task->optimizer));
  return pass_pace(pass);
}

/* Forward and, where TRAINED, backward over one micro-batch: then PREDICTIONS are there after
 * pass_synchronize. */
static status_t supervised_run_micro(supervised_t *task, batch_t *batch, int32_t index, bool trained,
                                     const float *patches, double scale, predictions_t *predictions) {
  const micro_t *micro = &batch->micro[index];
  pass_images_t images = {.count = micro->image_count, .patches = patches};
  predictions->pool.arena = ARENA_OTHER;
  TRY(predictions_make(&batch->plan, micro, scale, predictions));
  perf_begin(REGION_FORWARD);
  status_code_t status =
      pass_forward(task->model.pass, &task->role, &micro->packed, &images, trained, NULL, NULL);
  if (status == STATUS_OK && !trained)
    status = pass_logprobs(task->model.pass, predictions->n, predictions->rows, predictions->targets, 1.0,
                           predictions->logprobs, NULL);
  perf_end(REGION_FORWARD);
  if (status != STATUS_OK || !trained) return status;
  perf_begin(REGION_BACKWARD);
  status = supervised_backward(task, predictions, index == batch->plan.micro_count - 1);
  perf_end(REGION_BACKWARD);
  return status;
}

/* All micro-batches of this group; PREDICTIONS (micro_count) are there on return, also after an error. */
static status_t supervised_run_micros(supervised_t *task, batch_t *batch, bool trained, double scale,
                                      predictions_t *predictions) {
  status_code_t status = STATUS_OK;
  for (int32_t m = 0; m < batch->plan.micro_count && status == STATUS_OK; m++) {
    float *patches;
    status = batch_patches(batch, m, &task->model.base.config, &patches);
    if (status == STATUS_OK)
      status = supervised_run_micro(task, batch, m, trained, patches, scale, &predictions[m]);
    memory_free(patches);
  }
  status_code_t arrived = pass_synchronize(task->model.pass);
  return status != STATUS_OK ? status : arrived;
}

static void supervised_add(const micro_t *micro, const predictions_t *predictions, sample_sums_t sums) {
  for (int32_t i = 0; i < predictions->n; i++) {
    int32_t sample = micro->which[predictions->owner[i]];
    sums.loss[sample] -= predictions->logprobs[i];
    sums.hits[sample] += pass_hit(predictions->ties[i]);
  }
}

static int64_t learnt_tokens(const plan_t *plan) {
  int64_t learnt = 0;
  for (int32_t i = 0; i < plan->n; i++)
    learnt += plan->learnt[i];
  return learnt;
}

/* All micro-batches of this group; then sums of all groups. LOSS and HITS: totals in sample order. Gradients
 * are of the loss per token that was planned: a sample whose image proves broken adds nothing to them. */
static status_t supervised_run_batch(supervised_t *task, batch_t *batch, bool trained, double *loss,
                                     double *hits, int64_t *learnt, int64_t *skipped) {
  const plan_t *plan = &batch->plan;
  sample_sums_t sums;
  predictions_t *predictions;
  POOL(pool, ARENA_OTHER);
  TRY(memory_pool_alloc(&pool, &sums.loss, (size_t)plan->n, sizeof *sums.loss));
  TRY(memory_pool_alloc(&pool, &sums.hits, (size_t)plan->n, sizeof *sums.hits));
  TRY(memory_pool_alloc(&pool, &predictions, (size_t)plan->micro_count, sizeof *predictions));
  int64_t planned = learnt_tokens(plan);
  double scale = planned > 0 ? 1.0 / (double)planned : 0.0;
  status_code_t status = supervised_run_micros(task, batch, trained, scale, predictions);
  for (int32_t m = 0; m < plan->micro_count; m++) {
    if (status == STATUS_OK) supervised_add(&batch->micro[m], &predictions[m], sums);
    predictions_free(&predictions[m]);
  }
  perf_begin(REGION_IMBALANCE);
  if (status == STATUS_OK)
    status = comm_allreduce(task->session->grid.dp, sums.loss, (size_t)plan->n, COMM_F64, COMM_SUM);
  if (status == STATUS_OK)
    status = comm_allreduce(task->session->grid.dp, sums.hits, (size_t)plan->n, COMM_F64, COMM_SUM);
  if (status == STATUS_OK) status = batch_settle(&task->session->grid, batch, skipped);
  perf_end(REGION_IMBALANCE);
  *learnt = learnt_tokens(plan);
  *loss = *hits = 0.0;
  for (int32_t i = 0; i < plan->n; i++) {
    *loss += sums.loss[i];
    *hits += sums.hits[i];
  }
  return status;
}

static status_t supervised_update(void *context, int64_t step, double lr, metrics_t *metrics) {
  supervised_t *task = context;
  if (task->next_step != step) {
    batch_free(&task->next);
    TRY(supervised_prepare_step(task, step));
  }
  batch_t batch = task->next;
  task->next = (batch_t){0};
  task->next_step = 0;
  double loss, hits, norms[2];
  int64_t learnt = 0, skipped = 0;
  status_code_t status = step < task->total ? supervised_prepare_step(task, step + 1) : STATUS_OK;
  if (status == STATUS_OK) status = supervised_run_batch(task, &batch, true, &loss, &hits, &learnt, &skipped);
  batch_free(&batch);
  TRY(status);
  if (learnt == 0 && !task->warned && task->session->grid.rank == 0)
    log_warning("step %lld learns nothing: none of its samples has an answer within data.max_len = %lld "
                "tokens, and a "
                "whole image",
                (long long)step, (long long)task->session->settings->data.max_len);
  task->warned = task->warned || learnt == 0;
  double mean = learnt > 0 ? loss / (double)learnt : 0.0;
  TRY(optimizer_check_loss(task->optimizer, mean, step));
  TRY(optimizer_step(task->optimizer, lr, norms));
  if (learnt > 0) { /* else there is nothing that these could be of */
    metrics_add(metrics, "sft/loss", mean);
    metrics_add(metrics, "sft/accuracy", hits / (double)learnt);
  }
  metrics_add(metrics, "sft/lr", lr);
  metrics_add(metrics, "sft/grad_norm", norms[1]);
  metrics_add(metrics, "sft/tokens", (double)learnt);
  if (task->source.skip_bad) session_skipped(task->session, skipped, metrics);
  return STATUS_OK;
}

/* The one trained set: the adapter, or the base. */
static params_t *trained_set(supervised_t *task) {
  return task->mode == TRAIN_LORA ? &task->adapter.params : &task->model.base.params;
}

/* Sums over learnt tokens. */
typedef enum { SUM_LOSS, SUM_LEARNT, SUMS } supervised_sum_t;

/* Samples BEGIN .. BEGIN + N - 1 of those held out: a part of an evaluation (session/parts.h). */
static status_t supervised_evaluate_part(void *context, int64_t begin, int32_t n, double *sums) {
  supervised_t *task = context;
  const held_out_t *held = &task->held;
  batch_t batch;
  double hits;
  int64_t learnt = 0, skipped;
  TRY(supervised_make_batch(task, held->source, held->rows.rows + begin, n, &batch));
  status_code_t status = supervised_run_batch(task, &batch, false, &sums[SUM_LOSS], &hits, &learnt, &skipped);
  batch_free(&batch);
  sums[SUM_LEARNT] = (double)learnt;
  return status;
}

/* Mean loss per learnt token over all samples held out. */
static status_t supervised_evaluate(void *context, int64_t step, metrics_t *metrics, double *score) {
  supervised_t *task = context;
  const held_out_t *held = &task->held;
  const params_t *const trained[] = {trained_set(task)};
  double sums[SUMS];
  const parts_t parts = {.step = step,
                         .model = &task->model,
                         .trained = trained,
                         .trained_count = 1,
                         .held = held,
                         .size = task->batch_size,
                         .sums = SUMS,
                         .work = supervised_evaluate_part,
                         .context = task};
  TRY(parts_run(task->session, &parts, sums));
  if (sums[SUM_LEARNT] == 0.0)
    return error_set(STATUS_DATA,
                     "the images of all samples held out that have an answer within data.max_len are "
                     "broken: make %s again with task prepare",
                     dataset_path(held->source->dataset));
  double mean = sums[SUM_LOSS] / sums[SUM_LEARNT];
  metrics_add(metrics, "eval/loss", mean);
  *score = -mean;
  return STATUS_OK;
}

static status_t supervised_reload(void *context, const char *path) {
  supervised_t *task = context;
  const char *prefix = task->mode == TRAIN_LORA ? "/adapters/default/" : "/weights/";
  return store_load_params(task->session->world, path, prefix, trained_set(task));
}

/* LoRA: the adapter that model.adapter names, or a new one. Otherwise the base itself. */
static status_t supervised_open_trained(supervised_t *task) {
  session_t *session = task->session;
  task->mode = settings_train_mode(session->settings);
  if (task->mode != TRAIN_LORA) return STATUS_OK;
  bool found;
  TRY(model_settings_adapter(session, &task->model, &task->adapter, &found));
  if (!found) TRY(model_new_adapter(session, &task->model, "default", &task->adapter));
  task->role.adapter = &task->adapter;
  return STATUS_OK;
}

static status_t sample_look(void *context, int64_t row, const dataset_sample_t *sample, int32_t *found) {
  sequence_t sequence = {0};
  int64_t image;
  (void)row;
  status_code_t status = source_sample_sequence(context, sample, &sequence, &image);
  if (status == STATUS_OK && sequence_learnt(&sequence) == 0) *found |= SCREENING_IDLE;
  sequence_free(&sequence);
  return status;
}

static status_t supervised_choose_samples(supervised_t *task, source_t *source, const char *use,
                                          dataset_rows_t *rows) {
  session_t *session = task->session;
  screening_counts_t counts;
  char idle[128];
  snprintf(idle, sizeof idle,
           "have no answer within data.max_len = %lld tokens, so nothing is learnt from them",
           (long long)session->settings->data.max_len);
  const screening_t screening = {.use = use, .idle = idle, .look = sample_look, .context = source};
  TRY(screening_run(session, source, &screening, rows, &counts));
  session_skipped(session, counts.bad, NULL);
  return STATUS_OK;
}

static status_t supervised_open_samples(supervised_t *task) {
  const settings_t *settings = task->session->settings;
  comm_t *world = task->session->world;
  SCOPED(dataset_rows_free) dataset_rows_t rows = {0};
  TRY(dataset_rows(world, task->source.dataset, DATASET_TRAINING, &rows));
  if (settings->data.limit > 0 && settings->data.limit < rows.count) rows.count = settings->data.limit;
  TRY(supervised_choose_samples(task, &task->source, "training", &rows));
  return order_create(world, (uint64_t)settings->job.seed, true, rows.rows, rows.count, &task->order);
}

static status_t supervised_open_held_out(supervised_t *task) {
  held_out_t *held = &task->held;
  TRY(held_out_open(task->session, &task->model, &task->source, held));
  if (held->rows.count == 0) return STATUS_OK;
  return supervised_choose_samples(task, held->source, "evaluation", &held->rows);
}

static status_t supervised_open_data(supervised_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  TRY(source_open(session, &task->model, "data.dataset", settings->data.dataset, &task->source));
  TRY(supervised_open_samples(task));
  task->batch_size = (int32_t)settings->optim.batch;
  TRY(memory_alloc(&task->rows, ARENA_DATA, (size_t)task->batch_size, sizeof *task->rows));
  task->total =
      loop_steps(settings->optim.steps, settings->optim.epochs, task->order.count, task->batch_size);
  return supervised_open_held_out(task);
}

static status_t supervised_run_inner(supervised_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  TRY(model_from_settings(session, &task->model));
  task->role = (role_t){.base = &task->model.base};
  TRY(supervised_open_trained(task));
  TRY(supervised_open_data(task));
  params_t *set = trained_set(task);
  const optimizer_set_t sets[] = {{set, 0}};
  const optimizer_options_t options = optimizer_options(settings);
  TRY(optimizer_create(session->device, &session->grid, sets, 1, &options, &task->optimizer));
  static const char *const names[] = {"policy"};
  loop_t loop = {.label = settings->job.task,
                 .total = task->total,
                 .schedule = schedule_from_settings(settings, task->total),
                 .state = {.optimizer = task->optimizer,
                           .set_names = names,
                           .sets = &set,
                           .set_count = 1,
                           .samples = task->order.count,
                           .batch = task->batch_size,
                           .batch_setting = "optim.batch"},
                 .context = task,
                 .update = supervised_update,
                 .measure = supervised_measure,
                 .evaluate = supervised_evaluate,
                 .reload = supervised_reload};
  resume_add_inputs(&loop.state, &task->model, &task->source);
  model_contents(&task->model, task->mode != TRAIN_LORA, &loop.contents);
  if (task->mode == TRAIN_LORA) {
    loop.contents.adapter_names[0] = "default";
    loop.contents.adapters[0] = &task->adapter;
    loop.contents.adapter_count = 1;
  }
  log_info("training   %s: %.3f M weights, %lld steps of %d samples", settings->model.train,
           1e-6 * (double)set->trainable, (long long)task->total, task->batch_size);
  return loop_run(session, &loop);
}

status_t supervised_run(session_t *session) {
  supervised_t task = {.session = session};
  status_code_t status = supervised_run_inner(&task);
  batch_free(&task.next);
  optimizer_free(task.optimizer);
  adapter_free(&task.adapter);
  memory_free(task.rows);
  order_free(&task.order);
  held_out_close(&task.held);
  source_close(&task.source);
  model_free(&task.model);
  return status;
}

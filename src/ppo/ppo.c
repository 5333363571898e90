#include "ppo/ppo.h"

#include "base/log.h"
#include "base/memory.h"
#include "perf/perf.h"
#include "ppo/ppo_file.h"
#include "ppo/ppo_kept.h"
#include "ppo/ppo_step.h"
#include "record/samples.h"
#include "session/screening.h"
#include "train/loop.h"

#include <math.h>
#include <string.h>

static ppo_options_t options_of(const settings_t *settings) {
  ppo_options_t options = {.kl_coef = settings->ppo.kl_coef,
                           .kl_estimator = strcmp(settings->ppo.kl_estimator, "k3") == 0 ? KL_K3 : KL_K1,
                           .gamma = settings->ppo.gamma,
                           .lam = settings->ppo.lam,
                           .clip = settings->ppo.clip,
                           .clip_value = settings->ppo.clip_value,
                           .vf_coef = settings->ppo.vf_coef,
                           .whiten_rewards = settings->ppo.whiten_rewards,
                           .reward_scale = settings->ppo.reward_scale,
                           .loss_norm = LOSS_NORM_TOKEN,
                           .correct_bonus = settings->reward.correct_bonus,
                           .length_bonus = settings->reward.length_bonus,
                           .no_stop_penalty = settings->reward.no_stop_penalty,
                           .bias = settings->reward.bias,
                           .relative_penalty = settings->reward.relative_penalty,
                           .response_len = (int32_t)settings->rollout.response_len};
  if (strcmp(settings->ppo.loss_norm, "sequence") == 0) options.loss_norm = LOSS_NORM_SEQUENCE;
  if (strcmp(settings->ppo.loss_norm, "fixed") == 0) options.loss_norm = LOSS_NORM_FIXED;
  return options;
}

/* ---- Roles ---- */

/* Policy and reference: the adapter that policy initialisation left, or a new one on the bare base. */
static status_t ppo_open_policy(ppo_task_t *task) {
  session_t *session = task->session;
  TRY(model_open(session, "model.base", session->settings->model.base, session->settings->model.base_format,
                 &task->model));
  TRY(model_settings_adapter(session, &task->model, &task->policy_adapter, &task->has_reference));
  if (!task->has_reference) TRY(model_new_adapter(session, &task->model, "policy", &task->policy_adapter));
  TRY(adapter_create(&task->model.base, &task->policy_adapter.config, "reference", &task->reference_adapter));
  TRY(adapter_copy(&task->policy_adapter, &task->reference_adapter));
  task->policy = (role_t){&task->model.base, &task->policy_adapter, NULL};
  task->reference = (role_t){&task->model.base, &task->reference_adapter, NULL};
  return STATUS_OK;
}

static const char *reward_format(const settings_t *settings) {
  bool same = strcmp(settings->reward.base_format, "same") == 0;
  return same ? settings->model.base_format : settings->reward.base_format;
}

/* The reward model's base: the policy's own, where their weights are the same, else another one beside it. */
static status_t ppo_open_value_base(ppo_task_t *task, const char *path) {
  session_t *session = task->session;
  store_info_t info;
  TRY(store_inspect(session->world, path, &task->model.info, &info));
  bool same = info.identity == task->model.info.identity;
  store_info_free(&info);
  task->value_model = same ? &task->model : &task->other;
  if (same) return STATUS_OK;
  log_info("roles      value and reward have a base of their own");
  TRY(model_open(session, "reward.model", path, reward_format(session->settings), &task->other));
  size_t n, other;
  const void *bytes = tokenizer_bytes(task->model.tokenizer, &n);
  const void *other_bytes = tokenizer_bytes(task->other.tokenizer, &other);
  if (n == other && memcmp(bytes, other_bytes, n) == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "the tokenizers of %s and %s differ; policy and reward model must share one",
                   task->model.info.base_path, task->other.info.base_path);
}

/* Reward: as trained. Value: starts from the reward model's adapter, with a head of zeros. */
static status_t ppo_open_value(ppo_task_t *task) {
  static const char *const roles[] = {"reward", NULL};
  session_t *session = task->session;
  const char *path = session->settings->reward.model;
  TRY(ppo_open_value_base(task, path));
  TRY(model_load_adapter(session, task->value_model, path, roles, "reward", &task->reward_adapter, NULL));
  TRY(model_load_head(session, task->value_model, path, "reward", &task->reward_head));
  base_t *base = &task->value_model->base;
  TRY(model_train_adapter(session, task->value_model, path, roles, "value", &task->value_adapter));
  TRY(head_create(base, "value", true, &task->value_head));
  TRY(params_train_all(&task->value_head.params));
  TRY(params_initialise(&task->value_head.params, (uint64_t)session->settings->job.seed));
  task->reward = (role_t){base, &task->reward_adapter, &task->reward_head};
  task->value = (role_t){base, &task->value_adapter, &task->value_head};
  return STATUS_OK;
}

/* ---- Data ---- */

/* Is SAMPLE's query one to ask? Those that are too long are dropped, with all that belongs to them. */
static status_t ppo_look(void *context, int64_t row, const dataset_sample_t *sample, int32_t *found) {
  ppo_task_t *task = context;
  const source_t *source = &task->source;
  sequence_t query = {0};
  bool fits;
  answer_type_t type;
  int64_t image = sample->image;
  (void)row;
  status_code_t status = conversation_query(source->tokenizer, source->template, &sample->conversation, 0,
                                            (int32_t)task->session->settings->data.query_len, &query, &fits);
  if (status == STATUS_OK) status = answer_type_from_number(sample->caption_type, &type);
  if (status == STATUS_OK) status = source_image(&query, &image);
  int32_t positions = packed_length(query.tokens, query.n, config_patches(&task->model.base.config));
  sequence_free(&query);
  TRY(status);
  if (!fits) *found |= SCREENING_DROPPED;
  if (screening_has_facts(sample)) *found |= SCREENING_FACTS;
  if (positions > task->longest_query) task->longest_query = positions;
  return STATUS_OK;
}

static status_t ppo_choose_prompts(ppo_task_t *task, dataset_rows_t *rows, screening_counts_t *counts) {
  session_t *session = task->session;
  char dropped[96];
  snprintf(dropped, sizeof dropped, "are longer than data.query_len = %lld tokens and dropped",
           (long long)session->settings->data.query_len);
  const screening_t screening = {.use = "training", .dropped = dropped, .look = ppo_look, .context = task};
  TRY(screening_run(session, &task->source, &screening, rows, counts));
  session_skipped(session, counts->bad, NULL);
  return comm_allreduce(session->world, &task->longest_query, 1, COMM_I32, COMM_MAX);
}

/* The reward model must be asked as it was trained. */
static status_t ppo_open_reward_prompt(ppo_task_t *task, const screening_counts_t *counts, int64_t count) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  store_info_t info;
  reward_prompt_count_facts(session, &task->reward_prompt, "reward.facts", settings->data.dataset,
                            counts->facts, count);
  TRY(store_inspect(session->world, settings->reward.model, &task->model.info, &info));
  status_code_t status = reward_prompt_compare(session, &task->reward_prompt, "reward", &info);
  store_info_free(&info);
  return status;
}

static status_t ppo_open_prompts(ppo_task_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  screening_counts_t counts;
  SCOPED(dataset_rows_free) dataset_rows_t rows = {0};
  TRY(dataset_rows(session->world, task->source.dataset, DATASET_TRAINING, &rows));
  if (settings->data.limit > 0 && settings->data.limit < rows.count) rows.count = settings->data.limit;
  TRY(ppo_choose_prompts(task, &rows, &counts));
  TRY(ppo_open_reward_prompt(task, &counts, rows.count));
  return order_create(session->world, (uint64_t)settings->job.seed, true, rows.rows, rows.count,
                      &task->order);
}

static status_t ppo_open_data(ppo_task_t *task) {
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  TRY(source_open(session, &task->model, "data.dataset", settings->data.dataset, &task->source));
  TRY(reward_prompt_open(session, settings->reward.prompt_file, settings->reward.facts,
                         &task->reward_prompt));
  return ppo_open_prompts(task);
}

/* ---- One step ---- */

static void ppo_add_objective(const ppo_task_t *task, const ppo_step_t *step,
                              const ppo_objective_t *objective, double lr, metrics_t *metrics) {
  metrics_add(metrics, "objective/kl_coef", task->options.kl_coef);
  metrics_add(metrics, "objective/kl_sum_seq", objective->kl_sum_seq);
  metrics_add(metrics, "objective/kl_avg_seq", objective->kl_avg_seq);
  metrics_add(metrics, "objective/length_bonus", objective->length_bonus);
  metrics_add(metrics, "objective/correct_bonus", objective->correct_bonus);
  metrics_add(metrics, "objective/rewards", objective->rewards);
  metrics_add(metrics, "objective/shaped_rewards", objective->shaped_rewards);
  metrics_add(metrics, "objective/non_score_rewards", objective->non_score_rewards);
  metrics_add(metrics, "objective/lr", lr);
  metrics_add(metrics, "objective/entropies", objective->entropies);
  metrics_add(metrics, "objective/ref_entropies", objective->ref_entropies);
  double stopped = 0.0;
  int32_t shortest = INT32_MAX, longest = 0;
  for (int32_t i = 0; i < step->n; i++) {
    stopped += step->stopped[i];
    if (step->rollout.lengths[i] < shortest) shortest = step->rollout.lengths[i];
    if (step->rollout.lengths[i] > longest) longest = step->rollout.lengths[i];
  }
  metrics_add(metrics, "rollout/response_length", (double)step->rollout.offsets[step->n] / step->n);
  metrics_add(metrics, "rollout/response_length_min", shortest);
  metrics_add(metrics, "rollout/response_length_max", longest);
  metrics_add(metrics, "rollout/stopped", stopped / step->n);
}

static void ppo_add_update(const ppo_update_t *update, metrics_t *metrics) {
  const ppo_statistics_t *mean = &update->mean;
  metrics_add(metrics, "ppo/loss/policy", mean->loss_policy);
  metrics_add(metrics, "ppo/loss/value", mean->loss_value);
  metrics_add(metrics, "ppo/loss/grad_norm", update->grad_norm);
  metrics_add(metrics, "ppo/loss/grad_norm_policy", update->grad_norm_policy);
  metrics_add(metrics, "ppo/loss/grad_norm_value", update->grad_norm_value);
  metrics_add(metrics, "ppo/policy/entropy", mean->entropy);
  metrics_add(metrics, "ppo/policy/approxkl", mean->approx_kl);
  metrics_add(metrics, "ppo/policy/clipfrac", mean->policy_clipfrac);
  metrics_add(metrics, "ppo/returns/mean", mean->returns_mean);
  metrics_add(metrics, "ppo/returns/var", mean->returns_var);
  metrics_add(metrics, "ppo/val/vpred", mean->vpred);
  metrics_add(metrics, "ppo/val/error", mean->value_error);
  metrics_add(metrics, "ppo/val/clipfrac", mean->value_clipfrac);
  metrics_add(metrics, "ppo/val/mean", mean->value_mean);
  metrics_add(metrics, "ppo/val/var", mean->value_var);
}

static status_t ppo_check_divergence(const ppo_task_t *task, const ppo_objective_t *objective) {
  double limit = task->session->settings->ppo.max_kl;
  if (limit <= 0.0 || objective->kl_sum_seq <= limit) return STATUS_OK;
  return error_set(
      STATUS_NUMERIC,
      "diverged: the mean kl of a response is %.4g, ppo.max_kl allows %.4g; lower optim.lr or raise "
      "ppo.kl_coef",
      objective->kl_sum_seq, limit);
}

/* One answer for the report, whose tokens SHOWN has. */
static status_t ppo_show_answer(ppo_task_t *task, ppo_step_t *step, const ppo_tokens_t *shown, int32_t i) {
  const tokenizer_t *tokenizer = task->source.tokenizer;
  const conversation_t *conversation = &step->data[i].conversation;
  SCOPED_MEMORY char *answer = NULL;
  TRY(ppo_prompt(task, step, i));
  TRY(tokenizer_decode(tokenizer, ppo_response(shown, i), step->rollout.lengths[i], &answer, NULL));
  const record_sample_t sample = {.step = step->step,
                                  .model = "policy",
                                  .question = conversation->turns[0].text.bytes,
                                  .answer = answer,
                                  .score_name = "reward",
                                  .score = step->reward[i],
                                  .note = step->stopped[i] ? NULL : "does not end",
                                  .dataset = dataset_path(task->source.dataset),
                                  .image = step->data[i].image};
  return record_sample(&task->session->record, &sample);
}

/* Room on rank 0's group for the first answers of the step. GROUP (n) out. */
static status_t ppo_shown_create(const ppo_task_t *task, const ppo_step_t *step, int32_t *group,
                                 ppo_tokens_t *shown) {
  for (int32_t i = 0; i < step->n; i++)
    group[i] = i < task->session->settings->log.samples ? 0 : -1;
  return ppo_tokens_create(step->n, step->rollout.lengths, group, task->session->grid.dp_rank, PPO_TOKENS,
                           shown);
}

static status_t ppo_show_answers(ppo_task_t *task, ppo_step_t *step) {
  session_t *session = task->session;
  SCOPED(ppo_tokens_free) ppo_tokens_t shown = {0};
  SCOPED_MEMORY int32_t *group = NULL;
  status_code_t status = memory_alloc(&group, ARENA_ROLLOUT, (size_t)step->n, sizeof *group);
  if (status == STATUS_OK) status = ppo_shown_create(task, step, group, &shown);
  TRY(comm_agree(session->world, status));
  status = ppo_tokens_send(session->grid.dp, &step->own, PPO_TOKENS, group, &shown);
  for (int32_t i = 0; i < step->n && status == STATUS_OK; i++) {
    if (!record_wants_sample(&session->record, step->step, "policy")) break;
    status = ppo_show_answer(task, step, &shown, i);
  }
  return comm_agree(session->world, status);
}

/* The last moment to give a step up: nothing of it but the responses is kept, and the weights are those of
 * its beginning. An update once begun is finished, so there must be time for as long a one as there has been.
 */
static status_t ppo_stop_before_update(const ppo_task_t *task) {
  return session_continue(task->session, task->longest_update);
}

static status_t run_update(ppo_task_t *task, ppo_step_t *step, double lr, ppo_update_t *update) {
  double begin = perf_now();
  TRY(ppo_update(task, step, lr, update));
  task->longest_update = fmax(task->longest_update, perf_now() - begin);
  return STATUS_OK;
}

static status_t work_step(ppo_task_t *task, ppo_step_t *step, double lr, metrics_t *metrics) {
  const settings_t *settings = task->session->settings;
  ppo_update_t update;
  ppo_objective_t objective;
  TRY(ppo_score(task, step));
  TRY(ppo_stop_before_update(task));
  TRY(ppo_step_rewards(task, step, &objective));
  if (settings->log.rollouts > 0 && step->step % settings->log.rollouts == 0) TRY(ppo_file_write(task, step));
  TRY(kept_remove(&step->kept));
  TRY(kept_remove(&step->scores));
  TRY(ppo_show_answers(task, step));
  ppo_add_objective(task, step, &objective, lr, metrics);
  TRY(ppo_check_divergence(task, &objective));
  TRY(run_update(task, step, lr, &update));
  double gap = fmax(ppo_logprob_gap(step), update.logprob_gap);
  TRY(comm_allreduce(task->session->grid.dp, &gap, 1, COMM_F64, COMM_MAX));
  metrics_add(metrics, "rollout/logprob_gap", gap);
  ppo_add_update(&update, metrics);
  return STATUS_OK;
}

static status_t ppo_name_step(status_code_t status, int64_t number) {
  return status == STATUS_NUMERIC ? error_context(status, "in step %lld", (long long)number) : status;
}

static status_t ppo_step_run(void *context, int64_t number, double lr, metrics_t *metrics) {
  ppo_task_t *task = context;
  ppo_step_t step;
  TRY(ppo_name_step(ppo_generate(task, number, &step), number));
  status_code_t status = ppo_name_step(work_step(task, &step, lr, metrics), number);
  if (status == STATUS_STOPPED) status = ppo_kept_tell(task, &step);
  if (task->source.skip_bad) session_skipped(task->session, step.skipped, metrics);
  ppo_step_free(&step);
  return status;
}

static status_t ppo_reload(void *context, const char *path) {
  ppo_task_t *task = context;
  comm_t *world = task->session->world;
  TRY(store_load_params(world, path, "/adapters/policy/", &task->policy_adapter.params));
  TRY(store_load_params(world, path, "/adapters/reference/", &task->reference_adapter.params));
  TRY(store_load_params(world, path, "/adapters/value/", &task->value_adapter.params));
  return store_load_params(world, path, "/heads/value/", &task->value_head.params);
}

/* ---- The task ---- */

enum { SETS = 3 };

static status_t ppo_open_optimizer(ppo_task_t *task, params_t *sets[SETS]) {
  const settings_t *settings = task->session->settings;
  sets[0] = &task->policy_adapter.params;
  sets[1] = &task->value_adapter.params;
  sets[2] = &task->value_head.params;
  const optimizer_set_t trained[SETS] = {{sets[0], 0}, {sets[1], 1}, {sets[2], 1}};
  const optimizer_options_t options = optimizer_options(settings);
  return optimizer_create(task->session->device, &task->session->grid, trained, SETS, &options,
                          &task->optimizer);
}

static void ppo_fill_contents(const ppo_task_t *task, store_contents_t *contents) {
  model_contents(&task->model, false, contents);
  contents->adapter_names[0] = "policy";
  contents->adapters[0] = &task->policy_adapter;
  contents->adapter_names[1] = "reference";
  contents->adapters[1] = &task->reference_adapter;
  contents->adapter_names[2] = "value";
  contents->adapters[2] = &task->value_adapter;
  contents->adapter_count = 3;
  contents->head_names[0] = "value";
  contents->heads[0] = &task->value_head;
  contents->head_count = 1;
}

/* Identity of all that PATH holds beside MODEL's base. */
static status_t added_identity(session_t *session, const model_t *model, const char *path,
                               uint64_t *identity) {
  store_info_t info;
  TRY(store_inspect(session->world, path, &model->info, &info));
  *identity = info.added;
  store_info_free(&info);
  return STATUS_OK;
}

/* What the run is made from. Reward model and reference are read again by each start; the reward model's base
 * is the one that its file names. */
static status_t ppo_add_inputs(ppo_task_t *task, resume_state_t *state) {
  session_t *session = task->session;
  const char *reward = session->settings->reward.model,
             *reference = model_adapter_path(session, &task->model);
  TRY(added_identity(session, task->value_model, reward, &task->judge_identity));
  if (task->has_reference) TRY(added_identity(session, &task->model, reference, &task->reference_identity));
  resume_add_inputs(state, &task->model, &task->source);
  resume_add_file(state, "reward_model", "reward.model", reward, task->judge_identity);
  resume_add_file(state, "reference", "model.adapter", reference, task->reference_identity);
  return STATUS_OK;
}

static status_t ppo_train(ppo_task_t *task) {
  static const char *const names[SETS] = {"policy", "value", "value_head"};
  session_t *session = task->session;
  const settings_t *settings = session->settings;
  params_t *sets[SETS];
  task->options = options_of(settings);
  task->batch = (int32_t)settings->rollout.batch;
  task->minibatch = (int32_t)settings->ppo.minibatch;
  task->scale = 1.0 / settings->rollout.temperature;
  task->recompute_old = strcmp(settings->ppo.old_logprob, "recompute") == 0;
  TRY(ppo_open_policy(task));
  TRY(ppo_open_value(task));
  TRY(ppo_open_data(task));
  int64_t count = task->order.count;
  task->end = response_end(task->model.tokenizer, task->source.template, settings->rollout.stop_at_question);
  TRY(ppo_open_optimizer(task, sets));
  TRY(held_out_open(session, &task->model, &task->source, &task->held));
  if (task->held.rows.count > 0) TRY(ppo_evaluate_open(task));
  int64_t total = loop_steps(settings->ppo.steps, settings->ppo.epochs, count, task->batch);
  loop_t loop = {.label = "ppo",
                 .total = total,
                 .schedule = schedule_from_settings(settings, total),
                 .state = {.optimizer = task->optimizer,
                           .set_names = names,
                           .sets = sets,
                           .set_count = SETS,
                           .samples = count,
                           .batch = task->batch,
                           .batch_setting = "rollout.batch"},
                 .context = task,
                 .update = ppo_step_run,
                 .evaluate = ppo_evaluate,
                 .reload = ppo_reload};
  TRY(ppo_add_inputs(task, &loop.state));
  ppo_fill_contents(task, &loop.contents);
  log_info("training   ppo: %lld steps of %d answers, %lld prompts; policy %.3f M, value %.3f M weights",
           (long long)total, task->batch, (long long)count, 1e-6 * (double)sets[0]->trainable,
           1e-6 * (double)(sets[1]->trainable + sets[2]->trainable));
  return loop_run(session, &loop);
}

status_t ppo_run(session_t *session) {
  ppo_task_t task = {.session = session};
  status_code_t status = ppo_train(&task);
  ppo_evaluate_close(&task);
  held_out_close(&task.held);
  optimizer_free(task.optimizer);
  head_free(&task.reward_head);
  head_free(&task.value_head);
  adapter_free(&task.reward_adapter);
  adapter_free(&task.value_adapter);
  adapter_free(&task.reference_adapter);
  adapter_free(&task.policy_adapter);
  order_free(&task.order);
  reward_prompt_free(&task.reward_prompt);
  source_close(&task.source);
  model_free(&task.other);
  model_free(&task.model);
  return status;
}

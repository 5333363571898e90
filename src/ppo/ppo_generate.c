/* Answers to the prompts of one PPO step. */
#include "ppo/ppo_step.h"

#include "base/memory.h"
#include "data/order.h"
#include "parallel/exchange.h"
#include "perf/perf.h"
#include "ppo/ppo_kept.h"

#include <string.h>

void ppo_step_free(ppo_step_t *step) {
  for (int32_t i = 0; i < step->n && step->data; i++)
    dataset_sample_free(&step->data[i]);
  kept_close(step->kept);
  kept_close(step->scores);
  rollout_free(&step->rollout);
  ppo_tokens_free(&step->own);
  memory_pool_free(&step->pool);
  *step = (ppo_step_t){0};
}

/* Arrays for the samples. */
static status_t ppo_generate_allocate(const ppo_task_t *task, ppo_step_t *step) {
  size_t n = (size_t)step->n, longest = (size_t)task->session->settings->rollout.response_len;
  double **per_sample[] = {&step->raw_reward, &step->reward, &step->length_bonus, &step->length_multiplier,
                           &step->correct};
  TRY(memory_pool_alloc(&step->pool, &step->rows, n, sizeof *step->rows));
  TRY(memory_pool_alloc(&step->pool, &step->data, n, sizeof *step->data));
  TRY(memory_pool_alloc(&step->pool, &step->owner, 2 * n, sizeof *step->owner));
  TRY(memory_pool_alloc(&step->pool, &step->blank, longest, sizeof *step->blank));
  TRY(memory_pool_alloc(&step->pool, &step->stopped, n, sizeof *step->stopped));
  for (size_t i = 0; i < sizeof per_sample / sizeof *per_sample; i++)
    TRY(memory_pool_alloc(&step->pool, per_sample[i], n, sizeof(double)));
  return STATUS_OK;
}

/* Who has drawn which sample, how long it is and how it ends is known to all; the rest is the owner's. */
static status_t ppo_generate_settle(ppo_task_t *task, ppo_step_t *step) {
  const grid_t *grid = &task->session->grid;
  const rollout_t *rollout = &step->rollout;
  size_t n = (size_t)step->n;
  int32_t *ends = step->owner + n;
  TRY(rollout_share_lengths(&step->rollout));
  for (size_t i = 0; i < n; i++) {
    if (!rollout->mine[i]) continue;
    const generator_response_t response = rollout_response(rollout, (int64_t)i);
    step->owner[i] = grid->dp_rank;
    ends[i] = response.n > 0 && response_completes(&task->end, response.tokens[response.n - 1]);
  }
  TRY(comm_allreduce(grid->dp, step->owner, 2 * n, COMM_I32, COMM_SUM));
  for (size_t i = 0; i < n; i++)
    step->stopped[i] = ends[i] != 0;
  return STATUS_OK;
}

/* The responses as they were drawn, end to end. */
static status_t ppo_generate_take_own(const ppo_task_t *task, ppo_step_t *step) {
  ppo_tokens_t *own = &step->own;
  TRY(ppo_tokens_create(step->n, step->rollout.lengths, step->owner, task->session->grid.dp_rank,
                        PPO_ALL_ARRAYS, own));
  for (int32_t k = 0; k < own->count; k++) {
    const generator_response_t response = rollout_response(&step->rollout, own->which[k]);
    size_t n = (size_t)response.n;
    int64_t at = own->offsets[k];
    memcpy(own->tokens + at, response.tokens, n * sizeof(int32_t));
    memcpy(own->numbers[ROLLOUT_SAMPLER_LOGPROB] + at, response.logprobs, n * sizeof(double));
    memcpy(own->numbers[ROLLOUT_ENTROPY] + at, response.entropies, n * sizeof(double));
  }
  rollout_drop_responses(&step->rollout);
  return STATUS_OK;
}

status_t ppo_prompt(ppo_task_t *task, ppo_step_t *step, int32_t i) {
  const source_t *source = &task->source;
  dataset_sample_t *data = &step->data[i];
  sequence_t *query = &step->rollout.queries[i];
  bool fits;
  if (query->n > 0) return STATUS_OK;
  TRY(dataset_sample_read(source->dataset, step->rows[i], data));
  TRY(conversation_query(source->tokenizer, source->template, &data->conversation, 0,
                         (int32_t)task->session->settings->data.query_len, query, &fits));
  if (!fits)
    return error_set(STATUS_INTERNAL, "a query that is too long was not dropped: row %lld",
                     (long long)step->rows[i]);
  if (sequence_images(query) > 0 && data->image < 0)
    return error_set(STATUS_DATA,
                     "%s: the prompt of row %lld has an image place but no image: prepare the dataset again",
                     dataset_path(source->dataset), (long long)step->rows[i]);
  return STATUS_OK;
}

/* The question as the rollout asks for it. */
static status_t ppo_generate_query(void *context, int64_t question, sequence_t *query) {
  const ppo_build_t *build = context;
  (void)query; /* one of the step's, where it goes to */
  return ppo_prompt(build->task, build->step, (int32_t)question);
}

/* What the symbolic rewards read of sample I. */
static status_t ppo_generate_read_response(ppo_task_t *task, ppo_step_t *step, int32_t i) {
  const dataset_sample_t *data = &step->data[i];
  SCOPED_MEMORY char *text = NULL;
  TRY(ppo_prompt(task, step, i));
  TRY(tokenizer_decode(task->source.tokenizer, ppo_response(&step->own, i), step->rollout.lengths[i], &text,
                       NULL));
  step->correct[i] = answer_correct((answer_type_t)data->caption_type, text_view(text));
  step->length_multiplier[i] = data->length_bonus;
  if (data->fact_count > step->fact_width) step->fact_width = data->fact_count;
  return STATUS_OK;
}

/* The ranks of a group share out the texts of its samples, and then all know what is in them. */
static status_t ppo_generate_read_responses(ppo_task_t *task, ppo_step_t *step) {
  const grid_t *grid = &task->session->grid;
  status_code_t status = STATUS_OK;
  for (int32_t k = grid->tp_rank; k < step->own.count && status == STATUS_OK; k += grid->tp_size)
    status = ppo_generate_read_response(task, step, step->own.which[k]);
  TRY(comm_agree(grid->world, status));
  TRY(comm_allreduce(grid->world, step->correct, (size_t)step->n, COMM_F64, COMM_SUM));
  TRY(comm_allreduce(grid->world, step->length_multiplier, (size_t)step->n, COMM_F64, COMM_SUM));
  return comm_allreduce(grid->world, &step->fact_width, 1, COMM_I32, COMM_MAX);
}

/* ---- Prompts whose image is broken ---- */

/* The broken prompts, to WHICH, become the next whole one of the step each. */
static status_t ppo_generate_replace_broken(ppo_task_t *task, ppo_step_t *step, int32_t *which,
                                            int64_t count) {
  int32_t replaced = 0, *broken = step->rollout.broken;
  if (count == step->n)
    return error_set(STATUS_DATA,
                     "the images of all %d prompts of step %lld are broken: make %s again with task "
                     "prepare",
                     step->n, (long long)step->step, dataset_path(task->source.dataset));
  for (int32_t i = 0; i < step->n; i++) {
    if (!broken[i]) continue;
    int32_t whole = i;
    while (broken[whole])
      whole = (whole + 1) % step->n;
    rollout_forget(&step->rollout, i);
    dataset_sample_free(&step->data[i]);
    step->data[i] = (dataset_sample_t){0};
    step->rows[i] = step->rows[whole];
    which[replaced++] = i;
  }
  memset(broken, 0, (size_t)step->n * sizeof *broken);
  return STATUS_OK;
}

/* Answers all prompts that have no answer from before; those whose image proves broken are replaced, and the
 * new ones answered. */
static status_t ppo_generate_answer(ppo_task_t *task, ppo_step_t *step, generator_t *generator) {
  rollout_t *rollout = &step->rollout;
  int32_t *which;
  int64_t count;
  TRY(memory_pool_alloc(&step->pool, &which, (size_t)step->n, sizeof *which));
  TRY(ppo_kept_take(task, step, which, &count));
  if (count > 0) TRY(rollout_run(rollout, generator, &task->policy, count < step->n ? which : NULL, count));
  rollout->kept = NULL; /* what follows answers other prompts than those that the step begins with */
  TRY(rollout_count_broken(rollout, &count));
  while (count > 0) {
    step->skipped += count;
    TRY(comm_agree(task->session->world, ppo_generate_replace_broken(task, step, which, count)));
    TRY(rollout_run(rollout, generator, &task->policy, which, count));
    TRY(rollout_count_broken(rollout, &count));
  }
  return STATUS_OK;
}

prompts_sampling_t ppo_sampling(const settings_t *settings) {
  return (prompts_sampling_t){.sampler = {.temperature = settings->rollout.temperature,
                                          .top_p = settings->rollout.top_p,
                                          .top_k = (int32_t)settings->rollout.top_k,
                                          .seed = (uint64_t)settings->job.seed},
                              .max_tokens = (int32_t)settings->rollout.response_len,
                              .stop_at_question = settings->rollout.stop_at_question};
}

static status_t ppo_generate_open_generator(ppo_task_t *task, generator_t **out) {
  const prompts_sampling_t sampling = ppo_sampling(task->session->settings);
  return rollout_generator(task->session, &task->policy, &task->source, &sampling, task->batch,
                           task->longest_query, out);
}

/* The key-value cache is there while answers are drawn only: updates have its memory for activations. */
static status_t ppo_generate_draw(ppo_task_t *task, ppo_step_t *step) {
  generator_t *generator = NULL;
  TRY(comm_agree(task->session->world, ppo_generate_open_generator(task, &generator)));
  status_code_t status = ppo_generate_answer(task, step, generator);
  generator_free(generator);
  return status;
}

/* ---- The step ---- */

/* Numbered over the whole run: the same prompt is answered anew when it comes again. */
static status_t ppo_generate_open_rollout(ppo_task_t *task, ppo_step_t *step, ppo_build_t *build) {
  int64_t *keys;
  TRY(memory_pool_alloc(&step->pool, &keys, (size_t)step->n, sizeof *keys));
  for (int32_t i = 0; i < step->n; i++)
    keys[i] = (step->step - 1) * step->n + i;
  step->rollout =
      (rollout_t){.session = task->session,
                  .source = &task->source,
                  .models = {&task->model, task->value_model == &task->model ? NULL : task->value_model},
                  .n = step->n,
                  .samples = 1,
                  .rows = step->rows,
                  .keys = keys,
                  .query = ppo_generate_query,
                  .context = build,
                  .keep = true,
                  .scalars = true,
                  .all = step->n};
  return rollout_create(&step->rollout);
}

static status_t ppo_generate_inner(ppo_task_t *task, ppo_step_t *step) {
  TRY(ppo_generate_allocate(task, step));
  ppo_build_t build = {.task = task, .step = step};
  TRY(ppo_generate_open_rollout(task, step, &build));
  TRY(order_rows(&task->order, (step->step - 1) * step->n, step->n, step->rows));
  status_code_t status = ppo_generate_draw(task, step);
  step->rollout.query = NULL;
  step->rollout.context = NULL;
  TRY(status);
  TRY(ppo_generate_settle(task, step));
  TRY(comm_agree(task->session->world, ppo_generate_take_own(task, step)));
  return ppo_generate_read_responses(task, step);
}

status_t ppo_generate(ppo_task_t *task, int64_t step, ppo_step_t *out) {
  *out = (ppo_step_t){.n = task->batch, .step = step, .pool.arena = ARENA_ROLLOUT};
  status_code_t status = ppo_generate_inner(task, out);
  if (status == STATUS_STOPPED) status = ppo_kept_tell(task, out);
  if (status != STATUS_OK) ppo_step_free(out);
  return status;
}

/* ---- Sequences and features for the passes over a step ---- */

status_t ppo_build_response(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  const ppo_build_t *build = context;
  const ppo_step_t *step = build->step;
  int32_t sample = build->which ? build->which[i] : i;
  const sequence_t *query = &step->rollout.queries[sample];
  const int32_t *tokens = ppo_response(build->here, sample);
  TRY(ppo_prompt(build->task, build->step, sample));
  *image = sequence_images(query) > 0 ? sample : -1;
  return sequence_respond(query, tokens ? tokens : step->blank, step->rollout.lengths[sample], sequence);
}

/* The groups that are to work on samples (n), where the sequences of a plan are dealt to GROUP; -1: none. */
static void groups_of_samples(const ppo_step_t *step, const int32_t *group, const int32_t *which,
                              int32_t sequences, int32_t *sample_group) {
  for (int32_t s = 0; s < step->n; s++)
    sample_group[s] = -1;
  for (int32_t i = 0; i < sequences; i++)
    sample_group[which ? which[i] : i] = group[i];
}

static status_t bring_prepare(const ppo_build_t *build, const int32_t *group, int32_t *sample_group) {
  const ppo_step_t *step = build->step;
  groups_of_samples(step, group, build->which, build->n, sample_group);
  return ppo_tokens_create(step->n, step->rollout.lengths, sample_group, build->task->session->grid.dp_rank,
                           build->brought | build->room, build->here);
}

status_t ppo_bring(void *context, const int32_t *group) {
  const ppo_build_t *build = context;
  const ppo_step_t *step = build->step;
  comm_t *dp = build->task->session->grid.dp;
  SCOPED_MEMORY int32_t *sample_group = NULL;
  status_code_t status = memory_alloc(&sample_group, ARENA_ROLLOUT, (size_t)step->n, sizeof *sample_group);
  if (status == STATUS_OK) status = bring_prepare(build, group, sample_group);
  TRY(comm_agree(dp, status));
  return ppo_tokens_send(dp, &step->own, build->brought, sample_group, build->here);
}

/* Sends each sample that this group HOLDS (n) and another works on. */
static status_t ppo_generate_send_features(const grid_t *grid, float *const *holds, size_t bytes,
                                           const int32_t *sample_group, int32_t n, exchange_t *received) {
  int32_t count = 0;
  exchange_item_t *items;
  POOL(pool, ARENA_COMM);
  TRY(memory_pool_alloc(&pool, &items, (size_t)n, sizeof *items));
  for (int32_t s = 0; s < n; s++)
    if (holds[s] && sample_group[s] >= 0 && sample_group[s] != grid->dp_rank)
      items[count++] =
          (exchange_item_t){.id = s, .destination = sample_group[s], .bytes = holds[s], .size = bytes};
  return exchange_items(grid->dp, items, count, received);
}

static status_t ppo_generate_gather_features(ppo_task_t *task, const ppo_step_t *step, const model_t *model,
                                             const int32_t *sample_group, ppo_features_t *out) {
  float *const *holds = step->rollout.features[model == &task->model ? 0 : 1];
  const model_config_t *config = &model->base.config;
  out->per_sample = (size_t)config_patches(config) * (size_t)config->vision_hidden;
  TRY(memory_alloc(&out->by_sample, ARENA_ROLLOUT, (size_t)step->n, sizeof *out->by_sample));
  for (int32_t s = 0; s < step->n; s++)
    out->by_sample[s] = holds[s];
  if (task->session->grid.dp_size == 1) return STATUS_OK;
  exchange_t *received;
  TRY(memory_alloc(&received, ARENA_COMM, 1, sizeof *received));
  out->received = received;
  TRY(ppo_generate_send_features(&task->session->grid, holds, out->per_sample * sizeof(float), sample_group,
                                 step->n, received));
  for (int64_t i = 0; i < received->count; i++)
    out->by_sample[received->items[i].id] = received->items[i].bytes;
  return STATUS_OK;
}

status_t ppo_features_gather(ppo_task_t *task, const ppo_step_t *step, const model_t *model,
                             const plan_t *plan, const int32_t *which, ppo_features_t *out) {
  *out = (ppo_features_t){0};
  SCOPED_MEMORY int32_t *sample_group = NULL;
  TRY(memory_alloc(&sample_group, ARENA_OTHER, (size_t)step->n, sizeof *sample_group));
  groups_of_samples(step, plan->group, which, plan->n, sample_group);
  perf_begin(REGION_EXCHANGE);
  status_code_t status = ppo_generate_gather_features(task, step, model, sample_group, out);
  perf_end(REGION_EXCHANGE);
  if (status != STATUS_OK) ppo_features_free(out);
  return status;
}

void ppo_features_free(ppo_features_t *features) {
  if (features->received) exchange_free(features->received);
  memory_free(features->received);
  memory_free(features->by_sample);
  *features = (ppo_features_t){0};
}

status_t ppo_micro_images(const ppo_features_t *features, const micro_t *micro, pass_images_t *images,
                          float **block) {
  size_t n = features->per_sample;
  *images = (pass_images_t){.count = micro->image_count};
  *block = NULL;
  if (micro->image_count == 0) return STATUS_OK;
  TRY(memory_alloc(block, ARENA_FEATURES, (size_t)micro->image_count * n, sizeof **block));
  for (int32_t i = 0; i < micro->image_count; i++) {
    const float *from = features->by_sample[micro->images[i]];
    if (!from)
      return error_set(STATUS_INTERNAL, "no features of sample %lld on this rank",
                       (long long)micro->images[i]);
    memcpy(*block + (size_t)i * n, from, n * sizeof **block);
  }
  images->features = *block;
  return STATUS_OK;
}

/* Answers to the prompts of one PPO step. */
#include "ppo/ppo_step.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/order.h"
#include "parallel/exchange.h"
#include "perf/perf.h"

#include <stdlib.h>
#include <string.h>

static void free_list(void **list, int32_t n) {
  for (int32_t i = 0; i < n && list; i++)
    memory_free(list[i]);
  memory_free(list);
}

void ppo_step_free(ppo_step_t *step) {
  for (int32_t i = 0; i < step->n; i++) {
    if (step->data) dataset_sample_free(&step->data[i]);
    if (step->queries) sequence_free(&step->queries[i]);
  }
  free_list((void **)step->responses, step->n);
  free_list((void **)step->sampler_logprobs, step->n);
  free_list((void **)step->sampler_entropies, step->n);
  free_list((void **)step->policy_features.by_sample, step->n);
  free_list((void **)step->value_features.by_sample, step->n);
  void *all[] = {step->rows,    step->data,         step->queries,           step->lengths, step->offsets,
                 step->stopped, step->owned,        step->scalars,           step->broken,  step->raw_reward,
                 step->reward,  step->length_bonus, step->length_multiplier, step->correct};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    memory_free(all[i]);
  *step = (ppo_step_t){0};
}

static void init_store(model_t *model, feature_store_t *store) {
  store->model = model;
  store->per_sample = (size_t)config_patches(&model->base.config) * (size_t)model->base.config.vision_hidden;
}

feature_store_t *ppo_store(const ppo_task_t *task, ppo_step_t *step, const model_t *model) {
  return model == &task->model ? &step->policy_features : &step->value_features;
}

static status_t allocate(ppo_task_t *task, ppo_step_t *step) {
  size_t n = (size_t)step->n;
  TRY(memory_alloc(&step->rows, ARENA_ROLLOUT, n, sizeof *step->rows));
  TRY(memory_alloc(&step->data, ARENA_ROLLOUT, n, sizeof *step->data));
  TRY(memory_alloc(&step->queries, ARENA_ROLLOUT, n, sizeof *step->queries));
  TRY(memory_alloc(&step->responses, ARENA_ROLLOUT, n, sizeof *step->responses));
  TRY(memory_alloc(&step->lengths, ARENA_ROLLOUT, n, sizeof *step->lengths));
  TRY(memory_alloc(&step->sampler_logprobs, ARENA_ROLLOUT, n, sizeof *step->sampler_logprobs));
  TRY(memory_alloc(&step->sampler_entropies, ARENA_ROLLOUT, n, sizeof *step->sampler_entropies));
  TRY(memory_alloc(&step->offsets, ARENA_ROLLOUT, n + 1, sizeof *step->offsets));
  TRY(memory_alloc(&step->stopped, ARENA_ROLLOUT, n, sizeof *step->stopped));
  TRY(memory_alloc(&step->owned, ARENA_ROLLOUT, n, sizeof *step->owned));
  TRY(memory_alloc(&step->broken, ARENA_ROLLOUT, n, sizeof *step->broken));
  double **per_sample[] = {&step->raw_reward, &step->reward, &step->length_bonus, &step->length_multiplier,
                           &step->correct};
  for (size_t i = 0; i < sizeof per_sample / sizeof *per_sample; i++)
    TRY(memory_alloc(per_sample[i], ARENA_ROLLOUT, n, sizeof(double)));
  init_store(&task->model, &step->policy_features);
  init_store(task->value_model, &step->value_features);
  TRY(memory_alloc(&step->policy_features.by_sample, ARENA_ROLLOUT, n, sizeof(float *)));
  return memory_alloc(&step->value_features.by_sample, ARENA_ROLLOUT, n, sizeof(float *));
}

/* Text and query of sample I: every rank reads all prompts of a step, which are short. */
static status_t read_prompt(ppo_task_t *task, ppo_step_t *step, int32_t i) {
  const source_t *source = &task->source;
  dataset_sample_t *data = &step->data[i];
  bool fits;
  TRY(dataset_sample_read(source->dataset, step->rows[i], data));
  step->length_multiplier[i] = data->length_bonus;
  TRY(conversation_query(source->tokenizer, source->template, &data->conversation, 0,
                         (int32_t)task->session->settings->data.query_len, &step->queries[i], &fits));
  if (!fits)
    return error_set(STATUS_INTERNAL, "a query that is too long was not dropped: row %lld",
                     (long long)step->rows[i]);
  if (sequence_images(&step->queries[i]) > 0 && data->image < 0)
    return error_set(STATUS_DATA,
                     "%s: the prompt of row %lld has an image place but no image: prepare the dataset again",
                     dataset_path(source->dataset), (long long)step->rows[i]);
  return STATUS_OK;
}

/* ---- Generation ---- */

typedef struct {
  ppo_task_t *task;
  ppo_step_t *step;
  int32_t done;   /* responses of this group */
  int32_t *which; /* samples to answer: item i of the queue is which[i]; NULL: sample i */
} rollout_t;

static int32_t sample_of(const rollout_t *rollout, int64_t item) {
  return rollout->which ? rollout->which[item] : (int32_t)item;
}

/* Patches of the images of samples WITH (count), freed by the caller; marks those whose image is broken. */
static status_t load_patches(ppo_task_t *task, ppo_step_t *step, const model_config_t *config,
                             const int32_t *with, int32_t count, float **patches) {
  int64_t *images;
  TRY(memory_alloc(&images, ARENA_OTHER, (size_t)count, sizeof *images + sizeof(int32_t)));
  int32_t *broken = (int32_t *)(images + count);
  for (int32_t i = 0; i < count; i++)
    images[i] = step->data[with[i]].image;
  status_code_t status = source_load(&task->source, config, images, count, patches, broken);
  for (int32_t i = 0; i < count && status == STATUS_OK; i++)
    if (broken[i]) step->broken[with[i]] = 1;
  memory_free(images);
  return status;
}

/* Features of the prompts WITH (count) under MODEL's tower, to its store. Collective on tp. */
static status_t store_features(ppo_task_t *task, ppo_step_t *step, model_t *model, const int32_t *with,
                               int32_t count) {
  feature_store_t *store = ppo_store(task, step, model);
  float *patches = NULL, *features = NULL;
  status_code_t status = load_patches(task, step, &model->base.config, with, count, &patches);
  if (status == STATUS_OK)
    status = memory_alloc(&features, ARENA_FEATURES, (size_t)count * store->per_sample, sizeof *features);
  if (status == STATUS_OK) status = pass_features(model->pass, count, patches, features);
  for (int32_t i = 0; i < count && status == STATUS_OK; i++) {
    float **place = &store->by_sample[with[i]];
    status = memory_alloc(place, ARENA_FEATURES, store->per_sample, sizeof(float));
    if (status == STATUS_OK)
      memcpy(*place, features + (size_t)i * store->per_sample, store->per_sample * sizeof(float));
  }
  memory_free(features);
  memory_free(patches);
  return status;
}

static status_t load(void *context, const int64_t *prompts, int32_t n) {
  rollout_t *rollout = context;
  ppo_task_t *task = rollout->task;
  int32_t *with, count = 0;
  TRY(memory_alloc(&with, ARENA_OTHER, (size_t)n, sizeof *with));
  for (int32_t i = 0; i < n; i++) {
    int32_t sample = sample_of(rollout, prompts[i]);
    rollout->step->owned[sample] = 1;
    if (sequence_images(&rollout->step->queries[sample]) > 0) with[count++] = sample;
  }
  status_code_t status = STATUS_OK;
  if (count > 0) status = store_features(task, rollout->step, &task->model, with, count);
  if (count > 0 && status == STATUS_OK && task->value_model != &task->model)
    status = store_features(task, rollout->step, task->value_model, with, count);
  memory_free(with);
  return status;
}

static status_t get(void *context, int64_t item, generator_prompt_t *out) {
  const rollout_t *rollout = context;
  const ppo_step_t *step = rollout->step;
  int32_t prompt = sample_of(rollout, item);
  const sequence_t *query = &step->queries[prompt];
  /* Numbered over the whole run: the same prompt is answered anew when it comes again. */
  *out = (generator_prompt_t){.sample = (step->step - 1) * step->n + prompt,
                              .tokens = query->tokens,
                              .n = query->n,
                              .features = step->policy_features.by_sample[prompt]};
  return STATUS_OK;
}

/* The groups work at their own pace: what all have done is guessed from this one's, and never the whole
 * before it is OVER. */
static void show_progress(const rollout_t *rollout, bool over) {
  const session_t *session = rollout->task->session;
  int32_t n = rollout->step->n, done = rollout->done * session->grid.dp_size;
  if (session->dry) return;
  if (done >= n) done = n - 1;
  log_progress("answers", over ? n : done, n, "answers", NULL);
}

static status_t put(void *context, const generator_response_t *response) {
  rollout_t *rollout = context;
  ppo_step_t *step = rollout->step;
  int32_t i = sample_of(rollout, response->prompt);
  size_t n = (size_t)response->n;
  TRY(memory_alloc(&step->responses[i], ARENA_ROLLOUT, n, sizeof **step->responses));
  TRY(memory_alloc(&step->sampler_logprobs[i], ARENA_ROLLOUT, n, sizeof(double)));
  TRY(memory_alloc(&step->sampler_entropies[i], ARENA_ROLLOUT, n, sizeof(double)));
  memcpy(step->responses[i], response->tokens, n * sizeof(int32_t));
  memcpy(step->sampler_logprobs[i], response->logprobs, n * sizeof(double));
  memcpy(step->sampler_entropies[i], response->entropies, n * sizeof(double));
  step->lengths[i] = response->n;
  rollout->done++;
  show_progress(rollout, false);
  return STATUS_OK;
}

static bool stop(void *context) {
  const rollout_t *rollout = context;
  return session_wish(rollout->task->session, 0.0);
}

/* ---- Making samples known to all ranks ---- */

/* Offsets, and one block for the scalars of all tokens. */
static status_t lay_out(ppo_step_t *step) {
  for (int32_t i = 0; i < step->n; i++)
    step->offsets[i + 1] = step->offsets[i] + step->lengths[i];
  size_t tokens = (size_t)step->offsets[step->n];
  double **arrays[] = {&step->sampler_logprob, &step->logprob, &step->entropy, &step->ref_logprob,
                       &step->ref_entropy,     &step->value,   &step->kl,      &step->shaped_reward,
                       &step->advantage,       &step->ret};
  enum { ARRAYS = sizeof arrays / sizeof *arrays };
  TRY(memory_alloc(&step->scalars, ARENA_ROLLOUT, ARRAYS * tokens, sizeof(double)));
  for (size_t a = 0; a < ARRAYS; a++)
    *arrays[a] = step->scalars + a * tokens;
  return STATUS_OK;
}

/* Each group fills in its own tokens; the sum over groups is the whole. */
static status_t share_tokens(ppo_task_t *task, ppo_step_t *step) {
  comm_t *dp = task->session->grid.dp;
  size_t tokens = (size_t)step->offsets[step->n];
  int32_t *all;
  TRY(memory_alloc(&all, ARENA_ROLLOUT, tokens, sizeof *all));
  for (int32_t i = 0; i < step->n; i++) {
    if (!step->owned[i]) continue;
    size_t n = (size_t)step->lengths[i];
    memcpy(all + step->offsets[i], step->responses[i], n * sizeof *all);
    memcpy(step->sampler_logprob + step->offsets[i], step->sampler_logprobs[i], n * sizeof(double));
    memcpy(step->entropy + step->offsets[i], step->sampler_entropies[i], n * sizeof(double));
  }
  status_code_t status = comm_allreduce(dp, all, tokens, COMM_I32, COMM_SUM);
  if (status == STATUS_OK) status = comm_allreduce(dp, step->sampler_logprob, tokens, COMM_F64, COMM_SUM);
  if (status == STATUS_OK) status = comm_allreduce(dp, step->entropy, tokens, COMM_F64, COMM_SUM);
  for (int32_t i = 0; i < step->n && status == STATUS_OK; i++) {
    if (step->owned[i]) continue;
    status = memory_alloc(&step->responses[i], ARENA_ROLLOUT, (size_t)step->lengths[i], sizeof(int32_t));
    if (status == STATUS_OK)
      memcpy(step->responses[i], all + step->offsets[i], (size_t)step->lengths[i] * sizeof(int32_t));
  }
  memory_free(all);
  return status;
}

/* What the symbolic rewards read of each response. */
static status_t read_responses(ppo_task_t *task, ppo_step_t *step) {
  for (int32_t i = 0; i < step->n; i++) {
    int32_t length = step->lengths[i];
    char *text;
    step->stopped[i] = length > 0 && response_completes(&task->end, step->responses[i][length - 1]);
    TRY(tokenizer_decode(task->source.tokenizer, step->responses[i], length, &text, NULL));
    step->correct[i] = answer_correct((answer_type_t)step->data[i].caption_type, text_view(text));
    memory_free(text);
  }
  return STATUS_OK;
}

static status_t gather(ppo_task_t *task, ppo_step_t *step) {
  TRY(comm_allreduce(task->session->grid.dp, step->lengths, (size_t)step->n, COMM_I32, COMM_SUM));
  TRY(lay_out(step));
  TRY(share_tokens(task, step));
  return read_responses(task, step);
}

/* ---- Prompts whose image is broken ---- */

/* Forgets the answer to prompt I and everything else that is known of it. */
static void forget(ppo_step_t *step, int32_t i) {
  void **lists[] = {(void **)step->responses, (void **)step->sampler_logprobs,
                    (void **)step->sampler_entropies, (void **)step->policy_features.by_sample,
                    (void **)step->value_features.by_sample};
  for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
    memory_free(lists[l][i]);
    lists[l][i] = NULL;
  }
  dataset_sample_free(&step->data[i]);
  step->data[i] = (dataset_sample_t){0};
  sequence_free(&step->queries[i]);
  step->queries[i] = (sequence_t){0};
  step->lengths[i] = 0;
  step->owned[i] = 0;
}

/* The broken prompts, to WHICH, become the next whole one of the step each. */
static status_t replace_broken(ppo_task_t *task, ppo_step_t *step, int32_t *which, int32_t count) {
  int32_t replaced = 0;
  if (count == step->n)
    return error_set(STATUS_DATA,
                     "the images of all %d prompts of step %lld are broken: make %s again with task "
                     "prepare",
                     step->n, (long long)step->step, dataset_path(task->source.dataset));
  for (int32_t i = 0; i < step->n; i++) {
    if (!step->broken[i]) continue;
    int32_t whole = i;
    while (step->broken[whole])
      whole = (whole + 1) % step->n;
    forget(step, i);
    step->rows[i] = step->rows[whole];
    TRY(read_prompt(task, step, i));
    which[replaced++] = i;
  }
  memset(step->broken, 0, (size_t)step->n * sizeof *step->broken);
  return STATUS_OK;
}

/* Makes the broken prompts known to all ranks; *COUNT of them. */
static status_t count_broken(ppo_task_t *task, ppo_step_t *step, int32_t *count) {
  *count = 0;
  if (!task->source.skip_bad) return STATUS_OK;
  TRY(comm_allreduce(task->session->grid.dp, step->broken, (size_t)step->n, COMM_I32, COMM_MAX));
  for (int32_t i = 0; i < step->n; i++)
    *count += step->broken[i];
  return STATUS_OK;
}

/* Answers all prompts; those whose image proves broken are replaced, and the new ones answered. */
static status_t answer(rollout_t *rollout) {
  ppo_task_t *task = rollout->task;
  ppo_step_t *step = rollout->step;
  const generator_source_t source = {.context = rollout, .load = load, .get = get, .put = put, .stop = stop};
  int32_t count;
  TRY(generator_run(task->generator, &task->policy, step->n, &source));
  show_progress(rollout, true);
  TRY(count_broken(task, step, &count));
  if (count == 0) return STATUS_OK;
  TRY(memory_alloc(&rollout->which, ARENA_ROLLOUT, (size_t)step->n, sizeof *rollout->which));
  while (count > 0) {
    step->skipped += count;
    TRY(comm_agree(task->session->world, replace_broken(task, step, rollout->which, count)));
    TRY(generator_run(task->generator, &task->policy, count, &source));
    TRY(count_broken(task, step, &count));
  }
  return STATUS_OK;
}

static status_t generate(ppo_task_t *task, ppo_step_t *step) {
  TRY(allocate(task, step));
  TRY(order_rows(&task->order, (step->step - 1) * step->n, step->n, step->rows));
  status_code_t status = STATUS_OK;
  for (int32_t i = 0; i < step->n && status == STATUS_OK; i++)
    status = read_prompt(task, step, i);
  TRY(comm_agree(task->session->world, status));
  rollout_t rollout = {.task = task, .step = step};
  status = answer(&rollout);
  memory_free(rollout.which);
  TRY(status);
  return gather(task, step);
}

status_t ppo_generate(ppo_task_t *task, int64_t step, ppo_step_t *out) {
  *out = (ppo_step_t){.n = task->batch, .step = step};
  status_code_t status = generate(task, out);
  if (status != STATUS_OK) ppo_step_free(out);
  return status;
}

/* ---- Sequences and features for the passes over a step ---- */

status_t ppo_build_response(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  const ppo_build_t *build = context;
  const ppo_step_t *step = build->step;
  int32_t sample = build->which ? build->which[i] : i;
  const sequence_t *query = &step->queries[sample];
  *image = sequence_images(query) > 0 ? sample : -1;
  return sequence_respond(query, step->responses[sample], step->lengths[sample], sequence);
}

/* Sends each sample that this group holds and another works on. */
static status_t send_features(ppo_task_t *task, const feature_store_t *store, exchange_item_t *items,
                              const int32_t *sample_group, int32_t n, exchange_t *received) {
  int32_t count = 0;
  const grid_t *grid = &task->session->grid;
  for (int32_t s = 0; s < n; s++)
    if (store->by_sample[s] && sample_group[s] >= 0 && sample_group[s] != grid->dp_rank)
      items[count++] = (exchange_item_t){.id = s,
                                         .destination = sample_group[s],
                                         .bytes = store->by_sample[s],
                                         .size = store->per_sample * sizeof(float)};
  return exchange_items(grid->dp, items, count, received);
}

static status_t gather_features(ppo_task_t *task, const ppo_step_t *step, const feature_store_t *store,
                                const int32_t *sample_group, ppo_features_t *out) {
  TRY(memory_alloc(&out->by_sample, ARENA_ROLLOUT, (size_t)step->n, sizeof *out->by_sample));
  for (int32_t s = 0; s < step->n; s++)
    out->by_sample[s] = store->by_sample[s];
  if (task->session->grid.dp_size == 1) return STATUS_OK;
  exchange_item_t *items;
  exchange_t *received;
  TRY(memory_alloc(&received, ARENA_COMM, 1, sizeof *received));
  out->received = received;
  TRY(memory_alloc(&items, ARENA_COMM, (size_t)step->n, sizeof *items));
  status_code_t status = send_features(task, store, items, sample_group, step->n, received);
  memory_free(items);
  TRY(status);
  for (int64_t i = 0; i < received->count; i++)
    out->by_sample[received->items[i].id] = received->items[i].bytes;
  return STATUS_OK;
}

status_t ppo_features_gather(ppo_task_t *task, const ppo_step_t *step, const feature_store_t *store,
                             const plan_t *plan, const int32_t *which, ppo_features_t *out) {
  *out = (ppo_features_t){0};
  int32_t *sample_group;
  TRY(memory_alloc(&sample_group, ARENA_OTHER, (size_t)step->n, sizeof *sample_group));
  for (int32_t s = 0; s < step->n; s++)
    sample_group[s] = -1;
  for (int32_t i = 0; i < plan->n; i++)
    sample_group[which ? which[i] : i] = plan->group[i];
  perf_begin(REGION_EXCHANGE);
  status_code_t status = gather_features(task, step, store, sample_group, out);
  perf_end(REGION_EXCHANGE);
  memory_free(sample_group);
  if (status != STATUS_OK) ppo_features_free(out);
  return status;
}

void ppo_features_free(ppo_features_t *features) {
  if (features->received) exchange_free(features->received);
  memory_free(features->received);
  memory_free(features->by_sample);
  *features = (ppo_features_t){0};
}

status_t ppo_micro_images(const feature_store_t *store, const ppo_features_t *features, const micro_t *micro,
                          pass_images_t *images, float **block) {
  size_t n = store->per_sample;
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

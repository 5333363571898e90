#include "rollout/rollout.h"

#include "base/log.h"
#include "base/memory.h"
#include "rollout/rollout_kept.h"

#include <string.h>

enum { MOST_SLOTS = 64 }; /* of a dp group, where rollout.slots does not say */

/* ---- The generator ---- */

int32_t rollout_slots(const session_t *session, int64_t responses) {
  int64_t slots = session->settings->rollout.slots, groups = session->grid.dp_size;
  int64_t per_group = (responses + groups - 1) / groups;
  if (slots == 0) slots = MOST_SLOTS;
  return (int32_t)(slots < per_group ? slots : per_group);
}

/* Bytes that a generator's cache may take on every rank of a tp group, whose ranks hold the same pages: of
 * those that are free and those of the activations. 0: no bound is known. Collective on tp. */
static status_t rollout_cache_bytes(const session_t *session, const pass_t *pass, size_t *bytes) {
  size_t free_bytes = device_free_memory(session->device, session->grid.node_size);
  double allowed = free_bytes == 0 ? 0.0
                                   : session->settings->rollout.cache_fraction *
                                         ((double)free_bytes + (double)pass_memory(pass));
  TRY(comm_allreduce(session->grid.tp, &allowed, 1, COMM_F64, COMM_MIN));
  *bytes = (size_t)allowed;
  return STATUS_OK;
}

status_t rollout_generator(const session_t *session, const role_t *role, const source_t *source,
                           const prompts_sampling_t *sampling, int64_t responses, int32_t longest,
                           generator_t **out) {
  const settings_t *settings = session->settings;
  sampler_options_t sampler = sampling->sampler;
  size_t cache_bytes;
  TRY(rollout_cache_bytes(session, session->pass, &cache_bytes));
  sampler.drawable = tokenizer_drawable(source->tokenizer, &sampler.ranges);
  const generator_options_t options = {
      .sampler = sampler,
      .max_tokens = sampling->max_tokens,
      .slots = rollout_slots(session, responses),
      .page_size = (int32_t)settings->rollout.page,
      .longest_query = longest,
      .prefill_tokens = settings->optim.micro_tokens,
      .deterministic = settings->job.deterministic,
      .end = response_end(source->tokenizer, source->template, sampling->stop_at_question)};
  return generator_create(session->pass, role, &options, cache_bytes, out);
}

/* ---- Questions ---- */

status_t rollout_create(rollout_t *rollout) {
  memory_pool_t *pool = &rollout->pool;
  size_t n = (size_t)rollout->n, responses = n * (size_t)rollout->samples;
  pool->arena = rollout->own.arena = ARENA_ROLLOUT;
  TRY(memory_pool_alloc(pool, &rollout->queries, n, sizeof *rollout->queries));
  TRY(memory_pool_alloc(pool, &rollout->broken, n, sizeof *rollout->broken));
  TRY(memory_pool_alloc(pool, &rollout->waiting, n, sizeof *rollout->waiting));
  TRY(memory_pool_alloc(pool, &rollout->ahead.questions, n, sizeof *rollout->ahead.questions));
  for (int m = 0; m < ROLLOUT_MODELS; m++)
    TRY(memory_pool_alloc(pool, &rollout->features[m], n, sizeof(float *)));
  TRY(memory_pool_alloc(pool, &rollout->mine, responses, sizeof *rollout->mine));
  TRY(memory_pool_alloc(pool, &rollout->lengths, responses, sizeof *rollout->lengths));
  TRY(memory_pool_alloc(pool, &rollout->stopped, responses, sizeof *rollout->stopped));
  TRY(memory_pool_alloc(pool, &rollout->offsets, responses + 1, sizeof *rollout->offsets));
  TRY(memory_pool_alloc(&rollout->own, &rollout->own_tokens, responses, sizeof(int32_t *)));
  return memory_pool_alloc(&rollout->own, &rollout->own_scalars, responses, sizeof(double *));
}

/* Its query and features; the responses stay. */
static void forget_question(rollout_t *rollout, int64_t question) {
  sequence_free(&rollout->queries[question]);
  rollout->queries[question] = (sequence_t){0};
  for (int m = 0; m < ROLLOUT_MODELS; m++) {
    memory_free(rollout->features[m][question]);
    rollout->features[m][question] = NULL;
  }
}

void rollout_forget(rollout_t *rollout, int64_t question) {
  forget_question(rollout, question);
  for (int64_t i = question * rollout->samples; i < (question + 1) * rollout->samples; i++)
    rollout->mine[i] = rollout->lengths[i] = rollout->stopped[i] = 0;
}

void rollout_free(rollout_t *rollout) {
  for (int64_t q = 0; q < rollout->n && rollout->features[ROLLOUT_MODELS - 1]; q++)
    forget_question(rollout, q);
  for (int m = 0; m < ROLLOUT_MODELS; m++)
    if (rollout->ahead.tickets[m]) loader_release(rollout->source->loader, rollout->ahead.tickets[m]);
  memory_pool_free(&rollout->own);
  memory_pool_free(&rollout->pool);
  *rollout = (rollout_t){0};
}

/* ---- What the generator asks for ---- */

/* Response that item ITEM of the queue is. */
static int64_t response_of(const rollout_t *rollout, int64_t item) {
  return rollout->which ? rollout->which[item] : item;
}

/* Images of QUESTIONS (count) to IMAGES. */
static void images_of(const rollout_t *rollout, const int64_t *questions, int32_t count, int64_t *images) {
  for (int32_t i = 0; i < count; i++)
    images[i] = dataset_sample_image(rollout->source->dataset, rollout->rows[questions[i]]);
}

/* Patches of the images of QUESTIONS (count) for MODEL, which were asked for by TICKET, freed by the caller;
 * marks the questions whose image is broken.
 */
static status_t rollout_load_patches(rollout_t *rollout, const model_t *model, const int64_t *questions,
                                     int32_t count, loader_ticket_t *ticket, float **patches) {
  int64_t *images;
  int32_t *broken;
  POOL(pool, ARENA_OTHER);
  TRY(memory_pool_alloc(&pool, &images, (size_t)count, sizeof *images));
  TRY(memory_pool_alloc(&pool, &broken, (size_t)count, sizeof *broken));
  images_of(rollout, questions, count, images);
  TRY(source_patches(rollout->source, &model->base.config, ticket, images, count, patches, broken));
  for (int32_t i = 0; i < count; i++)
    if (broken[i]) rollout->broken[questions[i]] = 1;
  return STATUS_OK;
}

/* Features of QUESTIONS (count), which all have an image, under the tower of model M. Collective on tp. */
static status_t rollout_load_features(rollout_t *rollout, int m, const int64_t *questions, int32_t count) {
  const model_t *model = rollout->models[m];
  const model_config_t *config = &model->base.config;
  size_t per_image = (size_t)config_patches(config) * (size_t)config->vision_hidden;
  float *patches = NULL, *features = NULL;
  loader_ticket_t **ticket = &rollout->ahead.tickets[m];
  status_code_t status = rollout_load_patches(rollout, model, questions, count, *ticket, &patches);
  loader_release(rollout->source->loader, *ticket);
  *ticket = NULL;
  if (status == STATUS_OK)
    status = memory_alloc(&features, ARENA_FEATURES, (size_t)count * per_image, sizeof *features);
  if (status == STATUS_OK) status = pass_features(model->pass, &model->base, count, patches, features);
  for (int32_t i = 0; i < count && status == STATUS_OK; i++) {
    float **place = &rollout->features[m][questions[i]];
    status = memory_alloc(place, ARENA_FEATURES, per_image, sizeof(float));
    if (status == STATUS_OK) memcpy(*place, features + (size_t)i * per_image, per_image * sizeof(float));
  }
  memory_free(features);
  memory_free(patches);
  return status;
}

/* Queries of the questions that ITEMS (n) are the first to ask for; those with images are noted. */
static status_t rollout_make_queries(rollout_t *rollout, const int64_t *items, int32_t n) {
  rollout_ahead_t *ahead = &rollout->ahead;
  ahead->count = 0;
  for (int32_t i = 0; i < n; i++) {
    int64_t question = response_of(rollout, items[i]) / rollout->samples;
    if (rollout->waiting[question]++ > 0) continue;
    if (rollout->query) TRY(rollout->query(rollout->context, question, &rollout->queries[question]));
    if (sequence_images(&rollout->queries[question]) > 0) ahead->questions[ahead->count++] = question;
  }
  return STATUS_OK;
}

/* Asks for the images of the questions that are noted. */
static status_t rollout_ask(rollout_t *rollout) {
  rollout_ahead_t *ahead = &rollout->ahead;
  int64_t *images;
  POOL(pool, ARENA_OTHER);
  if (ahead->count == 0) return STATUS_OK;
  TRY(memory_pool_alloc(&pool, &images, (size_t)ahead->count, sizeof *images));
  images_of(rollout, ahead->questions, ahead->count, images);
  for (int m = 0; m < ROLLOUT_MODELS; m++)
    if (rollout->models[m])
      TRY(source_request(rollout->source, &rollout->models[m]->base.config, images, ahead->count,
                         &ahead->tickets[m]));
  return STATUS_OK;
}

/* Images are decoded while the responses before them are drawn. */
static status_t rollout_request(void *context, const int64_t *items, int32_t n) {
  rollout_t *rollout = context;
  TRY(rollout_make_queries(rollout, items, n));
  return rollout_ask(rollout);
}

/* Features of what was asked for. */
static status_t rollout_look(rollout_t *rollout) {
  const rollout_ahead_t *ahead = &rollout->ahead;
  for (int m = 0; m < ROLLOUT_MODELS && ahead->count > 0; m++)
    if (rollout->models[m]) TRY(rollout_load_features(rollout, m, ahead->questions, ahead->count));
  return STATUS_OK;
}

static status_t rollout_load(void *context, const int64_t *items, int32_t n) {
  (void)items;
  (void)n;
  return rollout_look(context);
}

/* As many images at once as where responses are drawn. */
status_t rollout_look_again(rollout_t *rollout) {
  rollout_ahead_t *ahead = &rollout->ahead;
  int64_t responses = rollout->n * rollout->samples, q = 0;
  int32_t most = rollout_slots(rollout->session, responses);
  while (q < rollout->n) {
    for (ahead->count = 0; q < rollout->n && ahead->count < most; q++)
      if (rollout->mine[q * rollout->samples] && sequence_images(&rollout->queries[q]) > 0)
        ahead->questions[ahead->count++] = q;
    TRY(rollout_ask(rollout));
    TRY(rollout_look(rollout));
  }
  return STATUS_OK;
}

static status_t rollout_get(void *context, int64_t item, generator_prompt_t *out) {
  const rollout_t *rollout = context;
  int64_t response = response_of(rollout, item), question = response / rollout->samples;
  const sequence_t *query = &rollout->queries[question];
  *out = (generator_prompt_t){.sample = rollout->keys[question] + response % rollout->samples,
                              .question = question,
                              .tokens = query->tokens,
                              .n = query->n,
                              .features = rollout->features[0][question]};
  return STATUS_OK;
}

/* The groups work at their own pace: what all have done is guessed from this one's, and never the whole
 * before it is OVER. */
static void rollout_show_progress(const rollout_t *rollout, bool over) {
  int64_t end = rollout->before + rollout->n * rollout->samples;
  int64_t done = rollout->before + rollout->done * rollout->session->grid.dp_size;
  if (rollout->session->dry) return;
  if (done >= end) done = end - 1;
  log_progress("answers", over ? end : done, rollout->all, "answers", NULL);
}

status_t rollout_adopt(rollout_t *rollout, int64_t i, const generator_response_t *response) {
  size_t n = (size_t)response->n;
  TRY(memory_pool_alloc(&rollout->own, &rollout->own_tokens[i], n, sizeof(int32_t)));
  memcpy(rollout->own_tokens[i], response->tokens, n * sizeof(int32_t));
  if (rollout->scalars) {
    TRY(memory_pool_alloc(&rollout->own, &rollout->own_scalars[i], 2 * n, sizeof(double)));
    memcpy(rollout->own_scalars[i], response->logprobs, n * sizeof(double));
    memcpy(rollout->own_scalars[i] + n, response->entropies, n * sizeof(double));
  }
  rollout->mine[i] = 1;
  rollout->lengths[i] = response->n;
  rollout->stopped[i] = response->stopped;
  rollout->done++;
  return STATUS_OK;
}

static status_t rollout_put(void *context, const generator_response_t *response) {
  rollout_t *rollout = context;
  int64_t i = response_of(rollout, response->prompt), question = i / rollout->samples;
  TRY(rollout_adopt(rollout, i, response));
  TRY(rollout_keep(rollout, i, response));
  if (--rollout->waiting[question] == 0 && !rollout->keep) forget_question(rollout, question);
  rollout_show_progress(rollout, false);
  return STATUS_OK;
}

static bool rollout_stop(void *context) {
  const rollout_t *rollout = context;
  return session_stop_requested(rollout->session, 0.0);
}

status_t rollout_run(rollout_t *rollout, generator_t *generator, const role_t *role, const int32_t *which,
                     int64_t count) {
  const generator_source_t source = {.context = rollout,
                                     .together = which ? 1 : rollout->samples,
                                     .request = rollout_request,
                                     .load = rollout_load,
                                     .get = rollout_get,
                                     .put = rollout_put,
                                     .stop = rollout_stop};
  bool first = !rollout->ran;
  rollout->which = which;
  rollout->ran = true;
  if (first) rollout_show_progress(rollout, false);
  TRY(generator_run(generator, role, count, &source));
  if (first) rollout_show_progress(rollout, true);
  return STATUS_OK;
}

/* ---- Making responses known to all ranks ---- */

status_t rollout_count_broken(rollout_t *rollout, int64_t *count) {
  *count = 0;
  if (!rollout->source->skip_bad) return STATUS_OK;
  TRY(comm_allreduce(rollout->session->grid.dp, rollout->broken, (size_t)rollout->n, COMM_I32, COMM_MAX));
  for (int64_t q = 0; q < rollout->n; q++)
    *count += rollout->broken[q];
  return STATUS_OK;
}

generator_response_t rollout_response(const rollout_t *rollout, int64_t i) {
  int32_t n = rollout->lengths[i];
  generator_response_t response = {.prompt = i, .n = n, .stopped = rollout->stopped[i] != 0};
  int64_t at = rollout->offsets[i];
  response.tokens = rollout->tokens ? rollout->tokens + at : rollout->own_tokens[i];
  if (!rollout->scalars) return response;
  response.logprobs = rollout->tokens ? rollout->logprobs + at : rollout->own_scalars[i];
  response.entropies = rollout->tokens ? rollout->entropies + at : rollout->own_scalars[i] + n;
  return response;
}

/* Copies this group's responses to their places among all. */
static void place_own(rollout_t *rollout) {
  for (int64_t i = 0; i < rollout->n * rollout->samples; i++) {
    if (!rollout->mine[i]) continue;
    size_t n = (size_t)rollout->lengths[i];
    memcpy(rollout->tokens + rollout->offsets[i], rollout->own_tokens[i], n * sizeof(int32_t));
    if (!rollout->scalars) continue;
    memcpy(rollout->logprobs + rollout->offsets[i], rollout->own_scalars[i], n * sizeof(double));
    memcpy(rollout->entropies + rollout->offsets[i], rollout->own_scalars[i] + n, n * sizeof(double));
  }
  rollout_drop_responses(rollout);
}

void rollout_drop_responses(rollout_t *rollout) {
  memory_pool_free(&rollout->own);
  rollout->own_tokens = NULL;
  rollout->own_scalars = NULL;
}

/* Each group fills in its own; the sum over groups is the whole. */
status_t rollout_share_lengths(rollout_t *rollout) {
  comm_t *dp = rollout->session->grid.dp;
  int64_t n = rollout->n * rollout->samples;
  TRY(comm_allreduce(dp, rollout->lengths, (size_t)n, COMM_I32, COMM_SUM));
  TRY(comm_allreduce(dp, rollout->stopped, (size_t)n, COMM_I32, COMM_SUM));
  for (int64_t i = 0; i < n; i++)
    rollout->offsets[i + 1] = rollout->offsets[i] + rollout->lengths[i];
  return STATUS_OK;
}

status_t rollout_share(rollout_t *rollout) {
  comm_t *dp = rollout->session->grid.dp;
  TRY(rollout_share_lengths(rollout));
  size_t tokens = (size_t)rollout->offsets[rollout->n * rollout->samples];
  TRY(memory_pool_alloc(&rollout->pool, &rollout->tokens, tokens, sizeof *rollout->tokens));
  if (rollout->scalars) {
    TRY(memory_pool_alloc(&rollout->pool, &rollout->logprobs, tokens, sizeof(double)));
    TRY(memory_pool_alloc(&rollout->pool, &rollout->entropies, tokens, sizeof(double)));
  }
  place_own(rollout);
  TRY(comm_allreduce(dp, rollout->tokens, tokens, COMM_I32, COMM_SUM));
  if (!rollout->scalars) return STATUS_OK;
  TRY(comm_allreduce(dp, rollout->logprobs, tokens, COMM_F64, COMM_SUM));
  return comm_allreduce(dp, rollout->entropies, tokens, COMM_F64, COMM_SUM);
}

#include "rollout/prompt_set.h"

#include "base/memory.h"

#include <string.h>

static status_t compute_features(tiny_t *model, prompt_set_t *set) {
  const model_config_t *config = &model->base.config;
  set->per_image = (size_t)config_patches(config) * (size_t)config->vision_hidden;
  TRY(memory_alloc(&set->features, ARENA_OTHER, 2 * set->per_image, sizeof *set->features));
  return pass_features(model->pass, &model->base, 2, model->patches, set->features);
}

status_t prompt_set_create(tiny_t *model, prompt_set_t *out) {
  *out = (prompt_set_t){0};
  for (int32_t i = 0; i < PROMPTS; i++) {
    out->lengths[i] = 1 + (i * 3) % PROMPT_MAX;
    out->image[i] = i % 3 == 2 ? -1 : i % 2;
    for (int32_t t = 0; t < out->lengths[i]; t++)
      out->tokens[i][t] = (11 * i + 5 * t + 1) % model->base.config.vocab;
    if (out->image[i] >= 0) out->tokens[i][out->lengths[i] / 2] = TOKEN_IMAGE;
  }
  status_code_t status = compute_features(model, out);
  if (status != STATUS_OK) prompt_set_free(out);
  return status;
}

void prompt_set_free(prompt_set_t *set) {
  memory_free(set->features);
}

void prompt_set_clear(prompt_set_t *set) {
  memset(set->loaded, 0, sizeof set->loaded);
  memset(set->answered, 0, sizeof set->answered);
  memset(set->responses, 0, sizeof set->responses);
  set->looks = 0;
}

static status_t load(void *context, const int64_t *prompts, int32_t n) {
  prompt_set_t *set = context;
  for (int32_t i = 0; i < n; i++) {
    if (prompts[i] < 0 || prompts[i] >= PROMPTS || set->loaded[prompts[i]])
      return error_set(STATUS_INTERNAL, "prompt %lld was asked for twice", (long long)prompts[i]);
    set->loaded[prompts[i]] = true;
  }
  return STATUS_OK;
}

static status_t get(void *context, int64_t prompt, generator_prompt_t *out) {
  prompt_set_t *set = context;
  if (!set->loaded[prompt] || set->answered[prompt])
    return error_set(STATUS_INTERNAL, "prompt %lld was not loaded", (long long)prompt);
  int64_t first = set->together > 0 ? prompt - prompt % set->together : prompt;
  *out = (generator_prompt_t){.sample = 100 + prompt,
                              .question = set->apart ? prompt : first,
                              .tokens = set->tokens[first],
                              .n = set->lengths[first]};
  if (set->image[first] >= 0) out->features = set->features + (size_t)set->image[first] * set->per_image;
  return STATUS_OK;
}

static status_t put(void *context, const generator_response_t *response) {
  prompt_set_t *set = context;
  response_t *to = &set->responses[response->prompt];
  if (!set->loaded[response->prompt] || set->answered[response->prompt]++ || response->n > RESPONSE_MAX)
    return error_set(STATUS_INTERNAL, "prompt %lld got an answer that nobody waits for",
                     (long long)response->prompt);
  to->n = response->n;
  to->stopped = response->stopped;
  memcpy(to->tokens, response->tokens, (size_t)response->n * sizeof *to->tokens);
  memcpy(to->logprobs, response->logprobs, (size_t)response->n * sizeof *to->logprobs);
  memcpy(to->entropies, response->entropies, (size_t)response->n * sizeof *to->entropies);
  return STATUS_OK;
}

static bool stop(void *context) {
  prompt_set_t *set = context;
  return ++set->looks == set->stop_at;
}

generator_source_t prompt_set_source(prompt_set_t *set) {
  return (generator_source_t){
      .context = set, .together = set->together, .load = load, .get = get, .put = put, .stop = stop};
}

status_t prompt_set_share(prompt_set_t *set, const grid_t *grid) {
  TRY(comm_allreduce(grid->dp, set->answered, PROMPTS, COMM_I32, COMM_SUM));
  for (int32_t i = 0; i < PROMPTS; i++) {
    if (set->answered[i] != 1)
      return error_set(STATUS_INTERNAL, "prompt %d was answered %d times", i, set->answered[i]);
    /* Bytes that all but one group have as zeros. */
    int32_t owner = set->loaded[i] ? grid->dp_rank : 0;
    TRY(comm_allreduce(grid->dp, &owner, 1, COMM_I32, COMM_MAX));
    TRY(comm_broadcast(grid->dp, &set->responses[i], sizeof set->responses[i], COMM_BYTE, owner));
  }
  return STATUS_OK;
}

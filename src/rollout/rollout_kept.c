#include "rollout/rollout_kept.h"

#include "base/log.h"
#include "base/memory.h"
#include "session/identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- What they depend on ---- */

static status_t sampling_identity(const prompts_sampling_t *sampling, text_buffer_t *text) {
  char lines[512];
  const sampler_options_t *sampler = &sampling->sampler;
  snprintf(lines, sizeof lines,
           "job.seed = %" PRIu64 "\nmax_tokens = %d\ntemperature = %.15g\ntop_p = %.15g\ntop_k = %d\n"
           "greedy = %d\nstop_at_question = %d\n",
           sampler->seed, sampling->max_tokens, sampler->temperature, sampler->top_p, sampler->top_k,
           sampler->greedy, sampling->stop_at_question);
  return text_buffer_append_string(text, lines);
}

status_t rollout_identity(session_t *session, const model_t *model, const role_t *role,
                          const source_t *source, const prompts_sampling_t *sampling, text_buffer_t *text) {
  TRY(identity_add_role(session, model, role, text));
  status_code_t status = identity_add_source(session, source, text);
  if (status == STATUS_OK) status = sampling_identity(sampling, text);
  return comm_agree(session->world, status);
}

/* ---- One response ---- */

/* A response as it is kept: this, its tokens, and where they are wanted its scalars. */
typedef struct {
  int32_t n, stopped;
} kept_response_t;

static size_t response_bytes(const rollout_t *rollout, int32_t n) {
  size_t scalars = rollout->scalars ? 2 * sizeof(double) : 0;
  return sizeof(kept_response_t) + (size_t)n * (scalars + sizeof(int32_t));
}

static int64_t key_of(const rollout_t *rollout, int64_t i) {
  return rollout->keys[i / rollout->samples] + i % rollout->samples;
}

/* The scalars come first, where they are aligned. */
static void response_pack(const rollout_t *rollout, const generator_response_t *response, char *bytes) {
  const kept_response_t head = {response->n, response->stopped};
  size_t n = (size_t)response->n;
  memcpy(bytes, &head, sizeof head);
  bytes += sizeof head;
  if (rollout->scalars) {
    memcpy(bytes, response->logprobs, n * sizeof(double));
    memcpy(bytes + n * sizeof(double), response->entropies, n * sizeof(double));
    bytes += 2 * n * sizeof(double);
  }
  memcpy(bytes, response->tokens, n * sizeof(int32_t));
}

static status_t response_put(const rollout_t *rollout, int64_t i, const generator_response_t *response) {
  SCOPED_MEMORY char *bytes = NULL;
  size_t size = response_bytes(rollout, response->n);
  TRY(memory_alloc(&bytes, ARENA_IO, size, 1));
  response_pack(rollout, response, bytes);
  kept_append(rollout->kept, key_of(rollout, i), bytes, size);
  return STATUS_OK;
}

status_t rollout_keep(const rollout_t *rollout, int64_t i, const generator_response_t *response) {
  if (!rollout->kept || rollout->broken[i / rollout->samples]) return STATUS_OK;
  return response_put(rollout, i, response);
}

/* ---- Taking them over ---- */

static status_t response_take(rollout_t *rollout, const exchange_received_t *item) {
  const char *bytes = item->bytes;
  kept_response_t head = {0};
  if (item->size >= sizeof head) memcpy(&head, bytes, sizeof head);
  if (head.n < 1 || item->size != response_bytes(rollout, head.n))
    return error_set(STATUS_INTERNAL, "a kept answer of %zu bytes says that it has %d tokens", item->size,
                     head.n);
  const char *scalars = bytes + sizeof head, *tokens = scalars;
  if (rollout->scalars) tokens += 2 * (size_t)head.n * sizeof(double);
  generator_response_t response = {.prompt = item->id, .n = head.n, .stopped = head.stopped != 0};
  response.tokens = (const int32_t *)(const void *)tokens;
  response.logprobs = (const double *)(const void *)scalars;
  response.entropies = response.logprobs + head.n;
  return rollout_adopt(rollout, item->id, &response);
}

static status_t responses_take(rollout_t *rollout, kept_loaded_t *loaded, const int32_t *owner) {
  exchange_t received;
  status_code_t status = STATUS_OK;
  TRY(kept_deal(loaded, owner, &received));
  for (int64_t k = 0; k < received.count && status == STATUS_OK; k++)
    status = response_take(rollout, &received.items[k]);
  exchange_free(&received);
  return status;
}

status_t rollout_take_kept(rollout_t *rollout, int32_t *which, int64_t *count) {
  SCOPED(kept_loaded_free) kept_loaded_t loaded = {0};
  int64_t n = rollout->n * rollout->samples, taken = 0, *keys = NULL;
  int32_t *owner = NULL;
  POOL(pool, ARENA_ROLLOUT);
  status_code_t status = memory_pool_alloc(&pool, &keys, (size_t)n, sizeof *keys);
  if (status == STATUS_OK) status = memory_pool_alloc(&pool, &owner, (size_t)n, sizeof *owner);
  TRY(comm_agree(rollout->session->world, status));
  *count = n;
  for (int64_t i = 0; i < n; i++) {
    keys[i] = key_of(rollout, i);
    which[i] = (int32_t)i;
  }
  if (kept_found(rollout->kept) == 0) return STATUS_OK;
  TRY(kept_load(rollout->kept, keys, n, &loaded));
  for (int64_t i = *count = 0; i < n; i++)
    if (loaded.there[i])
      owner[i] = (int32_t)(taken++ % rollout->session->grid.dp_size);
    else
      which[(*count)++] = (int32_t)i;
  return comm_agree(rollout->session->world, responses_take(rollout, &loaded, owner));
}

#include "ppo/ppo_file.h"

#include "base/memory.h"
#include "io/formats/rollout_file.h"
#include "perf/perf.h"
#include "session/estimate.h"
#include "text/buffer.h"
#include "text/judging.h"

#include <stdio.h>
#include <string.h>

/* Sizes of what this rank writes. */
typedef struct {
  int64_t samples, query_tokens, response_tokens;
  int64_t fact_width;
} ppo_file_sizes_t;

/* The first rank of a group writes the group's samples. */
static bool ppo_file_writes(const ppo_task_t *task, const ppo_step_t *step, int32_t i) {
  return task->session->grid.tp_rank == 0 && step->rollout.mine[i];
}

static ppo_file_sizes_t ppo_file_measure(const ppo_task_t *task, const ppo_step_t *step) {
  ppo_file_sizes_t sizes = {.fact_width = step->fact_width};
  for (int32_t i = 0; i < step->n; i++) {
    if (!ppo_file_writes(task, step, i)) continue;
    sizes.samples++;
    sizes.query_tokens += step->rollout.queries[i].n;
    sizes.response_tokens += step->rollout.lengths[i];
  }
  return sizes;
}

static status_t ppo_file_allocate(const ppo_file_sizes_t *sizes, memory_pool_t *pool, rollout_file_t *file) {
  size_t n = (size_t)sizes->samples, tokens = (size_t)sizes->response_tokens;
  file->fact_width = sizes->fact_width;
  const struct {
    void *field;
    size_t count, size;
  } blocks[] = {{&file->index, n, sizeof *file->index},
                {&file->query_offsets, n + 1, sizeof *file->query_offsets},
                {&file->query_tokens, (size_t)sizes->query_tokens, sizeof *file->query_tokens},
                {&file->response_offsets, n + 1, sizeof *file->response_offsets},
                {&file->response_tokens, tokens, sizeof *file->response_tokens},
                {&file->id, n, sizeof *file->id},
                {&file->image, n, sizeof *file->image},
                {&file->answer_type, n, sizeof *file->answer_type},
                {&file->raw_reward, n, sizeof(float)},
                {&file->reward, n, sizeof(float)},
                {&file->length_bonus, n, sizeof(float)},
                {&file->length_multiplier, n, sizeof(float)},
                {&file->correct, n, sizeof(float)},
                {&file->stopped, n, sizeof *file->stopped},
                {&file->fact_order, n * (size_t)sizes->fact_width, sizeof *file->fact_order},
                {&file->query_text_offsets, n + 1, sizeof *file->query_text_offsets},
                {&file->response_text_offsets, n + 1, sizeof *file->response_text_offsets}};
  for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++)
    TRY(memory_pool_alloc(pool, blocks[b].field, blocks[b].count, blocks[b].size));
  for (int t = 0; t < ROLLOUT_TOKEN_COUNT; t++)
    TRY(memory_pool_alloc(pool, &file->token[t], tokens, sizeof(float)));
  return STATUS_OK;
}

static void ppo_file_add_numbers(const ppo_step_t *step, int32_t i, rollout_file_t *file, int64_t k) {
  file->index[k] = i;
  file->id[k] = step->rows[i];
  file->image[k] = step->data[i].image;
  file->answer_type[k] = step->data[i].caption_type;
  file->raw_reward[k] = (float)step->raw_reward[i];
  file->reward[k] = (float)step->reward[i];
  file->length_bonus[k] = (float)step->length_bonus[i];
  file->length_multiplier[k] = (float)step->length_multiplier[i];
  file->correct[k] = (float)step->correct[i];
  file->stopped[k] = step->stopped[i];
}

/* The order in which the reward model read the facts: drawn as build_judged of ppo_score.c does. */
static void ppo_file_add_fact_order(const ppo_task_t *task, const ppo_step_t *step, int32_t i,
                                    rollout_file_t *file, int64_t k) {
  int32_t *order = file->fact_order + k * file->fact_width, count = step->data[i].fact_count;
  for (int64_t f = 0; f < file->fact_width; f++)
    order[f] = -1;
  if (task->reward_prompt.facts)
    judging_facts_order(task->reward_prompt.seed, (uint64_t)step->rows[i], (uint64_t)step->step, count,
                        order);
}

static void ppo_file_add_tokens(const ppo_step_t *step, int32_t i, rollout_file_t *file, int64_t k) {
  int64_t query = file->query_offsets[k], response = file->response_offsets[k];
  memcpy(file->query_tokens + query, step->rollout.queries[i].tokens,
         (size_t)step->rollout.queries[i].n * sizeof(int32_t));
  memcpy(file->response_tokens + response, ppo_response(&step->own, i),
         (size_t)step->rollout.lengths[i] * sizeof(int32_t));
  for (int t = 0; t < ROLLOUT_TOKEN_COUNT; t++)
    for (int32_t p = 0; p < step->rollout.lengths[i]; p++)
      file->token[t][response + p] = (float)step->own.numbers[t][step->own.at[i] + p];
  file->query_offsets[k + 1] = query + step->rollout.queries[i].n;
  file->response_offsets[k + 1] = response + step->rollout.lengths[i];
}

static status_t ppo_file_add_text(const tokenizer_t *tokenizer, const int32_t *tokens, int32_t n,
                                  text_buffer_t *buffer, int64_t *end) {
  char *text;
  TRY(tokenizer_decode(tokenizer, tokens, n, &text, NULL));
  status_code_t status = text_buffer_append_string(buffer, text);
  memory_free(text);
  *end = (int64_t)buffer->n;
  return status;
}

static status_t ppo_file_fill(const ppo_task_t *task, const ppo_step_t *step, memory_pool_t *pool,
                              rollout_file_t *file, text_buffer_t *queries, text_buffer_t *responses) {
  ppo_file_sizes_t sizes = ppo_file_measure(task, step);
  TRY(ppo_file_allocate(&sizes, pool, file));
  for (int32_t i = 0; i < step->n; i++) {
    if (!ppo_file_writes(task, step, i)) continue;
    int64_t k = file->samples++;
    ppo_file_add_numbers(step, i, file, k);
    ppo_file_add_fact_order(task, step, i, file, k);
    ppo_file_add_tokens(step, i, file, k);
    TRY(ppo_file_add_text(task->source.tokenizer, step->rollout.queries[i].tokens, step->rollout.queries[i].n,
                          queries, &file->query_text_offsets[k + 1]));
    TRY(ppo_file_add_text(task->source.tokenizer, ppo_response(&step->own, i), step->rollout.lengths[i],
                          responses, &file->response_text_offsets[k + 1]));
  }
  file->query_text = queries->bytes;
  file->response_text = responses->bytes;
  return STATUS_OK;
}

static status_t ppo_file_write_file(ppo_task_t *task, const ppo_step_t *step, const rollout_file_t *file) {
  session_t *session = task->session;
  char path[FILE_MAX_PATH], hash[17], *settings;
  uint64_t identity;
  TRY(rollout_file_path(path, session->run_dir, step->step));
  TRY(store_params_identity(session->world, "/adapters/policy/", &task->policy_adapter.params, &identity));
  snprintf(hash, sizeof hash, "%016llx", (unsigned long long)identity);
  TRY(comm_agree(session->world, settings_text(session->settings, &settings)));
  const rollout_info_t info = {.step = step->step, .policy_hash = hash, .settings = settings};
  status_code_t status = rollout_file_write(session->world, path, &info, file);
  memory_free(settings);
  return status;
}

/* About what the file of STEP takes; texts have about four bytes a token, HDF5 and the attributes (the
 * settings are one) their own. */
static int64_t file_bytes(const ppo_step_t *step) {
  enum { OWN_BYTES = 16 << 10, TOKEN_BYTES = 4, SAMPLE_BYTES = 73, FACT_BYTES = 4 };
  int64_t bytes = OWN_BYTES;
  for (int32_t i = 0; i < step->n; i++) {
    bytes += (step->rollout.queries[i].n + (int64_t)step->rollout.lengths[i]) * 2 * TOKEN_BYTES +
             (int64_t)step->rollout.lengths[i] * ROLLOUT_TOKEN_COUNT * (int64_t)sizeof(float);
  }
  return bytes + (int64_t)step->n * (SAMPLE_BYTES + FACT_BYTES * step->fact_width);
}

/* Reads all prompts, whose lengths the file's size is made of. */
static status_t ppo_file_estimate(ppo_task_t *task, ppo_step_t *step) {
  for (int32_t i = 0; i < step->n; i++)
    TRY(ppo_prompt(task, step, i));
  task->session->dry->rollout = file_bytes(step);
  return STATUS_OK;
}

status_t ppo_file_write(ppo_task_t *task, ppo_step_t *step) {
  rollout_file_t file = {0};
  text_buffer_t queries = {0}, responses = {0};
  if (task->session->dry) return comm_agree(task->session->world, ppo_file_estimate(task, step));
  POOL(pool, ARENA_ROLLOUT);
  perf_begin(REGION_ROLLOUT_WRITE);
  status_code_t status =
      comm_agree(task->session->world, ppo_file_fill(task, step, &pool, &file, &queries, &responses));
  if (status == STATUS_OK) status = ppo_file_write_file(task, step, &file);
  text_buffer_free(&queries);
  text_buffer_free(&responses);
  perf_end(REGION_ROLLOUT_WRITE);
  return status;
}

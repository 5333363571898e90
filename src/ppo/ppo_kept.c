#include "ppo/ppo_kept.h"

#include "base/log.h"
#include "io/formats/responses_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- What they were drawn from ---- */

enum { IDENTITY_MOST = 2048 };

/* All that makes a response besides its place and its row. Collective. */
static status_t kept_identity(const ppo_task_t *task, int64_t step, char identity[IDENTITY_MOST]) {
  const session_t *session = task->session;
  const settings_t *settings = session->settings;
  uint64_t policy;
  TRY(store_params_identity(session->world, "/adapters/policy/", &task->policy_adapter.params, &policy));
  snprintf(identity, IDENTITY_MOST,
           "step = %" PRId64 "\npolicy = %016" PRIx64 "\nmodel.base = %016" PRIx64
           "\nmodel.base_format = %s\nparallel.device = %s\nparallel.dtype = %s\ndata.dataset = %016" PRIx64
           "\nmodel.template = %s\ndata.query_len = %" PRId64 "\njob.seed = %" PRId64
           "\nrollout.batch = %" PRId64 "\nrollout.response_len = %" PRId64
           "\nrollout.temperature = %.15g\nrollout.top_p = %.15g\nrollout.top_k = %" PRId64
           "\nrollout.stop_at_question = %d\n",
           step, policy, task->model.info.identity, settings->model.base_format, session->device->name,
           settings->parallel.dtype, dataset_info(task->source.dataset).identity, settings->model.template,
           settings->data.query_len, settings->job.seed, settings->rollout.batch,
           settings->rollout.response_len, settings->rollout.temperature, settings->rollout.top_p,
           settings->rollout.top_k, settings->rollout.stop_at_question);
  return STATUS_OK;
}

/* ---- The file ---- */

static status_t remove_file(const char *path) {
  if (unlink(path) == 0 || errno == ENOENT) return STATUS_OK;
  return error_set(STATUS_DATA, "%s cannot be removed: %s", path, strerror(errno));
}

status_t ppo_kept_drop(ppo_task_t *task) {
  comm_t *world = task->session->world;
  char path[FILE_MAX_PATH];
  if (!task->kept) return STATUS_OK;
  task->kept = false;
  TRY(responses_file_path(path, task->session->run_dir));
  return comm_agree(world, comm_rank(world) == 0 ? remove_file(path) : STATUS_OK);
}

/* Whether there is a file; what a start that was killed in writing one left goes. Collective. */
static status_t kept_find(ppo_task_t *task, const char *path) {
  comm_t *world = task->session->world;
  char partial[FILE_MAX_PATH];
  bool first = comm_rank(world) == 0;
  TRY(file_partial(partial, path));
  TRY(comm_agree(world, first ? remove_file(partial) : STATUS_OK));
  return comm_any(world, first && file_exists(path), &task->kept);
}

/* ---- Taking ---- */

/* Gives this group its share of the responses of FILE. TAKEN (step->n): 1 for all that some group gets. */
static status_t kept_deal(const ppo_task_t *task, ppo_step_t *step, const responses_file_t *file,
                          bool *taken) {
  const grid_t *grid = &task->session->grid;
  int64_t dealt = 0;
  for (int64_t k = 0; k < file->samples; k++) {
    int64_t i = file->response[k], at = file->offsets[k];
    if (i < 0 || i >= step->n || taken[i] || file->row[k] != step->rows[i]) continue;
    taken[i] = true;
    if (dealt++ % grid->dp_size != grid->dp_rank) continue;
    const generator_response_t response = {.prompt = i,
                                           .tokens = file->tokens + at,
                                           .n = (int32_t)(file->offsets[k + 1] - at),
                                           .logprobs = file->logprob + at,
                                           .entropies = file->entropy + at,
                                           .stopped = file->stopped[k] != 0};
    TRY(rollout_adopt(&step->rollout, i, &response));
  }
  return STATUS_OK;
}

/* The file's responses to STEP, unless the file is not fit. Collective. */
static status_t kept_read(ppo_task_t *task, ppo_step_t *step, const char *path, bool *taken) {
  comm_t *world = task->session->world;
  SCOPED(responses_file_free) responses_file_t file = {0};
  char identity[IDENTITY_MOST];
  TRY(kept_identity(task, step->step, identity));
  status_code_t status = comm_agree(world, responses_file_read(path, identity, &file));
  if (status == STATUS_DATA) {
    log_info("kept       nothing, and the file is removed: %s", error_message());
    error_clear();
    return ppo_kept_drop(task);
  }
  TRY(status);
  TRY(comm_agree(world, kept_deal(task, step, &file, taken)));
  return comm_agree(world, rollout_look_again(&step->rollout));
}

status_t ppo_kept_take(ppo_task_t *task, ppo_step_t *step, int32_t *which, int64_t *count) {
  char path[FILE_MAX_PATH];
  bool *taken;
  TRY(memory_pool_alloc(&step->pool, &taken, (size_t)step->n, sizeof *taken));
  TRY(responses_file_path(path, task->session->run_dir));
  if (!task->began) TRY(kept_find(task, path));
  task->began = true;
  if (task->kept) TRY(kept_read(task, step, path, taken));
  *count = 0;
  for (int32_t i = 0; i < step->n; i++)
    if (!taken[i]) which[(*count)++] = i;
  step->taken = step->n - *count;
  if (step->taken > 0)
    log_info("kept       %" PRId64 " of %d responses of step %" PRId64 " are those of the start before",
             step->taken, step->n, step->step);
  return STATUS_OK;
}

/* ---- Keeping ---- */

static status_t kept_allocate(const ppo_step_t *step, memory_pool_t *pool, responses_file_t *file) {
  size_t n = (size_t)step->n, tokens = 0;
  for (int32_t i = 0; i < step->n; i++)
    if (step->rollout.mine[i]) tokens += (size_t)step->rollout.lengths[i];
  TRY(memory_pool_alloc(pool, &file->index, n, sizeof *file->index));
  TRY(memory_pool_alloc(pool, &file->response, n, sizeof *file->response));
  TRY(memory_pool_alloc(pool, &file->row, n, sizeof *file->row));
  TRY(memory_pool_alloc(pool, &file->offsets, n + 1, sizeof *file->offsets));
  TRY(memory_pool_alloc(pool, &file->stopped, n, sizeof *file->stopped));
  TRY(memory_pool_alloc(pool, &file->tokens, tokens, sizeof *file->tokens));
  TRY(memory_pool_alloc(pool, &file->logprob, tokens, sizeof(double)));
  return memory_pool_alloc(pool, &file->entropy, tokens, sizeof(double));
}

static void kept_add(const ppo_step_t *step, int32_t i, int64_t index, responses_file_t *file) {
  const generator_response_t response = rollout_response(&step->rollout, i);
  int64_t k = file->samples++, at = file->offsets[k];
  size_t n = (size_t)response.n;
  file->index[k] = index;
  file->response[k] = i;
  file->row[k] = step->rows[i];
  file->stopped[k] = response.stopped;
  file->offsets[k + 1] = at + response.n;
  memcpy(file->tokens + at, response.tokens, n * sizeof *file->tokens);
  memcpy(file->logprob + at, response.logprobs, n * sizeof(double));
  memcpy(file->entropy + at, response.entropies, n * sizeof(double));
}

/* This rank's responses to FILE; *TOTAL of all ranks. Those to a broken image are not what the step will
 * have. Collective. */
static status_t kept_collect(const ppo_task_t *task, const ppo_step_t *step, memory_pool_t *pool,
                             responses_file_t *file, int64_t *total) {
  const grid_t *grid = &task->session->grid;
  const rollout_t *rollout = &step->rollout;
  int32_t *there = NULL;
  *total = 0;
  status_code_t status = kept_allocate(step, pool, file);
  if (status == STATUS_OK) status = memory_pool_alloc(pool, &there, (size_t)step->n, sizeof *there);
  TRY(comm_agree(task->session->world, status));
  for (int32_t i = 0; i < step->n; i++)
    there[i] = rollout->mine[i] && !rollout->broken[i];
  TRY(comm_allreduce(grid->dp, there, (size_t)step->n, COMM_I32, COMM_SUM));
  for (int32_t i = 0; i < step->n; i++) {
    if (!there[i]) continue;
    if (rollout->mine[i] && grid->tp_rank == 0) kept_add(step, i, *total, file);
    ++*total;
  }
  return STATUS_OK;
}

static status_t kept_write(ppo_task_t *task, const ppo_step_t *step, int64_t *total) {
  responses_file_t file = {0};
  char path[FILE_MAX_PATH], identity[IDENTITY_MOST];
  POOL(pool, ARENA_ROLLOUT);
  TRY(kept_collect(task, step, &pool, &file, total));
  if (*total <= step->taken) return STATUS_OK;
  TRY(kept_identity(task, step->step, identity));
  TRY(responses_file_path(path, task->session->run_dir));
  TRY(responses_file_write(task->session->world, path, identity, &file));
  task->gained = true;
  return STATUS_OK;
}

status_t ppo_kept_write(ppo_task_t *task, const ppo_step_t *step) {
  int64_t total;
  status_code_t status = kept_write(task, step, &total);
  if (status == STATUS_DATA) {
    if (comm_rank(task->session->world) == 0) log_warning("%s", error_message());
    error_clear();
    return STATUS_STOPPED;
  }
  TRY(status);
  if (total > 0)
    log_info("kept       %" PRId64 " of %d responses of step %" PRId64 " for the next start", total, step->n,
             step->step);
  return STATUS_STOPPED;
}

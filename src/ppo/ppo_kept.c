#include "ppo/ppo_kept.h"

#include "base/log.h"
#include "base/memory.h"
#include "rollout/rollout_kept.h"
#include "session/identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The place of a response among those of the run is its key; its row follows from the rest. */
static status_t kept_identity(ppo_task_t *task, const ppo_step_t *step, text_buffer_t *text) {
  char lines[160];
  const settings_t *settings = task->session->settings;
  const prompts_sampling_t sampling = ppo_sampling(settings);
  snprintf(lines, sizeof lines,
           "step = %" PRId64 "\nrollout.batch = %" PRId64 "\ndata.query_len = %" PRId64 "\n", step->step,
           settings->rollout.batch, settings->data.query_len);
  TRY(comm_agree(task->session->world, text_buffer_append_string(text, lines)));
  return rollout_identity(task->session, &task->model, &task->policy, &task->source, &sampling, text);
}

static status_t kept_begin(ppo_task_t *task, ppo_step_t *step) {
  SCOPED(text_buffer_free) text_buffer_t identity = {0};
  char path[FILE_MAX_PATH];
  if (task->session->dry) return STATUS_OK;
  TRY(session_path(task->session, "interrupted_step", path));
  TRY(kept_identity(task, step, &identity));
  TRY(identity_keep(task->session, &task->model, path, "answers", &identity, true, &step->kept));
  step->rollout.kept = step->kept;
  return STATUS_OK;
}

/* The questions that this group has answered before: as if it had answered them now. */
static status_t kept_look(ppo_task_t *task, ppo_step_t *step) {
  for (int32_t i = 0; i < step->n; i++)
    if (step->rollout.mine[i]) TRY(ppo_prompt(task, step, i));
  return rollout_look_again(&step->rollout);
}

status_t ppo_kept_take(ppo_task_t *task, ppo_step_t *step, int32_t *which, int64_t *count) {
  TRY(kept_begin(task, step));
  TRY(rollout_take_kept(&step->rollout, which, count));
  int64_t taken = step->n - *count;
  if (taken == 0) return STATUS_OK;
  log_info("kept       %" PRId64 " of %d responses of step %" PRId64 " are those of the start before", taken,
           step->n, step->step);
  return comm_agree(task->session->world, kept_look(task, step));
}

/* ---- What they are worth ---- */

/* What the numbers depend on beside the tokens that they are of. Value and policy are trained together. */
static status_t scores_identity(ppo_task_t *task, const ppo_step_t *step, text_buffer_t *text) {
  char lines[256];
  const settings_t *settings = task->session->settings;
  snprintf(lines, sizeof lines,
           "step = %" PRId64 "\nrollout.temperature = %.15g\nppo.old_logprob = %s\nreward.model = %016" PRIx64
           "\nreference = %016" PRIx64 "\n",
           step->step, settings->rollout.temperature, settings->ppo.old_logprob, task->judge_identity,
           task->reference_identity);
  status_code_t status = text_buffer_append_string(text, lines);
  if (status == STATUS_OK) status = identity_add_source(task->session, &task->source, text);
  TRY(comm_agree(task->session->world, status));
  TRY(identity_add_role(task->session, &task->model, &task->policy, text));
  TRY(identity_add_role(task->session, task->value_model, &task->value, text));
  return comm_agree(task->session->world, identity_add_judging(&task->reward_prompt, text));
}

status_t ppo_scores_open(ppo_task_t *task, ppo_step_t *step) {
  SCOPED(text_buffer_free) text_buffer_t identity = {0};
  char path[FILE_MAX_PATH];
  if (task->session->dry) return STATUS_OK;
  TRY(session_path(task->session, "interrupted_scores", path));
  TRY(scores_identity(task, step, &identity));
  return identity_keep(task->session, &task->model, path, "scores of responses", &identity, true,
                       &step->scores);
}

static int64_t scores_key(const ppo_numbers_t *numbers, int32_t i) {
  return PPO_SCORES * (int64_t)i + (int64_t)numbers->of;
}

/* Of sample I's row, query and response. */
static uint64_t tokens_identity(const ppo_step_t *step, int32_t i) {
  const sequence_t *query = &step->rollout.queries[i];
  uint64_t identity = weights_identity_add(WEIGHTS_IDENTITY_START, (uint64_t)step->rows[i]);
  for (int32_t t = 0; t < query->n; t++)
    identity = weights_identity_add(identity, (uint64_t)query->tokens[t]);
  for (int32_t t = 0; t < step->rollout.lengths[i]; t++)
    identity = weights_identity_add(identity, (uint64_t)ppo_response(step, i)[t]);
  return identity;
}

/* As they are kept: the identity of their tokens, then the numbers. */
static size_t numbers_bytes(const ppo_step_t *step, const ppo_numbers_t *numbers, int32_t i) {
  size_t tokens = (size_t)step->rollout.lengths[i] * (size_t)numbers->arrays;
  return sizeof(uint64_t) + (tokens + (numbers->per_sample ? 1 : 0)) * sizeof(double);
}

static void numbers_put(const ppo_step_t *step, const ppo_numbers_t *numbers, int32_t i, const char *from) {
  size_t n = (size_t)step->rollout.lengths[i] * sizeof(double);
  from += sizeof(uint64_t);
  for (int32_t a = 0; a < numbers->arrays; a++, from += n)
    memcpy(numbers->per_token[a] + step->rollout.offsets[i], from, n);
  if (numbers->per_sample) memcpy(&numbers->per_sample[i], from, sizeof(double));
}

static void numbers_take(const ppo_step_t *step, const ppo_numbers_t *numbers, int32_t i, char *to) {
  size_t n = (size_t)step->rollout.lengths[i] * sizeof(double);
  uint64_t identity = tokens_identity(step, i);
  memcpy(to, &identity, sizeof identity);
  to += sizeof identity;
  for (int32_t a = 0; a < numbers->arrays; a++, to += n)
    memcpy(to, numbers->per_token[a] + step->rollout.offsets[i], n);
  if (numbers->per_sample) memcpy(to, &numbers->per_sample[i], sizeof(double));
}

static bool scores_fit(const ppo_step_t *step, const ppo_numbers_t *numbers,
                       const exchange_received_t *item) {
  int32_t i = (int32_t)item->id;
  uint64_t identity;
  if (item->size != numbers_bytes(step, numbers, i)) return false;
  memcpy(&identity, item->bytes, sizeof identity);
  return identity == tokens_identity(step, i);
}

static status_t scores_deal(const ppo_step_t *step, const plan_t *plan, const ppo_numbers_t *numbers,
                            kept_loaded_t *loaded, bool *there) {
  exchange_t received;
  TRY(kept_deal(loaded, plan->group, &received));
  for (int64_t k = 0; k < received.count; k++) {
    const exchange_received_t *item = &received.items[k];
    there[item->id] = scores_fit(step, numbers, item);
    if (there[item->id]) numbers_put(step, numbers, (int32_t)item->id, item->bytes);
  }
  exchange_free(&received);
  return STATUS_OK;
}

status_t ppo_scores_take(const ppo_task_t *task, const ppo_step_t *step, const plan_t *plan,
                         const ppo_numbers_t *numbers, bool *there) {
  SCOPED(kept_loaded_free) kept_loaded_t loaded = {0};
  SCOPED_MEMORY int64_t *keys = NULL;
  if (kept_found(step->scores) == 0) return STATUS_OK;
  TRY(comm_agree(task->session->world, memory_alloc(&keys, ARENA_ROLLOUT, (size_t)plan->n, sizeof *keys)));
  for (int32_t i = 0; i < plan->n; i++)
    keys[i] = scores_key(numbers, i);
  TRY(kept_load(step->scores, keys, plan->n, &loaded));
  return comm_agree(task->session->world, scores_deal(step, plan, numbers, &loaded, there));
}

status_t ppo_scores_keep(const ppo_step_t *step, const plan_t *plan, int32_t index, const bool *there,
                         const ppo_numbers_t *numbers) {
  for (int32_t i = 0; i < plan->n && step->scores; i++) {
    SCOPED_MEMORY char *bytes = NULL;
    if (plan->micro[i] != index || there[i]) continue;
    size_t n = numbers_bytes(step, numbers, i);
    TRY(memory_alloc(&bytes, ARENA_IO, n, 1));
    numbers_take(step, numbers, i, bytes);
    kept_append(step->scores, scores_key(numbers, i), bytes, n);
  }
  return STATUS_OK;
}

status_t ppo_kept_tell(ppo_task_t *task, const ppo_step_t *step) {
  int64_t passes = task->value_model == &task->model ? PPO_SCORES - 1 : PPO_SCORES;
  TRY(kept_tell(step->kept, step->n, &task->session->gained));
  TRY(kept_tell(step->scores, step->n * passes, &task->session->gained));
  return STATUS_STOPPED;
}

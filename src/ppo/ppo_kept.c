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

int ppo_numbers_arrays(const ppo_numbers_t *numbers) {
  int arrays = 0;
  for (int32_t a = 0; a < numbers->arrays; a++)
    arrays |= 1 << numbers->per_token[a];
  return arrays;
}

static int64_t scores_key(const ppo_numbers_t *numbers, int32_t i) {
  return PPO_SCORES * (int64_t)i + (int64_t)numbers->of;
}

/* Samples that a group works on, and the numbers that are kept of them. */
typedef struct {
  const ppo_step_t *step;
  const ppo_tokens_t *here;
  const ppo_numbers_t *numbers;
} scores_t;

/* Of sample I's row, query and response. */
static uint64_t tokens_identity(const scores_t *scores, int32_t i) {
  const ppo_step_t *step = scores->step;
  const sequence_t *query = &step->rollout.queries[i];
  const int32_t *response = ppo_response(scores->here, i);
  uint64_t identity = weights_identity_add(WEIGHTS_IDENTITY_START, (uint64_t)step->rows[i]);
  for (int32_t t = 0; t < query->n; t++)
    identity = weights_identity_add(identity, (uint64_t)query->tokens[t]);
  for (int32_t t = 0; t < step->rollout.lengths[i]; t++)
    identity = weights_identity_add(identity, (uint64_t)response[t]);
  return identity;
}

static size_t array_bytes(const scores_t *scores, int32_t i) {
  return (size_t)scores->step->rollout.lengths[i] * sizeof(double);
}

/* Where array A has sample I's numbers. */
static double *array_of(const scores_t *scores, int32_t a, int32_t i) {
  return scores->here->numbers[scores->numbers->per_token[a]] + scores->here->at[i];
}

/* As they are kept: the identity of their tokens, then the numbers. */
static size_t numbers_bytes(const scores_t *scores, int32_t i) {
  size_t per_sample = scores->numbers->per_sample ? sizeof(double) : 0;
  return sizeof(uint64_t) + array_bytes(scores, i) * (size_t)scores->numbers->arrays + per_sample;
}

static void numbers_put(const scores_t *scores, int32_t i, const char *from) {
  const ppo_numbers_t *numbers = scores->numbers;
  size_t n = array_bytes(scores, i);
  from += sizeof(uint64_t);
  for (int32_t a = 0; a < numbers->arrays; a++, from += n)
    memcpy(array_of(scores, a, i), from, n);
  if (numbers->per_sample) memcpy(&numbers->per_sample[i], from, sizeof(double));
}

static void numbers_take(const scores_t *scores, int32_t i, char *to) {
  const ppo_numbers_t *numbers = scores->numbers;
  size_t n = array_bytes(scores, i);
  uint64_t identity = tokens_identity(scores, i);
  memcpy(to, &identity, sizeof identity);
  to += sizeof identity;
  for (int32_t a = 0; a < numbers->arrays; a++, to += n)
    memcpy(to, array_of(scores, a, i), n);
  if (numbers->per_sample) memcpy(to, &numbers->per_sample[i], sizeof(double));
}

static bool scores_fit(const scores_t *scores, const exchange_received_t *item) {
  int32_t i = (int32_t)item->id;
  uint64_t identity;
  if (item->size != numbers_bytes(scores, i)) return false;
  memcpy(&identity, item->bytes, sizeof identity);
  return identity == tokens_identity(scores, i);
}

static status_t scores_deal(const scores_t *scores, const plan_t *plan, kept_loaded_t *loaded, bool *there) {
  exchange_t received;
  TRY(kept_deal(loaded, plan->group, &received));
  for (int64_t k = 0; k < received.count; k++) {
    const exchange_received_t *item = &received.items[k];
    there[item->id] = scores_fit(scores, item);
    if (there[item->id]) numbers_put(scores, (int32_t)item->id, item->bytes);
  }
  exchange_free(&received);
  return STATUS_OK;
}

status_t ppo_scores_take(const ppo_task_t *task, const ppo_step_t *step, ppo_tokens_t *here,
                         const plan_t *plan, const ppo_numbers_t *numbers, bool *there) {
  SCOPED(kept_loaded_free) kept_loaded_t loaded = {0};
  SCOPED_MEMORY int64_t *keys = NULL;
  const scores_t scores = {step, here, numbers};
  if (kept_found(step->scores) == 0) return STATUS_OK;
  TRY(comm_agree(task->session->world, memory_alloc(&keys, ARENA_ROLLOUT, (size_t)plan->n, sizeof *keys)));
  for (int32_t i = 0; i < plan->n; i++)
    keys[i] = scores_key(numbers, i);
  TRY(kept_load(step->scores, keys, plan->n, &loaded));
  return comm_agree(task->session->world, scores_deal(&scores, plan, &loaded, there));
}

status_t ppo_scores_keep(const ppo_step_t *step, const ppo_tokens_t *here, const plan_t *plan, int32_t index,
                         const bool *there, const ppo_numbers_t *numbers) {
  const scores_t scores = {step, here, numbers};
  for (int32_t k = 0; k < plan->mine_count && step->scores; k++) {
    SCOPED_MEMORY char *bytes = NULL;
    int32_t i = plan->mine[k];
    if (plan->micro[i] != index || there[i]) continue;
    size_t n = numbers_bytes(&scores, i);
    TRY(memory_alloc(&bytes, ARENA_IO, n, 1));
    numbers_take(&scores, i, bytes);
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

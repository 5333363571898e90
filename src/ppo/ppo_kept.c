#include "ppo/ppo_kept.h"

#include "base/log.h"
#include "rollout/rollout_kept.h"
#include "session/identity.h"

#include <inttypes.h>
#include <stdio.h>

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

status_t ppo_kept_tell(ppo_task_t *task, const ppo_step_t *step) {
  TRY(kept_tell(step->kept, step->n, &task->session->gained));
  return STATUS_STOPPED;
}

#include "session/reward_prompt.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/file.h"
#include "text/judging.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes. It is an attribute of the reward model's file, which can take 64 KiB. */
enum { LARGEST_PROMPT = 1 << 15 };

status_t reward_prompt_open(session_t *session, const char *file, bool facts, reward_prompt_t *out) {
  const settings_t *settings = session->settings;
  bool limited =
      settings_task(settings) != TASK_PPO; /* there data.query_len and rollout.response_len do it */
  *out = (reward_prompt_t){.file = file,
                           .facts = facts,
                           .seed = (uint64_t)settings->job.seed,
                           .max_len = limited ? (int32_t)settings->data.max_len : 0};
  const char *preset = judging_prompt_builtin();
  status_code_t status = *file ? file_read(file, LARGEST_PROMPT, &out->text, NULL)
                               : memory_copy_text(&out->text, ARENA_OTHER, preset, strlen(preset));
  if (status == STATUS_OK && facts && !judging_prompt_has_slot(text_view(out->text)))
    status = error_set(
        STATUS_INPUT,
        "%s has no slot {factual_prompt}, but facts are asked for; add one, or set facts = .false.", file);
  status = comm_agree(session->world, status);
  if (status != STATUS_OK) reward_prompt_free(out);
  return status;
}

void reward_prompt_free(reward_prompt_t *reward_prompt) {
  memory_free(reward_prompt->text);
  *reward_prompt = (reward_prompt_t){0};
}

void reward_prompt_count_facts(const session_t *session, reward_prompt_t *reward_prompt, const char *setting,
                               const char *path, int64_t with, int64_t samples) {
  if (!reward_prompt->facts || with == samples) return;
  reward_prompt->facts = with > 0;
  if (session->grid.rank != 0) return;
  if (with == 0)
    log_warning("%s = .true., but none of the %lld samples in %s has facts: none are shown", setting,
                (long long)samples, path);
  else
    log_warning("%lld of the %lld samples in %s have no facts", (long long)(samples - with),
                (long long)samples, path);
}

store_judging_t reward_prompt_judging(const reward_prompt_t *reward_prompt) {
  return (store_judging_t){.facts = reward_prompt->facts,
                           .prompt = reward_prompt->text,
                           .source = *reward_prompt->file ? reward_prompt->file : "built-in"};
}

/* An error about something that reward.allow_mismatch allows. */
__attribute__((format(printf, 2, 3))) static status_t mismatch(const session_t *session, const char *format,
                                                               ...) {
  char text[2 * FILE_MAX_PATH];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (!session->settings->reward.allow_mismatch)
    return error_set(STATUS_INPUT, "%s, or set reward.allow_mismatch = .true.", text);
  if (session->grid.rank == 0) log_warning("%s (allowed by reward.allow_mismatch)", text);
  return STATUS_OK;
}

status_t reward_prompt_compare(const session_t *session, const reward_prompt_t *reward_prompt,
                               const char *group, const store_info_t *model) {
  const store_judging_t *trained = &model->judging;
  if (reward_prompt->facts != trained->facts)
    TRY(mismatch(
        session,
        "the reward model %s was trained %s facts (rm.facts, and whether its pairs had any), but here it is "
        "shown %s (%s.facts, and whether the samples have any): its scores mean little then. Give both the "
        "same",
        model->path, trained->facts ? "with" : "without", reward_prompt->facts ? "some" : "none", group));
  text_view_t asked = text_strip(text_view(reward_prompt->text)),
              known = text_strip(text_view(trained->prompt));
  if (asked.n == known.n && memcmp(asked.bytes, known.bytes, asked.n) == 0) return STATUS_OK;
  return mismatch(
      session,
      "the reward model %s was trained with another judging prompt (rm.prompt_file: %s) than it is asked "
      "with here (%s.prompt_file: %s): its scores mean little then. Give both the same",
      model->path, trained->source, group, reward_prompt_judging(reward_prompt).source);
}

/* Appends JUDGING to SEQUENCE, which is cut to make room for it. */
static status_t reward_prompt_join(const reward_prompt_t *reward_prompt, const sequence_t *judging,
                                   sequence_t *sequence) {
  int32_t limit = reward_prompt->max_len;
  if (limit > 0 && judging->n >= limit)
    return error_set(
        STATUS_DATA,
        "the judging prompt with its facts takes %d tokens, so data.max_len = %d leaves none for the "
        "conversation; raise it",
        judging->n, limit);
  if (limit > 0) sequence_cut(sequence, limit - judging->n);
  return sequence_append(sequence, judging->tokens, judging->n, false);
}

status_t reward_prompt_append(const reward_prompt_t *reward_prompt, const tokenizer_t *tokenizer,
                              const text_view_t *facts, int32_t count, uint64_t sample, uint64_t use,
                              sequence_t *sequence) {
  SCOPED_MEMORY int32_t *drawn = NULL;
  SCOPED(text_buffer_free) text_buffer_t filled = {0};
  SCOPED(sequence_free) sequence_t judging = {0};
  if (!reward_prompt->facts) count = 0;
  TRY(memory_alloc(&drawn, ARENA_OTHER, (size_t)count + 1, sizeof *drawn));
  judging_facts_order(reward_prompt->seed, sample, use, count, drawn);
  TRY(judging_prompt_fill(text_view(reward_prompt->text), facts, drawn, count, &filled));
  TRY(judging_prompt_append(tokenizer, text_buffer_view(&filled), &judging));
  return reward_prompt_join(reward_prompt, &judging, sequence);
}

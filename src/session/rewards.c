#include "session/rewards.h"

#include "base/memory.h"
#include "perf/perf.h"

#include <string.h>

/* Is there something to score in place S of the micro-batch? */
static bool has_tokens(const micro_t *micro, int32_t s) {
  return micro->packed.offsets[s + 1] > micro->packed.offsets[s];
}

static status_t rewards_read_values(pass_t *pass, const batch_t *batch, const micro_t *micro,
                                    double *rewards) {
  SCOPED_MEMORY double *values = NULL;
  int32_t n = 0;
  TRY(memory_alloc(&values, ARENA_OTHER, (size_t)micro->count, sizeof *values + sizeof(int32_t)));
  int32_t *rows = (int32_t *)(values + micro->count);
  for (int32_t s = 0; s < micro->count; s++)
    if (has_tokens(micro, s)) rows[n++] = micro->packed.offsets[s + 1] - 1;
  TRY(pass_scalars(pass, n, rows, values));
  const double *value = values;
  for (int32_t s = 0; s < micro->count; s++) {
    if (!has_tokens(micro, s)) continue;
    rewards[micro->which[s]] = batch->broken[micro->which[s]] ? 0.0 : *value;
    value++;
  }
  return STATUS_OK;
}

status_t rewards_of_micro(const model_t *model, const role_t *role, batch_t *batch, int32_t index,
                          double *rewards) {
  const micro_t *micro = &batch->micro[index];
  float *patches;
  TRY(batch_patches(batch, index, &model->base.config, &patches));
  pass_images_t images = {.count = micro->image_count, .patches = patches};
  perf_begin(REGION_REWARD);
  status_code_t status = pass_forward(model->pass, role, &micro->packed, &images, false, NULL, NULL);
  if (status == STATUS_OK) status = rewards_read_values(model->pass, batch, micro, rewards);
  perf_end(REGION_REWARD);
  memory_free(patches);
  return status;
}

status_t rewards_of_batch(session_t *session, const model_t *model, const role_t *role, batch_t *batch,
                          double *rewards, int64_t *skipped) {
  size_t n = (size_t)batch->plan.n;
  memset(rewards, 0, n * sizeof *rewards);
  for (int32_t m = 0; m < batch->plan.micro_count; m++)
    TRY(rewards_of_micro(model, role, batch, m, rewards));
  TRY(batch_settle(&session->grid, batch, skipped));
  return comm_allreduce(session->grid.dp, rewards, n, COMM_F64, COMM_SUM);
}

status_t rewards_sequence(const reward_prompt_t *reward_prompt, const source_t *source,
                          const dataset_sample_t *sample, int64_t row, uint64_t use, text_view_t answer,
                          sequence_t *sequence, int64_t *image) {
  *image = sample->image;
  TRY(conversation_answered(source->tokenizer, source->template, &sample->conversation, answer, true,
                            sequence));
  status_code_t status = source_image(sequence, image);
  if (status == STATUS_OK)
    status = reward_prompt_append(reward_prompt, source->tokenizer, sample->facts, sample->fact_count,
                                  (uint64_t)row, use, sequence);
  if (status == STATUS_OK) return STATUS_OK;
  sequence_free(sequence);
  *image = -1;
  return status;
}

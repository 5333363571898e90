#include "session/batch.h"

#include "base/memory.h"

#include <string.h>

static status_t batch_pack_all(batch_t *batch, const model_config_t *config) {
  int32_t count = batch->plan.micro_count;
  TRY(memory_alloc(&batch->micro, ARENA_DATA, (size_t)count, sizeof *batch->micro));
  TRY(memory_alloc(&batch->tickets, ARENA_DATA, (size_t)count, sizeof(loader_ticket_t *)));
  TRY(memory_alloc(&batch->broken, ARENA_DATA, (size_t)batch->plan.n, sizeof *batch->broken));
  for (int32_t m = 0; m < count; m++) {
    micro_t *micro = &batch->micro[m];
    TRY(micro_create(&batch->plan, m, micro));
    if (micro->image_count > 0)
      TRY(source_request(batch->source, config, micro->images, micro->image_count, &batch->tickets[m]));
  }
  return STATUS_OK;
}

status_t batch_create(const grid_t *grid, source_t *source, const model_config_t *config, int32_t n,
                      int32_t unit, int64_t micro_tokens, plan_build_t build, void *context, batch_t *batch) {
  *batch = (batch_t){.source = source};
  TRY(plan_create(grid, n, unit, config_patches(config), micro_tokens, build, context, &batch->plan));
  status_code_t status = comm_agree(grid->world, batch_pack_all(batch, config));
  if (status != STATUS_OK) batch_free(batch);
  return status;
}

void batch_free(batch_t *batch) {
  for (int32_t m = 0; m < batch->plan.micro_count; m++) {
    if (batch->micro) micro_free(&batch->micro[m]);
    if (batch->tickets) loader_release(batch->source->loader, batch->tickets[m]);
  }
  memory_free(batch->micro);
  memory_free(batch->tickets);
  memory_free(batch->broken);
  plan_free(&batch->plan);
  *batch = (batch_t){0};
}

void batch_pass_over(batch_t *batch, int32_t index) {
  loader_release(batch->source->loader, batch->tickets[index]);
  batch->tickets[index] = NULL;
}

/* Sequence I learns nothing: its image is broken. */
static void batch_silence(batch_t *batch, int32_t i) {
  sequence_t *sequence = &batch->plan.sequences[i];
  memset(sequence->learnt, 0, (size_t)sequence->n * sizeof *sequence->learnt);
  batch->plan.learnt[i] = 0;
  batch->broken[i] = 1;
}

status_t batch_patches(batch_t *batch, int32_t index, const model_config_t *config, float **patches) {
  const micro_t *micro = &batch->micro[index];
  SCOPED_MEMORY int32_t *broken = NULL;
  *patches = NULL;
  if (micro->image_count == 0) return STATUS_OK;
  TRY(memory_alloc(&broken, ARENA_DATA, (size_t)micro->image_count, sizeof *broken));
  status_code_t status = source_patches(batch->source, config, batch->tickets[index], micro->images,
                                        micro->image_count, patches, broken);
  for (int32_t k = 0; k < micro->image_count && status == STATUS_OK; k++)
    for (int32_t s = 0; s < micro->count && broken[k]; s++)
      if (batch->plan.images[micro->which[s]] == micro->images[k]) batch_silence(batch, micro->which[s]);
  batch_pass_over(batch, index);
  return status;
}

status_t batch_settle(const grid_t *grid, batch_t *batch, int64_t *skipped) {
  plan_t *plan = &batch->plan;
  *skipped = 0;
  if (!batch->source->skip_bad) return STATUS_OK;
  TRY(comm_allreduce(grid->dp, batch->broken, (size_t)plan->n, COMM_I32, COMM_MAX));
  for (int32_t i = 0; i < plan->n; i++) {
    if (batch->broken[i]) plan->learnt[i] = 0;
    *skipped += batch->broken[i] || plan->lengths[i] == 0;
  }
  return STATUS_OK;
}

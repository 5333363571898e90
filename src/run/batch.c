#include "run/batch.h"

#include "base/memory.h"
#include "model/tower.h"
#include "perf/perf.h"

static status_t pack_all(batch_t *batch, int32_t size, image_aspect_t aspect) {
  int32_t count = batch->plan.micro_count;
  TRY(memory_alloc(&batch->micro, ARENA_DATA, (size_t)count, sizeof *batch->micro));
  TRY(memory_alloc(&batch->tickets, ARENA_DATA, (size_t)count, sizeof(loader_ticket_t *)));
  for (int32_t m = 0; m < count; m++) {
    micro_t *micro = &batch->micro[m];
    TRY(micro_create(&batch->plan, m, micro));
    if (micro->image_count > 0)
      TRY(loader_request(batch->loader, micro->images, micro->image_count, size, aspect, &batch->tickets[m]));
  }
  return STATUS_OK;
}

status_t batch_create(const grid_t *grid, loader_t *loader, const model_config_t *config,
                      image_aspect_t aspect, int32_t n, int32_t unit, int64_t micro_tokens,
                      plan_build_t build, void *context, batch_t *batch) {
  *batch = (batch_t){.loader = loader};
  TRY(plan_create(grid, n, unit, config_patches(config), micro_tokens, build, context, &batch->plan));
  status_code_t status = comm_agree(grid->world, pack_all(batch, config->vision_image_size, aspect));
  if (status != STATUS_OK) batch_free(batch);
  return status;
}

void batch_free(batch_t *batch) {
  for (int32_t m = 0; m < batch->plan.micro_count; m++) {
    if (batch->micro) micro_free(&batch->micro[m]);
    if (batch->tickets) loader_release(batch->loader, batch->tickets[m]);
  }
  memory_free(batch->micro);
  memory_free(batch->tickets);
  plan_free(&batch->plan);
  *batch = (batch_t){0};
}

status_t batch_patches(batch_t *batch, int32_t index, const model_config_t *config, float **patches) {
  const micro_t *micro = &batch->micro[index];
  const float *pixels;
  *patches = NULL;
  if (micro->image_count == 0) return STATUS_OK;
  TRY(loader_wait(batch->loader, batch->tickets[index], &pixels));
  size_t per_image = (size_t)config_patches(config) * (size_t)config_patch_size(config);
  TRY(memory_alloc(patches, ARENA_FEATURES, (size_t)micro->image_count * per_image, sizeof **patches));
  for (int32_t i = 0; i < micro->image_count; i++)
    tower_patches(config, pixels + (size_t)i * per_image, *patches + (size_t)i * per_image);
  loader_release(batch->loader, batch->tickets[index]);
  batch->tickets[index] = NULL;
  return STATUS_OK;
}

/* A planned batch on its way to the model: micro-batches, packed, with their images decoding in the
 * background. */
#ifndef RUN_BATCH_H
#define RUN_BATCH_H

#include "data/loader.h"
#include "run/plan.h"

typedef struct {
  plan_t plan;
  micro_t *micro;            /* (plan.micro_count) */
  loader_ticket_t **tickets; /* (plan.micro_count), NULL where a micro-batch has no images */
  loader_t *loader;
} batch_t;

/* Plans and packs N sequences made by BUILD and asks LOADER for their images. Collective on the grid's world.
 * Free with batch_free. */
status_t batch_create(const grid_t *grid, loader_t *loader, const model_config_t *config,
                      image_aspect_t aspect, int32_t n, int32_t unit, int64_t micro_tokens,
                      plan_build_t build, void *context, batch_t *batch);
void batch_free(batch_t *batch);

/* Patches (images, P, patch size) of micro-batch INDEX, waited for; *PATCHES is freed by the caller with
 * memory_free (NULL without images). Local. */
status_t batch_patches(batch_t *batch, int32_t index, const model_config_t *config, float **patches);

#endif

/* A planned batch on its way to the model: micro-batches, packed, with their images decoding in the
 * background. */
#ifndef RUN_BATCH_H
#define RUN_BATCH_H

#include "session/plan.h"
#include "session/source.h"

typedef struct {
  plan_t plan;
  micro_t *micro;            /* (plan.micro_count) */
  loader_ticket_t **tickets; /* (plan.micro_count), NULL where a micro-batch has no images */
  source_t *source;
  int32_t *broken; /* (plan.n): 1 where a sample's image proved broken, among the micro-batches this group has
                      waited for; after batch_settle among all */
} batch_t;

/* Plans and packs N sequences made by BUILD and asks SOURCE's loader for their images. Collective on the
 * grid's world. Free with batch_free. */
status_t batch_create(const grid_t *grid, source_t *source, const model_config_t *config, int32_t n,
                      int32_t unit, int64_t micro_tokens, plan_build_t build, void *context, batch_t *batch);
void batch_free(batch_t *batch);

/* Patches (images, P, patch size) of micro-batch INDEX, waited for; *PATCHES is freed by the caller with
 * memory_free (NULL without images). A broken image is an error or, where bad samples are skipped, of the
 * mean colour; the sequences that show it learn nothing then: none of their tokens is learnt any more, and
 * they are marked in BROKEN. Collective on tp. */
status_t batch_patches(batch_t *batch, int32_t index, const model_config_t *config, float **patches);

/* Micro-batch INDEX is not to be worked on: its images are not needed. Local. */
void batch_pass_over(batch_t *batch, int32_t index);

/* Once all groups have waited for all their micro-batches: agrees on the broken samples, of which plan.learnt
 * becomes 0 on all ranks, and counts them and those without a sequence in *SKIPPED. Nothing happens unless
 * bad samples are skipped. Collective on dp. */
status_t batch_settle(const grid_t *grid, batch_t *batch, int64_t *skipped);

#endif

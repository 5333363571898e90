/* Responses that are finished, kept for the start after this one (io/formats/kept.h). */
#ifndef ROLLOUT_ROLLOUT_KEPT_H
#define ROLLOUT_ROLLOUT_KEPT_H

#include "rollout/rollout.h"
#include "text/buffer.h"

/* Appends to TEXT, as lines "name = value", what responses of ROLE, of MODEL, to SOURCE's questions depend on
 * besides questions and keys: weights, formats, device, dataset and how they are drawn. Collective on the
 * world. Errors, agreed: STATUS_MEMORY. */
status_t rollout_identity(session_t *session, const model_t *model, const role_t *role,
                          const source_t *source, const prompts_sampling_t *sampling, text_buffer_t *text);

/* Gives the groups, in turn, the responses that are kept; WHICH (n * samples): the *COUNT that are to be
 * drawn. Collective on the world. Errors, agreed: STATUS_MEMORY. */
status_t rollout_take_kept(rollout_t *rollout, int32_t *which, int64_t *count);

/* Keeps RESPONSE, the I-th, unless it is to a broken image. Local. Errors: STATUS_MEMORY. */
status_t rollout_keep(const rollout_t *rollout, int64_t i, const generator_response_t *response);

#endif

/* What samples that a model makes depend on, as text: lines "name = value". Samples that are kept for a later
 * start are taken over only if these are the same (io/formats/kept.h). */
#ifndef RUN_IDENTITY_H
#define RUN_IDENTITY_H

#include "io/formats/kept.h"
#include "session/reward_prompt.h"
#include "session/source.h"
#include "text/buffer.h"

/* Appends weights and formats of ROLE, whose base is MODEL's: those in memory, whatever file they are from.
 * Collective on the world. Errors, agreed: STATUS_MEMORY. */
status_t identity_add_role(session_t *session, const model_t *model, const role_t *role, text_buffer_t *text);

/* Appends SOURCE's dataset and how its samples become sequences. Local. Errors: STATUS_MEMORY. */
status_t identity_add_source(const session_t *session, const source_t *source, text_buffer_t *text);

/* Appends what a reward model is asked. Local. Errors: STATUS_MEMORY. */
status_t identity_add_judging(const reward_prompt_t *reward_prompt, text_buffer_t *text);

/* kept_open beside PATH for samples of IDENTITY that dp groups finish; nothing (NULL) where MODEL is a new
 * one, which no identity tells from another. Collective on the world. Errors: as kept_open. */
status_t identity_keep(session_t *session, const model_t *model, const char *path, const char *what,
                       const text_buffer_t *identity, bool routine, kept_t **out);

#endif

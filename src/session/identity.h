/* What samples that a model makes depend on, as text: lines "name = value". Samples that are kept for a later
 * start are taken over only if these are the same (io/formats/kept.h). */
#ifndef RUN_IDENTITY_H
#define RUN_IDENTITY_H

#include "session/source.h"
#include "text/buffer.h"

/* Appends weights and formats of ROLE, whose base is MODEL's: those in memory, whatever file they are from.
 * Collective on the world. Errors, agreed: STATUS_MEMORY. */
status_t identity_add_role(session_t *session, const model_t *model, const role_t *role, text_buffer_t *text);

/* Appends SOURCE's dataset and how its samples become sequences. Local. Errors: STATUS_MEMORY. */
status_t identity_add_source(const session_t *session, const source_t *source, text_buffer_t *text);

#endif

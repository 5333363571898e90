/* Task export: a model file becomes published weights. */
#ifndef CONVERT_EXPORT_H
#define CONVERT_EXPORT_H

#include "session/session.h"

/* Writes export.output: the weights that model.base holds, or those that its adapter is merged into, as
 * safetensors with index, config.json, the tokenizer with model.template as its chat template, and what else
 * transformers reads, in export.naming; adapters that are not merged as PEFT folders ROLE, heads as
 * ROLE_head.safetensors. Collective. Errors, agreed: STATUS_INPUT (a model that the naming has no names for,
 * a template that the tokenizer lacks tokens of), STATUS_DATA, STATUS_STOPPED. */
status_t export_run(session_t *session);

#endif

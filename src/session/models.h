/* Models as tasks use them: a base with its tokenizer and passes, and adapters and heads from files. */
#ifndef RUN_MODELS_H
#define RUN_MODELS_H

#include "model/pass.h"
#include "session/session.h"
#include "session/store.h"

typedef struct {
  store_info_t info; /* of the file it came from; all zero for a new model */
  base_t base;
  tokenizer_t *tokenizer;
  pass_t *pass; /* the session's */
} model_t;

/* How the settings want a base kept whose projections are in FORMAT (model.base_format): frozen weights, keys
 * and values in 16 bits where parallel.dtype asks for these and the device computes in something else. */
base_storage_t model_storage(const session_t *session, const char *format);

/* Loads the base that PATH holds or refers to, its projections kept in FORMAT (model.base_format); of it,
 * tasks pretrain and sft train what model.train says. SETTING names where PATH came from, for messages.
 * Collective. Free with model_free. */
status_t model_open(session_t *session, const char *setting, const char *path, const char *format,
                    model_t *out);
/* A new model of the settings' sizes, initialised from job.seed; the tokenizer is model.tokenizer.
 * Collective. */
status_t model_new(session_t *session, model_t *out);
/* model_new if model.from_scratch, else model_open of model.base. Collective. */
status_t model_from_settings(session_t *session, model_t *out);
void model_free(model_t *model);

/* Rank, scale and targets of new adapters. */
adapter_config_t settings_adapter(const settings_t *settings);
/* A new adapter of the settings' rank and targets, to be trained, initialised from job.seed. */
status_t model_new_adapter(session_t *session, const model_t *model, const char *name, adapter_t *out);
/* Loads an adapter from PATH, which must have been made with MODEL's base: the first of ROLES (ended by NULL)
 * that the file has; *ROLE tells which (may be NULL). Collective. */
status_t model_load_adapter(session_t *session, const model_t *model, const char *path,
                            const char *const *roles, const char *name, adapter_t *out, const char **role);
/* Loads an adapter the same way, to be trained from there on. Collective. */
status_t model_train_adapter(session_t *session, const model_t *model, const char *path,
                             const char *const *roles, const char *name, adapter_t *out);
/* Loads a head the same way. Collective. */
status_t model_load_head(session_t *session, const model_t *model, const char *path, const char *role,
                         head_t *out);

/* File of the adapter that the settings ask for: model.adapter, or the file of MODEL itself where that holds
 * adapters; "" for none. Local. */
const char *model_adapter_path(const session_t *session, const model_t *model);

/* The adapter that the settings ask for a role that answers or, in task score, is scored: model.adapter, or
 * what model.base itself holds beside a reference to its base; to be trained if the task trains. *FOUND tells
 * whether there is one. Collective. Errors: STATUS_DATA where it is a reward model's and the role answers. */
status_t model_settings_adapter(session_t *session, const model_t *model, adapter_t *out, bool *found);

/* train_mode_t of model.train; recompute_t of model.recompute. */
train_mode_t settings_train_mode(const settings_t *settings);
recompute_t settings_recompute(const settings_t *settings);

/* Fills CONTENTS with the reference to, or (WEIGHTS) the weights of, MODEL. */
void model_contents(const model_t *model, bool weights, store_contents_t *contents);

#endif

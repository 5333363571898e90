#include "session/identity.h"

#include <inttypes.h>
#include <stdio.h>

static status_t identity_add_params(session_t *session, const char *name, const params_t *params,
                                    text_buffer_t *text) {
  char line[128], prefix[64];
  uint64_t identity;
  snprintf(prefix, sizeof prefix, "/%s/", name);
  TRY(store_params_identity(session->world, prefix, params, &identity));
  snprintf(line, sizeof line, "%s = %016" PRIx64 "\n", name, identity);
  return comm_agree(session->world, text_buffer_append_string(text, line));
}

static status_t identity_add_adapter(session_t *session, const adapter_t *adapter, text_buffer_t *text) {
  char line[128];
  snprintf(line, sizeof line, "adapter.r = %d\nadapter.alpha = %.15g\n", adapter->config.r,
           adapter->config.alpha);
  TRY(comm_agree(session->world, text_buffer_append_string(text, line)));
  return identity_add_params(session, "adapter", &adapter->params, text);
}

status_t identity_add_role(session_t *session, const model_t *model, const role_t *role,
                           text_buffer_t *text) {
  char lines[320];
  const settings_t *settings = session->settings;
  snprintf(lines, sizeof lines,
           "model.base = %016" PRIx64 "\nmodel.base_format = %s\nparallel.device = %s\nparallel.dtype = %s\n"
           "parallel.batch_invariant = %d\nparallel.attention = %s\n",
           model->info.identity, settings->model.base_format, session->device->name, settings->parallel.dtype,
           settings->parallel.batch_invariant, settings->parallel.attention);
  TRY(comm_agree(session->world, text_buffer_append_string(text, lines)));
  if (role->adapter) TRY(identity_add_adapter(session, role->adapter, text));
  return role->head ? identity_add_params(session, "head", &role->head->params, text) : STATUS_OK;
}

/* Where the model's own configuration ends answers, beside the tokenizer's EOS. */
static status_t identity_add_ends(const tokenizer_t *tokenizer, text_buffer_t *text) {
  int32_t count;
  const int32_t *ends = tokenizer_ends(tokenizer, &count);
  for (int32_t i = 0; i < count; i++) {
    char line[32];
    if (ends[i] == tokenizer_eos(tokenizer)) continue;
    snprintf(line, sizeof line, "eos = %d\n", ends[i]);
    TRY(text_buffer_append_string(text, line));
  }
  return STATUS_OK;
}

status_t identity_add_source(const session_t *session, const source_t *source, text_buffer_t *text) {
  char lines[256];
  snprintf(lines, sizeof lines, "dataset = %016" PRIx64 "\nmodel.template = %s\nimage.aspect = %s\n",
           dataset_info(source->dataset).identity, session->settings->model.template,
           session->settings->image.aspect);
  TRY(text_buffer_append_string(text, lines));
  return identity_add_ends(source->tokenizer, text);
}

status_t identity_add_judging(const reward_prompt_t *reward_prompt, text_buffer_t *text) {
  char lines[128];
  snprintf(lines, sizeof lines, "facts = %d\nfacts' order = %" PRIu64 "\nprompt = ", reward_prompt->facts,
           reward_prompt->seed);
  TRY(text_buffer_append_string(text, lines));
  return text_buffer_append_string(text, reward_prompt->text);
}

status_t identity_keep(session_t *session, const model_t *model, const char *path, const char *what,
                       const text_buffer_t *identity, bool routine, kept_t **out) {
  const grid_t *grid = &session->grid;
  const kept_options_t options = {.path = path,
                                  .identity = identity->bytes,
                                  .what = what,
                                  .routine = routine,
                                  .readers = grid->dp,
                                  .writes = grid->tp_rank == 0};
  *out = NULL;
  if (!model->info.path) return STATUS_OK;
  return kept_open(session->world, &options, out);
}

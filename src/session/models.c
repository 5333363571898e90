#include "session/models.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/formats/tokenizer_file.h"
#include "session/estimate.h"
#include "session/published.h"

#include <stdio.h>
#include <string.h>

/* Logits of one chunk take at most this many elements. */
enum { LARGEST_LOGITS = 1 << 24 };

base_storage_t model_storage(const session_t *session, const char *format) {
  const settings_t *settings = session->settings;
  bool narrow = strcmp(settings->parallel.dtype, "bf16") == 0 && session->device->real_type != DTYPE_BF16;
  weight_format_t frozen = narrow ? WEIGHT_BF16 : WEIGHT_REAL;
  return (base_storage_t){.projections = strcmp(format, "nf4") == 0 ? WEIGHT_NF4 : frozen,
                          .matrices = frozen,
                          .mode = settings_train_mode(settings),
                          .half_keys = narrow};
}

/* Models are never in the midst of a pass together. */
static status_t models_add_pass(session_t *session, model_t *model) {
  const pass_options_t options = {.recompute = settings_recompute(session->settings),
                                  .largest_logits = LARGEST_LOGITS};
  if (!session->pass) TRY(pass_create(session->device, &session->grid, &options, &session->pass));
  model->pass = session->pass;
  return STATUS_OK;
}

static status_t models_check_tokenizer(const model_t *model, const char *where) {
  int32_t pieces = tokenizer_size(model->tokenizer), rows = model->base.config.vocab;
  if (pieces <= rows) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: the tokenizer has %d pieces, the model's vocabulary %d rows; they do not belong together", where,
      pieces, rows);
}

/* What the task trains of the base, before it is loaded or initialised. */
static status_t models_set_trained(const session_t *session, base_t *base) {
  task_t task = settings_task(session->settings);
  if (task != TASK_PRETRAIN && task != TASK_SFT) return STATUS_OK;
  return base_set_trainable(base, settings_train_mode(session->settings));
}

/* Answers end where the model's own configuration says, too. */
static status_t models_set_ends(model_t *model) {
  SCOPED(published_free) published_t published = {0};
  published_tokens_t ends;
  const char *path = model->info.base_path;
  TRY(published_read(model->info.published, path, model->info.config.vocab, &published));
  TRY(published_ends(&published, path, &ends));
  return tokenizer_set_ends(model->tokenizer, ends.eos, ends.eos_count);
}

static status_t models_open_model(session_t *session, const char *path, const char *format, model_t *model) {
  TRY(store_inspect(session->world, path, NULL, &model->info));
  bool random = model->info.outline && session->settings->model.random;
  if (model->info.outline && !random && !session->dry) return weights_refuse_outline(model->info.base_path);
  const base_storage_t storage = model_storage(session, format);
  TRY(base_create(session->device, &session->grid, &model->info.config, &storage, &model->base));
  TRY(models_set_trained(session, &model->base));
  if (session->dry)
    estimate_reading(session->dry, &model->base.params);
  else if (random)
    TRY(params_randomise(&model->base.params, (uint64_t)session->settings->job.seed));
  else
    TRY(store_load_base(session->world, &model->info, &model->base));
  TRY(tokenizer_create(model->info.tokenizer_bytes, (size_t)model->info.tokenizer_size, &model->tokenizer));
  TRY(models_set_ends(model));
  TRY(models_check_tokenizer(model, model->info.base_path));
  return models_add_pass(session, model);
}

status_t model_open(session_t *session, const char *setting, const char *path, const char *format,
                    model_t *out) {
  *out = (model_t){0};
  if (!path || !*path)
    return error_set(STATUS_INPUT, "%s is empty, expected the path of a model (a model.h5)", setting);
  status_code_t status = models_open_model(session, path, format, out);
  if (status != STATUS_OK) {
    model_free(out);
    return error_context(status, "while loading %s = '%s'", setting, path);
  }
  log_info("model      %s: %.2f M weights, tower %.2f M%s", out->info.base_path,
           1e-6 * (double)config_decoder_weights(&out->base.config),
           1e-6 * (double)config_tower_weights(&out->base.config),
           out->info.outline       ? session->dry ? " (an outline)" : " (an outline, with random numbers)"
           : out->info.has_weights ? ""
                                   : " (referred to)");
  return STATUS_OK;
}

static model_config_t settings_config(const settings_t *settings, int32_t pieces) {
  model_config_t config = {.hidden = (int32_t)settings->model.hidden,
                           .layers = (int32_t)settings->model.layers,
                           .heads = (int32_t)settings->model.heads,
                           .kv_heads = (int32_t)settings->model.kv_heads,
                           .head_size = (int32_t)settings->model.head_size,
                           .mlp = (int32_t)settings->model.mlp,
                           .vocab = (int32_t)settings->model.vocab,
                           .rope_base = settings->model.rope_base,
                           .norm_eps = settings->model.norm_eps,
                           .tied = settings->model.tied,
                           .vision_hidden = (int32_t)settings->model.vision_hidden,
                           .vision_layers = (int32_t)settings->model.vision_layers,
                           .vision_heads = (int32_t)settings->model.vision_heads,
                           .vision_mlp = (int32_t)settings->model.vision_mlp,
                           .vision_patch = (int32_t)settings->model.vision_patch,
                           .vision_image_size = (int32_t)settings->model.vision_image_size,
                           .vision_feature_layer = (int32_t)settings->model.vision_feature_layer,
                           .vision_norm_eps = settings->model.vision_norm_eps,
                           .projector = strcmp(settings->model.projector, "linear") == 0
                                            ? PROJECTOR_LINEAR
                                            : PROJECTOR_MLP2X_GELU};
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  if (config.head_size == 0) config.head_size = config.hidden / config.heads;
  if (config.vocab == 0) config.vocab = pieces;
  return config;
}

static status_t new_model(session_t *session, model_t *model) {
  const settings_t *settings = session->settings;
  TRY(comm_agree(session->world, tokenizer_load(settings->model.tokenizer, &model->tokenizer)));
  model_config_t config = settings_config(settings, tokenizer_size(model->tokenizer));
  const base_storage_t storage = model_storage(session, settings->model.base_format);
  TRY(base_create(session->device, &session->grid, &config, &storage, &model->base));
  TRY(models_set_trained(session, &model->base));
  if (!session->dry) TRY(params_initialise(&model->base.params, (uint64_t)settings->job.seed));
  TRY(models_check_tokenizer(model, settings->model.tokenizer));
  return models_add_pass(session, model);
}

status_t model_new(session_t *session, model_t *out) {
  *out = (model_t){0};
  status_code_t status = new_model(session, out);
  if (status != STATUS_OK) model_free(out);
  return status;
}

status_t model_from_settings(session_t *session, model_t *out) {
  const settings_t *settings = session->settings;
  return settings->model.from_scratch
             ? model_new(session, out)
             : model_open(session, "model.base", settings->model.base, settings->model.base_format, out);
}

void model_free(model_t *model) {
  base_free(&model->base);
  tokenizer_free(model->tokenizer);
  store_info_free(&model->info);
  *model = (model_t){0};
}

adapter_config_t settings_adapter(const settings_t *settings) {
  adapter_config_t config = {.r = (int32_t)settings->adapter.r, .alpha = settings->adapter.alpha};
  for (int p = 0; p < PROJ_COUNT; p++)
    for (int64_t t = 0; t < settings->adapter.targets.count; t++)
      if (strstr(proj_name((proj_t)p), settings->adapter.targets.items[t])) config.targets[p] = true;
  return config;
}

status_t model_new_adapter(session_t *session, const model_t *model, const char *name, adapter_t *out) {
  const adapter_config_t config = settings_adapter(session->settings);
  TRY(adapter_create(&model->base, &config, name, out));
  TRY(params_train_all(&out->params));
  return params_initialise(&out->params, (uint64_t)session->settings->job.seed);
}

/* PATH must have been made with MODEL's base. */
static status_t models_check_base(const model_t *model, const store_info_t *info) {
  if (info->identity == model->info.identity) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s belongs to the base %s (identity %016llx), but this run's base is %s (identity %016llx): "
      "their weights differ",
      info->path, info->base_path, (unsigned long long)info->identity,
      model->info.base_path ? model->info.base_path : "a new model",
      (unsigned long long)model->info.identity);
}

static const char *models_find_role(const store_info_t *info, const char *const *roles, int32_t *index) {
  for (; *roles; roles++) {
    *index = store_find((const char(*)[STORE_ROLE_NAME_MAX])info->adapters, info->adapter_count, *roles);
    if (*index >= 0) return *roles;
  }
  return NULL;
}

/* Fills PARAMS with what the file of INFO holds of ROLE in GROUP, or at random where the file is an outline
 * itself; not in a dry run. */
static status_t models_load_role(session_t *session, const store_info_t *info, const char *group,
                                 const char *role, params_t *params) {
  char prefix[96];
  snprintf(prefix, sizeof prefix, "/%s/%s/", group, role);
  if (session->dry) {
    estimate_reading(session->dry, params);
    return STATUS_OK;
  }
  if (info->outline && info->has_weights)
    return params_randomise(params, (uint64_t)session->settings->job.seed);
  return store_load_params(session->world, info->path, prefix, params);
}

/* The file has none of the roles, of which WANTED is the first, that were asked for. */
static status_t models_refuse_roles(const store_info_t *info, const char *wanted) {
  if (store_find((const char(*)[STORE_ROLE_NAME_MAX])info->adapters, info->adapter_count, "reward") >= 0)
    return error_set(
        STATUS_DATA,
        "%s is a reward model: it has no adapter called '%s'; name it as reward.model, and here the "
        "result of sft or ppo",
        info->path, wanted);
  return error_set(STATUS_DATA, "%s has no adapter called '%s'; a result of the phase before is expected",
                   info->path, wanted);
}

static status_t models_load_adapter(session_t *session, const model_t *model, const char *path,
                                    const char *const *roles, const char *name, bool trained, adapter_t *out,
                                    const char **role) {
  SCOPED(store_info_free) store_info_t info = {0};
  int32_t index = -1;
  TRY(store_inspect(session->world, path, &model->info, &info));
  TRY(models_check_base(model, &info));
  const char *found = models_find_role(&info, roles, &index);
  if (!found) return models_refuse_roles(&info, roles[0]);
  if (role) *role = found;
  TRY(adapter_create(&model->base, &info.adapter_configs[index], name, out));
  if (trained) TRY(params_train_all(&out->params));
  return models_load_role(session, &info, "adapters", found, &out->params);
}

status_t model_load_adapter(session_t *session, const model_t *model, const char *path,
                            const char *const *roles, const char *name, adapter_t *out, const char **role) {
  return models_load_adapter(session, model, path, roles, name, false, out, role);
}

status_t model_train_adapter(session_t *session, const model_t *model, const char *path,
                             const char *const *roles, const char *name, adapter_t *out) {
  return models_load_adapter(session, model, path, roles, name, true, out, NULL);
}

status_t model_load_head(session_t *session, const model_t *model, const char *path, const char *role,
                         head_t *out) {
  SCOPED(store_info_free) store_info_t info = {0};
  TRY(store_inspect(session->world, path, &model->info, &info));
  TRY(models_check_base(model, &info));
  if (store_find((const char(*)[STORE_ROLE_NAME_MAX])info.heads, info.head_count, role) < 0)
    return error_set(STATUS_DATA, "%s has no head called '%s'; a reward model is expected", path, role);
  TRY(head_create(&model->base, role, false, out));
  return models_load_role(session, &info, "heads", role, &out->params);
}

const char *model_adapter_path(const session_t *session, const model_t *model) {
  const char *path = session->settings->model.adapter;
  return !*path && model->info.adapter_count > 0 ? model->info.path : path;
}

status_t model_settings_adapter(session_t *session, const model_t *model, adapter_t *out, bool *found) {
  static const char *const answering[] = {"policy", "default", NULL};
  static const char *const scored[] = {"policy", "default", "reward", NULL};
  const char *const *roles = settings_task(session->settings) == TASK_SCORE ? scored : answering;
  const char *path = model_adapter_path(session, model);
  *found = *path != '\0';
  if (!*found) return STATUS_OK;
  const char *role;
  bool trained = task_trains(settings_task(session->settings));
  TRY(models_load_adapter(session, model, path, roles, "policy", trained, out, &role));
  log_info("adapter    %s from %s: r %d, alpha %g", role, path, out->config.r, out->config.alpha);
  return STATUS_OK;
}

train_mode_t settings_train_mode(const settings_t *settings) {
  static const struct {
    const char *name;
    train_mode_t mode;
  } modes[] = {
      {"lora", TRAIN_LORA}, {"projector", TRAIN_PROJECTOR}, {"decoder", TRAIN_DECODER}, {"all", TRAIN_ALL}};
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
    if (strcmp(settings->model.train, modes[i].name) == 0) return modes[i].mode;
  return TRAIN_NOTHING;
}

recompute_t settings_recompute(const settings_t *settings) {
  if (strcmp(settings->model.recompute, "selective") == 0) return RECOMPUTE_SELECTIVE;
  return strcmp(settings->model.recompute, "full") == 0 ? RECOMPUTE_FULL : RECOMPUTE_NONE;
}

void model_contents(const model_t *model, bool weights, store_contents_t *contents) {
  contents->base = &model->base;
  contents->weights = weights;
  contents->base_path = model->info.base_path;
  contents->base_identity = model->info.identity;
  size_t n;
  contents->tokenizer_bytes = tokenizer_bytes(model->tokenizer, &n);
  contents->tokenizer_size = (int64_t)n;
  contents->published = model->info.published;
}

#include "convert/export.h"

#include "base/log.h"
#include "base/memory.h"
#include "convert/config_write.h"
#include "convert/copying.h"
#include "convert/peft.h"
#include "convert/tokenizer_write.h"
#include "io/formats/tokenizer_file.h"
#include "perf/perf.h"
#include "session/estimate.h"
#include "session/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const double mega = 1e-6, giga = 1e-9;
static const int64_t megabyte = 1000000;
static const char weights_prefix[] = "/weights/";

typedef struct {
  session_t *session;
  const settings_t *settings;
  store_info_t model, added; /* of model.base; of the file of adapters and heads */
  weights_file_t *weights;   /* the base's; NULL where it is not written */
  weights_file_t *lora;      /* of adapters and heads; NULL where there are none */
  int32_t merged;            /* number of the adapter that is merged; -1: none */
  bool base;                 /* weights are written */
  naming_t naming;
  model_config_t config; /* as it is written */
  tokenizer_t *tokenizer;
  published_t published; /* what the model's own configuration said */
  template_t template;
  image_token_t image;
  double bytes;
} export_t;

/* ---- What there is ---- */

static status_t export_check_base(const export_t *export) {
  if (export->added.identity == export->model.identity) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s belongs to the base %s (identity %016" PRIx64
                   "), but model.base = '%s' is or refers to %s (identity %016" PRIx64 ")",
                   export->added.path, export->added.base_path, export->added.identity, export->model.path,
                   export->model.base_path, export->model.identity);
}

/* The adapter that answers, or the only one. */
static status_t export_choose_merged(export_t *export) {
  static const char *const answering[] = {"policy", "default"};
  const store_info_t *added = &export->added;
  export->merged = -1;
  if (!export->settings->export.merge) return STATUS_OK;
  for (int i = 0; i < 2 && export->merged < 0; i++)
    export->merged =
        store_find((const char(*)[STORE_ROLE_NAME_MAX])added->adapters, added->adapter_count, answering[i]);
  if (export->merged < 0 && added->adapter_count == 1) export->merged = 0;
  if (export->merged >= 0) return STATUS_OK;
  return error_set(STATUS_INPUT, "export.merge: %s holds no adapter called 'policy' or 'default'",
                   added->path);
}

static status_t export_check_naming(const export_t *export) {
  bool linear = config_sees(&export->config) && export->config.projector == PROJECTOR_LINEAR;
  if (!export->base || export->naming == NAMING_LLAVA || !linear) return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "export.naming = 'transformers': its LLaVA has no linear projector, which %s has; use "
                   "'llava'",
                   export->model.base_path);
}

/* The tokenizer, and which tokens mean what outside. */
static status_t export_read_tokens(export_t *export) {
  const store_info_t *model = &export->model;
  published_tokens_t ends;
  TRY(tokenizer_create(model->tokenizer_bytes, (size_t)model->tokenizer_size, &export->tokenizer));
  TRY(published_read(model->published, model->base_path, model->config.vocab, &export->published));
  TRY(published_ends(&export->published, model->base_path, &ends));
  TRY(tokenizer_set_ends(export->tokenizer, ends.eos, ends.eos_count));
  if (export->published.config.eos_count == 0)
    log_info("tokens     the model's own configuration names no EOS; the tokenizer's is written, %d ('%s')",
             tokenizer_eos(export->tokenizer),
             tokenizer_piece(export->tokenizer, tokenizer_eos(export->tokenizer)));
  TRY(template_from_name(export->settings->model.template, &export->template));
  TRY(template_check(export->template, export->tokenizer));
  if (export->naming == NAMING_LLAVA) return STATUS_OK;
  return image_token_choose(export->tokenizer, &export->config, &export->published, export->template,
                            &export->image);
}

static status_t export_find_files(export_t *export) {
  comm_t *world = export->session->world;
  const settings_t *settings = export->settings;
  const char *added = *settings->model.adapter ? settings->model.adapter : settings->model.base;
  TRY(store_inspect(world, settings->model.base, NULL, &export->model));
  TRY(store_inspect(world, added, &export->model, &export->added));
  TRY(export_check_base(export));
  TRY(export_choose_merged(export));
  export->base = export->model.has_weights || export->merged >= 0;
  export->config = export->model.config;
  if (!config_sees(&export->config)) export->naming = NAMING_LLAVA; /* of which LLaMA's is a part */
  TRY(export_check_naming(export));
  if (export->base) TRY(weights_open(world, export->model.base_path, &store_format, &export->weights));
  if (export->added.adapter_count + export->added.head_count > 0)
    TRY(weights_open(world, added, &store_format, &export->lora));
  return comm_agree(world, export->base ? export_read_tokens(export) : STATUS_OK);
}

/* ---- Lists ---- */

static tensor_type_t written_type(const export_t *export, dtype_t stored) {
  const char *wanted = export->settings->export.dtype;
  if (strcmp(wanted, "f32") == 0) return TENSOR_F32;
  if (strcmp(wanted, "f16") == 0) return TENSOR_F16;
  return strcmp(wanted, "bf16") == 0 || stored == DTYPE_BF16 ? TENSOR_BF16 : TENSOR_F32;
}

/* TENSOR of a model file under a NAME outside. */
static status_t list_tensor(const export_t *export, const weights_tensor_t *tensor, const char *name,
                            copy_list_t *list) {
  copy_t *copy;
  if (strlen(tensor->path) >= COPY_PATH_MAX)
    return error_set(STATUS_DATA, "%s: the name is too long for any model's", tensor->path);
  TRY(copy_list_add(list, &copy));
  snprintf(copy->path, sizeof copy->path, "%s", tensor->path);
  snprintf(copy->name, sizeof copy->name, "%s", name);
  copy->type = written_type(export, tensor->dtype);
  copy->dims = tensor->ndim;
  memcpy(copy->shape, tensor->shape, sizeof copy->shape);
  return STATUS_OK;
}

/* Notes the merged adapter's A and B of the module whose weight COPY is, if it has them. */
static void list_merged(const export_t *export, const char *ours, copy_t *copy) {
  static const char end[] = ".weight";
  size_t n = strlen(ours), m = strlen(end);
  if (export->merged < 0 || n <= m || strcmp(ours + n - m, end) != 0) return;
  const adapter_config_t *config = &export->added.adapter_configs[export->merged];
  const char *role = export->added.adapters[export->merged];
  int stem = (int)(n - m);
  snprintf(copy->a, sizeof copy->a, "/adapters/%s/%.*s.lora_A.weight", role, stem, ours);
  snprintf(copy->b, sizeof copy->b, "/adapters/%s/%.*s.lora_B.weight", role, stem, ours);
  copy->r = config->r;
  copy->scale = config->alpha / config->r;
  if (!weights_find(export->lora, copy->a)) *copy->a = *copy->b = '\0';
}

/* The weights of the base whose parts are TOWER or not, in NAMING. */
static status_t list_base(const export_t *export, naming_t naming, unsigned parts, copy_list_t *list) {
  for (int64_t i = 0; i < weights_count(export->weights); i++) {
    const weights_tensor_t *tensor = weights_at(export->weights, i);
    char name[PARAM_NAME_MAX];
    if (strncmp(tensor->path, weights_prefix, strlen(weights_prefix)) != 0) continue;
    const char *ours = tensor->path + strlen(weights_prefix);
    if (!(parts >> name_part(ours) & 1)) continue;
    if (!name_to_outside(naming, ours, name))
      return error_set(STATUS_DATA, "%s has no name outside", tensor->path);
    TRY(list_tensor(export, tensor, name, list));
    list_merged(export, ours, &list->items[list->count - 1]);
  }
  return STATUS_OK;
}

/* ---- The tower's unused part ---- */

static const char tower_layer[] = "/weights/model.vision_tower.vision_tower.vision_model.encoder.layers.%d."
                                  "layer_norm1.weight";
static const char pooling_probe[] = "/weights/model.vision_tower.vision_tower.vision_model.head.probe";
static const char last_norm[] = "model.vision_tower.vision_tower.vision_model.post_layernorm.%s";

/* A model that was trained here has only the layers that are run: it is written as a tower of so many, whose
 * last hidden states are the features. */
static void shorten_tower(export_t *export) {
  model_config_t *config = &export->config;
  char path[COPY_PATH_MAX];
  bool whole = true;
  for (int32_t l = config_tower_layers(config); l < config->vision_layers && whole; l++) {
    snprintf(path, sizeof path, tower_layer, l);
    whole = weights_find(export->weights, path) != NULL;
  }
  if (whole) return;
  log_info("tower      %d layers, without those behind the features that are used",
           config_tower_layers(config));
  config->vision_layers = config_tower_layers(config);
  config->vision_feature_layer = -1;
}

/* The norm behind the last layer, which transformers' modules have and no LLaVA uses, where the file lacks
 * it.
 */
static status_t list_last_norm(const export_t *export, naming_t naming, copy_list_t *list) {
  static const char *const kinds[] = {"weight", "bias"};
  for (int k = 0; k < 2; k++) {
    char ours[PARAM_NAME_MAX], path[COPY_PATH_MAX];
    copy_t *copy;
    snprintf(ours, sizeof ours, last_norm, kinds[k]);
    snprintf(path, sizeof path, "%s%s", weights_prefix, ours);
    if (weights_find(export->weights, path)) continue;
    TRY(copy_list_add(list, &copy));
    copy->fill = k == 0 ? 1.0f : 0.0f;
    copy->type = written_type(export, DTYPE_F32);
    copy->dims = 1;
    copy->shape[0] = export->config.vision_hidden;
    if (!name_to_outside(naming, ours, copy->name))
      return error_set(STATUS_INTERNAL, "%s has no name outside", ours);
  }
  return STATUS_OK;
}

/* ---- Writing ---- */

/* LIST, of what lies in FILE, to FOLDER/STEM, counted. */
static status_t export_write_list(export_t *export, weights_file_t *file, const copy_list_t *list,
                                  const char *folder, const char *stem) {
  session_t *session = export->session;
  double bytes = copy_list_bytes(list), began = perf_now();
  export->bytes += bytes;
  if (session->dry) {
    estimate_output(session->dry, stem, bytes);
    return comm_agree(session->world, copying_estimate(list, file, session));
  }
  TRY(copying_run(session, file, export->lora, list, folder, stem,
                  export->settings->export.shard_size * megabyte));
  log_info("written    %s/%s: %lld tensors, %.1f MB, %.2f GB/s", folder, stem, (long long)list->count,
           mega * bytes, giga * bytes / (perf_now() - began));
  return STATUS_OK;
}

/* Its configuration, and the tokenizer's beside a decoder. */
static status_t export_write_config(const char *folder, naming_t naming, const written_config_t *config) {
  TRY(config_write(folder, naming, config));
  return naming == NAMING_TOWER ? STATUS_OK : tokenizer_write(folder, config);
}

/* One set of weights with its configuration. */
static status_t export_write_model(export_t *export, naming_t naming, unsigned parts, const char *folder,
                                   const char *tower) {
  comm_t *world = export->session->world;
  copy_list_t list = {0};
  status_code_t status = list_base(export, naming, parts, &list);
  if (status == STATUS_OK && (parts >> PART_TOWER & 1)) status = list_last_norm(export, naming, &list);
  status = comm_agree(world, status);
  const written_config_t written = {.model = &export->config,
                                    .tokenizer = export->tokenizer,
                                    .published = &export->published,
                                    .template = export->template,
                                    .image = naming == NAMING_TRANSFORMERS ? &export->image : NULL,
                                    .type = list.count > 0 ? list.items[list.count / 2].type : TENSOR_F32,
                                    .tower = tower,
                                    .pools = weights_find(export->weights, pooling_probe) != NULL,
                                    .pads = strcmp(export->settings->image.aspect, "pad") == 0};
  if (status == STATUS_OK) status = export_write_list(export, export->weights, &list, folder, "model");
  copy_list_free(&list);
  TRY(status);
  bool writes = comm_rank(world) == 0 && !export->session->dry;
  return comm_agree(world, writes ? export_write_config(folder, naming, &written) : STATUS_OK);
}

static status_t export_write_base(export_t *export) {
  const unsigned tower = 1u << PART_TOWER, rest = 1u << PART_DECODER | 1u << PART_PROJECTOR;
  const char *folder = export->settings->export.output;
  char tower_folder[FILE_MAX_PATH];
  TRY(file_join(tower_folder, folder, "vision_tower", NULL));
  shorten_tower(export);
  if (export->naming == NAMING_LLAVA) {
    if (config_sees(&export->config)) TRY(export_write_model(export, NAMING_TOWER, tower, tower_folder, ""));
    return export_write_model(export, export->naming, rest, folder, tower_folder);
  }
  return export_write_model(export, export->naming, rest | tower, folder, "");
}

/* What modules are called in the program that loads the model. */
static naming_t module_naming(const export_t *export) {
  return export->naming == NAMING_LLAVA ? NAMING_LLAVA : NAMING_TRANSFORMERS_5;
}

/* The tensors below GROUP/ROLE of the file of adapters and heads. */
static status_t list_added(const export_t *export, const char *group, const char *role, bool adapter,
                           copy_list_t *list) {
  char prefix[96], name[PARAM_NAME_MAX];
  snprintf(prefix, sizeof prefix, "/%s/%s/", group, role);
  for (int64_t i = 0; i < weights_count(export->lora); i++) {
    const weights_tensor_t *tensor = weights_at(export->lora, i);
    if (strncmp(tensor->path, prefix, strlen(prefix)) != 0) continue;
    const char *ours = tensor->path + strlen(prefix);
    snprintf(name, sizeof name, "%s", ours);
    if (adapter && !peft_name(module_naming(export), ours, name))
      return error_set(STATUS_DATA, "%s has no name outside", tensor->path);
    TRY(list_tensor(export, tensor, name, list));
  }
  return STATUS_OK;
}

static status_t export_write_added(export_t *export, const char *group, const char *role, bool adapter,
                                   const char *folder, const char *stem) {
  copy_list_t list = {0};
  status_code_t status = comm_agree(export->session->world, list_added(export, group, role, adapter, &list));
  if (status == STATUS_OK) status = export_write_list(export, export->lora, &list, folder, stem);
  copy_list_free(&list);
  return status;
}

static status_t export_write_adapter(export_t *export, int32_t i) {
  const char *role = export->added.adapters[i];
  comm_t *world = export->session->world;
  char folder[FILE_MAX_PATH];
  TRY(file_join(folder, export->settings->export.output, role, NULL));
  TRY(export_write_added(export, "adapters", role, true, folder, "adapter_model"));
  if (comm_rank(world) != 0 || export->session->dry) return comm_agree(world, STATUS_OK);
  const adapter_config_t *config = &export->added.adapter_configs[i];
  return comm_agree(world,
                    peft_write(folder, module_naming(export), config, export->settings->export.base_name));
}

static status_t export_all(export_t *export) {
  double began = perf_now();
  const store_info_t *added = &export->added;
  TRY(export_find_files(export));
  if (export->base) TRY(export_write_base(export));
  for (int32_t i = 0; i < added->adapter_count; i++)
    if (i != export->merged) TRY(export_write_adapter(export, i));
  for (int32_t i = 0; i < added->head_count; i++) {
    char stem[STORE_ROLE_NAME_MAX + 8];
    snprintf(stem, sizeof stem, "%s_head", added->heads[i]);
    TRY(export_write_added(export, "heads", added->heads[i], false, export->settings->export.output, stem));
  }
  double seconds = perf_now() - began;
  if (!export->session->dry)
    log_info("exported   %.1f MB in %.2f s, %.2f GB/s", mega * export->bytes, seconds,
             giga * export->bytes / seconds);
  return STATUS_OK;
}

status_t export_run(session_t *session) {
  export_t export = {.session = session,
                     .settings = session->settings,
                     .merged = -1,
                     .naming = strcmp(session->settings->export.naming, "llava") == 0 ? NAMING_LLAVA
                                                                                      : NAMING_TRANSFORMERS};
  status_code_t status = export_all(&export);
  weights_close(export.weights);
  weights_close(export.lora);
  tokenizer_free(export.tokenizer);
  published_free(&export.published);
  store_info_free(&export.model);
  store_info_free(&export.added);
  return status;
}

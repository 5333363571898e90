#include "convert/peft.h"

#include "base/memory.h"
#include "convert/fields.h"
#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MOST = 1 << 24 };

static const char file_name[] = "adapter_config.json";

/* Adapters that compute or hold more than this. */
static const only_t plain_only[] = {
    {.key = "peft_type", .kind = ONLY_TEXT, .text = "LORA", .needed = true},
    {.key = "bias", .kind = ONLY_TEXT, .text = "none"},
    {.key = "use_dora", .kind = ONLY_FALSE},
    {.key = "use_rslora", .kind = ONLY_FALSE},
    {.key = "use_qalora", .kind = ONLY_FALSE},
    {.key = "lora_bias", .kind = ONLY_FALSE},
    {.key = "fan_in_fan_out", .kind = ONLY_FALSE},
    {.key = "rank_pattern", .kind = ONLY_ABSENT},
    {.key = "alpha_pattern", .kind = ONLY_ABSENT},
    {.key = "modules_to_save", .kind = ONLY_ABSENT},
    {.key = "target_parameters", .kind = ONLY_ABSENT},
    {.key = "trainable_token_indices", .kind = ONLY_ABSENT},
    {.key = "layer_replication", .kind = ONLY_ABSENT},
    {.key = "alora_invocation_tokens", .kind = ONLY_ABSENT},
};

/* Some ways to begin change the base's weights as well, so that the adapter fits no other base. */
static status_t peft_check_beginning(const fields_t *fields) {
  static const only_t beginning = {
      .key = "init_lora_weights", .kind = ONLY_TEXT, .text = "gaussian|eva|orthogonal"};
  const json_t *value = json_get(fields->object, "init_lora_weights");
  return value && value->type == JSON_STRING ? fields_only(fields, &beginning, 1) : STATUS_OK;
}

/* ---- Which modules ---- */

static void peft_find_targets(const tensor_files_t *files, adapter_config_t *config) {
  for (int64_t i = 0; i < tensor_files_count(files); i++)
    for (int p = 0; p < PROJ_COUNT; p++)
      if (strstr(tensor_files_at(files, i)->name, proj_name((proj_t)p))) config->targets[p] = true;
}

/* The module that the weight NAME belongs to, in MODULE; false where it is no adapter's weight. */
static bool peft_module(const char *name, char module[PARAM_NAME_MAX]) {
  const char *lora = strstr(name, ".lora_");
  if (!lora) return false;
  return snprintf(module, PARAM_NAME_MAX, "%.*s", (int)(lora - name), name) < PARAM_NAME_MAX;
}

/* MODULE is, or ends with, one of the names in LIST. */
static bool peft_is_target(const json_t *list, const char *module) {
  size_t n = strlen(module);
  for (const json_t *item = list->u.first; item; item = item->next) {
    size_t m = item->type == JSON_STRING ? strlen(item->u.string) : n + 1;
    if (m <= n && strcmp(module + n - m, item->u.string) == 0 && (m == n || module[n - m - 1] == '.'))
      return true;
  }
  return false;
}

/* LAYERS, a number or a list of numbers that is empty for all, has the layer of MODULE. */
static bool peft_is_layer(const json_t *layers, const char *module) {
  static const char before[] = ".layers.";
  const char *at = strstr(module, before);
  long layer = at ? strtol(at + strlen(before), NULL, 10) : -1;
  if (layers->type == JSON_INT) return layers->u.integer == layer;
  if (layers->type != JSON_ARRAY || layers->count == 0) return true;
  for (const json_t *item = layers->u.first; item; item = item->next)
    if (item->type == JSON_INT && item->u.integer == layer) return true;
  return false;
}

/* PEFT leaves out weights of modules that a list of targets, or a list of layers beside it, does not name. */
static status_t peft_check_targets(const fields_t *fields, const tensor_files_t *files) {
  const json_t *list = json_get(fields->object, "target_modules");
  const json_t *layers = json_get(fields->object, "layers_to_transform");
  for (int64_t i = 0; i < tensor_files_count(files); i++) {
    const tensor_entry_t *entry = tensor_files_at(files, i);
    char module[PARAM_NAME_MAX];
    if (!peft_module(entry->name, module)) continue;
    bool target = !list || list->type != JSON_ARRAY || peft_is_target(list, module);
    if (target && (!layers || peft_is_layer(layers, module))) continue;
    return error_set(STATUS_DATA,
                     "%s: field '%s' does not name the module of tensor %s of %s; expected all modules that "
                     "there are tensors of",
                     fields->where, target ? "layers_to_transform" : "target_modules", entry->name,
                     entry->file);
  }
  return STATUS_OK;
}

/* There is a weight of projection P in layer LAYER. */
static bool peft_holds(const tensor_files_t *files, int32_t layer, proj_t p) {
  char part[PARAM_NAME_MAX];
  snprintf(part, sizeof part, ".layers.%d.%s.lora_", layer, proj_name(p));
  for (int64_t i = 0; i < tensor_files_count(files); i++)
    if (strstr(tensor_files_at(files, i)->name, part)) return true;
  return false;
}

/* An adapter here is one of all LAYERS. */
static status_t peft_check_layers(const fields_t *fields, const tensor_files_t *files, int32_t layers,
                                  const adapter_config_t *config) {
  const char *key =
      json_get(fields->object, "layers_to_transform") ? "layers_to_transform" : "target_modules";
  for (int p = 0; p < PROJ_COUNT; p++)
    for (int32_t layer = 0; layer < layers && config->targets[p]; layer++)
      if (!peft_holds(files, layer, (proj_t)p))
        return error_set(STATUS_DATA,
                         "%s: field '%s': %s holds no %s of layer %d; such an adapter is not computed here, "
                         "only one that has the same modules in all %d layers",
                         fields->where, key, tensor_files_path(files), proj_name((proj_t)p), layer, layers);
  return STATUS_OK;
}

/* ---- All of it ---- */

static status_t peft_read_fields(const fields_t *fields, adapter_config_t *config, char base[PEFT_BASE_MAX]) {
  const char *name;
  TRY(fields_only(fields, plain_only, (int)(sizeof plain_only / sizeof *plain_only)));
  TRY(peft_check_beginning(fields));
  TRY(field_int(fields, "r", 0, &config->r));
  TRY(json_real(fields->object, "lora_alpha", fields->where, &config->alpha));
  TRY(field_text(fields, "base_model_name_or_path", "", &name));
  snprintf(base, PEFT_BASE_MAX, "%s", name);
  if (config->r > 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: field 'r': found %d, expected at least 1", fields->where, config->r);
}

status_t peft_read(const char *folder, const tensor_files_t *files, int32_t layers, adapter_config_t *config,
                   char base[PEFT_BASE_MAX]) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  *config = (adapter_config_t){0};
  TRY(file_join(path, folder, file_name, NULL));
  TRY(json_parse_file(path, CONFIG_BYTES_MOST, &document));
  const fields_t fields = {document.root, path};
  peft_find_targets(files, config);
  status_code_t status = peft_read_fields(&fields, config, base);
  if (status == STATUS_OK) status = peft_check_targets(&fields, files);
  if (status == STATUS_OK) status = peft_check_layers(&fields, files, layers, config);
  json_free(&document);
  return status;
}

enum { TARGETS_MAX = 512 };

/* The modules as an expression that the decoder's names match and the tower's, which has a q_proj too, do
 * not.
 */
static void peft_write_targets(naming_t naming, const adapter_config_t *config, char text[TARGETS_MAX]) {
  const char *before = naming == NAMING_LLAVA ? "model" : ".*language_model";
  int n = snprintf(text, TARGETS_MAX, "%s\\.layers\\.\\d+\\.(", before);
  bool more = false;
  for (int p = 0; p < PROJ_COUNT; p++) {
    if (!config->targets[p]) continue;
    n += snprintf(text + n, TARGETS_MAX - (size_t)n, "%s", more ? "|" : "");
    for (const char *c = proj_name((proj_t)p); *c; c++)
      n += snprintf(text + n, TARGETS_MAX - (size_t)n, *c == '.' ? "\\%c" : "%c", *c);
    more = true;
  }
  snprintf(text + n, TARGETS_MAX - (size_t)n, ")");
}

static void peft_write_config(json_writer_t *writer, naming_t naming, const adapter_config_t *config,
                              const char *base) {
  char targets[TARGETS_MAX];
  peft_write_targets(naming, config, targets);
  json_write_object_begin(writer);
  json_write_member(writer, "peft_type", "LORA");
  json_write_member(writer, "task_type", "CAUSAL_LM");
  json_write_member(writer, "base_model_name_or_path", *base ? base : NULL);
  json_write_int_member(writer, "r", config->r);
  json_write_real_member(writer, "lora_alpha", config->alpha);
  json_write_real_member(writer, "lora_dropout", 0.0);
  json_write_member(writer, "bias", "none");
  json_write_key(writer, "fan_in_fan_out");
  json_write_bool(writer, false);
  json_write_key(writer, "inference_mode");
  json_write_bool(writer, true);
  json_write_member(writer, "target_modules", targets);
  json_write_object_end(writer);
}

status_t peft_write(const char *folder, naming_t naming, const adapter_config_t *config, const char *base) {
  char path[FILE_MAX_PATH], *text;
  size_t n;
  json_writer_t *writer;
  TRY(file_join(path, folder, file_name, NULL));
  TRY(json_writer_create(NULL, &writer));
  peft_write_config(writer, naming, config, base);
  TRY(json_writer_finish(writer, &text, &n));
  status_code_t status = file_replace(path, text, n);
  memory_free(text);
  return status;
}

bool peft_name(naming_t naming, const char *ours, char outside[PARAM_NAME_MAX]) {
  char module[PARAM_NAME_MAX];
  if (!name_to_outside(naming, ours, module)) return false;
  return snprintf(outside, PARAM_NAME_MAX, "base_model.model.%s", module) < PARAM_NAME_MAX;
}

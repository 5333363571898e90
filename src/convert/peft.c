#include "convert/peft.h"

#include "base/memory.h"
#include "convert/fields.h"
#include "io/file.h"

#include <stdio.h>
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
    {.key = "exclude_modules", .kind = ONLY_ABSENT},
};

/* Some ways to begin change the base's weights as well, so that the adapter fits no other base. */
static status_t peft_check_beginning(const fields_t *fields) {
  static const only_t beginning = {
      .key = "init_lora_weights", .kind = ONLY_TEXT, .text = "gaussian|eva|orthogonal"};
  const json_t *value = json_get(fields->object, "init_lora_weights");
  return value && value->type == JSON_STRING ? fields_only(fields, &beginning, 1) : STATUS_OK;
}

static void peft_find_targets(const tensor_files_t *files, adapter_config_t *config) {
  for (int64_t i = 0; i < tensor_files_count(files); i++)
    for (int p = 0; p < PROJ_COUNT; p++)
      if (strstr(tensor_files_at(files, i)->name, proj_name((proj_t)p))) config->targets[p] = true;
}

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

status_t peft_read(const char *folder, const tensor_files_t *files, adapter_config_t *config,
                   char base[PEFT_BASE_MAX]) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  *config = (adapter_config_t){0};
  TRY(file_join(path, folder, file_name, NULL));
  TRY(json_parse_file(path, CONFIG_BYTES_MOST, &document));
  status_code_t status = peft_read_fields(&(fields_t){document.root, path}, config, base);
  json_free(&document);
  peft_find_targets(files, config);
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

/* A model's sizes as JSON, with Hugging Face's names where there are such. */
#include "session/config_json.h"

#include "base/memory.h"
#include "io/json.h"

#include <string.h>

/* A whole-number field. */
typedef struct {
  const char *key;
  size_t offset;
} int_field_t;

#define FIELD(key, member)                                                                                   \
  { key, offsetof(model_config_t, member) }
static const int_field_t text_fields[] = {
    FIELD("hidden_size", hidden),        FIELD("num_hidden_layers", layers),
    FIELD("num_attention_heads", heads), FIELD("num_key_value_heads", kv_heads),
    FIELD("head_dim", head_size),        FIELD("intermediate_size", mlp),
    FIELD("vocab_size", vocab),          FIELD("mm_vision_select_layer", vision_feature_layer)};
static const int_field_t vision_fields[] = {
    FIELD("hidden_size", vision_hidden),        FIELD("num_hidden_layers", vision_layers),
    FIELD("num_attention_heads", vision_heads), FIELD("intermediate_size", vision_mlp),
    FIELD("patch_size", vision_patch),          FIELD("image_size", vision_image_size)};
#undef FIELD
enum {
  TEXT_FIELDS = sizeof text_fields / sizeof *text_fields,
  VISION_FIELDS = sizeof vision_fields / sizeof *vision_fields
};

static const char *const projector_names[] = {
    [PROJECTOR_LINEAR] = "linear", [PROJECTOR_MLP2X_GELU] = "mlp2x_gelu"};

static void write_ints(json_writer_t *writer, const model_config_t *config, const int_field_t *fields,
                       int count) {
  for (int i = 0; i < count; i++) {
    int32_t value;
    memcpy(&value, (const char *)config + fields[i].offset, sizeof value);
    json_write_int_member(writer, fields[i].key, value);
  }
}

status_t config_to_json(const model_config_t *config, char **text) {
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  write_ints(writer, config, text_fields, TEXT_FIELDS);
  json_write_real_member(writer, "rope_theta", config->rope_base);
  json_write_real_member(writer, "rms_norm_eps", config->norm_eps);
  json_write_key(writer, "tie_word_embeddings");
  json_write_bool(writer, config->tied);
  json_write_member(writer, "mm_projector_type", projector_names[config->projector]);
  json_write_key(writer, "vision_config");
  json_write_object_begin(writer);
  write_ints(writer, config, vision_fields, VISION_FIELDS);
  json_write_real_member(writer, "layer_norm_eps", config->vision_norm_eps);
  json_write_object_end(writer);
  json_write_object_end(writer);
  return json_writer_finish(writer, text, NULL);
}

static status_t read_ints(const json_t *object, const char *where, const int_field_t *fields, int count,
                          model_config_t *config) {
  for (int i = 0; i < count; i++) {
    int64_t value;
    TRY(json_int(object, fields[i].key, where, &value));
    if (value < -1000 || value > INT32_MAX)
      return error_set(STATUS_DATA, "%s: field '%s': found %lld, which no model has", where, fields[i].key,
                       (long long)value);
    int32_t narrow = (int32_t)value;
    memcpy((char *)config + fields[i].offset, &narrow, sizeof narrow);
  }
  return STATUS_OK;
}

static status_t read_tree(const json_t *root, const char *where, model_config_t *config) {
  const json_t *vision;
  const char *projector;
  TRY(read_ints(root, where, text_fields, TEXT_FIELDS, config));
  TRY(json_real(root, "rope_theta", where, &config->rope_base));
  TRY(json_real(root, "rms_norm_eps", where, &config->norm_eps));
  TRY(json_bool(root, "tie_word_embeddings", where, &config->tied));
  TRY(json_string(root, "mm_projector_type", where, &projector));
  TRY(json_object(root, "vision_config", where, &vision));
  TRY(read_ints(vision, where, vision_fields, VISION_FIELDS, config));
  TRY(json_real(vision, "layer_norm_eps", where, &config->vision_norm_eps));
  for (int p = 0; p < 2; p++)
    if (strcmp(projector, projector_names[p]) == 0) {
      config->projector = (projector_t)p;
      return STATUS_OK;
    }
  return error_set(STATUS_DATA,
                   "%s: field 'mm_projector_type': found '%s', expected 'linear' or 'mlp2x_gelu'", where,
                   projector);
}

status_t config_from_json(const char *text, const char *where, model_config_t *config) {
  SCOPED(json_free) json_document_t document = {0};
  *config = (model_config_t){0};
  TRY(json_parse(text, strlen(text), where, &document));
  TRY(read_tree(document.root, where, config));
  return error_context(config_check(config) == STATUS_OK ? STATUS_OK : STATUS_DATA,
                       "in the configuration of %s", where);
}

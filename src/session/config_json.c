/* A model's sizes as JSON, with Hugging Face's names where there are such. */
#include "session/config_json.h"

#include "base/memory.h"

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

static const char siglip_type[] = "siglip_vision_model";

static void config_json_write_ints(json_writer_t *writer, const model_config_t *config,
                                   const int_field_t *fields, int count) {
  for (int i = 0; i < count; i++) {
    int32_t value;
    memcpy(&value, (const char *)config + fields[i].offset, sizeof value);
    json_write_int_member(writer, fields[i].key, value);
  }
}

void config_write_scaling(json_writer_t *writer, const rope_scaling_t *scaling) {
  bool linear = scaling->original == 0;
  if (scaling->factor == 0.0) return;
  json_write_key(writer, "rope_scaling");
  json_write_object_begin(writer);
  json_write_member(writer, "rope_type", linear ? "linear" : "llama3");
  json_write_real_member(writer, "factor", scaling->factor);
  if (!linear) {
    json_write_real_member(writer, "low_freq_factor", scaling->low);
    json_write_real_member(writer, "high_freq_factor", scaling->high);
    json_write_int_member(writer, "original_max_position_embeddings", scaling->original);
  }
  json_write_object_end(writer);
}

status_t config_read_scaling(const json_t *object, const char *where, rope_scaling_t *out) {
  const char *kind = "default", *key = json_get(object, "rope_type") ? "rope_type" : "type";
  if (json_get(object, key)) TRY(json_string(object, key, where, &kind));
  if (strcmp(kind, "default") == 0) return STATUS_OK;
  bool llama3 = strcmp(kind, "llama3") == 0;
  if (!llama3 && strcmp(kind, "linear") != 0)
    return error_set(STATUS_DATA,
                     "%s: field '%s' of the rotary embedding: found '%s'; such a model is not computed here, "
                     "only default, linear and llama3",
                     where, key, kind);
  TRY(json_real(object, "factor", where, &out->factor));
  if (!(out->factor > 0.0))
    return error_set(STATUS_DATA,
                     "%s: field 'factor' of the rotary embedding: found %g, expected more than 0", where,
                     out->factor);
  if (!llama3) return STATUS_OK;
  TRY(json_real(object, "low_freq_factor", where, &out->low));
  TRY(json_real(object, "high_freq_factor", where, &out->high));
  return json_int(object, "original_max_position_embeddings", where, &out->original);
}

/* A field that is there where it is true. */
static void config_json_write_true(json_writer_t *writer, const char *key, bool value) {
  if (!value) return;
  json_write_key(writer, key);
  json_write_bool(writer, true);
}

static status_t config_json_read_true(const json_t *object, const char *key, const char *where, bool *value) {
  *value = false;
  return json_get(object, key) ? json_bool(object, key, where, value) : STATUS_OK;
}

status_t config_to_json(const model_config_t *config, char **text) {
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  config_json_write_ints(writer, config, text_fields, TEXT_FIELDS);
  json_write_real_member(writer, "rope_theta", config->rope_base);
  config_write_scaling(writer, &config->rope_scaling);
  json_write_real_member(writer, "rms_norm_eps", config->norm_eps);
  json_write_key(writer, "tie_word_embeddings");
  json_write_bool(writer, config->tied);
  config_json_write_true(writer, "qkv_bias", config->qkv_bias);
  config_json_write_true(writer, "o_bias", config->o_bias);
  config_json_write_true(writer, "mlp_bias", config->mlp_bias);
  json_write_member(writer, "mm_projector_type", projector_names[config->projector]);
  json_write_key(writer, "vision_config");
  json_write_object_begin(writer);
  if (config->tower == TOWER_SIGLIP) json_write_member(writer, "model_type", siglip_type);
  config_json_write_ints(writer, config, vision_fields, VISION_FIELDS);
  json_write_real_member(writer, "layer_norm_eps", config->vision_norm_eps);
  json_write_object_end(writer);
  json_write_object_end(writer);
  return json_writer_finish(writer, text, NULL);
}

static status_t config_json_read_ints(const json_t *object, const char *where, const int_field_t *fields,
                                      int count, model_config_t *config) {
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

/* Without a type it is CLIP's. */
static status_t config_json_read_tower(const json_t *vision, const char *where, model_config_t *config) {
  const char *type;
  TRY(config_json_read_ints(vision, where, vision_fields, VISION_FIELDS, config));
  TRY(json_real(vision, "layer_norm_eps", where, &config->vision_norm_eps));
  if (!json_get(vision, "model_type")) return STATUS_OK;
  TRY(json_string(vision, "model_type", where, &type));
  if (strcmp(type, siglip_type) != 0)
    return error_set(STATUS_DATA, "%s: field 'model_type' of the tower: found '%s', expected '%s' or none",
                     where, type, siglip_type);
  config->tower = TOWER_SIGLIP;
  return STATUS_OK;
}

static status_t config_json_read_tree(const json_t *root, const char *where, model_config_t *config) {
  const json_t *vision, *scaling = json_get(root, "rope_scaling");
  const char *projector;
  TRY(config_json_read_ints(root, where, text_fields, TEXT_FIELDS, config));
  if (scaling) TRY(config_read_scaling(scaling, where, &config->rope_scaling));
  TRY(json_real(root, "rope_theta", where, &config->rope_base));
  TRY(json_real(root, "rms_norm_eps", where, &config->norm_eps));
  TRY(json_bool(root, "tie_word_embeddings", where, &config->tied));
  TRY(config_json_read_true(root, "qkv_bias", where, &config->qkv_bias));
  TRY(config_json_read_true(root, "o_bias", where, &config->o_bias));
  TRY(config_json_read_true(root, "mlp_bias", where, &config->mlp_bias));
  TRY(json_string(root, "mm_projector_type", where, &projector));
  TRY(json_object(root, "vision_config", where, &vision));
  TRY(config_json_read_tower(vision, where, config));
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
  TRY(config_json_read_tree(document.root, where, config));
  return error_context(config_check(config) == STATUS_OK ? STATUS_OK : STATUS_DATA,
                       "in the configuration of %s", where);
}

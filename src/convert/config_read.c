#include "convert/config_read.h"

#include "base/log.h"
#include "convert/fields.h"
#include "convert/processor_check.h"
#include "io/file.h"
#include "session/config_json.h"

#include <stdio.h>
#include <string.h>

enum { CONFIG_BYTES_MOST = 16 << 20 };

/* ---- Decoder ---- */

enum { NO_WINDOW = INT32_MAX };

/* What the configurations of transformers' kinds of decoders have where a field is absent, as in the
 * text_config of a LLaVA. */
typedef struct {
  int32_t hidden, mlp, layers, heads, vocab;
  int32_t kv_heads; /* 0: as many as there are heads */
  int32_t window;   /* of tokens that attention sees; NO_WINDOW: all */
  double eps, rope_base;
} decoder_standard_t;
static const decoder_standard_t llama_standard = {4096, 11008, 32, 32, 32000, 0, NO_WINDOW, 1e-6, 10000.0};
static const decoder_standard_t mistral_standard = {4096, 14336, 32, 32, 32000, 8, 4096, 1e-6, 10000.0};
static const decoder_standard_t qwen2_standard = {4096, 22016, 32, 32, 151936, 32, 4096, 1e-6, 10000.0};

static const decoder_standard_t *decoder_standard(const char *model_type) {
  if (strcmp(model_type, "qwen2") == 0 || strcmp(model_type, "llava_qwen") == 0) return &qwen2_standard;
  return strcmp(model_type, "mistral") == 0 ? &mistral_standard : &llama_standard;
}

static const only_t decoder_only[] = {
    {.key = "hidden_act", .kind = ONLY_TEXT, .text = "silu|swish"}, /* two names of one */
    {.key = "is_causal", .kind = ONLY_TRUE},
    {.key = "partial_rotary_factor", .kind = ONLY_NUMBER, .number = 1.0},
    {.key = "quantization_config", .kind = ONLY_ABSENT},
    {.key = "qk_layernorm", .kind = ONLY_FALSE},
    {.key = "num_local_experts", .kind = ONLY_ABSENT},
    {.key = "embedding_multiplier", .kind = ONLY_NUMBER, .number = 1.0},
    {.key = "logits_scaling", .kind = ONLY_NUMBER, .number = 1.0},
};

static const only_t window_only[] = {{.key = "use_sliding_window", .kind = ONLY_FALSE}};

static const only_t rope_only[] = {
    {.key = "partial_rotary_factor", .kind = ONLY_NUMBER, .number = 1.0},
};

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* Base and kind of the rotary embedding: rope_theta and rope_scaling, or rope_parameters of later releases.
 */
static status_t config_read_rope(const fields_t *text, double rope_base, model_config_t *config) {
  static const char *const objects[] = {"rope_scaling", "rope_parameters"};
  TRY(field_real(text, "rope_theta", rope_base, &config->rope_base));
  for (int i = 0; i < COUNT(objects); i++) {
    fields_t rope;
    TRY(field_object(text, objects[i], &rope));
    TRY(fields_only(&rope, rope_only, COUNT(rope_only)));
    if (rope.object) TRY(config_read_scaling(rope.object, rope.where, &config->rope_scaling));
    TRY(field_real(&rope, "rope_theta", config->rope_base, &config->rope_base));
  }
  return STATUS_OK;
}

/* Qwen2 has biases on q, k and v, whatever its configuration says. */
static status_t config_read_biases(const fields_t *text, bool qwen2, model_config_t *config) {
  config->qkv_bias = qwen2;
  if (qwen2) return STATUS_OK;
  TRY(field_bool(text, "attention_bias", false, &config->qkv_bias));
  config->o_bias = config->qkv_bias;
  return field_bool(text, "mlp_bias", false, &config->mlp_bias);
}

/* Where attention sees a window of tokens it sees all of them in texts that are no longer than the window,
 * and so in all that the model is for where it has no fewer tokens than max_position_embeddings. Qwen2 names
 * a window where it uses none. */
static status_t config_read_check_window(const fields_t *text, const decoder_standard_t *standard) {
  int32_t window, positions;
  bool used = true, said = json_get(text->object, "sliding_window") != NULL;
  if (standard == &qwen2_standard)
    TRY(field_bool(text, "use_sliding_window", false, &used));
  else
    TRY(fields_only(text, window_only, COUNT(window_only)));
  TRY(field_int_unless_null(text, "sliding_window", standard->window, NO_WINDOW, &window));
  if (!used || window == NO_WINDOW) return STATUS_OK;
  TRY(field_int(text, "max_position_embeddings", INT32_MAX, &positions));
  if (window >= positions) {
    log_info("window     of %d tokens, not computed: answers are the same in texts of up to %d tokens",
             window, window);
    return STATUS_OK;
  }
  return error_set(
      STATUS_DATA,
      "%s: field 'sliding_window': found %s%d; such a model is not computed here, only null or no "
      "less than max_position_embeddings",
      text->where, said ? "" : "none, which means ", window);
}

static status_t config_read_decoder(const fields_t *text, model_config_t *config) {
  const char *kind;
  TRY(field_text(text, "model_type", "llama", &kind));
  const decoder_standard_t *standard = decoder_standard(kind);
  TRY(fields_only(text, decoder_only, COUNT(decoder_only)));
  TRY(config_read_check_window(text, standard));
  TRY(config_read_biases(text, standard == &qwen2_standard, config));
  TRY(field_int(text, "hidden_size", standard->hidden, &config->hidden));
  TRY(field_int(text, "num_hidden_layers", standard->layers, &config->layers));
  TRY(field_int(text, "num_attention_heads", standard->heads, &config->heads));
  TRY(field_int_unless_null(text, "num_key_value_heads",
                            standard->kv_heads > 0 ? standard->kv_heads : config->heads, config->heads,
                            &config->kv_heads));
  TRY(field_int(text, "intermediate_size", standard->mlp, &config->mlp));
  TRY(field_int(text, "vocab_size", standard->vocab, &config->vocab));
  TRY(field_int(text, "head_dim", config->heads > 0 ? config->hidden / config->heads : 0,
                &config->head_size));
  TRY(field_real(text, "rms_norm_eps", standard->eps, &config->norm_eps));
  TRY(field_bool(text, "tie_word_embeddings", false, &config->tied));
  return config_read_rope(text, standard->rope_base, config);
}

/* ---- Tower ---- */

/* What the configurations of transformers' towers have where a field is absent. */
typedef struct {
  const char *model_type, *activation;
  int32_t hidden, mlp, layers, heads, patch, side;
  double eps;
} tower_standard_t;
static const tower_standard_t tower_standards[] = {
    [TOWER_CLIP] = {"clip_vision_model", "quick_gelu", 768, 3072, 12, 12, 32, 224, 1e-5},
    [TOWER_SIGLIP] = {"siglip_vision_model", "gelu_pytorch_tanh", 768, 3072, 12, 12, 16, 224, 1e-6}};

/* The kind of the tower VISION, maybe inside ROOT, the configuration of all of CLIP or SigLIP. */
static status_t config_read_tower_kind(const fields_t *vision, const fields_t *root, tower_kind_t *kind) {
  const char *type, *whole;
  TRY(field_text(root, "model_type", "", &whole));
  *kind = strcmp(whole, "siglip") == 0 ? TOWER_SIGLIP : TOWER_CLIP;
  TRY(field_text(vision, "model_type", tower_standards[*kind].model_type, &type));
  if (strcmp(type, tower_standards[TOWER_SIGLIP].model_type) == 0) *kind = TOWER_SIGLIP;
  const only_t only[] = {
      {.key = "model_type", .kind = ONLY_TEXT, .text = "clip_vision_model|siglip_vision_model"},
      {.key = "hidden_act", .kind = ONLY_TEXT, .text = tower_standards[*kind].activation},
      {.key = "num_channels", .kind = ONLY_NUMBER, .number = 3.0},
  };
  return fields_only(vision, only, COUNT(only));
}

static status_t config_read_tower_inner(const fields_t *vision, const fields_t *root,
                                        published_config_t *config) {
  model_config_t *model = &config->model;
  TRY(config_read_tower_kind(vision, root, &model->tower));
  const tower_standard_t *standard = &tower_standards[model->tower];
  TRY(field_int(vision, "hidden_size", standard->hidden, &model->vision_hidden));
  TRY(field_int(vision, "num_hidden_layers", standard->layers, &model->vision_layers));
  TRY(field_int(vision, "num_attention_heads", standard->heads, &model->vision_heads));
  TRY(field_int(vision, "intermediate_size", standard->mlp, &model->vision_mlp));
  TRY(field_int(vision, "patch_size", standard->patch, &model->vision_patch));
  TRY(field_int(vision, "image_size", standard->side, &model->vision_image_size));
  TRY(field_real(vision, "layer_norm_eps", standard->eps, &model->vision_norm_eps));
  config->has_tower = true;
  return STATUS_OK;
}

/* The towers that published LLaVA weights name, as their own config.json says. */
static void config_read_find_published_tower(published_config_t *config) {
  static const struct {
    const char *name;
    tower_kind_t kind;
    int32_t hidden, layers, mlp, side;
  } towers[] = {{"openai/clip-vit-large-patch14", TOWER_CLIP, 1024, 24, 4096, 224},
                {"openai/clip-vit-large-patch14-336", TOWER_CLIP, 1024, 24, 4096, 336},
                {"google/siglip-so400m-patch14-384", TOWER_SIGLIP, 1152, 27, 4304, 384}};
  for (int i = 0; i < COUNT(towers); i++) {
    if (strcmp(config->tower_name, towers[i].name) != 0) continue;
    model_config_t *model = &config->model;
    model->tower = towers[i].kind;
    model->vision_hidden = towers[i].hidden;
    model->vision_layers = towers[i].layers;
    model->vision_heads = 16;
    model->vision_mlp = towers[i].mlp;
    model->vision_patch = 14;
    model->vision_image_size = towers[i].side;
    model->vision_norm_eps = tower_standards[towers[i].kind].eps;
    config->has_tower = true;
  }
}

/* ---- LLaVA ---- */

static const only_t original_only[] = {
    {.key = "mm_vision_select_feature", .kind = ONLY_TEXT, .text = "patch"},
    {.key = "mm_use_im_start_end", .kind = ONLY_FALSE},
    {.key = "image_aspect_ratio", .kind = ONLY_TEXT, .text = "pad|square"},
    {.key = "mm_patch_merge_type", .kind = ONLY_TEXT, .text = "flat"},
    {.key = "mm_projector_type", .kind = ONLY_TEXT, .text = "linear|mlp2x_gelu"},
    {.key = "mm_resampler_type", .kind = ONLY_ABSENT},
};

static const only_t llava_only[] = {
    {.key = "projector_hidden_act", .kind = ONLY_TEXT, .text = "gelu"},
    {.key = "multimodal_projector_bias", .kind = ONLY_TRUE},
    {.key = "quantization_config", .kind = ONLY_ABSENT},
};

/* All tokens of the tower are features but CLIP's class token. */
static const only_t features_only[] = {
    [TOWER_CLIP] = {.key = "vision_feature_select_strategy", .kind = ONLY_TEXT, .text = "default"},
    [TOWER_SIGLIP] = {
        .key = "vision_feature_select_strategy", .kind = ONLY_TEXT, .text = "full", .needed = true}};

/* The layer of features where LLaVA's configuration does not say. */
enum { LLAVA_FEATURE_LAYER = -2 };

static status_t config_read_original(const fields_t *root, published_config_t *config) {
  const char *projector, *tower;
  if (!json_get(root->object, "mm_vision_tower") && !json_get(root->object, "mm_projector_type") &&
      !json_get(root->object, "mm_hidden_size"))
    return STATUS_OK;
  TRY(fields_only(root, original_only, COUNT(original_only)));
  TRY(field_text(root, "mm_projector_type", "linear", &projector));
  TRY(field_signed(root, "mm_vision_select_layer", LLAVA_FEATURE_LAYER, &config->model.vision_feature_layer));
  TRY(field_text(root, "mm_vision_tower", "", &tower));
  config->model.projector = strcmp(projector, "linear") == 0 ? PROJECTOR_LINEAR : PROJECTOR_MLP2X_GELU;
  config->has_projector = true;
  config->says_projector = json_get(root->object, "mm_projector_type") != NULL;
  snprintf(config->tower_name, sizeof config->tower_name, "%s", tower);
  config_read_find_published_tower(config);
  return STATUS_OK;
}

static status_t config_read_llava(const fields_t *root, published_config_t *config) {
  fields_t vision, text;
  char where[FILE_MAX_PATH + 32];
  TRY(fields_only(root, llava_only, COUNT(llava_only)));
  TRY(field_object(root, "text_config", &text));
  TRY(field_object(root, "vision_config", &vision));
  if (!vision.object)
    return error_set(STATUS_DATA, "%s: text_config without vision_config; expected a LLaVA model",
                     root->where);
  TRY(field_signed(root, "vision_feature_layer", LLAVA_FEATURE_LAYER, &config->model.vision_feature_layer));
  config->model.projector = PROJECTOR_MLP2X_GELU;
  config->has_projector = true;
  snprintf(where, sizeof where, "%s (vision_config)", root->where);
  vision.where = where;
  TRY(config_read_tower_inner(&vision, root, config));
  return fields_only(root, &features_only[config->model.tower], 1);
}

/* What a model's kind may be, and what its text part's. */
static const only_t kinds[] = {
    {.key = "model_type", .kind = ONLY_TEXT, .text = "llama|llava|llava_llama|mistral|qwen2|llava_qwen"}};
static const only_t text_kinds[] = {{.key = "model_type", .kind = ONLY_TEXT, .text = "llama|mistral|qwen2"}};

static status_t config_read_root(const fields_t *root, published_config_t *config) {
  char where[FILE_MAX_PATH + 32];
  fields_t text;
  bool tied;
  TRY(fields_only(root, kinds, COUNT(kinds)));
  TRY(field_object(root, "text_config", &text));
  if (!text.object) {
    TRY(config_read_original(root, config));
    return config_read_decoder(root, &config->model);
  }
  TRY(config_read_llava(root, config));
  snprintf(where, sizeof where, "%s (text_config)", root->where);
  text.where = where;
  TRY(fields_only(&text, text_kinds, COUNT(text_kinds)));
  TRY(config_read_decoder(&text, &config->model));
  TRY(field_bool(root, "tie_word_embeddings", false, &tied));
  config->model.tied = config->model.tied || tied;
  return STATUS_OK;
}

/* ---- Files ---- */

static status_t config_read_open_config(const char *folder, char path[FILE_MAX_PATH],
                                        json_document_t *document) {
  TRY(file_join(path, folder, "config.json", NULL));
  TRY(json_parse_file(path, CONFIG_BYTES_MOST, document));
  if (document->root->type == JSON_OBJECT) return STATUS_OK;
  const char *found = json_type_name(document->root->type);
  json_free(document);
  return error_set(STATUS_DATA, "%s: found %s, expected an object", path, found);
}

status_t config_read(const char *folder, published_config_t *out) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  *out = (published_config_t){.model.vision_feature_layer = LLAVA_FEATURE_LAYER};
  TRY(config_read_open_config(folder, path, &document));
  const fields_t root = {document.root, path};
  status_code_t status = config_read_root(&root, out);
  json_free(&document);
  TRY(status);
  return processor_check(folder, &out->model);
}

status_t config_read_tower(const char *folder, published_config_t *config) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  TRY(config_read_open_config(folder, path, &document));
  const fields_t root = {document.root, path};
  fields_t vision;
  status_code_t status = field_object(&root, "vision_config", &vision);
  if (status == STATUS_OK) status = config_read_tower_inner(vision.object ? &vision : &root, &root, config);
  json_free(&document);
  TRY(status);
  return processor_check(folder, &config->model);
}

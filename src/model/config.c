#include "model/config.h"

bool config_sees(const model_config_t *config) {
  return config->vision_hidden > 0;
}

int32_t config_patches(const model_config_t *config) {
  if (!config_sees(config)) return 0;
  int32_t side = config->vision_image_size / config->vision_patch;
  return side * side;
}

int32_t config_tower_tokens(const model_config_t *config) {
  return config_patches(config) + (config_sees(config) && config->tower == TOWER_CLIP ? 1 : 0);
}

int32_t config_tower_layers(const model_config_t *config) {
  int32_t layer = config->vision_feature_layer;
  if (!config_sees(config)) return 0;
  return layer < 0 ? config->vision_layers + 1 + layer : layer;
}

int32_t config_patch_size(const model_config_t *config) {
  return 3 * config->vision_patch * config->vision_patch;
}

/* More than any model has, and few enough that no product of two overflows where it is 32 bits wide. */
enum { LAYERS_MOST = 4096, VOCAB_MOST = 1 << 24, WIDTH_MOST = 1 << 20, SIDE_MOST = 1 << 14 };

static status_t config_check_size(const char *name, int32_t value, int32_t minimum, int32_t maximum) {
  if (value >= minimum && value <= maximum) return STATUS_OK;
  return error_set(STATUS_INPUT, "model: %s is %d, expected %d to %d", name, value, minimum, maximum);
}

static status_t config_check_divides(const char *divisor_name, int32_t divisor, const char *name,
                                     int32_t value) {
  if (value % divisor == 0) return STATUS_OK;
  return error_set(STATUS_INPUT, "model: %s = %d does not divide %s = %d; choose sizes that divide",
                   divisor_name, divisor, name, value);
}

static status_t config_check_scaling(const rope_scaling_t *scaling) {
  bool linear = scaling->original == 0;
  if (scaling->factor == 0.0 && linear) return STATUS_OK;
  if (scaling->factor >= 1.0 &&
      (linear || (scaling->low > 0.0 && scaling->high > scaling->low && scaling->original > 0)))
    return STATUS_OK;
  return error_set(
      STATUS_INPUT,
      "model: rope scaling has factor %g, low %g, high %g, original positions %lld; expected a factor "
      "of at least 1, and 0 < low < high",
      scaling->factor, scaling->low, scaling->high, (long long)scaling->original);
}

static status_t config_check_decoder(const model_config_t *config) {
  TRY(config_check_size("hidden", config->hidden, 1, WIDTH_MOST));
  TRY(config_check_size("layers", config->layers, 1, LAYERS_MOST));
  TRY(config_check_size("heads", config->heads, 1, WIDTH_MOST));
  TRY(config_check_size("kv_heads", config->kv_heads, 1, WIDTH_MOST));
  TRY(config_check_size("head_size", config->head_size, 2, WIDTH_MOST));
  TRY(config_check_size("mlp", config->mlp, 1, WIDTH_MOST));
  TRY(config_check_size("vocab", config->vocab, 4, VOCAB_MOST));
  TRY(config_check_divides("kv_heads", config->kv_heads, "heads", config->heads));
  TRY(config_check_divides("2", 2, "head_size", config->head_size));
  bool qwen2 = config->qkv_bias && !config->o_bias;
  if ((config->o_bias && !config->qkv_bias) || (config->mlp_bias && qwen2))
    return error_set(STATUS_INPUT, "model: biases on %s%s%s, which no published kind of model has",
                     config->qkv_bias ? "q, k, v " : "", config->o_bias ? "o " : "",
                     config->mlp_bias ? "gate, up, down" : "");
  if (!(config->rope_base > 1.0) || !(config->norm_eps > 0.0))
    return error_set(STATUS_INPUT, "model: rope_base %g, norm_eps %g; expected above 1, above 0",
                     config->rope_base, config->norm_eps);
  return config_check_scaling(&config->rope_scaling);
}

static status_t config_check_tower(const model_config_t *config) {
  TRY(config_check_size("vision_hidden", config->vision_hidden, 1, WIDTH_MOST));
  TRY(config_check_size("vision_layers", config->vision_layers, 1, LAYERS_MOST));
  TRY(config_check_size("vision_heads", config->vision_heads, 1, WIDTH_MOST));
  TRY(config_check_size("vision_mlp", config->vision_mlp, 1, WIDTH_MOST));
  TRY(config_check_size("vision_patch", config->vision_patch, 1, SIDE_MOST));
  TRY(config_check_size("vision_image_size", config->vision_image_size, config->vision_patch, SIDE_MOST));
  TRY(config_check_divides("vision_heads", config->vision_heads, "vision_hidden", config->vision_hidden));
  if (config_tower_layers(config) < 0 || config_tower_layers(config) > config->vision_layers)
    return error_set(STATUS_INPUT,
                     "model: vision_feature_layer is %d, expected %d to %d for a tower of %d layers",
                     config->vision_feature_layer, -config->vision_layers - 1, config->vision_layers,
                     config->vision_layers);
  if (!(config->vision_norm_eps > 0.0))
    return error_set(STATUS_INPUT, "model: the vision tower's norm eps is %g; expected above 0",
                     config->vision_norm_eps);
  return STATUS_OK;
}

/* A tower of width 0 is none; then nothing else of it may be there. */
static bool is_blind(const model_config_t *config) {
  return config->vision_hidden == 0 && config->vision_layers == 0 && config->vision_heads == 0 &&
         config->vision_mlp == 0 && config->vision_patch == 0 && config->vision_image_size == 0;
}

status_t config_check(const model_config_t *config) {
  TRY(config_check_decoder(config));
  return is_blind(config) ? STATUS_OK : config_check_tower(config);
}

status_t config_check_tp(const model_config_t *config, int tp) {
  TRY(config_check(config));
  if (config->heads % tp != 0)
    return error_set(STATUS_INPUT,
                     "parallel.tp = %d does not divide the model's %d heads; choose a divisor of both", tp,
                     config->heads);
  if (config->mlp % tp != 0)
    return error_set(STATUS_INPUT,
                     "parallel.tp = %d does not divide the model's mlp size %d; choose a divisor", tp,
                     config->mlp);
  if (config->kv_heads % tp != 0 && tp % config->kv_heads != 0)
    return error_set(
        STATUS_INPUT,
        "parallel.tp = %d neither divides the model's %d key-value heads nor is a multiple of them", tp,
        config->kv_heads);
  return STATUS_OK;
}

int64_t config_decoder_weights(const model_config_t *config) {
  int64_t c = config->hidden, d = config->head_size;
  int64_t attention = 2 * c * config->heads * d + 2 * c * config->kv_heads * d;
  int64_t layer = attention + 3 * c * config->mlp + 2 * c;
  if (config->qkv_bias) layer += (config->heads + 2 * (int64_t)config->kv_heads) * d;
  if (config->o_bias) layer += c;
  if (config->mlp_bias) layer += 2 * (int64_t)config->mlp + c;
  int64_t tables = (config->tied ? 1 : 2) * (int64_t)config->vocab * c;
  return config->layers * layer + tables + c;
}

int64_t config_tower_weights(const model_config_t *config) {
  int64_t c = config->vision_hidden, f = config->vision_mlp, h = config->hidden;
  if (!config_sees(config)) return 0;
  int64_t layer = 4 * (c * c + c) + 2 * c * f + f + c + 4 * c;
  int64_t embeddings = c * config_patch_size(config) + c * config_tower_tokens(config);
  embeddings += config->tower == TOWER_CLIP ? 3 * c : c; /* class token and norm, or bias */
  int64_t projector = c * h + h;
  if (config->projector == PROJECTOR_MLP2X_GELU) projector += h * h + h;
  return config_tower_layers(config) * layer + embeddings + projector;
}

#include "convert/config_write.h"

#include "base/memory.h"
#include "convert/config_read.h"
#include "io/file.h"
#include "session/config_json.h"
#include "vision/image.h"

#include <string.h>

static void config_write_bool(json_writer_t *writer, const char *key, bool value) {
  json_write_key(writer, key);
  json_write_bool(writer, value);
}

static void config_write_architecture(json_writer_t *writer, const char *architecture,
                                      const char *model_type) {
  json_write_key(writer, "architectures");
  json_write_array_begin(writer);
  json_write_string(writer, architecture);
  json_write_array_end(writer);
  json_write_member(writer, "model_type", model_type);
}

static void config_write_type(json_writer_t *writer, tensor_type_t type) {
  const char *name = type == TENSOR_F16 ? "float16" : type == TENSOR_BF16 ? "bfloat16" : "float32";
  json_write_member(writer, "torch_dtype", name);
}

/* The model's own, or the tokenizer's. */
static published_tokens_t config_tokens(const written_config_t *config) {
  published_tokens_t tokens = config->published->config;
  if (tokens.bos < 0) tokens.bos = tokenizer_bos(config->tokenizer);
  if (tokens.eos_count > 0) return tokens;
  tokens.eos[0] = tokenizer_eos(config->tokenizer);
  tokens.eos_count = 1;
  return tokens;
}

/* Where a text has no token in front, LLaMA's configuration would assume one unless it is null. */
static void config_write_tokens(json_writer_t *writer, const written_config_t *config) {
  const published_tokens_t tokens = config_tokens(config);
  if (tokens.bos < 0) {
    json_write_key(writer, "bos_token_id");
    json_write_null(writer);
  }
  published_write_tokens(writer, &tokens);
}

/* Of the kinds that are written, Qwen2 alone has biases on q, k and v and none on o. */
static bool is_qwen2(const model_config_t *model) {
  return model->qkv_bias && !model->o_bias;
}

static void config_write_decoder(json_writer_t *writer, const written_config_t *config) {
  const model_config_t *model = config->model;
  json_write_int_member(writer, "vocab_size", model->vocab);
  json_write_int_member(writer, "hidden_size", model->hidden);
  json_write_int_member(writer, "intermediate_size", model->mlp);
  json_write_int_member(writer, "num_hidden_layers", model->layers);
  json_write_int_member(writer, "num_attention_heads", model->heads);
  json_write_int_member(writer, "num_key_value_heads", model->kv_heads);
  json_write_int_member(writer, "head_dim", model->head_size);
  json_write_member(writer, "hidden_act", "silu");
  json_write_real_member(writer, "rms_norm_eps", model->norm_eps);
  json_write_real_member(writer, "rope_theta", model->rope_base);
  config_write_scaling(writer, &model->rope_scaling);
  if (config->published->positions > 0)
    json_write_int_member(writer, "max_position_embeddings", config->published->positions);
  config_write_tokens(writer, config);
  if (is_qwen2(model)) {
    config_write_bool(writer, "use_sliding_window", false);
  } else {
    config_write_bool(writer, "attention_bias", model->qkv_bias);
    config_write_bool(writer, "mlp_bias", model->mlp_bias);
  }
  config_write_bool(writer, "tie_word_embeddings", model->tied);
}

static void config_write_tower(json_writer_t *writer, const written_config_t *config) {
  const model_config_t *model = config->model;
  bool siglip = model->tower == TOWER_SIGLIP;
  json_write_int_member(writer, "hidden_size", model->vision_hidden);
  json_write_int_member(writer, "intermediate_size", model->vision_mlp);
  json_write_int_member(writer, "num_hidden_layers", model->vision_layers);
  json_write_int_member(writer, "num_attention_heads", model->vision_heads);
  json_write_int_member(writer, "patch_size", model->vision_patch);
  json_write_int_member(writer, "image_size", model->vision_image_size);
  json_write_member(writer, "hidden_act", siglip ? "gelu_pytorch_tanh" : "quick_gelu");
  json_write_real_member(writer, "layer_norm_eps", model->vision_norm_eps);
  if (siglip) config_write_bool(writer, "vision_use_head", config->pools);
}

static void config_write_original(json_writer_t *writer, const written_config_t *config) {
  const model_config_t *model = config->model;
  bool linear = model->projector == PROJECTOR_LINEAR;
  if (is_qwen2(model))
    config_write_architecture(writer, "LlavaQwenForCausalLM", "llava_qwen");
  else
    config_write_architecture(writer, "LlavaLlamaForCausalLM", "llava_llama");
  config_write_decoder(writer, config);
  json_write_member(writer, "mm_vision_tower", config->tower);
  json_write_int_member(writer, "mm_hidden_size", model->vision_hidden);
  json_write_int_member(writer, "mm_vision_select_layer", model->vision_feature_layer);
  json_write_member(writer, "mm_vision_select_feature", "patch");
  json_write_member(writer, "mm_projector_type", linear ? "linear" : "mlp2x_gelu");
  config_write_bool(writer, "mm_use_im_start_end", false);
  config_write_bool(writer, "mm_use_im_patch_token", false);
  config_write_bool(writer, "use_mm_proj", true);
  json_write_member(writer, "image_aspect_ratio", config->pads ? "pad" : "square");
}

/* The language model alone. */
static void config_write_language(json_writer_t *writer, const written_config_t *config) {
  if (is_qwen2(config->model))
    config_write_architecture(writer, "Qwen2ForCausalLM", "qwen2");
  else
    config_write_architecture(writer, "LlamaForCausalLM", "llama");
  config_write_decoder(writer, config);
}

static void config_write_transformers(json_writer_t *writer, const written_config_t *config) {
  const model_config_t *model = config->model;
  config_write_architecture(writer, "LlavaForConditionalGeneration", "llava");
  json_write_int_member(writer, "image_token_index", config->image->id);
  json_write_int_member(writer, "image_seq_length", config_patches(model));
  json_write_member(writer, "projector_hidden_act", "gelu");
  config_write_bool(writer, "multimodal_projector_bias", true);
  json_write_int_member(writer, "vision_feature_layer", model->vision_feature_layer);
  json_write_member(writer, "vision_feature_select_strategy",
                    model->tower == TOWER_SIGLIP ? "full" : "default");
  config_write_bool(writer, "tie_word_embeddings", model->tied);
  json_write_key(writer, "text_config");
  json_write_object_begin(writer);
  config_write_language(writer, config);
  config_write_type(writer, config->type);
  json_write_object_end(writer);
  json_write_key(writer, "vision_config");
  json_write_object_begin(writer);
  json_write_member(writer, "model_type",
                    model->tower == TOWER_SIGLIP ? "siglip_vision_model" : "clip_vision_model");
  config_write_tower(writer, config);
  json_write_object_end(writer);
}

static void config_write_config(json_writer_t *writer, naming_t naming, const written_config_t *config) {
  json_write_object_begin(writer);
  if (naming == NAMING_TOWER) {
    if (config->model->tower == TOWER_SIGLIP)
      config_write_architecture(writer, "SiglipVisionModel", "siglip_vision_model");
    else
      config_write_architecture(writer, "CLIPVisionModel", "clip_vision_model");
    config_write_tower(writer, config);
  } else if (!config_sees(config->model)) {
    config_write_language(writer, config);
  } else if (naming == NAMING_LLAVA) {
    config_write_original(writer, config);
  } else {
    config_write_transformers(writer, config);
  }
  config_write_type(writer, config->type);
  json_write_object_end(writer);
}

static void config_write_numbers(json_writer_t *writer, const char *key, const double numbers[3]) {
  json_write_key(writer, key);
  json_write_array_begin(writer);
  for (int i = 0; i < 3; i++)
    json_write_real(writer, numbers[i]);
  json_write_array_end(writer);
}

static void config_write_square(json_writer_t *writer, const char *key, int32_t side) {
  json_write_key(writer, key);
  json_write_object_begin(writer);
  json_write_int_member(writer, "height", side);
  json_write_int_member(writer, "width", side);
  json_write_object_end(writer);
}

static void config_write_clip_size(json_writer_t *writer, int32_t side) {
  json_write_key(writer, "size");
  json_write_object_begin(writer);
  json_write_int_member(writer, "shortest_edge", side);
  json_write_object_end(writer);
  config_write_bool(writer, "do_center_crop", true);
  config_write_square(writer, "crop_size", side);
}

/* Of transformers' processors only LLaVA's pads. That of a tower alone is the tower's, whatever is made of
 * images before (original LLaVA pads them by itself). */
static void config_write_processor_type(json_writer_t *writer, bool siglip, bool pads) {
  const char *type = siglip ? "SiglipImageProcessor" : "CLIPImageProcessor";
  json_write_member(writer, "image_processor_type", pads ? "LlavaImageProcessor" : type);
  if (pads) config_write_bool(writer, "do_pad", true);
  if (pads && siglip) config_write_bool(writer, "do_center_crop", false); /* SigLIP's own does not know it */
}

static void config_write_pixels(json_writer_t *writer, const model_config_t *model, bool pads) {
  bool siglip = model->tower == TOWER_SIGLIP;
  const pixels_norm_t *norm = &pixels_norms[siglip ? PIXELS_SIGLIP : PIXELS_CLIP];
  json_write_object_begin(writer);
  config_write_processor_type(writer, siglip, pads);
  config_write_bool(writer, "do_convert_rgb", true);
  config_write_bool(writer, "do_resize", true);
  if (siglip)
    config_write_square(writer, "size", model->vision_image_size);
  else
    config_write_clip_size(writer, model->vision_image_size);
  json_write_int_member(writer, "resample", PILLOW_BICUBIC);
  config_write_bool(writer, "do_rescale", true);
  json_write_real_member(writer, "rescale_factor", 1.0 / 255.0);
  config_write_bool(writer, "do_normalize", true);
  config_write_numbers(writer, "image_mean", norm->mean);
  config_write_numbers(writer, "image_std", norm->std);
  json_write_object_end(writer);
}

status_t config_write_store(json_writer_t *writer, const char *folder, const char *name) {
  char path[FILE_MAX_PATH], *text;
  size_t n;
  TRY(json_writer_finish(writer, &text, &n));
  status_code_t status = file_join(path, folder, name, NULL);
  if (status == STATUS_OK) status = file_replace(path, text, n);
  memory_free(text);
  return status;
}

/* Defaults of generation: the model's own, which end as config.json says where they name no EOS; and what
 * ends answers under the template, on which generation stops here. */
static status_t config_write_generation(const char *folder, const written_config_t *config) {
  static const char name[] = "generation_config.json";
  const published_tokens_t fallback = config_tokens(config);
  published_tokens_t tokens = config->published->defaults;
  json_writer_t *writer;
  if (tokens.bos < 0) tokens.bos = fallback.bos;
  if (tokens.pad < 0) tokens.pad = fallback.pad;
  for (int32_t i = 0; i < fallback.eos_count; i++)
    if (config->published->defaults.eos_count == 0) TRY(published_add_eos(&tokens, fallback.eos[i], name));
  TRY(published_add_eos(&tokens, template_end(config->template, config->tokenizer), name));
  TRY(json_writer_create(NULL, &writer));
  published_write_generation(writer, config->published->generation, &tokens);
  return config_write_store(writer, folder, name);
}

/* How transformers' LlavaProcessor puts images and texts together. */
static status_t config_write_processor(const char *folder, const written_config_t *config) {
  bool siglip = config->model->tower == TOWER_SIGLIP;
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_member(writer, "processor_class", "LlavaProcessor");
  json_write_member(writer, "image_token", config->image->text);
  json_write_int_member(writer, "patch_size", config->model->vision_patch);
  json_write_int_member(writer, "num_additional_image_tokens", siglip ? 0 : 1);
  json_write_member(writer, "vision_feature_select_strategy", siglip ? "full" : "default");
  json_write_object_end(writer);
  return config_write_store(writer, folder, "processor_config.json");
}

status_t config_write(const char *folder, naming_t naming, const written_config_t *config) {
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  config_write_config(writer, naming, config);
  TRY(config_write_store(writer, folder, "config.json"));
  if (naming != NAMING_TOWER) TRY(config_write_generation(folder, config));
  if (naming == NAMING_LLAVA) return STATUS_OK;
  TRY(json_writer_create(NULL, &writer));
  config_write_pixels(writer, config->model, config->pads && naming == NAMING_TRANSFORMERS);
  TRY(config_write_store(writer, folder, "preprocessor_config.json"));
  return naming == NAMING_TRANSFORMERS ? config_write_processor(folder, config) : STATUS_OK;
}

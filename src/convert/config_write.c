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

/* The id of a token; -1, of one that the tokenizer lacks, becomes null: where the member is absent, readers
 * take LLaMA's. */
static void config_write_token(json_writer_t *writer, const char *key, int32_t id) {
  json_write_key(writer, key);
  if (id < 0)
    json_write_null(writer);
  else
    json_write_int(writer, id);
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
  config_write_token(writer, "bos_token_id", tokenizer_bos(config->tokenizer));
  config_write_token(writer, "eos_token_id", tokenizer_eos(config->tokenizer));
  config_write_bool(writer, "attention_bias", false);
  config_write_bool(writer, "mlp_bias", false);
  config_write_bool(writer, "tie_word_embeddings", model->tied);
}

static void config_write_tower(json_writer_t *writer, const model_config_t *model) {
  json_write_int_member(writer, "hidden_size", model->vision_hidden);
  json_write_int_member(writer, "intermediate_size", model->vision_mlp);
  json_write_int_member(writer, "num_hidden_layers", model->vision_layers);
  json_write_int_member(writer, "num_attention_heads", model->vision_heads);
  json_write_int_member(writer, "patch_size", model->vision_patch);
  json_write_int_member(writer, "image_size", model->vision_image_size);
  json_write_member(writer, "hidden_act", "quick_gelu");
  json_write_real_member(writer, "layer_norm_eps", model->vision_norm_eps);
}

static void config_write_original(json_writer_t *writer, const written_config_t *config) {
  const model_config_t *model = config->model;
  bool linear = model->projector == PROJECTOR_LINEAR;
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
  json_write_member(writer, "image_aspect_ratio", "pad");
}

static void config_write_llama(json_writer_t *writer, const written_config_t *config) {
  config_write_architecture(writer, "LlamaForCausalLM", "llama");
  config_write_decoder(writer, config);
}

/* The id that stands for a patch in transformers' input: the first row of the embedding without a piece, else
 * the unknown piece's, which no text has. */
static int32_t image_token(const written_config_t *config) {
  int32_t pieces = tokenizer_size(config->tokenizer);
  return config->model->vocab > pieces ? pieces : 0;
}

static void config_write_transformers(json_writer_t *writer, const written_config_t *config) {
  const model_config_t *model = config->model;
  config_write_architecture(writer, "LlavaForConditionalGeneration", "llava");
  json_write_int_member(writer, "image_token_index", image_token(config));
  json_write_int_member(writer, "image_seq_length", config_patches(model));
  json_write_member(writer, "projector_hidden_act", "gelu");
  config_write_bool(writer, "multimodal_projector_bias", true);
  json_write_int_member(writer, "vision_feature_layer", model->vision_feature_layer);
  json_write_member(writer, "vision_feature_select_strategy", "default");
  config_write_bool(writer, "tie_word_embeddings", model->tied);
  json_write_key(writer, "text_config");
  json_write_object_begin(writer);
  config_write_architecture(writer, "LlamaForCausalLM", "llama");
  config_write_decoder(writer, config);
  config_write_type(writer, config->type);
  json_write_object_end(writer);
  json_write_key(writer, "vision_config");
  json_write_object_begin(writer);
  json_write_member(writer, "model_type", "clip_vision_model");
  config_write_tower(writer, model);
  json_write_object_end(writer);
}

static void config_write_config(json_writer_t *writer, naming_t naming, const written_config_t *config) {
  json_write_object_begin(writer);
  if (naming == NAMING_TOWER) {
    config_write_architecture(writer, "CLIPVisionModel", "clip_vision_model");
    config_write_tower(writer, config->model);
  } else if (!config_sees(config->model)) {
    config_write_llama(writer, config);
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

static void config_write_pixels(json_writer_t *writer, const model_config_t *model) {
  json_write_object_begin(writer);
  json_write_member(writer, "image_processor_type", "CLIPImageProcessor");
  config_write_bool(writer, "do_convert_rgb", true);
  config_write_bool(writer, "do_resize", true);
  json_write_key(writer, "size");
  json_write_object_begin(writer);
  json_write_int_member(writer, "shortest_edge", model->vision_image_size);
  json_write_object_end(writer);
  json_write_int_member(writer, "resample", PILLOW_BICUBIC);
  config_write_bool(writer, "do_center_crop", true);
  json_write_key(writer, "crop_size");
  json_write_object_begin(writer);
  json_write_int_member(writer, "height", model->vision_image_size);
  json_write_int_member(writer, "width", model->vision_image_size);
  json_write_object_end(writer);
  config_write_bool(writer, "do_rescale", true);
  json_write_real_member(writer, "rescale_factor", 1.0 / 255.0);
  config_write_bool(writer, "do_normalize", true);
  config_write_numbers(writer, "image_mean", clip_mean);
  config_write_numbers(writer, "image_std", clip_std);
  json_write_object_end(writer);
}

/* What a writer in memory has written becomes FOLDER/NAME. */
static status_t config_write_store(json_writer_t *writer, const char *folder, const char *name) {
  char path[FILE_MAX_PATH], *text;
  size_t n;
  TRY(json_writer_finish(writer, &text, &n));
  status_code_t status = file_join(path, folder, name, NULL);
  if (status == STATUS_OK) status = file_replace(path, text, n);
  memory_free(text);
  return status;
}

status_t config_write(const char *folder, naming_t naming, const written_config_t *config) {
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  config_write_config(writer, naming, config);
  TRY(config_write_store(writer, folder, "config.json"));
  if (naming == NAMING_LLAVA) return STATUS_OK;
  TRY(json_writer_create(NULL, &writer));
  config_write_pixels(writer, config->model);
  return config_write_store(writer, folder, "preprocessor_config.json");
}

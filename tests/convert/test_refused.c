/* What import cannot take, or could only compute wrongly, is refused by name. */
#include "base/memory.h"
#include "convert/convert_fixture.h"
#include "convert/export.h"
#include "convert/import.h"
#include "io/file.h"
#include "io/tensors/safetensors_writer.h"

static status_code_t import(const char *settings) {
  char text[CONVERT_TEXT];
  snprintf(text, sizeof text, "&job task='import' /\n&import %s tokenizer='$/text/golden/over.model' /\n",
           settings);
  return convert_run(convert_test(), text, import_run);
}

static void write_file(const char *name, const char *text) {
  char path[CONVERT_TEXT];
  convert_fill(convert_test(), name, path);
  assert_ok(file_make_parent(path));
  assert_ok(file_write(path, text, strlen(text)));
}

/* ---- Configurations ---- */

static const char llama_fields[] =
    "\"model_type\": \"llama\", \"hidden_size\": 16, \"intermediate_size\": 24, \"num_hidden_layers\": 2, "
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 332, \"rms_norm_eps\": 1e-05";
static const char tower_fields[] = "\"model_type\": \"clip_vision_model\", \"hidden_size\": 16";

/* The fields of a whole configuration but one, and the name that the refusal has to say. */
typedef struct {
  const char *field, *named;
} refused_t;

static void refuse_config(const char *fields, const refused_t *refused, const char *format) {
  char text[2048];
  snprintf(text, sizeof text, format, fields, refused->field);
  write_file("@/bad/config.json", text);
  assert_error_about(import("weights='@/bad'"), STATUS_DATA, refused->named);
}

static void decoders_that_are_not_computed(void **state) {
  static const refused_t refused[] = {
      {"\"hidden_act\": \"gelu\"", "hidden_act"},
      {"\"attention_bias\": 1", "attention_bias"},
      {"\"is_causal\": false", "is_causal"},
      {"\"use_sliding_window\": true", "use_sliding_window"},
      {"\"model_type\": \"gemma\"", "gemma"},
      {"\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}", "dynamic"},
      {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2.0}", "yarn"},
      {"\"rope_parameters\": {\"rope_type\": \"longrope\", \"rope_theta\": 1e4}", "longrope"},
      {"\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0}", "low_freq_factor"},
      {"\"rope_scaling\": {\"rope_type\": \"linear\"}", "factor"},
      {"\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 0.0}", "'factor'"},
      {"\"partial_rotary_factor\": 0.5", "partial_rotary_factor"},
      {"\"sliding_window\": 4096", "sliding_window"},
      {"\"sliding_window\": 4096, \"max_position_embeddings\": 4097", "sliding_window"},
      {"\"model_type\": \"mistral\"", "sliding_window"},
      {"\"model_type\": \"mistral\", \"max_position_embeddings\": 32768", "sliding_window"},
      {"\"model_type\": \"qwen2\", \"use_sliding_window\": true", "sliding_window"},
      {"\"quantization_config\": {\"bits\": 4}", "quantization_config"},
      {"\"num_local_experts\": 8", "num_local_experts"},
      {"\"vocab_size\": \"many\"", "vocab_size"},
      {"\"eos_token_id\": \"2\"", "eos_token_id"},
      {"\"eos_token_id\": [2, null]", "eos_token_id"},
      {"\"eos_token_id\": [1, 2, 3, 4, 5, 6, 7, 8, 9]", "eos_token_id"},
      {"\"eos_token_id\": {\"id\": 2}", "eos_token_id"},
      {"\"bos_token_id\": [1]", "bos_token_id"},
      {"\"pad_token_id\": 0.5", "pad_token_id"},
      {"\"num_key_value_heads\": -1", "num_key_value_heads"},
      {"\"mm_vision_tower\": \"x\", \"mm_projector_type\": \"mlp3x_gelu\"", "mm_projector_type"},
      {"\"mm_vision_tower\": \"x\", \"mm_resampler_type\": \"spatial_pool\"", "mm_resampler_type"},
      {"\"mm_vision_tower\": \"x\", \"mm_use_im_start_end\": true", "mm_use_im_start_end"},
      {"\"mm_vision_tower\": \"x\", \"mm_vision_select_feature\": \"cls_patch\"", "mm_vision_select_feature"},
      {"\"mm_vision_tower\": \"x\", \"image_aspect_ratio\": \"anyres\"", "image_aspect_ratio"}};
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    refuse_config(llama_fields, &refused[i], "{%s, %s}");
}

/* Defaults of generation that are none. */
static void broken_defaults_of_generation(void **state) {
  static const char *const texts[] = {"[2]", "{\"eos_token_id\": true}", "{\"eos_token_id\": [[2]]}", "{"};
  char config[1024];
  (void)state;
  snprintf(config, sizeof config, "{%s}", llama_fields);
  write_file("@/bad/config.json", config);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    write_file("@/bad/generation_config.json", texts[i]);
    assert_error_about(import("weights='@/bad'"), STATUS_DATA, "generation_config.json");
  }
}

static void llavas_that_are_not_computed(void **state) {
  static const refused_t refused[] = {
      {"\"vision_feature_select_strategy\": \"full\"", "vision_feature_select_strategy"},
      {"\"vision_feature_layer\": [-2, -5]", "vision_feature_layer"},
      {"\"projector_hidden_act\": \"relu\"", "projector_hidden_act"},
      {"\"multimodal_projector_bias\": false", "multimodal_projector_bias"},
      {"\"quantization_config\": {\"load_in_4bit\": true}", "quantization_config"},
      {"\"text_config\": {\"model_type\": \"qwen9\"}", "qwen9"}};
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    refuse_config(tower_fields, &refused[i],
                  "{\"model_type\": \"llava\", \"text_config\": {}, \"vision_config\": {%s}, %s}");
}

static void towers_that_are_not_computed(void **state) {
  static const refused_t refused[] = {{"\"hidden_act\": \"gelu\"", "hidden_act"},
                                      {"\"model_type\": \"dinov2\"", "dinov2"},
                                      {"\"num_channels\": 1", "num_channels"}};
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    char text[2048];
    snprintf(text, sizeof text, "{%s, %s}", tower_fields, refused[i].field);
    write_file("@/tower/config.json", text);
    assert_error_about(import("weights='$/convert/golden/llama' vision_tower='@/tower'"), STATUS_DATA,
                       refused[i].named);
  }
}

/* Features without the class token, which SigLIP does not have. */
static void features_that_are_no_tokens(void **state) {
  static const char config[] =
      "{\"model_type\": \"llava\", \"text_config\": {}, \"vision_config\": {\"model_type\": "
      "\"siglip_vision_model\"} %s}";
  static const char *const strategies[] = {"", ", \"vision_feature_select_strategy\": \"default\""};
  char text[1024];
  (void)state;
  for (int i = 0; i < 2; i++) {
    snprintf(text, sizeof text, config, strategies[i]);
    write_file("@/bad/config.json", text);
    assert_error_about(import("weights='@/bad'"), STATUS_DATA, "vision_feature_select_strategy");
  }
}

/* Pixels that are not the tower's. */
static void other_pixels(void **state) {
  char text[CONVERT_TEXT], path[CONVERT_TEXT], *config;
  (void)state;
  assert_ok(file_read(convert_fill(convert_test(), "$/convert/golden/llama/config.json", path), CONVERT_TEXT,
                      &config, NULL));
  snprintf(text, sizeof text, "%s", config);
  memory_free(config);
  write_file("@/bad/config.json", text);
  write_file("@/bad/preprocessor_config.json", "{\"image_mean\": [0.5, 0.5, 0.5]}");
  assert_error_about(import("weights='@/bad'"), STATUS_DATA, "image_mean");
  write_file("@/bad/preprocessor_config.json", "{\"resample\": 2}");
  assert_error_about(import("weights='@/bad'"), STATUS_DATA, "resample");
  write_file("@/tower/config.json", "{\"model_type\": \"siglip_vision_model\"}");
  write_file("@/tower/preprocessor_config.json", "{\"image_std\": [0.27, 0.26, 0.28]}");
  assert_error_about(import("weights='$/convert/golden/llama' vision_tower='@/tower'"), STATUS_DATA,
                     "image_std");
  write_file("@/tower/preprocessor_config.json", "{\"do_center_crop\": true}");
  assert_error_about(import("weights='$/convert/golden/llama' vision_tower='@/tower'"), STATUS_DATA,
                     "do_center_crop");
}

/* Of a CLIP tower of 16 pixels a side. */
static void pixels_of_another_processor(void **state) {
  static const refused_t refused[] = {
      {"\"rescale_factor\": 0.00784313725490196", "rescale_factor"},
      {"\"do_resize\": false", "do_resize"},
      {"\"do_rescale\": false", "do_rescale"},
      {"\"do_normalize\": false", "do_normalize"},
      {"\"do_center_crop\": false", "do_center_crop"},
      {"\"size\": 32", "'size'"},
      {"\"size\": {\"shortest_edge\": 32}", "'size'"},
      {"\"size\": {\"height\": 16, \"width\": 16}", "'size'"},
      {"\"size\": {\"shortest_edge\": 16, \"longest_edge\": 20}", "'size'"},
      {"\"crop_size\": 12", "crop_size"},
      {"\"crop_size\": {\"height\": 16, \"width\": 12}", "crop_size"},
      {"\"do_pad\": true, \"size\": {\"height\": 16, \"width\": 32}", "'size'"},
      {"\"do_pad\": true, \"crop_size\": 12", "crop_size"}};
  static const char *const taken[] = {
      "\"rescale_factor\": 0.00392156862745098, \"size\": 16, \"crop_size\": 16",
      "\"size\": {\"shortest_edge\": 16}, \"crop_size\": {\"height\": 16, \"width\": 16}",
      "\"do_pad\": true, \"do_center_crop\": false, \"size\": {\"height\": 16, \"width\": 16}"};
  static const char settings[] =
      "weights='$/convert/golden/llama' vision_tower='@/tower' new_projector='linear' outline=.true.";
  char text[512];
  (void)state;
  convert_copy(convert_test(), "$/convert/golden/clip/config.json", "@/tower/config.json", NULL, NULL);
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    snprintf(text, sizeof text, "{%s}", refused[i].field);
    write_file("@/tower/preprocessor_config.json", text);
    assert_error_about(import(settings), STATUS_DATA, refused[i].named);
  }
  for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
    snprintf(text, sizeof text, "{%s}", taken[i]);
    write_file("@/tower/preprocessor_config.json", text);
    assert_ok(import(settings));
  }
}

/* ---- Tensors ---- */

enum { TENSORS_MAX = 64 };

/* One change to the tensors of golden/llama. */
typedef struct {
  const char *name;
  const char *renamed; /* NULL: left out; else its new name */
  bool transposed, integers;
  const char *added;    /* one more, of one number; NULL: none */
  const char *named[2]; /* in the message */
} change_t;

static int64_t list_changed(const tensor_files_t *files, const change_t *change, tensor_spec_t *specs,
                            const tensor_entry_t **entries) {
  int64_t n = 0;
  for (int64_t i = 0; i < tensor_files_count(files); i++) {
    const tensor_entry_t *entry = tensor_files_at(files, i);
    bool changed = change->name && strcmp(entry->name, change->name) == 0;
    if (changed && !change->renamed) continue;
    specs[n] = (tensor_spec_t){
        .name = changed ? change->renamed : entry->name, .type = entry->type, .dims = entry->dims};
    memcpy(specs[n].shape, entry->shape, sizeof specs[n].shape);
    if (changed && change->transposed) {
      specs[n].shape[0] = entry->shape[1];
      specs[n].shape[1] = entry->shape[0];
    }
    if (changed && change->integers) specs[n].type = TENSOR_I16;
    entries[n++] = entry;
  }
  if (change->added)
    specs[n] = (tensor_spec_t){.name = change->added, .type = TENSOR_F16, .dims = 1, .shape = {1}};
  return n;
}

static void write_changed(const change_t *change) {
  static float values[1 << 14];
  tensor_spec_t specs[TENSORS_MAX];
  const tensor_entry_t *entries[TENSORS_MAX];
  tensor_files_t *files;
  safetensors_writer_t *writer;
  char path[CONVERT_TEXT], *config;
  assert_ok(tensor_files_open(convert_fill(convert_test(), "$/convert/golden/llama", path), &files));
  int64_t n = list_changed(files, change, specs, entries);
  assert_ok(safetensors_create(mpi_test_world(), convert_fill(convert_test(), "@/bad", path), "model", specs,
                               n + (change->added != NULL), 0, &writer));
  for (int64_t i = 0; i < n; i++) {
    assert_ok(tensor_files_read(files, entries[i], 0, entries[i]->elements, values));
    assert_ok(safetensors_write(writer, i, 0, entries[i]->elements, values));
  }
  if (change->added) assert_ok(safetensors_write(writer, n, 0, 1, values));
  assert_ok(safetensors_finish(writer, STATUS_OK));
  tensor_files_close(files);
  assert_ok(file_read(convert_fill(convert_test(), "$/convert/golden/llama/config.json", path), CONVERT_TEXT,
                      &config, NULL));
  write_file("@/bad/config.json", config);
  memory_free(config);
}

static void tensors_that_do_not_fit(void **state) {
  static const char q[] = "model.layers.1.self_attn.q_proj.weight";
  static const char k[] = "model.layers.1.self_attn.k_proj.weight";
  static const change_t changes[] = {
      {.name = q, .named = {q, "1 tensors"}},
      {.name = q, .renamed = "model.layers.1.self_attn.qq_proj.weight", .named = {"qq_proj", q}},
      {.name = q, .renamed = "layer1.q", .named = {"layer1.q", "computed"}},
      {.name = k, .renamed = k, .transposed = true, .named = {"(16, 8)", "(8, 16)"}},
      {.name = k, .renamed = k, .integers = true, .named = {k, "I16"}},
      {.added = "model.layers.0.self_attn.q_proj.bias", .named = {"q_proj.bias", "computed"}},
      {.added = "model.layers.2.self_attn.q_proj.weight", .named = {"layers.2", "computed"}},
      {.name = "lm_head.weight", .named = {"lm_head.weight", "1 tensors"}},
  };
  (void)state;
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    write_changed(&changes[i]);
    status_code_t status =
        import("weights='@/bad' vision_tower='$/convert/golden/clip' new_projector='linear'");
    assert_int_equal(status, STATUS_DATA);
    for (int m = 0; m < 2; m++)
      if (!strstr(error_message(), changes[i].named[m]))
        fail_msg("'%s' does not name '%s'", error_message(), changes[i].named[m]);
    error_clear();
  }
}

/* A configuration that says another projector than the tensors make. */
static void a_projector_of_another_kind(void **state) {
  static const char *const files[] = {"pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin",
                                      "pytorch_model-00002-of-00002.bin"};
  static const char settings[] = "weights='@/own' vision_tower='$/convert/golden/clip'";
  char from[128], to[128];
  (void)state;
  for (int i = 0; i < 3; i++) {
    snprintf(from, sizeof from, "$/convert/golden/llava_linear/%s", files[i]);
    snprintf(to, sizeof to, "@/own/%s", files[i]);
    convert_copy(convert_test(), from, to, NULL, NULL);
  }
  convert_copy(convert_test(), "$/convert/golden/llava_linear/config.json", "@/own/config.json",
               "\"mm_hidden_size\": 16", "\"mm_projector_type\": \"mlp2x_gelu\"");
  assert_error_about(import(settings), STATUS_DATA, "mm_projector_type");
  convert_copy(convert_test(), "$/convert/golden/llava_linear/config.json", "@/own/config.json",
               "\"mm_hidden_size\": 16", "\"mm_projector_type\": \"linear\"");
  assert_ok(import(settings));
}

/* ---- Adapters, parts, names ---- */

static status_code_t import_adapter(const char *field) {
  char text[2048];
  snprintf(text, sizeof text, "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 6, %s}", field);
  write_file("@/adapter/adapter_config.json", text);
  return import("weights='$/convert/golden/llava_hf' adapter='@/adapter'");
}

static void adapters_that_are_not_computed(void **state) {
  static const refused_t refused[] = {{"\"bias\": \"lora_only\"", "bias"},
                                      {"\"use_dora\": true", "use_dora"},
                                      {"\"use_rslora\": true", "use_rslora"},
                                      {"\"rank_pattern\": {\"q_proj\": 8}", "rank_pattern"},
                                      {"\"alpha_pattern\": {\"q_proj\": 8}", "alpha_pattern"},
                                      {"\"modules_to_save\": [\"lm_head\"]", "modules_to_save"},
                                      {"\"init_lora_weights\": \"pissa\"", "pissa"},
                                      {"\"peft_type\": \"IA3\"", "IA3"},
                                      {"\"target_modules\": [\"q_proj\", \"v_proj\"]", "target_modules"},
                                      {"\"layers_to_transform\": 1", "layers_to_transform"},
                                      {"\"target_modules\": [\"oj\"]", "target_modules"},
                                      {"\"r\": 0", "'r'"},
                                      {"\"r\": 8", "(4, 24), expected (8, 24)"}};
  (void)state;
  convert_copy(convert_test(), "$/convert/golden/adapter/adapter_model.safetensors",
               "@/adapter/adapter_model.safetensors", NULL, NULL);
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    assert_error_about(import_adapter(refused[i].field), STATUS_DATA, refused[i].named);
}

/* What the weights say as well. */
static void fields_of_adapters_that_change_nothing(void **state) {
  (void)state;
  convert_copy(convert_test(), "$/convert/golden/adapter/adapter_model.safetensors",
               "@/adapter/adapter_model.safetensors", NULL, NULL);
  assert_ok(
      import_adapter("\"target_modules\": [\"q_proj\", \"self_attn.v_proj\", \"o_proj\", \"gate_proj\", "
                     "\"down_proj\"], \"exclude_modules\": [\"lm_head\"]"));
  assert_ok(import_adapter("\"layers_to_transform\": [0, 1], \"layers_pattern\": \"layers\""));
}

/* golden/adapter without its second layer. */
static void write_adapter_of_one_layer(void) {
  static float values[1 << 12];
  tensor_spec_t specs[TENSORS_MAX];
  const tensor_entry_t *entries[TENSORS_MAX];
  tensor_files_t *files;
  safetensors_writer_t *writer;
  char path[CONVERT_TEXT];
  int64_t n = 0;
  assert_ok(tensor_files_open(convert_fill(convert_test(), "$/convert/golden/adapter", path), &files));
  for (int64_t i = 0; i < tensor_files_count(files); i++) {
    const tensor_entry_t *entry = tensor_files_at(files, i);
    if (strstr(entry->name, ".layers.1.")) continue;
    specs[n] = (tensor_spec_t){.name = entry->name, .type = entry->type, .dims = entry->dims};
    memcpy(specs[n].shape, entry->shape, sizeof specs[n].shape);
    entries[n++] = entry;
  }
  assert_true(n > 0 && n < tensor_files_count(files));
  assert_ok(safetensors_create(mpi_test_world(), convert_fill(convert_test(), "@/adapter", path),
                               "adapter_model", specs, n, 0, &writer));
  for (int64_t i = 0; i < n; i++) {
    assert_ok(tensor_files_read(files, entries[i], 0, entries[i]->elements, values));
    assert_ok(safetensors_write(writer, i, 0, entries[i]->elements, values));
  }
  assert_ok(safetensors_finish(writer, STATUS_OK));
  tensor_files_close(files);
}

static void adapters_of_some_layers(void **state) {
  (void)state;
  write_adapter_of_one_layer();
  assert_error_about(import_adapter("\"layers_to_transform\": [0]"), STATUS_DATA, "layers_to_transform");
  assert_error_about(import_adapter("\"target_modules\": \".*layers\\\\.0\\\\..*_proj\""), STATUS_DATA,
                     "target_modules");
}

static void parts_that_are_missing(void **state) {
  (void)state;
  assert_error_about(import("weights='$/convert/golden/llava_linear'"), STATUS_INPUT, "import.vision_tower");
  assert_error_about(import("weights='$/convert/golden/llama' new_projector='linear'"), STATUS_INPUT,
                     "import.vision_tower");
  assert_error_about(import("weights='$/convert/golden/llama' vision_tower='$/convert/golden/clip'"),
                     STATUS_INPUT, "import.projector");
  assert_error_about(import("weights='@/nowhere'"), STATUS_DATA, "/nowhere");
  assert_error_about(convert_run(convert_test(),
                                 "&job task='import' /\n&import weights='$/convert/golden/llava_hf' /\n",
                                 import_run),
                     STATUS_INPUT, "import.tokenizer");
}

static void a_linear_projector_has_no_name_in_transformers(void **state) {
  (void)state;
  assert_ok(import("weights='$/convert/golden/llava_linear' vision_tower='$/convert/golden/clip'"));
  assert_error_about(convert_run(convert_test(),
                                 "&job task='export' /\n&model base='@/run/model.h5' /\n"
                                 "&export output='@/out' naming='transformers' /\n",
                                 export_run),
                     STATUS_INPUT, "linear");
}

/* Imports @/own, in whose folder the file NAME holds TEXT and goes afterwards. */
static status_code_t import_beside(const char *name, const char *text) {
  char path[CONVERT_TEXT];
  write_file(name, text);
  status_code_t status =
      convert_run(convert_test(), "&job task='import' /\n&import weights='@/own' /\n", import_run);
  remove(convert_fill(convert_test(), name, path));
  return status;
}

/* Of 336 rows the tokenizer has pieces for 332. */
static void added_tokens_beside_a_tokenizer(void **state) {
  static const char published[] = "{\"<image>\": 332, \"<pad>\": 333, \"<unused_334>\": 334, \"<s>\": 1, "
                                  "\"<|beyond|>\": 336, \"<|none|>\": -1, \"\": 335}";
  static const char *const refused[][3] = {
      {"@/own/added_tokens.json", "{\"<image>\": 332, \"<|im_end|>\": 335}", "'<|im_end|>' (335)"},
      {"@/own/added_tokens.json", "{\"<|im_end|>\": 5}", "'<|im_end|>' (5)"},
      {"@/own/tokenizer_config.json", "{\"added_tokens_decoder\": {\"334\": {\"content\": \"<x>\"}}}",
       "'<x>' (334)"},
      {"@/own/tokenizer.json", "{\"added_tokens\": [{\"id\": 332, \"content\": \"<y>\"}]}", "'<y>' (332)"}};
  (void)state;
  convert_copy(convert_test(), "$/convert/golden/llava_hf/model.safetensors", "@/own/model.safetensors", NULL,
               NULL);
  convert_copy(convert_test(), "$/convert/golden/llava_hf/config.json", "@/own/config.json", NULL, NULL);
  convert_copy(convert_test(), "$/text/golden/over.model", "@/own/tokenizer.model", NULL, NULL);
  assert_ok(import_beside("@/own/added_tokens.json", published));
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    assert_error_about(import_beside(refused[i][0], refused[i][1]), STATUS_DATA, refused[i][2]);
  write_file(refused[0][0], refused[0][1]);
  assert_ok(import("weights='@/own'")); /* a tokenizer in a folder of its own */
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(decoders_that_are_not_computed, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(broken_defaults_of_generation, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(llavas_that_are_not_computed, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(towers_that_are_not_computed, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(other_pixels, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(pixels_of_another_processor, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(features_that_are_no_tokens, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(tensors_that_do_not_fit, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(a_projector_of_another_kind, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(adapters_that_are_not_computed, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(fields_of_adapters_that_change_nothing, convert_set_up,
                                      convert_tear_down),
      cmocka_unit_test_setup_teardown(adapters_of_some_layers, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(parts_that_are_missing, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(added_tokens_beside_a_tokenizer, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(a_linear_projector_has_no_name_in_transformers, convert_set_up,
                                      convert_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

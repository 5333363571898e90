/* What task export writes is what task import has read, and computes the same. */
#include "base/memory.h"
#include "convert/convert_fixture.h"
#include "convert/names.h"
#include "io/file.h"
#include "io/tensors/safetensors_writer.h"

#define TOKENIZER "tokenizer='$/text/golden/over.model'"

/* Through the tensors' and the configuration's names of transformers, in shards, with adapter and head. */
static void transformers_and_back(void **state) {
  (void)state;
  convert_import("weights='$/convert/golden/llava_hf' adapter='$/convert/golden/adapter' role='reward' "
                 "head='$/convert/golden/reward_head.pt' output='@/first.h5' " TOKENIZER);
  convert_export("base='@/first.h5'", "output='@/out' shard_size=1");
  convert_import("weights='@/out' adapter='@/out/reward' head='@/out/reward_head.safetensors' role='reward' "
                 "output='@/second.h5'");
  convert_same(convert_test(), "@/first.h5", "@/second.h5");
  convert_compare(convert_test(), "&model base='@/second.h5' /", "adapter");
}

/* Original LLaVA, its tower in a folder that config.json names. */
static void original_llava_and_back(void **state) {
  (void)state;
  convert_import("weights='$/convert/golden/llava_linear' vision_tower='$/convert/golden/clip' "
                 "output='@/first.h5' " TOKENIZER);
  convert_export("base='@/first.h5'", "output='@/out' naming='llava'");
  convert_import("weights='@/out' output='@/second.h5'");
  convert_same(convert_test(), "@/first.h5", "@/second.h5");
  convert_export("base='@/second.h5'", "output='@/half' naming='llava' dtype='f16'");
  convert_import("weights='@/half' output='@/third.h5'"); /* published in half precision: nothing is lost */
  convert_same(convert_test(), "@/first.h5", "@/third.h5");
}

/* A language model alone, as LLaMA. */
static void llama_and_back(void **state) {
  (void)state;
  convert_import("weights='$/convert/golden/llama' output='@/first.h5' " TOKENIZER);
  convert_export("base='@/first.h5'", "output='@/out'");
  convert_import("weights='@/out' output='@/second.h5'");
  convert_same(convert_test(), "@/first.h5", "@/second.h5");
}

/* Biases, of LLaMA's kind and of Qwen2's. */
static void biases_and_back(void **state) {
  (void)state;
  convert_import("weights='$/convert/golden/biased' output='@/first.h5' " TOKENIZER);
  convert_export("base='@/first.h5'", "output='@/out'");
  convert_import("weights='@/out' output='@/second.h5'");
  convert_same(convert_test(), "@/first.h5", "@/second.h5");
  convert_import("weights='$/convert/golden/qwen2' output='@/first.h5' " TOKENIZER);
  convert_export("base='@/first.h5'", "output='@/out'");
  convert_import("weights='@/out' output='@/second.h5'");
  convert_same(convert_test(), "@/first.h5", "@/second.h5");
  convert_compare(convert_test(), "&model base='@/second.h5' /", "qwen2");
}

/* Through transformers' names and through original LLaVA's, with the tower in a folder of its own. */
static void siglip_and_back(void **state) {
  (void)state;
  convert_import("weights='$/convert/golden/llava_siglip' output='@/first.h5' " TOKENIZER);
  convert_export("base='@/first.h5'", "output='@/out' shard_size=1");
  convert_import("weights='@/out' output='@/second.h5'");
  convert_same(convert_test(), "@/first.h5", "@/second.h5");
  convert_export("base='@/second.h5'", "output='@/original' naming='llava'");
  convert_import("weights='@/original' output='@/third.h5'");
  convert_same(convert_test(), "@/first.h5", "@/third.h5");
  convert_compare(convert_test(), "&model base='@/third.h5' /", "llava_siglip");
  convert_compare_features(convert_test(), "&model base='@/third.h5' /", "llava_siglip/features");
}

/* An adapter alone, for a base that lies elsewhere. */
static void adapter_alone_and_back(void **state) {
  (void)state;
  convert_import("weights='$/convert/golden/llava_hf' output='@/base.h5' " TOKENIZER);
  assert_ok(convert_run(convert_test(),
                        "&job task='import' /\n&model base='@/base.h5' /\n"
                        "&import adapter='$/convert/golden/adapter' output='@/first.h5' /\n",
                        import_run));
  convert_export("base='@/first.h5'", "output='@/out' naming='llava' base_name='tiny/llava'");
  char path[CONVERT_TEXT];
  assert_false(file_exists(convert_fill(convert_test(), "@/out/config.json", path)));
  assert_ok(convert_run(convert_test(),
                        "&job task='import' /\n&model base='@/base.h5' /\n"
                        "&import adapter='@/out/default' output='@/second.h5' /\n",
                        import_run));
  convert_same(convert_test(), "@/first.h5", "@/second.h5");
}

/* The base and, from a file of its own, its adapter, in one export. */
static void base_with_its_adapter_and_back(void **state) {
  (void)state;
  convert_import("weights='$/convert/golden/llava_hf' output='@/base.h5' " TOKENIZER);
  assert_ok(convert_run(convert_test(),
                        "&job task='import' /\n&model base='@/base.h5' /\n"
                        "&import adapter='$/convert/golden/adapter' output='@/adapter.h5' /\n",
                        import_run));
  convert_export("base='@/base.h5' adapter='@/adapter.h5'", "output='@/out'");
  convert_import("weights='@/out' adapter='@/out/default' output='@/second.h5'");
  convert_compare(convert_test(), "&model base='@/second.h5' /", "adapter");
}

static void merged_weights_compute_what_the_adapter_does(void **state) {
  (void)state;
  convert_import("weights='$/convert/golden/llava_hf' output='@/base.h5' " TOKENIZER);
  assert_ok(convert_run(convert_test(),
                        "&job task='import' /\n&model base='@/base.h5' /\n"
                        "&import adapter='$/convert/golden/adapter' output='@/adapter.h5' /\n",
                        import_run));
  convert_export("base='@/base.h5' adapter='@/adapter.h5'", "output='@/merged' merge=.true. dtype='f32'");
  convert_import("weights='@/merged' output='@/merged.h5'");
  convert_compare(convert_test(), "&model base='@/merged.h5' /", "adapter");
}

/* Writes the tensors of golden/llava_hf under the names that NAMING has for them to @/renamed. */
static void rename_all(naming_t naming) {
  enum { TENSORS_MAX = 128 };
  static char names[TENSORS_MAX][PARAM_NAME_MAX];
  static float values[1 << 14];
  tensor_spec_t specs[TENSORS_MAX];
  tensor_files_t *files;
  safetensors_writer_t *writer;
  char path[CONVERT_TEXT], ours[PARAM_NAME_MAX];
  assert_ok(tensor_files_open(convert_fill(convert_test(), "$/convert/golden/llava_hf", path), &files));
  int64_t count = tensor_files_count(files);
  assert_true(count <= TENSORS_MAX);
  for (int64_t i = 0; i < count; i++) {
    const tensor_entry_t *entry = tensor_files_at(files, i);
    assert_true(name_from_outside(entry->name, ours) && name_to_outside(naming, ours, names[i]));
    assert_string_not_equal(names[i], entry->name);
    specs[i] = (tensor_spec_t){.name = names[i], .type = entry->type, .dims = entry->dims};
    memcpy(specs[i].shape, entry->shape, sizeof specs[i].shape);
  }
  assert_ok(safetensors_create(mpi_test_world(), convert_fill(convert_test(), "@/renamed", path), "model",
                               specs, count, 0, &writer));
  for (int64_t i = 0; i < count && comm_rank(mpi_test_world()) == 0; i++) {
    const tensor_entry_t *entry = tensor_files_at(files, i);
    assert_true(entry->elements <= (int64_t)(sizeof values / sizeof *values));
    assert_ok(tensor_files_read_f32(files, entry, 0, entry->elements, values));
    assert_ok(safetensors_write_f32(writer, i, 0, entry->elements, values));
  }
  assert_ok(safetensors_finish(writer, STATUS_OK));
  tensor_files_close(files);
}

/* CONFIG, filled, or the one of golden/llava_hf where it is NULL. */
static void write_config(const char *config) {
  char path[CONVERT_TEXT], text[CONVERT_TEXT], *copied = NULL;
  if (config)
    convert_fill(convert_test(), config, text);
  else
    assert_ok(file_read(convert_fill(convert_test(), "$/convert/golden/llava_hf/config.json", path),
                        CONVERT_TEXT, &copied, NULL));
  const char *bytes = copied ? copied : text;
  if (comm_rank(mpi_test_world()) == 0)
    assert_ok(file_write(convert_fill(convert_test(), "@/renamed/config.json", path), bytes, strlen(bytes)));
  memory_free(copied);
  assert_ok(comm_agree(mpi_test_world(), STATUS_OK));
}

static const char original_config[] =
    "{\"model_type\": \"llava_llama\", \"hidden_size\": 16, \"intermediate_size\": 24, "
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 336, "
    "\"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"rope_scaling\": null, "
    "\"mm_vision_tower\": \"$/convert/golden/clip\", \"mm_projector_type\": \"mlp2x_gelu\", "
    "\"mm_vision_select_layer\": -2, \"mm_vision_select_feature\": \"patch\", \"mm_hidden_size\": 16}";

/* The modules of later releases, and original LLaVA with its tower among the weights: the same model. */
static void one_model_under_other_names(void **state) {
  (void)state;
  convert_import("weights='$/convert/golden/llava_hf' output='@/first.h5' " TOKENIZER);
  rename_all(NAMING_TRANSFORMERS_5);
  write_config(NULL);
  convert_import("weights='@/renamed' output='@/second.h5' " TOKENIZER);
  convert_same(convert_test(), "@/first.h5", "@/second.h5");
  rename_all(NAMING_LLAVA);
  write_config(original_config);
  convert_import("weights='@/renamed' output='@/third.h5' " TOKENIZER);
  convert_same(convert_test(), "@/first.h5", "@/third.h5");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(transformers_and_back, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(original_llava_and_back, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(llama_and_back, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(biases_and_back, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(siglip_and_back, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(adapter_alone_and_back, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(base_with_its_adapter_and_back, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(merged_weights_compute_what_the_adapter_does, convert_set_up,
                                      convert_tear_down),
      cmocka_unit_test_setup_teardown(one_model_under_other_names, convert_set_up, convert_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

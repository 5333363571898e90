/* Published models of every format through import: they compute what PyTorch, transformers and PEFT compute
 * with them (golden/make_models.py). */
#include "convert/export.h"
#include "convert/import.h"

#include "base/memory.h"
#include "convert/convert_fixture.h"
#include "io/file.h"
#include "io/formats/tokenizer_file.h"
#include "io/json.h"
#include "io/tensors/safetensors_writer.h"
#include "rollout/generate.h"

#include <string.h>

static const char model_base[] = "&model base='@/run/model.h5' /";
#define TOKENIZER " tokenizer='$/text/golden/over.model' /\n"

static void import(const char *settings) {
  char text[CONVERT_TEXT];
  snprintf(text, sizeof text, "&job task='import' /\n&import %s" TOKENIZER, settings);
  assert_ok(convert_run(convert_test(), text, import_run));
}

/* Grouped-query attention, another base of the rotary embedding, shards; a projector that is new. */
static void llama_with_a_tower(void **state) {
  (void)state;
  import("weights='$/convert/golden/llama' vision_tower='$/convert/golden/clip' new_projector='mlp2x_gelu'");
  convert_compare(convert_test(), model_base, "llama");
  convert_compare_features(convert_test(), model_base, "features");
}

/* A language model alone. */
static void llama_without_a_tower(void **state) {
  (void)state;
  import("weights='$/convert/golden/llama'");
  convert_compare(convert_test(), model_base, "llama");
  assert_error_about(convert_run(convert_test(),
                                 "&job task='generate' /\n&model base='@/run/model.h5' /\n"
                                 "&generate image='$/convert/golden/image.jpg' prompt='What is it' "
                                 "output='@/answer.json' /\n",
                                 generate_run),
                     STATUS_INPUT, "no vision tower");
}

static void llama_answers_text(void **state) {
  (void)state;
  import("weights='$/convert/golden/llama'");
  assert_ok(convert_run(convert_test(),
                        "&job task='generate' /\n&model base='@/run/model.h5' /\n"
                        "&generate prompt='What is it' greedy=.true. max_tokens=8 output='@/answer.json' /\n",
                        generate_run));
}

/* LLaMA's attention_bias and mlp_bias; Qwen2, which says nothing of its biases. */
static void biases(void **state) {
  (void)state;
  import("weights='$/convert/golden/biased'");
  convert_compare(convert_test(), model_base, "biased");
  import("weights='$/convert/golden/qwen2'");
  convert_compare(convert_test(), model_base, "qwen2");
}

static void tied_head_and_odd_head_size(void **state) {
  (void)state;
  if (convert_test()->tp == 1) {
    import("weights='$/convert/golden/tied' vision_tower='$/convert/golden/clip' new_projector='linear'");
    convert_compare(convert_test(), model_base, "tied");
  }
}

/* golden/tied with another config.json, in which SCALING stands. */
static void import_scaled(const char *scaling) {
  char path[CONVERT_TEXT], text[CONVERT_TEXT], *bytes;
  size_t n;
  snprintf(
      text, sizeof text,
      "{\"model_type\": \"llama\", \"hidden_size\": 16, \"intermediate_size\": 24, \"vocab_size\": 340, "
      "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 1, \"head_dim\": 6, "
      "\"rms_norm_eps\": 1e-06, \"tie_word_embeddings\": true, %s}",
      scaling);
  assert_ok(file_read(convert_fill(convert_test(), "$/convert/golden/tied/pytorch_model.bin", path), 1 << 20,
                      &bytes, &n));
  if (comm_rank(mpi_test_world()) == 0) {
    assert_ok(file_make_folder(convert_fill(convert_test(), "@/scaled", path)));
    assert_ok(file_write(convert_fill(convert_test(), "@/scaled/pytorch_model.bin", path), bytes, n));
    assert_ok(file_write(convert_fill(convert_test(), "@/scaled/config.json", path), text, strlen(text)));
  }
  memory_free(bytes);
  assert_ok(comm_agree(mpi_test_world(), STATUS_OK));
  import("weights='@/scaled' vision_tower='$/convert/golden/clip' new_projector='linear'");
}

/* In the fields of the releases before and since transformers 5. */
static void scaled_rotary_embeddings(void **state) {
  (void)state;
  if (convert_test()->tp == 1) {
    import_scaled("\"rope_theta\": 10000.0, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}");
    convert_compare(convert_test(), model_base, "linear");
    import_scaled(
        "\"rope_parameters\": {\"rope_type\": \"llama3\", \"rope_theta\": 10000.0, \"factor\": 8.0, "
        "\"low_freq_factor\": 0.5, \"high_freq_factor\": 4.0, "
        "\"original_max_position_embeddings\": 128}");
    convert_compare(convert_test(), model_base, "llama3");
  }
}

/* Fields that change nothing: windows that hold all that the model is for, and SiLU by its other name. */
static void windows_that_hold_all(void **state) {
  (void)state;
  if (convert_test()->tp == 1) {
    import_scaled("\"hidden_act\": \"swish\", \"sliding_window\": 512, \"max_position_embeddings\": 512");
    convert_compare(convert_test(), model_base, "tied");
    import_scaled("\"model_type\": \"mistral\", \"max_position_embeddings\": 4096");
    convert_compare(convert_test(), model_base, "tied");
    import_scaled("\"model_type\": \"mistral\", \"sliding_window\": null");
    convert_compare(convert_test(), model_base, "tied");
  }
}

/* ---- Tied heads ---- */

typedef enum { HEAD_ALONE, HEAD_EQUAL, HEAD_OTHER } head_kind_t;

/* @/own: golden/tied with a head of KIND beside its embedding, or in its place. */
static void write_tied(head_kind_t kind) {
  enum { TENSORS_MAX = 64, MOST = 1 << 14 };
  static float values[MOST];
  tensor_spec_t specs[TENSORS_MAX];
  const tensor_entry_t *entries[TENSORS_MAX], *embedding;
  tensor_files_t *files;
  safetensors_writer_t *writer;
  char path[CONVERT_TEXT];
  int64_t n = 0;
  assert_ok(tensor_files_open(convert_fill(convert_test(), "$/convert/golden/tied", path), &files));
  assert_non_null(embedding = tensor_files_find(files, "model.embed_tokens.weight"));
  entries[n++] = embedding;
  for (int64_t i = 0; i < tensor_files_count(files); i++)
    if (kind != HEAD_ALONE || tensor_files_at(files, i) != embedding)
      entries[n++] = tensor_files_at(files, i);
  for (int64_t i = 0; i < n; i++) {
    specs[i] = (tensor_spec_t){
        .name = i == 0 ? "lm_head.weight" : entries[i]->name, .type = TENSOR_F32, .dims = entries[i]->dims};
    memcpy(specs[i].shape, entries[i]->shape, sizeof specs[i].shape);
  }
  assert_ok(safetensors_create(mpi_test_world(), convert_fill(convert_test(), "@/own", path), "model", specs,
                               n, 0, &writer));
  for (int64_t i = 0; i < n && comm_rank(mpi_test_world()) == 0; i++) {
    assert_ok(tensor_files_read_f32(files, entries[i], 0, entries[i]->elements, values));
    if (i == 0 && kind == HEAD_OTHER) values[entries[i]->elements - 1] += 1.0F;
    assert_ok(safetensors_write_f32(writer, i, 0, entries[i]->elements, values));
  }
  assert_ok(safetensors_finish(writer, STATUS_OK));
  tensor_files_close(files);
  convert_copy(convert_test(), "$/convert/golden/tied/config.json", "@/own/config.json", NULL, NULL);
}

static void a_tied_head_is_the_embedding(void **state) {
  (void)state;
  if (convert_test()->tp == 1) {
    write_tied(HEAD_ALONE);
    import("weights='@/own'");
    convert_compare(convert_test(), model_base, "tied");
    write_tied(HEAD_EQUAL);
    import("weights='@/own'");
    convert_compare(convert_test(), model_base, "tied");
  }
}

static void a_tied_head_that_differs_is_refused(void **state) {
  (void)state;
  write_tied(HEAD_OTHER);
  assert_error_about(
      convert_run(convert_test(), "&job task='import' /\n&import weights='@/own'" TOKENIZER, import_run),
      STATUS_DATA, "tie_word_embeddings");
}

static void projector_in_a_file_of_its_own(void **state) {
  (void)state;
  import("weights='$/convert/golden/llama' vision_tower='$/convert/golden/clip' "
         "projector='$/convert/golden/mm_projector.bin'");
  convert_compare(convert_test(), model_base, "projector");
}

static void original_llava_with_a_linear_projector(void **state) {
  (void)state;
  import("weights='$/convert/golden/llava_linear' vision_tower='$/convert/golden/clip'");
  convert_compare(convert_test(), model_base, "llava_linear");
}

static void transformers_llava(void **state) {
  (void)state;
  import("weights='$/convert/golden/llava_hf'");
  convert_compare(convert_test(), model_base, "llava_hf");
  convert_compare_features(convert_test(), model_base, "llava_hf/features");
}

/* Of Qwen2 and SigLIP. */
static void transformers_llava_of_other_parts(void **state) {
  (void)state;
  import("weights='$/convert/golden/llava_siglip'");
  convert_compare(convert_test(), model_base, "llava_siglip");
  convert_compare_features(convert_test(), model_base, "llava_siglip/features");
}

/* The adapter and the head in the file of their base, and in one that refers to it. */
static void adapter_and_reward_head(void **state) {
  (void)state;
  import("weights='$/convert/golden/llava_hf' adapter='$/convert/golden/adapter' role='reward' "
         "head='$/convert/golden/reward_head.pt'");
  convert_compare(convert_test(), model_base, "adapter");
  import("weights='$/convert/golden/llava_hf' output='@/base.h5'");
  assert_ok(convert_run(convert_test(),
                        "&job task='import' /\n&model base='@/base.h5' /\n"
                        "&import adapter='$/convert/golden/adapter' role='reward' "
                        "head='$/convert/golden/reward_head.pt' output='@/reward.h5' /\n",
                        import_run));
  convert_compare(convert_test(), "&model base='@/reward.h5' /", "adapter");
}

/* Of the answer NAME as transformers makes it the tokens up to the first END (-1: all), as text. */
static void expected_answer(const char *name, int32_t end, char **answer) {
  const tensor_entry_t *entry = tensor_files_find(convert_test()->expected, name);
  char path[CONVERT_TEXT];
  int32_t ids[64];
  tokenizer_t *tokenizer;
  assert_non_null(entry);
  assert_true(entry->elements > 8 && entry->elements <= 64);
  assert_ok(tensor_files_read(convert_test()->expected, entry, 0, entry->elements, ids));
  assert_ok(tokenizer_load(convert_fill(convert_test(), "$/text/golden/over.model", path), &tokenizer));
  int32_t n = 0, all = (int32_t)entry->elements;
  while (n < all && (n == 0 || ids[n - 1] != end))
    n++;
  assert_true((end < 0) == (n == all));
  assert_ok(tokenizer_decode(tokenizer, ids, n, answer, NULL));
  tokenizer_free(tokenizer);
}

/* From a JPEG and a question to the greedy answer EXPECTED_NAME of the imported model, token by token, up to
 * END. */
static void check_greedy_answer(const char *expected_name, int32_t end) {
  char path[CONVERT_TEXT], *expected;
  const char *answer;
  json_document_t document;
  assert_ok(convert_run(convert_test(),
                        "&job task='generate' /\n&model base='@/run/model.h5' template='v1' /\n"
                        "&generate image='$/convert/golden/image.jpg' prompt='What is it' greedy=.true. "
                        "max_tokens=64 stop_at_question=.false. output='@/answer.json' /\n",
                        generate_run));
  expected_answer(expected_name, end, &expected);
  assert_ok(json_parse_file(convert_fill(convert_test(), "@/answer.json", path), 1 << 20, &document));
  assert_ok(json_string(document.root, "answer", path, &answer));
  assert_string_equal(answer, expected);
  json_free(&document);
  memory_free(expected);
}

static void the_greedy_answer_is_transformers(void **state) {
  (void)state;
  import("weights='$/convert/golden/llava_hf'");
  check_greedy_answer("answer", -1);
  import("weights='$/convert/golden/llava_siglip'");
  check_greedy_answer("llava_siglip/answer", -1);
}

/* The token at PLACE of transformers' answer. */
static int32_t answer_token(int64_t place) {
  int32_t token;
  assert_ok(tensor_files_read(convert_test()->expected, tensor_files_find(convert_test()->expected, "answer"),
                              place, 1, &token));
  return token;
}

/* Imports golden/llava_hf whose configuration names LIST as eos_token_id, with the generation_config.json
 * DEFAULTS (""; none). */
static void import_with_ends(const char *list, const char *defaults) {
  char path[CONVERT_TEXT], text[128];
  snprintf(text, sizeof text, "\"eos_token_id\": %s", list);
  convert_copy(convert_test(), "$/convert/golden/llava_hf/model.safetensors", "@/own/model.safetensors", NULL,
               NULL);
  convert_copy(convert_test(), "$/convert/golden/llava_hf/config.json", "@/own/config.json",
               "\"eos_token_id\": 2", text);
  convert_fill(convert_test(), "@/own/generation_config.json", path);
  if (comm_rank(mpi_test_world()) == 0) {
    remove(path);
    if (*defaults) assert_ok(file_write(path, defaults, strlen(defaults)));
  }
  assert_ok(comm_agree(mpi_test_world(), STATUS_OK));
  import("weights='@/own'");
}

/* LLaMA 3 and Qwen2 have several tokens that end an answer: in config.json, or in generation_config.json. */
static void answers_end_with_each_of_the_models_own_tokens(void **state) {
  char text[128];
  int32_t early = answer_token(3), later = answer_token(6);
  (void)state;
  snprintf(text, sizeof text, "[2, 331, %d]", early);
  import_with_ends(text, "");
  check_greedy_answer("answer", early);
  snprintf(text, sizeof text, "{\"eos_token_id\": %d}", later);
  import_with_ends("2", text);
  check_greedy_answer("answer", later);
  snprintf(text, sizeof text, "{\"eos_token_id\": [2, %d]}", later);
  import_with_ends("null", text);
  check_greedy_answer("answer", later);
  import_with_ends("[2]", "{\"eos_token_id\": null}");
  check_greedy_answer("answer", -1);
}

/* ---- Outlines ---- */

enum { OUTLINE_BYTES_MOST = 256 << 10 };

static void inspect(const char *name, store_info_t *info, weights_file_t **file) {
  char path[CONVERT_TEXT];
  convert_fill(convert_test(), name, path);
  assert_ok(store_inspect(mpi_test_world(), path, NULL, info));
  assert_ok(weights_open(mpi_test_world(), path, &store_format, file));
}

/* An imported file keeps the tower's layers that no pass uses as well. */
static void compare_tensors(const model_config_t *config, const weights_file_t *outline,
                            const weights_file_t *file) {
  int64_t unused = 0;
  for (int64_t i = 0; i < weights_count(file); i++) {
    const weights_tensor_t *expected = weights_at(file, i), *found = weights_find(outline, expected->path);
    if (!found && base_leaves_unused(config, expected->path + strlen("/weights/"))) {
      unused++;
      continue;
    }
    if (!found) fail_msg("the outline has no %s", expected->path);
    assert_int_equal(found->ndim, expected->ndim);
    assert_memory_equal(found->shape, expected->shape, sizeof expected->shape);
  }
  assert_int_equal(weights_count(outline), weights_count(file) - unused);
}

/* Sizes of the outline of a decoder of KIND whose config.json says no more than FIELDS. */
static model_config_t outline_of_kind(const char *kind, const char *fields) {
  store_info_t info;
  weights_file_t *file;
  char text[512], path[CONVERT_TEXT];
  snprintf(text, sizeof text,
           "{\"model_type\": \"%s\", \"hidden_size\": 64, \"num_attention_heads\": 32, "
           "\"num_hidden_layers\": 1, \"sliding_window\": null%s}",
           kind, fields);
  if (comm_rank(mpi_test_world()) == 0) {
    convert_fill(convert_test(), "@/kind/config.json", path);
    assert_ok(file_make_parent(path));
    assert_ok(file_write(path, text, strlen(text)));
  }
  assert_ok(comm_agree(mpi_test_world(), STATUS_OK));
  import("weights='@/kind' outline=.true. output='@/outline.h5'");
  inspect("@/outline.h5", &info, &file);
  model_config_t config = info.config;
  weights_close(file);
  store_info_free(&info);
  return config;
}

/* Where a field is absent it is what transformers has there, which null need not be. */
static void each_kind_has_its_own_defaults(void **state) {
  model_config_t config = outline_of_kind("mistral", "");
  (void)state;
  assert_int_equal(config.kv_heads, 8);
  assert_int_equal(config.mlp, 14336);
  assert_int_equal(outline_of_kind("mistral", ", \"num_key_value_heads\": null").kv_heads, 32);
  config = outline_of_kind("qwen2", "");
  assert_int_equal(config.kv_heads, 32);
  assert_int_equal(config.mlp, 22016);
  assert_int_equal(config.vocab, 151936);
  config = outline_of_kind("llama", "");
  assert_int_equal(config.kv_heads, 32);
  assert_int_equal(config.mlp, 11008);
}

/* All but the numbers of what the same files give, and nothing reads numbers from it. */
static void an_outline_is_the_model_without_numbers(void **state) {
  static const char *const weights = "weights='$/convert/golden/llama' vision_tower='$/convert/golden/clip' "
                                     "new_projector='linear' dtype='f32' ";
  store_info_t info, expected;
  weights_file_t *outline, *file;
  char text[512];
  float value;
  (void)state;
  snprintf(text, sizeof text, "%s output='@/whole.h5'", weights);
  import(text);
  snprintf(text, sizeof text, "%s output='@/outline.h5' outline=.true.", weights);
  import(text);
  inspect("@/whole.h5", &expected, &file);
  inspect("@/outline.h5", &info, &outline);
  assert_true(info.outline && !expected.outline && info.identity != expected.identity);
  assert_memory_equal(&info.config, &expected.config, sizeof info.config);
  assert_int_equal(info.tokenizer_size, expected.tokenizer_size);
  compare_tensors(&info.config, outline, file);
  const weights_request_t request = {.path = weights_at(outline, 0)->path,
                                     .rows = 1,
                                     .cols = 1,
                                     .row_count = 1,
                                     .col_count = 1,
                                     .data = &value};
  assert_error_about(weights_read(outline, &request, 1), STATUS_DATA, "is an outline");
  assert_error_about(weights_verify(outline), STATUS_DATA, "is an outline");
  weights_close(outline);
  weights_close(file);
  store_info_free(&info);
  store_info_free(&expected);
}

/* With the adapter and the head of its role; of the same shapes and so of the same identity as the policy's.
 */
static void an_outline_has_what_its_role_needs(void **state) {
  store_info_t policy, reward, other;
  weights_file_t *file;
  int64_t bytes;
  char path[CONVERT_TEXT];
  (void)state;
  import("weights='$/convert/golden/llama' outline=.true. role='policy' output='@/policy.h5'");
  import("weights='$/convert/golden/llama' outline=.true. role='reward' output='@/reward.h5'");
  import("weights='$/convert/golden/tied' outline=.true. role='reward' output='@/other.h5'");
  inspect("@/other.h5", &other, &file);
  weights_close(file);
  inspect("@/policy.h5", &policy, &file);
  weights_close(file);
  inspect("@/reward.h5", &reward, &file);
  const weights_tensor_t *a =
      weights_find(file, "/adapters/reward/model.layers.0.self_attn.q_proj.lora_A.weight");
  assert_true(a && a->shape[0] == 64 && a->shape[1] == reward.config.hidden);
  weights_close(file);
  assert_int_equal(policy.head_count, 0);
  assert_int_equal(policy.adapter_count, 1);
  assert_int_equal(policy.adapter_configs[0].r, 64);
  assert_true(store_find((const char(*)[STORE_ROLE_NAME_MAX])reward.heads, reward.head_count, "reward") == 0);
  assert_non_null(reward.judging.prompt);
  assert_true(policy.identity == reward.identity && policy.identity != other.identity);
  assert_ok(file_size(convert_fill(convert_test(), "@/reward.h5", path), &bytes));
  assert_true(bytes < OUTLINE_BYTES_MOST);
  store_info_free(&policy);
  store_info_free(&reward);
  store_info_free(&other);
}

/* What an outline says whose weights and adapter are random numbers of SEED. */
static char *answer_of_outline(int seed) {
  char text[CONVERT_TEXT], path[CONVERT_TEXT], *copy;
  const char *answer;
  json_document_t document;
  snprintf(text, sizeof text,
           "&job task='generate' seed=%d /\n&model base='@/outline.h5' random=.true. /\n"
           "&generate image='$/convert/golden/image.jpg' prompt='What is it' greedy=.true. max_tokens=24 "
           "stop_at_question=.false. output='@/answer.json' /\n",
           seed);
  assert_ok(convert_run(convert_test(), text, generate_run));
  assert_ok(json_parse_file(convert_fill(convert_test(), "@/answer.json", path), 1 << 20, &document));
  assert_ok(json_string(document.root, "answer", path, &answer));
  assert_ok(memory_copy_text(&copy, ARENA_OTHER, answer, strlen(answer)));
  json_free(&document);
  return copy;
}

static void random_numbers_fill_an_outline(void **state) {
  (void)state;
  import("weights='$/convert/golden/llava_hf' outline=.true. role='policy' output='@/outline.h5'");
  char *first = answer_of_outline(1), *again = answer_of_outline(1), *other = answer_of_outline(2);
  assert_true(strlen(first) > 0);
  assert_string_equal(again, first);
  assert_string_not_equal(other, first);
  memory_free(first);
  memory_free(again);
  memory_free(other);
}

static void no_run_takes_an_outline(void **state) {
  (void)state;
  import("weights='$/convert/golden/llama' outline=.true. output='@/outline.h5'");
  assert_error_about(convert_run(convert_test(),
                                 "&job task='generate' /\n&model base='@/outline.h5' /\n"
                                 "&generate prompt='What is it' output='@/answer.json' /\n",
                                 generate_run),
                     STATUS_DATA, "is an outline");
  assert_error_about(convert_run(convert_test(),
                                 "&job task='import' /\n&model base='@/outline.h5' /\n"
                                 "&import adapter='$/convert/golden/adapter' /\n",
                                 import_run),
                     STATUS_DATA, "is an outline");
  assert_error_about(
      convert_run(convert_test(),
                  "&job task='export' /\n&model base='@/outline.h5' /\n&export output='@/out' /\n",
                  export_run),
      STATUS_DATA, "is an outline");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(llama_with_a_tower, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(llama_without_a_tower, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(llama_answers_text, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(biases, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(tied_head_and_odd_head_size, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(scaled_rotary_embeddings, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(windows_that_hold_all, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(a_tied_head_is_the_embedding, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(a_tied_head_that_differs_is_refused, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(each_kind_has_its_own_defaults, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(projector_in_a_file_of_its_own, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(original_llava_with_a_linear_projector, convert_set_up,
                                      convert_tear_down),
      cmocka_unit_test_setup_teardown(transformers_llava, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(transformers_llava_of_other_parts, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(adapter_and_reward_head, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(the_greedy_answer_is_transformers, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(answers_end_with_each_of_the_models_own_tokens, convert_set_up,
                                      convert_tear_down),
      cmocka_unit_test_setup_teardown(an_outline_is_the_model_without_numbers, convert_set_up,
                                      convert_tear_down),
      cmocka_unit_test_setup_teardown(an_outline_has_what_its_role_needs, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(random_numbers_fill_an_outline, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(no_run_takes_an_outline, convert_set_up, convert_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

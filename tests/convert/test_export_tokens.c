/* What task export writes of tokenizers: the files that transformers reads ids, ends and templates from. */
#include "base/memory.h"
#include "convert/convert_fixture.h"
#include "io/file.h"
#include "io/json.h"
#include "session/published.h"

#define TOKENIZER "tokenizer='$/text/golden/over.model'"

/* Writes a tokenizer.json whose pieces are the printable characters of ASCII and a line end; added are "</s>"
 * (96), what 'chatml' needs (97, 98) and "<tool>" (99), which is not special. No token begins a text. */
static void write_letters(void) {
  char path[CONVERT_TEXT], text[CONVERT_TEXT];
  size_t n = (size_t)snprintf(text, sizeof text,
                              "{\"added_tokens\": [{\"id\": 96, \"content\": \"</s>\", \"special\": true}, "
                              "{\"id\": 97, \"content\": \"<|im_start|>\", \"special\": true}, "
                              "{\"id\": 98, \"content\": \"<|im_end|>\", \"special\": true}, "
                              "{\"id\": 99, \"content\": \"<tool>\", \"lstrip\": true}], "
                              "\"pre_tokenizer\": {\"type\": "
                              "\"ByteLevel\", \"add_prefix_space\": false}, \"decoder\": {\"type\": "
                              "\"ByteLevel\"}, \"model\": {\"type\": "
                              "\"BPE\", \"merges\": [], \"vocab\": {\"\\u0120\": 0, \"\\u010a\": 1");
  for (int c = '!'; c <= '~'; c++)
    n += (size_t)snprintf(text + n, sizeof text - n, ", \"\\u%04x\": %d", (unsigned)c, c - '!' + 2);
  n += (size_t)snprintf(text + n, sizeof text - n, "}}}");
  if (comm_rank(mpi_test_world()) == 0)
    assert_ok(file_write(convert_fill(convert_test(), "@/letters.json", path), text, n));
  assert_ok(comm_agree(mpi_test_world(), STATUS_OK));
}

/* No id stands for the token that begins a text where there is none: transformers refuses or misreads -1. */
static void no_token_begins_a_text(void **state) {
  (void)state;
  char path[CONVERT_TEXT];
  json_document_t config;
  int64_t eos;
  write_letters();
  convert_copy(convert_test(), "$/convert/golden/biased/model.safetensors", "@/own/model.safetensors", NULL,
               NULL);
  convert_copy(convert_test(), "$/convert/golden/biased/config.json", "@/own/config.json",
               "\"bos_token_id\": 1,\n \"eos_token_id\": 2,", "");
  convert_import("weights='@/own' output='@/first.h5' tokenizer='@/letters.json'");
  convert_export("base='@/first.h5'", "output='@/out'");
  assert_ok(json_parse_file(convert_fill(convert_test(), "@/out/config.json", path), CONVERT_TEXT, &config));
  assert_null(json_get(config.root, "bos_token_id"));
  assert_ok(json_int(config.root, "eos_token_id", path, &eos));
  assert_int_equal(eos, 96);
  json_free(&config);
}

/* The added token ID of tokenizer_config.json is TEXT, and only the flags NAMED are set. */
static void expect_added(const json_t *added, const char *id, const char *text, const char *named) {
  static const char *const flags[] = {"lstrip", "normalized", "rstrip", "single_word", "special"};
  const json_t *token = json_get(added, id);
  assert_non_null(token);
  assert_string_equal(json_get(token, "content")->u.string, text);
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
    assert_int_equal(json_get(token, flags[i])->u.boolean, strstr(named, flags[i]) != NULL);
}

/* transformers makes Qwen2's tokenizer with the added tokens of tokenizer_config.json alone. */
static void added_tokens_are_all_in_the_configuration(void **state) {
  char path[CONVERT_TEXT];
  json_document_t config;
  (void)state;
  write_letters();
  convert_import("weights='$/convert/golden/qwen2' output='@/first.h5' tokenizer='@/letters.json'");
  convert_export("base='@/first.h5' template='chatml'", "output='@/out'");
  assert_ok(json_parse_file(convert_fill(convert_test(), "@/out/tokenizer_config.json", path), CONVERT_TEXT,
                            &config));
  const json_t *added = json_get(config.root, "added_tokens_decoder");
  assert_int_equal(added->count, 4);
  expect_added(added, "96", "</s>", "special");
  expect_added(added, "97", "<|im_start|>", "special");
  expect_added(added, "98", "<|im_end|>", "special");
  expect_added(added, "99", "<tool>", "lstrip normalized");
  assert_string_equal(json_get(config.root, "eos_token")->u.string, "<|im_end|>");
  json_free(&config);
}

/* Writes golden/llava_hf to @/own with TOKENS in place of the EOS of its configuration, and
 * generation_config.json where GENERATION is not NULL. */
static void write_own(const char *tokens, const char *generation) {
  char path[CONVERT_TEXT];
  convert_copy(convert_test(), "$/convert/golden/llava_hf/model.safetensors", "@/own/model.safetensors", NULL,
               NULL);
  convert_copy(convert_test(), "$/convert/golden/llava_hf/config.json", "@/own/config.json",
               "\"eos_token_id\": 2,", tokens);
  if (comm_rank(mpi_test_world()) == 0 && generation)
    assert_ok(file_write(convert_fill(convert_test(), "@/own/generation_config.json", path), generation,
                         strlen(generation)));
  assert_ok(comm_agree(mpi_test_world(), STATUS_OK));
}

/* Member KEY of OBJECT is the number IDS or, where LISTED, the list of IDS (count). */
static void expect_ids(const json_t *object, const char *key, const int32_t *ids, int count, bool listed) {
  const json_t *value = json_get(object, key);
  assert_non_null(value);
  assert_int_equal(value->type, listed ? JSON_ARRAY : JSON_INT);
  if (listed) assert_int_equal(value->count, count);
  for (int i = 0; i < count; i++)
    assert_int_equal((listed ? json_at(value, i) : value)->u.integer, ids[i]);
}

static void open_json(const char *name, json_document_t *out) {
  char path[CONVERT_TEXT];
  assert_ok(json_parse_file(convert_fill(convert_test(), name, path), 1 << 20, out));
}

/* What training would write of model.base, whose answers end with what its configuration says. */
static status_t look_at_contents(session_t *session) {
  model_t model;
  store_contents_t contents = {0};
  published_t published;
  int32_t count;
  TRY(model_from_settings(session, &model));
  tokenizer_ends(model.tokenizer, &count);
  assert_int_equal(count, 4);
  model_contents(&model, true, &contents);
  assert_ok(published_read(contents.published, "contents", 336, &published));
  assert_int_equal(published.config.eos_count, 3);
  assert_int_equal(published.defaults.eos[0], 9);
  published_free(&published);
  model_free(&model);
  return STATUS_OK;
}

/* A model's own special tokens and defaults of generation, through its file and one of an adapter for it. */
static void its_own_tokens_and_back(void **state) {
  static const int32_t own[] = {2, 7, 300}, defaults[] = {9, 2};
  static const char *const folders[] = {"@/out", "@/again", "@/merged"};
  (void)state;
  write_own("\"eos_token_id\": [2, 7, 300, 7], \"bos_token_id\": 5,",
            "{\"eos_token_id\": [9, 2], \"pad_token_id\": 0, \"temperature\": 0.25, \"stop\": null}");
  convert_import("weights='@/own' adapter='$/convert/golden/adapter' output='@/first.h5' " TOKENIZER);
  convert_export("base='@/first.h5'", "output='@/out'");
  convert_import("weights='@/out' output='@/second.h5'");
  assert_ok(convert_run(convert_test(),
                        "&job task='import' /\n&model base='@/second.h5' /\n"
                        "&import adapter='$/convert/golden/adapter' output='@/adapter.h5' /\n",
                        import_run));
  assert_ok(convert_run(convert_test(),
                        "&job task='generate' /\n&model base='@/second.h5' /\n"
                        "&generate prompt='a' output='@/answer.json' /\n",
                        look_at_contents));
  convert_export("base='@/second.h5'", "output='@/again'");
  convert_export("base='@/adapter.h5'", "output='@/merged' merge=.true.");
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    char name[64];
    json_document_t config, generation;
    snprintf(name, sizeof name, "%s/config.json", folders[i]);
    open_json(name, &config);
    snprintf(name, sizeof name, "%s/generation_config.json", folders[i]);
    open_json(name, &generation);
    const json_t *text = json_get(config.root, "text_config");
    expect_ids(text, "eos_token_id", own, 3, true);
    expect_ids(text, "bos_token_id", (const int32_t[]){5}, 1, false);
    expect_ids(text, "max_position_embeddings", (const int32_t[]){512}, 1, false);
    assert_null(json_get(text, "pad_token_id"));
    expect_ids(generation.root, "eos_token_id", defaults, 2, true);
    expect_ids(generation.root, "pad_token_id", (const int32_t[]){0}, 1, false);
    assert_true(json_get(generation.root, "temperature")->u.real == 0.25);
    json_free(&config);
    json_free(&generation);
  }
}

/* Without any, or with ids of no row, at which transformers fails, they are the tokenizer's. */
static void no_tokens_of_its_own(void **state) {
  static const char *const none[] = {"", "\"eos_token_id\": null,", "\"eos_token_id\": [-1, 400],",
                                     "\"eos_token_id\": [],"};
  (void)state;
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    json_document_t config, generation;
    write_own(none[i], NULL);
    convert_import("weights='@/own' output='@/first.h5' " TOKENIZER);
    convert_export("base='@/first.h5'", "output='@/out'");
    open_json("@/out/config.json", &config);
    open_json("@/out/generation_config.json", &generation);
    expect_ids(json_get(config.root, "text_config"), "eos_token_id", (const int32_t[]){2}, 1, false);
    expect_ids(generation.root, "eos_token_id", (const int32_t[]){2}, 1, false);
    json_free(&config);
    json_free(&generation);
  }
}

/* @/out/NAME holds what the file EXPECTED does, which SCRIPT writes. */
static void expect_same_bytes(const char *name, const char *expected, const char *script) {
  char path[CONVERT_TEXT], out[96], *wanted, *found;
  size_t n, m;
  assert_ok(file_read(convert_fill(convert_test(), expected, path), 1 << 20, &wanted, &n));
  snprintf(out, sizeof out, "@/out/%s", name);
  assert_ok(file_read(convert_fill(convert_test(), out, path), 1 << 20, &found, &m));
  if (n != m || memcmp(wanted, found, n) != 0)
    fail_msg("%s is another than %s; run %s --update", name, expected, script);
  memory_free(wanted);
  memory_free(found);
}

static void expect_same_file(const char *name, const char *folder, const char *script) {
  char expected[96];
  snprintf(expected, sizeof expected, "%s/%s", folder, name);
  expect_same_bytes(name, expected, script);
}

/* The files that check_export.py has found to make transformers' tokens those of the program. */
static void tokenizer_files_are_those_compared(void **state) {
  static const char *const names[] = {"tokenizer.json",        "tokenizer_config.json",
                                      "chat_template.jinja",   "special_tokens_map.json",
                                      "processor_config.json", "preprocessor_config.json"};
  (void)state;
  convert_import("weights='$/convert/golden/llava_hf' output='@/first.h5' " TOKENIZER);
  convert_export("base='@/first.h5'", "output='@/out'");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    expect_same_file(names[i], "$/convert/golden/exported", "check_export.py");
  expect_same_bytes("tokenizer.model", "$/text/golden/over.model", "make_text.py");
}

/* What check_unigram.py has found to make transformers' ids those of the SentencePiece library. */
static void unigram_models_are_written_as_compared(void **state) {
  static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
  (void)state;
  convert_import(
      "weights='$/convert/golden/llava_hf' output='@/first.h5' tokenizer='$/text/golden/unigram.model'");
  convert_export("base='@/first.h5'", "output='@/out'");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    expect_same_file(names[i], "$/convert/golden/unigram", "check_unigram.py");
}

/* Appends fields, TAIL (n bytes), to unigram.model, whose own give way to them, and opens the tokenizer.json
 * that is exported with it; false where there is none. */
static bool export_changed(const char *tail, size_t n, json_document_t *out) {
  char path[CONVERT_TEXT], *bytes;
  size_t count;
  assert_ok(
      file_read(convert_fill(convert_test(), "$/text/golden/unigram.model", path), 1 << 20, &bytes, &count));
  assert_ok(memory_resize(&bytes, ARENA_IO, count + n, 1));
  memcpy(bytes + count, tail, n);
  if (comm_rank(mpi_test_world()) == 0) {
    assert_ok(file_write(convert_fill(convert_test(), "@/changed.model", path), bytes, count + n));
    remove(convert_fill(convert_test(), "@/out/tokenizer.json", path));
  }
  memory_free(bytes);
  assert_ok(comm_agree(mpi_test_world(), STATUS_OK));
  convert_import("weights='$/convert/golden/llama' output='@/first.h5' tokenizer='@/changed.model'");
  convert_export("base='@/first.h5'", "output='@/out'");
  bool written = file_exists(convert_fill(convert_test(), "@/out/tokenizer.json", path));
  if (written) open_json("@/out/tokenizer.json", out);
  assert_ok(comm_agree(mpi_test_world(), STATUS_OK)); /* before the next removes it */
  return written;
}

/* The type of the normalizer at INDEX. */
static const char *normalizer_type(const json_document_t *document, int64_t index) {
  const json_t *list = json_get(json_get(document->root, "normalizer"), "normalizers");
  assert_true(index < list->count);
  return json_get(json_at(list, index), "type")->u.string;
}

/* Fields of SentencePiece's normalizer_spec (3): 1 name, 2 map, 3 prefix, 4 removal of spaces; of its
 * trainer_spec (2): 24 spaces behind words; of a piece (1): 1 text, 3 kind. */
enum { CHANGED_MAX = 2048 };

/* Appends a field of bytes, KEY, of N to follow. */
static size_t put_key(char *at, int key, size_t n) {
  at[0] = (char)key;
  at[1] = (char)((n & 0x7F) | 0x80);
  at[2] = (char)(n >> 7);
  return 3;
}

/* A map of characters called NAME with an empty trie, and the removal of spaces. */
static size_t put_map(char out[CHANGED_MAX], const char *name) {
  enum { TRIE = 1024, MAP = 4 + TRIE + 4 };
  const size_t length = strlen(name);
  memset(out, 0, CHANGED_MAX);
  size_t n = put_key(out, 0x1A, 3 + length + 3 + MAP + 2);
  n += put_key(out + n, 0x0A, length);
  memcpy(out + n, name, length);
  n += length;
  n += put_key(out + n, 0x12, MAP);
  out[n + 1] = TRIE >> 8; /* its length, lowest byte first */
  n += MAP;
  out[n++] = 0x20;
  out[n++] = 1;
  return n;
}

static void expect_normalizers(const json_document_t *document, const char *const types[], int64_t count) {
  for (int64_t i = 0; i < count; i++)
    assert_string_equal(normalizer_type(document, i), types[i]);
}

/* How many spaces are taken away in front of a decoded text. */
static int64_t stripped(const json_document_t *document) {
  const json_t *list = json_get(json_get(document->root, "decoder"), "decoders"),
               *last = json_at(list, list->count - 1);
  return strcmp(json_get(last, "type")->u.string, "Strip") == 0 ? json_get(last, "start")->u.integer : 0;
}

static void unigram_models_that_change_texts(void **state) {
  static const char *const mapped[] = {"NFC",     "Replace", "Precompiled", "Replace", "NFC",
                                       "Replace", "Replace", "Prepend",     "Replace"};
  static const char *const removed[] = {"Replace", "Replace", "Replace"};
  static const struct {
    const char *bytes;
    size_t n;
  } refused[] = {{"\x12\x03\xC0\x01\x01", 5},        /* spaces behind words */
                 {"\x12\x02\x18\x04", 4},            /* characters */
                 {"\x0A\x05\x0A\x01@\x18\x04", 7},   /* "@", defined by a user */
                 {"\x0A\x06\x0A\x02@@\x18\x01", 8}}; /* a character that is no piece */
  char changed[CHANGED_MAX];
  json_document_t json;
  (void)state;
  assert_true(export_changed("\x1A\x04\x18\x00\x20\x00", 6, &json)); /* no prefix, spaces kept */
  assert_int_equal(stripped(&json), 0);
  json_free(&json);
  assert_true(export_changed("\x1A\x04\x18\x00\x20\x01", 6, &json)); /* no prefix, spaces removed */
  expect_normalizers(&json, removed, 3);
  assert_true(stripped(&json) > 1000);
  json_free(&json);
  assert_true(export_changed(changed, put_map(changed, "nfkc"), &json));
  expect_normalizers(&json, mapped, 9);
  json_free(&json);
  assert_false(export_changed(changed, put_map(changed, "own"), &json));
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    assert_false(export_changed(refused[i].bytes, refused[i].n, &json));
}

/* The template's end is one more that transformers has to stop at; a template whose tokens are missing is
 * refused. */
static void the_template_is_the_runs(void **state) {
  char path[CONVERT_TEXT];
  json_document_t generation, config;
  (void)state;
  convert_import("weights='$/convert/golden/llava_hf' output='@/first.h5' " TOKENIZER);
  assert_error_about(convert_run(convert_test(),
                                 "&job task='export' /\n&model base='@/first.h5' template='chatml' /\n"
                                 "&export output='@/out' /\n",
                                 export_run),
                     STATUS_INPUT, "<|im_start|>");
  convert_export("base='@/first.h5' template='plain'", "output='@/plain'");
  assert_false(file_exists(convert_fill(convert_test(), "@/plain/chat_template.jinja", path)));
  write_letters();
  convert_import("weights='$/convert/golden/llama' output='@/second.h5' tokenizer='@/letters.json'");
  convert_export("base='@/second.h5' template='chatml'", "output='@/chat'");
  open_json("@/chat/generation_config.json", &generation);
  open_json("@/chat/config.json", &config);
  expect_ids(config.root, "eos_token_id", (const int32_t[]){2}, 1, false);
  expect_ids(generation.root, "eos_token_id", (const int32_t[]){2, 98}, 2, true);
  json_free(&generation);
  json_free(&config);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(no_token_begins_a_text, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(added_tokens_are_all_in_the_configuration, convert_set_up,
                                      convert_tear_down),
      cmocka_unit_test_setup_teardown(its_own_tokens_and_back, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(no_tokens_of_its_own, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(tokenizer_files_are_those_compared, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(unigram_models_are_written_as_compared, convert_set_up,
                                      convert_tear_down),
      cmocka_unit_test_setup_teardown(unigram_models_that_change_texts, convert_set_up, convert_tear_down),
      cmocka_unit_test_setup_teardown(the_template_is_the_runs, convert_set_up, convert_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

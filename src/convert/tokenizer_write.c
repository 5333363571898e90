#include "convert/tokenizer_write.h"

#include "base/log.h"
#include "base/memory.h"
#include "convert/chat_template.h"
#include "convert/spm_json.h"
#include "io/file.h"
#include "io/formats/tokenizer_file.h"
#include "text/script.h"

#include <stdio.h>
#include <string.h>

static const char unknown[] = "<unk>", padding[] = "<pad>";

typedef struct {
  const written_config_t *config;
  bool sentencepiece; /* the tokenizer's file is a tokenizer.model */
  bool converted;     /* it has become a tokenizer.json as well */
  bool unigram;       /* its model is no BPE, which transformers' LlamaTokenizer would make of it */
  spm_added_t *added; /* (added_count): tokens for rows without a piece */
  int32_t added_count;
  json_document_t file; /* the tokenizer's file where it is a tokenizer.json */
  text_buffer_t chat;   /* the chat template; empty: none */
} written_tokenizer_t;

static void written_tokenizer_free(written_tokenizer_t *written) {
  memory_free(written->added);
  json_free(&written->file);
  text_buffer_free(&written->chat);
}

/* ---- Special tokens ---- */

/* An answer ends with eos_token. Batches are filled with the model's own token or, as LLaVA does, with the
 * unknown piece. */
static void write_special_texts(json_writer_t *writer, const written_tokenizer_t *written) {
  const tokenizer_t *tokenizer = written->config->tokenizer;
  int32_t end = template_end(written->config->template, tokenizer);
  int32_t own = published_pad(written->config->published);
  const char *unk = written->sentencepiece && tokenizer_piece_id(tokenizer, unknown) >= 0 ? unknown : NULL;
  const char *pad = unk ? unk : tokenizer_piece(tokenizer, tokenizer_eos(tokenizer));
  if (own >= 0) pad = tokenizer_piece(tokenizer, own) ? tokenizer_piece(tokenizer, own) : padding;
  json_write_optional(writer, "bos_token", tokenizer_piece(tokenizer, tokenizer_bos(tokenizer)));
  json_write_optional(writer, "eos_token", tokenizer_piece(tokenizer, end));
  json_write_optional(writer, "unk_token", unk);
  json_write_optional(writer, "pad_token", pad);
}

/* Tokens for the rows up to those of the image and of padding: programs number new tokens one after the
 * other. */
static status_t list_added(written_tokenizer_t *written) {
  const written_config_t *config = written->config;
  int32_t image = config->image ? config->image->id : -1, pad = published_pad(config->published);
  int32_t first = tokenizer_size(config->tokenizer), last = image > pad ? image : pad;
  if (last < first) return STATUS_OK;
  TRY(memory_alloc(&written->added, ARENA_OTHER, (size_t)(last - first) + 1, sizeof *written->added));
  for (int32_t id = first; id <= last; id++) {
    spm_added_t *added = &written->added[written->added_count++];
    added->id = id;
    if (id == image || id == pad)
      snprintf(added->text, sizeof added->text, "%s", id == image ? config->image->text : padding);
    else
      snprintf(added->text, sizeof added->text, "<unused_%d>", id);
  }
  return STATUS_OK;
}

static void write_flag(json_writer_t *writer, const char *key, bool value) {
  json_write_key(writer, key);
  json_write_bool(writer, value);
}

static void write_added_begin(json_writer_t *writer, int32_t id, const char *text) {
  char key[16];
  snprintf(key, sizeof key, "%d", id);
  json_write_key(writer, key);
  json_write_object_begin(writer);
  json_write_member(writer, "content", text);
}

static const char *const ways[] = {"lstrip", "normalized", "rstrip", "single_word"};
enum { WAYS = sizeof ways / sizeof *ways };

static void write_special_token(json_writer_t *writer, int32_t id, const char *text) {
  if (id < 0) return;
  write_added_begin(writer, id, text);
  for (int i = 0; i < WAYS; i++)
    write_flag(writer, ways[i], false);
  write_flag(writer, "special", true);
  json_write_object_end(writer);
}

/* The member KEY of TOKEN, STANDARD where it is absent. */
static bool token_flag(const json_t *token, const char *key, bool standard) {
  const json_t *value = json_get(token, key);
  return value ? value->u.boolean : standard;
}

/* TOKEN of a tokenizer.json, of which the tokenizer has been made. */
static void write_file_token(json_writer_t *writer, const json_t *token) {
  bool special = token_flag(token, "special", false);
  write_added_begin(writer, (int32_t)json_get(token, "id")->u.integer, json_get(token, "content")->u.string);
  for (int i = 0; i < WAYS; i++)
    write_flag(writer, ways[i], token_flag(token, ways[i], strcmp(ways[i], "normalized") == 0 && !special));
  write_flag(writer, "special", special);
  json_write_object_end(writer);
}

/* All of them: what transformers makes a tokenizer of by the model's type (Qwen2) has the added tokens that
 * stand here, and no longer those of tokenizer.json. */
static void write_added_tokens(json_writer_t *writer, const written_tokenizer_t *written) {
  const tokenizer_t *tokenizer = written->config->tokenizer;
  int32_t bos = tokenizer_bos(tokenizer), eos = tokenizer_eos(tokenizer);
  const json_t *own = written->sentencepiece ? NULL : json_get(written->file.root, "added_tokens");
  json_write_key(writer, "added_tokens_decoder");
  json_write_object_begin(writer);
  if (written->sentencepiece) {
    write_special_token(writer, tokenizer_piece_id(tokenizer, unknown), unknown);
    write_special_token(writer, bos, tokenizer_piece(tokenizer, bos));
    write_special_token(writer, eos, tokenizer_piece(tokenizer, eos));
  }
  for (const json_t *token = own ? own->u.first : NULL; token; token = token->next)
    write_file_token(writer, token);
  for (int32_t i = 0; i < written->added_count; i++)
    write_special_token(writer, written->added[i].id, written->added[i].text);
  json_write_object_end(writer);
}

/* ---- Files ---- */

/* LLaVA's own program loads LlamaTokenizer from tokenizer.model. transformers loads a tokenizer.json as it
 * stands, but for a LLaMA's LlamaTokenizer, whose texts have one space less behind a special token, and which
 * makes a BPE of any vocabulary. */
static const char *tokenizer_class(const written_tokenizer_t *written) {
  bool as_it_stands = written->converted && (written->unigram || !config_sees(written->config->model));
  return written->sentencepiece && !as_it_stands ? "LlamaTokenizer" : "PreTrainedTokenizerFast";
}

static void write_config(json_writer_t *writer, const written_tokenizer_t *written) {
  json_write_object_begin(writer);
  json_write_member(writer, "tokenizer_class", tokenizer_class(written));
  if (written->sentencepiece) {
    write_flag(writer, "legacy", true); /* each piece between special tokens has its space in front */
    write_flag(writer, "add_bos_token", true);
    write_flag(writer, "add_eos_token", false);
  }
  write_flag(writer, "clean_up_tokenization_spaces", false);
  if (written->config->published->positions > 0)
    json_write_int_member(writer, "model_max_length", written->config->published->positions);
  write_special_texts(writer, written);
  write_added_tokens(writer, written);
  if (written->config->image) json_write_member(writer, "processor_class", "LlavaProcessor");
  json_write_optional(writer, "chat_template", written->chat.bytes);
  json_write_object_end(writer);
}

static status_t write_json(const char *folder, const written_tokenizer_t *written) {
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  write_config(writer, written);
  TRY(config_write_store(writer, folder, "tokenizer_config.json"));
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  write_special_texts(writer, written);
  json_write_object_end(writer);
  return config_write_store(writer, folder, "special_tokens_map.json");
}

static status_t write_file(const char *folder, const char *name, const void *bytes, size_t n) {
  char path[FILE_MAX_PATH];
  TRY(file_join(path, folder, name, NULL));
  return file_replace(path, bytes, n);
}

/* A SentencePiece model as tokenizer.json too: from tokenizer.model alone programs make tokenizers that
 * differ in where a text's space in front goes. */
static status_t write_converted(const char *folder, written_tokenizer_t *written) {
  SCOPED(spm_model_free) spm_model_t model = {0};
  const tokenizer_t *tokenizer = written->config->tokenizer;
  json_writer_t *writer;
  size_t n;
  const void *bytes = tokenizer_bytes(tokenizer, &n);
  TRY(spm_model_read(bytes, n, &model));
  const char *hindrance = spm_json_hindrance(&model, tokenizer);
  if (hindrance) {
    log_info("tokenizer  no tokenizer.json beside tokenizer.model: %s", hindrance);
    return STATUS_OK;
  }
  written->converted = true;
  written->unigram = model.algorithm == SPM_UNIGRAM;
  TRY(json_writer_create(NULL, &writer));
  status_code_t status = spm_json_write(writer, &model, tokenizer, written->added, written->added_count);
  if (status == STATUS_OK) return config_write_store(writer, folder, "tokenizer.json");
  json_writer_free(writer);
  return status;
}

static status_t write_chat(const char *folder, written_tokenizer_t *written) {
  const written_config_t *config = written->config;
  const char *image = config->image ? config->image->text : config_sees(config->model) ? IMAGE_MARK : NULL;
  if (config->template == TEMPLATE_PLAIN) return STATUS_OK;
  TRY(chat_template_append(config->template, config->tokenizer, image, &written->chat));
  return write_file(folder, "chat_template.jinja", written->chat.bytes, written->chat.n);
}

status_t tokenizer_write(const char *folder, const written_config_t *config) {
  SCOPED(written_tokenizer_free) written_tokenizer_t written = {.config = config};
  size_t n;
  const void *bytes = tokenizer_bytes(config->tokenizer, &n);
  const char *name = tokenizer_file_name(bytes, n);
  written.sentencepiece = strcmp(name, "tokenizer.model") == 0;
  TRY(list_added(&written));
  TRY(write_file(folder, name, bytes, n));
  TRY(written.sentencepiece ? write_converted(folder, &written) : json_parse(bytes, n, name, &written.file));
  TRY(write_chat(folder, &written));
  return write_json(folder, &written);
}

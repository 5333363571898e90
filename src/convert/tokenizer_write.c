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

/* What texts begin, end and are filled up with; NULL: nothing. */
typedef struct {
  const char *bos, *eos, *unk, *pad;
  int32_t pad_id;
} special_texts_t;

/* An answer ends with `eos`. Batches are filled with the model's own token or, as LLaVA does, with the
 * unknown piece. */
static special_texts_t special_texts(const written_config_t *config, bool sentencepiece) {
  const tokenizer_t *tokenizer = config->tokenizer;
  int32_t end = template_end(config->template, tokenizer);
  special_texts_t texts = {.bos = tokenizer_piece(tokenizer, tokenizer_bos(tokenizer)),
                           .eos = tokenizer_piece(tokenizer, end),
                           .unk =
                               sentencepiece && tokenizer_piece_id(tokenizer, unknown) >= 0 ? unknown : NULL,
                           .pad_id = published_pad(config->published)};
  if (texts.pad_id >= 0) {
    texts.pad = tokenizer_piece(tokenizer, texts.pad_id);
    if (!texts.pad) texts.pad = padding;
  } else {
    texts.pad = texts.unk ? texts.unk : tokenizer_piece(tokenizer, tokenizer_eos(tokenizer));
  }
  return texts;
}

static void write_special_texts(json_writer_t *writer, const special_texts_t *texts) {
  json_write_optional(writer, "bos_token", texts->bos);
  json_write_optional(writer, "eos_token", texts->eos);
  json_write_optional(writer, "unk_token", texts->unk);
  json_write_optional(writer, "pad_token", texts->pad);
}

static void write_added_token(json_writer_t *writer, int32_t id, const char *text) {
  static const char *const off[] = {"lstrip", "normalized", "rstrip", "single_word"};
  char key[16];
  snprintf(key, sizeof key, "%d", id);
  json_write_key(writer, key);
  json_write_object_begin(writer);
  json_write_member(writer, "content", text);
  for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
    json_write_key(writer, off[i]);
    json_write_bool(writer, false);
  }
  json_write_key(writer, "special");
  json_write_bool(writer, true);
  json_write_object_end(writer);
}

/* Tokens for rows without a piece, up to those of the image and of padding: programs number new tokens one
 * after the other. */
typedef struct {
  spm_added_t *items; /* (count) */
  int32_t count;
} added_list_t;

static void added_list_free(added_list_t *added) {
  memory_free(added->items);
}

static status_t added_list_make(const written_config_t *config, int32_t pad, added_list_t *out) {
  int32_t image = config->image ? config->image->id : -1, first = tokenizer_size(config->tokenizer);
  int32_t last = image > pad ? image : pad;
  if (last < first) return STATUS_OK;
  TRY(memory_alloc(&out->items, ARENA_OTHER, (size_t)(last - first) + 1, sizeof *out->items));
  for (int32_t id = first; id <= last; id++) {
    spm_added_t *added = &out->items[out->count++];
    added->id = id;
    if (id == image || id == pad)
      snprintf(added->text, sizeof added->text, "%s", id == image ? config->image->text : padding);
    else
      snprintf(added->text, sizeof added->text, "<unused_%d>", id);
  }
  return STATUS_OK;
}

static void write_added_tokens(json_writer_t *writer, const written_config_t *config, bool sentencepiece,
                               const special_texts_t *texts, const added_list_t *added) {
  const tokenizer_t *tokenizer = config->tokenizer;
  const char *const pieces[] = {texts->unk, texts->bos, tokenizer_piece(tokenizer, tokenizer_eos(tokenizer))};
  json_write_key(writer, "added_tokens_decoder");
  json_write_object_begin(writer);
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces && sentencepiece; i++)
    if (pieces[i]) write_added_token(writer, tokenizer_piece_id(tokenizer, pieces[i]), pieces[i]);
  for (int32_t i = 0; i < added->count; i++)
    write_added_token(writer, added->items[i].id, added->items[i].text);
  json_write_object_end(writer);
}

static void write_flag(json_writer_t *writer, const char *key, bool value) {
  json_write_key(writer, key);
  json_write_bool(writer, value);
}

static void write_config(json_writer_t *writer, const written_config_t *config, bool sentencepiece,
                         const special_texts_t *texts, const added_list_t *added, const char *chat) {
  json_write_object_begin(writer);
  json_write_member(writer, "tokenizer_class", sentencepiece ? "LlamaTokenizer" : "PreTrainedTokenizerFast");
  if (sentencepiece) {
    write_flag(writer, "legacy", true); /* each piece between special tokens has its space in front */
    write_flag(writer, "add_bos_token", true);
    write_flag(writer, "add_eos_token", false);
  }
  write_flag(writer, "clean_up_tokenization_spaces", false);
  if (config->published->positions > 0)
    json_write_int_member(writer, "model_max_length", config->published->positions);
  write_special_texts(writer, texts);
  write_added_tokens(writer, config, sentencepiece, texts, added);
  if (config->image) json_write_member(writer, "processor_class", "LlavaProcessor");
  json_write_optional(writer, "chat_template", chat);
  json_write_object_end(writer);
}

static status_t write_json(const char *folder, const written_config_t *config, bool sentencepiece,
                           const added_list_t *added, const char *chat) {
  special_texts_t texts = special_texts(config, sentencepiece);
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  write_config(writer, config, sentencepiece, &texts, added, chat);
  TRY(config_write_store(writer, folder, "tokenizer_config.json"));
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  write_special_texts(writer, &texts);
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
static status_t write_converted(const char *folder, const tokenizer_t *tokenizer, const added_list_t *added) {
  SCOPED(spm_model_free) spm_model_t model = {0};
  json_writer_t *writer;
  size_t n;
  const void *bytes = tokenizer_bytes(tokenizer, &n);
  TRY(spm_model_read(bytes, n, &model));
  if (!spm_json_can(&model)) {
    log_info(
        "tokenizer  no tokenizer.json beside tokenizer.model, which is no BPE that takes texts as they are");
    return STATUS_OK;
  }
  TRY(json_writer_create(NULL, &writer));
  status_code_t status = spm_json_write(writer, &model, tokenizer, added->items, added->count);
  if (status == STATUS_OK) return config_write_store(writer, folder, "tokenizer.json");
  json_writer_free(writer);
  return status;
}

static status_t write_chat(const char *folder, const written_config_t *config, text_buffer_t *chat) {
  const char *image = config->image ? config->image->text : config_sees(config->model) ? IMAGE_MARK : NULL;
  if (config->template == TEMPLATE_PLAIN) return STATUS_OK;
  TRY(chat_template_append(config->template, config->tokenizer, image, chat));
  return write_file(folder, "chat_template.jinja", chat->bytes, chat->n);
}

status_t tokenizer_write(const char *folder, const written_config_t *config) {
  SCOPED(text_buffer_free) text_buffer_t chat = {0};
  SCOPED(added_list_free) added_list_t added = {0};
  size_t n;
  const void *bytes = tokenizer_bytes(config->tokenizer, &n);
  const char *name = tokenizer_file_name(bytes, n);
  bool sentencepiece = strcmp(name, "tokenizer.model") == 0;
  TRY(added_list_make(config, published_pad(config->published), &added));
  TRY(write_file(folder, name, bytes, n));
  if (sentencepiece) TRY(write_converted(folder, config->tokenizer, &added));
  TRY(write_chat(folder, config, &chat));
  return write_json(folder, config, sentencepiece, &added, chat.bytes);
}

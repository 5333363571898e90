#include "convert/tokenizer_write.h"

#include "convert/chat_template.h"
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
static special_texts_t special_texts(const written_config_t *config) {
  const tokenizer_t *tokenizer = config->tokenizer;
  int32_t end = template_end(config->template, tokenizer), unk = tokenizer_piece_id(tokenizer, unknown);
  special_texts_t texts = {.bos = tokenizer_piece(tokenizer, tokenizer_bos(tokenizer)),
                           .eos = tokenizer_piece(tokenizer, end),
                           .unk = unk >= 0 ? unknown : NULL,
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

/* SentencePiece's special pieces, and rows without a piece up to those of the image and of padding: programs
 * number new tokens one after the other. */
static void write_added_tokens(json_writer_t *writer, const written_config_t *config, bool sentencepiece,
                               const special_texts_t *texts) {
  const tokenizer_t *tokenizer = config->tokenizer;
  const char *const pieces[] = {texts->unk, texts->bos, tokenizer_piece(tokenizer, tokenizer_eos(tokenizer))};
  int32_t image = config->image ? config->image->id : -1;
  int32_t last = image > texts->pad_id ? image : texts->pad_id;
  json_write_key(writer, "added_tokens_decoder");
  json_write_object_begin(writer);
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces && sentencepiece; i++)
    if (pieces[i]) write_added_token(writer, tokenizer_piece_id(tokenizer, pieces[i]), pieces[i]);
  for (int32_t id = tokenizer_size(tokenizer); id <= last; id++) {
    char unused[32];
    snprintf(unused, sizeof unused, "<unused_%d>", id);
    write_added_token(writer, id, id == image ? config->image->text : id == texts->pad_id ? padding : unused);
  }
  json_write_object_end(writer);
}

static void write_flag(json_writer_t *writer, const char *key, bool value) {
  json_write_key(writer, key);
  json_write_bool(writer, value);
}

static void write_config(json_writer_t *writer, const written_config_t *config, bool sentencepiece,
                         const char *chat) {
  special_texts_t texts = special_texts(config);
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
  write_special_texts(writer, &texts);
  write_added_tokens(writer, config, sentencepiece, &texts);
  if (config->image) json_write_member(writer, "processor_class", "LlavaProcessor");
  json_write_optional(writer, "chat_template", chat);
  json_write_object_end(writer);
}

static status_t write_json(const char *folder, const written_config_t *config, bool sentencepiece,
                           const char *chat) {
  special_texts_t texts = special_texts(config);
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  write_config(writer, config, sentencepiece, chat);
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

status_t tokenizer_write(const char *folder, const written_config_t *config) {
  SCOPED(text_buffer_free) text_buffer_t chat = {0};
  size_t n;
  const void *bytes = tokenizer_bytes(config->tokenizer, &n);
  const char *name = tokenizer_file_name(bytes, n);
  bool sees = config_sees(config->model);
  const char *image = config->image ? config->image->text : sees ? IMAGE_MARK : NULL;
  TRY(write_file(folder, name, bytes, n));
  if (config->template != TEMPLATE_PLAIN) {
    TRY(chat_template_append(config->template, config->tokenizer, image, &chat));
    TRY(write_file(folder, "chat_template.jinja", chat.bytes, chat.n));
  }
  return write_json(folder, config, strcmp(name, "tokenizer.model") == 0, chat.bytes);
}

#include "convert/config_published.h"

#include "io/file.h"

enum { CONFIG_BYTES_MOST = 16 << 20, GENERATION_BYTES_MOST = 32 << 10 /* it becomes an attribute */ };

/* Adds to TOKENS what ROOT says where they lack it. */
static status_t tokens_add_root(const json_t *root, const char *path, int32_t vocab,
                                published_tokens_t *tokens) {
  published_tokens_t outer;
  TRY(published_read_tokens(root, path, vocab, &outer));
  if (tokens->bos < 0) tokens->bos = outer.bos;
  if (tokens->pad < 0) tokens->pad = outer.pad;
  if (tokens->eos_count > 0) return STATUS_OK;
  int32_t bos = tokens->bos, pad = tokens->pad;
  *tokens = outer;
  tokens->bos = bos;
  tokens->pad = pad;
  return STATUS_OK;
}

/* A whole number that is there, is one, and is not negative; else NONE. */
static int32_t plain_number(const json_t *object, const char *key, int32_t none) {
  const json_t *value = json_get(object, key);
  bool fits = value && value->type == JSON_INT && value->u.integer >= 0 && value->u.integer <= INT32_MAX;
  return fits ? (int32_t)value->u.integer : none;
}

static status_t read_config(const json_t *root, const char *path, int32_t vocab, published_t *out) {
  const json_t *text = json_get(root, "text_config");
  TRY(published_read_tokens(text, path, vocab, &out->config));
  TRY(tokens_add_root(root, path, vocab, &out->config));
  out->positions = plain_number(text ? text : root, "max_position_embeddings", 0);
  out->image = plain_number(root, "image_token_index", plain_number(root, "image_token_id", -1));
  if (out->image >= vocab) out->image = -1;
  return STATUS_OK;
}

/* The document stays OUT's, whose defaults of generation lie in it. */
static status_t read_generation(const char *folder, int32_t vocab, published_t *out) {
  char path[FILE_MAX_PATH];
  TRY(file_join(path, folder, "generation_config.json", NULL));
  if (!file_exists(path)) return STATUS_OK;
  TRY(json_parse_file(path, GENERATION_BYTES_MOST, &out->document));
  const json_t *root = out->document.root;
  if (root->type != JSON_OBJECT)
    return error_set(STATUS_DATA, "%s: found %s, expected an object", path, json_type_name(root->type));
  out->generation = root;
  return published_read_tokens(root, path, vocab, &out->defaults);
}

status_t config_read_published(const char *folder, int32_t vocab, published_t *out) {
  SCOPED(json_free) json_document_t document = {0};
  char path[FILE_MAX_PATH];
  TRY(published_read(NULL, folder, vocab, out));
  TRY(file_join(path, folder, "config.json", NULL));
  TRY(json_parse_file(path, CONFIG_BYTES_MOST, &document));
  TRY(read_config(document.root, path, vocab, out));
  return read_generation(folder, vocab, out);
}

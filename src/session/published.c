#include "session/published.h"

#include "base/log.h"

#include <string.h>

static const char bos_key[] = "bos_token_id", eos_key[] = "eos_token_id", pad_key[] = "pad_token_id";
static const char generation_key[] = "generation_config", image_key[] = "image_token_index";
static const char positions_key[] = "max_position_embeddings";

/* ---- Tokens ---- */

status_t published_add_eos(published_tokens_t *tokens, int32_t id, const char *where) {
  for (int32_t i = 0; i < tokens->eos_count; i++)
    if (tokens->eos[i] == id) return STATUS_OK;
  if (tokens->eos_count == TOKENIZER_ENDS_MAX)
    return error_set(STATUS_DATA, "%s: field '%s': found more than %d tokens, which no model has", where,
                     eos_key, TOKENIZER_ENDS_MAX);
  tokens->eos[tokens->eos_count++] = id;
  return STATUS_OK;
}

/* VALUE (NULL: absent) as an id, -1 where it names no row. */
static status_t read_id(const json_t *value, const char *key, const char *where, int32_t vocab,
                        int32_t *out) {
  *out = -1;
  if (!value) return STATUS_OK;
  if (value->type != JSON_INT)
    return error_set(STATUS_DATA, "%s: field '%s': found %s, expected the number of a token%s", where, key,
                     json_type_name(value->type), key == eos_key ? ", or a list of such" : "");
  if (value->u.integer < 0) return STATUS_OK;
  if (value->u.integer < vocab)
    *out = (int32_t)value->u.integer;
  else
    log_warning("%s: field '%s': %lld is left out, the model has %d rows", where, key,
                (long long)value->u.integer, vocab);
  return STATUS_OK;
}

static status_t read_eos(const json_t *value, const char *where, int32_t vocab, published_tokens_t *out) {
  out->eos_listed = value && value->type == JSON_ARRAY;
  const json_t *item = out->eos_listed ? value->u.first : value;
  for (; item; item = out->eos_listed ? item->next : NULL) {
    int32_t id;
    TRY(read_id(item, eos_key, where, vocab, &id));
    if (id >= 0) TRY(published_add_eos(out, id, where));
  }
  return STATUS_OK;
}

status_t published_read_tokens(const json_t *object, const char *where, int32_t vocab,
                               published_tokens_t *out) {
  *out = (published_tokens_t){.bos = -1, .pad = -1};
  TRY(read_id(json_get(object, bos_key), bos_key, where, vocab, &out->bos));
  TRY(read_id(json_get(object, pad_key), pad_key, where, vocab, &out->pad));
  return read_eos(json_get(object, eos_key), where, vocab, out);
}

void published_write_tokens(json_writer_t *writer, const published_tokens_t *tokens) {
  bool listed = tokens->eos_listed || tokens->eos_count > 1;
  if (tokens->bos >= 0) json_write_int_member(writer, bos_key, tokens->bos);
  if (tokens->pad >= 0) json_write_int_member(writer, pad_key, tokens->pad);
  if (tokens->eos_count == 0) return;
  json_write_key(writer, eos_key);
  if (listed) json_write_array_begin(writer);
  for (int32_t i = 0; i < tokens->eos_count; i++)
    json_write_int(writer, tokens->eos[i]);
  if (listed) json_write_array_end(writer);
}

void published_write_generation(json_writer_t *writer, const json_t *generation,
                                const published_tokens_t *tokens) {
  json_write_object_begin(writer);
  published_write_tokens(writer, tokens);
  for (const json_t *member = generation ? generation->u.first : NULL; member; member = member->next) {
    if (strcmp(member->key, bos_key) == 0 || strcmp(member->key, eos_key) == 0 ||
        strcmp(member->key, pad_key) == 0)
      continue;
    json_write_key(writer, member->key);
    json_write_tree(writer, member);
  }
  json_write_object_end(writer);
}

int32_t published_pad(const published_t *published) {
  return published->config.pad >= 0 ? published->config.pad : published->defaults.pad;
}

status_t published_ends(const published_t *published, const char *where, published_tokens_t *ends) {
  *ends = published->config;
  for (int32_t i = 0; i < published->defaults.eos_count; i++)
    TRY(published_add_eos(ends, published->defaults.eos[i], where));
  return STATUS_OK;
}

/* ---- All of it ---- */

static status_t published_read_tree(const json_t *root, const char *where, int32_t vocab, published_t *out) {
  int64_t positions = 0;
  TRY(published_read_tokens(root, where, vocab, &out->config));
  TRY(read_id(json_get(root, image_key), image_key, where, vocab, &out->image));
  if (json_get(root, positions_key)) TRY(json_int(root, positions_key, where, &positions));
  if (positions < 0 || positions > INT32_MAX)
    return error_set(STATUS_DATA, "%s: field '%s': found %lld, which no model has", where, positions_key,
                     (long long)positions);
  out->positions = (int32_t)positions;
  if (!json_get(root, generation_key)) return STATUS_OK;
  TRY(json_object(root, generation_key, where, &out->generation));
  return published_read_tokens(out->generation, where, vocab, &out->defaults);
}

status_t published_read(const char *text, const char *where, int32_t vocab, published_t *out) {
  const published_tokens_t none = {.bos = -1, .pad = -1};
  *out = (published_t){.config = none, .defaults = none, .image = -1};
  if (!text) return STATUS_OK;
  TRY(json_parse(text, strlen(text), where, &out->document));
  return published_read_tree(out->document.root, where, vocab, out);
}

void published_free(published_t *published) {
  json_free(&published->document);
  *published = (published_t){0};
}

status_t published_to_text(const published_t *published, char **text) {
  const published_tokens_t *config = &published->config;
  json_writer_t *writer;
  *text = NULL;
  if (config->bos < 0 && config->pad < 0 && config->eos_count == 0 && published->image < 0 &&
      published->positions == 0 && !published->generation)
    return STATUS_OK;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  published_write_tokens(writer, config);
  if (published->image >= 0) json_write_int_member(writer, image_key, published->image);
  if (published->positions > 0) json_write_int_member(writer, positions_key, published->positions);
  if (published->generation) {
    json_write_key(writer, generation_key);
    published_write_generation(writer, published->generation, &published->defaults);
  }
  json_write_object_end(writer);
  return json_writer_finish(writer, text, NULL);
}

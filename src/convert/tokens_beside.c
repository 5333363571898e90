#include "convert/tokens_beside.h"

#include "base/memory.h"
#include "io/file.h"
#include "io/json.h"
#include "text/buffer.h"
#include "text/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BESIDE_BYTES_MOST = 256 << 20, BESIDE_NAMED_MOST = 12 };

/* What is used by no text: padding; marks of images that only LLaVA with mm_use_im_start_end has in texts;
 * and what task export calls rows without a piece. */
static const char *const spared[] = {"<pad>", "[PAD]", "<PAD>", "<|pad|>", "<im_start>", "<im_end>"};
static const char spared_rows[] = "<unused_";

typedef struct {
  const tokenizer_t *tokenizer;
  int32_t rows;
  char folder[FILE_MAX_PATH];
  text_buffer_t named; /* tokens that the tokenizer has not */
  int32_t count;
} beside_t;

static void beside_free(beside_t *beside) {
  text_buffer_free(&beside->named);
}

/* ---- Tokens ---- */

/* Programs leave out empty texts. */
static bool is_spared(const char *text) {
  if (*text == '\0') return true;
  for (size_t i = 0; i < sizeof spared / sizeof *spared; i++)
    if (strcmp(text, spared[i]) == 0) return true;
  return token_is_placeholder(text) || strncmp(text, spared_rows, strlen(spared_rows)) == 0;
}

static bool beside_has(const beside_t *beside, const char *text, int64_t id) {
  const char *piece = tokenizer_piece(beside->tokenizer, (int32_t)id);
  return piece && strcmp(piece, text) == 0;
}

static status_t beside_name(beside_t *beside, const char *text, int64_t id) {
  char entry[96];
  snprintf(entry, sizeof entry, "'%.60s' (%lld)", text, (long long)id);
  if (beside->count > 0 && strstr(beside->named.bytes, entry)) return STATUS_OK;
  beside->count++;
  if (beside->count > BESIDE_NAMED_MOST) return STATUS_OK;
  if (beside->count > 1) TRY(text_buffer_append_string(&beside->named, ", "));
  return text_buffer_append_string(&beside->named, entry);
}

/* TEXT is the content of token ID; whatever is none, programs do not take in either. */
static status_t beside_look(beside_t *beside, const json_t *text, int64_t id) {
  if (!text || text->type != JSON_STRING || id < 0 || id >= beside->rows) return STATUS_OK;
  if (is_spared(text->u.string) || beside_has(beside, text->u.string, id)) return STATUS_OK;
  return beside_name(beside, text->u.string, id);
}

static int64_t number_of(const json_t *value) {
  return value && value->type == JSON_INT ? value->u.integer : -1;
}

/* ---- Files ---- */

static const json_t *first_of(const json_t *value, json_type_t type) {
  return value && value->type == type ? value->u.first : NULL;
}

/* added_tokens.json: {"<x>": 400}. */
static status_t beside_read_map(beside_t *beside, const json_t *root) {
  for (const json_t *member = first_of(root, JSON_OBJECT); member; member = member->next) {
    const json_t text = {.type = JSON_STRING, .u.string = member->key};
    TRY(beside_look(beside, &text, number_of(member)));
  }
  return STATUS_OK;
}

/* tokenizer_config.json: {"added_tokens_decoder": {"400": {"content": "<x>"}}}. */
static status_t beside_read_decoder(beside_t *beside, const json_t *root) {
  const json_t *decoder = json_get(root, "added_tokens_decoder");
  for (const json_t *member = first_of(decoder, JSON_OBJECT); member; member = member->next)
    if (member->type == JSON_OBJECT)
      TRY(beside_look(beside, json_get(member, "content"), strtoll(member->key, NULL, 10)));
  return STATUS_OK;
}

/* tokenizer.json: {"added_tokens": [{"id": 400, "content": "<x>"}]}. */
static status_t beside_read_list(beside_t *beside, const json_t *root) {
  for (const json_t *token = first_of(json_get(root, "added_tokens"), JSON_ARRAY); token; token = token->next)
    if (token->type == JSON_OBJECT)
      TRY(beside_look(beside, json_get(token, "content"), number_of(json_get(token, "id"))));
  return STATUS_OK;
}

static status_t beside_read(beside_t *beside, const char *name,
                            status_code_t (*read)(beside_t *beside, const json_t *root)) {
  SCOPED(json_free) json_document_t document = {0};
  char path[FILE_MAX_PATH];
  TRY(file_join(path, beside->folder, name, NULL));
  if (!file_exists(path)) return STATUS_OK;
  TRY(json_parse_file(path, BESIDE_BYTES_MOST, &document));
  return document.root->type == JSON_OBJECT ? read(beside, document.root) : STATUS_OK;
}

static status_t beside_find_folder(beside_t *beside, const char *path) {
  const char *slash = strrchr(path, '/');
  TRY(file_join(beside->folder, slash ? path : ".", NULL, NULL));
  if (slash) beside->folder[slash - path] = '\0';
  return STATUS_OK;
}

status_t tokens_beside_check(const char *path, const tokenizer_t *tokenizer, int32_t rows) {
  SCOPED(beside_free) beside_t beside = {.tokenizer = tokenizer, .rows = rows};
  TRY(beside_find_folder(&beside, path));
  TRY(beside_read(&beside, "added_tokens.json", beside_read_map));
  TRY(beside_read(&beside, "tokenizer_config.json", beside_read_decoder));
  TRY(beside_read(&beside, "tokenizer.json", beside_read_list));
  if (beside.count == 0) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s has none of the added tokens beside it, %s%s; they are not taken in: texts that spell "
                   "them would become other ids than in transformers, and no answer would have them. Where "
                   "neither matters, name a copy of the file in a folder of its own as import.tokenizer",
                   path, beside.named.bytes, beside.count > BESIDE_NAMED_MOST ? " and more" : "");
}

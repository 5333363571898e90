#include "convert/image_token.h"

#include "base/log.h"
#include "base/memory.h"
#include "text/script.h"

#include <stdio.h>
#include <string.h>

/* The first piece for images, IMAGE_MARK itself where MARK; -1: none. */
static int32_t placeholder(const tokenizer_t *tokenizer, bool mark) {
  for (int32_t id = 0; id < tokenizer_size(tokenizer); id++) {
    const char *piece = tokenizer_piece(tokenizer, id);
    if (piece && token_is_placeholder(piece) && (!mark || strcmp(piece, IMAGE_MARK) == 0)) return id;
  }
  return -1;
}

/* A row of the embedding that neither a piece has nor padding; -1: none. */
static int32_t free_row(const tokenizer_t *tokenizer, const model_config_t *config,
                        const published_t *published) {
  int32_t pieces = tokenizer_size(tokenizer), own = published->image;
  int32_t row = own >= pieces ? own : pieces + (published_pad(published) == pieces);
  return row < config->vocab ? row : -1;
}

/* Whether texts have ID only where they spell it in full, and decoding leaves it out. */
static status_t is_special(const tokenizer_t *tokenizer, int32_t id, bool *special) {
  SCOPED_MEMORY char *text = NULL;
  SCOPED_MEMORY int32_t *ids = NULL;
  const char *piece = tokenizer_piece(tokenizer, id);
  size_t n;
  int32_t count;
  *special = false;
  if (!piece) return STATUS_OK;
  TRY(tokenizer_decode(tokenizer, &id, 1, &text, &n));
  if (n > 0) return STATUS_OK;
  TRY(tokenizer_encode(tokenizer, piece, strlen(piece), &ids, &count));
  *special = count == 1 && ids[0] == id;
  return STATUS_OK;
}

static bool is_used(const tokenizer_t *tokenizer, template_t template, int32_t id) {
  const template_row_t *row = template_row(template);
  int32_t count;
  const int32_t *ends = tokenizer_ends(tokenizer, &count);
  bool used = id == tokenizer_bos(tokenizer) || id == tokenizer_eos(tokenizer);
  for (int32_t i = 0; i < count; i++)
    used = used || id == ends[i];
  for (size_t i = 0; i < sizeof row->needs / sizeof *row->needs && row->needs[i]; i++)
    used = used || id == tokenizer_piece_id(tokenizer, row->needs[i]);
  return used;
}

static status_t spare_special(const tokenizer_t *tokenizer, template_t template, int32_t *out) {
  *out = -1;
  for (int32_t id = tokenizer_size(tokenizer) - 1; id >= 0 && *out < 0; id--) {
    bool special;
    TRY(is_special(tokenizer, id, &special));
    if (special && !is_used(tokenizer, template, id)) *out = id;
  }
  return STATUS_OK;
}

status_t image_token_choose(const tokenizer_t *tokenizer, const model_config_t *config,
                            const published_t *published, template_t template, image_token_t *out) {
  const char *own = tokenizer_piece(tokenizer, published->image);
  out->id = own && token_is_placeholder(own) ? published->image : placeholder(tokenizer, true);
  if (out->id < 0) out->id = free_row(tokenizer, config, published);
  if (out->id < 0) out->id = placeholder(tokenizer, false);
  if (out->id < 0) TRY(spare_special(tokenizer, template, &out->id));
  if (out->id < 0) out->id = 0;
  const char *piece = tokenizer_piece(tokenizer, out->id);
  bool fits = !piece || strlen(piece) < IMAGE_TOKEN_TEXT_MAX;
  snprintf(out->text, sizeof out->text, "%s", piece && fits ? piece : IMAGE_MARK);
  if (out->id == 0 && tokenizer_piece_id(tokenizer, "<unk>") != 0)
    log_warning(
        "no token is left to stand for an image: it is '%s' (0), of which a text in transformers must "
        "have none",
        out->text);
  return STATUS_OK;
}

#include "text/tokenizer_kind.h"

#include "tensor/packed.h"
#include "text/script.h"

#include <string.h>

struct tokenizer {
  const tokenizer_kind_t *kind;
  void *state;
  void *bytes; /* (n) */
  size_t n;
  int32_t size, bos, eos;
  token_range_t *drawable; /* (ranges) */
  int32_t ranges;
  int32_t ends[TOKENIZER_ENDS_MAX]; /* (end_count) */
  int32_t end_count;
};

static const char replacement[] = "\xEF\xBF\xBD";

static const char *const placeholders[] = {IMAGE_MARK,      "<video>",       "<im_patch>",
                                           "<|image_pad|>", "<|video_pad|>", "<|vision_pad|>"};
enum { PLACEHOLDERS = sizeof placeholders / sizeof *placeholders };

bool token_is_placeholder(const char *piece) {
  for (int i = 0; i < PLACEHOLDERS; i++)
    if (strcmp(piece, placeholders[i]) == 0) return true;
  return false;
}

static bool may_be_drawn(const tokenizer_t *tokenizer, int32_t id) {
  const char *piece = tokenizer_piece(tokenizer, id);
  return piece && id != tokenizer->bos && !token_is_placeholder(piece);
}

/* Ranges are counted first, where RANGES is NULL. */
static int32_t tokenizer_find_drawable(const tokenizer_t *tokenizer, token_range_t *ranges) {
  int32_t count = 0;
  for (int32_t id = 0; id < tokenizer->size; id++) {
    if (!may_be_drawn(tokenizer, id)) continue;
    int32_t begin = id;
    while (id < tokenizer->size && may_be_drawn(tokenizer, id))
      id++;
    if (ranges) ranges[count] = (token_range_t){begin, id};
    count++;
  }
  return count;
}

static status_t tokenizer_fill(tokenizer_t *tokenizer, const void *bytes, size_t n) {
  TRY(memory_alloc(&tokenizer->bytes, ARENA_DATA, n, 1));
  if (n > 0) memcpy(tokenizer->bytes, bytes, n);
  tokenizer->n = n;
  tokenizer->ranges = tokenizer_find_drawable(tokenizer, NULL);
  TRY(memory_alloc(&tokenizer->drawable, ARENA_DATA, (size_t)tokenizer->ranges, sizeof *tokenizer->drawable));
  tokenizer_find_drawable(tokenizer, tokenizer->drawable);
  return STATUS_OK;
}

status_t tokenizer_make(const tokenizer_kind_t *kind, void *state, const void *bytes, size_t n, int32_t size,
                        int32_t bos, int32_t eos, tokenizer_t **out) {
  tokenizer_t *tokenizer = NULL;
  *out = NULL;
  status_code_t status = memory_alloc(&tokenizer, ARENA_DATA, 1, sizeof *tokenizer);
  if (status != STATUS_OK) {
    kind->free(state);
    return status;
  }
  *tokenizer = (tokenizer_t){.kind = kind, .state = state, .size = size, .bos = bos, .eos = eos};
  status = tokenizer_fill(tokenizer, bytes, n);
  if (status == STATUS_OK)
    *out = tokenizer;
  else
    tokenizer_free(tokenizer);
  return status;
}

void tokenizer_free(tokenizer_t *tokenizer) {
  if (!tokenizer) return;
  tokenizer->kind->free(tokenizer->state);
  memory_free(tokenizer->bytes);
  memory_free(tokenizer->drawable);
  memory_free(tokenizer);
}

const void *tokenizer_bytes(const tokenizer_t *tokenizer, size_t *n) {
  *n = tokenizer->n;
  return tokenizer->bytes;
}

int32_t tokenizer_size(const tokenizer_t *tokenizer) {
  return tokenizer->size;
}

int32_t tokenizer_bos(const tokenizer_t *tokenizer) {
  return tokenizer->bos;
}

int32_t tokenizer_eos(const tokenizer_t *tokenizer) {
  return tokenizer->eos;
}

const int32_t *tokenizer_ends(const tokenizer_t *tokenizer, int32_t *count) {
  *count = tokenizer->end_count;
  return tokenizer->ends;
}

status_t tokenizer_set_ends(tokenizer_t *tokenizer, const int32_t *ids, int32_t count) {
  if (count > TOKENIZER_ENDS_MAX)
    return error_set(STATUS_DATA, "%d tokens end an answer, expected at most %d", count, TOKENIZER_ENDS_MAX);
  tokenizer->end_count = count;
  if (count > 0) memcpy(tokenizer->ends, ids, (size_t)count * sizeof *ids);
  return STATUS_OK;
}

int32_t tokenizer_piece_id(const tokenizer_t *tokenizer, const char *piece) {
  return tokenizer->kind->piece_id(tokenizer->state, piece);
}

const char *tokenizer_piece(const tokenizer_t *tokenizer, int32_t id) {
  if (id < 0 || id >= tokenizer->size) return NULL;
  return tokenizer->kind->piece(tokenizer->state, id);
}

const token_range_t *tokenizer_drawable(const tokenizer_t *tokenizer, int32_t *count) {
  *count = tokenizer->ranges;
  return tokenizer->drawable;
}

/* ---- Tokenising ---- */

static status_t tokenizer_encode_inner(const tokenizer_t *tokenizer, text_view_t text, token_list_t *list) {
  if (text_is_utf8(text, NULL)) return tokenizer->kind->encode(tokenizer->state, text, list);
  text_buffer_t repaired = {0};
  status_code_t status = text_buffer_append_repaired(&repaired, text);
  if (status == STATUS_OK)
    status = tokenizer->kind->encode(tokenizer->state, text_buffer_view(&repaired), list);
  text_buffer_free(&repaired);
  return status;
}

status_t tokenizer_encode(const tokenizer_t *tokenizer, const char *text, size_t n, int32_t **ids,
                          int32_t *count) {
  token_list_t list = {0};
  *ids = NULL;
  *count = 0;
  if (n == 0) return STATUS_OK;
  status_code_t status = tokenizer_encode_inner(tokenizer, (text_view_t){text, n}, &list);
  if (status != STATUS_OK) {
    memory_free(list.ids);
    return status;
  }
  *ids = list.ids;
  *count = list.n;
  return STATUS_OK;
}

static status_t tokenizer_decode_inner(const tokenizer_t *tokenizer, const int32_t *ids, int32_t n,
                                       text_buffer_t *text) {
  TRY(text_buffer_append_string(text, ""));
  for (int32_t i = 0; i < n;) {
    int32_t begin = i;
    while (i < n && tokenizer_piece(tokenizer, ids[i]))
      i++;
    if (i > begin) TRY(tokenizer->kind->decode(tokenizer->state, ids + begin, i - begin, text));
    if (i == n) break;
    TRY(text_buffer_append_string(text, ids[i++] == TOKEN_IMAGE ? IMAGE_MARK : replacement));
  }
  return STATUS_OK;
}

/* A model may spell its pieces in any bytes; 0, which would end a text, is replaced like those that are no
 * UTF-8. */
static status_t append_text(text_buffer_t *buffer, text_view_t found) {
  for (;;) {
    const char *zero = memchr(found.bytes, '\0', found.n);
    size_t n = zero ? (size_t)(zero - found.bytes) : found.n;
    TRY(text_buffer_append_repaired(buffer, text_slice(found, 0, n)));
    if (!zero) return STATUS_OK;
    TRY(text_buffer_append_string(buffer, replacement));
    found = text_slice(found, n + 1, found.n);
  }
}

status_t tokenizer_decode(const tokenizer_t *tokenizer, const int32_t *ids, int32_t n, char **text,
                          size_t *length) {
  text_buffer_t found = {0}, buffer = {0};
  *text = NULL;
  if (length) *length = 0;
  status_code_t status = tokenizer_decode_inner(tokenizer, ids, n, &found);
  if (status == STATUS_OK) status = append_text(&buffer, text_buffer_view(&found));
  text_buffer_free(&found);
  if (status != STATUS_OK) {
    text_buffer_free(&buffer);
    return status;
  }
  *text = buffer.bytes;
  if (length) *length = buffer.n;
  return STATUS_OK;
}

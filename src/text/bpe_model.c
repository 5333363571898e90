#include "text/bpe_model.h"

#include "text/bpe_word.h"
#include "text/byte_letters.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct {
  const char *text;  /* as spelt; NULL: no such id */
  const char *bytes; /* what it spells; its own bytes where a character of it stands for none */
  size_t n;
  bool spelt; /* by letters of bytes, and of the vocabulary: words may have it */
  bool whole; /* a word of these bytes is this piece */
} bpe_model_entry_t;

struct bpe_model {
  bpe_model_entry_t *entries; /* (size) */
  int32_t size;               /* largest id + 1 */
  char *storage;              /* spellings and bytes */
  int32_t *by_bytes;          /* (mask + 1): id + 1 of pieces that are spelt, 0 where free */
  int32_t *by_text;           /* (mask + 1): the same of all */
  size_t mask;
  bpe_pairs_t pairs;
  int32_t single[256]; /* piece of each byte; of one that has none the unknown piece, -1: it is dropped */
  bool absent[256];    /* bytes that have none */
  bool sparse;         /* there are such bytes */
  bool fused;          /* an unknown piece stands for all neighbours without one */
};

/* ---- Pieces ---- */

static size_t hash_of(const char *bytes, size_t n) {
  return (size_t)XXH3_64bits(bytes, n);
}

static bool entry_is(const bpe_model_entry_t *entry, bool spelt, const char *bytes, size_t n) {
  const char *own = spelt ? entry->bytes : entry->text;
  return (spelt ? entry->n : strlen(own)) == n && memcmp(own, bytes, n) == 0;
}

/* Place of the piece in TABLE, or the free place where it belongs. */
static int32_t *bpe_model_place_of(const bpe_model_t *model, int32_t *table, bool spelt, const char *bytes,
                                   size_t n) {
  size_t at = hash_of(bytes, n) & model->mask;
  while (table[at] && !entry_is(&model->entries[table[at] - 1], spelt, bytes, n))
    at = (at + 1) & model->mask;
  return &table[at];
}

static status_t bpe_model_count_pieces(const bpe_piece_t *pieces, int32_t count, bpe_model_t *model,
                                       size_t *bytes) {
  *bytes = 0;
  for (int32_t i = 0; i < count; i++) {
    if (pieces[i].id < 0 || pieces[i].id >= BPE_MOST_IDS)
      return error_set(STATUS_DATA, "the piece '%.60s' has the id %d; expected 0 to %d", pieces[i].text,
                       pieces[i].id, BPE_MOST_IDS - 1);
    if (pieces[i].id >= model->size) model->size = pieces[i].id + 1;
    *bytes += 2 * (strlen(pieces[i].text) + 1);
  }
  return STATUS_OK;
}

static status_t bpe_model_add_piece(bpe_model_t *model, const bpe_piece_t *piece, char **storage) {
  bpe_model_entry_t *entry = &model->entries[piece->id];
  size_t length = strlen(piece->text);
  if (piece->added && entry->text && strcmp(entry->text, piece->text) == 0) return STATUS_OK;
  if (entry->text)
    return error_set(STATUS_DATA, "the pieces '%.60s' and '%.60s' have the same id %d", entry->text,
                     piece->text, piece->id);
  memcpy(*storage, piece->text, length + 1);
  entry->text = *storage;
  entry->bytes = *storage + length + 1;
  bool letters = byte_letters_read(piece->text, *storage + length + 1, &entry->n);
  entry->spelt = letters && !piece->added && length > 0;
  if (!letters) {
    entry->bytes = entry->text;
    entry->n = length;
  }
  *storage += 2 * (length + 1);
  int32_t *place = bpe_model_place_of(model, model->by_text, false, entry->text, length);
  if (*place)
    return error_set(STATUS_DATA, "the piece '%.60s' has the ids %d and %d", piece->text, *place - 1,
                     piece->id);
  *place = piece->id + 1;
  if (entry->spelt) *bpe_model_place_of(model, model->by_bytes, true, entry->bytes, entry->n) = piece->id + 1;
  return STATUS_OK;
}

static status_t bpe_model_add_pieces(bpe_model_t *model, const bpe_piece_t *pieces, int32_t count) {
  size_t bytes, places = 16;
  TRY(bpe_model_count_pieces(pieces, count, model, &bytes));
  while (places < 2 * (size_t)count)
    places *= 2;
  model->mask = places - 1;
  TRY(memory_alloc(&model->entries, ARENA_DATA, (size_t)model->size, sizeof *model->entries));
  TRY(memory_alloc(&model->storage, ARENA_DATA, bytes, 1));
  TRY(memory_alloc(&model->by_text, ARENA_DATA, places, sizeof *model->by_text));
  TRY(memory_alloc(&model->by_bytes, ARENA_DATA, places, sizeof *model->by_bytes));
  char *storage = model->storage;
  for (int32_t i = 0; i < count; i++)
    TRY(bpe_model_add_piece(model, &pieces[i], &storage));
  return STATUS_OK;
}

/* A byte that texts have: a vocabulary without it spells texts in another way. */
static bool is_usual(int byte) {
  return byte == '\n' || (byte >= ' ' && byte <= '~');
}

static status_t bpe_model_find_single(bpe_model_t *model, bpe_unknown_t unknown) {
  int32_t instead = unknown.piece ? bpe_model_id(model, unknown.piece) : -1;
  model->fused = unknown.fused;
  for (int byte = 0; byte < 256; byte++) {
    char one = (char)byte, letter[5] = "";
    model->single[byte] = *bpe_model_place_of(model, model->by_bytes, true, &one, 1) - 1;
    if (model->single[byte] >= 0) continue;
    utf8_encode(byte_letter((unsigned char)byte), letter);
    if (is_usual(byte))
      return error_set(
          STATUS_DATA,
          "the byte 0x%02X has no piece ('%s'); expected a byte-level vocabulary, which has one for "
          "each character of ASCII",
          byte, letter);
    if (unknown.piece && instead < 0)
      return error_set(STATUS_DATA,
                       "the byte 0x%02X has no piece ('%s'), and the unknown one, '%.60s', is no piece", byte,
                       letter, unknown.piece);
    model->single[byte] = instead;
    model->absent[byte] = model->sparse = true;
  }
  return STATUS_OK;
}

/* ---- Merges ---- */

/* Id of the piece that LEFT and RIGHT spell together, -1 if none. */
static status_t joined_id(const bpe_model_t *model, const bpe_merge_t *merge, int32_t *id) {
  size_t left = strlen(merge->left), right = strlen(merge->right);
  char small[256], *text = small;
  if (left + right > sizeof small) TRY(memory_alloc(&text, ARENA_DATA, left + right, 1));
  memcpy(text, merge->left, left);
  memcpy(text + left, merge->right, right);
  *id = *bpe_model_place_of(model, model->by_text, false, text, left + right) - 1;
  if (text != small) memory_free(text);
  return STATUS_OK;
}

static status_t bpe_model_add_merges(bpe_model_t *model, const bpe_merge_t *merges, int32_t count) {
  TRY(bpe_pairs_create(count, &model->pairs));
  for (int32_t rank = 0; rank < count; rank++) {
    const bpe_merge_t *merge = &merges[rank];
    int32_t left = bpe_model_id(model, merge->left), right = bpe_model_id(model, merge->right), both;
    TRY(joined_id(model, merge, &both));
    if (left < 0 || right < 0 || both < 0)
      return error_set(
          STATUS_DATA,
          "merge %d joins '%.60s' and '%.60s'; expected that both, and what they make together, are "
          "pieces of the vocabulary",
          rank, merge->left, merge->right);
    bpe_pairs_set(&model->pairs, left, right, rank, both);
  }
  return STATUS_OK;
}

/* Marks the pieces that a word of their bytes becomes: most words of a text are one of them. */
static status_t bpe_model_find_whole(bpe_model_t *model, bool ignore_merges) {
  token_list_t list = {0};
  status_code_t status = STATUS_OK;
  for (int32_t id = 0; id < model->size && status == STATUS_OK; id++) {
    bpe_model_entry_t *entry = &model->entries[id];
    if (!entry->spelt) continue;
    list.n = 0;
    if (!ignore_merges)
      status = bpe_word_merge(&model->pairs, model->single, (text_view_t){entry->bytes, entry->n}, &list);
    entry->whole = ignore_merges || (list.n == 1 && list.ids[0] == id);
  }
  memory_free(list.ids);
  return status;
}

status_t bpe_model_create(const bpe_piece_t *pieces, int32_t count, const bpe_merge_t *merges,
                          int32_t merge_count, bool ignore_merges, bpe_unknown_t unknown, bpe_model_t **out) {
  bpe_model_t *model;
  *out = NULL;
  TRY(memory_alloc(&model, ARENA_DATA, 1, sizeof *model));
  status_code_t status = bpe_model_add_pieces(model, pieces, count);
  if (status == STATUS_OK) status = bpe_model_find_single(model, unknown);
  if (status == STATUS_OK) status = bpe_model_add_merges(model, merges, merge_count);
  if (status == STATUS_OK) status = bpe_model_find_whole(model, ignore_merges);
  if (status == STATUS_OK)
    *out = model;
  else
    bpe_model_free(model);
  return status;
}

void bpe_model_free(bpe_model_t *model) {
  if (!model) return;
  bpe_pairs_free(&model->pairs);
  memory_free(model->entries);
  memory_free(model->storage);
  memory_free(model->by_text);
  memory_free(model->by_bytes);
  memory_free(model);
}

/* ---- Use ---- */

int32_t bpe_model_size(const bpe_model_t *model) {
  return model->size;
}

const char *bpe_model_piece(const bpe_model_t *model, int32_t id) {
  return id >= 0 && id < model->size ? model->entries[id].text : NULL;
}

int32_t bpe_model_id(const bpe_model_t *model, const char *piece) {
  return *bpe_model_place_of(model, model->by_text, false, piece, strlen(piece)) - 1;
}

text_view_t bpe_model_bytes(const bpe_model_t *model, int32_t id) {
  return (text_view_t){model->entries[id].bytes, model->entries[id].n};
}

/* Of neighbouring bytes without a piece all stay, the first, or none. */
static bool byte_stays(const bpe_model_t *model, text_view_t word, size_t i) {
  unsigned char byte = (unsigned char)word.bytes[i];
  if (!model->absent[byte]) return true;
  if (model->single[byte] < 0) return false;
  return !model->fused || i == 0 || !model->absent[(unsigned char)word.bytes[i - 1]];
}

static bool has_absent(const bpe_model_t *model, text_view_t word) {
  bool absent = false;
  for (size_t i = 0; i < word.n && model->sparse; i++)
    absent = absent || model->absent[(unsigned char)word.bytes[i]];
  return absent;
}

/* The bytes of WORD that stay, merged. */
static status_t encode_sparse(const bpe_model_t *model, text_view_t word, token_list_t *out) {
  SCOPED_MEMORY char *bytes = NULL;
  size_t n = 0;
  TRY(memory_alloc(&bytes, ARENA_DATA, word.n, 1));
  for (size_t i = 0; i < word.n; i++)
    if (byte_stays(model, word, i)) bytes[n++] = word.bytes[i];
  if (n == 0) return STATUS_OK;
  return bpe_word_merge(&model->pairs, model->single, (text_view_t){bytes, n}, out);
}

status_t bpe_model_encode(const bpe_model_t *model, text_view_t word, token_list_t *out) {
  int32_t id = *bpe_model_place_of(model, model->by_bytes, true, word.bytes, word.n) - 1;
  if (id >= 0 && model->entries[id].whole) return token_list_append(out, id);
  if (has_absent(model, word)) return encode_sparse(model, word, out);
  return bpe_word_merge(&model->pairs, model->single, word, out);
}

#include "convert/spm_json.h"

#include "base/base64.h"
#include "base/memory.h"
#include "text/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPACE "\u2581"
#define SEPARATOR "\xEF\xB7\x90" /* U+FDD0, of no text */
enum { PIECE_BYTES_MOST = 512 };

static int32_t id_of(const tokenizer_t *tokenizer, const char *text, size_t n) {
  char piece[PIECE_BYTES_MOST];
  memcpy(piece, text, n);
  piece[n] = '\0';
  return tokenizer_piece_id(tokenizer, piece);
}

/* ---- What the library can do ---- */

/* Whether texts are split at piece ID before the model sees them. */
static bool is_special(const spm_model_t *model, const tokenizer_t *tokenizer, int32_t id) {
  return model->pieces[id].kind == SPM_UNKNOWN || id == tokenizer_bos(tokenizer) ||
         id == tokenizer_eos(tokenizer);
}

/* Whether each character of PIECE is a piece that texts are made of. */
static bool is_spelt(const spm_model_t *model, const tokenizer_t *tokenizer, const spm_piece_t *piece) {
  uint32_t character;
  size_t n;
  for (size_t at = 0; at < piece->n; at += n) {
    n = utf8_decode((const unsigned char *)piece->text + at, piece->n - at, &character);
    int32_t id = n > 0 ? id_of(tokenizer, piece->text + at, n) : -1;
    if (id < 0 || model->pieces[id].kind != SPM_NORMAL) return false;
  }
  return true;
}

/* The library looks for all pieces in a text. A score that is too bad keeps it from "<0x41>" and the like,
 * which needs other pieces for the same text, and makes unknown characters worse, which matters where one
 * is part of a piece. A map may make special tokens of texts that were none. */
static bool are_spelt(const spm_model_t *model, const tokenizer_t *tokenizer) {
  for (int32_t i = 0; i < model->count; i++) {
    bool split_off = is_special(model, tokenizer, i) && model->map_n == 0;
    if (!split_off && !is_spelt(model, tokenizer, &model->pieces[i])) return false;
  }
  return true;
}

static const char *hindrance_of_bpe(const spm_model_t *model) {
  return model->map_n > 0 ? "it is BPE and maps characters"
         : model->removes ? "it is BPE and removes spaces"
                          : NULL;
}

static const char *hindrance_of_unigram(const spm_model_t *model, const tokenizer_t *tokenizer) {
  if (model->map_n > 0 && !model->map_known) return "it maps characters in a way of its own";
  return are_spelt(model, tokenizer) ? NULL : "a character of one of its pieces is no piece itself";
}

const char *spm_json_hindrance(const spm_model_t *model, const tokenizer_t *tokenizer) {
  for (int32_t i = 0; i < model->count; i++) {
    if (model->pieces[i].kind == SPM_USER_DEFINED) return "it has pieces that its user defined";
    if (model->pieces[i].n >= PIECE_BYTES_MOST) return "one of its pieces is too long";
  }
  if (model->suffixing) return "its spaces belong to the word before them";
  if (!model->escapes) return "it leaves spaces as they are";
  if (model->algorithm == SPM_BPE) return hindrance_of_bpe(model);
  if (model->algorithm == SPM_UNIGRAM) return hindrance_of_unigram(model, tokenizer);
  return "it is neither BPE nor a unigram model";
}

/* ---- Merges ---- */

/* The first LEFT bytes of piece ID and its others are pieces; the piece's score says how early they merge. */
typedef struct {
  int32_t id, left, left_id, right_id;
  float score;
} spm_merge_t;

typedef struct {
  spm_merge_t *items; /* (count) */
  int64_t count, capacity;
} spm_merges_t;

static status_t merges_add(spm_merges_t *merges, spm_merge_t merge) {
  if (merges->count == merges->capacity) {
    merges->capacity = 2 * merges->capacity + 1024;
    TRY(memory_resize(&merges->items, ARENA_OTHER, (size_t)merges->capacity, sizeof *merges->items));
  }
  merges->items[merges->count++] = merge;
  return STATUS_OK;
}

static status_t merges_of_piece(const spm_model_t *model, const tokenizer_t *tokenizer, int32_t id,
                                spm_merges_t *merges) {
  const spm_piece_t *piece = &model->pieces[id];
  for (size_t left = 1; left < piece->n; left++) {
    if ((piece->text[left] & 0xC0) == 0x80) continue; /* within a character */
    int32_t left_id = id_of(tokenizer, piece->text, left);
    int32_t right_id = left_id < 0 ? -1 : id_of(tokenizer, piece->text + left, piece->n - left);
    if (right_id >= 0)
      TRY(merges_add(merges, (spm_merge_t){id, (int32_t)left, left_id, right_id, piece->score}));
  }
  return STATUS_OK;
}

/* The best score first; of one piece the longest left part. */
static int merges_compare(const void *a, const void *b) {
  const spm_merge_t *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  if (x->id != y->id) return x->id < y->id ? -1 : 1;
  return x->left > y->left ? -1 : 1;
}

static status_t merges_find(const spm_model_t *model, const tokenizer_t *tokenizer, spm_merges_t *merges) {
  for (int32_t i = 0; i < model->count; i++)
    if (model->pieces[i].kind == SPM_NORMAL) TRY(merges_of_piece(model, tokenizer, i, merges));
  if (merges->count > 0) qsort(merges->items, (size_t)merges->count, sizeof *merges->items, merges_compare);
  return STATUS_OK;
}

static void write_merges(json_writer_t *writer, const spm_model_t *model, const spm_merges_t *merges) {
  json_write_key(writer, "merges");
  json_write_array_begin(writer);
  for (int64_t i = 0; i < merges->count; i++) {
    const spm_merge_t *merge = &merges->items[i];
    const spm_piece_t *piece = &model->pieces[merge->id];
    char text[PIECE_BYTES_MOST + 2];
    int n = snprintf(text, sizeof text, "%.*s %.*s", merge->left, piece->text, (int)piece->n - merge->left,
                     piece->text + merge->left);
    json_write_text(writer, text, (size_t)n);
  }
  json_write_array_end(writer);
}

/* ---- The other parts ---- */

static void write_flag(json_writer_t *writer, const char *key, bool value) {
  json_write_key(writer, key);
  json_write_bool(writer, value);
}

static void write_added(json_writer_t *writer, int32_t id, const char *text, size_t n) {
  static const char *const off[] = {"single_word", "lstrip", "rstrip", "normalized"};
  json_write_object_begin(writer);
  json_write_int_member(writer, "id", id);
  json_write_key(writer, "content");
  json_write_text(writer, text, n);
  for (size_t i = 0; i < sizeof off / sizeof *off; i++)
    write_flag(writer, off[i], false);
  write_flag(writer, "special", true);
  json_write_object_end(writer);
}

static void write_all_added(json_writer_t *writer, const spm_model_t *model, const tokenizer_t *tokenizer,
                            const spm_added_t *added, int32_t count) {
  json_write_key(writer, "added_tokens");
  json_write_array_begin(writer);
  for (int32_t i = 0; i < model->count; i++) {
    const spm_piece_t *piece = &model->pieces[i];
    if (is_special(model, tokenizer, i)) write_added(writer, i, piece->text, piece->n);
  }
  for (int32_t i = 0; i < count; i++)
    write_added(writer, added[i].id, added[i].text, strlen(added[i].text));
  json_write_array_end(writer);
}

/* {"type": "Replace", ...}: FROM, a "String" or a "Regex" as KIND says, becomes TO. */
static void write_replace_kind(json_writer_t *writer, const char *kind, const char *from, const char *to) {
  json_write_object_begin(writer);
  json_write_member(writer, "type", "Replace");
  json_write_key(writer, "pattern");
  json_write_object_begin(writer);
  json_write_member(writer, kind, from);
  json_write_object_end(writer);
  json_write_member(writer, "content", to);
  json_write_object_end(writer);
}

static void write_replace(json_writer_t *writer, const char *from, const char *to) {
  write_replace_kind(writer, "String", from, to);
}

static void write_type(json_writer_t *writer, const char *type) {
  json_write_object_begin(writer);
  json_write_member(writer, "type", type);
  json_write_object_end(writer);
}

/* A key with {"type": "Sequence", LIST: [; write_sequence_end closes it. */
static void write_sequence_begin(json_writer_t *writer, const char *key, const char *list) {
  json_write_key(writer, key);
  json_write_object_begin(writer);
  json_write_member(writer, "type", "Sequence");
  json_write_key(writer, list);
  json_write_array_begin(writer);
}

static void write_sequence_end(json_writer_t *writer) {
  json_write_array_end(writer);
  json_write_object_end(writer);
}

static void write_prefix(json_writer_t *writer, const spm_model_t *model) {
  if (!model->prefix) return;
  json_write_object_begin(writer);
  json_write_member(writer, "type", "Prepend");
  json_write_member(writer, "prepend", SPACE);
  json_write_object_end(writer);
}

/* The library maps graphemes, of which it loses all behind a character that is mapped, instead of characters
 * and the sequences that the map composes. So graphemes are cut into characters, and what SentencePiece's own
 * maps compose is composed by NFC, before and afterwards. MAP: in base64, NULL for none. */
static void write_map(json_writer_t *writer, const char *map) {
  static const char within[] =
      "(?<=\\r)(?=\\n)|(?<=[^\\r\\n])(?=[\\p{M}\\x{200C}\\x{200D}\\x{FF9E}\\x{FF9F}])";
  if (!map) return;
  write_type(writer, "NFC");
  write_replace_kind(writer, "Regex", within, SEPARATOR);
  json_write_object_begin(writer);
  json_write_member(writer, "type", "Precompiled");
  json_write_member(writer, "precompiled_charsmap", map);
  json_write_object_end(writer);
  write_replace(writer, SEPARATOR, "");
  write_type(writer, "NFC");
}

/* SentencePiece removes its own sign of a space at a text's end too. A text that loses all its characters has
 * no space in front where spaces are removed, and has one where they are not. */
static void write_normalizer(json_writer_t *writer, const spm_model_t *model, const char *map) {
  write_sequence_begin(writer, "normalizer", "normalizers");
  if (!model->removes) write_prefix(writer, model);
  write_map(writer, map);
  if (model->removes) {
    write_replace_kind(writer, "Regex", "\\A +|[ " SPACE "]+\\z", "");
    write_replace_kind(writer, "Regex", "  +", " ");
    write_prefix(writer, model);
  }
  write_replace(writer, " ", SPACE);
  write_sequence_end(writer);
}

/* SentencePiece takes the space in front of a text away again; all of them, where it removes spaces. */
static void write_decoder(json_writer_t *writer, const spm_model_t *model) {
  const int64_t all = 1 << 20;
  write_sequence_begin(writer, "decoder", "decoders");
  write_replace(writer, SPACE, " ");
  write_type(writer, "ByteFallback");
  write_type(writer, "Fuse");
  if (model->prefix || model->removes) {
    json_write_object_begin(writer);
    json_write_member(writer, "type", "Strip");
    json_write_member(writer, "content", " ");
    json_write_int_member(writer, "start", model->removes ? all : 1);
    json_write_int_member(writer, "stop", 0);
    json_write_object_end(writer);
  }
  write_sequence_end(writer);
}

static void write_part(json_writer_t *writer, const char *kind, const char *id, int32_t type_id) {
  json_write_object_begin(writer);
  json_write_key(writer, kind);
  json_write_object_begin(writer);
  json_write_member(writer, "id", id);
  json_write_int_member(writer, "type_id", type_id);
  json_write_object_end(writer);
  json_write_object_end(writer);
}

/* BOS in front of each text, which the program puts there too. */
static void write_post_processor(json_writer_t *writer, const tokenizer_t *tokenizer) {
  int32_t bos = tokenizer_bos(tokenizer);
  const char *text = tokenizer_piece(tokenizer, bos);
  json_write_key(writer, "post_processor");
  json_write_object_begin(writer);
  json_write_member(writer, "type", "TemplateProcessing");
  for (int pair = 0; pair < 2; pair++) {
    json_write_key(writer, pair ? "pair" : "single");
    json_write_array_begin(writer);
    for (int part = 0; part <= pair; part++) {
      write_part(writer, "SpecialToken", text, part);
      write_part(writer, "Sequence", part ? "B" : "A", part);
    }
    json_write_array_end(writer);
  }
  json_write_key(writer, "special_tokens");
  json_write_object_begin(writer);
  json_write_key(writer, text);
  json_write_object_begin(writer);
  json_write_member(writer, "id", text);
  json_write_key(writer, "ids");
  json_write_array_begin(writer);
  json_write_int(writer, bos);
  json_write_array_end(writer);
  json_write_key(writer, "tokens");
  json_write_array_begin(writer);
  json_write_string(writer, text);
  json_write_array_end(writer);
  json_write_object_end(writer);
  json_write_object_end(writer);
  json_write_object_end(writer);
}

static void write_vocabulary(json_writer_t *writer, const tokenizer_t *tokenizer) {
  json_write_key(writer, "vocab");
  json_write_object_begin(writer);
  for (int32_t i = 0; i < tokenizer_size(tokenizer); i++)
    json_write_int_member(writer, tokenizer_piece(tokenizer, i), i);
  json_write_object_end(writer);
}

static int32_t unknown_id(const spm_model_t *model) {
  int32_t id = 0;
  while (id < model->count - 1 && model->pieces[id].kind != SPM_UNKNOWN)
    id++;
  return id;
}

static void write_bpe(json_writer_t *writer, const spm_model_t *model, const tokenizer_t *tokenizer,
                      const spm_merges_t *merges) {
  json_write_key(writer, "model");
  json_write_object_begin(writer);
  json_write_member(writer, "type", "BPE");
  json_write_member(writer, "unk_token", tokenizer_piece(tokenizer, unknown_id(model)));
  write_flag(writer, "fuse_unk", true);
  write_flag(writer, "byte_fallback", model->byte_fallback);
  write_vocabulary(writer, tokenizer);
  write_merges(writer, model, merges);
  json_write_object_end(writer);
}

/* Worse than the characters of any piece that texts are not made of. */
static double score_never(const spm_model_t *model) {
  double worst = 0;
  size_t longest = 0;
  for (int32_t i = 0; i < model->count; i++) {
    const spm_piece_t *piece = &model->pieces[i];
    if (piece->kind == SPM_NORMAL)
      worst = fmin(worst, piece->score);
    else if (piece->n > longest)
      longest = piece->n;
  }
  return (double)longest * worst - 1;
}

static void write_unigram(json_writer_t *writer, const spm_model_t *model) {
  double never = score_never(model);
  json_write_key(writer, "model");
  json_write_object_begin(writer);
  json_write_member(writer, "type", "Unigram");
  json_write_int_member(writer, "unk_id", unknown_id(model));
  write_flag(writer, "byte_fallback", model->byte_fallback);
  json_write_key(writer, "vocab");
  json_write_array_begin(writer);
  for (int32_t i = 0; i < model->count; i++) {
    const spm_piece_t *piece = &model->pieces[i];
    json_write_array_begin(writer);
    json_write_text(writer, piece->text, piece->n);
    json_write_real(writer, piece->kind == SPM_NORMAL ? (double)piece->score : never);
    json_write_array_end(writer);
  }
  json_write_array_end(writer);
  json_write_object_end(writer);
}

status_t spm_json_write(json_writer_t *writer, const spm_model_t *model, const tokenizer_t *tokenizer,
                        const spm_added_t *added, int32_t count) {
  spm_merges_t merges = {0};
  char *map = NULL;
  if (model->map_n > 0) TRY(base64_encode(model->map, model->map_n, &map));
  status_code_t status =
      model->algorithm == SPM_BPE ? merges_find(model, tokenizer, &merges) : (status_code_t)STATUS_OK;
  json_write_object_begin(writer);
  json_write_member(writer, "version", "1.0");
  write_all_added(writer, model, tokenizer, added, count);
  write_normalizer(writer, model, map);
  json_write_key(writer, "pre_tokenizer");
  json_write_null(writer);
  write_post_processor(writer, tokenizer);
  write_decoder(writer, model);
  if (model->algorithm == SPM_BPE)
    write_bpe(writer, model, tokenizer, &merges);
  else
    write_unigram(writer, model);
  json_write_object_end(writer);
  memory_free(merges.items);
  memory_free(map);
  return status;
}

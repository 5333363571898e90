/* Pieces and merges of byte-level BPE: from the bytes of a word to ids. */
#ifndef TEXT_BPE_MODEL_H
#define TEXT_BPE_MODEL_H

#include "text/token_list.h"
#include "text/view.h"

/* A piece as the file spells it (text/byte_letters.h). */
typedef struct {
  const char *text; /* '\0'-terminated */
  int32_t id;
  bool added; /* besides the vocabulary, unless it has this very piece: no word becomes it */
} bpe_piece_t;

/* Two pieces that become one; where their merge stands in the list is its rank. */
typedef struct {
  const char *left, *right;
} bpe_merge_t;

enum { BPE_MOST_IDS = 1 << 22 };

/* What bytes become that the vocabulary lacks: models leave out those that no text of theirs had. */
typedef struct {
  const char *piece; /* NULL: nothing, they are dropped */
  bool fused;        /* one piece for neighbours */
} bpe_unknown_t;

typedef struct bpe_model bpe_model_t;

/* Copies PIECES (count) and MERGES (merge_count). IGNORE_MERGES: a word that is a piece is that piece,
 * however it is merged. Free with bpe_model_free. Errors: STATUS_DATA (an id beyond 0..BPE_MOST_IDS-1, an id
 * of two pieces, a printable byte of ASCII or a line end without a piece, an UNKNOWN that bytes need and that
 * is none, a merge of or into no piece). Local. */
status_t bpe_model_create(const bpe_piece_t *pieces, int32_t count, const bpe_merge_t *merges,
                          int32_t merge_count, bool ignore_merges, bpe_unknown_t unknown, bpe_model_t **out);
void bpe_model_free(bpe_model_t *model);

/* One more than the largest id. */
int32_t bpe_model_size(const bpe_model_t *model);

/* Spelling of ID (NULL: none) and id of a spelling (-1: none). Local. */
const char *bpe_model_piece(const bpe_model_t *model, int32_t id);
int32_t bpe_model_id(const bpe_model_t *model, const char *piece);

/* Bytes of piece ID, which has one. Local. */
text_view_t bpe_model_bytes(const bpe_model_t *model, int32_t id);

/* Appends the ids of WORD, not empty: from single bytes that have a piece, of all neighbours that a merge
 * knows the pair of lowest rank (the first of equals) is joined until none is left. Local, thread-safe. */
status_t bpe_model_encode(const bpe_model_t *model, text_view_t word, token_list_t *out);

#endif

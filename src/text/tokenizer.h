/* Text to ids and back. There are two kinds of tokenizer behind this interface: SentencePiece models
 * (text/sentencepiece.h) and byte-level BPE (text/bpe.h); io/formats/tokenizer_file.h makes either from the
 * bytes of its file. */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tokenizer tokenizer_t;

/* The ids BEGIN..END-1. */
typedef struct {
  int32_t begin, end;
} token_range_t;

void tokenizer_free(tokenizer_t *tokenizer);

/* The file's N bytes, as they were given; owned by the tokenizer. They are stored in weight files. Local. */
const void *tokenizer_bytes(const tokenizer_t *tokenizer, size_t *n);

/* One more than the largest id V: ids are 0..V-1, of which a BPE tokenizer may leave some out. Local. */
int32_t tokenizer_size(const tokenizer_t *tokenizer);

/* What a text begins with, -1 where this tokenizer puts nothing in front; what ends it (a chat template may
 * end answers otherwise, text/conversation.h). Local. */
int32_t tokenizer_bos(const tokenizer_t *tokenizer);
int32_t tokenizer_eos(const tokenizer_t *tokenizer);

/* Ids that end an answer by what the model's published configuration says (its eos_token_id), as IDS (*COUNT)
 * owned by the tokenizer; none where nobody has set them. Local. */
enum { TOKENIZER_ENDS_MAX = 8 };
const int32_t *tokenizer_ends(const tokenizer_t *tokenizer, int32_t *count);
/* Sets them to IDS (COUNT), which are copied. Errors: STATUS_DATA beyond TOKENIZER_ENDS_MAX. Local. */
status_t tokenizer_set_ends(tokenizer_t *tokenizer, const int32_t *ids, int32_t count);

/* Id of a piece as the file spells it ("\u2581?", "\u0120?", "<|im_end|>"); -1 if it has no such piece.
 * Local. */
int32_t tokenizer_piece_id(const tokenizer_t *tokenizer, const char *piece);

/* Spelling of the piece ID, owned by the tokenizer; NULL if there is no such id. Local. */
const char *tokenizer_piece(const tokenizer_t *tokenizer, int32_t id);

/* The ids that generation may draw, as RANGES (*COUNT) in ascending order, owned by the tokenizer: those that
 * have a piece, but for BOS and the placeholders of images (token_is_placeholder). Local. */
const token_range_t *tokenizer_drawable(const tokenizer_t *tokenizer, int32_t *count);

/* Whether PIECE stands for an image or a video in some model's vocabulary ("<image>", "<|image_pad|>", ...).
 * In a text such a piece is plain characters, for where images stand is known from the sample. Local. */
bool token_is_placeholder(const char *piece);

/* Tokenises the N bytes of TEXT: *IDS (*COUNT), NULL for no tokens, the caller frees with memory_free. The
 * ids are those that transformers gives without adding BOS: special tokens that the text spells ("</s>")
 * become their ids, all else goes through the model piece by piece between them. Bytes that are not UTF-8
 * become U+FFFD, as Python replaces them. Local, thread-safe. */
status_t tokenizer_encode(const tokenizer_t *tokenizer, const char *text, size_t n, int32_t **ids,
                          int32_t *count);

/* Text of IDS (N): *TEXT, '\0'-terminated, of *LENGTH bytes (may be NULL), always UTF-8; the caller frees
 * with memory_free. Special tokens leave no trace; TOKEN_IMAGE (tensor/packed.h) becomes "<image>"; an id
 * without a piece (rows of an embedding may outnumber the pieces) becomes U+FFFD, and so does the byte 0.
 * Local, thread-safe. */
status_t tokenizer_decode(const tokenizer_t *tokenizer, const int32_t *ids, int32_t n, char **text,
                          size_t *length);

#ifdef __cplusplus
}
#endif

#endif

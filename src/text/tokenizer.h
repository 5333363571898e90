/* SentencePiece behind a C interface; the only C++ outside the CUDA folder. No exception leaves these
 * functions. */
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

/* Makes a tokenizer from the N bytes of a tokenizer.model; they are copied. Free with tokenizer_free. Errors:
 * STATUS_DATA where they are no SentencePiece model or lack the unknown, BOS or EOS piece. Local. */
status_t tokenizer_create(const void *bytes, size_t n, tokenizer_t **out);

/* The same from a file; the error names it. Local. */
status_t tokenizer_load(const char *path, tokenizer_t **out);
void tokenizer_free(tokenizer_t *tokenizer);

/* The model's N bytes, as they were given; owned by the tokenizer. They are stored in weight files. Local. */
const void *tokenizer_bytes(const tokenizer_t *tokenizer, size_t *n);

/* Number of pieces V; ids are 0..V-1. Local. */
int32_t tokenizer_size(const tokenizer_t *tokenizer);
int32_t tokenizer_bos(const tokenizer_t *tokenizer);
int32_t tokenizer_eos(const tokenizer_t *tokenizer);

/* Id of a piece as the model spells it ("\u2581?"); -1 if it has no such piece. Local. */
int32_t tokenizer_piece_id(const tokenizer_t *tokenizer, const char *piece);

/* Spelling of the piece ID, owned by the tokenizer; NULL if there is no such id. Local. */
const char *tokenizer_piece(const tokenizer_t *tokenizer, int32_t id);

/* Tokenises the N bytes of TEXT: *IDS (*COUNT), NULL for no tokens, the caller frees with memory_free. No BOS
 * or EOS is added, and "<s>" or "</s>" in the text are plain characters. Bytes that are not UTF-8 become
 * U+FFFD. Local, thread-safe. */
status_t tokenizer_encode(const tokenizer_t *tokenizer, const char *text, size_t n, int32_t **ids,
                          int32_t *count);

/* Text of IDS (N): *TEXT, '\0'-terminated, of *LENGTH bytes (may be NULL), always UTF-8; the caller frees
 * with memory_free. BOS and EOS leave no trace; TOKEN_IMAGE (tensor/packed.h) becomes "<image>"; an id
 * without a piece (rows of an embedding may outnumber the pieces) becomes U+FFFD. Local, thread-safe. */
status_t tokenizer_decode(const tokenizer_t *tokenizer, const int32_t *ids, int32_t n, char **text,
                          size_t *length);

/* Training texts, one after the other: stores the next in *TEXT (*N bytes, theirs until the next call) and
 * returns true; false at the end. */
typedef bool (*tokenizer_texts_t)(void *context, const char **text, size_t *n);

typedef struct {
  int32_t vocab_size; /* at most so many pieces; fewer where the texts are single pieces before that */
  bool byte_fallback; /* 256 pieces for the bytes of characters that the texts do not have */
} tokenizer_training_t;

/* Trains a BPE model as LLaMA's is made (identity normalisation, dummy prefix, split digits; ids 0 unknown, 1
 * BOS, 2 EOS). One thread: the same texts give the same bytes. Errors: STATUS_INPUT for what SentencePiece
 * refuses (no text, a vocabulary smaller than the texts' characters). Local. */
status_t tokenizer_train(const tokenizer_training_t *training, tokenizer_texts_t texts, void *context,
                         tokenizer_t **out);

#ifdef __cplusplus
}
#endif

#endif

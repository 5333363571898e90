/* SentencePiece behind the interface of tokenizers; the only C++ outside the CUDA folder. No exception leaves
 * these functions. */
#ifndef TEXT_SENTENCEPIECE_H
#define TEXT_SENTENCEPIECE_H

#ifdef __cplusplus
extern "C" {
#endif

#include "text/tokenizer.h"

#include <stdbool.h>

/* Makes a tokenizer from the N bytes of a tokenizer.model; they are copied. The unknown, BOS and EOS pieces
 * are its special tokens. Free with tokenizer_free. Errors: STATUS_DATA where they are no SentencePiece model
 * or lack one of these pieces. Local. */
status_t sentencepiece_create(const void *bytes, size_t n, tokenizer_t **out);

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

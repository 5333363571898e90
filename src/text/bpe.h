/* Byte-level BPE, as GPT-2, LLaMA 3, Qwen2 and SmolLM2 have it: normalise, split at added tokens, cut into
 * words, spell their bytes as letters, merge. The ids are those of the tokenizers library for the same file.
 */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include "text/added_tokens.h"
#include "text/bpe_model.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

/* What a file says (io/formats/tokenizer_json.h reads it); nothing of it is kept. */
typedef struct {
  const bpe_piece_t *pieces; /* (piece_count) of the vocabulary, and the added tokens that it lacks */
  int32_t piece_count;
  const bpe_merge_t *merges; /* (merge_count) */
  int32_t merge_count;
  bool ignore_merges;
  bpe_unknown_t unknown;
  const added_token_t *added; /* (added_count) */
  int32_t added_count;
  const split_step_t *steps; /* (step_count) */
  int32_t step_count;
  bool nfc;        /* texts are brought to Unicode's normal form C first */
  const char *bos; /* piece in front of a text; NULL: none */
} bpe_definition_t;

/* Makes a tokenizer of DEFINITION; BYTES (n) are the file's, kept for tokenizer_bytes. EOS is the first of
 * the usual pieces "</s>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|im_end|>" that is a special
 * token or, with no such, a piece. Placeholders among the added tokens are plain text. Errors: STATUS_DATA as
 * those of the parts; no such EOS; BOS is no piece. Local. */
status_t bpe_create(const bpe_definition_t *definition, const void *bytes, size_t n, tokenizer_t **out);

#endif

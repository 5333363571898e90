/* tokenizer.json of the tokenizers library, as far as it is byte-level BPE. */
#ifndef IO_FORMATS_TOKENIZER_JSON_H
#define IO_FORMATS_TOKENIZER_JSON_H

#include "text/tokenizer.h"

/* Makes a tokenizer from the N bytes of TEXT. Read are: a normalizer that is absent or NFC; a pre_tokenizer
 * of Split, Digits and, last, ByteLevel; a BPE model; a post_processor of ByteLevel and TemplateProcessing
 * that puts at most one token in front; a ByteLevel decoder; added tokens with the ids
 * that the tokenizers library gives them. Errors: STATUS_DATA, which names what is otherwise. Local. */
status_t tokenizer_json_create(const char *text, size_t n, tokenizer_t **out);

#endif

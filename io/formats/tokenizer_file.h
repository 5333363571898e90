/* Tokenizers from their files: SentencePiece's tokenizer.model, or tokenizer.json of byte-level BPE. Which of
 * them it is shows in the content, whatever the file is called. */
#ifndef IO_FORMATS_TOKENIZER_FILE_H
#define IO_FORMATS_TOKENIZER_FILE_H

#include "text/tokenizer.h"

/* Makes a tokenizer from the N bytes of its file; they are copied. Free with tokenizer_free. Errors:
 * STATUS_DATA where they are neither kind, are broken, or ask for something that would be tokenised otherwise
 * than the file says (the message names it). Local. */
status_t tokenizer_create(const void *bytes, size_t n, tokenizer_t **out);

/* The same from a file; the error names it. Local. */
status_t tokenizer_load(const char *path, tokenizer_t **out);

/* What the file of N BYTES is called beside published weights: tokenizer.json or tokenizer.model. Local. */
const char *tokenizer_file_name(const void *bytes, size_t n);

#endif

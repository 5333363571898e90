/* Added tokens in the files that lie beside a tokenizer's own. */
#ifndef CONVERT_TOKENS_BESIDE_H
#define CONVERT_TOKENS_BESIDE_H

#include "text/tokenizer.h"

/* Looks into added_tokens.json, tokenizer_config.json and tokenizer.json of the folder of PATH, the file of
 * which TOKENIZER has been made, for tokens that TOKENIZER has not: transformers takes them in, here their
 * texts would be read as any other and the model could not write them. Those that no text has to spell may be
 * there (images, padding), and those beyond the model's ROWS. Local. Errors: STATUS_DATA, which names the
 * tokens. */
status_t tokens_beside_check(const char *path, const tokenizer_t *tokenizer, int32_t rows);

#endif

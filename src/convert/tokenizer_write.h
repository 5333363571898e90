/* What transformers reads beside a tokenizer's own file. */
#ifndef CONVERT_TOKENIZER_WRITE_H
#define CONVERT_TOKENIZER_WRITE_H

#include "convert/config_write.h"

/* Writes to FOLDER, for AutoTokenizer.from_pretrained: the tokenizer's file (tokenizer.json as
 * well where that is tokenizer.model), tokenizer_config.json, special_tokens_map.json and, unless CONFIG's
 * template is 'plain', the chat template as chat_template.jinja and in tokenizer_config.json. Local. */
status_t tokenizer_write(const char *folder, const written_config_t *config);

#endif

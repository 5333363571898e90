/* Characters that Unicode got after version 14, up to 16: the tokenizers library knows them as letters,
 * digits and so on, an older PCRE2 does not. */
#ifndef TEXT_NEWER_CHARACTERS_H
#define TEXT_NEWER_CHARACTERS_H

#include "text/buffer.h"

/* Whether TEXT (UTF-8) has one of them. Local. */
bool newer_characters_in(text_view_t text);

/* Appends TEXT, byte for byte as long, with an older character of the same category in the place of each
 * newer one: a pattern finds there what it should find in TEXT. Local. */
status_t newer_characters_hide(text_view_t text, text_buffer_t *out);

#endif

/* Unicode's normal form C as the tokenizers library makes it. */
#ifndef TEXT_NORMAL_FORM_H
#define TEXT_NORMAL_FORM_H

#include "text/buffer.h"

/* False where TEXT (UTF-8) is sure to be in normal form C. Local. */
bool normal_form_may_change(text_view_t text);

/* Appends the normal form of TEXT. Local, thread-safe. */
status_t normal_form_append(text_view_t text, text_buffer_t *out);

#endif

/* Texts in lower case, in all scripts. */
#ifndef TEXT_LOWER_CASE_H
#define TEXT_LOWER_CASE_H

#include "text/buffer.h"

/* Appends TEXT (UTF-8; what is none is kept) in lower case, as Python's str.lower() makes it, except that a
 * capital sigma at the end of a word becomes that of its middle. Local. */
status_t lower_case_append(text_view_t text, text_buffer_t *out);

#endif

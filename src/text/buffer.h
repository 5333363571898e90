/* A text that grows. */
#ifndef TEXT_BUFFER_H
#define TEXT_BUFFER_H

#include "base/status.h"
#include "text/view.h"

/* All zero is the empty text. */
typedef struct {
  char *bytes; /* always '\0'-terminated once something was appended; owner frees with text_buffer_free */
  size_t n, capacity;
} text_buffer_t;

status_t text_buffer_append(text_buffer_t *buffer, text_view_t text);
status_t text_buffer_append_string(text_buffer_t *buffer, const char *string);

/* Appends TEXT without any MARK (not empty); marks that a removal forms are removed as well. */
status_t text_buffer_append_without(text_buffer_t *buffer, text_view_t text, const char *mark);

/* Appends TEXT, well-formed: what is not UTF-8 in it becomes U+FFFD, as Python's errors='replace' makes it.
 */
status_t text_buffer_append_repaired(text_buffer_t *buffer, text_view_t text);
text_view_t text_buffer_view(const text_buffer_t *buffer);
void text_buffer_free(text_buffer_t *buffer);

#endif

/* Pieces of text that belong to somebody else: UTF-8 bytes and their number, no '\0' at the end. */
#ifndef TEXT_VIEW_H
#define TEXT_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  const char *bytes; /* may be NULL where n is 0 */
  size_t n;          /* bytes */
} text_view_t;

/* The view of a '\0'-terminated string. Local. */
text_view_t text_view(const char *string);

/* TEXT from byte BEGIN up to, not including, byte END. Local. */
text_view_t text_slice(text_view_t text, size_t begin, size_t end);

/* White space as Unicode and Python's str.strip() and str.split() have it, U+00A0 and U+3000 included. Local.
 */
bool text_is_space(uint32_t character);

/* TEXT without white space at both ends. Local. */
text_view_t text_strip(text_view_t text);

bool text_equal(text_view_t text, const char *string);
bool text_starts_with(text_view_t text, const char *prefix);

/* Byte position of the first NEEDLE (not empty) in TEXT at or after FROM; TEXT.n if there is none. Local. */
size_t text_find(text_view_t text, const char *needle, size_t from);
bool text_contains(text_view_t text, const char *needle);

/* True if TEXT is well-formed UTF-8 (no overlong forms, no surrogates, nothing above U+10FFFF). Stores the
 * position of the first bad byte in *BAD where not NULL. Local. */
bool text_is_utf8(text_view_t text, size_t *bad);

#endif

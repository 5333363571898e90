#include "text/lower_case.h"

#include "text/utf8.h"

#include <utf8proc.h>

enum { DOTTED_CAPITAL_I = 0x130 };

/* The one character that becomes two: an i, and a dot above. */
static text_view_t character_lower(uint32_t character, char bytes[4]) {
  if (character == DOTTED_CAPITAL_I) return text_view("i\xCC\x87");
  size_t n = utf8_encode((uint32_t)utf8proc_tolower((utf8proc_int32_t)character), bytes);
  return (text_view_t){bytes, n};
}

status_t lower_case_append(text_view_t text, text_buffer_t *out) {
  for (size_t at = 0, length; at < text.n; at += length) {
    uint32_t character;
    char bytes[4];
    length = utf8_decode((const unsigned char *)text.bytes + at, text.n - at, &character);
    bool bad = length == 0;
    if (bad) length = 1;
    TRY(text_buffer_append(out, bad ? text_slice(text, at, at + 1) : character_lower(character, bytes)));
  }
  return STATUS_OK;
}

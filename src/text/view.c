#define _GNU_SOURCE /* memmem */
#include "text/view.h"

#include "text/utf8.h"

#include <string.h>

text_view_t text_view(const char *string) {
  return (text_view_t){string, strlen(string)};
}

text_view_t text_slice(text_view_t text, size_t begin, size_t end) {
  return begin < end ? (text_view_t){text.bytes + begin, end - begin} : (text_view_t){text.bytes, 0};
}

/* Python takes the four separators of ASCII as well. */
bool text_is_space(uint32_t c) {
  return (c >= 0x1C && c <= 0x1F) || unicode_white_space(c);
}

text_view_t text_strip(text_view_t text) {
  const unsigned char *bytes = (const unsigned char *)text.bytes;
  size_t begin = 0, end = text.n;
  uint32_t character;
  while (begin < end) {
    size_t length = utf8_decode(bytes + begin, end - begin, &character);
    if (length == 0 || !text_is_space(character)) break;
    begin += length;
  }
  while (end > begin) {
    size_t start = end - 1;
    while (start > begin && end - start < 4 && (bytes[start] & 0xC0) == 0x80)
      start--;
    if (utf8_decode(bytes + start, end - start, &character) != end - start || !text_is_space(character))
      break;
    end = start;
  }
  return text_slice(text, begin, end);
}

bool text_equal(text_view_t text, const char *string) {
  return text.n == strlen(string) && text_starts_with(text, string);
}

bool text_starts_with(text_view_t text, const char *prefix) {
  size_t length = strlen(prefix);
  return length == 0 || (text.n >= length && memcmp(text.bytes, prefix, length) == 0);
}

size_t text_find(text_view_t text, const char *needle, size_t from) {
  if (from >= text.n) return text.n;
  const char *found = memmem(text.bytes + from, text.n - from, needle, strlen(needle));
  return found ? (size_t)(found - text.bytes) : text.n;
}

bool text_contains(text_view_t text, const char *needle) {
  return text_find(text, needle, 0) < text.n;
}

bool text_is_utf8(text_view_t text, size_t *bad) {
  size_t at = 0;
  while (at < text.n) {
    uint32_t character;
    size_t length = utf8_decode((const unsigned char *)text.bytes + at, text.n - at, &character);
    if (length == 0) {
      if (bad) *bad = at;
      return false;
    }
    at += length;
  }
  return true;
}

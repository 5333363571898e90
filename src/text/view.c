#define _GNU_SOURCE /* memmem */
#include "text/view.h"

#include <stdint.h>
#include <string.h>

text_view_t text_view(const char *string) {
  return (text_view_t){string, strlen(string)};
}

text_view_t text_slice(text_view_t text, size_t begin, size_t end) {
  return begin < end ? (text_view_t){text.bytes + begin, end - begin} : (text_view_t){text.bytes, 0};
}

/* Decodes the character at BYTES (N > 0 bytes left). Returns its length in bytes, 0 where it is malformed. */
static size_t text_view_decode(const unsigned char *bytes, size_t n, uint32_t *character) {
  static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
  if (bytes[0] < 0x80) {
    *character = bytes[0];
    return 1;
  }
  size_t length = (bytes[0] & 0xE0) == 0xC0   ? 2
                  : (bytes[0] & 0xF0) == 0xE0 ? 3
                  : (bytes[0] & 0xF8) == 0xF0 ? 4
                                              : 0;
  if (length == 0 || length > n) return 0;
  uint32_t value = bytes[0] & (0x7Fu >> length);
  for (size_t i = 1; i < length; i++) {
    if ((bytes[i] & 0xC0) != 0x80) return 0;
    value = value << 6 | (bytes[i] & 0x3Fu);
  }
  if (value < smallest[length] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return 0;
  *character = value;
  return length;
}

static bool is_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

text_view_t text_strip(text_view_t text) {
  const unsigned char *bytes = (const unsigned char *)text.bytes;
  size_t begin = 0, end = text.n;
  uint32_t character;
  while (begin < end) {
    size_t length = text_view_decode(bytes + begin, end - begin, &character);
    if (length == 0 || !is_space(character)) break;
    begin += length;
  }
  while (end > begin) {
    size_t start = end - 1;
    while (start > begin && end - start < 4 && (bytes[start] & 0xC0) == 0x80)
      start--;
    if (text_view_decode(bytes + start, end - start, &character) != end - start || !is_space(character))
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
    size_t length = text_view_decode((const unsigned char *)text.bytes + at, text.n - at, &character);
    if (length == 0) {
      if (bad) *bad = at;
      return false;
    }
    at += length;
  }
  return true;
}

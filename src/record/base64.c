#include "record/base64.h"

#include "base/memory.h"

#include <stdint.h>

status_t base64_encode(const void *bytes, size_t n, char **text) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const uint8_t *from = bytes;
  TRY(memory_alloc(text, ARENA_IO, 4 * ((n + 2) / 3) + 1, 1));
  char *to = *text;
  for (size_t i = 0; i < n; i += 3) {
    uint32_t second = i + 1 < n ? from[i + 1] : 0, third = i + 2 < n ? from[i + 2] : 0;
    uint32_t bits = (uint32_t)from[i] << 16 | second << 8 | third;
    *to++ = digits[bits >> 18];
    *to++ = digits[bits >> 12 & 63];
    *to++ = i + 1 < n ? digits[bits >> 6 & 63] : '=';
    *to++ = i + 2 < n ? digits[bits & 63] : '=';
  }
  *to = '\0';
  return STATUS_OK;
}

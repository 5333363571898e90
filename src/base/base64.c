#include "base/base64.h"

#include "base/memory.h"

#include <stdbool.h>
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

/* 0 .. 63, -1 for what is no digit. */
static int digit_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four digits, of which the last PADDING are '='; false where they are none, or say more than the bytes. */
static bool group_decode(const char *text, int padding, unsigned char bytes[3]) {
  uint32_t bits = 0;
  for (int i = 0; i < 4; i++) {
    int value = i < 4 - padding ? digit_value(text[i]) : 0;
    if (value < 0) return false;
    bits = bits << 6 | (uint32_t)value;
  }
  for (int i = 0; i < 3; i++)
    bytes[i] = (unsigned char)(bits >> (16 - 8 * i));
  return padding == 0 || (bits & ((1u << 8 * padding) - 1)) == 0;
}

status_t base64_decode(const char *text, size_t n, unsigned char **bytes, size_t *count) {
  SCOPED_MEMORY unsigned char *out = NULL;
  size_t padding = 0;
  if (n % 4 != 0) return error_set(STATUS_DATA, "%zu base64 digits, expected a multiple of four", n);
  while (padding < 2 && padding < n && text[n - 1 - padding] == '=')
    padding++;
  TRY(memory_alloc(&out, ARENA_IO, n / 4 * 3 + 1, 1));
  for (size_t i = 0; i < n; i += 4)
    if (!group_decode(text + i, i + 4 == n ? (int)padding : 0, out + i / 4 * 3))
      return error_set(STATUS_DATA, "no base64 in '%.8s' at digit %zu", text + i, i);
  *count = n / 4 * 3 - padding;
  memory_hand_over(bytes, &out);
  return STATUS_OK;
}

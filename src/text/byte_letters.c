#include "text/byte_letters.h"

#include "text/utf8.h"

#include <string.h>

static bool is_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

uint32_t byte_letter(unsigned char byte) {
  if (is_itself(byte)) return byte;
  uint32_t before = byte <= 0x20 ? byte : byte <= 0xA0 ? 33u + byte - 0x7F : 67;
  return 0x100 + before;
}

static bool byte_of(uint32_t letter, char *byte) {
  uint32_t before = letter - 0x100;
  if (letter < 0x100) {
    *byte = (char)letter;
    return is_itself(letter);
  }
  *byte = (char)(before <= 32 ? before : before <= 66 ? 0x7F + before - 33 : 0xAD);
  return before <= 67;
}

bool byte_letters_read(const char *piece, char *bytes, size_t *n) {
  size_t left = strlen(piece);
  *n = 0;
  while (left > 0) {
    uint32_t letter;
    size_t length = utf8_decode((const unsigned char *)piece, left, &letter);
    if (length == 0 || !byte_of(letter, &bytes[*n])) return false;
    ++*n;
    piece += length;
    left -= length;
  }
  return true;
}

/* A PNG file: as it is, and with the checksums that fit its chunks, so that damage gets past them. */
#include "fuzz_image.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

enum { SIGNATURE = 8, LENGTH = 4, KIND = 4, SUM = 4 };

void fuzz_start(void) {}

/* Gives each chunk that is whole the checksum that fits it. */
static void seal(uint8_t *bytes, size_t n) {
  for (size_t at = SIGNATURE; n >= LENGTH + KIND + SUM && at <= n - (LENGTH + KIND + SUM);) {
    const size_t length = (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 |
                          (size_t)bytes[at + 3];
    if (length > n - at - (LENGTH + KIND + SUM)) return;
    uint8_t *end = bytes + at + LENGTH + KIND + length;
    const uLong sum = crc32(0, bytes + at + LENGTH, (uInt)(KIND + length));
    for (int k = 0; k < SUM; k++)
      end[k] = (uint8_t)(sum >> (24 - 8 * k));
    at += LENGTH + KIND + length + SUM;
  }
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  fuzz_image(bytes, n);
  uint8_t *copy = malloc(n > 0 ? n : 1);
  FUZZ_EXPECT(copy != NULL);
  memcpy(copy, bytes, n);
  seal(copy, n);
  fuzz_image(copy, n);
  free(copy);
}

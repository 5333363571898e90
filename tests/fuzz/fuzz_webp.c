/* A WebP file. */
#include "fuzz_image.h"

void fuzz_start(void) {}

void fuzz_one(const uint8_t *bytes, size_t n) {
  fuzz_image(bytes, n);
}

/* A safetensors file, or, where the bytes begin with '{', its header alone: that gets its length before it
 * and 256 bytes of data behind it. */
#include "tensor_input.h"

#include <stdlib.h>
#include <string.h>

static const char *path;

void fuzz_start(void) {
  path = fuzz_path("safetensors");
}

static void open_header(const uint8_t *header, size_t n) {
  enum { LENGTH = 8, DATA = 256 };
  unsigned char *file = calloc(1, LENGTH + n + DATA);
  FUZZ_EXPECT(file != NULL);
  for (int i = 0; i < LENGTH; i++)
    file[i] = (unsigned char)((uint64_t)n >> (8 * i));
  memcpy(file + LENGTH, header, n);
  tensor_input_open(path, file, LENGTH + n + DATA);
  free(file);
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  if (n > 0 && bytes[0] == '{')
    open_header(bytes, n);
  else
    tensor_input_open(path, bytes, n);
}

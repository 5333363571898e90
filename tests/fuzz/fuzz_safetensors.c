/* Any bytes as a safetensors file. An input whose first byte is odd is a header alone: it gets its length
 * before it and 256 bytes of data behind it. */
#define _GNU_SOURCE
#include "tensor_input.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  enum { LENGTH = 8, DATA = 256 };
  if (n == 0) return 0;
  if (data[0] % 2 == 0) {
    tensor_input_open(data + 1, n - 1);
    return 0;
  }
  unsigned char *file = calloc(1, LENGTH + n - 1 + DATA);
  for (int i = 0; i < LENGTH; i++)
    file[i] = (unsigned char)((uint64_t)(n - 1) >> (8 * i));
  memcpy(file + LENGTH, data + 1, n - 1);
  tensor_input_open(file, LENGTH + n - 1 + DATA);
  free(file);
  return 0;
}

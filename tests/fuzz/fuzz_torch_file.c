/* Any bytes as a file of torch.save. An input whose first byte is odd is a pickle alone: it is put into a
 * sound ZIP file with storages '0' (256 bytes) and '1' (64 bytes). */
#define _GNU_SOURCE
#include "../io/zip_make.h"
#include "tensor_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  static const unsigned char storage[256];
  if (n == 0) return 0;
  if (data[0] % 2 == 0) {
    tensor_input_open(data + 1, n - 1);
    return 0;
  }
  zip_make_t zip;
  zip_make_start(&zip);
  zip_make_add(&zip, "m/data.pkl", data + 1, n - 1);
  zip_make_add(&zip, "m/data/0", storage, 256);
  zip_make_add(&zip, "m/data/1", storage, 64);
  zip_make_finish(&zip, data[0] & 2);
  tensor_input_open(zip.bytes, zip.n);
  zip_make_free(&zip);
  return 0;
}

/* A file of torch.save, or, where the bytes begin as a pickle does, the pickle alone: that is put into a
 * sound ZIP file with storages '0' (256 bytes) and '1' (64 bytes), in its 64-bit form where the length is
 * odd. */
#include "../io/zip_make.h"
#include "tensor_input.h"

static const char *path;

void fuzz_start(void) {
  path = fuzz_path("torch_file");
}

static void open_pickle(const uint8_t *pickle, size_t n) {
  static const unsigned char storage[256];
  zip_make_t zip;
  zip_make_start(&zip);
  zip_make_add(&zip, "m/data.pkl", pickle, n);
  zip_make_add(&zip, "m/data/0", storage, 256);
  zip_make_add(&zip, "m/data/1", storage, 64);
  zip_make_finish(&zip, n % 2 == 1);
  tensor_input_open(path, zip.bytes, zip.n);
  zip_make_free(&zip);
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  enum { PROTO = 0x80 };
  if (n > 0 && bytes[0] == PROTO)
    open_pickle(bytes, n);
  else
    tensor_input_open(path, bytes, n);
}

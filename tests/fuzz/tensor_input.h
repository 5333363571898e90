/* Opens a file of weights and reads from every tensor that it is said to hold. */
#ifndef TESTS_FUZZ_TENSOR_INPUT_H
#define TESTS_FUZZ_TENSOR_INPUT_H

#include "fuzz.h"

#include "io/tensors/tensor_file.h"

enum { TENSOR_INPUT_RANGE = 512, TENSOR_INPUT_TENSORS = 64 };

/* Ranges at both ends of ENTRY and in its middle. */
static inline void tensor_input_read(const tensor_files_t *files, const tensor_entry_t *entry) {
  static char raw[TENSOR_INPUT_RANGE * 8];
  static float floats[TENSOR_INPUT_RANGE];
  int64_t n = entry->elements < TENSOR_INPUT_RANGE ? entry->elements : TENSOR_INPUT_RANGE;
  FUZZ_EXPECT(tensor_files_read(files, entry, 0, n, raw) == STATUS_OK);
  FUZZ_EXPECT(tensor_files_read(files, entry, entry->elements - n, n, raw) == STATUS_OK);
  status_code_t status = tensor_files_read_f32(files, entry, entry->elements / 2, n / 2, floats);
  FUZZ_EXPECT((status == STATUS_OK) == tensor_type_is_real(entry->type));
}

static inline void tensor_input_open(const char *path, const void *bytes, size_t n) {
  tensor_files_t *files;
  fuzz_write(path, bytes, n);
  status_code_t status = tensor_files_open(path, &files);
  FUZZ_EXPECT(status == STATUS_OK || (status == STATUS_DATA && error_message()[0] != '\0'));
  for (int64_t i = 0; status == STATUS_OK && i < tensor_files_count(files) && i < TENSOR_INPUT_TENSORS; i++) {
    const tensor_entry_t *entry = tensor_files_at(files, i);
    FUZZ_EXPECT(tensor_files_find(files, entry->name) == entry);
    tensor_input_read(files, entry);
  }
  tensor_files_close(files);
  error_clear();
}

#endif

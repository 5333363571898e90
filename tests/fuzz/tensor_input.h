/* Opens bytes as a file of weights and reads from every tensor that it is said to hold. */
#ifndef TESTS_FUZZ_TENSOR_INPUT_H
#define TESTS_FUZZ_TENSOR_INPUT_H

#include "base/log.h"
#include "io/tensors/tensor_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TENSOR_INPUT_RANGE = 512, TENSOR_INPUT_TENSORS = 64 };

/* Ranges at both ends of ENTRY. */
static inline void tensor_input_read(const tensor_files_t *files, const tensor_entry_t *entry) {
  static char raw[TENSOR_INPUT_RANGE * 8];
  static float floats[TENSOR_INPUT_RANGE];
  int64_t n = entry->elements < TENSOR_INPUT_RANGE ? entry->elements : TENSOR_INPUT_RANGE;
  if (tensor_files_read(files, entry, 0, n, raw) != STATUS_OK) abort();
  if (tensor_files_read(files, entry, entry->elements - n, n, raw) != STATUS_OK) abort();
  status_code_t status = tensor_files_read_f32(files, entry, entry->elements / 2, n / 2, floats);
  if ((status == STATUS_OK) != tensor_type_is_real(entry->type)) abort();
}

static inline void tensor_input_open(const unsigned char *bytes, size_t n) {
  char path[64];
  tensor_files_t *files;
  int descriptor = memfd_create("weights", MFD_CLOEXEC);
  if (descriptor < 0 || write(descriptor, bytes, n) != (ssize_t)n) abort();
  snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
  log_set_level(LOG_ERROR);
  error_clear();
  if (tensor_files_open(path, &files) == STATUS_OK) {
    for (int64_t i = 0; i < tensor_files_count(files) && i < TENSOR_INPUT_TENSORS; i++) {
      const tensor_entry_t *entry = tensor_files_at(files, i);
      if (tensor_files_find(files, entry->name) != entry) abort();
      tensor_input_read(files, entry);
    }
    tensor_files_close(files);
  } else if (error_message()[0] == '\0')
    abort();
  close(descriptor);
}

#endif

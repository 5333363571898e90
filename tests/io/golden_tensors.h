/* The values of the tensors that golden/make_tensors.py writes, and a comparison with them. Include after
 * mpi_test.h. */
#ifndef TESTS_IO_GOLDEN_TENSORS_H
#define TESTS_IO_GOLDEN_TENSORS_H

#include "io/tensors/tensor_file.h"
#include "mpi_test.h"

#define GOLDEN TEST_SOURCE_DIR "/io/golden/tensors/"

static inline int64_t golden_whole(int seed, int64_t i) {
  return (7 * i + 5 * seed) % 23 - 11;
}

static inline float golden_value(int seed, int64_t i) {
  return (float)golden_whole(seed, i) / 4;
}

/* The tensor NAME, of DIMS dimensions as they follow. */
static inline const tensor_entry_t *golden_find(const tensor_files_t *files, const char *name,
                                                tensor_type_t type, int dims, const int64_t *shape) {
  const tensor_entry_t *entry = tensor_files_find(files, name);
  if (entry == NULL) fail_msg("no tensor '%s'", name);
  assert_string_equal(entry->name, name);
  assert_int_equal(entry->type, type);
  assert_int_equal(entry->dims, dims);
  int64_t elements = 1;
  for (int d = 0; d < dims; d++) {
    assert_int_equal(entry->shape[d], shape[d]);
    elements *= shape[d];
  }
  assert_int_equal(entry->elements, elements);
  return entry;
}

/* ENTRY, read as float in all ranges, holds EXPECTED. */
static inline void golden_compare(const tensor_files_t *files, const tensor_entry_t *entry,
                                  const float *expected) {
  enum { MOST = 64 };
  float data[MOST + 1];
  assert_true(entry->elements <= MOST);
  for (int64_t first = 0; first <= entry->elements; first++)
    for (int64_t count = 0; count <= entry->elements - first; count++) {
      data[count] = 1234.5f;
      assert_ok(tensor_files_read_f32(files, entry, first, count, data));
      for (int64_t i = 0; i < count; i++)
        if (data[i] != expected[first + i])
          fail_msg("%s: element %lld is %g, expected %g", entry->name, (long long)(first + i),
                   (double)data[i], (double)expected[first + i]);
      assert_true(data[count] == 1234.5f);
    }
}

/* The tensor NAME holds the values of SEED in order. */
static inline void golden_check(const tensor_files_t *files, const char *name, tensor_type_t type, int seed,
                                int dims, const int64_t *shape) {
  const tensor_entry_t *entry = golden_find(files, name, type, dims, shape);
  float expected[64];
  assert_true(entry->elements <= 64);
  for (int64_t i = 0; i < entry->elements; i++)
    expected[i] = golden_value(seed, i);
  golden_compare(files, entry, expected);
}

#define SHAPE(...)                                                                                           \
  (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) {                                   \
    __VA_ARGS__                                                                                              \
  }

#endif

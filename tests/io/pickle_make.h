/* Pickles of protocol 2 put together opcode by opcode. */
#ifndef TESTS_IO_PICKLE_MAKE_H
#define TESTS_IO_PICKLE_MAKE_H

#include <stdint.h>
#include <string.h>

enum { PICKLE_MAKE_BYTES = 1 << 16 };

typedef struct {
  char bytes[PICKLE_MAKE_BYTES];
  size_t n;
} pickle_make_t;

static inline void pickle_make_raw(pickle_make_t *pickle, const void *bytes, size_t n) {
  memcpy(pickle->bytes + pickle->n, bytes, n);
  pickle->n += n;
}

/* A literal with NULs in it. */
#define PICKLE_RAW(pickle, text) pickle_make_raw(pickle, text, sizeof(text) - 1)

static inline void pickle_make_text(pickle_make_t *pickle, const char *text) {
  const size_t n = strlen(text);
  const char head[5] = {'X', (char)n, (char)(n >> 8), 0, 0};
  pickle_make_raw(pickle, head, 5);
  pickle_make_raw(pickle, text, n);
}

static inline void pickle_make_int(pickle_make_t *pickle, int64_t number) {
  char bytes[10] = {(char)0x8a, 8};
  for (int i = 0; i < 8; i++)
    bytes[2 + i] = (char)((uint64_t)number >> (8 * i));
  pickle_make_raw(pickle, bytes, 10);
}

static inline void pickle_make_numbers(pickle_make_t *pickle, int n, const int64_t *numbers) {
  PICKLE_RAW(pickle, "(");
  for (int i = 0; i < n; i++)
    pickle_make_int(pickle, numbers[i]);
  PICKLE_RAW(pickle, "t");
}

/* What a pickle says of a tensor. */
typedef struct {
  const char *storage; /* "FloatStorage" */
  const char *key;
  int64_t elements, offset;
  int dims, strides;
  int64_t shape[10], stride[10];
} pickle_make_tensor_t;

static inline void pickle_make_tensor(pickle_make_t *pickle, const pickle_make_tensor_t *tensor) {
  PICKLE_RAW(pickle, "ctorch._utils\n_rebuild_tensor_v2\n((");
  pickle_make_text(pickle, "storage");
  PICKLE_RAW(pickle, "ctorch\n");
  pickle_make_raw(pickle, tensor->storage, strlen(tensor->storage));
  PICKLE_RAW(pickle, "\n");
  pickle_make_text(pickle, tensor->key);
  pickle_make_text(pickle, "cpu");
  pickle_make_int(pickle, tensor->elements);
  PICKLE_RAW(pickle, "tQ");
  pickle_make_int(pickle, tensor->offset);
  pickle_make_numbers(pickle, tensor->dims, tensor->shape);
  pickle_make_numbers(pickle, tensor->strides, tensor->stride);
  PICKLE_RAW(pickle, "\x89"
                     "ccollections\nOrderedDict\n)RtR");
}

#endif

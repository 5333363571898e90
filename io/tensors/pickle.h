/* Inside io/tensors: the pickle of a state dict, read by a machine that knows what torch.save writes for one
 * - numbers, text, tuples, lists, dicts, tensors on storages - and refuses all else by its name. It imports
 * and calls nothing: the few functions that a pickle may name are cases of a switch here. */
#ifndef IO_PICKLE_H
#define IO_PICKLE_H

#include "base/status.h"
#include "io/tensors/tensor_type.h"

/* A block of elements that tensors show. */
typedef struct {
  tensor_type_t type;
  const char *key; /* names it in the file */
  int64_t elements;
} pickle_storage_t;

/* As the pickle gives it: numbers are unchecked. */
typedef struct {
  pickle_storage_t storage;
  int64_t offset; /* elements */
  int dims;
  int64_t shape[TENSOR_MAX_DIMS];
  int64_t stride[TENSOR_MAX_DIMS]; /* elements */
} pickle_tensor_t;

typedef status_t (*pickle_visit_t)(const char *name, const pickle_tensor_t *tensor, void *context);

/* Calls VISIT with every tensor of the dict that BYTES (n) is a pickle of, in order. Dicts and lists inside
 * give names with dots ("module.weight", "state.0.exp_avg"); what is no tensor is passed over. WHERE names
 * the pickle in messages. Errors: STATUS_DATA for a pickle that is broken, is no dict, or uses an opcode or a
 * name beyond those; what VISIT returns; STATUS_MEMORY. Local. */
status_t pickle_tensors(const char *bytes, size_t n, const char *where, pickle_visit_t visit, void *context);

#endif

/* Inside io/tensors: where the tensors of new safetensors files go, and the files' headers. */
#ifndef IO_SAFETENSORS_PLAN_H
#define IO_SAFETENSORS_PLAN_H

#include "io/tensors/safetensors_writer.h"

typedef struct {
  char *name;
  tensor_type_t type;
  int dims;
  int64_t shape[TENSOR_MAX_DIMS];
  int64_t size, elements, bytes; /* bytes of an element, elements, bytes of all */
  int64_t shard;
  int64_t offset; /* from the end of the shard's header */
} safetensors_tensor_t;

typedef struct {
  char *path, *partial; /* its name, and the one until it is complete */
  char *header;         /* with its length before it; a multiple of 8 bytes */
  size_t header_bytes;
  int64_t bytes; /* of its tensors */
  int64_t count; /* of its tensors */
} safetensors_shard_t;

typedef struct {
  char *folder;
  char *index; /* path of the index file, if there are several shards */
  char *index_text;
  size_t index_bytes;
  char *other; /* path of what must not be there: the index of several shards, or the one file */
  safetensors_tensor_t *tensors; /* (tensor_count), in the order given */
  int64_t tensor_count;
  safetensors_shard_t *shards; /* (shard_count) */
  int64_t shard_count;
} safetensors_plan_t;

/* Plans as safetensors_create says. Errors: STATUS_INPUT (path too long), STATUS_INTERNAL (a name twice or
 * none, a shape that is none), STATUS_MEMORY. Free with safetensors_plan_free in any case. Local. */
status_t safetensors_plan_make(const char *folder, const char *stem, const tensor_spec_t *tensors,
                               int64_t count, int64_t shard_bytes, safetensors_plan_t *plan);
void safetensors_plan_free(safetensors_plan_t *plan);

#endif

/* The tensors of published weights, whichever way they lie on disk: safetensors or PyTorch files, one or
 * several of them with an index. Opening reads headers only; elements are read in ranges where they are
 * wanted. Everything is local: each rank opens for itself and reads its own ranges. */
#ifndef IO_TENSOR_FILE_H
#define IO_TENSOR_FILE_H

#include "base/status.h"
#include "io/tensors/tensor_type.h"

/* A tensor of a set. */
typedef struct {
  const char *name;
  tensor_type_t type; /* as stored */
  int dims;           /* 0: a scalar, of one element */
  int64_t shape[TENSOR_MAX_DIMS];
  int64_t elements;
  const char *file; /* path of the file that holds it */
  int64_t place;    /* byte of FILE where its first element lies: reading in this order is fastest */
  bool contiguous;  /* false: its elements are not stored in row-major order (a transposed view) */
} tensor_entry_t;

typedef struct tensor_files tensor_files_t;

/* Opens what PATH names:
 *   a file           safetensors or PyTorch (torch.save of a state dict), told apart by content, not by name;
 *   NAME.index.json  the shards that an index lists;
 *   a folder         the first of model.safetensors, model.safetensors.index.json, pytorch_model.bin,
 *                    pytorch_model.bin.index.json, adapter_model.safetensors, adapter_model.bin in it (the
 *                    order of transformers); the log names those passed over.
 * Entries stay valid until tensor_files_close, which takes NULL too. Errors: STATUS_DATA with file, field,
 * found and expected, for whatever breaks a format, for an index that names a tensor which its shard lacks, a
 * tensor in two shards, or a file that is not beside the index; STATUS_INPUT for a folder with none of those
 * files; STATUS_MEMORY. Local. */
status_t tensor_files_open(const char *path, tensor_files_t **out);
void tensor_files_close(tensor_files_t *files);

/* The file, index file or folder/file that has been opened ("DIR/model.safetensors"). Local. */
const char *tensor_files_path(const tensor_files_t *files);

/* All tensors, file after file in the order in which they are stored or, in a PyTorch file, listed. Local. */
int64_t tensor_files_count(const tensor_files_t *files);
const tensor_entry_t *tensor_files_at(const tensor_files_t *files, int64_t i);
/* The tensor of this NAME, NULL if there is none. Takes constant time. Local. */
const tensor_entry_t *tensor_files_find(const tensor_files_t *files, const char *name);

/* Reads elements FIRST .. FIRST + COUNT - 1, in row-major order of its shape, of ENTRY (of FILES): as they
 * are stored into DATA (COUNT * tensor_type_size bytes), or as float into DATA (COUNT), where F64 is rounded
 * to nearest. Staging memory is at most 1 MiB; several threads may read at once. Errors: STATUS_DATA where
 * the file cannot be read, has become shorter, or ENTRY is no real type; STATUS_INTERNAL for a range outside
 * the tensor. Local. */
status_t tensor_files_read(const tensor_files_t *files, const tensor_entry_t *entry, int64_t first,
                           int64_t count, void *data);
status_t tensor_files_read_f32(const tensor_files_t *files, const tensor_entry_t *entry, int64_t first,
                               int64_t count, float *data);

#endif

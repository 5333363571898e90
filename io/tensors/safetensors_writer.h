/* Safetensors files written by all ranks at once: what they will hold is declared, then ranges of elements
 * are written in any order from any rank, each straight to its place. */
#ifndef IO_SAFETENSORS_WRITER_H
#define IO_SAFETENSORS_WRITER_H

#include "io/tensors/tensor_type.h"
#include "parallel/comm.h"

/* A tensor that will be written. */
typedef struct {
  const char *name; /* UTF-8, unique */
  tensor_type_t type;
  int dims;
  int64_t shape[TENSOR_MAX_DIMS];
} tensor_spec_t;

typedef struct safetensors_writer safetensors_writer_t;

/* Starts FOLDER/STEM.safetensors with TENSORS (count), the same list on all ranks. Where they take more than
 * SHARD_BYTES (0: no limit) they are dealt, in the order given, to shards of at most that size (a larger
 * tensor has one of its own): STEM-00001-of-0000N.safetensors with STEM.safetensors.index.json. FOLDER is
 * made. Files appear under their names when safetensors_finish has agreed that they are complete. TENSORS is
 * copied. Collective on COMM. Errors, agreed: STATUS_DATA (the folder cannot be written; it holds the other
 * form - single or sharded - of STEM, which would be mistaken for this one), STATUS_INPUT (path too long),
 * STATUS_INTERNAL (a name twice, a shape that is none), STATUS_MEMORY. */
status_t safetensors_create(comm_t *comm, const char *folder, const char *stem, const tensor_spec_t *tensors,
                            int64_t count, int64_t shard_bytes, safetensors_writer_t **out);

/* Writes elements FIRST .. FIRST + COUNT - 1, in row-major order, of tensor number TENSOR of the list: DATA
 * holds them in the tensor's type, or as float that is rounded to nearest even (types F32, F16 and BF16).
 * Every element is written once, by one rank. Local, from one thread at a time. Errors: STATUS_DATA (disk),
 * STATUS_INTERNAL (a range outside the tensor). */
status_t safetensors_write(safetensors_writer_t *writer, int64_t tensor, int64_t first, int64_t count,
                           const void *data);
status_t safetensors_write_f32(safetensors_writer_t *writer, int64_t tensor, int64_t first, int64_t count,
                               const float *data);

/* Ends the writing and frees WRITER. STATUS is what this rank's writing came to: where it is STATUS_OK on all
 * ranks and every element has been written, the files are synced and take their places (the index last);
 * otherwise they are removed and what was there before stays. Collective. Errors, agreed: the worst STATUS;
 * STATUS_DATA; STATUS_INTERNAL naming a tensor that lacks elements. */
status_t safetensors_finish(safetensors_writer_t *writer, status_code_t status);

#endif

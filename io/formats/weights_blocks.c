#include "io/formats/weights_blocks.h"

#include "base/memory.h"
#include "io/file.h"
#include "perf/perf.h"

#include <string.h>
#include <xxhash.h>

status_t weights_create_datasets(h5_file_t *file, const weights_tensor_t *tensors, int64_t count) {
  for (int64_t t = 0; t < count; ++t)
    TRY(h5_create_dataset(file, tensors[t].path, weights_h5_type(tensors[t].dtype), tensors[t].ndim,
                          tensors[t].shape));
  return STATUS_OK;
}

status_t weights_write_hashes(h5_file_t *file, const weights_plan_t *plan, const uint64_t *hashes) {
  for (int64_t t = 0; t < plan->tensor_count; ++t) {
    int64_t n = plan->first[t + 1] - plan->first[t];
    if (n > 0) TRY(h5_attr_write_u64(file, plan->tensors[t].path, "xxh3", hashes + plan->first[t], n));
  }
  return STATUS_OK;
}

status_t weights_find_spans(h5_file_t *file, comm_t *comm, const weights_tensor_t *tensors, int64_t count,
                            h5_span_t *spans) {
  const char **paths;
  TRY(comm_agree(comm, memory_alloc(&paths, ARENA_IO, (size_t)count, sizeof *paths)));
  for (int64_t t = 0; t < count; ++t)
    paths[t] = tensors[t].path;
  status_code_t status = h5_spans(file, paths, count, spans);
  memory_free(paths);
  return status;
}

/* ---- Writing what is given block by block ---- */

typedef struct {
  comm_t *comm;
  stop_vote_t *vote;
  const weights_given_t *given;
  weights_tensor_t *tensors; /* (given->count) */
  weights_plan_t plan;
  h5_file_t *file;
  h5_span_t *spans; /* (given->count) */
  uint64_t *hashes; /* (plan.blocks), zero for blocks of other ranks */
  float *values;    /* of one block */
  char *bytes;      /* the same as stored */
} filling_t;

static status_t weights_blocks_prepare(filling_t *filling) {
  const weights_given_t *given = filling->given;
  int64_t elements = 0;
  TRY(memory_alloc(&filling->tensors, ARENA_IO, (size_t)given->count, sizeof *filling->tensors));
  TRY(memory_alloc(&filling->spans, ARENA_IO, (size_t)given->count, sizeof *filling->spans));
  for (int64_t t = 0; t < given->count; ++t) {
    filling->tensors[t] = given->items[t].tensor;
    if (!weights_shape_fits(&filling->tensors[t]))
      return error_set(STATUS_INTERNAL, "%s has a shape that is none", given->items[t].tensor.path);
  }
  TRY(weights_plan_create(filling->tensors, given->count, &filling->plan));
  for (int64_t b = 0; b < filling->plan.blocks; ++b) {
    int64_t count = weights_plan_block(&filling->plan, b).count;
    if (count > elements) elements = count;
  }
  TRY(memory_alloc(&filling->hashes, ARENA_IO, (size_t)filling->plan.blocks, sizeof *filling->hashes));
  TRY(memory_alloc(&filling->values, ARENA_IO, (size_t)elements, sizeof *filling->values));
  return memory_alloc(&filling->bytes, ARENA_IO, (size_t)elements, sizeof(float));
}

static status_t weights_blocks_write_skeleton(filling_t *filling, const weights_spec_t *spec) {
  const weights_given_t *given = filling->given;
  TRY(weights_create_datasets(filling->file, filling->tensors, given->count));
  for (int64_t t = 0; t < given->count; ++t)
    if (given->items[t].meaning)
      TRY(h5_attr_write_text(filling->file, filling->tensors[t].path, "meaning", given->items[t].meaning));
  return spec->annotate ? spec->annotate(filling->file, spec->context) : STATUS_OK;
}

static status_t weights_blocks_fill_block(filling_t *filling, int64_t b) {
  weights_block_t block = weights_plan_block(&filling->plan, b);
  const weights_tensor_t *tensor = &filling->tensors[block.tensor];
  const weights_given_t *given = filling->given;
  bool stored = given->items[block.tensor].stored;
  TRY(given->give(given->context, block.tensor, block.begin, block.count,
                  stored ? (void *)filling->bytes : filling->values));
  if (!stored) weights_encode(tensor->dtype, filling->values, block.count, filling->bytes);
  int64_t infinite = weights_find_infinite(tensor->dtype, filling->bytes, block.count);
  if (infinite < block.count)
    return error_set(STATUS_DATA, "%s: element %lld is not a finite number of the type that is stored",
                     tensor->path, (long long)(block.begin + infinite));
  filling->hashes[b] = XXH3_64bits(filling->bytes, (size_t)block.bytes);
  perf_bytes((double)block.bytes);
  return h5_write_span(filling->file, filling->spans[block.tensor],
                       block.begin * weights_dtype_size(tensor->dtype), filling->bytes, block.bytes);
}

/* This rank's blocks, which lie next to each other. */
static status_t weights_blocks_fill_share(filling_t *filling) {
  int64_t total = 0, begin = 0;
  int size = comm_size(filling->comm), rank = comm_rank(filling->comm);
  for (int64_t b = 0; b < filling->plan.blocks; ++b)
    total += weights_plan_block(&filling->plan, b).bytes;
  for (int64_t b = 0; b < filling->plan.blocks; ++b) {
    int64_t bytes = weights_plan_block(&filling->plan, b).bytes;
    if (weights_deal(begin, bytes, total, size) == rank) {
      TRY(stop_vote_continue(filling->vote));
      TRY(weights_blocks_fill_block(filling, b));
    }
    begin += bytes;
  }
  return STATUS_OK;
}

/* The contents of the open file. Every step is agreed before the next. */
static status_t weights_blocks_fill(filling_t *filling, const weights_spec_t *spec) {
  comm_t *comm = filling->comm;
  bool lead = comm_rank(comm) == 0;
  TRY(comm_agree(comm, lead ? weights_blocks_write_skeleton(filling, spec) : STATUS_OK));
  TRY(weights_find_spans(filling->file, comm, filling->tensors, filling->given->count, filling->spans));
  TRY(stop_vote_agree(filling->vote, comm, weights_blocks_fill_share(filling)));
  TRY(comm_allreduce(comm, filling->hashes, (size_t)filling->plan.blocks, COMM_U64, COMM_SUM));
  return comm_agree(comm,
                    lead ? weights_write_hashes(filling->file, &filling->plan, filling->hashes) : STATUS_OK);
}

static status_t weights_blocks_run(filling_t *filling, const char *partial, const weights_spec_t *spec) {
  TRY(comm_agree(filling->comm, weights_blocks_prepare(filling)));
  TRY(h5_create(partial, filling->comm, spec->format, &filling->file));
  return h5_end(filling->file, weights_blocks_fill(filling, spec));
}

status_t weights_write_given(comm_t *comm, stop_vote_t *vote, const char *path, const weights_spec_t *spec,
                             const weights_given_t *given) {
  char partial[FILE_MAX_PATH];
  filling_t filling = {.comm = comm, .vote = vote, .given = given};
  TRY(file_partial(partial, path));
  status_code_t status = weights_blocks_run(&filling, partial, spec);
  weights_plan_free(&filling.plan);
  memory_free(filling.tensors);
  memory_free(filling.spans);
  memory_free(filling.hashes);
  memory_free(filling.values);
  memory_free(filling.bytes);
  status = file_commit(comm, path, status, false);
  if (status == STATUS_OK || status == STATUS_STOPPED) return status;
  return error_context(status, "while writing %s", path);
}

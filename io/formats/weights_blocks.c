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

/* Lists the tensors and their blocks. */
static status_t weights_blocks_list(filling_t *filling) {
  const weights_given_t *given = filling->given;
  TRY(memory_alloc(&filling->tensors, ARENA_IO, (size_t)given->count, sizeof *filling->tensors));
  for (int64_t t = 0; t < given->count; ++t) {
    filling->tensors[t] = given->items[t].tensor;
    if (!weights_shape_fits(&filling->tensors[t]))
      return error_set(STATUS_INTERNAL, "%s has a shape that is none", given->items[t].tensor.path);
  }
  TRY(weights_plan_create(filling->tensors, given->count, &filling->plan));
  return memory_alloc(&filling->hashes, ARENA_IO, (size_t)filling->plan.blocks, sizeof *filling->hashes);
}

static status_t weights_blocks_prepare(filling_t *filling) {
  int64_t elements = 0;
  TRY(weights_blocks_list(filling));
  TRY(memory_alloc(&filling->spans, ARENA_IO, (size_t)filling->given->count, sizeof *filling->spans));
  for (int64_t b = 0; b < filling->plan.blocks; ++b) {
    int64_t count = weights_plan_block(&filling->plan, b).count;
    if (count > elements) elements = count;
  }
  TRY(memory_alloc(&filling->values, ARENA_IO, (size_t)elements, sizeof *filling->values));
  return memory_alloc(&filling->bytes, ARENA_IO, (size_t)elements, sizeof(float));
}

/* What is beside the datasets. */
static status_t weights_blocks_annotate(filling_t *filling, const weights_spec_t *spec) {
  const weights_given_t *given = filling->given;
  for (int64_t t = 0; t < given->count; ++t)
    if (given->items[t].meaning)
      TRY(h5_attr_write_text(filling->file, filling->tensors[t].path, "meaning", given->items[t].meaning));
  return spec->annotate ? spec->annotate(filling->file, spec->context) : STATUS_OK;
}

static status_t weights_blocks_write_skeleton(filling_t *filling, const weights_spec_t *spec) {
  TRY(weights_create_datasets(filling->file, filling->tensors, filling->given->count));
  return weights_blocks_annotate(filling, spec);
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

static void filling_free(filling_t *filling) {
  weights_plan_free(&filling->plan);
  memory_free(filling->tensors);
  memory_free(filling->spans);
  memory_free(filling->hashes);
  memory_free(filling->values);
  memory_free(filling->bytes);
}

status_t weights_write_given(comm_t *comm, stop_vote_t *vote, const char *path, const weights_spec_t *spec,
                             const weights_given_t *given) {
  char partial[FILE_MAX_PATH];
  filling_t filling = {.comm = comm, .vote = vote, .given = given};
  TRY(file_partial(partial, path));
  status_code_t status = weights_blocks_run(&filling, partial, spec);
  filling_free(&filling);
  status = file_commit(comm, path, status, false);
  if (status == STATUS_OK || status == STATUS_STOPPED) return status;
  return error_context(status, "while writing %s", path);
}

/* ---- Outlines ---- */

static const char outline_mark[] = "outline";

/* As different for tensors that differ as hashes of numbers are. */
static void outline_hash(filling_t *filling) {
  const weights_plan_t *plan = &filling->plan;
  for (int64_t t = 0; t < plan->tensor_count; ++t) {
    const weights_tensor_t *tensor = &plan->tensors[t];
    char text[WEIGHTS_SHAPE_TEXT];
    const char *shape = weights_shape_text(tensor, text);
    uint64_t hash = XXH3_64bits_withSeed(tensor->path, strlen(tensor->path), (uint64_t)tensor->dtype);
    hash = XXH3_64bits_withSeed(shape, strlen(shape), hash);
    for (int64_t b = plan->first[t]; b < plan->first[t + 1]; ++b)
      filling->hashes[b] = hash;
  }
}

static status_t outline_fill(filling_t *filling, const weights_spec_t *spec) {
  for (int64_t t = 0; t < filling->plan.tensor_count; ++t) {
    const weights_tensor_t *tensor = &filling->tensors[t];
    TRY(h5_create_outline(filling->file, tensor->path, weights_h5_type(tensor->dtype), tensor->ndim,
                          tensor->shape));
  }
  TRY(weights_blocks_annotate(filling, spec));
  TRY(h5_attr_write_text(filling->file, "/", outline_mark, "names and shapes without numbers"));
  outline_hash(filling);
  return weights_write_hashes(filling->file, &filling->plan, filling->hashes);
}

static status_t outline_run(filling_t *filling, const char *partial, const weights_spec_t *spec) {
  TRY(weights_blocks_list(filling));
  TRY(h5_create(partial, NULL, spec->format, &filling->file));
  return h5_end(filling->file, outline_fill(filling, spec));
}

status_t weights_write_outline(comm_t *comm, const char *path, const weights_spec_t *spec,
                               const weights_given_item_t *items, int64_t count) {
  char partial[FILE_MAX_PATH];
  SCOPED(filling_free)
  filling_t filling = {.comm = comm, .given = &(weights_given_t){.items = items, .count = count}};
  TRY(file_partial(partial, path));
  status_code_t status = comm_rank(comm) == 0 ? outline_run(&filling, partial, spec) : STATUS_OK;
  return error_context(file_commit(comm, path, comm_agree(comm, status), false), "while writing %s", path);
}

bool weights_is_outline(weights_file_t *file) {
  return h5_attr_exists(weights_h5(file), "/", outline_mark);
}

status_t weights_refuse_outline(const char *path) {
  return error_set(
      STATUS_DATA,
      "%s is an outline: it has names, shapes and a configuration, but no numbers, so that "
      "--dry-run takes it, and a run with model.random = .true.; else import the weights (without "
      "import.outline)",
      path);
}

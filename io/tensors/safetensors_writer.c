#include "io/tensors/safetensors_writer.h"

#include "base/half.h"
#include "base/memory.h"
#include "io/descriptor.h"
#include "io/file.h"
#include "io/json.h"
#include "io/tensors/safetensors_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

enum { STAGE_BYTES = 256 * 1024 };

struct safetensors_writer {
  comm_t *comm;
  safetensors_plan_t plan;
  int *descriptors;     /* (shards), -1 where this rank has written nothing */
  int64_t *written;     /* (tensors): elements that this rank has written */
  unsigned char *stage; /* (STAGE_BYTES) */
};

/* ---- Start ---- */

/* Makes SHARD's file under its name for the time being, in full length, with its header. */
static status_t safetensors_writer_create_shard(const safetensors_shard_t *shard) {
  int descriptor, problem = descriptor_open(shard->partial, O_WRONLY | O_CREAT | O_TRUNC, &descriptor);
  if (problem) return error_set(STATUS_DATA, "%s: cannot be created: %s", shard->partial, strerror(problem));
  problem = descriptor_write_at(descriptor, shard->header, shard->header_bytes, 0);
  if (problem == 0) problem = descriptor_truncate(descriptor, (int64_t)shard->header_bytes + shard->bytes);
  int closing = descriptor_close(descriptor);
  if (problem == 0) problem = closing;
  if (problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be written: %s", shard->partial, strerror(problem));
}

static status_t safetensors_writer_create_files(const safetensors_plan_t *plan) {
  TRY(file_make_folder(plan->folder));
  if (file_exists(plan->other))
    return error_set(
        STATUS_DATA,
        "%s: is in the way: the same weights are about to be written in %s, and which of the two a "
        "reader takes is not certain; move it away",
        plan->other, plan->shard_count > 1 ? "several files" : "one file");
  for (int64_t i = 0; i < plan->shard_count; i++)
    TRY(safetensors_writer_create_shard(&plan->shards[i]));
  return STATUS_OK;
}

static void safetensors_writer_remove_files(const safetensors_plan_t *plan) {
  for (int64_t i = 0; i < plan->shard_count; i++)
    unlink(plan->shards[i].partial);
}

/* All ranks must have the same in mind. */
static status_t safetensors_writer_compare_plans(comm_t *comm, const safetensors_plan_t *plan) {
  uint64_t hash = 0, ends[2];
  for (int64_t i = 0; i < plan->shard_count; i++)
    hash = XXH3_64bits_withSeed(plan->shards[i].header, plan->shards[i].header_bytes, hash);
  ends[0] = hash;
  ends[1] = ~hash;
  TRY(comm_allreduce(comm, ends, 2, COMM_U64, COMM_MAX));
  if (ends[0] == hash && ends[1] == ~hash) return STATUS_OK;
  return error_set(STATUS_INTERNAL, "%s: the ranks list different tensors", plan->folder);
}

static status_t alloc_writer(safetensors_writer_t *writer) {
  TRY(memory_alloc(&writer->written, ARENA_IO, (size_t)writer->plan.tensor_count, sizeof *writer->written));
  TRY(memory_alloc(&writer->stage, ARENA_IO, STAGE_BYTES, 1));
  TRY(memory_alloc(&writer->descriptors, ARENA_IO, (size_t)writer->plan.shard_count,
                   sizeof *writer->descriptors));
  for (int64_t i = 0; i < writer->plan.shard_count; i++)
    writer->descriptors[i] = -1;
  return STATUS_OK;
}

static void safetensors_writer_free_writer(safetensors_writer_t *writer) {
  safetensors_plan_free(&writer->plan);
  memory_free(writer->descriptors);
  memory_free(writer->written);
  memory_free(writer->stage);
  memory_free(writer);
}

static status_t safetensors_writer_start(safetensors_writer_t *writer, const char *folder, const char *stem,
                                         const tensor_spec_t *tensors, int64_t count, int64_t shard_bytes) {
  status_code_t status = safetensors_plan_make(folder, stem, tensors, count, shard_bytes, &writer->plan);
  if (status == STATUS_OK) status = alloc_writer(writer);
  TRY(comm_agree(writer->comm, status));
  TRY(comm_agree(writer->comm, safetensors_writer_compare_plans(writer->comm, &writer->plan)));
  if (comm_rank(writer->comm) == 0) {
    status = safetensors_writer_create_files(&writer->plan);
    if (status != STATUS_OK) safetensors_writer_remove_files(&writer->plan);
  }
  return comm_agree(writer->comm, status);
}

status_t safetensors_create(comm_t *comm, const char *folder, const char *stem, const tensor_spec_t *tensors,
                            int64_t count, int64_t shard_bytes, safetensors_writer_t **out) {
  safetensors_writer_t *writer;
  *out = NULL;
  TRY(comm_agree(comm, memory_alloc(&writer, ARENA_IO, 1, sizeof *writer)));
  writer->comm = comm;
  status_code_t status = safetensors_writer_start(writer, folder, stem, tensors, count, shard_bytes);
  if (status == STATUS_OK)
    *out = writer;
  else
    safetensors_writer_free_writer(writer);
  return status;
}

/* ---- Ranges ---- */

static status_t safetensors_writer_check_range(const safetensors_writer_t *writer, int64_t tensor,
                                               int64_t first, int64_t count) {
  if (tensor < 0 || tensor >= writer->plan.tensor_count)
    return error_set(STATUS_INTERNAL, "tensor %lld of %lld is to be written", (long long)tensor,
                     (long long)writer->plan.tensor_count);
  int64_t elements = writer->plan.tensors[tensor].elements;
  if (first >= 0 && count >= 0 && first <= elements && count <= elements - first) return STATUS_OK;
  return error_set(STATUS_INTERNAL, "tensor '%s': %lld elements from %lld on are to be written of %lld",
                   writer->plan.tensors[tensor].name, (long long)count, (long long)first,
                   (long long)elements);
}

/* Writes N bytes to byte AT of the elements of TENSOR. */
static status_t safetensors_writer_write_bytes(safetensors_writer_t *writer,
                                               const safetensors_tensor_t *tensor, int64_t at,
                                               const void *bytes, size_t n) {
  const safetensors_shard_t *shard = &writer->plan.shards[tensor->shard];
  int *descriptor = &writer->descriptors[tensor->shard], problem = 0;
  if (*descriptor < 0) problem = descriptor_open(shard->partial, O_WRONLY, descriptor);
  int64_t place = (int64_t)shard->header_bytes + tensor->offset + at;
  if (problem == 0) problem = descriptor_write_at(*descriptor, bytes, n, place);
  if (problem == 0) descriptor_begin_sync(*descriptor, n, place);
  if (problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be written: %s", shard->partial, strerror(problem));
}

status_t safetensors_write(safetensors_writer_t *writer, int64_t tensor, int64_t first, int64_t count,
                           const void *data) {
  TRY(safetensors_writer_check_range(writer, tensor, first, count));
  const safetensors_tensor_t *into = &writer->plan.tensors[tensor];
  writer->written[tensor] += count;
  return count == 0 ? STATUS_OK
                    : safetensors_writer_write_bytes(writer, into, first * into->size, data,
                                                     (size_t)(count * into->size));
}

status_t safetensors_write_f32(safetensors_writer_t *writer, int64_t tensor, int64_t first, int64_t count,
                               const float *data) {
  TRY(safetensors_writer_check_range(writer, tensor, first, count));
  const safetensors_tensor_t *into = &writer->plan.tensors[tensor];
  if (into->type == TENSOR_F32) return safetensors_write(writer, tensor, first, count, data);
  if (into->type != TENSOR_F16 && into->type != TENSOR_BF16)
    return error_set(STATUS_INTERNAL, "tensor '%s': float is to be written as %s", into->name,
                     tensor_type_name(into->type));
  const int64_t most = STAGE_BYTES / into->size;
  for (int64_t at = 0; at < count; at += most) {
    size_t n = (size_t)(count - at < most ? count - at : most);
    if (into->type == TENSOR_F16)
      half_to_f16(data + at, writer->stage, n);
    else
      half_to_bf16(data + at, writer->stage, n);
    TRY(safetensors_writer_write_bytes(writer, into, (first + at) * into->size, writer->stage,
                                       n * (size_t)into->size));
  }
  writer->written[tensor] += count;
  return STATUS_OK;
}

/* ---- End ---- */

/* Closes this rank's files, their data on storage where SYNC. */
static status_t safetensors_writer_close_files(safetensors_writer_t *writer, bool sync) {
  int problem = 0;
  const char *path = NULL;
  for (int64_t i = 0; i < writer->plan.shard_count; i++) {
    int descriptor = writer->descriptors[i], here = 0;
    if (descriptor < 0) continue;
    if (sync) here = descriptor_sync(descriptor);
    int closing = descriptor_close(descriptor);
    if (here == 0) here = closing;
    if (problem == 0 && here != 0) path = writer->plan.shards[i].partial;
    if (problem == 0) problem = here;
  }
  if (problem == 0 || !sync) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be written: %s", path, strerror(problem));
}

/* Has every element been written by some rank? */
static status_t safetensors_writer_check_written(safetensors_writer_t *writer) {
  const safetensors_plan_t *plan = &writer->plan;
  TRY(comm_allreduce(writer->comm, writer->written, (size_t)plan->tensor_count, COMM_I64, COMM_SUM));
  for (int64_t i = 0; i < plan->tensor_count; i++)
    if (writer->written[i] != plan->tensors[i].elements)
      return error_set(STATUS_INTERNAL, "tensor '%s': %lld elements have been written, expected %lld",
                       plan->tensors[i].name, (long long)writer->written[i],
                       (long long)plan->tensors[i].elements);
  return STATUS_OK;
}

/* Gives the files their names. An index of older shards goes first: it must never name a mixture. */
static status_t place_files(const safetensors_plan_t *plan) {
  for (int64_t i = 0; i < plan->shard_count; i++) {
    const safetensors_shard_t *shard = &plan->shards[i];
    TRY(file_sync(shard->partial)); /* the header too, which only this rank has written */
    if (i == 0 && plan->shard_count > 1 && unlink(plan->index) != 0 && errno != ENOENT)
      return error_set(STATUS_DATA, "%s: cannot be replaced: %s", plan->index, strerror(errno));
    TRY(file_rename(shard->partial, shard->path));
  }
  return plan->shard_count > 1 ? file_replace(plan->index, plan->index_text, plan->index_bytes) : STATUS_OK;
}

/* Are the files complete on all ranks? The same answer everywhere. */
static status_t safetensors_writer_complete(safetensors_writer_t *writer, status_code_t status) {
  status_code_t closing = safetensors_writer_close_files(writer, status == STATUS_OK);
  TRY(comm_agree(writer->comm, status == STATUS_OK ? closing : status));
  return safetensors_writer_check_written(writer);
}

status_t safetensors_finish(safetensors_writer_t *writer, status_code_t status) {
  status = safetensors_writer_complete(writer, status);
  if (comm_rank(writer->comm) == 0) {
    if (status == STATUS_OK) status = place_files(&writer->plan);
    if (status != STATUS_OK) safetensors_writer_remove_files(&writer->plan);
  }
  status = comm_agree(writer->comm, status);
  safetensors_writer_free_writer(writer);
  return status;
}

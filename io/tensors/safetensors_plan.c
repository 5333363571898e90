#include "io/tensors/safetensors_plan.h"

#include "base/memory.h"
#include "io/file.h"
#include "io/json.h"
#include "io/tensors/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_ALIGNMENT = 8 };

static status_t safetensors_plan_copy(char **out, const char *text) {
  return memory_copy_text(out, ARENA_IO, text, strlen(text));
}

/* ---- Tensors ---- */

static status_t safetensors_plan_take_tensor(const tensor_spec_t *spec, safetensors_tensor_t *tensor) {
  tensor->type = spec->type;
  tensor->dims = spec->dims;
  tensor->size = (int64_t)tensor_type_size(spec->type);
  memcpy(tensor->shape, spec->shape, sizeof tensor->shape);
  TRY(safetensors_plan_copy(&tensor->name, spec->name));
  if (spec->dims >= 0 && spec->dims <= TENSOR_MAX_DIMS && strcmp(spec->name, SAFETENSORS_METADATA) != 0 &&
      tensor_count_elements(spec->type, spec->dims, spec->shape, &tensor->elements, &tensor->bytes))
    return STATUS_OK;
  return error_set(STATUS_INTERNAL, "tensor '%s' cannot be written: its name or shape is none", spec->name);
}

static int safetensors_plan_compare_names(const void *left, const void *right) {
  return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static status_t safetensors_plan_check_unique(const safetensors_plan_t *plan) {
  const char **names;
  const size_t count = (size_t)plan->tensor_count;
  if (count == 0) return STATUS_OK;
  TRY(memory_alloc(&names, ARENA_IO, count, sizeof *names));
  for (size_t i = 0; i < count; i++)
    names[i] = plan->tensors[i].name;
  qsort(names, count, sizeof *names, safetensors_plan_compare_names);
  status_code_t status = STATUS_OK;
  for (size_t i = 1; i < count && status == STATUS_OK; i++)
    if (strcmp(names[i - 1], names[i]) == 0)
      status = error_set(STATUS_INTERNAL, "tensor '%s' is to be written twice", names[i]);
  memory_free(names);
  return status;
}

/* ---- Shards ---- */

/* Deals the tensors in their order; returns the number of shards. */
static int64_t safetensors_plan_deal(safetensors_plan_t *plan, int64_t shard_bytes) {
  int64_t shard = 0, bytes = 0, count = 0;
  for (int64_t i = 0; i < plan->tensor_count; i++, count++) {
    safetensors_tensor_t *tensor = &plan->tensors[i];
    if (shard_bytes > 0 && count > 0 && tensor->bytes > shard_bytes - bytes) {
      shard++;
      bytes = count = 0;
    }
    tensor->shard = shard;
    bytes += tensor->bytes;
  }
  return shard + 1;
}

/* Places the tensors of each shard, those of larger elements first: so each begins at a multiple of its
 * element's size. */
static void safetensors_plan_place(safetensors_plan_t *plan) {
  for (int64_t size = 8; size > 0; size /= 2)
    for (int64_t i = 0; i < plan->tensor_count; i++) {
      safetensors_tensor_t *tensor = &plan->tensors[i];
      safetensors_shard_t *shard = &plan->shards[tensor->shard];
      if (tensor->size != size) continue;
      tensor->offset = shard->bytes;
      shard->bytes += tensor->bytes;
      shard->count++;
    }
}

static status_t name_shard(const safetensors_plan_t *plan, const char *stem, int64_t i) {
  char name[FILE_MAX_PATH], path[FILE_MAX_PATH], partial[FILE_MAX_PATH];
  if (plan->shard_count == 1)
    snprintf(name, sizeof name, "%s.safetensors", stem);
  else
    snprintf(name, sizeof name, "%s-%05lld-of-%05lld.safetensors", stem, (long long)i + 1,
             (long long)plan->shard_count);
  TRY(file_join(path, plan->folder, name, NULL));
  TRY(file_check_path("a file of weights", path, strlen(".partial")));
  TRY(file_partial(partial, path));
  TRY(safetensors_plan_copy(&plan->shards[i].path, path));
  return safetensors_plan_copy(&plan->shards[i].partial, partial);
}

static status_t name_files(safetensors_plan_t *plan, const char *stem) {
  char name[FILE_MAX_PATH], index[FILE_MAX_PATH], single[FILE_MAX_PATH];
  snprintf(name, sizeof name, "%s.safetensors", stem);
  TRY(file_join(single, plan->folder, name, NULL));
  snprintf(name, sizeof name, "%s.safetensors.index.json", stem);
  TRY(file_join(index, plan->folder, name, NULL));
  TRY(safetensors_plan_copy(&plan->index, index));
  TRY(safetensors_plan_copy(&plan->other, plan->shard_count > 1 ? single : index));
  for (int64_t i = 0; i < plan->shard_count; i++)
    TRY(name_shard(plan, stem, i));
  return STATUS_OK;
}

/* ---- Header ---- */

static void safetensors_plan_write_counts(json_writer_t *writer, const char *key, const int64_t *counts,
                                          int n) {
  json_write_key(writer, key);
  json_write_array_begin(writer);
  for (int i = 0; i < n; i++)
    json_write_int(writer, counts[i]);
  json_write_array_end(writer);
}

static void safetensors_plan_write_tensor(json_writer_t *writer, const safetensors_tensor_t *tensor) {
  const int64_t range[2] = {tensor->offset, tensor->offset + tensor->bytes};
  json_write_key(writer, tensor->name);
  json_write_object_begin(writer);
  json_write_member(writer, "dtype", tensor_type_name(tensor->type));
  safetensors_plan_write_counts(writer, "shape", tensor->shape, tensor->dims);
  safetensors_plan_write_counts(writer, "data_offsets", range, 2);
  json_write_object_end(writer);
}

/* Puts the length before the N bytes of TEXT, spaces behind them. */
static status_t frame_header(safetensors_shard_t *shard, const char *text, size_t n) {
  size_t padded = (n + HEADER_ALIGNMENT - 1) / HEADER_ALIGNMENT * HEADER_ALIGNMENT;
  if (padded > SAFETENSORS_MAX_HEADER)
    return error_set(STATUS_DATA,
                     "%s: a header of %zu bytes would be needed, at most %d are possible: write "
                     "smaller shards",
                     shard->path, padded, (int)SAFETENSORS_MAX_HEADER);
  shard->header_bytes = SAFETENSORS_LENGTH_BYTES + padded;
  TRY(memory_alloc(&shard->header, ARENA_IO, shard->header_bytes, 1));
  for (int i = 0; i < SAFETENSORS_LENGTH_BYTES; i++)
    shard->header[i] = (char)(padded >> (8 * i));
  memcpy(shard->header + SAFETENSORS_LENGTH_BYTES, text, n);
  memset(shard->header + SAFETENSORS_LENGTH_BYTES + n, ' ', padded - n);
  return STATUS_OK;
}

/* Loaders ask for the member format, which tells what kind of program wrote it. */
static status_t safetensors_plan_write_header(safetensors_plan_t *plan, int64_t shard,
                                              safetensors_tensor_t *const *ordered) {
  json_writer_t *writer;
  char *text = NULL;
  size_t n = 0;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_key(writer, SAFETENSORS_METADATA);
  json_write_object_begin(writer);
  json_write_member(writer, "format", "pt");
  json_write_object_end(writer);
  for (int64_t i = 0; i < plan->shards[shard].count; i++)
    safetensors_plan_write_tensor(writer, ordered[i]);
  json_write_object_end(writer);
  status_code_t status = json_writer_finish(writer, &text, &n);
  if (status == STATUS_OK) status = frame_header(&plan->shards[shard], text, n);
  memory_free(text);
  return status;
}

static int safetensors_plan_compare_places(const void *left, const void *right) {
  const safetensors_tensor_t *a = *(safetensors_tensor_t *const *)left,
                             *b = *(safetensors_tensor_t *const *)right;
  if (a->shard != b->shard) return a->shard < b->shard ? -1 : 1;
  if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
  if (a->bytes != b->bytes) return a->bytes < b->bytes ? -1 : 1;
  return a < b ? -1 : a > b;
}

static status_t safetensors_plan_write_headers(safetensors_plan_t *plan) {
  safetensors_tensor_t **ordered;
  TRY(memory_alloc(&ordered, ARENA_IO, (size_t)plan->tensor_count + 1, sizeof *ordered));
  for (int64_t i = 0; i < plan->tensor_count; i++)
    ordered[i] = &plan->tensors[i];
  qsort(ordered, (size_t)plan->tensor_count, sizeof *ordered, safetensors_plan_compare_places);
  status_code_t status = STATUS_OK;
  int64_t first = 0;
  for (int64_t i = 0; i < plan->shard_count && status == STATUS_OK; i++) {
    status = safetensors_plan_write_header(plan, i, ordered + first);
    first += plan->shards[i].count;
  }
  memory_free(ordered);
  return status;
}

static status_t safetensors_plan_write_index(safetensors_plan_t *plan) {
  json_writer_t *writer;
  int64_t total = 0;
  for (int64_t i = 0; i < plan->shard_count; i++)
    total += plan->shards[i].bytes;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_key(writer, "metadata");
  json_write_object_begin(writer);
  json_write_int_member(writer, "total_size", total);
  json_write_object_end(writer);
  json_write_key(writer, "weight_map");
  json_write_object_begin(writer);
  for (int64_t i = 0; i < plan->tensor_count; i++) {
    const char *path = plan->shards[plan->tensors[i].shard].path;
    json_write_line(writer);
    json_write_member(writer, plan->tensors[i].name, strrchr(path, '/') + 1);
  }
  json_write_object_end(writer);
  json_write_object_end(writer);
  return json_writer_finish(writer, &plan->index_text, &plan->index_bytes);
}

/* ---- Plan ---- */

status_t safetensors_plan_make(const char *folder, const char *stem, const tensor_spec_t *tensors,
                               int64_t count, int64_t shard_bytes, safetensors_plan_t *plan) {
  *plan = (safetensors_plan_t){0};
  TRY(safetensors_plan_copy(&plan->folder, folder));
  TRY(memory_alloc(&plan->tensors, ARENA_IO, (size_t)count, sizeof *plan->tensors));
  plan->tensor_count = count;
  for (int64_t i = 0; i < count; i++)
    TRY(safetensors_plan_take_tensor(&tensors[i], &plan->tensors[i]));
  TRY(safetensors_plan_check_unique(plan));
  int64_t shards = safetensors_plan_deal(plan, shard_bytes);
  TRY(memory_alloc(&plan->shards, ARENA_IO, (size_t)shards, sizeof *plan->shards));
  plan->shard_count = shards;
  safetensors_plan_place(plan);
  TRY(name_files(plan, stem));
  TRY(safetensors_plan_write_headers(plan));
  return plan->shard_count > 1 ? safetensors_plan_write_index(plan) : STATUS_OK;
}

void safetensors_plan_free(safetensors_plan_t *plan) {
  for (int64_t i = 0; i < plan->tensor_count; i++)
    memory_free(plan->tensors[i].name);
  for (int64_t i = 0; i < plan->shard_count; i++) {
    memory_free(plan->shards[i].path);
    memory_free(plan->shards[i].partial);
    memory_free(plan->shards[i].header);
  }
  memory_free(plan->folder);
  memory_free(plan->index);
  memory_free(plan->index_text);
  memory_free(plan->other);
  memory_free(plan->tensors);
  memory_free(plan->shards);
  *plan = (safetensors_plan_t){0};
}

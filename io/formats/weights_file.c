/* Opening: rank 0 lists the file's tensors and hands the list to all. */
#include "io/formats/weights_file.h"

#include "base/memory.h"
#include "base/nearest.h"
#include "io/h5_core.h"
#include "perf/perf.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* What rank 0 tells the others before the list itself: tensors, bytes of their paths, blocks. */
typedef struct {
  int64_t tensors, text, blocks;
} weights_file_sizes_t;

/* The list on rank 0: tensors and their hashes; other datasets (texts, tables) are passed over. */
static status_t list_make(weights_file_t *file, weights_file_sizes_t *sizes) {
  SCOPED_MEMORY char **paths = NULL;
  int64_t count;
  size_t bytes = 0;
  TRY(h5_list(file->h5, "/", &paths, &count));
  for (int64_t i = 0; i < count; ++i)
    bytes += strlen(paths[i]) + 1;
  TRY(memory_alloc(&file->tensors, ARENA_IO, (size_t)count, sizeof *file->tensors));
  TRY(memory_alloc(&file->text, ARENA_IO, bytes, 1));
  for (int64_t i = 0; i < count; ++i) {
    weights_tensor_t *tensor = &file->tensors[sizes->tensors];
    h5_type_t type;
    TRY(h5_dataset_info(file->h5, paths[i], &type, &tensor->ndim, tensor->shape));
    if (type != H5TYPE_F32 && type != H5TYPE_BF16) continue;
    tensor->dtype = type == H5TYPE_BF16 ? DTYPE_BF16 : DTYPE_F32;
    tensor->path = strcpy(file->text + sizes->text, paths[i]);
    sizes->tensors += 1;
    sizes->text += (int64_t)strlen(paths[i]) + 1;
    sizes->blocks += weights_blocks(tensor);
  }
  TRY(memory_alloc(&file->hashes, ARENA_IO, (size_t)sizes->blocks, sizeof *file->hashes));
  uint64_t *hashes = file->hashes;
  for (int64_t t = 0; t < sizes->tensors; ++t) {
    int64_t n = weights_blocks(&file->tensors[t]);
    TRY(weights_hashes_read(file->h5, file->tensors[t].path, n, hashes));
    hashes += n;
  }
  return STATUS_OK;
}

static status_t list_alloc(weights_file_t *file, const weights_file_sizes_t *sizes) {
  TRY(memory_alloc(&file->tensors, ARENA_IO, (size_t)sizes->tensors, sizeof *file->tensors));
  TRY(memory_alloc(&file->text, ARENA_IO, (size_t)sizes->text, 1));
  return memory_alloc(&file->hashes, ARENA_IO, (size_t)sizes->blocks, sizeof *file->hashes);
}

/* Hands rank 0's list to all, and lays out the blocks. */
static status_t list_share(weights_file_t *file, weights_file_sizes_t *sizes) {
  comm_t *comm = file->comm;
  TRY(comm_broadcast(comm, sizes, sizeof *sizes, COMM_BYTE, 0));
  TRY(comm_agree(comm, comm_rank(comm) == 0 ? STATUS_OK : list_alloc(file, sizes)));
  TRY(comm_broadcast(comm, file->tensors, (size_t)sizes->tensors * sizeof *file->tensors, COMM_BYTE, 0));
  TRY(comm_broadcast(comm, file->text, (size_t)sizes->text, COMM_BYTE, 0));
  TRY(comm_broadcast(comm, file->hashes, (size_t)sizes->blocks, COMM_U64, 0));
  const char *path = file->text;
  for (int64_t t = 0; t < sizes->tensors; ++t) {
    file->tensors[t].path = path;
    path += strlen(path) + 1;
  }
  status_code_t status = weights_plan_create(file->tensors, sizes->tensors, &file->plan);
  if (status == STATUS_OK)
    status = memory_alloc(&file->requested, ARENA_IO, (size_t)sizes->blocks, sizeof *file->requested);
  return comm_agree(comm, status);
}

static status_t node_examine(weights_file_t *file) {
  comm_t *node;
  TRY(comm_split_node(file->comm, "node of a weights file", &node));
  int32_t first = comm_rank(node) == 0;
  comm_free(node);
  TRY(comm_allreduce(file->comm, &first, 1, COMM_I32, COMM_SUM));
  file->nodes = first;
  return STATUS_OK;
}

status_t weights_open(comm_t *comm, const char *path, const h5_format_t *format, weights_file_t **out) {
  SCOPED(weights_close_at) weights_file_t *file = NULL;
  bool lead = comm_rank(comm) == 0;
  weights_file_sizes_t sizes = {0};
  *out = NULL;
  TRY(comm_agree(comm, memory_alloc(&file, ARENA_IO, 1, sizeof *file)));
  file->comm = comm;
  status_code_t status = lead ? h5_open(path, H5_READ, format, &file->h5) : STATUS_OK;
  if (lead && status == STATUS_OK) status = list_make(file, &sizes);
  TRY(comm_agree(comm, status));
  TRY(comm_agree(comm, lead ? STATUS_OK : h5_open(path, H5_READ, format, &file->h5)));
  TRY(list_share(file, &sizes));
  TRY(node_examine(file));
  memory_hand_over(out, &file);
  return STATUS_OK;
}

void weights_close(weights_file_t *file) {
  if (!file) return;
  h5_abandon(file->h5); /* nothing was written */
  weights_plan_free(&file->plan);
  memory_free(file->tensors);
  memory_free(file->text);
  memory_free(file->hashes);
  memory_free(file->requested);
  memory_free(file);
}

/* ---- looking up ---- */

h5_file_t *weights_h5(weights_file_t *file) {
  return file->h5;
}

int64_t weights_count(const weights_file_t *file) {
  return file->plan.tensor_count;
}

const weights_tensor_t *weights_at(const weights_file_t *file, int64_t i) {
  return &file->tensors[i];
}

int64_t weights_index(const weights_file_t *file, const char *path) {
  int64_t low = 0, high = file->plan.tensor_count;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    int order = strcmp(file->tensors[middle].path, path);
    if (order == 0) return middle;
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return -1;
}

const weights_tensor_t *weights_find(const weights_file_t *file, const char *path) {
  int64_t i = weights_index(file, path);
  return i < 0 ? NULL : &file->tensors[i];
}

status_t weights_missing(weights_file_t *file, const char *path) {
  h5_type_t type;
  int ndim;
  int64_t shape[H5_MAX_DIMS];
  if (h5_exists(file->h5, path)) {
    TRY(h5_dataset_info(file->h5, path, &type, &ndim, shape));
    return error_set(STATUS_DATA, "%s: %s is of %s, expected float32 or bfloat16", h5_path(file->h5), path,
                     h5_type_name(type));
  }
  nearest_t nearest = nearest_to(path);
  for (int64_t t = 0; t < file->plan.tensor_count; ++t)
    nearest_offer(&nearest, file->tensors[t].path);
  if (!nearest.found)
    return error_set(STATUS_DATA, "%s: tensor %s is missing; the file holds %lld other tensors",
                     h5_path(file->h5), path, (long long)file->plan.tensor_count);
  return error_set(STATUS_DATA, "%s: tensor %s is missing; the nearest name there is %s", h5_path(file->h5),
                   path, nearest.found);
}

/* ---- blocks ---- */

status_t weights_block_read(weights_file_t *file, int64_t i, void *bytes) {
  weights_block_t block = weights_plan_block(&file->plan, i);
  const weights_tensor_t *tensor = &file->tensors[block.tensor];
  TRY(h5_read_range(file->h5, tensor->path, weights_h5_type(tensor->dtype), block.begin, block.count, bytes));
  uint64_t found = XXH3_64bits(bytes, (size_t)block.bytes);
  perf_bytes((double)block.bytes);
  if (found != file->hashes[i])
    return error_set(
        STATUS_DATA,
        "%s: block %lld (elements %lld to %lld) of %s is damaged: its hash is %016llx, written was %016llx; "
        "use another copy of the file",
        h5_path(file->h5), (long long)block.index, (long long)block.begin,
        (long long)(block.begin + block.count), tensor->path, (unsigned long long)found,
        (unsigned long long)file->hashes[i]);
  int64_t bad = weights_find_infinite(tensor->dtype, bytes, block.count);
  if (bad == block.count) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: element %lld of %s is NaN or infinite: no model can use the file",
                   h5_path(file->h5), (long long)(block.begin + bad), tensor->path);
}

/* Opening: rank 0 lists the file's tensors and hands the list to all. */
#include "io/formats/weights_file.h"

#include "base/memory.h"
#include "io/h5_core.h"
#include "perf/perf.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ------------------------------------------------------------------ the list on rank 0 -------------------
 */

/* A list of tensors as it travels: fixed-size records, and the paths end to end. */
typedef struct {
  int64_t path; /* where it begins in the text */
  int64_t ndim, dtype;
  int64_t shape[H5_MAX_DIMS];
} record_t;

typedef struct {
  record_t *records; /* (count) */
  char *text;        /* (bytes) */
  uint64_t *hashes;  /* (blocks) */
  int64_t count, bytes, blocks;
} index_list_t;

static void list_free(index_list_t *list) {
  memory_free(list->records);
  memory_free(list->text);
  memory_free(list->hashes);
}

/* Appends PATH if it is a tensor; other datasets (texts, tables) are passed over. */
static status_t list_add(h5_file_t *file, const char *path, index_list_t *list) {
  h5_type_t type;
  int ndim;
  record_t *record = &list->records[list->count];
  TRY(h5_dataset_info(file, path, &type, &ndim, record->shape));
  if (type != H5TYPE_F32 && type != H5TYPE_BF16) return STATUS_OK;
  size_t n = strlen(path) + 1;
  record->ndim = ndim;
  record->dtype = type == H5TYPE_BF16 ? DTYPE_BF16 : DTYPE_F32;
  record->path = list->bytes;
  memcpy(list->text + list->bytes, path, n);
  list->bytes += (int64_t)n;
  list->count += 1;
  return STATUS_OK;
}

static status_t list_tensors(h5_file_t *file, char **paths, int64_t count, index_list_t *list) {
  size_t bytes = 1;
  for (int64_t i = 0; i < count; ++i)
    bytes += strlen(paths[i]) + 1;
  TRY(memory_alloc(&list->records, ARENA_IO, (size_t)count + 1, sizeof *list->records));
  TRY(memory_alloc(&list->text, ARENA_IO, bytes, 1));
  for (int64_t i = 0; i < count; ++i)
    TRY(list_add(file, paths[i], list));
  return STATUS_OK;
}

/* The tensor that RECORD describes; its path points into TEXT. */
static weights_tensor_t record_tensor(const record_t *record, const char *text) {
  weights_tensor_t tensor = {
      .path = text + record->path, .ndim = (int)record->ndim, .dtype = (dtype_t)record->dtype};
  memcpy(tensor.shape, record->shape, sizeof tensor.shape);
  return tensor;
}

/* Reads the hashes of one tensor, which has N blocks. */
static status_t hashes_read(h5_file_t *file, const char *path, int64_t n, uint64_t *hashes) {
  int64_t found;
  TRY(h5_attr_count(file, path, "xxh3", &found));
  if (found == n) return n == 0 ? STATUS_OK : h5_attr_read_u64(file, path, "xxh3", hashes, n);
  return error_set(STATUS_DATA,
                   "%s: attribute xxh3 of %s has %lld hashes, expected %lld (one for each 16 MiB): the file "
                   "is damaged, or another program wrote it",
                   h5_path(file), path, (long long)found, (long long)n);
}

static status_t list_hashes(h5_file_t *file, index_list_t *list) {
  int64_t done = 0;
  for (int64_t pass = 0; pass < 2; ++pass) {
    for (int64_t i = 0; i < list->count; ++i) {
      weights_plan_t plan;
      weights_tensor_t tensor = record_tensor(&list->records[i], list->text);
      TRY(weights_plan_create(&tensor, 1, &plan));
      int64_t n = plan.blocks;
      weights_plan_free(&plan);
      if (pass == 0) {
        list->blocks += n;
        continue;
      }
      TRY(hashes_read(file, tensor.path, n, list->hashes + done));
      done += n;
    }
    if (pass == 0) TRY(memory_alloc(&list->hashes, ARENA_IO, (size_t)list->blocks, sizeof *list->hashes));
  }
  return STATUS_OK;
}

static status_t list_make(h5_file_t *file, index_list_t *list) {
  char **paths;
  int64_t count;
  TRY(h5_list(file, "/", &paths, &count));
  status_code_t status = list_tensors(file, paths, count, list);
  memory_free(paths);
  TRY(status);
  return list_hashes(file, list);
}

/* ------------------------------------------------------------------ the list everywhere ------------------
 */

static status_t list_receive(comm_t *comm, index_list_t *list) {
  int64_t sizes[3] = {list->count, list->bytes, list->blocks};
  TRY(comm_broadcast(comm, sizes, 3, COMM_I64, 0));
  status_code_t status = STATUS_OK;
  if (comm_rank(comm) != 0) {
    list->count = sizes[0];
    list->bytes = sizes[1];
    list->blocks = sizes[2];
    status = memory_alloc(&list->records, ARENA_IO, (size_t)list->count, sizeof *list->records);
    if (status == STATUS_OK) status = memory_alloc(&list->text, ARENA_IO, (size_t)list->bytes, 1);
    if (status == STATUS_OK)
      status = memory_alloc(&list->hashes, ARENA_IO, (size_t)list->blocks, sizeof *list->hashes);
  }
  TRY(comm_agree(comm, status));
  TRY(comm_broadcast(comm, list->records, (size_t)list->count * sizeof *list->records, COMM_BYTE, 0));
  TRY(comm_broadcast(comm, list->text, (size_t)list->bytes, COMM_BYTE, 0));
  return comm_broadcast(comm, list->hashes, (size_t)list->blocks, COMM_U64, 0);
}

/* Takes over LIST's text and hashes. */
static status_t file_fill(weights_file_t *file, index_list_t *list) {
  file->text = list->text;
  file->hashes = list->hashes;
  list->text = NULL;
  list->hashes = NULL;
  TRY(memory_alloc(&file->tensors, ARENA_IO, (size_t)list->count, sizeof *file->tensors));
  TRY(memory_alloc(&file->requested, ARENA_IO, (size_t)list->blocks, sizeof *file->requested));
  for (int64_t t = 0; t < list->count; ++t)
    file->tensors[t] = record_tensor(&list->records[t], file->text);
  return weights_plan_create(file->tensors, list->count, &file->plan);
}

static status_t node_examine(weights_file_t *file) {
  comm_t *node;
  TRY(comm_split_node(file->comm, "node of a weights file", &node));
  /* The same on all ranks: either one node holds all of them, or no node does. */
  file->one_node = comm_size(node) == comm_size(file->comm);
  comm_free(node);
  return STATUS_OK;
}

static status_t file_open(weights_file_t *file, const char *path, const h5_format_t *format,
                          index_list_t *list) {
  status_code_t status = STATUS_OK;
  bool lead = comm_rank(file->comm) == 0;
  if (lead) status = h5_open(path, H5_READ, format, &file->h5);
  if (lead && status == STATUS_OK) status = list_make(file->h5, list);
  TRY(comm_agree(file->comm, status));
  if (!lead) status = h5_open(path, H5_READ, format, &file->h5);
  TRY(comm_agree(file->comm, status));
  TRY(list_receive(file->comm, list));
  TRY(node_examine(file));
  return comm_agree(file->comm, file_fill(file, list));
}

status_t weights_open(comm_t *comm, const char *path, const h5_format_t *format, weights_file_t **file) {
  index_list_t list = {0};
  *file = NULL;
  TRY(comm_agree(comm, memory_alloc(file, ARENA_IO, 1, sizeof **file)));
  (*file)->comm = comm;
  status_code_t status = file_open(*file, path, format, &list);
  list_free(&list);
  if (status == STATUS_OK) return STATUS_OK;
  weights_close(*file);
  *file = NULL;
  return status;
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

/* ------------------------------------------------------------------ looking up ---------------------------
 */

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

/* Edits (insert, delete, replace a character) that turn A into B. */
enum { EDIT_MOST = 256 };
static int edit_distance(const char *a, const char *b) {
  int row[EDIT_MOST + 1], n = (int)strlen(b);
  if (n > EDIT_MOST) return EDIT_MOST;
  for (int j = 0; j <= n; ++j)
    row[j] = j;
  for (int i = 0; a[i] != '\0'; ++i) {
    int corner = row[0];
    row[0] = i + 1;
    for (int j = 1; j <= n; ++j) {
      int replace = corner + (a[i] != b[j - 1]);
      int other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      corner = row[j];
      row[j] = replace < other ? replace : other;
    }
  }
  return row[n];
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
  const char *nearest = NULL;
  int least = (int)strlen(path) / 3 + 1;
  for (int64_t t = 0; t < file->plan.tensor_count; ++t) {
    int distance = edit_distance(path, file->tensors[t].path);
    if (distance >= least) continue;
    least = distance;
    nearest = file->tensors[t].path;
  }
  if (!nearest)
    return error_set(STATUS_DATA, "%s: tensor %s is missing; the file holds %lld other tensors",
                     h5_path(file->h5), path, (long long)file->plan.tensor_count);
  return error_set(STATUS_DATA, "%s: tensor %s is missing; the nearest name there is %s", h5_path(file->h5),
                   path, nearest);
}

/* ------------------------------------------------------------------ blocks -------------------------------
 */

static status_t block_check_hash(const weights_file_t *file, int64_t i, const weights_block_t *block,
                                 const void *bytes) {
  uint64_t found = XXH3_64bits(bytes, (size_t)block->bytes);
  perf_bytes((double)block->bytes);
  if (found == file->hashes[i]) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: block %lld (elements %lld to %lld) of %s is damaged: its hash is %016llx, written was %016llx; "
      "use another copy of the file",
      h5_path(file->h5), (long long)block->index, (long long)block->begin,
      (long long)(block->begin + block->count), file->tensors[block->tensor].path, (unsigned long long)found,
      (unsigned long long)file->hashes[i]);
}

status_t weights_block_read(weights_file_t *file, int64_t i, void *bytes) {
  weights_block_t block = weights_plan_block(&file->plan, i);
  const weights_tensor_t *tensor = &file->tensors[block.tensor];
  TRY(h5_read_range(file->h5, tensor->path, weights_h5_type(tensor->dtype), block.begin, block.count, bytes));
  TRY(block_check_hash(file, i, &block, bytes));
  int64_t bad = weights_find_infinite(tensor->dtype, bytes, block.count);
  if (bad == block.count) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: element %lld of %s is NaN or infinite: no model can use the file",
                   h5_path(file->h5), (long long)(block.begin + bad), tensor->path);
}

#include "io/tensors/torch_file.h"

#include "base/memory.h"
#include "io/tensors/pickle.h"
#include "io/tensors/zip.h"

#include <stdio.h>
#include <string.h>

static const int64_t pickle_max_bytes = 64 * 1024 * 1024;
static const char pickle_name[] = "/data.pkl";

bool torch_file_begins(const unsigned char *bytes, size_t n) {
  return n >= 4 && memcmp(bytes, "PK\3\4", 4) == 0;
}

bool torch_file_old(const unsigned char *bytes, size_t n) {
  /* A pickle of protocol 2 of the number 0x1950a86a20f9469cfc6c. */
  static const unsigned char magic[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c,
                                        0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
  return n >= sizeof magic && memcmp(bytes, magic, sizeof magic) == 0;
}

status_t torch_file_refuse_old(const char *path) {
  return error_set(
      STATUS_DATA,
      "%s: the format of PyTorch before 1.6 (no ZIP) is not read; write it anew with a PyTorch of "
      "today: torch.save(torch.load(f, map_location='cpu', weights_only=True), f)",
      path);
}

typedef struct {
  const tensor_source_t *source;
  int64_t number;
  tensor_list_t *list;
  zip_t zip;
  const char *root; /* (root_bytes) NAME of NAME/data.pkl */
  size_t root_bytes;
} archive_t;

static status_t torch_file_refuse_tensor(const archive_t *archive, const char *name, const char *problem) {
  return error_set(STATUS_DATA, "%s: tensor '%.200s': %s", archive->source->path, name, problem);
}

/* The entry NAME/PART, NULL if there is none. */
static const zip_entry_t *torch_file_find_part(const archive_t *archive, const char *part) {
  char name[4096];
  int n = snprintf(name, sizeof name, "%.*s/%s", (int)archive->root_bytes, archive->root, part);
  return n > 0 && n < (int)sizeof name ? zip_find(&archive->zip, name, (size_t)n) : NULL;
}

/* ---- Tensors ---- */

static status_t torch_file_find_storage(const archive_t *archive, const char *name,
                                        const pickle_storage_t *storage, int64_t *place) {
  char part[300];
  snprintf(part, sizeof part, "data/%.250s", storage->key);
  const zip_entry_t *entry = torch_file_find_part(archive, part);
  if (entry == NULL)
    return error_set(STATUS_DATA, "%s: tensor '%.200s': its storage '%.200s' is not in the file",
                     archive->source->path, name, part);
  int64_t size = (int64_t)tensor_type_size(storage->type);
  if (storage->elements < 0 || entry->size % size != 0 || entry->size / size != storage->elements)
    return error_set(
        STATUS_DATA,
        "%s: tensor '%.200s': its storage '%.200s' has %lld bytes, expected %lld elements of %lld",
        archive->source->path, name, part, (long long)entry->size, (long long)storage->elements,
        (long long)size);
  *place = entry->place;
  return STATUS_OK;
}

/* The elements from the view's first to behind its last one; false where they do not fit into 63 bits. */
static bool view_extent(const pickle_tensor_t *tensor, int64_t *extent) {
  *extent = 1;
  for (int d = 0; d < tensor->dims; d++) {
    int64_t steps;
    if (tensor->stride[d] < 0 || __builtin_mul_overflow(tensor->shape[d] - 1, tensor->stride[d], &steps) ||
        __builtin_add_overflow(*extent, steps, extent))
      return false;
  }
  return true;
}

static bool is_plain(const pickle_tensor_t *tensor, const tensor_record_t *plain) {
  for (int d = 0; d < tensor->dims; d++)
    if (tensor->shape[d] != 1 && tensor->stride[d] != plain->stride[d]) return false;
  return true;
}

/* Sets what RECORD, that of a tensor stored in row-major order, has to say of TENSOR's view of its storage.
 */
static status_t set_view(const archive_t *archive, const char *name, const pickle_tensor_t *tensor,
                         tensor_record_t *record) {
  int64_t extent, all = tensor->storage.elements, size = (int64_t)tensor_type_size(tensor->storage.type);
  if (!view_extent(tensor, &extent) || tensor->offset < 0 || tensor->offset > all ||
      extent > all - tensor->offset)
    return torch_file_refuse_tensor(archive, name, "it reaches outside its storage");
  if (record->entry.elements > all)
    return torch_file_refuse_tensor(archive, name, "a view that shows elements twice; save its clone()");
  record->entry.place += tensor->offset * size;
  record->entry.contiguous = is_plain(tensor, record);
  record->end = record->entry.place + extent * size;
  memcpy(record->stride, tensor->stride, sizeof record->stride);
  return STATUS_OK;
}

static status_t torch_file_add_tensor(const char *name, const pickle_tensor_t *tensor, void *context) {
  archive_t *archive = context;
  tensor_record_t record = {.source = archive->number};
  record.entry.type = tensor->storage.type;
  record.entry.dims = tensor->dims;
  memcpy(record.entry.shape, tensor->shape, sizeof tensor->shape);
  TRY(torch_file_find_storage(archive, name, &tensor->storage, &record.entry.place));
  if (!tensor_record_plain(&record))
    return torch_file_refuse_tensor(archive, name, "a size that is negative or beyond 2^63 bytes");
  if (record.entry.elements > 0) TRY(set_view(archive, name, tensor, &record));
  return tensor_list_add(archive->list, name, strlen(name), &record);
}

/* ---- File ---- */

/* The one entry NAME/data.pkl. */
static status_t torch_file_find_pickle(archive_t *archive, const zip_entry_t **found) {
  const size_t end = sizeof pickle_name - 1;
  *found = NULL;
  for (int64_t i = 0; i < archive->zip.count; i++) {
    const zip_entry_t *entry = &archive->zip.entries[i];
    size_t root = entry->name_bytes < end ? 0 : entry->name_bytes - end;
    if (root == 0 || memcmp(entry->name + root, pickle_name, end) != 0) continue;
    if (memchr(entry->name, '/', root) != NULL || memchr(entry->name, '\0', root) != NULL) continue;
    if (*found != NULL)
      return error_set(STATUS_DATA, "%s: two entries NAME/data.pkl found, expected one",
                       archive->source->path);
    *found = entry;
    archive->root = entry->name;
    archive->root_bytes = root;
  }
  if (*found != NULL) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: a ZIP file without an entry NAME/data.pkl: not made by torch.save",
                   archive->source->path);
}

/* PyTorch of today notes the order of bytes; before, it was little-endian in practice. */
static status_t torch_file_check_byte_order(const archive_t *archive) {
  static const char little[] = "little";
  const zip_entry_t *entry = torch_file_find_part(archive, "byteorder");
  char *text;
  if (entry == NULL) return STATUS_OK;
  TRY(zip_read(&archive->zip, entry, 64, &text));
  bool fits = entry->size == sizeof little - 1 && memcmp(text, little, sizeof little - 1) == 0;
  status_code_t status = fits
                             ? STATUS_OK
                             : error_set(STATUS_DATA, "%s: entry byteorder: '%.16s' found, expected 'little'",
                                         archive->source->path, text);
  memory_free(text);
  return status;
}

static status_t list_archive(archive_t *archive) {
  const zip_entry_t *pickle;
  char *bytes, where[4608];
  TRY(zip_open(archive->source, &archive->zip));
  TRY(torch_file_find_pickle(archive, &pickle));
  TRY(torch_file_check_byte_order(archive));
  TRY(zip_read(&archive->zip, pickle, pickle_max_bytes, &bytes));
  snprintf(where, sizeof where, "%s: data.pkl", archive->source->path);
  status_code_t status = pickle_tensors(bytes, (size_t)pickle->size, where, torch_file_add_tensor, archive);
  memory_free(bytes);
  return status;
}

status_t torch_file_list(const tensor_source_t *source, int64_t number, tensor_list_t *list) {
  archive_t archive = {.source = source, .number = number, .list = list};
  status_code_t status = list_archive(&archive);
  zip_free(&archive.zip);
  return status;
}

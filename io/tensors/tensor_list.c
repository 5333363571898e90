#define _GNU_SOURCE
#include "io/tensors/tensor_list.h"

#include "base/memory.h"
#include "io/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

status_t tensor_source_open(const char *path, tensor_source_t *source) {
  struct stat info;
  *source = (tensor_source_t){.descriptor = -1};
  int problem = descriptor_open(path, O_RDONLY | O_NONBLOCK, &source->descriptor); /* no wait for a pipe */
  if (problem) return error_set(STATUS_DATA, "%s: cannot be opened: %s", path, strerror(problem));
  status_code_t status = memory_copy_text(&source->path, ARENA_IO, path, strlen(path));
  if (status == STATUS_OK && (fstat(source->descriptor, &info) != 0 || !S_ISREG(info.st_mode)))
    status = error_set(STATUS_DATA, "%s: not a regular file", path);
  if (status == STATUS_OK)
    source->size = (int64_t)info.st_size;
  else
    tensor_source_close(source);
  return status;
}

void tensor_source_close(tensor_source_t *source) {
  if (source->descriptor >= 0) descriptor_close(source->descriptor);
  memory_free(source->path);
  *source = (tensor_source_t){.descriptor = -1};
}

status_t tensor_source_read(const tensor_source_t *source, void *bytes, size_t n, int64_t place) {
  size_t found;
  int problem = descriptor_read_at(source->descriptor, bytes, n, place, &found);
  if (problem == 0 && found == n) return STATUS_OK;
  if (problem) return error_set(STATUS_DATA, "%s: cannot be read: %s", source->path, strerror(problem));
  return error_set(STATUS_DATA, "%s: ends at byte %lld, expected %zu bytes from byte %lld on", source->path,
                   (long long)(place + (int64_t)found), n, (long long)place);
}

status_t tensor_array_grow(void *array, size_t needed, size_t *capacity, size_t size) {
  if (needed <= *capacity) return STATUS_OK;
  size_t larger = *capacity < 32 ? 64 : 2 * *capacity;
  if (larger < needed) larger = needed;
  TRY(memory_resize(array, ARENA_IO, larger, size));
  *capacity = larger;
  return STATUS_OK;
}

status_t tensor_list_add(tensor_list_t *list, const char *name, size_t n, const tensor_record_t *record) {
  TRY(tensor_array_grow(&list->records, (size_t)list->count + 1, &list->capacity, sizeof *list->records));
  TRY(tensor_array_grow(&list->names, list->names_used + n + 1, &list->names_capacity, 1));
  tensor_record_t *added = &list->records[list->count++];
  *added = *record;
  added->name_at = list->names_used;
  memcpy(list->names + list->names_used, name, n);
  list->names[list->names_used + n] = '\0';
  list->names_used += n + 1;
  return STATUS_OK;
}

const char *tensor_list_name(const tensor_list_t *list, const tensor_record_t *record) {
  return list->names + record->name_at;
}

void tensor_list_free(tensor_list_t *list) {
  memory_free(list->records);
  memory_free(list->names);
  *list = (tensor_list_t){0};
}

bool tensor_record_plain(tensor_record_t *record) {
  tensor_entry_t *entry = &record->entry;
  int64_t bytes, stride = 1;
  if (!tensor_count_elements(entry->type, entry->dims, entry->shape, &entry->elements, &bytes)) return false;
  for (int d = entry->dims - 1; d >= 0; d--) {
    record->stride[d] = stride;
    stride *= entry->shape[d];
  }
  entry->contiguous = true;
  return !__builtin_add_overflow(entry->place, bytes, &record->end);
}

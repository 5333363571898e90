#include "io/tensors/tensor_file.h"

#include "base/memory.h"
#include "io/tensors/safetensors.h"
#include "io/tensors/tensor_set.h"
#include "io/tensors/torch_file.h"

#include <string.h>
#include <sys/stat.h>

#include <xxhash.h>

/* ---- One file ---- */

static bool begins_with(const unsigned char *bytes, size_t n, const char *text) {
  return n >= strlen(text) && memcmp(bytes, text, strlen(text)) == 0;
}

static status_t tensor_file_refuse_content(const tensor_source_t *source, const unsigned char *bytes,
                                           size_t n) {
  if (begins_with(bytes, n, "version https://git-lfs"))
    return error_set(STATUS_DATA, "%s: a pointer of Git LFS instead of the file: fetch it by 'git lfs pull'",
                     source->path);
  return error_set(STATUS_DATA,
                   "%s: neither a safetensors file nor a ZIP file as PyTorch writes it (it begins with bytes "
                   "%02x %02x %02x %02x)",
                   source->path, bytes[0], bytes[1], bytes[2], bytes[3]);
}

/* Lists SOURCE by what it contains. */
static status_t list_source(const tensor_source_t *source, int64_t number, tensor_list_t *list) {
  unsigned char bytes[32] = {0};
  size_t n = source->size < (int64_t)sizeof bytes ? (size_t)source->size : sizeof bytes;
  TRY(tensor_source_read(source, bytes, n, 0));
  if (torch_file_begins(bytes, n)) return torch_file_list(source, number, list);
  if (torch_file_old(bytes, n)) return torch_file_refuse_old(source->path);
  if (safetensors_begins(bytes, n)) return safetensors_list(source, number, list);
  return tensor_file_refuse_content(source, bytes, n);
}

status_t tensor_set_add_file(tensor_files_t *files, const char *path) {
  tensor_source_t source;
  TRY(tensor_array_grow(&files->sources, (size_t)files->source_count + 1, &files->source_capacity,
                        sizeof *files->sources));
  TRY(tensor_source_open(path, &source));
  files->sources[files->source_count++] = source;
  return list_source(&source, files->source_count - 1, &files->list);
}

/* ---- Names ---- */

/* The slot of the tensor NAME, or the free one where it belongs. */
static int64_t *tensor_file_slot_of(const tensor_files_t *files, const char *name) {
  size_t mask = files->slot_count - 1, slot = (size_t)XXH3_64bits(name, strlen(name)) & mask;
  while (files->slots[slot] >= 0 && strcmp(files->list.records[files->slots[slot]].entry.name, name) != 0)
    slot = (slot + 1) & mask;
  return &files->slots[slot];
}

static status_t tensor_file_refuse_repeated(const tensor_entry_t *first, const tensor_entry_t *second) {
  if (first->file == second->file)
    return error_set(STATUS_DATA, "%s: tensor '%.200s' is there twice", first->file, first->name);
  return error_set(STATUS_DATA, "%s: tensor '%.200s' is there, and in %s too", second->file, first->name,
                   first->file);
}

/* Gives all entries their names and files, and makes them findable. */
static status_t tensor_file_arrange(tensor_files_t *files) {
  size_t slots = 4;
  while (slots < 2 * (size_t)files->list.count)
    slots *= 2;
  TRY(memory_alloc(&files->slots, ARENA_IO, slots, sizeof *files->slots));
  files->slot_count = slots;
  for (size_t s = 0; s < slots; s++)
    files->slots[s] = -1;
  for (int64_t i = 0; i < files->list.count; i++) {
    tensor_record_t *record = &files->list.records[i];
    record->entry.name = tensor_list_name(&files->list, record);
    record->entry.file = files->sources[record->source].path;
    int64_t *slot = tensor_file_slot_of(files, record->entry.name);
    if (*slot >= 0) return tensor_file_refuse_repeated(&files->list.records[*slot].entry, &record->entry);
    *slot = i;
  }
  return STATUS_OK;
}

/* ---- Sets ---- */

static status_t tensor_file_open_index(tensor_files_t *files) {
  tensor_index_t *index;
  TRY(tensor_index_read(files->path, &index));
  status_code_t status = tensor_index_add_files(index, files);
  if (status == STATUS_OK) status = tensor_file_arrange(files);
  if (status == STATUS_OK) status = tensor_index_check(index, files);
  tensor_index_free(index);
  return status;
}

static status_t tensor_file_open_set(const char *path, tensor_files_t *files) {
  struct stat info;
  if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
    TRY(tensor_folder_choose(path, files->path));
  else
    TRY(file_join(files->path, path, NULL, NULL));
  if (tensor_index_named(files->path)) return tensor_file_open_index(files);
  TRY(tensor_set_add_file(files, files->path));
  return tensor_file_arrange(files);
}

status_t tensor_files_open(const char *path, tensor_files_t **out) {
  *out = NULL;
  tensor_files_t *files;
  TRY(memory_alloc(&files, ARENA_IO, 1, sizeof *files));
  status_code_t status = tensor_file_open_set(path, files);
  if (status == STATUS_OK)
    *out = files;
  else
    tensor_files_close(files);
  return status;
}

void tensor_files_close(tensor_files_t *files) {
  if (files == NULL) return;
  for (int64_t i = 0; i < files->source_count; i++)
    tensor_source_close(&files->sources[i]);
  memory_free(files->sources);
  memory_free(files->slots);
  tensor_list_free(&files->list);
  memory_free(files);
}

const char *tensor_files_path(const tensor_files_t *files) {
  return files->path;
}

int64_t tensor_files_count(const tensor_files_t *files) {
  return files->list.count;
}

const tensor_entry_t *tensor_files_at(const tensor_files_t *files, int64_t i) {
  return &files->list.records[i].entry;
}

const tensor_entry_t *tensor_files_find(const tensor_files_t *files, const char *name) {
  int64_t found = *tensor_file_slot_of(files, name);
  return found < 0 ? NULL : &files->list.records[found].entry;
}

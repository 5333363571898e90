/* Which files a set consists of: the choice in a folder, and the index of sharded weights, a JSON file with
 * the object weight_map from the name of each tensor to the name of its file. */
#include "base/log.h"
#include "base/memory.h"
#include "io/json.h"
#include "io/tensors/tensor_set.h"

#include <stdlib.h>
#include <string.h>

static const size_t index_max_bytes = 100 * 1000 * 1000;
static const char index_end[] = ".index.json";

/* ---- Folder ---- */

/* In the order in which transformers looks for them. */
static const char *const folder_names[] = {
    "model.safetensors",         "model.safetensors.index.json",
    "pytorch_model.bin",         "pytorch_model.bin.index.json",
    "adapter_model.safetensors", "adapter_model.bin",
};

enum { FOLDER_NAMES = sizeof folder_names / sizeof *folder_names };

status_t tensor_folder_choose(const char *folder, char path[FILE_MAX_PATH]) {
  const char *chosen = NULL;
  char other[FILE_MAX_PATH];
  for (int i = 0; i < FOLDER_NAMES; i++) {
    TRY(file_join(other, folder, folder_names[i], NULL));
    if (!file_exists(other)) continue;
    if (chosen != NULL)
      log_info("%s: %s is taken, %s is not looked at", folder, chosen, folder_names[i]);
    else
      chosen = folder_names[i];
  }
  if (chosen != NULL) return file_join(path, folder, chosen, NULL);
  return error_set(
      STATUS_INPUT,
      "%s: no weights in this folder: expected model.safetensors, pytorch_model.bin, either with "
      "'.index.json' behind it, adapter_model.safetensors or adapter_model.bin; or name a file",
      folder);
}

/* ---- Index ---- */

struct tensor_index {
  char path[FILE_MAX_PATH];
  json_document_t document;
  const json_t *map;   /* weight_map */
  const char **shards; /* (shard_count), unique, in order of strcmp */
  int64_t shard_count;
};

bool tensor_index_named(const char *path) {
  size_t n = strlen(path), end = sizeof index_end - 1;
  return n >= end && strcmp(path + n - end, index_end) == 0;
}

/* Shards lie beside their index: a file's name, and no way to another folder. */
static bool plain_name(const char *name) {
  return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static status_t tensor_index_check_map(const tensor_index_t *index) {
  for (const json_t *member = index->map->u.first; member != NULL; member = member->next) {
    if (member->type != JSON_STRING)
      return error_set(STATUS_DATA, "%s: weight_map: '%.200s': %s found, expected the name of a file",
                       index->path, member->key, json_type_name(member->type));
    if (!plain_name(member->u.string))
      return error_set(
          STATUS_DATA,
          "%s: weight_map: '%.200s': file '%.200s' found, expected a file in the folder of the index",
          index->path, member->key, member->u.string);
  }
  return STATUS_OK;
}

static int tensor_index_compare_names(const void *left, const void *right) {
  return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static status_t tensor_index_collect_shards(tensor_index_t *index) {
  TRY(memory_alloc(&index->shards, ARENA_IO, (size_t)index->map->count, sizeof *index->shards));
  int64_t n = 0;
  for (const json_t *member = index->map->u.first; member != NULL; member = member->next)
    index->shards[n++] = member->u.string;
  if (n > 0) qsort(index->shards, (size_t)n, sizeof *index->shards, tensor_index_compare_names);
  for (int64_t i = 0; i < n; i++)
    if (i == 0 || strcmp(index->shards[i], index->shards[index->shard_count - 1]) != 0)
      index->shards[index->shard_count++] = index->shards[i];
  return STATUS_OK;
}

static status_t tensor_index_parse_index(tensor_index_t *index) {
  char *text;
  size_t n;
  TRY(file_read(index->path, index_max_bytes, &text, &n));
  status_code_t status = json_parse_unique(text, n, index->path, &index->document);
  memory_free(text);
  if (status != STATUS_OK) return status;
  TRY(json_object(index->document.root, "weight_map", index->path, &index->map));
  TRY(tensor_index_check_map(index));
  return tensor_index_collect_shards(index);
}

status_t tensor_index_read(const char *path, tensor_index_t **out) {
  *out = NULL;
  tensor_index_t *index;
  TRY(memory_alloc(&index, ARENA_IO, 1, sizeof *index));
  status_code_t status = file_join(index->path, path, NULL, NULL);
  if (status == STATUS_OK) status = tensor_index_parse_index(index);
  if (status == STATUS_OK)
    *out = index;
  else
    tensor_index_free(index);
  return status;
}

void tensor_index_free(tensor_index_t *index) {
  if (index == NULL) return;
  json_free(&index->document);
  memory_free(index->shards);
  memory_free(index);
}

static status_t shard_path(const tensor_index_t *index, const char *shard, char path[FILE_MAX_PATH]) {
  const char *slash = strrchr(index->path, '/');
  if (slash == NULL) return file_join(path, shard, NULL, NULL);
  char folder[FILE_MAX_PATH];
  snprintf(folder, sizeof folder, "%.*s", (int)(slash - index->path), index->path);
  return file_join(path, folder, shard, NULL);
}

status_t tensor_index_add_files(const tensor_index_t *index, tensor_files_t *files) {
  char path[FILE_MAX_PATH];
  for (int64_t i = 0; i < index->shard_count; i++) {
    TRY(shard_path(index, index->shards[i], path));
    status_code_t status = tensor_set_add_file(files, path);
    if (status != STATUS_OK) return error_context(status, "while opening the shards of %s", index->path);
  }
  return STATUS_OK;
}

static const char *name_of_path(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash == NULL ? path : slash + 1;
}

status_t tensor_index_check(const tensor_index_t *index, const tensor_files_t *files) {
  for (const json_t *member = index->map->u.first; member != NULL; member = member->next) {
    const tensor_entry_t *entry = tensor_files_find(files, member->key);
    if (entry == NULL || strcmp(name_of_path(entry->file), member->u.string) != 0)
      return error_set(STATUS_DATA, "%s: weight_map: tensor '%.200s' is not in %s%s%s", index->path,
                       member->key, member->u.string, entry == NULL ? "" : " but in ",
                       entry == NULL ? "" : name_of_path(entry->file));
  }
  if (files->list.count > index->map->count)
    log_warning("%s: the shards hold %lld tensors that it does not list", index->path,
                (long long)(files->list.count - index->map->count));
  return STATUS_OK;
}

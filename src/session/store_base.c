/* The base that a file of adapters refers to. */
#include "session/store_base.h"

#include "base/memory.h"
#include "text/buffer.h"

#include <stdio.h>
#include <string.h>

static status_t store_base_take_base(const store_info_t *base, store_info_t *info) {
  char *path;
  TRY(memory_copy_text(&path, ARENA_OTHER, base->base_path, strlen(base->base_path)));
  memory_free(info->base_path);
  info->base_path = path;
  TRY(memory_copy_text(&info->tokenizer_bytes, ARENA_OTHER, base->tokenizer_bytes,
                       (size_t)base->tokenizer_size));
  info->tokenizer_size = base->tokenizer_size;
  if (base->published)
    TRY(memory_copy_text(&info->published, ARENA_OTHER, base->published, strlen(base->published)));
  info->config = base->config;
  info->outline = base->outline;
  info->identity = base->identity;
  return STATUS_OK;
}

/* PATH without its last COUNT parts, "" where it has no more. */
static int folder_length(const char *path, int count) {
  int n = (int)strlen(path);
  for (; n > 0 && count > 0; count--)
    while (n > 0 && path[--n] != '/') {
    }
  return n;
}

/* Places to look for a base that was at WRITTEN, by number: there; beside FILE; relative to FILE as its last
 * two parts say, where a tree of results was moved as a whole. False beyond the last. */
static bool base_place(int number, const char *file, const char *written, char path[FILE_MAX_PATH]) {
  int parts = number, length = folder_length(file, parts);
  const char *name = written + folder_length(written, parts);
  if (number == 0) snprintf(path, FILE_MAX_PATH, "%s", written);
  if (number == 0) return true;
  if (number > 2) return false;
  if (*name == '/') name++;
  snprintf(path, FILE_MAX_PATH, "%.*s%s%s", length, file, length > 0 ? "/" : "", name);
  return true;
}

/* Identity of the weights at PATH, for INFO. */
static status_t store_base_read_base_at(comm_t *comm, const char *path, store_info_t *info) {
  SCOPED(weights_close_at) weights_file_t *file = NULL;
  TRY(weights_open(comm, path, &store_format, &file));
  return comm_agree(comm, store_has_weights(file) ? store_read_base(file, info)
                                                  : error_set(STATUS_DATA, "%s holds no weights", path));
}

/* A line on what was found at PATH, for the message. */
static status_t store_base_note_identity(text_buffer_t *tried, const char *path, uint64_t identity) {
  char line[FILE_MAX_PATH + 64];
  snprintf(line, sizeof line, "\n  %s has identity %016llx", path, (unsigned long long)identity);
  return text_buffer_append_string(tried, line);
}

/* Tries the places in turn; found->base_path stays NULL where it is in none. */
static status_t store_base_find_base(comm_t *comm, const store_info_t *file, uint64_t wanted,
                                     text_buffer_t *tried, store_info_t *found) {
  char path[FILE_MAX_PATH];
  for (int number = 0; base_place(number, file->path, file->base_path, path); number++) {
    status_code_t status = store_base_read_base_at(comm, path, found);
    if (status != STATUS_OK && status != STATUS_DATA) return status;
    if (status == STATUS_OK && found->identity == wanted)
      return memory_copy_text(&found->base_path, ARENA_OTHER, path, strlen(path));
    if (status == STATUS_OK) TRY(store_base_note_identity(tried, path, found->identity));
    if (status != STATUS_OK) TRY(text_buffer_append_string(tried, "\n  "));
    if (status != STATUS_OK) TRY(text_buffer_append_string(tried, error_message()));
    error_clear();
    store_info_free(found);
  }
  return STATUS_OK;
}

status_t store_find_base(comm_t *comm, uint64_t wanted, const store_info_t *base, store_info_t *info) {
  SCOPED(text_buffer_free) text_buffer_t tried = {0};
  SCOPED(store_info_free) store_info_t found = {0};
  bool known = base && base->base_path;
  if (known && base->identity == wanted) return comm_agree(comm, store_base_take_base(base, info));
  status_code_t status = store_base_find_base(comm, info, wanted, &tried, &found);
  if (status == STATUS_OK && found.base_path) return comm_agree(comm, store_base_take_base(&found, info));
  if (status == STATUS_OK && known)
    status = store_base_note_identity(&tried, base->base_path, base->identity);
  if (status == STATUS_OK)
    status = error_set(
        STATUS_DATA,
        "%s holds adapters or heads for the base %s of identity %016llx, which was not found; put it "
        "there or, if it is this run's base, name it as model.base. Looked at:%s",
        info->path, info->base_path, (unsigned long long)wanted, tried.bytes);
  return comm_agree(comm, status);
}

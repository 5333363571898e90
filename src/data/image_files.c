#define _GNU_SOURCE
#include "data/image_files.h"

#include "base/memory.h"
#include "io/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

status_t image_folder_open(const char *path, image_folder_t *folder) {
  char root[PATH_MAX];
  struct stat info;
  folder->root = NULL;
  if (realpath(path, root) == NULL || stat(root, &info) != 0)
    return error_set(STATUS_DATA, "%s: the image folder cannot be found: %s", path, strerror(errno));
  if (!S_ISDIR(info.st_mode))
    return error_set(STATUS_DATA, "%s: a folder of images was expected, this is a file", path);
  return memory_copy_text(&folder->root, ARENA_DATA, root, strcmp(root, "/") == 0 ? 0 : strlen(root));
}

void image_folder_close(image_folder_t *folder) {
  memory_free(folder->root);
  folder->root = NULL;
}

void image_file_tidy(char *name) {
  const char *from = name;
  char *to = name;
  if (*from == '/') *to++ = *from++;
  while (*from != '\0') {
    const size_t n = strcspn(from, "/"), next = n + (from[n] == '/');
    const bool counts = n > 1 || (n == 1 && *from != '.');
    if (counts) memmove(to, from, next);
    to += counts ? next : 0;
    from += next;
  }
  *to = '\0';
}

const char *image_file_key(const char *name) {
  const char *slash = strrchr(name, '/'), *base = slash == NULL ? name : slash + 1;
  const char *number = strrchr(base, '_');
  return strncmp(base, "COCO_", 5) == 0 && number != NULL ? number + 1 : base;
}

static bool has_parent_step(const char *name) {
  for (const char *at = name; at != NULL;) {
    if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == '\0')) return true;
    at = strchr(at, '/');
    if (at != NULL) at++;
  }
  return false;
}

/* The path of NAME to PATH (PATH_MAX). Links are followed: whoever laid out the folder made them. */
static status_t image_files_resolve(const image_folder_t *folder, const char *name, char *path) {
  if (name[0] == '\0') return error_set(STATUS_DATA, "the image path is empty");
  if (name[0] == '/')
    return error_set(STATUS_DATA, "the image path is absolute; a path below the image folder was expected");
  if (has_parent_step(name)) return error_set(STATUS_DATA, "the image path leaves the image folder by '..'");
  int n = snprintf(path, PATH_MAX, "%s/%s", folder->root, name);
  if (n >= 0 && n < PATH_MAX) return STATUS_OK;
  return error_set(STATUS_DATA, "the image path is too long (%d bytes)", n);
}

static status_t image_files_examine(int descriptor, const char *path, int64_t *size) {
  struct stat info;
  if (fstat(descriptor, &info) != 0) return error_set(STATUS_DATA, "%s: %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode)) return error_set(STATUS_DATA, "%s: not a regular file", path);
  if (info.st_size == 0) return error_set(STATUS_DATA, "%s: empty file", path);
  if (info.st_size > IMAGE_FILE_MAX_BYTES)
    return error_set(STATUS_DATA, "%s: %lld bytes; at most %d are accepted", path, (long long)info.st_size,
                     (int)IMAGE_FILE_MAX_BYTES);
  *size = (int64_t)info.st_size;
  return STATUS_OK;
}

/* Not blocking: a named pipe must not stop the program. */
static status_t image_files_open_inside(const image_folder_t *folder, const char *name, char *path,
                                        int *descriptor) {
  TRY(image_files_resolve(folder, name, path));
  int problem = descriptor_open(path, O_RDONLY | O_NONBLOCK, descriptor);
  if (problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "the image file %s cannot be opened: %s", path, strerror(problem));
}

status_t image_file_size(const image_folder_t *folder, const char *name, int64_t *size) {
  SCOPED(descriptor_close_at) int descriptor = -1;
  char path[PATH_MAX];
  *size = 0;
  TRY(image_files_open_inside(folder, name, path, &descriptor));
  return image_files_examine(descriptor, path, size);
}

status_t image_file_read(const image_folder_t *folder, const char *name, uint8_t *bytes, int64_t size) {
  SCOPED(descriptor_close_at) int descriptor = -1;
  char path[PATH_MAX];
  int64_t now = 0;
  size_t found;
  TRY(image_files_open_inside(folder, name, path, &descriptor));
  TRY(image_files_examine(descriptor, path, &now));
  if (now != size)
    return error_set(STATUS_DATA, "%s: changed from %lld to %lld bytes meanwhile", path, (long long)size,
                     (long long)now);
  int problem = descriptor_read_at(descriptor, bytes, (size_t)size, 0, &found);
  if (problem == 0 && found == (size_t)size) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be read: %s", path,
                   problem ? strerror(problem) : "it became shorter");
}

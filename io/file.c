#include "io/file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

status_t file_join(char path[FILE_MAX_PATH], const char *a, const char *b, const char *c) {
  const char *second = b ? b : "", *third = b && c ? c : "";
  int n = snprintf(path, FILE_MAX_PATH, "%s%s%s%s%s", a, b ? "/" : "", second, b && c ? "/" : "", third);
  if (n >= 0 && n < FILE_MAX_PATH) return STATUS_OK;
  return error_set(STATUS_INPUT, "the path %.60s.../%s is longer than %d characters", a, second,
                   FILE_MAX_PATH - 1);
}

bool file_exists(const char *path) {
  return access(path, F_OK) == 0;
}

status_t file_size(const char *path, int64_t *bytes) {
  struct stat info;
  if (stat(path, &info) != 0) return error_set(STATUS_DATA, "%s: %s", path, strerror(errno));
  *bytes = (int64_t)info.st_size;
  return STATUS_OK;
}

static status_t folder_make_one(const char *path) {
  struct stat info;
  if (mkdir(path, 0777) == 0) return STATUS_OK;
  int problem = errno;
  if (stat(path, &info) == 0) {
    if (S_ISDIR(info.st_mode)) return STATUS_OK;
    return error_set(STATUS_DATA, "%s: there is a file of this name, expected a folder", path);
  }
  return error_set(STATUS_DATA, "%s: the folder cannot be made: %s", path, strerror(problem));
}

status_t file_make_folder(const char *path) {
  char part[FILE_MAX_PATH];
  TRY(file_join(part, path, NULL, NULL));
  for (size_t i = 1; part[i - 1] != '\0'; ++i) {
    if (part[i] != '/' && part[i] != '\0') continue;
    char end = part[i];
    part[i] = '\0';
    TRY(folder_make_one(part));
    part[i] = end;
    if (end == '\0') break;
  }
  return STATUS_OK;
}

/* The folder that PATH lies in. */
static status_t parent_of(const char *path, char folder[FILE_MAX_PATH]) {
  TRY(file_join(folder, path, NULL, NULL));
  char *slash = strrchr(folder, '/');
  if (!slash) return file_join(folder, ".", NULL, NULL);
  slash[slash == folder ? 1 : 0] = '\0';
  return STATUS_OK;
}

status_t file_make_parent(const char *path) {
  char folder[FILE_MAX_PATH];
  TRY(parent_of(path, folder));
  return file_make_folder(folder);
}

/* ------------------------------------------------------------------ whole files --------------------------
 */

static status_t read_all(int descriptor, const char *path, size_t max_bytes, char **text, size_t *n) {
  struct stat info;
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode))
    return error_set(STATUS_DATA, "%s: not a regular file", path);
  if ((uint64_t)info.st_size > max_bytes)
    return error_set(STATUS_DATA, "%s: %lld bytes found, at most %zu expected", path, (long long)info.st_size,
                     max_bytes);
  size_t size = (size_t)info.st_size, done = 0;
  TRY(memory_alloc(text, ARENA_IO, size + 1, 1));
  while (done < size) {
    ssize_t got = read(descriptor, *text + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      const char *reason = got < 0 ? strerror(errno) : "it became shorter meanwhile";
      memory_free(*text);
      *text = NULL;
      return error_set(STATUS_DATA, "%s: cannot be read: %s", path, reason);
    }
    done += (size_t)got;
  }
  if (n) *n = size;
  return STATUS_OK;
}

status_t file_read(const char *path, size_t max_bytes, char **text, size_t *n) {
  *text = NULL;
  int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not stop the program */
  if (descriptor < 0) return error_set(STATUS_DATA, "%s: cannot be opened: %s", path, strerror(errno));
  status_code_t status = read_all(descriptor, path, max_bytes, text, n);
  close(descriptor);
  return status;
}

static status_t write_all(int descriptor, const char *path, const char *text, size_t n) {
  for (size_t done = 0; done < n;) {
    ssize_t put = write(descriptor, text + done, n - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return error_set(STATUS_DATA, "%s: cannot be written: %s", path, strerror(errno));
    done += (size_t)put;
  }
  if (fsync(descriptor) != 0)
    return error_set(STATUS_DATA, "%s: cannot be synced: %s", path, strerror(errno));
  return STATUS_OK;
}

static status_t write_file(const char *path, const void *text, size_t n) {
  int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) return error_set(STATUS_DATA, "%s: cannot be created: %s", path, strerror(errno));
  status_code_t status = write_all(descriptor, path, text, n);
  if (close(descriptor) != 0 && status == STATUS_OK)
    status = error_set(STATUS_DATA, "%s: cannot be written: %s", path, strerror(errno));
  return status;
}

status_t file_sync(const char *path) {
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    return error_set(STATUS_DATA, "%s: cannot be opened for syncing: %s", path, strerror(errno));
  int result = fsync(descriptor), problem = errno;
  close(descriptor);
  /* Some file systems know no syncing of folders; they keep names by themselves. */
  if (result == 0 || problem == EINVAL) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be synced to storage: %s", path, strerror(problem));
}

static status_t rename_synced(const char *from, const char *to) {
  char folder[FILE_MAX_PATH];
  if (rename(from, to) != 0)
    return error_set(STATUS_DATA, "%s cannot be renamed to %s: %s", from, to, strerror(errno));
  TRY(parent_of(to, folder));
  return file_sync(folder);
}

status_t file_partial(char partial[FILE_MAX_PATH], const char *path) {
  int n = snprintf(partial, FILE_MAX_PATH, "%s.partial", path);
  if (n >= 0 && n < FILE_MAX_PATH) return STATUS_OK;
  return error_set(STATUS_INPUT, "the path %.60s... is longer than %d characters", path, FILE_MAX_PATH - 9);
}

status_t file_replace(const char *path, const void *text, size_t n) {
  char partial[FILE_MAX_PATH];
  TRY(file_partial(partial, path));
  status_code_t status = write_file(partial, text, n);
  if (status == STATUS_OK) return rename_synced(partial, path);
  unlink(partial); /* half a file helps nobody, least of all on a full disk */
  return status;
}

status_t file_commit(comm_t *comm, const char *path, status_code_t status, bool wrote) {
  char partial[FILE_MAX_PATH];
  TRY(file_partial(partial, path));
  if (status == STATUS_OK && wrote) status = file_sync(partial);
  status = comm_agree(comm, status);
  if (comm_rank(comm) == 0) {
    if (status == STATUS_OK)
      status = rename_synced(partial, path);
    else
      unlink(partial);
  }
  return comm_agree(comm, status);
}

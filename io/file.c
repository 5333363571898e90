#define _GNU_SOURCE
#include "io/file.h"

#include "base/memory.h"
#include "io/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char partial_end[] = ".partial";

status_t file_join(char path[FILE_MAX_PATH], const char *a, const char *b, const char *c) {
  const char *second = b ? b : "", *third = b && c ? c : "";
  int n = snprintf(path, FILE_MAX_PATH, "%s%s%s%s%s", a, b ? "/" : "", second, b && c ? "/" : "", third);
  if (n >= 0 && n < FILE_MAX_PATH) return STATUS_OK;
  return error_set(STATUS_INPUT, "the path %.60s.../%s is longer than %d characters", a, second,
                   FILE_MAX_PATH - 1);
}

status_t file_check_path(const char *what, const char *path, size_t more) {
  if (strlen(path) + more >= FILE_MAX_PATH)
    return error_set(STATUS_INPUT,
                     "%s is %zu bytes long and gets %zu more: the system takes %d; use a shorter path", what,
                     strlen(path), more, FILE_MAX_PATH - 1);
  for (const char *name = path; *name; name += strspn(name, "/")) {
    size_t n = strcspn(name, "/");
    bool last = name[n] == '\0';
    if (n + (last ? strlen(partial_end) : 0) > NAME_MAX)
      return error_set(STATUS_INPUT, "%s: the name %.40s... in it is %zu bytes long: the system takes %d%s",
                       what, name, n, NAME_MAX, last ? ", of which '.partial' takes eight for a while" : "");
    name += n;
  }
  return STATUS_OK;
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

/* The folder that PATH lies in. */
static status_t file_parent_of(const char *path, char folder[FILE_MAX_PATH]) {
  TRY(file_join(folder, path, NULL, NULL));
  char *slash = strrchr(folder, '/');
  if (!slash) return file_join(folder, ".", NULL, NULL);
  slash[slash == folder ? 1 : 0] = '\0';
  return STATUS_OK;
}

static status_t parent_sync(const char *path) {
  char folder[FILE_MAX_PATH];
  TRY(file_parent_of(path, folder));
  return file_sync(folder);
}

/* What is put into a new folder is lost with its name: that is synced. */
static status_t folder_make_one(const char *path) {
  struct stat info;
  if (mkdir(path, 0777) == 0) return parent_sync(path);
  int problem = errno;
  if (stat(path, &info) != 0)
    return error_set(STATUS_DATA, "%s: the folder cannot be made: %s", path, strerror(problem));
  if (S_ISDIR(info.st_mode)) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: there is a file of this name, expected a folder", path);
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

status_t file_make_parent(const char *path) {
  char folder[FILE_MAX_PATH];
  TRY(file_parent_of(path, folder));
  return file_make_folder(folder);
}

/* ---- whole files ---- */

status_t file_read(const char *path, size_t max_bytes, char **out, size_t *n) {
  SCOPED_MEMORY char *text = NULL;
  SCOPED(descriptor_close_at) int descriptor = -1;
  struct stat info;
  size_t found;
  *out = NULL;
  int problem = descriptor_open(path, O_RDONLY | O_NONBLOCK, &descriptor); /* no wait for a pipe */
  if (problem) return error_set(STATUS_DATA, "%s: cannot be opened: %s", path, strerror(problem));
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode))
    return error_set(STATUS_DATA, "%s: not a regular file", path);
  if ((uint64_t)info.st_size > max_bytes)
    return error_set(STATUS_DATA, "%s: %lld bytes found, at most %zu expected", path, (long long)info.st_size,
                     max_bytes);
  size_t size = (size_t)info.st_size;
  TRY(memory_alloc(&text, ARENA_IO, size + 1, 1));
  problem = descriptor_read_at(descriptor, text, size, 0, &found);
  if (problem || found != size)
    return error_set(STATUS_DATA, "%s: cannot be read: %s", path,
                     problem ? strerror(problem) : "it became shorter meanwhile");
  if (n) *n = size;
  memory_hand_over(out, &text);
  return STATUS_OK;
}

/* Makes PATH hold N bytes of TEXT; with SYNC on storage. */
static status_t file_write_file(const char *path, const void *text, size_t n, bool sync) {
  int descriptor, problem = descriptor_open(path, O_WRONLY | O_CREAT | O_TRUNC, &descriptor);
  if (problem) return error_set(STATUS_DATA, "%s: cannot be created: %s", path, strerror(problem));
  problem = descriptor_write(descriptor, text, n);
  if (problem == 0 && sync) problem = descriptor_sync(descriptor);
  int closing = descriptor_close(descriptor);
  if (problem == 0) problem = closing;
  if (problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be written: %s", path, strerror(problem));
}

status_t file_write(const char *path, const void *bytes, size_t n) {
  return file_write_file(path, bytes, n, false);
}

status_t file_sync(const char *path) {
  SCOPED(descriptor_close_at) int descriptor = -1;
  int problem = descriptor_open(path, O_RDONLY, &descriptor);
  if (problem) return error_set(STATUS_DATA, "%s: cannot be opened for syncing: %s", path, strerror(problem));
  problem = descriptor_sync(descriptor);
  /* Some file systems know no syncing of folders; they keep names by themselves. */
  if (problem == 0 || problem == EINVAL) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be synced to storage: %s", path, strerror(problem));
}

status_t file_rename(const char *from, const char *to) {
  int problem = descriptor_rename(from, to);
  if (problem == 0) return parent_sync(to);
  return error_set(STATUS_DATA, "%s cannot be renamed to %s: %s", from, to, strerror(problem));
}

/* ---- streams ---- */

static ssize_t stream_write(void *cookie, const char *bytes, size_t n) {
  int problem = descriptor_write((int)(intptr_t)cookie, bytes, n);
  if (problem == 0) return (ssize_t)n;
  errno = problem;
  return 0; /* what tells stdio that it failed */
}

static int stream_close(void *cookie) {
  int problem = descriptor_close((int)(intptr_t)cookie);
  if (problem == 0) return 0; /* errno may still tell of what could not be written */
  errno = problem;
  return -1;
}

status_t file_stream(const char *path, bool fresh, FILE **out) {
  const cookie_io_functions_t functions = {.write = stream_write, .close = stream_close};
  int descriptor,
      problem = descriptor_open(path, O_WRONLY | O_CREAT | (fresh ? O_EXCL : O_TRUNC), &descriptor);
  *out = NULL;
  if (problem == 0) {
    *out = fopencookie((void *)(intptr_t)descriptor, "wb", functions);
    problem = *out ? 0 : ENOMEM;
    if (!*out) descriptor_close(descriptor);
  }
  if (problem == 0) return STATUS_OK;
  status_code_t status = error_set(STATUS_DATA, "%s: cannot be created: %s", path, strerror(problem));
  errno = problem;
  return status;
}

/* ---- replacing ---- */

status_t file_partial(char partial[FILE_MAX_PATH], const char *path) {
  int n = snprintf(partial, FILE_MAX_PATH, "%s%s", path, partial_end);
  if (n >= 0 && n < FILE_MAX_PATH) return STATUS_OK;
  return error_set(STATUS_INPUT, "the path %.60s... is longer than %d characters", path, FILE_MAX_PATH - 9);
}

status_t file_replace(const char *path, const void *text, size_t n) {
  char partial[FILE_MAX_PATH];
  TRY(file_partial(partial, path));
  status_code_t status = file_write_file(partial, text, n, true);
  if (status == STATUS_OK) status = file_rename(partial, path);
  if (status == STATUS_OK) return STATUS_OK;
  unlink(partial); /* half a file helps nobody, least of all on a full disk */
  return status;
}

status_t file_commit(comm_t *comm, const char *path, status_code_t status, bool wrote) {
  char partial[FILE_MAX_PATH];
  TRY(file_partial(partial, path));
  if (status == STATUS_OK && wrote) status = file_sync(partial);
  status = comm_agree(comm, status);
  if (comm_rank(comm) == 0) {
    if (status == STATUS_OK) status = file_rename(partial, path);
    if (status != STATUS_OK) unlink(partial);
  }
  return comm_agree(comm, status);
}

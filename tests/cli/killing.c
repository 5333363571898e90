/* The program with a death at a chosen moment: the KILL_CALL-th time (from 1) that rank KILL_RANK (any: each
 * for itself) is about to change a file below the folder KILL_FOLDER, it is killed; of a write, half has been
 * done. Writes to one file that follow each other count once, unless KILL_EACH is set. These functions come
 * before the C library's, also for the libraries. KILL_COUNT names a file that gets the number of such calls
 * of that rank. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PATH_MOST = 4096 };

static long calls;

static void write_count(void) {
  FILE *file = fopen(getenv("KILL_COUNT"), "w");
  if (!file) return;
  fprintf(file, "%ld\n", calls);
  fclose(file);
}

static bool is_ours(const char *path) {
  const char *rank = getenv("KILL_RANK"), *mine = getenv("OMPI_COMM_WORLD_RANK"),
             *folder = getenv("KILL_FOLDER");
  if (!rank || !folder || !path || !strstr(path, folder)) return false;
  return strcmp(rank, "any") == 0 || strcmp(rank, mine ? mine : "0") == 0;
}

/* Counts a call; true if it is the last one. */
static bool ends(bool ours) {
  if (!ours) return false;
  if (calls++ == 0 && getenv("KILL_COUNT")) atexit(write_count);
  const char *at = getenv("KILL_CALL");
  return at && calls == atol(at);
}

static void path_of(int descriptor, char path[PATH_MOST]) {
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
  ssize_t n = readlink(name, path, PATH_MOST - 1);
  path[n > 0 ? n : 0] = '\0';
}

static bool is_ours_open(int descriptor) {
  char path[PATH_MOST];
  path_of(descriptor, path);
  return is_ours(path);
}

/* The same for a write. */
static bool write_ends(int descriptor) {
  static char last[PATH_MOST];
  static long last_call;
  char path[PATH_MOST];
  path_of(descriptor, path);
  bool same = last_call == calls && strcmp(path, last) == 0;
  if (!is_ours(path) || (same && !getenv("KILL_EACH"))) return false;
  strcpy(last, path);
  last_call = calls + 1;
  return ends(true);
}

static void die_if(bool end) {
  if (end) raise(SIGKILL);
}

int open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
  va_end(list);
  die_if(ends((flags & (O_CREAT | O_WRONLY | O_RDWR)) && is_ours(path)));
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
  va_end(list);
  return open(path, flags, mode);
}

int rename(const char *from, const char *to) {
  die_if(ends(is_ours(to)));
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path) {
  die_if(ends(is_ours(path)));
  return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int mkdir(const char *path, mode_t mode) {
  die_if(ends(is_ours(path)));
  return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int fsync(int descriptor) {
  die_if(ends(is_ours_open(descriptor)));
  return (int)syscall(SYS_fsync, descriptor);
}

int ftruncate(int descriptor, off_t size) {
  die_if(ends(is_ours_open(descriptor)));
  return (int)syscall(SYS_ftruncate, descriptor, size);
}

int ftruncate64(int descriptor, off64_t size) {
  return ftruncate(descriptor, size);
}

int truncate(const char *path, off_t size) {
  die_if(ends(is_ours(path)));
  return (int)syscall(SYS_truncate, path, size);
}

ssize_t write(int descriptor, const void *bytes, size_t n) {
  bool end = write_ends(descriptor);
  ssize_t put = syscall(SYS_write, descriptor, bytes, end ? n / 2 : n);
  die_if(end);
  return put;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t n, off_t offset) {
  bool end = write_ends(descriptor);
  ssize_t put = syscall(SYS_pwrite64, descriptor, bytes, end ? n / 2 : n, offset);
  die_if(end);
  return put;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t n, off64_t offset) {
  return pwrite(descriptor, bytes, n, offset);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
  die_if(write_ends(descriptor));
  return syscall(SYS_writev, descriptor, parts, count);
}

ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
  die_if(write_ends(descriptor));
  return syscall(SYS_pwritev, descriptor, parts, count, offset, 0);
}

ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off64_t offset) {
  return pwritev(descriptor, parts, count, offset);
}

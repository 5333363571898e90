#define _GNU_SOURCE
#include "io/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int descriptor_open(const char *path, int flags, int *descriptor) {
  do
    *descriptor = open(path, flags | O_CLOEXEC, 0666);
  while (*descriptor < 0 && errno == EINTR);
  return *descriptor < 0 ? errno : 0;
}

/* What a call that gave DONE bytes instead of more comes to; *AT moves on. A call that does nothing and calls
 * it no error would be made for ever. */
static int descriptor_advance(ssize_t done, size_t *at) {
  if (done > 0) *at += (size_t)done;
  if (done == 0) return EIO;
  return done > 0 || errno == EINTR ? 0 : errno;
}

int descriptor_write(int descriptor, const void *bytes, size_t n) {
  int problem = 0;
  for (size_t at = 0; at < n && problem == 0;)
    problem = descriptor_advance(write(descriptor, (const char *)bytes + at, n - at), &at);
  return problem;
}

int descriptor_write_at(int descriptor, const void *bytes, size_t n, int64_t place) {
  int problem = 0;
  for (size_t at = 0; at < n && problem == 0;)
    problem =
        descriptor_advance(pwrite(descriptor, (const char *)bytes + at, n - at, place + (int64_t)at), &at);
  return problem;
}

int descriptor_read_at(int descriptor, void *bytes, size_t n, int64_t place, size_t *found) {
  int problem = 0;
  for (*found = 0; *found < n && problem == 0;) {
    ssize_t done = pread(descriptor, (char *)bytes + *found, n - *found, place + (int64_t)*found);
    if (done == 0) return 0; /* the end of the file */
    problem = descriptor_advance(done, found);
  }
  return problem;
}

/* Small ranges are not worth a call: the sync at the end writes them. */
void descriptor_begin_sync(int descriptor, size_t n, int64_t place) {
#ifdef SYNC_FILE_RANGE_WRITE
  enum { LEAST = 1 << 20 };
  if (n >= LEAST) sync_file_range(descriptor, place, (off_t)n, SYNC_FILE_RANGE_WRITE);
#else
  (void)descriptor, (void)n, (void)place;
#endif
}

int descriptor_sync(int descriptor) {
  while (fsync(descriptor) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

int descriptor_truncate(int descriptor, int64_t bytes) {
  while (ftruncate(descriptor, bytes) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

/* Linux closes even where it says that a signal came: to close again might hit another file. */
int descriptor_close(int descriptor) {
  return close(descriptor) == 0 || errno == EINTR ? 0 : errno;
}

void descriptor_close_at(const int *descriptor) {
  if (*descriptor >= 0) close(*descriptor);
}

int descriptor_rename(const char *from, const char *to) {
  while (rename(from, to) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

#define _GNU_SOURCE
#include "data/spool.h"

#include "base/memory.h"
#include "io/descriptor.h"
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER = 1 << 20 };

static status_t spool_failed(const char *what, int problem) {
  return error_set(STATUS_DATA, "a temporary file for texts cannot be %s: %s", what, strerror(problem));
}

/* The name is taken away at once, so that nothing is left behind whatever happens. */
static status_t spool_make(const char *path, spool_t *spool) {
  char name[FILE_MAX_PATH];
  const char *folder = getenv("TMPDIR");
  if (folder == NULL || folder[0] == '\0') folder = "/tmp";
  TRY(path != NULL ? file_join(name, path, NULL, NULL) : file_join(name, folder, "llava_rlhf", NULL));
  size_t n = strlen(name);
  if (snprintf(name + n, sizeof name - n, ".texts.XXXXXX") >= (int)(sizeof name - n))
    return error_set(STATUS_INPUT, "%s: the path is too long", name);
  spool->descriptor = mkostemp(name, O_CLOEXEC);
  if (spool->descriptor < 0)
    return error_context(spool_failed("made", errno), "in the folder of %s", path != NULL ? path : name);
  unlink(name);
  return STATUS_OK;
}

status_t spool_open(const char *path, spool_t *spool) {
  *spool = (spool_t){.descriptor = -1};
  TRY(memory_alloc(&spool->pending, ARENA_IO, BUFFER, 1));
  TRY(memory_alloc(&spool->window, ARENA_IO, BUFFER, 1));
  return spool_make(path, spool);
}

void spool_close(spool_t *spool) {
  if (spool->pending != NULL && spool->descriptor >= 0) descriptor_close(spool->descriptor);
  memory_free(spool->pending);
  memory_free(spool->window);
  *spool = (spool_t){.descriptor = -1};
}

static status_t spool_write(spool_t *spool, const void *bytes, size_t n, int64_t at) {
  int problem = descriptor_write_at(spool->descriptor, bytes, n, at);
  return problem == 0 ? STATUS_OK : spool_failed("written", problem);
}

static status_t spool_flush(spool_t *spool) {
  TRY(spool_write(spool, spool->pending, spool->pending_count, spool->size - (int64_t)spool->pending_count));
  spool->pending_count = 0;
  return STATUS_OK;
}

status_t spool_append(spool_t *spool, const void *bytes, size_t n) {
  if (spool->pending_count + n > BUFFER) TRY(spool_flush(spool));
  if (n > BUFFER) {
    TRY(spool_write(spool, bytes, n, spool->size));
  } else {
    memcpy(spool->pending + spool->pending_count, bytes, n);
    spool->pending_count += n;
  }
  spool->size += (int64_t)n;
  return STATUS_OK;
}

static status_t spool_fetch(const spool_t *spool, int64_t at, void *bytes, size_t n) {
  size_t found = 0;
  int problem = descriptor_read_at(spool->descriptor, bytes, n, at, &found);
  if (problem == 0 && found < n) problem = EIO;
  return problem == 0 ? STATUS_OK : spool_failed("read", problem);
}

/* Where the reading goes on behind its last piece the window moves along; what lies elsewhere is read by
 * itself. */
status_t spool_read(spool_t *spool, int64_t at, void *bytes, size_t n) {
  const int64_t end = at + (int64_t)n, last_end = spool->last_end;
  if (end > spool->size - (int64_t)spool->pending_count) TRY(spool_flush(spool));
  spool->last_end = end;
  if (at < spool->window_at || end > spool->window_at + (int64_t)spool->window_count) {
    if (at < last_end || at > last_end + BUFFER || n > BUFFER) return spool_fetch(spool, at, bytes, n);
    const int64_t left = spool->size - (int64_t)spool->pending_count - at;
    spool->window_at = at;
    spool->window_count = left < BUFFER ? (size_t)left : (size_t)BUFFER;
    TRY(spool_fetch(spool, at, spool->window, spool->window_count));
  }
  memcpy(bytes, spool->window + (at - spool->window_at), n);
  return STATUS_OK;
}

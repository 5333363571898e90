#define _GNU_SOURCE
#include "io/formats/journal.h"

#include "io/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

status_t journal_create(const char *folder, const char *name, journal_t *out) {
  out->descriptor = -1;
  out->lines = 0;
  return file_join(out->path, folder, name, NULL);
}

void journal_close(journal_t *journal) {
  if (journal->descriptor >= 0) (void)!descriptor_close(journal->descriptor);
  journal->descriptor = -1;
}

static status_t journal_open_end(journal_t *journal, off_t *end) {
  if (journal->descriptor < 0) {
    int problem = descriptor_open(journal->path, O_WRONLY | O_APPEND | O_CREAT, &journal->descriptor);
    if (problem != 0)
      return error_set(STATUS_DATA, "%s: cannot be opened: %s", journal->path, strerror(problem));
  }
  *end = lseek(journal->descriptor, 0, SEEK_END);
  if (*end >= 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be appended to: %s", journal->path, strerror(errno));
}

status_t journal_append(journal_t *journal, const char *line, size_t n) {
  off_t end;
  TRY(journal_open_end(journal, &end));
  int problem = descriptor_write(journal->descriptor, line, n);
  if (problem == 0) {
    journal->lines++;
    return STATUS_OK;
  }
  (void)!descriptor_truncate(journal->descriptor, end); /* half a line would be in the way of every reader */
  return error_set(STATUS_DATA, "%s: a line could not be written: %s", journal->path, strerror(problem));
}

/* True if LINE, N bytes long, is whole and not of a step after STEP. */
static bool line_stays(const char *line, ssize_t n, int64_t step) {
  static const char key[] = "\"step\":";
  if (line[n - 1] != '\n') return false;
  const char *place = strstr(line, key);
  return !place || strtoll(place + sizeof key - 1, NULL, 10) <= step;
}

/* Lines that stay, and their bytes. */
static status_t journal_measure(FILE *file, const char *path, int64_t step, int64_t most, int64_t *lines,
                                off_t *bytes) {
  char *line = NULL;
  size_t room = 0;
  ssize_t n;
  while (*lines < most && (n = getline(&line, &room, file)) > 0 && line_stays(line, n, step)) {
    ++*lines;
    *bytes += n;
  }
  free(line);
  if (!ferror(file)) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be read: %s", path, strerror(errno));
}

static status_t journal_cut(const char *path, off_t bytes) {
  int descriptor, problem = descriptor_open(path, O_WRONLY, &descriptor);
  if (problem == 0) {
    problem = descriptor_truncate(descriptor, bytes);
    int closed = descriptor_close(descriptor);
    if (problem == 0) problem = closed;
  }
  if (problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be cut to its first %lld bytes: %s", path, (long long)bytes,
                   strerror(problem));
}

status_t journal_rewind(journal_t *journal, int64_t step, int64_t most) {
  int64_t lines = 0;
  off_t bytes = 0;
  FILE *file = fopen(journal->path, "r");
  journal->lines = 0;
  if (!file && errno == ENOENT) return STATUS_OK;
  if (!file) return error_set(STATUS_DATA, "%s: cannot be opened: %s", journal->path, strerror(errno));
  status_code_t status = journal_measure(file, journal->path, step, most, &lines, &bytes);
  fclose(file);
  TRY(status);
  journal->lines = lines;
  return journal_cut(journal->path, bytes);
}

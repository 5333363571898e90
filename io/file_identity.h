/* Which file a path names, however it is written: by links, steps back, or a file system that is mounted
 * twice.
 */
#ifndef IO_FILE_IDENTITY_H
#define IO_FILE_IDENTITY_H

#include "io/file.h"

typedef struct {
  uint64_t device, inode;   /* of the file, or of the last folder on the way to it that exists */
  char rest[FILE_MAX_PATH]; /* what does not exist yet below that folder; "" where the file exists */
  bool folder;              /* what exists is a folder */
  bool writable;            /* what exists may be written to, or names be made in it */
} file_identity_t;

/* Looks along PATH, following links, also those that lead to what does not exist yet. Errors: STATUS_INPUT
 * (too long, links that go round). Local. */
status_t file_identity(const char *path, file_identity_t *out);

/* Do both name one file, be it there already or not? Local. */
bool file_identical(const file_identity_t *a, const file_identity_t *b);

#endif

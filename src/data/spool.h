/* Texts that wait outside memory between two readings: a file that has no name and is gone with the process.
 */
#ifndef DATA_SPOOL_H
#define DATA_SPOOL_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
  int descriptor;
  int64_t size;  /* bytes, those that wait in PENDING included */
  char *pending; /* the last PENDING_COUNT bytes, not written yet */
  size_t pending_count;
  char *window;                /* WINDOW_COUNT bytes from WINDOW_AT on */
  int64_t window_at, last_end; /* of the last reading */
  size_t window_count;
} spool_t;

/* Makes the file in the folder of PATH; NULL: in $TMPDIR, or /tmp. All zero is a closed spool. Free with
 * spool_close. Errors: STATUS_DATA. Local. */
status_t spool_open(const char *path, spool_t *spool);
void spool_close(spool_t *spool);

/* Adds N bytes at the end, SPOOL->size before. Errors: STATUS_DATA (disk full). Local. */
status_t spool_append(spool_t *spool, const void *bytes, size_t n);
/* Reads N bytes from byte AT on; in ascending order it is fast. Errors: STATUS_DATA. Local. */
status_t spool_read(spool_t *spool, int64_t at, void *bytes, size_t n);

#endif

/* Inside io: large ranges of a file written by a thread while the caller makes the next ones, and past the
 * page cache where the file system allows it (O_DIRECT): there the processor neither copies the bytes nor
 * makes room for them. */
#ifndef IO_WRITE_BEHIND_H
#define IO_WRITE_BEHIND_H

#include "base/memory.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct write_behind write_behind_t;

/* What direct writing wants places, addresses and lengths to be multiples of; the rest of a range goes
 * through the page cache. */
enum { WRITE_BEHIND_ALIGNMENT = 4096 };

/* BYTES of a buffer, from byte AT of it on, that belong at byte PLACE of the file. */
typedef struct {
  int64_t at, bytes, place;
} write_piece_t;

/* For file PATH, which DESCRIPTOR, open for writing, leads to; both outlive it. DIRECT: past the page cache.
 * WAITING: bytes of buffers that may wait to be written, beyond one and the one that is being filled. The
 * thread starts with the first large buffer. Free with write_behind_free. Errors: STATUS_MEMORY. Local. */
status_t write_behind_create(const char *path, int descriptor, bool direct, int64_t waiting,
                             write_behind_t **out);

/* *BUFFER: room for BYTES, contents undefined, aligned as above; it is WRITE_BEHIND's. Waits until there is
 * room. The one before must have been put. Errors: STATUS_MEMORY; STATUS_DATA where writing has failed. Main
 * thread. */
status_t write_behind_buffer(write_behind_t *behind, int64_t bytes, char **buffer);

/* Writes PIECES (count) of the buffer, small ones at once. Errors: as above. Main thread. */
status_t write_behind_put(write_behind_t *behind, const write_piece_t *pieces, int64_t count);

/* There is nothing more to come: the thread, if there is one, syncs the file and ends. Main thread. */
void write_behind_seal(write_behind_t *behind);

/* Whether nothing is left to be written and synced. Any time after write_behind_seal. Local. */
bool write_behind_is_done(write_behind_t *behind);

/* Waits until all is written, after write_behind_seal. Errors: STATUS_DATA saying what the disk said. Main
 * thread. */
status_t write_behind_wait(write_behind_t *behind);

/* Gives up what has not been written and frees all; NULL is fine. Main thread. */
void write_behind_free(write_behind_t *behind);
SCOPED_POINTER(write_behind_free, write_behind_t)

#endif

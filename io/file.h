/* Plain files: folders, whole small files, and the steps that make a new file replace an old one in one
 * instant. */
#ifndef IO_FILE_H
#define IO_FILE_H

#include "base/status.h"
#include "parallel/comm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Longest path that is built here. */
enum { FILE_MAX_PATH = 4096 };

/* Joins up to three parts with '/' into PATH (FILE_MAX_PATH); NULL ends the list early. Errors: STATUS_INPUT
 * where it is too long. Local. */
status_t file_join(char path[FILE_MAX_PATH], const char *a, const char *b, const char *c);

/* Checks that the system takes PATH with a name of MORE bytes below or behind it: a file that can be made is
 * made under a longer name first (file_partial). WHAT names PATH in the message. Errors: STATUS_INPUT. Local.
 */
status_t file_check_path(const char *what, const char *path, size_t more);

/* True if PATH exists. Local. */
bool file_exists(const char *path);

/* Bytes of the file PATH. Errors: STATUS_DATA. Local. */
status_t file_size(const char *path, int64_t *bytes);

/* Makes the folder PATH with its parents, their names synced to storage; fine if it exists. Errors:
 * STATUS_DATA. Local. */
status_t file_make_folder(const char *path);
/* The same for the folder that PATH lies in. */
status_t file_make_parent(const char *path);

/* Reads all of PATH (at most MAX_BYTES); a '\0' follows the N bytes. N may be NULL. Caller frees *TEXT with
 * memory_free. Errors: STATUS_DATA. Local. */
status_t file_read(const char *path, size_t max_bytes, char **text, size_t *n);

/* Makes PATH hold exactly the N bytes of TEXT: written beside, synced, renamed over the old one; a reader
 * sees the old or the new file, never a part. Errors: STATUS_DATA. Local. */
status_t file_replace(const char *path, const void *text, size_t n);

/* Makes PATH hold the N BYTES, for what can be made again: neither synced nor in one instant. Errors:
 * STATUS_DATA. Local. */
status_t file_write(const char *path, const void *bytes, size_t n);

/* A stream that makes PATH anew, for output of any length: signals do not break what is written, and *OUT's
 * failures leave the reason in errno. FRESH: STATUS_DATA with errno EEXIST where there is such a file. The
 * caller calls fclose. Errors: STATUS_DATA. Local. */
status_t file_stream(const char *path, bool fresh, FILE **out);

/* Renames FROM to TO, replacing it, and syncs the folder. Errors: STATUS_DATA. Local. */
status_t file_rename(const char *from, const char *to);

/* Syncs the file's data (and a folder's names) to storage. Local. */
status_t file_sync(const char *path);

/* The name beside PATH under which a file is written before it is complete: PATH.partial. */
status_t file_partial(char partial[FILE_MAX_PATH], const char *path);

/* Turns PATH.partial, complete and closed on all ranks, into PATH: every rank with WROTE syncs it
 * (h5_close has done so already), all agree
 * on STATUS (what each rank's writing came to), rank 0 renames it and syncs the folder. After an error on any
 * rank rank 0 removes it and PATH is untouched. Collective on COMM. Errors: the worst STATUS; STATUS_DATA. */
status_t file_commit(comm_t *comm, const char *path, status_code_t status, bool wrote);

#endif

/* Inside kept: the folder and its files. */
#ifndef IO_KEPT_FILES_H
#define IO_KEPT_FILES_H

#include "io/formats/kept.h"

/* One record's place. */
typedef struct {
  int64_t key, at, n; /* of its bytes in the file */
  int32_t file;       /* among the names */
} kept_record_t;

/* Which start made a file, and which of its ranks. */
typedef struct {
  int32_t start, rank;
} kept_name_t;

/* What precedes the bytes of a record. */
typedef struct {
  uint64_t hash; /* of the other two and the bytes */
  int64_t key, n;
} kept_head_t;

enum { KEPT_IDENTITY = -1 /* key of the first record of a file */ };

/* PATH.kept, with END behind it. Errors: STATUS_INPUT (too long). Local. */
status_t kept_folder_path(char folder[FILE_MAX_PATH], const char *path, const char *end);
status_t kept_file_path(char path[FILE_MAX_PATH], const char *folder, kept_name_t name);

/* The files of FOLDER, by ascending start and rank; none where there is no folder. *NAMES is freed by the
 * caller with memory_free. Errors: STATUS_DATA. Local. */
status_t kept_folder_list(const char *folder, kept_name_t **names, int32_t *count);

/* Removes all files of FOLDER, and the folder unless there is something else in it. Errors: STATUS_DATA.
 * Local. */
status_t kept_folder_remove(const char *folder);

/* Whole records in a file: those of RECORDS (count), which grows, freed by the caller with memory_free. */
typedef struct {
  kept_record_t *records;
  int64_t count;
  int64_t lost; /* bytes at the ends of files that are no whole records */
} kept_records_t;

/* Adds the records of PATH, file number FILE, which must be of IDENTITY. Errors: STATUS_INPUT with the first
 * difference in the identity; STATUS_DATA where PATH cannot be read. Local. */
status_t kept_file_scan(const char *path, int32_t file, const char *identity, kept_records_t *records);

/* Sorts by key; of one key the last one is kept. Local. */
void kept_records_sort(kept_records_t *records);

uint64_t kept_hash(int64_t key, const void *bytes, size_t n);

#endif

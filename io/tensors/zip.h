/* Inside io/tensors: the central directory of a ZIP file, read strictly, for files whose entries are stored
 * without compression and read in place. (libzip tells no entry's place in the file and reads through a
 * stream of its own, one entry at a time.) */
#ifndef IO_ZIP_H
#define IO_ZIP_H

#include "io/tensors/tensor_list.h"

typedef struct {
  const char *name; /* (name_bytes), not ended by '\0' */
  size_t name_bytes;
  int64_t header; /* byte of the file where its local header begins */
  int64_t place;  /* byte of the file where its data begin */
  int64_t size;   /* bytes */
  uint32_t crc;
} zip_entry_t;

typedef struct {
  const tensor_source_t *source;
  char *directory;      /* as it lies in the file; holds the names */
  zip_entry_t *entries; /* (count), in order of their names (memcmp, the shorter of equal beginnings first) */
  int64_t count;
} zip_t;

/* Reads the directory of SOURCE, ZIP64 included. Errors: STATUS_DATA for a file without one (cut short), in
 * several parts, with entries that are compressed or encrypted, of one name, that overlap, lie outside the
 * file, or whose own header says something else; STATUS_MEMORY. Free with zip_free in any case. Local. */
status_t zip_open(const tensor_source_t *source, zip_t *zip);
void zip_free(zip_t *zip);

/* The entry of this NAME (n bytes), NULL if there is none. Local. */
const zip_entry_t *zip_find(const zip_t *zip, const char *name, size_t n);

/* Reads all of ENTRY, at most MOST bytes, and compares its checksum. The caller frees *BYTES with
 * memory_free. Errors: STATUS_DATA, STATUS_MEMORY. Local. */
status_t zip_read(const zip_t *zip, const zip_entry_t *entry, int64_t most, char **bytes);

#endif

/* What the files of io/ that call HDF5 themselves share. Nobody outside io/ includes this. */
#ifndef IO_H5_CORE_H
#define IO_H5_CORE_H

#include "io/h5.h"

#include <hdf5.h>

struct h5_file {
  hid_t id;
  comm_t *comm; /* NULL: opened by this rank alone */
  bool writable;
  uint64_t data_end; /* where the last of the datasets created through this handle ends in the file */
  int64_t created;   /* how many there are */
  char *path;
};

/* Sets STATUS_DATA with FORMAT's text and HDF5's innermost message, and clears HDF5's error stack. Local. */
status_t h5_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Returns early if an HDF5 call gave a negative result; the rest says in printf style what was being done. */
#define TRY_H5(expr, ...)                                                                                    \
  do {                                                                                                       \
    if ((expr) < 0) {                                                                                        \
      status_code_t try_status_ = h5_error(__VA_ARGS__);                                                     \
      error_trace(__func__, __FILE__, __LINE__);                                                             \
      return try_status_;                                                                                    \
    }                                                                                                        \
  } while (0)

/* HDF5's type for TYPE in files and in memory alike, so that no conversion ever happens (a conversion turns
 * collective writing off). Close with H5Tclose. Negative on failure. */
hid_t h5_type_open(h5_type_t type);

/* Finds which of our types the HDF5 type ID is; false if none. */
bool h5_type_find(hid_t id, h5_type_t *type);

/* Agrees on STATUS over the file's communicator; STATUS itself for a file opened alone. */
status_t h5_agree(h5_file_t *file, status_code_t status);

/* Longest path of an object inside a file. */
enum { H5_MAX_PATH = 512 };

/* Creates the groups that OBJECT lies in. As h5_create_group. */
status_t h5_create_parents(h5_file_t *file, const char *object);

/* Selects elements BEGIN .. BEGIN + COUNT - 1, counted row-major, in the dataspace SPACE. Local. */
status_t h5_select_range(hid_t space, int64_t begin, int64_t count);

/* Writes or reads elements BEGIN .. BEGIN + COUNT - 1 (row-major) of dataset OBJECT from / to BYTES of stored
 * TYPE, by this rank alone whoever opened the file. Errors: STATUS_DATA. Local. */
status_t h5_write_range(h5_file_t *file, const char *object, h5_type_t type, int64_t begin, int64_t count,
                        const void *bytes);
status_t h5_read_range(h5_file_t *file, const char *object, h5_type_t type, int64_t begin, int64_t count,
                       void *bytes);

#endif

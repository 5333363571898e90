/* What the files of io/ that call HDF5 themselves share. Nobody outside io/ includes this. */
#ifndef IO_H5_CORE_H
#define IO_H5_CORE_H

#include "io/h5.h"
#include "io/h5_driver.h"
#include "io/h5_guard.h"

#include <hdf5.h>

struct h5_file {
  hid_t id;     /* negative where another rank has the handle */
  comm_t *comm; /* whose ranks write it together; NULL: this rank alone */
  bool writable;
  h5_disk_t disk; /* this rank's own */
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

/* A handle that is closed where its variable goes out of scope: `H5_HANDLE(H5Tclose) type = ...`. */
#define H5_HANDLE(close) SCOPED(close##_handle) hid_t
#define H5_HANDLE_CLOSER(close)                                                                              \
  static inline void close##_handle(const hid_t *id) {                                                       \
    if (*id >= 0) close(*id);                                                                                \
  }
H5_HANDLE_CLOSER(H5Aclose)
H5_HANDLE_CLOSER(H5Dclose)
H5_HANDLE_CLOSER(H5Gclose)
H5_HANDLE_CLOSER(H5Pclose)
H5_HANDLE_CLOSER(H5Sclose)
H5_HANDLE_CLOSER(H5Tclose)

/* HDF5's type for TYPE in files and in memory alike. Close with H5Tclose. Negative on failure. */
hid_t h5_type_open(h5_type_t type);

/* Finds which of our types the HDF5 type ID is; false if none. */
bool h5_type_find(hid_t id, h5_type_t *type);

/* Properties of class CLASS_ID (files, groups or datasets) for what is created: no times are kept, so that
 * equal contents give equal files, and attributes stay in the object's header. Negative on failure. */
hid_t h5_creation_open(hid_t class_id);

/* Agrees on STATUS over the file's communicator; STATUS itself for a file of one rank. */
status_t h5_agree(h5_file_t *file, status_code_t status);

/* Longest path of an object inside a file. */
enum { H5_MAX_PATH = 512 };

/* What the functions of these names do, for callers that are guarded already (io/h5_guard.h). */
status_t h5_find(h5_file_t *file, const char *object, bool *found);
status_t h5_make_parents(h5_file_t *file, const char *object);

/* STATUS_DATA unless OBJECT is there and reached by hard links alone; WHAT is "dataset" or the like. */
status_t h5_require(h5_file_t *file, const char *what, const char *object);

/* Reads elements BEGIN .. BEGIN + COUNT - 1 (row-major) of dataset OBJECT of stored TYPE to BYTES. Errors:
 * STATUS_DATA. Local. */
status_t h5_read_range(h5_file_t *file, const char *object, h5_type_t type, int64_t begin, int64_t count,
                       void *bytes);

#endif

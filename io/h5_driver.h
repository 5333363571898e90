/* Inside io: the disk below HDF5. The library's own drivers give up where a signal interrupts a call, and the
 * library itself crashes or hangs where it cannot write what it still holds when a file is closed. This one
 * calls again, and keeps a failure for h5_close: to the library all writing succeeds. */
#ifndef IO_H5_DRIVER_H
#define IO_H5_DRIVER_H

#include "base/status.h"

#include <hdf5.h>

/* An open file and what went wrong on it first. */
typedef struct {
  int descriptor;
  int problem;   /* errno, 0: nothing went wrong */
  bool writing;  /* what it was: writing or reading, */
  int64_t place; /* from this byte on */
} h5_disk_t;

/* Writes N bytes at PLACE unless something went wrong before. */
void h5_disk_write(h5_disk_t *disk, const void *bytes, size_t n, int64_t place);

/* Reads N bytes; *FOUND is less where the file ends before or a problem was met. */
void h5_disk_read(h5_disk_t *disk, void *bytes, size_t n, int64_t place, size_t *found);

/* STATUS_DATA saying what went wrong with the file PATH; STATUS_OK if nothing. */
status_t h5_disk_check(const h5_disk_t *disk, const char *path);

/* Access properties with which HDF5 opens or creates a file on DISK, which outlives it. Close with H5Pclose.
 * Negative on failure. */
hid_t h5_driver_access(h5_disk_t *disk);

#endif

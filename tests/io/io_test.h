/* A folder of its own for each parallel test of io/, and small helpers on its files. Include after
 * mpi_test.h. */
#ifndef TESTS_IO_IO_TEST_H
#define TESTS_IO_IO_TEST_H

#include "io/file.h"
#include "io/h5.h"
#include "mpi_test.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Makes a new folder below the system's place for temporary files and writes its name to PATH on all ranks.
 */
static inline void io_test_folder(char path[FILE_MAX_PATH]) {
  comm_t *world = mpi_test_world();
  memset(path, 0, FILE_MAX_PATH);
  if (comm_rank(world) == 0) {
    const char *place = getenv("TMPDIR");
    snprintf(path, FILE_MAX_PATH, "%s/llava_io_XXXXXX", place ? place : "/tmp");
    assert_non_null(mkdtemp(path));
  }
  assert_ok(comm_broadcast(world, path, FILE_MAX_PATH, COMM_BYTE, 0));
}

static inline int io_test_remove_one(const char *path, const struct stat *info, int type, struct FTW *place) {
  (void)info;
  (void)type;
  (void)place;
  return remove(path);
}

/* Removes the folder once all ranks are done with it. */
static inline void io_test_remove(const char *path) {
  assert_ok(comm_barrier(mpi_test_world()));
  if (comm_rank(mpi_test_world()) == 0) nftw(path, io_test_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* PATH = FOLDER/NAME. */
static inline const char *io_test_path(char path[FILE_MAX_PATH], const char *folder, const char *name) {
  assert_ok(file_join(path, folder, name, NULL));
  return path;
}

/* Byte of the file PATH where the data of OBJECT begin. */
static inline off_t io_test_place(const char *path, const char *object) {
  h5_file_t *file;
  h5_span_t span;
  assert_ok(h5_open(path, H5_READ, NULL, &file));
  assert_ok(h5_spans(file, &object, 1, &span));
  assert_ok(h5_close(file));
  return (off_t)span.begin;
}

/* Flips the bits of the byte at OFFSET. Rank 0 does it; all ranks wait. */
static inline void io_test_flip(const char *path, off_t offset) {
  if (comm_rank(mpi_test_world()) == 0) {
    unsigned char byte;
    int descriptor = open(path, O_RDWR);
    assert_true(descriptor >= 0);
    assert_int_equal(pread(descriptor, &byte, 1, offset), 1);
    byte = (unsigned char)~byte;
    assert_int_equal(pwrite(descriptor, &byte, 1, offset), 1);
    close(descriptor);
  }
  assert_ok(comm_barrier(mpi_test_world()));
}

/* Cuts the file to N bytes. */
static inline void io_test_cut(const char *path, off_t n) {
  if (comm_rank(mpi_test_world()) == 0) assert_int_equal(truncate(path, n), 0);
  assert_ok(comm_barrier(mpi_test_world()));
}

/* Bytes of a file, -1 if there is none. */
static inline int64_t io_test_size(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 ? (int64_t)info.st_size : -1;
}

/* Rank 0 makes PATH hold TEXT. */
static inline void io_test_write(const char *path, const char *text) {
  if (comm_rank(mpi_test_world()) == 0) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
  }
  assert_ok(comm_barrier(mpi_test_world()));
}

#endif

/* HDF5 files: attributes and plain typed datasets of rows. A file is opened by one rank alone (COMM is NULL)
 * or by all ranks of a communicator at once (MPI-IO). HDF5 is not thread-safe: only the main thread calls
 * these functions. The library's own error printing is off; its innermost message becomes part of ours. The
 * library's types stay behind io/h5_core.h. */
#ifndef IO_H5_H
#define IO_H5_H

#include "base/status.h"
#include "parallel/comm.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct h5_file h5_file_t;

/* Element types, stored little-endian. BF16 is a 16-bit float with 8 exponent bits. */
typedef enum {
  H5TYPE_F32,
  H5TYPE_F64,
  H5TYPE_BF16,
  H5TYPE_U8,
  H5TYPE_I32,
  H5TYPE_I64,
  H5TYPE_U64,
  H5TYPE_COUNT
} h5_type_t;

enum { H5_MAX_DIMS = 4 };

typedef enum { H5_READ, H5_EDIT } h5_access_t;

/* Version of the HDF5 library in use ("1.10.8"). Local. */
enum { H5_VERSION_TEXT = 32 };
void h5_version(char text[H5_VERSION_TEXT]);

/* Bytes of one element, and the name in messages ("float32"). */
size_t h5_type_size(h5_type_t type);
const char *h5_type_name(h5_type_t type);

/* Creates PATH (replacing what is there) with the attributes `format` and `format_version` on its root.
 * Collective on COMM, or local where COMM is NULL. The caller closes *FILE. Errors, agreed over COMM:
 * STATUS_DATA. */
status_t h5_create(const char *path, comm_t *comm, const char *format, int version, h5_file_t **file);

/* Opens PATH and checks that `format` is FORMAT and `format_version` at most VERSION; FORMAT NULL skips the
 * check. Collective on COMM, or local where COMM is NULL. Errors, agreed over COMM: STATUS_DATA for a file
 * that is missing, empty, cut short, not HDF5, or of another format or a newer version. */
status_t h5_open(const char *path, comm_t *comm, h5_access_t access, const char *format, int version,
                 h5_file_t **file);

/* Closes and frees FILE; NULL is fine. Data may still be in the system's cache (io/file.h: file_commit).
 * Collective where opening was. Errors: STATUS_DATA (the disk is full) on the rank that met it: agree before
 * going on. FILE is freed all the same. */
status_t h5_close(h5_file_t *file);

const char *h5_path(const h5_file_t *file);

/* Group OBJECT with its parents; nothing happens where it exists. In a file opened by COMM every rank calls
 * with the same arguments. */
status_t h5_create_group(h5_file_t *file, const char *object);

/* True if the file has an object (group or dataset) of this path. Local. */
bool h5_exists(h5_file_t *file, const char *object);
/* True if OBJECT is there and has attribute NAME. Local. */
bool h5_attr_exists(h5_file_t *file, const char *object, const char *name);

/* Attributes of OBJECT ("/" is the root), replacing older ones of the name. COUNT values, in one dimension; a
 * single number is stored as a scalar, except by h5_attr_write_u64 (hashes), whose readers can rely on a
 * list. In a file opened by COMM every rank calls with the same arguments. Errors: STATUS_DATA. */
status_t h5_attr_write_text(h5_file_t *file, const char *object, const char *name, const char *value);
status_t h5_attr_write_i64(h5_file_t *file, const char *object, const char *name, const int64_t *values,
                           int64_t count);
status_t h5_attr_write_u64(h5_file_t *file, const char *object, const char *name, const uint64_t *values,
                           int64_t count);
status_t h5_attr_write_f64(h5_file_t *file, const char *object, const char *name, const double *values,
                           int64_t count);

/* Reads an attribute. *VALUE is freed by the caller with memory_free. VALUES has room for COUNT, which must
 * be what the file holds (h5_attr_count tells). Local. Errors: STATUS_DATA naming file, object and attribute
 * where it is missing or of another type. */
status_t h5_attr_read_text(h5_file_t *file, const char *object, const char *name, char **value);
status_t h5_attr_read_i64(h5_file_t *file, const char *object, const char *name, int64_t *values,
                          int64_t count);
status_t h5_attr_read_u64(h5_file_t *file, const char *object, const char *name, uint64_t *values,
                          int64_t count);
status_t h5_attr_read_f64(h5_file_t *file, const char *object, const char *name, double *values,
                          int64_t count);
/* Number of values of an attribute, 0 if there is none. Local. */
status_t h5_attr_count(h5_file_t *file, const char *object, const char *name, int64_t *count);

/* Creates dataset OBJECT (and its groups) of SHAPE (ndim): contiguous, space taken at once, contents
 * undefined until written. In a file opened by COMM every rank calls with the same arguments. Errors:
 * STATUS_DATA. */
status_t h5_create_dataset(h5_file_t *file, const char *object, h5_type_t type, int ndim,
                           const int64_t *shape);

/* Creates dataset OBJECT (and its groups) of one dimension and no rows, stored in chunks, to be lengthened by
 * h5_grow. In a file opened by COMM every rank calls with the same arguments. Errors: STATUS_DATA. */
status_t h5_create_growing(h5_file_t *file, const char *object, h5_type_t type);
/* Bytes that one of ELEMENTS elements takes in the file. Local. */
int64_t h5_growing_bytes(h5_type_t type, int64_t elements);
/* Lengthens OBJECT to ROWS rows, the new ones undefined until written. In a file opened by COMM every rank
 * calls with the same arguments. Errors: STATUS_DATA. */
status_t h5_grow(h5_file_t *file, const char *object, int64_t rows);

/* Type and shape of dataset OBJECT. Local. Errors: STATUS_DATA where it is missing, or of a type not in the
 * list above. */
status_t h5_dataset_info(h5_file_t *file, const char *object, h5_type_t *type, int *ndim,
                         int64_t shape[H5_MAX_DIMS]);

/* Writes rows ROW_BEGIN .. ROW_BEGIN + ROW_COUNT - 1 (dimension 0) of dataset OBJECT from DATA (row_count,
 * shape[1..]) of TYPE, which must be the stored type. Collective where the file was opened by COMM: every
 * rank names the same dataset and gives rows of its own, maybe none; MPI-IO's collective mode is checked to
 * have been used. Errors, agreed over COMM: STATUS_DATA. */
status_t h5_write_rows(h5_file_t *file, const char *object, h5_type_t type, int64_t row_begin,
                       int64_t row_count, const void *data);

/* Reads rows of dataset OBJECT to DATA; otherwise as h5_write_rows. A dataset of another type or too few rows
 * is STATUS_DATA. */
status_t h5_read_rows(h5_file_t *file, const char *object, h5_type_t type, int64_t row_begin,
                      int64_t row_count, void *data);

/* Creates OBJECT, one dimension of N bytes, and writes it. In a file opened by COMM, all ranks call and rank
 * 0's BYTES are written. */
status_t h5_write_bytes(h5_file_t *file, const char *object, const void *bytes, int64_t n);
/* Reads all bytes of OBJECT (N); an additional '\0' follows. The caller frees *BYTES with memory_free. Local,
 * also in a file opened by COMM. */
status_t h5_read_bytes(h5_file_t *file, const char *object, char **bytes, int64_t *n);

/* Where the data of a contiguous dataset begin in the file, for readers that pread it. Local. Errors:
 * STATUS_DATA where the dataset is stored in chunks. */
status_t h5_data_offset(h5_file_t *file, const char *object, uint64_t *offset);

/* Paths of all datasets below group OBJECT, sorted by strcmp. The caller frees *PATHS (one block, strings
 * included) with memory_free. Local. */
status_t h5_list(h5_file_t *file, const char *object, char ***paths, int64_t *count);

#endif

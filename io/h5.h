/* HDF5 files: attributes and plain typed datasets of rows. Reading is local: each rank that reads a file
 * opens it alone. A file is written by one rank alone, or by all ranks of a communicator together: rank 0 has
 * HDF5's handle and makes all structure, every rank writes its own rows straight to their place in the file,
 * without MPI-IO. What the system says of a failing disk is kept to the end, and becomes the message.
 *
 * Everything that matters has a checksum: headers and indices are of HDF5's format 1.10, texts are of fixed
 * length and lie in headers, datasets carry hashes (io/formats/weights.h, io/formats/dataset.h). Readers
 * refuse what these files have no use for: variable-length data, links other than hard ones, external and
 * virtual storage.
 *
 * HDF5 is not thread-safe: only the main thread calls these functions. The library's own error printing is
 * off; its innermost message becomes part of ours. The library's types stay behind io/h5_core.h. */
#ifndef IO_H5_H
#define IO_H5_H

#include "base/memory.h"
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

/* A kind of file as the attributes `format` and `format_version` of its root name it. */
typedef struct {
  const char *name;
  int version;
  const char *remake; /* what to do with a file of an older version */
} h5_format_t;

/* Creates PATH (replacing what is there). Collective on COMM, or local where COMM is NULL. The caller closes
 * *FILE. Errors, agreed over COMM: STATUS_DATA; there is no such file then. */
status_t h5_create(const char *path, comm_t *comm, const h5_format_t *format, h5_file_t **file);

/* The same, with data of ALIGNMENT bytes or more at multiples of that (1: anywhere). */
status_t h5_create_aligned(const char *path, comm_t *comm, const h5_format_t *format, int64_t alignment,
                           h5_file_t **file);

/* Opens PATH for reading, or for changing rows and attributes, and checks that it is of FORMAT and its
 * version; NULL skips the check. Local. Errors: STATUS_DATA for a file that is missing, empty, cut short, not
 * HDF5, or of another format or version. */
status_t h5_open(const char *path, h5_access_t access, const h5_format_t *format, h5_file_t **file);

/* Ends HDF5's work on FILE, whose structure and attributes are complete: of all functions only h5_close,
 * h5_abandon and h5_path are left, and writing to h5_descriptor. Local. Errors: STATUS_DATA, as h5_close. */
status_t h5_complete(h5_file_t *file);

/* This rank's descriptor of FILE: for writing to spans from another thread. Local. */
int h5_descriptor(const h5_file_t *file);

/* Closes and frees FILE; NULL is fine. What this rank wrote is on storage then. Local. Errors: STATUS_DATA on
 * the rank that met it, now or in an earlier call on FILE: agree before going on. FILE is freed all the same.
 */
status_t h5_close(h5_file_t *file);

/* Closes FILE whose contents do not matter any more; this thread's message stays. NULL is fine. Local. */
void h5_abandon(h5_file_t *file);
SCOPED_POINTER(h5_abandon, h5_file_t)

/* Ends work on FILE that came to STATUS: h5_close where it went well, else h5_abandon and STATUS. */
status_t h5_end(h5_file_t *file, status_code_t status);

const char *h5_path(const h5_file_t *file);

/* ---- Structure and attributes ----
 * In a file created by COMM these are rank 0's to make: the calls of other ranks do nothing and may be left
 * out. Local. Errors: STATUS_DATA: agree before going on. */

/* Group OBJECT with its parents; nothing happens where it exists. */
status_t h5_create_group(h5_file_t *file, const char *object);

/* True if the file has an object (group or dataset) of this path, or a link in its place, or cannot tell:
 * what is wrong is told when it is read. Local. */
bool h5_exists(h5_file_t *file, const char *object);
/* The same of attribute NAME of OBJECT. Local. */
bool h5_attr_exists(h5_file_t *file, const char *object, const char *name);

/* Attributes of OBJECT ("/" is the root), replacing older ones of the name. COUNT values, in one dimension; a
 * single number is stored as a scalar, except by h5_attr_write_u64 (hashes), whose readers can rely on a
 * list. A text is at most H5_TEXT_MOST bytes long, so that it has room in its object's header: longer ones
 * are datasets of bytes. */
enum { H5_TEXT_MOST = 60000 };
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

/* Creates dataset OBJECT (and its groups) of SHAPE (ndim): contiguous, contents undefined until written. */
status_t h5_create_dataset(h5_file_t *file, const char *object, h5_type_t type, int ndim,
                           const int64_t *shape);

/* The same without room for data: type and shape are all that can ever be read of it, and it takes a few
 * hundred bytes. */
status_t h5_create_outline(h5_file_t *file, const char *object, h5_type_t type, int ndim,
                           const int64_t *shape);

/* Creates dataset OBJECT (and its groups) of one dimension and no rows, stored in chunks, to be lengthened by
 * h5_grow. */
status_t h5_create_growing(h5_file_t *file, const char *object, h5_type_t type);
/* Bytes that one of ELEMENTS elements takes in the file. Local. */
int64_t h5_growing_bytes(h5_type_t type, int64_t elements);
/* Lengthens OBJECT to ROWS rows, the new ones undefined until written. */
status_t h5_grow(h5_file_t *file, const char *object, int64_t rows);

/* ---- Rows ---- */

/* Type and shape of dataset OBJECT. Local. Errors: STATUS_DATA where it is missing, or of a type not in the
 * list above. */
status_t h5_dataset_info(h5_file_t *file, const char *object, h5_type_t *type, int *ndim,
                         int64_t shape[H5_MAX_DIMS]);

/* Writes rows ROW_BEGIN .. ROW_BEGIN + ROW_COUNT - 1 (dimension 0) of dataset OBJECT from DATA (row_count,
 * shape[1..]) of TYPE, which must be the stored type. Collective where FILE was created by COMM: every rank
 * names the same dataset and gives rows of its own, maybe none; those of a dataset that grows follow each
 * other in the order of the ranks and go through rank 0. Errors, agreed over COMM: STATUS_DATA. */
status_t h5_write_rows(h5_file_t *file, const char *object, h5_type_t type, int64_t row_begin,
                       int64_t row_count, const void *data);

/* Reads rows of dataset OBJECT to DATA. Local. Errors: STATUS_DATA; a dataset of another type or too few rows
 * is one. */
status_t h5_read_rows(h5_file_t *file, const char *object, h5_type_t type, int64_t row_begin,
                      int64_t row_count, void *data);

/* Where the data of a contiguous dataset lie in the file: BYTES from byte BEGIN on, which any thread may
 * pread. 0, 0 where there are none. */
typedef struct {
  int64_t begin, bytes;
} h5_span_t;

/* Finds the spans of OBJECTS (count). Collective where FILE was created by COMM, whose ranks all get rank
 * 0's. Errors, agreed: STATUS_DATA where a dataset is missing, stored in chunks, or reaches beyond the file's
 * end. */
status_t h5_spans(h5_file_t *file, const char *const *objects, int64_t count, h5_span_t *spans);

/* Writes N BYTES from byte AT of SPAN on: any rank, at any time. Local. Errors: STATUS_DATA. */
status_t h5_write_span(h5_file_t *file, h5_span_t span, int64_t at, const void *bytes, int64_t n);

/* Creates OBJECT, one dimension of N bytes, and writes it. */
status_t h5_write_bytes(h5_file_t *file, const char *object, const void *bytes, int64_t n);
/* Reads all bytes of OBJECT (N); an additional '\0' follows. The caller frees *BYTES with memory_free. Local.
 */
status_t h5_read_bytes(h5_file_t *file, const char *object, char **bytes, int64_t *n);

/* Paths of all datasets below group OBJECT, sorted by strcmp. The caller frees *PATHS (one block, strings
 * included) with memory_free. Local. */
status_t h5_list(h5_file_t *file, const char *object, char ***paths, int64_t *count);

#endif

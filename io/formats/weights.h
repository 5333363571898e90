/* Files of named weights in global (unsplit) shapes, written and read by all ranks at once, in any layout:
 * weights, adapters, heads, optimiser state. The stored bytes of each dataset are hashed in blocks of 16 MiB
 * (attribute `xxh3`, XXH3_64bits) and checked when they are read. */
#ifndef IO_WEIGHTS_H
#define IO_WEIGHTS_H

#include "base/memory.h"
#include "io/h5.h"
#include "tensor/dtype.h"

enum { WEIGHTS_BLOCK_BYTES = 16 << 20 };

/* Values that go through memory at once where they come from, or go to, somebody's function. */
enum { WEIGHTS_PIECE_ELEMENTS = 1 << 20 };

/* One rank's rectangle of one tensor. The tensor has SHAPE (ndim) in the file and is seen as ROWS x COLS
 * here: ROWS is a product of leading dimensions, so a vector of n is (n, 1) or (1, n). Several items of one
 * path, from one rank or many, fill a tensor together; each element is given by exactly one item. Its values
 * are DATA, or what GIVE sets when they are about to be moved: elements FIRST .. FIRST + N - 1, row-major, of
 * the rectangle; each is asked for once, in order, at most WEIGHTS_PIECE_ELEMENTS at a time. */
typedef struct {
  const char *path; /* of the dataset: "/weights/model.norm.weight" */
  int ndim;
  int64_t shape[H5_MAX_DIMS];
  dtype_t dtype; /* stored type: DTYPE_F32 or DTYPE_BF16 (rounded to nearest even) */
  int64_t rows, cols;
  int64_t row_begin, row_count;
  int64_t col_begin, col_count;
  int64_t stride;      /* elements from one row of DATA to the next; 0 is col_count */
  const float *data;   /* host: (row_count, col_count); not looked at where there is a GIVE */
  bool mine;           /* false: a replica of what another rank gives; no values are looked at */
  const char *meaning; /* becomes the attribute `meaning` of the dataset; NULL: none */
  status_t (*give)(void *context, int64_t first, int64_t n, float *values);
  void *context;
} weights_item_t;

/* How a file's data reach the disk; all zero will do. */
typedef struct {
  int64_t alignment; /* large data lie at multiples of so many bytes; 0: of WRITE_BEHIND_ALIGNMENT */
  bool cached;       /* through the page cache, not past it */
  int64_t behind;    /* bytes on each rank that may wait to be written while the caller goes on */
} weights_disk_t;

/* What a file is called and holds besides tensors. */
typedef struct {
  const h5_format_t *format;
  /* Writes attributes, groups and small datasets (h5_attr_write_*, h5_write_bytes) to FILE, open on rank 0
   * alone. May be NULL. */
  status_t (*annotate)(h5_file_t *file, void *context);
  void *context;
  weights_disk_t disk;
} weights_spec_t;

/* Writes ITEMS (count) to PATH, which appears when it is complete and synced, replacing an older file in one
 * instant. Every rank lists the same paths in the same order; items of one path follow each other, and their
 * number may differ between ranks (at least one, with mine = false where a rank has nothing to give). Staging
 * memory is bounded (about 300 MB on a rank, far less for small files). Collective on COMM. Errors, agreed:
 * those of GIVE; STATUS_DATA (disk), STATUS_INTERNAL (items that do not fill a tensor, lists that differ),
 * STATUS_MEMORY. */
status_t weights_write(comm_t *comm, const char *path, const weights_spec_t *spec,
                       const weights_item_t *items, int64_t count);

/* The same in two halves: once the first is over, ITEMS may change, and so much as SPEC's disk.behind allows
 * is still being written, by a thread; PATH appears in the second, which every first one without an error
 * must be followed by. Both are collective; errors, agreed, as above. */
typedef struct weights_writing weights_writing_t;
status_t weights_write_begin(comm_t *comm, const char *path, const weights_spec_t *spec,
                             const weights_item_t *items, int64_t count, weights_writing_t **out);
status_t weights_write_end(weights_writing_t *writing);
/* Whether this rank's part is on storage, so that the second half need not wait for it. Local. */
bool weights_writing_is_done(weights_writing_t *writing);
/* In place of the second half, where the ranks do not come together any more: no file appears. Local. */
void weights_writing_drop(weights_writing_t *writing);

/* Bytes that one round of writing moves at most on RANKS together, and those of them that one rank gives: a
 * round is larger the more ranks there are to give and to store. Local. */
int64_t weights_round_bytes(int ranks);
enum { WEIGHTS_GIVEN_BYTES = 128 << 20 };

/* What weights_identity would say of a file of these ITEMS (count, as in weights_write): a name of weights
 * that are in memory, the same whichever rank holds what. Moves the weights about as writing does. Collective
 * on COMM. Errors, agreed: those of GIVE, STATUS_INTERNAL as weights_write, STATUS_MEMORY. */
status_t weights_items_identity(comm_t *comm, const weights_item_t *items, int64_t count, uint64_t *identity);

/* Writes N BYTES as dataset OBJECT with their hashes and MEANING (for weights_spec_t's annotate). */
status_t weights_write_bytes(h5_file_t *file, const char *object, const char *meaning, const void *bytes,
                             int64_t n);

/* ---- Reading ---- */

typedef struct weights_file weights_file_t;

/* A tensor of a file. */
typedef struct {
  const char *path;
  int ndim;
  int64_t shape[H5_MAX_DIMS]; /* 1 beyond ndim */
  dtype_t dtype;              /* DTYPE_F32 or DTYPE_BF16 */
} weights_tensor_t;

/* A rectangle that a rank wants, as float, of a tensor seen as ROWS x COLS. DATA is set; or TAKE gets the
 * values as they are read: elements FIRST .. FIRST + N - 1, row-major, of the rectangle; each comes once, in
 * order, at most WEIGHTS_PIECE_ELEMENTS at a time, and as many rows together as that and the file's blocks
 * allow. After an error some have come and the others do not. */
typedef struct {
  const char *path;
  int64_t rows, cols;
  int64_t row_begin, row_count;
  int64_t col_begin, col_count;
  int64_t stride; /* elements from one row of DATA to the next; 0 is col_count */
  float *data;    /* host: (row_count, col_count); not looked at where there is a TAKE */
  status_t (*take)(void *context, int64_t first, int64_t n, const float *values);
  void *context;
} weights_request_t;

/* Opens PATH, which must be of FORMAT (NULL: any). Collective on COMM. Close with weights_close. Errors,
 * agreed: STATUS_DATA for a file that is missing, empty, cut short, not HDF5, of another format or version,
 * or that has a tensor without hashes. */
status_t weights_open(comm_t *comm, const char *path, const h5_format_t *format, weights_file_t **file);

/* NULL is fine. Collective. */
void weights_close(weights_file_t *file);
SCOPED_POINTER(weights_close, weights_file_t)

/* The file on this rank, for reading attributes and small datasets; owned by FILE. Local. */
h5_file_t *weights_h5(weights_file_t *file);

/* The tensors (float32 and bfloat16 datasets) in order of strcmp of their paths; owned by FILE. Local. */
int64_t weights_count(const weights_file_t *file);
const weights_tensor_t *weights_at(const weights_file_t *file, int64_t i);
/* The tensor of this path, NULL if there is none. Local. */
const weights_tensor_t *weights_find(const weights_file_t *file, const char *path);

/* A number that names what FILE holds below PREFIX ("/weights/"): a hash (FNV-1a) over the paths and block
 * hashes of its tensors, going on from FROM. Local, the same on every rank. */
#define WEIGHTS_IDENTITY_START UINT64_C(0xcbf29ce484222325)
uint64_t weights_identity(const weights_file_t *file, const char *prefix, uint64_t from);

/* Writes TEXT as attribute NAME of OBJECT with its hash, and reads it and compares. The caller frees *TEXT
 * with memory_free; *HASH, which may be NULL, can go into an identity. Local. Errors: STATUS_DATA. */
status_t weights_write_text(h5_file_t *file, const char *object, const char *name, const char *text);
status_t weights_read_text(h5_file_t *file, const char *object, const char *name, char **text,
                           uint64_t *hash);

/* IDENTITY with one more HASH in it. Local. */
uint64_t weights_identity_add(uint64_t identity, uint64_t hash);

/* Reads dataset OBJECT as h5_read_bytes does and compares its hashes. Local. Errors: STATUS_DATA. */
status_t weights_read_bytes(h5_file_t *file, const char *object, char **bytes, int64_t *n);

/* Fills REQUESTS (count, a list of the rank's own, maybe empty). Every block that is used has been verified
 * before. Staging memory is bounded (weights_reading_bytes). Collective on the COMM of opening. Errors,
 * agreed: those of TAKE; STATUS_DATA naming tensor and block for a missing tensor (with the nearest name
 * there is), another shape, a hash that does not fit, a value that is NaN or infinite. */
status_t weights_read(weights_file_t *file, const weights_request_t *requests, int64_t count);

/* Whether FILE is an outline (weights_write_outline): it has no numbers, and weights_read and weights_verify
 * refuse it. Local. */
bool weights_is_outline(weights_file_t *file);
/* The error that says so of PATH. */
status_t weights_refuse_outline(const char *path);

/* Hands all of the tensors PATHS (count, the same list on all ranks) to TAKE as they are stored: of tensor
 * number I elements FIRST .. FIRST + N - 1, row-major, verified as weights_read does; each block comes once,
 * on one rank, and memory holds one at a time. Collective on the COMM of opening. Errors as weights_read. */
typedef status_t (*weights_take_stored_t)(void *context, int64_t i, int64_t first, int64_t n,
                                          const void *stored);
status_t weights_read_stored(weights_file_t *file, const char *const *paths, int64_t count,
                             weights_take_stored_t take, void *context);

/* Host memory that a rank takes at most for reading on NODES nodes: pieces, and one block or a round, which
 * has one block of each node so that all read at once, within bounds. Local. */
int64_t weights_reading_bytes(int nodes);

/* STATUS_DATA naming the first tensors below PREFIX ("/weights/") that no rank has read since opening: the
 * file holds more than the model has. Those whose names (behind PREFIX) UNUSED takes with CONTEXT, if it is
 * not NULL, are expected: the log names them instead. Local, the same on every rank. */
typedef bool (*weights_unused_t)(const char *name, const void *context);
status_t weights_check_all_read(const weights_file_t *file, const char *prefix, weights_unused_t unused,
                                const void *context);

/* Reads every block and checks it as weights_read does, without keeping anything. Collective. Errors as
 * weights_read. */
status_t weights_verify(weights_file_t *file);

#endif

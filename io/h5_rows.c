#include "base/memory.h"
#include "io/h5_core.h"
#include "perf/perf.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- creating ---- */

/* Elements of a chunk of a dataset that grows. */
static const hsize_t chunk_elements = 16384;

/* MOST: how long the dimension of a dataset that grows may become, which then is stored in chunks; NULL: as
 * it is. Space is taken at once (EARLY), and nothing but rows is ever written there; or when something is
 * written (LATE), which never happens. */
static status_t h5_rows_dataset_create(h5_file_t *file, const char *object, h5_type_t kind, int ndim,
                                       const hsize_t *dims, const hsize_t *most,
                                       H5D_alloc_time_t space_time) {
  H5_HANDLE(H5Tclose) type = h5_type_open(kind);
  H5_HANDLE(H5Sclose) space = ndim > 0 ? H5Screate_simple(ndim, dims, most) : H5Screate(H5S_SCALAR);
  H5_HANDLE(H5Pclose) creation = h5_creation_open(H5P_DATASET_CREATE);
  bool found;
  TRY(h5_find(file, object, &found));
  if (found)
    return error_set(STATUS_INTERNAL, "%s: %s exists, it would be created twice", file->path, object);
  TRY(h5_make_parents(file, object));
  if (type < 0 || space < 0 || creation < 0 || H5Pset_alloc_time(creation, space_time) < 0 ||
      H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) < 0 ||
      (most && H5Pset_chunk(creation, 1, &chunk_elements) < 0))
    return h5_error("%s: cannot describe dataset %s to HDF5", file->path, object);
  H5_HANDLE(H5Dclose) id = H5Dcreate2(file->id, object, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  TRY_H5(id, "%s: cannot create dataset %s", file->path, object);
  return h5_disk_check(&file->disk, file->path);
}

static status_t shaped_create(h5_file_t *file, const char *object, h5_type_t type, int ndim,
                              const int64_t *shape, H5D_alloc_time_t space_time) {
  hsize_t dims[H5_MAX_DIMS] = {0};
  if (ndim < 0 || ndim > H5_MAX_DIMS)
    return error_set(STATUS_INTERNAL, "%s has %d dimensions, at most %d are stored", object, ndim,
                     H5_MAX_DIMS);
  for (int d = 0; d < ndim; ++d) {
    if (shape[d] < 0)
      return error_set(STATUS_INTERNAL, "%s: dimension %d is %lld", object, d, (long long)shape[d]);
    dims[d] = (hsize_t)shape[d];
  }
  return file->id < 0 ? STATUS_OK : h5_rows_dataset_create(file, object, type, ndim, dims, NULL, space_time);
}

status_t h5_create_dataset(h5_file_t *file, const char *object, h5_type_t type, int ndim,
                           const int64_t *shape) {
  return shaped_create(file, object, type, ndim, shape, H5D_ALLOC_TIME_EARLY);
}

status_t h5_create_outline(h5_file_t *file, const char *object, h5_type_t type, int ndim,
                           const int64_t *shape) {
  return shaped_create(file, object, type, ndim, shape, H5D_ALLOC_TIME_LATE);
}

status_t h5_create_growing(h5_file_t *file, const char *object, h5_type_t type) {
  const hsize_t none = 0, most = H5S_UNLIMITED;
  return file->id < 0 ? STATUS_OK
                      : h5_rows_dataset_create(file, object, type, 1, &none, &most, H5D_ALLOC_TIME_EARLY);
}

int64_t h5_growing_bytes(h5_type_t type, int64_t elements) {
  int64_t chunk = (int64_t)chunk_elements, chunks = (elements + chunk - 1) / chunk;
  return chunks * chunk * (int64_t)h5_type_size(type);
}

/* ---- facts ---- */

/* What the file says of a dataset. */
typedef struct {
  h5_type_t type;
  bool known; /* TYPE is valid */
  bool growing;
  bool outline; /* has no room for data */
  int ndim;
  int64_t shape[H5_MAX_DIMS];            /* 1 beyond ndim */
  int64_t elements, row_elements, bytes; /* rows are along dimension 0 */
  h5_span_t span;                        /* of one that does not grow */
} h5_rows_facts_t;

/* Only plain storage in this file is read: what else a crafted file may name leads elsewhere. */
static status_t storage_find(const h5_file_t *file, const char *object, hid_t id, h5_rows_facts_t *facts) {
  H5_HANDLE(H5Pclose) creation = H5Dget_create_plist(id);
  TRY_H5(creation, "%s: dataset %s has no readable storage", file->path, object);
  H5D_layout_t layout = H5Pget_layout(creation);
  H5D_alloc_time_t space_time;
  facts->growing = layout == H5D_CHUNKED && facts->ndim == 1;
  facts->outline = H5Pget_alloc_time(creation, &space_time) >= 0 && space_time == H5D_ALLOC_TIME_LATE &&
                   layout == H5D_CONTIGUOUS && H5Dget_storage_size(id) == 0;
  if ((layout != H5D_CONTIGUOUS && !facts->growing) || H5Pget_external_count(creation) != 0 ||
      H5Pget_nfilters(creation) != 0)
    return error_set(STATUS_DATA,
                     "%s: dataset %s is compressed, chunked, compact, or stored in other files; store it "
                     "contiguously in this one",
                     file->path, object);
  return STATUS_OK;
}

/* Sizes are products of what the file says: they must be numbers at all. */
static status_t sizes_find(const h5_file_t *file, const char *object, h5_rows_facts_t *facts) {
  int64_t size = facts->known ? (int64_t)h5_type_size(facts->type) : 1;
  if (!memory_shape_fits(facts->shape, H5_MAX_DIMS, size))
    return error_set(STATUS_DATA, "%s: dataset %s has an impossible shape; the file is damaged", file->path,
                     object);
  facts->row_elements = 1;
  for (int d = 1; d < facts->ndim; ++d)
    facts->row_elements *= facts->shape[d];
  facts->elements = facts->row_elements * facts->shape[0];
  facts->bytes = facts->elements * size;
  return STATUS_OK;
}

static status_t shape_find(const h5_file_t *file, const char *object, hid_t id, h5_rows_facts_t *facts) {
  hsize_t dims[H5S_MAX_RANK];
  H5_HANDLE(H5Sclose) space = H5Dget_space(id);
  facts->ndim = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
  if (facts->ndim < 0 || facts->ndim > H5_MAX_DIMS)
    return error_set(STATUS_DATA, "%s: dataset %s has %d dimensions, expected 0 to %d", file->path, object,
                     facts->ndim, H5_MAX_DIMS);
  TRY_H5(H5Sget_simple_extent_dims(space, dims, NULL), "%s: dataset %s has no readable shape", file->path,
         object);
  for (int d = 0; d < H5_MAX_DIMS; ++d)
    facts->shape[d] = d < facts->ndim ? (int64_t)dims[d] : 1;
  return STATUS_OK;
}

static status_t no_data(const h5_file_t *file, const char *object) {
  return error_set(STATUS_DATA, "%s: dataset %s has no data in this file", file->path, object);
}

static status_t span_find(const h5_file_t *file, const char *object, hid_t id, h5_rows_facts_t *facts) {
  struct stat info;
  if (facts->growing || facts->outline || facts->bytes == 0) return STATUS_OK;
  haddr_t begin = H5Dget_offset(id);
  H5Eclear2(H5E_DEFAULT);
  if (begin == HADDR_UNDEF || begin > INT64_MAX) return no_data(file, object);
  facts->span = (h5_span_t){(int64_t)begin, facts->bytes};
  if (file->writable) return STATUS_OK; /* its end may be to come */
  if (fstat(file->disk.descriptor, &info) == 0 && facts->span.begin <= info.st_size - facts->bytes)
    return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cut short: dataset %s has %lld bytes from byte %lld on", file->path,
                   object, (long long)facts->bytes, (long long)begin);
}

static status_t facts_find(h5_file_t *file, const char *object, h5_rows_facts_t *facts) {
  *facts = (h5_rows_facts_t){0};
  TRY(h5_require(file, "dataset", object));
  H5_HANDLE(H5Dclose) id = H5Dopen2(file->id, object, H5P_DEFAULT);
  TRY_H5(id, "%s: %s cannot be opened as a dataset", file->path, object);
  H5_HANDLE(H5Tclose) type = H5Dget_type(id);
  TRY_H5(type, "%s: dataset %s has no readable type", file->path, object);
  facts->known = h5_type_find(type, &facts->type);
  TRY(shape_find(file, object, id, facts));
  TRY(storage_find(file, object, id, facts));
  TRY(sizes_find(file, object, facts));
  return span_find(file, object, id, facts);
}

static status_t h5_rows_facts_read(h5_file_t *file, const char *object, h5_rows_facts_t *facts) {
  return H5_GUARDED(file->path, facts_find(file, object, facts));
}

/* Insists on the stored type: memory then has the file's type and nothing is converted. */
static status_t facts_typed(h5_file_t *file, const char *object, h5_type_t type, h5_rows_facts_t *facts) {
  TRY(h5_rows_facts_read(file, object, facts));
  if (facts->known && facts->type == type) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: dataset %s is of %s, expected %s", file->path, object,
                   facts->known ? h5_type_name(facts->type) : "another type", h5_type_name(type));
}

status_t h5_dataset_info(h5_file_t *file, const char *object, h5_type_t *type, int *ndim,
                         int64_t shape[H5_MAX_DIMS]) {
  h5_rows_facts_t facts = {0};
  TRY(h5_rows_facts_read(file, object, &facts));
  *type = facts.type;
  *ndim = facts.ndim;
  memcpy(shape, facts.shape, sizeof facts.shape);
  if (facts.known) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: dataset %s is of a type this program does not use, expected float32, float64, bfloat16, "
      "uint8, int32, int64 or uint64 (little-endian)",
      file->path, object);
}

static status_t spans_find(h5_file_t *file, const char *const *objects, int64_t count, h5_span_t *spans) {
  for (int64_t i = 0; i < count; ++i) {
    h5_rows_facts_t facts = {0};
    TRY(h5_rows_facts_read(file, objects[i], &facts));
    if (facts.growing)
      return error_set(STATUS_DATA, "%s: dataset %s is stored in chunks; store it contiguously", file->path,
                       objects[i]);
    if (facts.outline) return no_data(file, objects[i]);
    spans[i] = facts.span;
  }
  return STATUS_OK;
}

status_t h5_spans(h5_file_t *file, const char *const *objects, int64_t count, h5_span_t *spans) {
  TRY(h5_agree(file, file->id < 0 ? STATUS_OK : spans_find(file, objects, count, spans)));
  if (!file->comm) return STATUS_OK;
  return comm_broadcast(file->comm, spans, (size_t)count * sizeof *spans, COMM_BYTE, 0);
}

/* ---- writing ---- */

status_t h5_write_span(h5_file_t *file, h5_span_t span, int64_t at, const void *bytes, int64_t n) {
  if (at < 0 || n < 0 || at > span.bytes - n)
    return error_set(STATUS_INTERNAL, "%s: bytes %lld to %lld were to be written of %lld", file->path,
                     (long long)at, (long long)(at + n), (long long)span.bytes);
  h5_disk_write(&file->disk, bytes, (size_t)n, span.begin + at);
  perf_bytes((double)n);
  return h5_disk_check(&file->disk, file->path);
}

/* Whether the dataset of FACTS has rows BEGIN .. BEGIN + COUNT - 1. */
static status_t rows_check(const h5_file_t *file, const char *object, const h5_rows_facts_t *facts,
                           int64_t begin, int64_t count) {
  int64_t rows = facts->ndim < 1 ? 0 : facts->shape[0];
  if (begin >= 0 && count >= 0 && begin <= rows - count) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: dataset %s has %lld rows, %lld from row %lld on were asked for",
                   file->path, object, (long long)rows, (long long)count, (long long)begin);
}

/* Elements of a dataset that grows, from or to chunks, by HDF5. */
static status_t chunks_move(h5_file_t *file, const char *object, int64_t begin, int64_t count, void *read_to,
                            const void *write_from) {
  const hsize_t first = (hsize_t)begin, n = (hsize_t)count;
  H5_HANDLE(H5Dclose) id = H5Dopen2(file->id, object, H5P_DEFAULT);
  TRY_H5(id, "%s: %s cannot be opened as a dataset", file->path, object);
  H5_HANDLE(H5Tclose) type = H5Dget_type(id);
  H5_HANDLE(H5Sclose) space = H5Dget_space(id);
  H5_HANDLE(H5Sclose) memory = H5Screate_simple(1, &n, NULL);
  if (type < 0 || space < 0 || memory < 0 ||
      H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &n, NULL) < 0)
    return h5_error("%s: cannot select in dataset %s", file->path, object);
  TRY_H5(read_to ? H5Dread(id, type, memory, space, H5P_DEFAULT, read_to)
                 : H5Dwrite(id, type, memory, space, H5P_DEFAULT, write_from),
         "%s: %s %lld rows from row %lld on of dataset %s failed", file->path,
         read_to ? "reading" : "writing", (long long)count, (long long)begin, object);
  return h5_disk_check(&file->disk, file->path);
}

/* Rank 0: all ranks' rows, which follow each other, from BEGIN on. */
static status_t growing_put(h5_file_t *file, const char *object, const h5_rows_facts_t *facts, int64_t begin,
                            int64_t count, const void *data) {
  TRY(rows_check(file, object, facts, begin, count));
  return count == 0 ? STATUS_OK : chunks_move(file, object, begin, count, NULL, data);
}

typedef struct {
  int64_t begin, count;
} h5_rows_t;

/* Chunks are HDF5's to place, so rank 0 gets the rows of all. */
static status_t growing_write(h5_file_t *file, const char *object, const h5_rows_facts_t *facts,
                              h5_rows_t mine, const void *data) {
  SCOPED_MEMORY h5_rows_t *all = NULL;
  SCOPED_MEMORY size_t *bytes = NULL;
  SCOPED_MEMORY char *gathered = NULL;
  comm_t *comm = file->comm;
  bool lead = comm_rank(comm) == 0, follows = true;
  size_t size = h5_type_size(facts->type), ranks = (size_t)comm_size(comm);
  h5_rows_t sum = {0};
  status_code_t status = memory_alloc(&all, ARENA_IO, ranks, sizeof *all);
  if (status == STATUS_OK) status = memory_alloc(&bytes, ARENA_IO, ranks, sizeof *bytes);
  TRY(comm_agree(comm, status));
  TRY(comm_allgather(comm, &mine, all, sizeof mine, COMM_BYTE));
  for (size_t rank = 0; rank < ranks; ++rank) {
    if (all[rank].count == 0) continue;
    if (sum.count == 0) sum.begin = all[rank].begin;
    follows = follows && all[rank].begin == sum.begin + sum.count;
    sum.count += all[rank].count;
    bytes[rank] = (size_t)all[rank].count * size;
  }
  if (!follows)
    return error_set(STATUS_INTERNAL, "%s: the ranks' rows of %s do not follow each other", file->path,
                     object);
  TRY(comm_agree(comm, lead ? memory_alloc(&gathered, ARENA_IO, (size_t)sum.count, size) : STATUS_OK));
  TRY(comm_gatherv(comm, data, (size_t)mine.count * size, gathered, bytes, COMM_BYTE, 0));
  return comm_agree(comm,
                    lead ? growing_put(file, object, facts, sum.begin, sum.count, gathered) : STATUS_OK);
}

/* Where the rows lie is rank 0's to find; each rank then writes its own to their place. */
status_t h5_write_rows(h5_file_t *file, const char *object, h5_type_t type, int64_t row_begin,
                       int64_t row_count, const void *data) {
  h5_rows_facts_t facts = {0};
  TRY(h5_agree(file, file->id < 0 ? STATUS_OK : facts_typed(file, object, type, &facts)));
  if (file->comm) TRY(comm_broadcast(file->comm, &facts, sizeof facts, COMM_BYTE, 0));
  if (facts.growing && file->comm)
    return growing_write(file, object, &facts, (h5_rows_t){row_begin, row_count}, data);
  if (facts.growing) return growing_put(file, object, &facts, row_begin, row_count, data);
  status_code_t status = rows_check(file, object, &facts, row_begin, row_count);
  int64_t row_bytes = facts.row_elements * (int64_t)h5_type_size(type);
  if (status == STATUS_OK)
    status = h5_write_span(file, facts.span, row_begin * row_bytes, data, row_count * row_bytes);
  return h5_agree(file, status);
}

status_t h5_grow(h5_file_t *file, const char *object, int64_t rows) {
  const hsize_t dims = (hsize_t)rows;
  if (file->id < 0) return STATUS_OK;
  H5_HANDLE(H5Dclose) id = H5Dopen2(file->id, object, H5P_DEFAULT);
  TRY_H5(id, "%s: %s cannot be opened as a dataset", file->path, object);
  TRY_H5(H5Dset_extent(id, &dims), "%s: dataset %s cannot grow to %lld rows", file->path, object,
         (long long)rows);
  return h5_disk_check(&file->disk, file->path);
}

/* ---- reading ---- */

/* Elements of a dataset that grows that one guarded call reads. */
static const int64_t chunks_most = INT64_C(4) << 20;

static status_t chunks_read(h5_file_t *file, const char *object, int64_t begin, int64_t count, void *bytes) {
  return H5_GUARDED(file->path, chunks_move(file, object, begin, count, bytes, NULL));
}

static status_t growing_read(h5_file_t *file, const char *object, h5_type_t type, int64_t begin,
                             int64_t count, char *bytes) {
  for (int64_t done = 0; done < count; done += chunks_most) {
    int64_t n = count - done < chunks_most ? count - done : chunks_most;
    TRY(chunks_read(file, object, begin + done, n, bytes + (size_t)done * h5_type_size(type)));
  }
  return STATUS_OK;
}

static status_t span_read(h5_file_t *file, h5_span_t span, int64_t at, void *bytes, int64_t n) {
  size_t found;
  h5_disk_read(&file->disk, bytes, (size_t)n, span.begin + at, &found);
  TRY(h5_disk_check(&file->disk, file->path));
  if (found == (size_t)n) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cut short: it ends at byte %lld", file->path,
                   (long long)(span.begin + at) + (long long)found);
}

static status_t elements_read(h5_file_t *file, const char *object, const h5_rows_facts_t *facts,
                              int64_t begin, int64_t count, void *bytes) {
  int64_t size = (int64_t)h5_type_size(facts->type);
  if (begin < 0 || count < 0 || begin > facts->elements - count)
    return error_set(STATUS_DATA, "%s: dataset %s has %lld elements, %lld from %lld on were asked for",
                     file->path, object, (long long)facts->elements, (long long)count, (long long)begin);
  if (count == 0) return STATUS_OK;
  if (facts->outline) return no_data(file, object);
  perf_bytes((double)(count * size));
  if (facts->growing) return growing_read(file, object, facts->type, begin, count, bytes);
  return span_read(file, facts->span, begin * size, bytes, count * size);
}

status_t h5_read_range(h5_file_t *file, const char *object, h5_type_t type, int64_t begin, int64_t count,
                       void *bytes) {
  h5_rows_facts_t facts = {0};
  TRY(facts_typed(file, object, type, &facts));
  return elements_read(file, object, &facts, begin, count, bytes);
}

status_t h5_read_rows(h5_file_t *file, const char *object, h5_type_t type, int64_t row_begin,
                      int64_t row_count, void *data) {
  h5_rows_facts_t facts = {0};
  TRY(facts_typed(file, object, type, &facts));
  TRY(rows_check(file, object, &facts, row_begin, row_count));
  return elements_read(file, object, &facts, row_begin * facts.row_elements, row_count * facts.row_elements,
                       data);
}

/* ---- bytes ---- */

status_t h5_write_bytes(h5_file_t *file, const char *object, const void *bytes, int64_t n) {
  h5_span_t span;
  if (file->id < 0) return STATUS_OK;
  TRY(h5_create_dataset(file, object, H5TYPE_U8, 1, &n));
  TRY(spans_find(file, &object, 1, &span));
  return h5_write_span(file, span, 0, bytes, n);
}

status_t h5_read_bytes(h5_file_t *file, const char *object, char **out, int64_t *n) {
  SCOPED_MEMORY char *bytes = NULL;
  h5_rows_facts_t facts = {0};
  *out = NULL;
  TRY(facts_typed(file, object, H5TYPE_U8, &facts));
  if (facts.ndim != 1)
    return error_set(STATUS_DATA, "%s: %s has %d dimensions, expected 1", file->path, object, facts.ndim);
  TRY(memory_alloc(&bytes, ARENA_IO, (size_t)facts.elements + 1, 1));
  TRY(elements_read(file, object, &facts, 0, facts.elements, bytes));
  *n = facts.elements;
  memory_hand_over(out, &bytes);
  return STATUS_OK;
}

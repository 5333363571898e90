#include "base/memory.h"
#include "io/h5.h"
#include "io/h5_core.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

#include <string.h>
#include <sys/stat.h>

/* Bytes that one collective call moves per rank at most: MPI counts are 32-bit, and staging inside MPI-IO
 * stays small. */
static const int64_t rows_round_bytes = INT64_C(256) << 20;

/* ------------------------------------------------------------------ creating -----------------------------
 */

/* Elements of a chunk of a dataset that grows. */
static const hsize_t chunk_elements = 16384;

static hid_t creation_open(void) {
  hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  if (properties < 0) return properties;
  /* No fill values: every element is written. No times: equal contents give equal files. */
  if (H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY) >= 0 &&
      H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER) >= 0 &&
      H5Pset_obj_track_times(properties, false) >= 0)
    return properties;
  H5Pclose(properties);
  return -1;
}

/* Notes where the new dataset ends, for h5_close to make sure of the room. */
static void dataset_account(h5_file_t *file, hid_t id) {
  haddr_t begin = H5Dget_offset(id);
  H5Eclear2(H5E_DEFAULT);
  file->created += 1;
  if (begin == HADDR_UNDEF) return; /* it is empty */
  uint64_t end = begin + H5Dget_storage_size(id);
  if (end > file->data_end) file->data_end = end;
}

/* MOST (ndim): how long the dimensions may become, which then are stored in chunks; NULL: as they are. */
static status_t dataset_create(h5_file_t *file, const char *object, h5_type_t kind, int ndim,
                               const hsize_t *dims, const hsize_t *most) {
  hid_t id = -1;
  hid_t type = h5_type_open(kind);
  hid_t space = ndim > 0 ? H5Screate_simple(ndim, dims, most) : H5Screate(H5S_SCALAR);
  hid_t creation = creation_open();
  if (most && creation >= 0 && H5Pset_chunk(creation, 1, &chunk_elements) < 0) {
    H5Pclose(creation);
    creation = -1;
  }
  if (type >= 0 && space >= 0 && creation >= 0)
    id = H5Dcreate2(file->id, object, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  status_code_t status = id >= 0 ? STATUS_OK : h5_error("%s: cannot create dataset %s", file->path, object);
  if (id >= 0) dataset_account(file, id);
  if (id >= 0) H5Dclose(id);
  if (creation >= 0) H5Pclose(creation);
  if (space >= 0) H5Sclose(space);
  if (type >= 0) H5Tclose(type);
  return status;
}

status_t h5_create_dataset(h5_file_t *file, const char *object, h5_type_t type, int ndim,
                           const int64_t *shape) {
  hsize_t dims[H5_MAX_DIMS] = {0};
  if (ndim < 0 || ndim > H5_MAX_DIMS)
    return error_set(STATUS_INTERNAL, "%s has %d dimensions, at most %d are stored", object, ndim,
                     H5_MAX_DIMS);
  for (int d = 0; d < ndim; ++d) {
    if (shape[d] < 0)
      return error_set(STATUS_INTERNAL, "%s: dimension %d is %lld", object, d, (long long)shape[d]);
    dims[d] = (hsize_t)shape[d];
  }
  if (h5_exists(file, object))
    return error_set(STATUS_INTERNAL, "%s: %s exists, it would be created twice", file->path, object);
  TRY(h5_create_parents(file, object));
  return dataset_create(file, object, type, ndim, dims, NULL);
}

status_t h5_create_growing(h5_file_t *file, const char *object, h5_type_t type) {
  const hsize_t none = 0, most = H5S_UNLIMITED;
  if (h5_exists(file, object))
    return error_set(STATUS_INTERNAL, "%s: %s exists, it would be created twice", file->path, object);
  TRY(h5_create_parents(file, object));
  return dataset_create(file, object, type, 1, &none, &most);
}

int64_t h5_growing_bytes(h5_type_t type, int64_t elements) {
  int64_t chunk = (int64_t)chunk_elements, chunks = (elements + chunk - 1) / chunk;
  return chunks * chunk * (int64_t)h5_type_size(type);
}

/* ------------------------------------------------------------------ facts --------------------------------
 */

typedef struct {
  hid_t id, space, type;
  h5_type_t kind;
  bool known; /* kind is valid */
  int ndim;
  hsize_t dims[H5_MAX_DIMS];
} dataset_t;

static void dataset_close(dataset_t *dataset) {
  if (dataset->type >= 0) H5Tclose(dataset->type);
  if (dataset->space >= 0) H5Sclose(dataset->space);
  if (dataset->id >= 0) H5Dclose(dataset->id);
  dataset->type = dataset->space = dataset->id = -1;
}

static status_t dataset_examine(h5_file_t *file, const char *object, dataset_t *dataset) {
  if (!h5_exists(file, object))
    return error_set(STATUS_DATA, "%s: dataset %s is missing", file->path, object);
  dataset->id = H5Dopen2(file->id, object, H5P_DEFAULT);
  TRY_H5(dataset->id, "%s: %s cannot be opened as a dataset", file->path, object);
  dataset->space = H5Dget_space(dataset->id);
  TRY_H5(dataset->space, "%s: dataset %s has no readable shape", file->path, object);
  dataset->type = H5Dget_type(dataset->id);
  TRY_H5(dataset->type, "%s: dataset %s has no readable type", file->path, object);
  dataset->known = h5_type_find(dataset->type, &dataset->kind);
  dataset->ndim = H5Sget_simple_extent_ndims(dataset->space);
  if (dataset->ndim < 0 || dataset->ndim > H5_MAX_DIMS)
    return error_set(STATUS_DATA, "%s: dataset %s has %d dimensions, expected 0 to %d", file->path, object,
                     dataset->ndim, H5_MAX_DIMS);
  H5Sget_simple_extent_dims(dataset->space, dataset->dims, NULL);
  return STATUS_OK;
}

static status_t dataset_open(h5_file_t *file, const char *object, dataset_t *dataset) {
  *dataset = (dataset_t){.id = -1, .space = -1, .type = -1};
  status_code_t status = dataset_examine(file, object, dataset);
  if (status != STATUS_OK) dataset_close(dataset);
  return status;
}

/* Opens and insists on the stored type KIND: memory then has the file's type and nothing is converted. */
static status_t dataset_open_typed(h5_file_t *file, const char *object, h5_type_t kind, dataset_t *dataset) {
  TRY(dataset_open(file, object, dataset));
  if (dataset->known && dataset->kind == kind) return STATUS_OK;
  const char *found = dataset->known ? h5_type_name(dataset->kind) : "another type";
  dataset_close(dataset);
  return error_set(STATUS_DATA, "%s: dataset %s is of %s, expected %s", file->path, object, found,
                   h5_type_name(kind));
}

status_t h5_dataset_info(h5_file_t *file, const char *object, h5_type_t *type, int *ndim,
                         int64_t shape[H5_MAX_DIMS]) {
  dataset_t dataset;
  TRY(dataset_open(file, object, &dataset));
  *type = dataset.kind;
  *ndim = dataset.ndim;
  for (int d = 0; d < H5_MAX_DIMS; ++d)
    shape[d] = d < dataset.ndim ? (int64_t)dataset.dims[d] : 1;
  dataset_close(&dataset);
  if (dataset.known) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: dataset %s is of a type this program does not use, expected float32, float64, bfloat16, "
      "uint8, int32, int64 or uint64 (little-endian)",
      file->path, object);
}

/* Notes that the file will be BYTES longer than it is now, or than was noted before. */
static void growth_account(h5_file_t *file, hsize_t bytes) {
  struct stat info;
  if (file->data_end == 0 && stat(file->path, &info) == 0) file->data_end = (uint64_t)info.st_size;
  file->data_end += bytes;
}

status_t h5_grow(h5_file_t *file, const char *object, int64_t rows) {
  dataset_t dataset;
  hsize_t dims = (hsize_t)rows;
  TRY(dataset_open(file, object, &dataset));
  hsize_t before = H5Dget_storage_size(dataset.id);
  watchdog_enter("H5Dset_extent");
  herr_t result = H5Dset_extent(dataset.id, &dims);
  watchdog_leave();
  if (result >= 0) growth_account(file, H5Dget_storage_size(dataset.id) - before);
  dataset_close(&dataset);
  TRY_H5(result, "%s: dataset %s cannot grow to %lld rows; is the disk full?", file->path, object,
         (long long)rows);
  return STATUS_OK;
}

status_t h5_data_offset(h5_file_t *file, const char *object, uint64_t *offset) {
  dataset_t dataset;
  TRY(dataset_open(file, object, &dataset));
  haddr_t address = H5Dget_offset(dataset.id);
  dataset_close(&dataset);
  H5Eclear2(H5E_DEFAULT);
  *offset = address;
  if (address != HADDR_UNDEF) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: dataset %s is not stored in one piece (it is chunked, compressed or empty); store it "
                   "contiguously",
                   file->path, object);
}

/* ------------------------------------------------------------------ ranges by one rank -------------------
 */

/* The range is cut into few boxes: each starts where the last ended and is the largest that begins there. */
status_t h5_select_range(hid_t space, int64_t begin, int64_t count) {
  hsize_t dims[H5_MAX_DIMS], start[H5_MAX_DIMS], extent[H5_MAX_DIMS];
  int ndim = H5Sget_simple_extent_dims(space, dims, NULL);
  TRY_H5(ndim, "cannot read a dataspace");
  if (ndim == 0) return STATUS_OK; /* a scalar is selected whole */
  TRY_H5(H5Sselect_none(space), "cannot select in a dataspace");
  while (count > 0) {
    int64_t rest = begin, inner = 1, box = 1;
    int wide = ndim - 1;
    for (int d = ndim - 1; d >= 0; --d) {
      start[d] = (hsize_t)rest % dims[d];
      extent[d] = 1;
      rest /= (int64_t)dims[d];
    }
    /* The outermost dimension at whose start this is, with room for all of what lies inside it. */
    int64_t size = 1;
    for (int d = ndim - 1; d >= 0 && begin % size == 0 && count >= size; --d) {
      wide = d;
      inner = size;
      size *= (int64_t)dims[d];
    }
    int64_t along = (int64_t)(dims[wide] - start[wide]);
    if (along > count / inner) along = count / inner;
    extent[wide] = (hsize_t)along;
    box = along * inner;
    for (int d = wide + 1; d < ndim; ++d)
      extent[d] = dims[d];
    TRY_H5(H5Sselect_hyperslab(space, H5S_SELECT_OR, start, NULL, extent, NULL),
           "cannot select in a dataspace");
    begin += box;
    count -= box;
  }
  return STATUS_OK;
}

/* Reads into or writes from BYTES the elements [BEGIN, BEGIN + COUNT) of an open dataset. */
static status_t range_transfer(h5_file_t *file, const char *object, dataset_t *dataset, int64_t begin,
                               int64_t count, void *read_to, const void *write_from) {
  int64_t total = 1;
  for (int d = 0; d < dataset->ndim; ++d)
    total *= (int64_t)dataset->dims[d];
  if (begin < 0 || count < 0 || begin + count > total)
    return error_set(STATUS_DATA, "%s: dataset %s has %lld elements, elements %lld to %lld were asked for",
                     file->path, object, (long long)total, (long long)begin, (long long)(begin + count));
  if (count == 0) return STATUS_OK;
  hsize_t n = (hsize_t)count;
  TRY(h5_select_range(dataset->space, begin, count));
  hid_t memory = H5Screate_simple(1, &n, NULL);
  TRY_H5(memory, "cannot make an HDF5 dataspace of %lld", (long long)count);
  herr_t result = read_to
                      ? H5Dread(dataset->id, dataset->type, memory, dataset->space, H5P_DEFAULT, read_to)
                      : H5Dwrite(dataset->id, dataset->type, memory, dataset->space, H5P_DEFAULT, write_from);
  status_code_t status = STATUS_OK;
  if (result < 0)
    status = h5_error("%s: %s elements %lld to %lld of dataset %s failed%s", file->path,
                      read_to ? "reading" : "writing", (long long)begin, (long long)(begin + count), object,
                      read_to ? "" : "; is the disk full?");
  H5Sclose(memory);
  perf_bytes((double)count * (double)h5_type_size(dataset->kind));
  return status;
}

status_t h5_write_range(h5_file_t *file, const char *object, h5_type_t type, int64_t begin, int64_t count,
                        const void *bytes) {
  dataset_t dataset;
  TRY(dataset_open_typed(file, object, type, &dataset));
  status_code_t status = range_transfer(file, object, &dataset, begin, count, NULL, bytes);
  dataset_close(&dataset);
  return status;
}

status_t h5_read_range(h5_file_t *file, const char *object, h5_type_t type, int64_t begin, int64_t count,
                       void *bytes) {
  dataset_t dataset;
  TRY(dataset_open_typed(file, object, type, &dataset));
  status_code_t status = range_transfer(file, object, &dataset, begin, count, bytes, NULL);
  dataset_close(&dataset);
  return status;
}

/* ------------------------------------------------------------------ rows by all ranks --------------------
 */

typedef struct {
  h5_file_t *file;
  const char *object;
  dataset_t dataset;
  hid_t transfer;
  int64_t row_elements;
  int64_t row_begin, row_count; /* this rank's */
  int64_t round_rows;           /* rows of one collective call */
  char *read_to;                /* one of these two is set */
  const char *write_from;
} rows_t;

/* MPI-IO falls back to independent calls without a word; that would hide a fault of ours (a type conversion).
 */
static status_t rows_check_collective(const rows_t *rows) {
  H5D_mpio_actual_io_mode_t mode = H5D_MPIO_NO_COLLECTIVE;
  uint32_t local = 0, global = 0;
  TRY_H5(H5Pget_mpio_actual_io_mode(rows->transfer, &mode), "cannot read the transfer's mode");
  if (mode != H5D_MPIO_NO_COLLECTIVE) return STATUS_OK;
  TRY_H5(H5Pget_mpio_no_collective_cause(rows->transfer, &local, &global), "cannot read the transfer's mode");
  return error_set(STATUS_INTERNAL, "%s: dataset %s was not transferred collectively (HDF5's cause 0x%x)",
                   rows->file->path, rows->object, global);
}

static status_t rows_select(const rows_t *rows, int64_t first, int64_t count, hid_t *memory) {
  hsize_t n = (hsize_t)(count * rows->row_elements);
  *memory = H5Screate_simple(1, &n, NULL);
  TRY_H5(*memory, "cannot make an HDF5 dataspace of %lld", (long long)n);
  if (n == 0) {
    TRY_H5(H5Sselect_none(*memory), "cannot select in a dataspace");
    TRY_H5(H5Sselect_none(rows->dataset.space), "cannot select in a dataspace");
    return STATUS_OK;
  }
  hsize_t start[H5_MAX_DIMS] = {(hsize_t)(rows->row_begin + first)}, extent[H5_MAX_DIMS] = {(hsize_t)count};
  for (int d = 1; d < rows->dataset.ndim; ++d)
    extent[d] = rows->dataset.dims[d];
  TRY_H5(H5Sselect_hyperslab(rows->dataset.space, H5S_SELECT_SET, start, NULL, extent, NULL),
         "cannot select in a dataspace");
  return STATUS_OK;
}

static status_t rows_call(const rows_t *rows, hid_t memory, int64_t first, int64_t count) {
  const dataset_t *dataset = &rows->dataset;
  char nothing = 0; /* a pointer that may be passed where there are no rows */
  int64_t skip = first * rows->row_elements * (int64_t)h5_type_size(dataset->kind);
  watchdog_enter(rows->read_to ? "H5Dread" : "H5Dwrite");
  herr_t result = rows->read_to ? H5Dread(dataset->id, dataset->type, memory, dataset->space, rows->transfer,
                                          count ? rows->read_to + skip : &nothing)
                                : H5Dwrite(dataset->id, dataset->type, memory, dataset->space, rows->transfer,
                                           count ? rows->write_from + skip : &nothing);
  watchdog_leave();
  TRY_H5(result, "%s: %s rows %lld to %lld of dataset %s failed%s", rows->file->path,
         rows->read_to ? "reading" : "writing", (long long)(rows->row_begin + first),
         (long long)(rows->row_begin + first + count), rows->object,
         rows->read_to ? "" : "; is the disk full?");
  perf_bytes((double)(count * rows->row_elements) * (double)h5_type_size(dataset->kind));
  return rows->file->comm ? rows_check_collective(rows) : STATUS_OK;
}

/* One collective call for rows FIRST .. FIRST + COUNT - 1 of this rank's share. A rank whose selection fails
 * still takes part, with nothing, so that the other ranks do not wait. */
static status_t rows_round(const rows_t *rows, int64_t first, int64_t count) {
  hid_t memory = -1;
  status_code_t status = rows_select(rows, first, count, &memory);
  if (status != STATUS_OK) {
    if (memory >= 0) H5Sclose(memory);
    first = count = 0;
    TRY(rows_select(rows, first, count, &memory));
  }
  status_code_t called = rows_call(rows, memory, first, count);
  H5Sclose(memory);
  return status != STATUS_OK ? status : called;
}

static status_t rows_open(rows_t *rows, h5_type_t type) {
  TRY(dataset_open_typed(rows->file, rows->object, type, &rows->dataset));
  const dataset_t *dataset = &rows->dataset;
  rows->row_elements = 1;
  for (int d = 1; d < dataset->ndim; ++d)
    rows->row_elements *= (int64_t)dataset->dims[d];
  int64_t row_bytes = rows->row_elements * (int64_t)h5_type_size(type);
  rows->round_rows = row_bytes > 0 && row_bytes < rows_round_bytes ? rows_round_bytes / row_bytes : 1;
  if (dataset->ndim < 1 || rows->row_begin < 0 || rows->row_count < 0 ||
      rows->row_begin + rows->row_count > (int64_t)dataset->dims[0])
    return error_set(STATUS_DATA, "%s: dataset %s has %lld rows, rows %lld to %lld were asked for",
                     rows->file->path, rows->object, dataset->ndim < 1 ? 0LL : (long long)dataset->dims[0],
                     (long long)rows->row_begin, (long long)(rows->row_begin + rows->row_count));
  rows->transfer = H5Pcreate(H5P_DATASET_XFER);
  TRY_H5(rows->transfer, "cannot make HDF5's transfer properties");
  if (rows->file->comm)
    TRY_H5(H5Pset_dxpl_mpio(rows->transfer, H5FD_MPIO_COLLECTIVE), "cannot ask for collective transfer");
  return STATUS_OK;
}

static status_t rows_transfer(rows_t *rows, h5_type_t type) {
  TRY(h5_agree(rows->file, rows_open(rows, type)));
  /* Rows of no elements have no place in the file that HDF5 could be given. */
  if (rows->row_elements == 0) return STATUS_OK;
  int64_t rounds = (rows->row_count + rows->round_rows - 1) / rows->round_rows;
  if (rows->file->comm) TRY(comm_allreduce(rows->file->comm, &rounds, 1, COMM_I64, COMM_MAX));
  status_code_t status = STATUS_OK;
  for (int64_t round = 0; round < rounds; ++round) {
    int64_t first = round * rows->round_rows;
    int64_t count = rows->row_count - first;
    if (count < 0) first = count = 0;
    if (count > rows->round_rows) count = rows->round_rows;
    status_code_t done = rows_round(rows, first, count);
    if (status == STATUS_OK) status = done;
  }
  return h5_agree(rows->file, status);
}

static status_t rows_run(rows_t *rows, h5_type_t type) {
  rows->dataset = (dataset_t){.id = -1, .space = -1, .type = -1};
  rows->transfer = -1;
  status_code_t status = rows_transfer(rows, type);
  if (rows->transfer >= 0) H5Pclose(rows->transfer);
  dataset_close(&rows->dataset);
  return status;
}

status_t h5_write_rows(h5_file_t *file, const char *object, h5_type_t type, int64_t row_begin,
                       int64_t row_count, const void *data) {
  rows_t rows = {
      .file = file, .object = object, .row_begin = row_begin, .row_count = row_count, .write_from = data};
  return rows_run(&rows, type);
}

status_t h5_read_rows(h5_file_t *file, const char *object, h5_type_t type, int64_t row_begin,
                      int64_t row_count, void *data) {
  static char nothing;
  rows_t rows = {.file = file,
                 .object = object,
                 .row_begin = row_begin,
                 .row_count = row_count,
                 .read_to = data ? data : &nothing};
  return rows_run(&rows, type);
}

/* ------------------------------------------------------------------ bytes --------------------------------
 */

status_t h5_write_bytes(h5_file_t *file, const char *object, const void *bytes, int64_t n) {
  TRY(h5_agree(file, h5_create_dataset(file, object, H5TYPE_U8, 1, &n)));
  bool mine = n > 0 && (!file->comm || comm_rank(file->comm) == 0);
  return h5_agree(file, mine ? h5_write_range(file, object, H5TYPE_U8, 0, n, bytes) : STATUS_OK);
}

status_t h5_read_bytes(h5_file_t *file, const char *object, char **bytes, int64_t *n) {
  h5_type_t type;
  int ndim;
  int64_t shape[H5_MAX_DIMS];
  *bytes = NULL;
  TRY(h5_dataset_info(file, object, &type, &ndim, shape));
  if (ndim != 1)
    return error_set(STATUS_DATA, "%s: %s has %d dimensions, expected 1", file->path, object, ndim);
  TRY(memory_alloc(bytes, ARENA_IO, (size_t)shape[0] + 1, 1));
  status_code_t status = h5_read_range(file, object, H5TYPE_U8, 0, shape[0], *bytes);
  *n = shape[0];
  if (status == STATUS_OK) return STATUS_OK;
  memory_free(*bytes);
  *bytes = NULL;
  return status;
}

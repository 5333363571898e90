#define _GNU_SOURCE
#include "io/h5.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/h5_core.h"
#include "parallel/comm_mpi.h"
#include "parallel/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files are little-endian and are written without conversion"
#endif

/* ------------------------------------------------------------------ errors -------------------------------
 */

/* Keeps the innermost entry of HDF5's error stack, which says what happened (the outer ones say where it
 * passed). */
static herr_t error_keep_innermost(unsigned n, const H5E_error2_t *entry, void *context) {
  if (n == 0) snprintf(context, 256, "%s", entry->desc ? entry->desc : "");
  return 0;
}

status_t h5_error(const char *format, ...) {
  char text[512], library[256] = "";
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, error_keep_innermost, library);
  H5Eclear2(H5E_DEFAULT);
  if (library[0] == '\0') return error_set(STATUS_DATA, "%s", text);
  return error_set(STATUS_DATA, "%s (HDF5: %s)", text, library);
}

status_t h5_agree(h5_file_t *file, status_code_t status) {
  return file->comm ? comm_agree(file->comm, status) : status;
}

/* ------------------------------------------------------------------ types --------------------------------
 */

void h5_version(char text[H5_VERSION_TEXT]) {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  snprintf(text, H5_VERSION_TEXT, "%u.%u.%u", major, minor, release);
}

size_t h5_type_size(h5_type_t type) {
  static const size_t sizes[H5TYPE_COUNT] = {4, 8, 2, 1, 4, 8, 8};
  return sizes[type];
}

const char *h5_type_name(h5_type_t type) {
  static const char *const names[H5TYPE_COUNT] = {"float32", "float64", "bfloat16", "uint8",
                                                  "int32",   "int64",   "uint64"};
  return names[type];
}

/* 1 sign, 8 exponent, 7 mantissa bits: the upper half of an IEEE single. */
static hid_t type_open_bf16(void) {
  hid_t id = H5Tcopy(H5T_IEEE_F32LE);
  if (id < 0) return id;
  if (H5Tset_fields(id, 15, 7, 8, 0, 7) < 0 || H5Tset_size(id, 2) < 0 || H5Tset_ebias(id, 127) < 0) {
    H5Tclose(id);
    return -1;
  }
  return id;
}

hid_t h5_type_open(h5_type_t type) {
  switch (type) {
  case H5TYPE_F32:
    return H5Tcopy(H5T_IEEE_F32LE);
  case H5TYPE_F64:
    return H5Tcopy(H5T_IEEE_F64LE);
  case H5TYPE_BF16:
    return type_open_bf16();
  case H5TYPE_U8:
    return H5Tcopy(H5T_STD_U8LE);
  case H5TYPE_I32:
    return H5Tcopy(H5T_STD_I32LE);
  case H5TYPE_I64:
    return H5Tcopy(H5T_STD_I64LE);
  case H5TYPE_U64:
    return H5Tcopy(H5T_STD_U64LE);
  case H5TYPE_COUNT:
    break;
  }
  return -1;
}

bool h5_type_find(hid_t id, h5_type_t *type) {
  for (int t = 0; t < H5TYPE_COUNT; ++t) {
    hid_t candidate = h5_type_open((h5_type_t)t);
    bool equal = candidate >= 0 && H5Tequal(candidate, id) > 0;
    if (candidate >= 0) H5Tclose(candidate);
    if (equal) {
      *type = (h5_type_t)t;
      return true;
    }
  }
  return false;
}

/* ------------------------------------------------------------------ opening ------------------------------
 */

/* Access properties: MPI-IO for a communicator. The library's own file locks are off: several ranks of a job
 * open one file, and some file systems lack locks; io/rundir.h guards the run directory instead. */
static hid_t access_open(comm_t *comm) {
  hid_t properties = H5Pcreate(H5P_FILE_ACCESS);
  if (properties < 0) return properties;
  bool good = H5Pset_libver_bounds(properties, H5F_LIBVER_V18, H5F_LIBVER_LATEST) >= 0 &&
              H5Pset_file_locking(properties, false, true) >= 0;
  if (comm) good = good && H5Pset_fapl_mpio(properties, comm_mpi(comm), MPI_INFO_NULL) >= 0;
  if (good) return properties;
  H5Pclose(properties);
  return -1;
}

/* No times are kept anywhere, so that equal contents give equal files. */
static hid_t untimed_open(hid_t class_id) {
  hid_t properties = H5Pcreate(class_id);
  if (properties >= 0) H5Pset_obj_track_times(properties, false);
  return properties;
}

/* Wraps ID in a new *FILE; on failure ID is closed. */
static status_t file_wrap(hid_t id, const char *path, comm_t *comm, bool writable, h5_file_t **file) {
  status_code_t status = memory_alloc(file, ARENA_IO, 1, sizeof **file);
  if (status == STATUS_OK) {
    (*file)->id = id;
    (*file)->comm = comm;
    (*file)->writable = writable;
    status = memory_copy_text(&(*file)->path, ARENA_IO, path, strlen(path));
    if (status == STATUS_OK) return STATUS_OK;
    memory_free(*file);
  }
  H5Fclose(id);
  *file = NULL;
  return status;
}

/* HDF5 crashes at the end of the program, or hangs on some ranks, if it could not write what it still held
 * when a file was closed. So a full disk is found before: room is made sure of when a file is created (for
 * what is written at closing) and before it is closed. */
static const int64_t closing_bytes = 1 << 20, closing_bytes_per_dataset = 1 << 10;

/* True if the file system has promised the file N bytes, or cannot promise anything; errno says why not. */
static bool room_promised(int descriptor, int64_t n) {
  if (fallocate(descriptor, FALLOC_FL_KEEP_SIZE, 0, n) == 0) return true;
  return errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL || errno == ENODEV;
}

static status_t room_check(const char *path) {
  int descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) return error_set(STATUS_DATA, "%s: cannot be created: %s", path, strerror(errno));
  status_code_t status = STATUS_OK;
  if (!room_promised(descriptor, closing_bytes)) {
    status = error_set(STATUS_DATA, "%s: cannot be created: %s", path, strerror(errno));
    unlink(path);
  }
  close(descriptor);
  return status;
}

/* Makes sure of room for the whole file. If there is none, gives back what the file has, so that HDF5 can
 * finish; the file is worthless then. */
static status_t room_reserve(const h5_file_t *file) {
  struct stat info;
  int descriptor = open(file->path, O_RDWR | O_CLOEXEC);
  if (descriptor < 0 || fstat(descriptor, &info) != 0) {
    if (descriptor >= 0) close(descriptor);
    return STATUS_OK; /* removed meanwhile: closing will tell */
  }
  status_code_t status = STATUS_OK;
  int64_t bytes = info.st_size > (int64_t)file->data_end ? info.st_size : (int64_t)file->data_end;
  if (!room_promised(descriptor, bytes + closing_bytes + closing_bytes_per_dataset * file->created)) {
    status = error_set(STATUS_DATA, "%s: there is no room for its %.1f MB: %s", file->path,
                       (double)bytes * 1e-6, strerror(errno));
    if (ftruncate(descriptor, 0) != 0)
      log_warning("%s: could not be emptied: %s", file->path, strerror(errno));
  }
  close(descriptor);
  return status;
}

/* Gives back what was promised and not used. */
static void room_return(const char *path) {
  struct stat info;
  if (stat(path, &info) == 0 && truncate(path, info.st_size) != 0)
    log_warning("%s: unused room could not be given back: %s", path, strerror(errno));
}

static status_t file_create(const char *path, comm_t *comm, h5_file_t **file) {
  hid_t access = access_open(comm);
  TRY_H5(access, "cannot set HDF5's access properties");
  hid_t creation = untimed_open(H5P_FILE_CREATE);
  watchdog_enter("H5Fcreate");
  hid_t id = creation < 0 ? -1 : H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
  watchdog_leave();
  status_code_t status =
      id >= 0
          ? STATUS_OK
          : h5_error(
                "%s: cannot be created; does its folder exist, may this job write there, is the disk full?",
                path);
  if (creation >= 0) H5Pclose(creation);
  H5Pclose(access);
  TRY(status);
  return file_wrap(id, path, comm, true, file);
}

/* Frees *FILE after the error STATUS, which stays the one to report. */
static status_t file_discard(h5_file_t **file, status_code_t status) {
  H5Fclose((*file)->id);
  H5Eclear2(H5E_DEFAULT);
  memory_free((*file)->path);
  memory_free(*file);
  *file = NULL;
  return status;
}

/* After opening failed on some rank: closing is collective with MPI-IO and would wait for the ranks that have
 * nothing to close, so what was opened there is left to the end of the job. */
static status_t file_abandon(comm_t *comm, h5_file_t **file, status_code_t status) {
  if (!*file) return status;
  if (!comm) return file_discard(file, status);
  memory_free((*file)->path);
  memory_free(*file);
  *file = NULL;
  return status;
}

static status_t format_write(h5_file_t *file, const char *format, int version) {
  int64_t number = version;
  TRY(h5_attr_write_text(file, "/", "format", format));
  return h5_attr_write_i64(file, "/", "format_version", &number, 1);
}

status_t h5_create(const char *path, comm_t *comm, const char *format, int version, h5_file_t **file) {
  *file = NULL;
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  status_code_t status = !comm || comm_rank(comm) == 0 ? room_check(path) : STATUS_OK;
  if (comm) status = comm_agree(comm, status);
  TRY(status);
  status = file_create(path, comm, file);
  if (comm) status = comm_agree(comm, status);
  if (status != STATUS_OK) return file_abandon(comm, file, status);
  status = h5_agree(*file, format_write(*file, format, version));
  return status == STATUS_OK ? STATUS_OK : file_discard(file, status);
}

/* Says clearly what HDF5 would say dimly: missing, empty, not HDF5. */
static status_t file_examine(const char *path) {
  static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  struct stat info;
  unsigned char head[8] = {0};
  int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not stop the program */
  if (descriptor < 0) return error_set(STATUS_DATA, "%s: cannot be opened: %s", path, strerror(errno));
  ssize_t n =
      fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode) ? read(descriptor, head, sizeof head) : -1;
  close(descriptor);
  if (n < 0)
    return error_set(STATUS_DATA, "%s: not a regular file that can be read, expected an HDF5 file", path);
  if (n == 0) return error_set(STATUS_DATA, "%s: the file is empty, expected an HDF5 file", path);
  if (n < (ssize_t)sizeof head || memcmp(head, signature, sizeof head) != 0)
    return error_set(STATUS_DATA, "%s: not an HDF5 file (its first bytes are %02x %02x %02x %02x)", path,
                     head[0], head[1], head[2], head[3]);
  return STATUS_OK;
}

static status_t file_open(const char *path, comm_t *comm, h5_access_t access, h5_file_t **file) {
  hid_t properties = access_open(comm);
  TRY_H5(properties, "cannot set HDF5's access properties");
  watchdog_enter("H5Fopen");
  hid_t id = H5Fopen(path, access == H5_READ ? H5F_ACC_RDONLY : H5F_ACC_RDWR, properties);
  watchdog_leave();
  status_code_t status =
      id >= 0 ? STATUS_OK
              : h5_error(
                    "%s: cannot be opened as HDF5; it may have been cut short while it was written or copied",
                    path);
  H5Pclose(properties);
  TRY(status);
  return file_wrap(id, path, comm, access == H5_EDIT, file);
}

static status_t format_check(h5_file_t *file, const char *format, int version) {
  char *found = NULL;
  int64_t number = 0;
  TRY(h5_attr_read_text(file, "/", "format", &found));
  status_code_t status = STATUS_OK;
  if (strcmp(found, format) != 0)
    status = error_set(STATUS_DATA, "%s: format is '%s', expected '%s'", file->path, found, format);
  memory_free(found);
  TRY(status);
  TRY(h5_attr_read_i64(file, "/", "format_version", &number, 1));
  if (number >= 1 && number <= version) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: format_version of '%s' is %lld, this program reads 1 to %d; use the program that wrote it, "
      "or a newer one",
      file->path, format, (long long)number, version);
}

status_t h5_open(const char *path, comm_t *comm, h5_access_t access, const char *format, int version,
                 h5_file_t **file) {
  *file = NULL;
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  /* One rank looks first, so that a missing file is no failure of all ranks inside MPI-IO. */
  status_code_t status = STATUS_OK;
  if (!comm || comm_rank(comm) == 0) status = file_examine(path);
  if (comm) status = comm_agree(comm, status);
  TRY(status);
  status = file_open(path, comm, access, file);
  if (comm) status = comm_agree(comm, status);
  if (status != STATUS_OK) return file_abandon(comm, file, status);
  if (!format) return STATUS_OK;
  status = h5_agree(*file, format_check(*file, format, version));
  return status == STATUS_OK ? STATUS_OK : file_discard(file, status);
}

status_t h5_close(h5_file_t *file) {
  if (!file) return STATUS_OK;
  bool lead = file->writable && (!file->comm || comm_rank(file->comm) == 0);
  status_code_t status = lead ? room_reserve(file) : STATUS_OK;
  watchdog_enter("H5Fclose");
  herr_t result = H5Fclose(file->id);
  watchdog_leave();
  if (result < 0 && status == STATUS_OK)
    status = h5_error("%s: closing failed; the file may be incomplete (is the disk full?)", file->path);
  if (lead && status == STATUS_OK) room_return(file->path);
  memory_free(file->path);
  memory_free(file);
  return status;
}

const char *h5_path(const h5_file_t *file) {
  return file->path;
}

/* ------------------------------------------------------------------ groups -------------------------------
 */

bool h5_exists(h5_file_t *file, const char *object) {
  char prefix[H5_MAX_PATH];
  size_t n = strlen(object);
  if (n >= sizeof prefix) return false;
  /* H5Lexists fails where a parent is missing, so the parents are asked first. */
  for (size_t i = 1; i <= n; ++i) {
    if (object[i] != '/' && object[i] != '\0') continue;
    memcpy(prefix, object, i);
    prefix[i] = '\0';
    if (strcmp(prefix, "/") != 0 && H5Lexists(file->id, prefix, H5P_DEFAULT) <= 0) {
      H5Eclear2(H5E_DEFAULT);
      return false;
    }
  }
  return n > 0;
}

static status_t group_create_one(h5_file_t *file, const char *object) {
  if (h5_exists(file, object)) return STATUS_OK;
  hid_t properties = untimed_open(H5P_GROUP_CREATE);
  TRY_H5(properties, "cannot set HDF5's group properties");
  hid_t id = H5Gcreate2(file->id, object, H5P_DEFAULT, properties, H5P_DEFAULT);
  status_code_t status = id >= 0 ? STATUS_OK : h5_error("%s: cannot create group %s", file->path, object);
  H5Pclose(properties);
  if (id >= 0) H5Gclose(id);
  return status;
}

status_t h5_create_group(h5_file_t *file, const char *object) {
  char prefix[H5_MAX_PATH];
  size_t n = strlen(object);
  if (n >= sizeof prefix) return error_set(STATUS_INTERNAL, "the name %.60s... is too long", object);
  for (size_t i = 1; i <= n; ++i) {
    if (object[i] != '/' && object[i] != '\0') continue;
    memcpy(prefix, object, i);
    prefix[i] = '\0';
    TRY(group_create_one(file, prefix));
  }
  return STATUS_OK;
}

status_t h5_create_parents(h5_file_t *file, const char *object) {
  char prefix[H5_MAX_PATH];
  const char *slash = strrchr(object, '/');
  size_t n = slash ? (size_t)(slash - object) : 0;
  if (n == 0) return STATUS_OK;
  if (n >= sizeof prefix) return error_set(STATUS_INTERNAL, "the name %.60s... is too long", object);
  memcpy(prefix, object, n);
  prefix[n] = '\0';
  return h5_create_group(file, prefix);
}

/* ------------------------------------------------------------------ listing ------------------------------
 */

typedef struct {
  const char *prefix; /* "" for the root */
  char **paths;       /* filled in the second pass */
  char *text;
  size_t bytes;
  int64_t count;
} listing_t;

static herr_t listing_visit(hid_t group, const char *name, const H5O_info_t *info, void *context) {
  listing_t *listing = context;
  (void)group;
  if (info->type != H5O_TYPE_DATASET) return 0;
  size_t n = strlen(listing->prefix) + strlen(name) + 2;
  if (listing->text) {
    listing->paths[listing->count] = listing->text + listing->bytes;
    snprintf(listing->paths[listing->count], n, "%s/%s", listing->prefix, name);
  }
  listing->bytes += n;
  listing->count += 1;
  return 0;
}

static int compare_paths(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static status_t listing_pass(h5_file_t *file, const char *object, listing_t *listing) {
  listing->bytes = 0;
  listing->count = 0;
  TRY_H5(H5Ovisit_by_name2(file->id, object, H5_INDEX_NAME, H5_ITER_NATIVE, listing_visit, listing,
                           H5O_INFO_BASIC, H5P_DEFAULT),
         "%s: cannot list %s", file->path, object);
  return STATUS_OK;
}

status_t h5_list(h5_file_t *file, const char *object, char ***paths, int64_t *count) {
  listing_t listing = {.prefix = strcmp(object, "/") == 0 ? "" : object};
  *paths = NULL;
  *count = 0;
  TRY(listing_pass(file, object, &listing));
  if (listing.count == 0) return STATUS_OK;
  size_t pointers = (size_t)listing.count * sizeof(char *);
  TRY(memory_alloc(&listing.paths, ARENA_IO, pointers + listing.bytes, 1));
  listing.text = (char *)listing.paths + pointers;
  status_code_t status = listing_pass(file, object, &listing);
  if (status != STATUS_OK) {
    memory_free(listing.paths);
    return status;
  }
  qsort(listing.paths, (size_t)listing.count, sizeof(char *), compare_paths);
  *paths = listing.paths;
  *count = listing.count;
  return STATUS_OK;
}

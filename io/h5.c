#include "io/h5.h"

#include "base/memory.h"
#include "io/descriptor.h"
#include "io/h5_core.h"

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

/* ---- errors ---- */

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

/* ---- types ---- */

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

hid_t h5_type_open(h5_type_t type) {
  const hid_t stored[H5TYPE_COUNT] = {
      [H5TYPE_F32] = H5T_IEEE_F32LE, [H5TYPE_F64] = H5T_IEEE_F64LE, [H5TYPE_BF16] = H5T_IEEE_F32LE,
      [H5TYPE_U8] = H5T_STD_U8LE,    [H5TYPE_I32] = H5T_STD_I32LE,  [H5TYPE_I64] = H5T_STD_I64LE,
      [H5TYPE_U64] = H5T_STD_U64LE};
  hid_t id = H5Tcopy(stored[type]);
  if (id < 0 || type != H5TYPE_BF16) return id;
  /* 1 sign, 8 exponent, 7 mantissa bits: the upper half of an IEEE single. */
  if (H5Tset_fields(id, 15, 7, 8, 0, 7) >= 0 && H5Tset_size(id, 2) >= 0 && H5Tset_ebias(id, 127) >= 0)
    return id;
  H5Tclose(id);
  return -1;
}

bool h5_type_find(hid_t id, h5_type_t *type) {
  for (int t = 0; t < H5TYPE_COUNT; ++t) {
    H5_HANDLE(H5Tclose) candidate = h5_type_open((h5_type_t)t);
    *type = (h5_type_t)t;
    if (candidate >= 0 && H5Tequal(candidate, id) > 0) return true;
  }
  return false;
}

/* ---- opening ---- */

/* Most attributes of an object; more would leave its header for a heap whose large entries have no checksum.
 */
static const unsigned attributes_most = 1024;

hid_t h5_creation_open(hid_t class_id) {
  hid_t properties = H5Pcreate(class_id);
  if (properties < 0) return properties;
  if (H5Pset_obj_track_times(properties, false) >= 0 &&
      H5Pset_attr_phase_change(properties, attributes_most, 0) >= 0)
    return properties;
  H5Pclose(properties);
  return -1;
}

/* Before the library does anything else: nothing of it is left to do at the program's end, where it would be
 * too late to tell of a failure. */
static void library_start(void) {
  H5dont_atexit();
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static status_t file_alloc(const char *path, comm_t *comm, bool writable, h5_file_t **file) {
  TRY(memory_alloc(file, ARENA_IO, 1, sizeof **file));
  **file = (h5_file_t){.id = -1, .comm = comm, .writable = writable, .disk.descriptor = -1};
  return memory_copy_text(&(*file)->path, ARENA_IO, path, strlen(path));
}

static void file_free(h5_file_t *file) {
  if (file->disk.descriptor >= 0) descriptor_close(file->disk.descriptor);
  memory_free(file->path);
  memory_free(file);
}

static status_t disk_open(h5_file_t *file, int flags) {
  int problem = descriptor_open(file->path, flags, &file->disk.descriptor);
  if (problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be %s: %s", file->path, flags & O_CREAT ? "created" : "opened",
                   strerror(problem));
}

/* ---- Creating ---- */

/* The one rank that holds the handle. */
static status_t file_create(h5_file_t *file, const h5_format_t *format, int64_t alignment) {
  int64_t version = format->version;
  TRY(disk_open(file, O_RDWR | O_CREAT | O_TRUNC));
  H5_HANDLE(H5Pclose) access = h5_driver_access(&file->disk);
  if (access >= 0 && H5Pset_alignment(access, (hsize_t)alignment, (hsize_t)alignment) < 0)
    return h5_error("%s: HDF5 refuses an alignment of %lld", file->path, (long long)alignment);
  H5_HANDLE(H5Pclose) creation = h5_creation_open(H5P_FILE_CREATE);
  file->id = access < 0 || creation < 0 ? -1 : H5Fcreate(file->path, H5F_ACC_TRUNC, creation, access);
  TRY_H5(file->id, "%s: cannot be created as an HDF5 file", file->path);
  TRY(h5_attr_write_text(file, "/", "format", format->name));
  TRY(h5_attr_write_i64(file, "/", "format_version", &version, 1));
  return h5_disk_check(&file->disk, file->path);
}

status_t h5_create_aligned(const char *path, comm_t *comm, const h5_format_t *format, int64_t alignment,
                           h5_file_t **out) {
  SCOPED(h5_abandon_at) h5_file_t *file = NULL;
  bool lead = !comm || comm_rank(comm) == 0;
  *out = NULL;
  library_start();
  status_code_t status = file_alloc(path, comm, true, &file);
  if (status == STATUS_OK && lead) status = file_create(file, format, alignment);
  if (comm) status = comm_agree(comm, status);
  if (status == STATUS_OK && !lead) status = disk_open(file, O_WRONLY);
  if (comm) status = comm_agree(comm, status);
  if (status == STATUS_OK) memory_hand_over(out, &file);
  if (status != STATUS_OK && lead && file && file->disk.descriptor >= 0) unlink(path);
  return status;
}

status_t h5_create(const char *path, comm_t *comm, const h5_format_t *format, h5_file_t **out) {
  return h5_create_aligned(path, comm, format, 1, out);
}

/* ---- Opening ---- */

/* Says clearly what HDF5 would say dimly: empty, not HDF5. */
static status_t file_examine(h5_file_t *file) {
  static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  struct stat info;
  unsigned char head[8] = {0};
  size_t n = 0;
  if (fstat(file->disk.descriptor, &info) != 0 || !S_ISREG(info.st_mode))
    return error_set(STATUS_DATA, "%s: not a regular file, expected an HDF5 file", file->path);
  h5_disk_read(&file->disk, head, sizeof head, 0, &n);
  TRY(h5_disk_check(&file->disk, file->path));
  if (n == 0) return error_set(STATUS_DATA, "%s: the file is empty, expected an HDF5 file", file->path);
  if (n < sizeof head || memcmp(head, signature, sizeof head) != 0)
    return error_set(STATUS_DATA, "%s: not an HDF5 file (its first bytes are %02x %02x %02x %02x)",
                     file->path, head[0], head[1], head[2], head[3]);
  return STATUS_OK;
}

static status_t handle_open(h5_file_t *file) {
  H5_HANDLE(H5Pclose) access = h5_driver_access(&file->disk);
  TRY_H5(access, "cannot set HDF5's access properties");
  file->id = H5Fopen(file->path, file->writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access);
  if (file->id >= 0) return STATUS_OK;
  TRY(h5_disk_check(&file->disk, file->path));
  return h5_error("%s: cannot be opened as HDF5; it may be damaged, or have been cut short while it was "
                  "written or copied",
                  file->path);
}

static status_t format_mismatch(const h5_file_t *file, const h5_format_t *format, int64_t version) {
  bool older = version < format->version;
  return error_set(STATUS_DATA,
                   "%s: made by %s version of this program (format_version %lld, this program reads %d): %s",
                   file->path, older ? "an older" : "a newer", (long long)version, format->version,
                   older ? format->remake : "use that one");
}

/* Old files have a `format` of variable length, which is not read: their version tells enough. */
static status_t format_check(h5_file_t *file, const h5_format_t *format) {
  SCOPED_MEMORY char *found = NULL;
  int64_t version = 0;
  TRY(h5_attr_read_i64(file, "/", "format_version", &version, 1));
  status_code_t status = h5_attr_read_text(file, "/", "format", &found);
  if (status == STATUS_DATA && version >= 1 && version < format->version)
    return format_mismatch(file, format, version);
  TRY(status);
  if (strcmp(found, format->name) != 0)
    return error_set(STATUS_DATA, "%s: format is '%s', expected '%s'", file->path, found, format->name);
  return version == format->version ? STATUS_OK : format_mismatch(file, format, version);
}

status_t h5_open(const char *path, h5_access_t access, const h5_format_t *format, h5_file_t **out) {
  SCOPED(h5_abandon_at) h5_file_t *file = NULL;
  *out = NULL;
  library_start();
  TRY(file_alloc(path, NULL, access == H5_EDIT, &file));
  /* O_NONBLOCK: a named pipe must not stop the program. */
  TRY(disk_open(file, (file->writable ? O_RDWR : O_RDONLY) | O_NONBLOCK));
  TRY(file_examine(file));
  TRY(H5_GUARDED(path, handle_open(file)));
  if (format) TRY(format_check(file, format));
  memory_hand_over(out, &file);
  return STATUS_OK;
}

/* ---- Closing ---- */

status_t h5_complete(h5_file_t *file) {
  hid_t id = file->id;
  file->id = -1;
  if (id >= 0) TRY_H5(H5Fclose(id), "%s: cannot be closed", file->path);
  return h5_disk_check(&file->disk, file->path);
}

int h5_descriptor(const h5_file_t *file) {
  return file->disk.descriptor;
}

status_t h5_close(h5_file_t *file) {
  if (!file || h5_guard_is_broken()) return STATUS_OK;
  status_code_t status = STATUS_OK;
  if (file->id >= 0 && H5Fclose(file->id) < 0) status = h5_error("%s: cannot be closed", file->path);
  if (file->writable && status == STATUS_OK) status = h5_disk_check(&file->disk, file->path);
  int problem = file->writable && status == STATUS_OK ? descriptor_sync(file->disk.descriptor) : 0;
  if (problem)
    status = error_set(STATUS_DATA, "%s: cannot be synced to storage: %s", file->path, strerror(problem));
  file_free(file);
  return status;
}

void h5_abandon(h5_file_t *file) {
  if (!file || h5_guard_is_broken()) return; /* if it is broken the library still knows of the file */
  if (file->id >= 0) H5Fclose(file->id);
  H5Eclear2(H5E_DEFAULT);
  file_free(file);
}

status_t h5_end(h5_file_t *file, status_code_t status) {
  if (status == STATUS_OK) return h5_close(file);
  h5_abandon(file);
  return status;
}

const char *h5_path(const h5_file_t *file) {
  return file->path;
}

/* ---- groups ---- */

/* Follows OBJECT's path. *TYPE is H5L_TYPE_HARD where all of it is there, H5L_TYPE_ERROR where something is
 * missing, else the type of the link at PREFIX, which is not followed. */
static status_t path_follow(h5_file_t *file, const char *object, char prefix[H5_MAX_PATH], H5L_type_t *type) {
  size_t n = strlen(object);
  *type = n == 0 || n >= H5_MAX_PATH ? H5L_TYPE_ERROR : H5L_TYPE_HARD;
  for (size_t i = 1; i <= n && *type == H5L_TYPE_HARD; ++i) {
    H5L_info_t info = {.type = H5L_TYPE_ERROR};
    if (object[i] != '/' && object[i] != '\0') continue;
    memcpy(prefix, object, i);
    prefix[i] = '\0';
    if (strcmp(prefix, "/") == 0) continue;
    htri_t found = H5Lexists(file->id, prefix, H5P_DEFAULT);
    if (found < 0 || (found > 0 && H5Lget_info(file->id, prefix, &info, H5P_DEFAULT) < 0))
      return h5_error("%s: cannot look for %s", file->path, prefix);
    *type = info.type;
  }
  return STATUS_OK;
}

status_t h5_find(h5_file_t *file, const char *object, bool *found) {
  char prefix[H5_MAX_PATH];
  H5L_type_t type;
  *found = true; /* what cannot be told is told when it is read */
  TRY(path_follow(file, object, prefix, &type));
  *found = type != H5L_TYPE_ERROR;
  return STATUS_OK;
}

status_t h5_require(h5_file_t *file, const char *what, const char *object) {
  char prefix[H5_MAX_PATH];
  H5L_type_t type;
  TRY(path_follow(file, object, prefix, &type));
  if (type == H5L_TYPE_HARD) return STATUS_OK;
  if (type == H5L_TYPE_ERROR) return error_set(STATUS_DATA, "%s: %s %s is missing", file->path, what, object);
  return error_set(STATUS_DATA,
                   "%s: %s is %s link, which is not followed; store in its place what it leads to",
                   file->path, prefix,
                   type == H5L_TYPE_SOFT       ? "a soft"
                   : type == H5L_TYPE_EXTERNAL ? "an external"
                                               : "a user-defined");
}

bool h5_exists(h5_file_t *file, const char *object) {
  bool found = true;
  status_code_t status = H5_GUARDED(file->path, h5_find(file, object, &found));
  if (status != STATUS_OK) error_clear();
  return found;
}

static status_t group_make_one(h5_file_t *file, const char *object) {
  bool found;
  TRY(h5_find(file, object, &found));
  if (found) return STATUS_OK;
  H5_HANDLE(H5Pclose) properties = h5_creation_open(H5P_GROUP_CREATE);
  TRY_H5(properties, "cannot set HDF5's group properties");
  H5_HANDLE(H5Gclose) id = H5Gcreate2(file->id, object, H5P_DEFAULT, properties, H5P_DEFAULT);
  TRY_H5(id, "%s: cannot create group %s", file->path, object);
  return STATUS_OK;
}

static status_t group_make(h5_file_t *file, const char *object) {
  char prefix[H5_MAX_PATH];
  size_t n = strlen(object);
  if (n >= sizeof prefix) return error_set(STATUS_INTERNAL, "the name %.60s... is too long", object);
  for (size_t i = 1; i <= n; ++i) {
    if (object[i] != '/' && object[i] != '\0') continue;
    memcpy(prefix, object, i);
    prefix[i] = '\0';
    TRY(group_make_one(file, prefix));
  }
  return STATUS_OK;
}

status_t h5_make_parents(h5_file_t *file, const char *object) {
  char prefix[H5_MAX_PATH];
  const char *slash = strrchr(object, '/');
  size_t n = slash ? (size_t)(slash - object) : 0;
  if (n == 0) return STATUS_OK;
  if (n >= sizeof prefix) return error_set(STATUS_INTERNAL, "the name %.60s... is too long", object);
  memcpy(prefix, object, n);
  prefix[n] = '\0';
  return group_make(file, prefix);
}

status_t h5_create_group(h5_file_t *file, const char *object) {
  return file->id < 0 ? STATUS_OK : group_make(file, object);
}

/* ---- listing ---- */

typedef struct {
  const char *prefix; /* "" for the root */
  char **paths;       /* filled in the second pass */
  char *text;
  size_t bytes;
  int64_t count;
} h5_listing_t;

/* The library's names for what it says of an object changed with 1.12. */
#if H5_VERSION_GE(1, 12, 0)
typedef H5O_info2_t object_info_t;
#define OBJECTS_VISIT H5Ovisit_by_name3
#else
typedef H5O_info_t object_info_t;
#define OBJECTS_VISIT H5Ovisit_by_name2
#endif

static herr_t listing_visit(hid_t group, const char *name, const object_info_t *info, void *context) {
  h5_listing_t *listing = context;
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

static int h5_compare_paths(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static status_t listing_pass(h5_file_t *file, const char *object, h5_listing_t *listing) {
  listing->bytes = 0;
  listing->count = 0;
  TRY_H5(OBJECTS_VISIT(file->id, object, H5_INDEX_NAME, H5_ITER_NATIVE, listing_visit, listing,
                       H5O_INFO_BASIC, H5P_DEFAULT),
         "%s: cannot list %s", file->path, object);
  return STATUS_OK;
}

status_t h5_list(h5_file_t *file, const char *object, char ***paths, int64_t *count) {
  SCOPED_MEMORY char **found = NULL;
  h5_listing_t listing = {.prefix = strcmp(object, "/") == 0 ? "" : object};
  *paths = NULL;
  *count = 0;
  TRY(H5_GUARDED(file->path, listing_pass(file, object, &listing)));
  if (listing.count == 0) return STATUS_OK;
  size_t pointers = (size_t)listing.count * sizeof(char *);
  TRY(memory_alloc(&found, ARENA_IO, pointers + listing.bytes, 1));
  listing.paths = found;
  listing.text = (char *)found + pointers;
  TRY(H5_GUARDED(file->path, listing_pass(file, object, &listing)));
  qsort(found, (size_t)listing.count, sizeof(char *), h5_compare_paths);
  *count = listing.count;
  memory_hand_over(paths, &found);
  return STATUS_OK;
}

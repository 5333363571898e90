#include "io/h5_driver.h"

#include "io/descriptor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#if H5_VERSION_GE(1, 14, 0)
#include <H5FDdevelop.h>
#endif

/* ---- the disk ---- */

static void disk_note(h5_disk_t *disk, int problem, bool writing, int64_t place) {
  if (problem == 0 || disk->problem != 0) return;
  disk->problem = problem;
  disk->writing = writing;
  disk->place = place;
}

void h5_disk_write(h5_disk_t *disk, const void *bytes, size_t n, int64_t place) {
  if (disk->problem != 0) return;
  disk_note(disk, descriptor_write_at(disk->descriptor, bytes, n, place), true, place);
  descriptor_begin_sync(disk->descriptor, n, place);
}

void h5_disk_read(h5_disk_t *disk, void *bytes, size_t n, int64_t place, size_t *found) {
  disk_note(disk, descriptor_read_at(disk->descriptor, bytes, n, place, found), false, place);
}

status_t h5_disk_check(const h5_disk_t *disk, const char *path) {
  if (disk->problem == 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: cannot be %s from byte %lld on: %s", path,
                   disk->writing ? "written" : "read", (long long)disk->place, strerror(disk->problem));
}

/* ---- as HDF5 sees it ---- */

typedef struct {
  H5FD_t shared; /* the library's part, which comes first */
  h5_disk_t *disk;
  haddr_t end_allocated, end;
} driver_file_t;

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t access, haddr_t most) {
  (void)name; /* it is open already */
  (void)flags;
  (void)most;
  h5_disk_t *const *disk = H5Pget_driver_info(access);
  struct stat info;
  if (!disk || fstat((*disk)->descriptor, &info) != 0) return NULL;
  driver_file_t *file = calloc(1, sizeof *file);
  if (!file) return NULL;
  file->disk = *disk;
  file->end = (haddr_t)info.st_size;
  return &file->shared;
}

static herr_t driver_close(H5FD_t *shared) {
  free(shared);
  return 0;
}

static herr_t driver_query(const H5FD_t *shared, unsigned long *flags) {
  (void)shared;
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

static haddr_t driver_end_allocated(const H5FD_t *shared, H5FD_mem_t type) {
  (void)type;
  return ((const driver_file_t *)shared)->end_allocated;
}

static herr_t driver_allocate(H5FD_t *shared, H5FD_mem_t type, haddr_t end) {
  (void)type;
  ((driver_file_t *)shared)->end_allocated = end;
  return 0;
}

static haddr_t driver_end(const H5FD_t *shared, H5FD_mem_t type) {
  (void)type;
  return ((const driver_file_t *)shared)->end;
}

/* What lies behind the end of the file is zero. */
static herr_t driver_read(H5FD_t *shared, H5FD_mem_t type, hid_t transfer, haddr_t place, size_t n,
                          void *bytes) {
  h5_disk_t *disk = ((driver_file_t *)shared)->disk;
  size_t found;
  (void)type;
  (void)transfer;
  h5_disk_read(disk, bytes, n, (int64_t)place, &found);
  memset((char *)bytes + found, 0, n - found);
  if (disk->problem == 0 || disk->writing) return 0;
  H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_IO, H5E_READERROR,
           "the disk says at byte %lld: %s", (long long)disk->place, strerror(disk->problem));
  return -1;
}

static herr_t driver_write(H5FD_t *shared, H5FD_mem_t type, hid_t transfer, haddr_t place, size_t n,
                           const void *bytes) {
  driver_file_t *file = (driver_file_t *)shared;
  (void)type;
  (void)transfer;
  h5_disk_write(file->disk, bytes, n, (int64_t)place);
  if (place + n > file->end) file->end = place + n;
  return 0;
}

static herr_t driver_truncate(H5FD_t *shared, hid_t transfer, hbool_t closing) {
  driver_file_t *file = (driver_file_t *)shared;
  (void)transfer;
  (void)closing;
  if (file->end == file->end_allocated) return 0;
  file->end = file->end_allocated;
  if (file->disk->problem == 0)
    disk_note(file->disk, descriptor_truncate(file->disk->descriptor, (int64_t)file->end), true,
              (int64_t)file->end);
  return 0;
}

static const H5FD_class_t driver_class = {
#if H5_VERSION_GE(1, 14, 0)
    .version = H5FD_CLASS_VERSION,
    .value = (H5FD_class_value_t)500, /* one of those for drivers that are nobody else's */
#endif
    .name = "llava_rlhf",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(h5_disk_t *),
    .open = driver_open,
    .close = driver_close,
    .query = driver_query,
    .get_eoa = driver_end_allocated,
    .set_eoa = driver_allocate,
    .get_eof = driver_end,
    .read = driver_read,
    .write = driver_write,
    .truncate = driver_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

/* Objects of format 1.10 throughout, whose headers and indices carry checksums. */
hid_t h5_driver_access(h5_disk_t *disk) {
  static hid_t driver = H5I_INVALID_HID; /* registered once for the library */
  if (driver < 0) driver = H5FDregister(&driver_class);
  hid_t access = driver < 0 ? -1 : H5Pcreate(H5P_FILE_ACCESS);
  if (access < 0) return access;
  if (H5Pset_driver(access, driver, &disk) >= 0 &&
      H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0)
    return access;
  H5Pclose(access);
  return -1;
}

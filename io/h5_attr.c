#include "base/memory.h"
#include "io/h5_core.h"

#include <string.h>

/* *FOUND: the object is there, reached by hard links, and has the attribute. */
static status_t attribute_find(h5_file_t *file, const char *object, const char *name, bool *found) {
  *found = true; /* what cannot be told is told when it is read */
  TRY(h5_find(file, object, found));
  if (!*found) return STATUS_OK;
  TRY(h5_require(file, "object", object));
  htri_t exists = H5Aexists_by_name(file->id, object, name, H5P_DEFAULT);
  TRY_H5(exists, "%s: cannot look for attribute %s of %s", file->path, name, object);
  *found = exists > 0;
  return STATUS_OK;
}

bool h5_attr_exists(h5_file_t *file, const char *object, const char *name) {
  bool found = true;
  status_code_t status = H5_GUARDED(file->path, attribute_find(file, object, name, &found));
  if (status != STATUS_OK) error_clear();
  return found;
}

/* ---- writing ---- */

/* Creates attribute NAME anew and writes VALUES; TYPE and SPACE stay the caller's. */
static status_t attribute_write(h5_file_t *file, const char *object, const char *name, hid_t type,
                                hid_t space, const void *values) {
  bool there;
  TRY_H5(type, "cannot make an HDF5 type");
  TRY_H5(space, "cannot make an HDF5 dataspace");
  TRY(attribute_find(file, object, name, &there));
  if (there)
    TRY_H5(H5Adelete_by_name(file->id, object, name, H5P_DEFAULT), "%s: cannot replace attribute %s of %s",
           file->path, name, object);
  H5_HANDLE(H5Aclose)
  id = H5Acreate_by_name(file->id, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  TRY_H5(id, "%s: cannot create attribute %s of %s", file->path, name, object);
  TRY_H5(H5Awrite(id, type, values), "%s: cannot write attribute %s of %s", file->path, name, object);
  return h5_disk_check(&file->disk, file->path);
}

/* UTF-8 of N bytes, at least one, filled up with '\0': lies in the object's header, which has a checksum. */
static hid_t text_type_open(size_t n) {
  hid_t type = H5Tcopy(H5T_C_S1);
  if (type < 0) return type;
  if (H5Tset_size(type, n > 0 ? n : 1) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0 &&
      H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0)
    return type;
  H5Tclose(type);
  return -1;
}

status_t h5_attr_write_text(h5_file_t *file, const char *object, const char *name, const char *value) {
  size_t n = strlen(value);
  if (file->id < 0) return STATUS_OK;
  if (n > H5_TEXT_MOST)
    return error_set(STATUS_INPUT, "%s: the text of attribute %s of %s has %zu bytes, at most %d are stored",
                     file->path, name, object, n, H5_TEXT_MOST);
  H5_HANDLE(H5Tclose) type = text_type_open(n);
  H5_HANDLE(H5Sclose) space = H5Screate(H5S_SCALAR);
  return attribute_write(file, object, name, type, space, value);
}

static status_t numbers_write(h5_file_t *file, const char *object, const char *name, h5_type_t kind,
                              const void *values, int64_t count) {
  const hsize_t n = (hsize_t)count;
  if (file->id < 0) return STATUS_OK;
  bool scalar = count == 1 && kind != H5TYPE_U64;
  H5_HANDLE(H5Tclose) type = h5_type_open(kind);
  H5_HANDLE(H5Sclose) space = scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &n, NULL);
  return attribute_write(file, object, name, type, space, values);
}

status_t h5_attr_write_i64(h5_file_t *file, const char *object, const char *name, const int64_t *values,
                           int64_t count) {
  return numbers_write(file, object, name, H5TYPE_I64, values, count);
}

status_t h5_attr_write_u64(h5_file_t *file, const char *object, const char *name, const uint64_t *values,
                           int64_t count) {
  return numbers_write(file, object, name, H5TYPE_U64, values, count);
}

status_t h5_attr_write_f64(h5_file_t *file, const char *object, const char *name, const double *values,
                           int64_t count) {
  return numbers_write(file, object, name, H5TYPE_F64, values, count);
}

/* ---- reading ---- */

static status_t attribute_require(h5_file_t *file, const char *object, const char *name) {
  bool found;
  TRY(h5_require(file, "object", object));
  TRY(attribute_find(file, object, name, &found));
  if (found) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: attribute %s of %s is missing", file->path, name, object);
}

static int64_t attribute_count(hid_t id) {
  H5_HANDLE(H5Sclose) space = H5Aget_space(id);
  return space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
}

static status_t text_read(h5_file_t *file, const char *object, const char *name, char **value) {
  TRY(attribute_require(file, object, name));
  H5_HANDLE(H5Aclose) id = H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
  TRY_H5(id, "it cannot be opened");
  H5_HANDLE(H5Tclose) stored = H5Aget_type(id);
  TRY_H5(stored, "it has no readable type");
  if (H5Tget_class(stored) != H5T_STRING || attribute_count(id) != 1)
    return error_set(STATUS_DATA, "not a single string");
  if (H5Tis_variable_str(stored) != 0)
    return error_set(STATUS_DATA, "a string of variable length, which has no checksum: expected one of "
                                  "fixed length");
  size_t n = H5Tget_size(stored);
  if (n > H5_TEXT_MOST)
    return error_set(STATUS_DATA, "a string of %zu bytes, expected at most %d", n, H5_TEXT_MOST);
  TRY(memory_alloc(value, ARENA_IO, n + 1, 1));
  TRY_H5(H5Aread(id, stored, *value), "it cannot be read");
  return STATUS_OK;
}

status_t h5_attr_read_text(h5_file_t *file, const char *object, const char *name, char **value) {
  SCOPED_MEMORY char *text = NULL;
  *value = NULL;
  status_code_t status = H5_GUARDED(file->path, text_read(file, object, name, &text));
  if (status == STATUS_OK) memory_hand_over(value, &text);
  return error_context(status, "while reading attribute %s of %s in %s", name, object, file->path);
}

/* Integers and floats of any width are accepted (h5py writes what its user had); the class must match. */
static status_t numbers_read(h5_file_t *file, const char *object, const char *name, h5_type_t kind,
                             void *values, int64_t count) {
  TRY(attribute_require(file, object, name));
  H5_HANDLE(H5Aclose) id = H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
  TRY_H5(id, "it cannot be opened");
  int64_t found = attribute_count(id);
  if (found != count)
    return error_set(STATUS_DATA, "%lld values found, expected %lld", (long long)found, (long long)count);
  H5_HANDLE(H5Tclose) stored = H5Aget_type(id);
  TRY_H5(stored, "it has no readable type");
  H5T_class_t class = H5Tget_class(stored);
  if (class != H5T_INTEGER && !(class == H5T_FLOAT && kind == H5TYPE_F64))
    return error_set(STATUS_DATA, "not of type %s", h5_type_name(kind));
  H5_HANDLE(H5Tclose) type = h5_type_open(kind);
  TRY_H5(type, "cannot make HDF5's type %s", h5_type_name(kind));
  TRY_H5(H5Aread(id, type, values), "it cannot be read");
  return STATUS_OK;
}

static status_t numbers_get(h5_file_t *file, const char *object, const char *name, h5_type_t kind,
                            void *values, int64_t count) {
  status_code_t status = H5_GUARDED(file->path, numbers_read(file, object, name, kind, values, count));
  return error_context(status, "while reading attribute %s of %s in %s", name, object, file->path);
}

status_t h5_attr_read_i64(h5_file_t *file, const char *object, const char *name, int64_t *values,
                          int64_t count) {
  return numbers_get(file, object, name, H5TYPE_I64, values, count);
}

status_t h5_attr_read_u64(h5_file_t *file, const char *object, const char *name, uint64_t *values,
                          int64_t count) {
  return numbers_get(file, object, name, H5TYPE_U64, values, count);
}

status_t h5_attr_read_f64(h5_file_t *file, const char *object, const char *name, double *values,
                          int64_t count) {
  return numbers_get(file, object, name, H5TYPE_F64, values, count);
}

static status_t h5_attr_count_read(h5_file_t *file, const char *object, const char *name, int64_t *count) {
  bool found;
  TRY(attribute_find(file, object, name, &found));
  if (!found) return STATUS_OK;
  H5_HANDLE(H5Aclose) id = H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
  TRY_H5(id, "%s: attribute %s of %s cannot be opened", file->path, name, object);
  *count = attribute_count(id);
  return STATUS_OK;
}

status_t h5_attr_count(h5_file_t *file, const char *object, const char *name, int64_t *count) {
  *count = 0;
  return H5_GUARDED(file->path, h5_attr_count_read(file, object, name, count));
}

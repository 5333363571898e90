#include "base/memory.h"
#include "io/h5.h"
#include "io/h5_core.h"

#include <string.h>

bool h5_attr_exists(h5_file_t *file, const char *object, const char *name) {
  if (!h5_exists(file, object)) return false;
  htri_t found = H5Aexists_by_name(file->id, object, name, H5P_DEFAULT);
  if (found < 0) H5Eclear2(H5E_DEFAULT);
  return found > 0;
}

/* Creates attribute NAME anew and writes VALUES; TYPE and SPACE stay the caller's. */
static status_t attribute_write(h5_file_t *file, const char *object, const char *name, hid_t type,
                                hid_t space, const void *values) {
  if (h5_attr_exists(file, object, name))
    TRY_H5(H5Adelete_by_name(file->id, object, name, H5P_DEFAULT), "%s: cannot replace attribute %s of %s",
           file->path, name, object);
  hid_t id = H5Acreate_by_name(file->id, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  TRY_H5(id, "%s: cannot create attribute %s of %s", file->path, name, object);
  status_code_t status = STATUS_OK;
  if (H5Awrite(id, type, values) < 0)
    status = h5_error("%s: cannot write attribute %s of %s", file->path, name, object);
  H5Aclose(id);
  return status;
}

/* Variable-length UTF-8 strings: h5py gives them as str, and their length is not bound to the 64 KiB of an
 * object header. */
static hid_t text_type_open(void) {
  hid_t type = H5Tcopy(H5T_C_S1);
  if (type < 0) return type;
  if (H5Tset_size(type, H5T_VARIABLE) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0) return type;
  H5Tclose(type);
  return -1;
}

status_t h5_attr_write_text(h5_file_t *file, const char *object, const char *name, const char *value) {
  hid_t type = text_type_open();
  TRY_H5(type, "cannot make HDF5's string type");
  hid_t space = H5Screate(H5S_SCALAR);
  status_code_t status = space < 0 ? h5_error("cannot make an HDF5 dataspace")
                                   : attribute_write(file, object, name, type, space, &value);
  if (space >= 0) H5Sclose(space);
  H5Tclose(type);
  return status;
}

static status_t numbers_write(h5_file_t *file, const char *object, const char *name, h5_type_t kind,
                              const void *values, int64_t count) {
  hsize_t n = (hsize_t)count;
  hid_t type = h5_type_open(kind);
  TRY_H5(type, "cannot make HDF5's type %s", h5_type_name(kind));
  bool scalar = count == 1 && kind != H5TYPE_U64;
  hid_t space = scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &n, NULL);
  status_code_t status = space < 0 ? h5_error("cannot make an HDF5 dataspace of %lld", (long long)count)
                                   : attribute_write(file, object, name, type, space, values);
  if (space >= 0) H5Sclose(space);
  H5Tclose(type);
  return status;
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

/* ------------------------------------------------------------------ reading ------------------------------
 */

static status_t attribute_open(h5_file_t *file, const char *object, const char *name, hid_t *id) {
  if (!h5_exists(file, object)) return error_set(STATUS_DATA, "%s: %s is missing", file->path, object);
  if (!h5_attr_exists(file, object, name))
    return error_set(STATUS_DATA, "%s: attribute %s of %s is missing", file->path, name, object);
  *id = H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
  TRY_H5(*id, "%s: cannot open attribute %s of %s", file->path, name, object);
  return STATUS_OK;
}

static int64_t attribute_count(hid_t id) {
  hid_t space = H5Aget_space(id);
  if (space < 0) return -1;
  hssize_t n = H5Sget_simple_extent_npoints(space);
  H5Sclose(space);
  return n;
}

static status_t variable_text_read(hid_t id, char **value) {
  char *text = NULL;
  hid_t type = text_type_open();
  TRY_H5(type, "cannot make HDF5's string type");
  status_code_t status = H5Aread(id, type, &text) >= 0 ? STATUS_OK : h5_error("cannot read a string");
  H5Tclose(type);
  TRY(status);
  status = memory_copy_text(value, ARENA_IO, text ? text : "", text ? strlen(text) : 0);
  H5free_memory(text);
  return status;
}

static status_t fixed_text_read(hid_t id, hid_t stored, char **value) {
  size_t n = H5Tget_size(stored);
  TRY(memory_alloc(value, ARENA_IO, n + 1, 1));
  if (H5Aread(id, stored, *value) >= 0) return STATUS_OK;
  memory_free(*value);
  *value = NULL;
  return h5_error("cannot read a string");
}

static status_t text_read(hid_t id, char **value) {
  hid_t stored = H5Aget_type(id);
  TRY_H5(stored, "cannot read an attribute's type");
  status_code_t status;
  if (H5Tget_class(stored) != H5T_STRING || attribute_count(id) != 1)
    status = error_set(STATUS_DATA, "not a single string");
  else if (H5Tis_variable_str(stored) > 0)
    status = variable_text_read(id, value);
  else
    status = fixed_text_read(id, stored, value);
  H5Tclose(stored);
  return status;
}

status_t h5_attr_read_text(h5_file_t *file, const char *object, const char *name, char **value) {
  hid_t id;
  *value = NULL;
  TRY(attribute_open(file, object, name, &id));
  status_code_t status = text_read(id, value);
  H5Aclose(id);
  if (status == STATUS_OK) return STATUS_OK;
  return error_context(status, "while reading attribute %s of %s in %s", name, object, file->path);
}

/* Integers and floats of any width are accepted (h5py writes what its user had); the class must match. */
static status_t numbers_convert(hid_t id, h5_type_t kind, void *values, int64_t count) {
  int64_t found = attribute_count(id);
  if (found != count)
    return error_set(STATUS_DATA, "%lld values found, expected %lld", (long long)found, (long long)count);
  hid_t stored = H5Aget_type(id);
  TRY_H5(stored, "cannot read an attribute's type");
  H5T_class_t class = H5Tget_class(stored);
  H5Tclose(stored);
  if (class != H5T_INTEGER && !(class == H5T_FLOAT && kind == H5TYPE_F64))
    return error_set(STATUS_DATA, "not of type %s", h5_type_name(kind));
  hid_t type = h5_type_open(kind);
  TRY_H5(type, "cannot make HDF5's type %s", h5_type_name(kind));
  status_code_t status = H5Aread(id, type, values) >= 0 ? STATUS_OK : h5_error("cannot read the values");
  H5Tclose(type);
  return status;
}

static status_t numbers_read(h5_file_t *file, const char *object, const char *name, h5_type_t kind,
                             void *values, int64_t count) {
  hid_t id;
  TRY(attribute_open(file, object, name, &id));
  status_code_t status = numbers_convert(id, kind, values, count);
  H5Aclose(id);
  if (status == STATUS_OK) return STATUS_OK;
  return error_context(status, "while reading attribute %s of %s in %s", name, object, file->path);
}

status_t h5_attr_read_i64(h5_file_t *file, const char *object, const char *name, int64_t *values,
                          int64_t count) {
  return numbers_read(file, object, name, H5TYPE_I64, values, count);
}

status_t h5_attr_read_u64(h5_file_t *file, const char *object, const char *name, uint64_t *values,
                          int64_t count) {
  return numbers_read(file, object, name, H5TYPE_U64, values, count);
}

status_t h5_attr_read_f64(h5_file_t *file, const char *object, const char *name, double *values,
                          int64_t count) {
  return numbers_read(file, object, name, H5TYPE_F64, values, count);
}

status_t h5_attr_count(h5_file_t *file, const char *object, const char *name, int64_t *count) {
  hid_t id;
  *count = 0;
  if (!h5_attr_exists(file, object, name)) return STATUS_OK;
  TRY(attribute_open(file, object, name, &id));
  *count = attribute_count(id);
  H5Aclose(id);
  return STATUS_OK;
}

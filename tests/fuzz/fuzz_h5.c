#include "fuzz_h5.h"

#include "io/h5_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { EDITS_MOST = 16, TEXT_MOST = 64, HASHED_MOST = 1 << 20 };

void fuzz_h5_load(const char *path, fuzz_h5_t *file) {
  FILE *stream = fopen(path, "rb");
  FUZZ_EXPECT(stream != NULL && fseek(stream, 0, SEEK_END) == 0);
  file->n = (size_t)ftell(stream);
  file->bytes = malloc(file->n);
  rewind(stream);
  FUZZ_EXPECT(file->bytes != NULL && fread(file->bytes, 1, file->n, stream) == file->n);
  fclose(stream);
}

/* ---- Changes. What the library refuses is left as it is. ---- */

static const char *choose_name(fuzz_input_t *input, const char *const *names) {
  size_t count = 0;
  while (names[count] != NULL)
    count++;
  return names[fuzz_choose(input, count)];
}

/* One of the numbers that matter in shapes and counts, or any. */
static uint64_t choose_number(fuzz_input_t *input) {
  static const uint64_t numbers[] = {
      0, 1, 2, UINT64_MAX, INT64_MAX, INT64_MAX / 2, UINT64_C(1) << 32, UINT64_C(1) << 61};
  size_t choice = fuzz_choose(input, 16);
  return choice < 8 ? numbers[choice] : fuzz_take(input, choice < 12 ? 1 : 8);
}

static void change_bytes(hid_t file, fuzz_input_t *input, const char *object) {
  uint8_t bytes[4096];
  H5_HANDLE(H5Dclose) id = H5Dopen2(file, object, H5P_DEFAULT);
  if (id < 0) return;
  H5_HANDLE(H5Tclose) type = H5Dget_type(id);
  H5_HANDLE(H5Sclose) space = H5Dget_space(id);
  hssize_t points = H5Sget_simple_extent_npoints(space);
  size_t size = H5Tget_size(type);
  if (points <= 0 || size == 0 || (size_t)points > sizeof bytes / size) return;
  size_t n = (size_t)points * size;
  if (H5Dread(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) < 0) return;
  size_t width = (size_t)1 << fuzz_choose(input, 4), at = fuzz_choose(input, n) / width * width;
  uint64_t value = choose_number(input);
  if (at + width <= n) memcpy(bytes + at, &value, width);
  H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes);
}

/* The attributes of what was there are gone; `xxh3` is there again, to be filled in. */
static void change_shape(hid_t file, fuzz_input_t *input, const char *object) {
  hsize_t shape[6] = {0};
  int ndim = (int)fuzz_choose(input, 6);
  H5_HANDLE(H5Tclose) type = h5_type_open((h5_type_t)fuzz_choose(input, H5TYPE_COUNT));
  H5_HANDLE(H5Pclose) creation = H5Pcreate(H5P_DATASET_CREATE);
  size_t layout = fuzz_choose(input, 8);
  bool chunked = layout == 0 && ndim > 0; /* the library makes a list of all chunks */
  for (int i = 0; i < ndim; i++)
    shape[i] = chunked ? choose_number(input) % 16 : choose_number(input);
  H5_HANDLE(H5Sclose) space = ndim == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(ndim, shape, NULL);
  const hsize_t chunk[6] = {4, 4, 4, 4, 4, 4};
  if (space < 0) return;
  if (chunked) H5Pset_chunk(creation, ndim, chunk);
  if (layout == 1) H5Pset_layout(creation, H5D_COMPACT);
  H5Ldelete(file, object, H5P_DEFAULT);
  H5_HANDLE(H5Dclose) id = H5Dcreate2(file, object, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  if (id < 0) return;
  const hsize_t one = 1;
  H5_HANDLE(H5Sclose) hashes = H5Screate_simple(1, &one, NULL);
  H5Aclose(H5Acreate2(id, "xxh3", H5T_STD_U64LE, hashes, H5P_DEFAULT, H5P_DEFAULT));
}

static void change_numbers(hid_t file, fuzz_input_t *input, const char *object, const char *name) {
  uint64_t values[4];
  hsize_t count = fuzz_choose(input, 5);
  H5_HANDLE(H5Tclose) type = h5_type_open((h5_type_t)fuzz_choose(input, H5TYPE_COUNT));
  for (size_t i = 0; i < 4; i++)
    values[i] = i < count || i == 0 ? choose_number(input) : 0;
  H5_HANDLE(H5Sclose) space = count == 4 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, NULL);
  H5Adelete_by_name(file, object, name, H5P_DEFAULT);
  H5_HANDLE(H5Aclose)
  id = H5Acreate_by_name(file, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  if (id >= 0) H5Awrite(id, type, values);
}

static void change_text(hid_t file, fuzz_input_t *input, const char *object, const char *name) {
  char text[TEXT_MOST] = {0};
  const char *words = text;
  size_t n = fuzz_choose(input, TEXT_MOST);
  H5_HANDLE(H5Tclose) type = H5Tcopy(H5T_C_S1);
  H5_HANDLE(H5Sclose) space = H5Screate(H5S_SCALAR);
  for (size_t i = 0; i < n; i++)
    text[i] = (char)fuzz_take(input, 1);
  bool variable = n == TEXT_MOST - 1;
  H5Tset_size(type, variable ? H5T_VARIABLE : n > 0 ? n : 1);
  H5Adelete_by_name(file, object, name, H5P_DEFAULT);
  H5_HANDLE(H5Aclose)
  id = H5Acreate_by_name(file, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  text[TEXT_MOST - 1] = '\0';
  if (id >= 0) H5Awrite(id, type, variable ? (const void *)&words : text);
}

/* Something else is in the place of OBJECT. */
static void change_link(hid_t file, fuzz_input_t *input, const char *object, const char *other) {
  size_t choice = fuzz_choose(input, 5);
  if (strcmp(object, "/") == 0) return;
  H5Ldelete(file, object, H5P_DEFAULT);
  if (choice == 1) H5Lcreate_soft(other, file, object, H5P_DEFAULT, H5P_DEFAULT);
  if (choice == 2) H5Lcreate_external("other.h5", other, file, object, H5P_DEFAULT, H5P_DEFAULT);
  if (choice == 3) H5Lcreate_hard(file, other, file, object, H5P_DEFAULT, H5P_DEFAULT);
  if (choice == 4) H5Gclose(H5Gcreate2(file, object, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void change(hid_t file, fuzz_input_t *input, const fuzz_h5_t *names) {
  size_t kind = fuzz_choose(input, 16);
  const char *object = choose_name(input, names->objects);
  if (kind < 8) change_bytes(file, input, object);
  if (kind >= 8 && kind < 10) change_shape(file, input, object);
  if (kind >= 10 && kind < 12) change_numbers(file, input, object, choose_name(input, names->attributes));
  if (kind == 12) change_text(file, input, object, choose_name(input, names->attributes));
  if (kind == 13) change_link(file, input, object, choose_name(input, names->objects));
  if (kind == 14) H5Adelete_by_name(file, object, choose_name(input, names->attributes), H5P_DEFAULT);
}

/* ---- Hashes ---- */

static uint64_t contents_hash(hid_t id) {
  static uint8_t bytes[HASHED_MOST];
  H5_HANDLE(H5Tclose) type = H5Dget_type(id);
  H5_HANDLE(H5Sclose) space = H5Dget_space(id);
  hssize_t points = H5Sget_simple_extent_npoints(space);
  size_t size = H5Tget_size(type);
  if (points < 0 || size == 0 || (size_t)points > sizeof bytes / size) return 0;
  if (points > 0 && H5Dread(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) < 0) return 0;
  return XXH3_64bits(bytes, (size_t)points * size);
}

static void rehash(hid_t file, const char *object) {
  H5_HANDLE(H5Dclose) id = H5Dopen2(file, object, H5P_DEFAULT);
  if (id < 0) return;
  H5_HANDLE(H5Aclose) attribute = H5Aopen(id, "xxh3", H5P_DEFAULT);
  if (attribute < 0) return;
  H5_HANDLE(H5Sclose) space = H5Aget_space(attribute);
  H5_HANDLE(H5Tclose) type = H5Aget_type(attribute);
  if (H5Sget_simple_extent_npoints(space) != 1 || H5Tequal(type, H5T_STD_U64LE) <= 0) return;
  uint64_t hash = contents_hash(id);
  H5Awrite(attribute, H5T_NATIVE_UINT64, &hash);
}

/* ---- Files ---- */

bool fuzz_h5_make(const fuzz_h5_t *file, const char *path, fuzz_input_t *input) {
  fuzz_write(path, file->bytes, file->n);
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  hid_t id = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
  FUZZ_EXPECT(id >= 0);
  bool hashes = fuzz_choose(input, 8) != 7;
  for (int i = 0; i < EDITS_MOST && input->left > 0; i++)
    change(id, input, file);
  for (size_t i = 0; hashes && file->objects[i] != NULL; i++)
    rehash(id, file->objects[i]);
  FUZZ_EXPECT(H5Fclose(id) >= 0);
  return hashes;
}

void fuzz_h5_set(const char *path, const char *object, const char *name, uint64_t value) {
  hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
  FUZZ_EXPECT(file >= 0);
  hid_t id = H5Aopen_by_name(file, object, name, H5P_DEFAULT, H5P_DEFAULT);
  if (id >= 0) {
    H5_HANDLE(H5Sclose) space = H5Aget_space(id);
    if (H5Sget_simple_extent_npoints(space) == 1) H5Awrite(id, H5T_NATIVE_UINT64, &value);
    H5Aclose(id);
  }
  FUZZ_EXPECT(H5Fclose(file) >= 0);
}

uint64_t fuzz_h5_hash(const char *path, const char *object) {
  uint64_t hash = 0;
  hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  FUZZ_EXPECT(file >= 0);
  hid_t id = H5Aopen_by_name(file, object, "xxh3", H5P_DEFAULT, H5P_DEFAULT);
  if (id >= 0) {
    H5_HANDLE(H5Sclose) space = H5Aget_space(id);
    if (H5Sget_simple_extent_npoints(space) == 1) H5Aread(id, H5T_NATIVE_UINT64, &hash);
    H5Aclose(id);
  }
  FUZZ_EXPECT(H5Fclose(file) >= 0);
  return hash;
}

/* Safetensors files that break the format in one place each. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "io/tensors/safetensors.h"
#include "io_test.h"

#include <time.h>

typedef struct {
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
} safetensors_refused_place_t;

static safetensors_refused_place_t place;

static void write_parts(const void *length, const void *header, size_t n, size_t data) {
  static const char zeros[4096];
  FILE *file = fopen(place.path, "w");
  assert_non_null(file);
  assert_int_equal(fwrite(length, 1, 8, file), 8);
  assert_int_equal(fwrite(header, 1, n, file), n);
  assert_int_equal(fwrite(zeros, 1, data, file), data);
  assert_int_equal(fclose(file), 0);
}

/* A file of this HEADER and DATA bytes behind it. */
static void write_file(const char *header, size_t data) {
  uint64_t n = strlen(header);
  write_parts(&n, header, (size_t)n, data);
}

static void refuse(const char *header, size_t data, const char *about) {
  tensor_files_t *files;
  write_file(header, data);
  assert_error_about(tensor_files_open(place.path, &files), STATUS_DATA, about);
  write_file(header, data);
  assert_error_about(tensor_files_open(place.path, &files), STATUS_DATA, place.path);
}

static void accept(const char *header, size_t data, int64_t count) {
  tensor_files_t *files;
  write_file(header, data);
  assert_ok(tensor_files_open(place.path, &files));
  assert_int_equal(tensor_files_count(files), count);
  tensor_files_close(files);
}

/* One tensor 'a' of four bytes with another value in one FIELD. */
static void refuse_field(const char *dtype, const char *shape, const char *offsets, const char *about) {
  char header[512];
  snprintf(header, sizeof header, "{\"a\":{\"dtype\":%s,\"shape\":%s,\"data_offsets\":%s}}", dtype, shape,
           offsets);
  refuse(header, 4, about);
}

static void sound_files_are_taken(void **state) {
  (void)state;
  accept("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, 1);
  accept("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}    ", 4, 1);
  accept("{}", 0, 0);
  accept("{\"__metadata__\":{}}", 0, 0);
  accept("{\"__metadata__\":{\"format\":\"pt\"}}", 0, 0);
  accept("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, 1);
  accept("{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"none\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}",
         4, 3);
}

static void wrong_lengths_are_refused(void **state) {
  (void)state;
  const uint64_t lengths[] = {3, 100, 100000001, INT64_MAX, UINT64_MAX, 0};
  tensor_files_t *files;
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    write_parts(&lengths[i], "{}", 2, 0);
    assert_error_about(tensor_files_open(place.path, &files), STATUS_DATA, "header");
  }
  const uint64_t two = 2;
  write_parts(&two, "{", 1, 0);
  assert_error_about(tensor_files_open(place.path, &files), STATUS_DATA, "ends after 1");
}

static void broken_headers_are_refused(void **state) {
  (void)state;
  refuse("{\"a\"", 0, "header");
  refuse("{} {}", 0, "header");
  refuse("{\"\xff\":{}}", 0, "UTF8");
  refuse("{\"a\\u0000\":{}}", 0, "NUL");
  refuse("{\"__metadata__\":{\"format\":1}}", 0, "__metadata__");
  refuse("{\"__metadata__\":[]}", 0, "__metadata__");
  refuse("{\"a\":7}", 0, "'a': an integer");
  refuse("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype");
  refuse("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape");
  refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets");
}

static void repeated_names_are_refused(void **state) {
  (void)state;
  refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
         4, "'a' is there twice");
  refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
         "'shape' is there twice");
}

static void wrong_fields_are_refused(void **state) {
  (void)state;
  refuse_field("\"F31\"", "[1]", "[0,4]", "'F31'");
  refuse_field("\"f32\"", "[1]", "[0,4]", "'f32'");
  refuse_field("\"F4\"", "[8]", "[0,4]", "'F4'");
  refuse_field("32", "[1]", "[0,4]", "dtype");
  refuse_field("\"F32\"", "[2]", "[0,4]", "4 bytes found, expected 8");
  refuse_field("\"F16\"", "[1]", "[0,4]", "4 bytes found, expected 2");
  refuse_field("\"F32\"", "[-1]", "[0,4]", "shape");
  refuse_field("\"F32\"", "[1.0]", "[0,4]", "shape");
  refuse_field("\"F32\"", "[\"1\"]", "[0,4]", "shape");
  refuse_field("\"F32\"", "1", "[0,4]", "shape");
  refuse_field("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]", "at most 8");
  refuse_field("\"F32\"", "[1]", "[0,4,4]", "data_offsets");
  refuse_field("\"F32\"", "[1]", "[0]", "data_offsets");
  refuse_field("\"F32\"", "[1]", "[-4,0]", "data_offsets");
  refuse_field("\"F32\"", "[1]", "[4,0]", "data_offsets");
}

static void overflows_are_refused(void **state) {
  (void)state;
  refuse_field("\"F32\"", "[4294967296,4294967296]", "[0,4]", "2^63");
  refuse_field("\"F32\"", "[4611686018427387905]", "[0,4]", "2^63");
  refuse_field("\"F32\"", "[9223372036854775807,2,0]", "[0,4]", "2^63");
  refuse_field("\"F32\"", "[0,9223372036854775807,2]", "[0,0]", "2^63");
  refuse_field("\"F32\"", "[9223372036854775808]", "[0,4]", "shape");
  refuse_field("\"F32\"", "[1]", "[9223372036854775803,9223372036854775807]", "behind the end");
  refuse_field("\"F32\"", "[1]", "[0,18446744073709551620]", "data_offsets");
  refuse_field("\"F32\"", "[1]", "[4,8]", "cut short");
}

static void holes_and_overlaps_are_refused(void **state) {
  (void)state;
  const char *const two = "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[%s]},"
                          "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[%s]}}";
  const struct {
    const char *a, *b;
    size_t data;
    const char *about;
  } cases[] = {{"0,2", "3,5", 5, "'b'"},              /* a hole */
               {"0,2", "1,3", 3, "'b'"},              /* an overlap */
               {"0,2", "0,2", 2, "hole nor overlap"}, /* the same */
               {"1,3", "3,5", 5, "'a'"},              /* a hole before all */
               {"0,2", "2,4", 5, "end at byte"},      /* bytes of no tensor */
               {"0,2", "2,4", 3, "cut short"}};
  char header[512];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    snprintf(header, sizeof header, two, cases[i].a, cases[i].b);
    refuse(header, cases[i].data, cases[i].about);
  }
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* A hundred thousand tensors are opened and found; that it takes time in proportion to their number shows in
 * the ratio to a tenth of them. */
static double open_many(int count) {
  char *header = NULL, name[64];
  size_t n = 0;
  FILE *text = open_memstream(&header, &n);
  for (int i = 0; i < count; i++)
    fprintf(text, "%s\"model.layers.%d.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
            i == 0 ? "{" : ",", i, count - i - 1, count - i);
  fputs("}", text);
  fclose(text);
  write_file(header, 0);
  free(header);
  assert_int_equal(truncate(place.path, (off_t)(8 + n) + count), 0);
  double start = seconds();
  tensor_files_t *files;
  assert_ok(tensor_files_open(place.path, &files));
  double taken = seconds() - start;
  assert_int_equal(tensor_files_count(files), count);
  for (int i = 0; i < count; i++) {
    snprintf(name, sizeof name, "model.layers.%d.weight", i);
    const tensor_entry_t *entry = tensor_files_find(files, name);
    assert_non_null(entry);
    assert_int_equal(entry->place, (int64_t)(8 + n) + count - i - 1);
  }
  tensor_files_close(files);
  return taken;
}

static void many_tensors_are_opened(void **state) {
  (void)state;
  double few = open_many(10000), many = open_many(100000);
  printf("10^4 tensors: %.3f s, 10^5: %.3f s\n", few, many);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sound_files_are_taken),          cmocka_unit_test(wrong_lengths_are_refused),
      cmocka_unit_test(broken_headers_are_refused),     cmocka_unit_test(repeated_names_are_refused),
      cmocka_unit_test(wrong_fields_are_refused),       cmocka_unit_test(overflows_are_refused),
      cmocka_unit_test(holes_and_overlaps_are_refused), cmocka_unit_test(many_tensors_are_opened),
  };
  snprintf(place.folder, sizeof place.folder, "/tmp/llava_io_XXXXXX");
  if (mkdtemp(place.folder) == NULL ||
      file_join(place.path, place.folder, "w.safetensors", NULL) != STATUS_OK)
    return 1;
  int result = mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
  nftw(place.folder, io_test_remove_one, 16, FTW_DEPTH | FTW_PHYS);
  return result;
}

/* Small image files, JSON files and datasets for the tests of data/. Include after mpi_test.h. */
#ifndef TESTS_DATA_DATA_TEST_H
#define TESTS_DATA_DATA_TEST_H

#include "base/memory.h"
#include "io/io_test.h"
#include "io/jpeg.h"

/* A picture that depends on NUMBER, as JPEG. *BYTES is freed with memory_free. */
static inline void data_test_jpeg(int number, int32_t width, int32_t height, uint8_t **bytes, size_t *n) {
  image_t image;
  assert_ok(image_create(width, height, &image));
  for (int32_t i = 0; i < width * height; i++)
    for (int c = 0; c < 3; c++)
      image.rgb[3 * i + c] = (uint8_t)(i * (c + 1) + number * 53);
  assert_ok(jpeg_encode(&image, 90, bytes, n));
  image_free(&image);
}

static inline void data_test_write_bytes(const char *folder, const char *name, const void *bytes, size_t n) {
  char path[FILE_MAX_PATH];
  FILE *file = fopen(io_test_path(path, folder, name), "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, n, file), n);
  fclose(file);
}

/* Writes picture NUMBER to FOLDER/NAME; CUT bytes are missing at its end. */
static inline void data_test_image(const char *folder, const char *name, int number, size_t cut) {
  uint8_t *bytes;
  size_t n;
  data_test_jpeg(number, 20 + number % 13, 16 + number % 7, &bytes, &n);
  data_test_write_bytes(folder, name, bytes, n - cut);
  memory_free(bytes);
}

static inline bool data_test_first(void) {
  return comm_rank(mpi_test_world()) == 0;
}

#endif

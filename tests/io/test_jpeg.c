#include "base/memory.h"
#include "io/file.h"
#include "io/jpeg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void read_golden(const char *name, const char *suffix, uint8_t **bytes, size_t *n) {
  char path[FILE_MAX_PATH];
  snprintf(path, sizeof path, "%s/io/golden/%s.%s", TEST_SOURCE_DIR, name, suffix);
  assert_int_equal(file_read(path, 1 << 20, (char **)bytes, n), STATUS_OK);
}

static void assert_refused(status_code_t status, const char *name) {
  assert_int_equal(status, STATUS_DATA);
  assert_non_null(strstr(error_message(), name));
  error_clear();
}

/* Decoding must fail, in every way, and leave nothing behind. */
static void assert_broken(const uint8_t *bytes, size_t n) {
  image_t image;
  int32_t width, height;
  assert_refused(jpeg_decode(bytes, n, "picture.jpg", &image), "picture.jpg");
  assert_null(image.rgb);
  assert_refused(jpeg_check(bytes, n, "picture.jpg", &width, &height), "picture.jpg");
}

/* Every kind of file, against Pillow. */
static void decodes_as_pillow(void **state) {
  (void)state;
  static const char *const names[] = {"grey", "rgb", "full", "progressive", "cmyk"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    uint8_t *bytes, *expected;
    size_t n, expected_n;
    image_t image;
    int32_t width = 0, height = 0;
    read_golden(names[i], "jpg", &bytes, &n);
    read_golden(names[i], "rgb", &expected, &expected_n);
    assert_int_equal(jpeg_decode(bytes, n, names[i], &image), STATUS_OK);
    assert_int_equal(image.width, 21);
    assert_int_equal(image.height, 13);
    assert_int_equal((size_t)image.width * (size_t)image.height * 3, expected_n);
    assert_memory_equal(image.rgb, expected, expected_n);
    assert_int_equal(jpeg_check(bytes, n, names[i], &width, &height), STATUS_OK);
    assert_int_equal(width * 100 + height, 2113);
    assert_int_equal(jpeg_size(bytes, n, names[i], &width, &height), STATUS_OK);
    assert_int_equal(width * 100 + height, 2113);
    image_free(&image);
    memory_free(bytes);
    memory_free(expected);
  }
}

static void encoding_keeps_the_picture(void **state) {
  (void)state;
  image_t image, back;
  uint8_t *bytes;
  size_t n;
  assert_int_equal(image_create(40, 30, &image), STATUS_OK);
  for (int i = 0; i < 40 * 30; i++) {
    image.rgb[3 * i] = (uint8_t)(i % 40 * 6);
    image.rgb[3 * i + 1] = (uint8_t)(i / 40 * 8);
    image.rgb[3 * i + 2] = 77;
  }
  assert_int_equal(jpeg_encode(&image, 95, &bytes, &n), STATUS_OK);
  assert_int_equal(jpeg_decode(bytes, n, "made.jpg", &back), STATUS_OK);
  for (int i = 0; i < 40 * 30 * 3; i++)
    assert_true(abs(image.rgb[i] - back.rgb[i]) <= 6);
  memory_free(bytes);
  image_free(&image);
  image_free(&back);
}

static void truncation_is_noticed(void **state) {
  (void)state;
  static const char *const names[] = {"grey", "rgb", "progressive", "cmyk"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    uint8_t *bytes;
    size_t n;
    read_golden(names[i], "jpg", &bytes, &n);
    for (size_t cut = 0; cut + 12 < n; cut += 7)
      assert_broken(bytes, cut);
    memory_free(bytes);
  }
}

/* Place of the frame header's height (then width), 2 bytes each. */
static size_t frame_size_at(const uint8_t *bytes, size_t n) {
  for (size_t i = 2; i + 9 < n; i += 2 + (size_t)bytes[i + 2] * 256 + bytes[i + 3])
    if (bytes[i] == 0xff && (bytes[i + 1] == 0xc0 || bytes[i + 1] == 0xc2)) return i + 5;
  fail_msg("no frame header");
  return 0;
}

/* A few hundred bytes may claim gigabytes of pixels. */
static void huge_header_is_refused(void **state) {
  (void)state;
  uint8_t *bytes;
  size_t n;
  read_golden("progressive", "jpg", &bytes, &n);
  size_t at = frame_size_at(bytes, n);
  const size_t before = memory_usage(ARENA_DATA).peak + memory_usage(ARENA_FEATURES).peak;
  for (int k = 0; k < 2; k++) {
    bytes[at + 2 * (size_t)k] = 60000 >> 8;
    bytes[at + 2 * (size_t)k + 1] = 60000 & 255;
  }
  assert_broken(bytes, n);
  int32_t width, height;
  assert_refused(jpeg_size(bytes, n, "picture.jpg", &width, &height), "60000 x 60000");
  assert_true(memory_usage(ARENA_DATA).peak + memory_usage(ARENA_FEATURES).peak <= before + 100000);
  memory_free(bytes);
}

static void garbage_is_refused(void **state) {
  (void)state;
  static const uint8_t png[] = "\x89PNG\r\n\x1a\n and so on";
  uint8_t *bytes, *noise;
  size_t n;
  assert_broken(NULL, 0);
  assert_broken(png, sizeof png);
  read_golden("rgb", "jpg", &bytes, &n);
  assert_int_equal(memory_alloc(&noise, ARENA_OTHER, n, 1), STATUS_OK);
  /* Damage anywhere is refused or gives some picture, but nothing worse. */
  for (size_t at = 2; at < n; at++) {
    image_t image;
    memcpy(noise, bytes, n);
    noise[at] ^= 0x55;
    if (jpeg_decode(noise, n, "picture.jpg", &image) == STATUS_OK) image_free(&image);
  }
  memory_free(noise);
  memory_free(bytes);
}

/* Each scan of a progressive file costs a pass over all pixels: so the last one is repeated. */
static void scan_bomb_is_refused(void **state) {
  (void)state;
  uint8_t *bytes, *bomb;
  size_t n, scan = 0;
  enum { REPEATS = 150 };
  read_golden("progressive", "jpg", &bytes, &n);
  for (size_t i = 0; i + 1 < n; i++)
    if (bytes[i] == 0xff && bytes[i + 1] == 0xda) scan = i;
  size_t length = n - 2 - scan;
  assert_int_equal(memory_alloc(&bomb, ARENA_OTHER, n + REPEATS * length, 1), STATUS_OK);
  memcpy(bomb, bytes, n - 2);
  for (size_t r = 0; r < REPEATS; r++)
    memcpy(bomb + n - 2 + r * length, bytes + scan, length);
  memcpy(bomb + n - 2 + REPEATS * length, "\xff\xd9", 2);
  assert_broken(bomb, n + REPEATS * length);
  memory_free(bomb);
  memory_free(bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(decodes_as_pillow),     cmocka_unit_test(encoding_keeps_the_picture),
      cmocka_unit_test(truncation_is_noticed), cmocka_unit_test(huge_header_is_refused),
      cmocka_unit_test(garbage_is_refused),    cmocka_unit_test(scan_bomb_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a file says it is, and how it asks to be shown. */
#include "io/image_kind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void kinds_are_told_apart(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t n;
    const char *word; /* of the kind's name */
  } files[] = {
      {"\xff\xd8\xff\xe0", 4, "JPEG"},
      {"\x89PNG\r\n\x1a\n", 8, "PNG"},
      {"GIF89a", 6, "GIF"},
      {"RIFF....WEBPVP8 ", 16, "WebP"},
      {"BM......", 8, "BMP"},
      {"II*\0", 4, "TIFF"},
      {"MM\0*", 4, "TIFF"},
      {"\0\0\0\x18"
       "ftypheic",
       12, "HEIC"},
      {"\0\0\0\x18"
       "ftypavif",
       12, "AVIF"},
      {"\0\0\0\x18"
       "ftypisom",
       12, "video"},
      {"\0\0\0\x0cjP  \r\n", 10, "JPEG 2000"},
      {"<!DOCTYPE html><html>", 21, "HTML"},
      {"\xef\xbb\xbf \n<HTML>", 11, "HTML"},
      {"<?xml version", 13, "XML"},
      {"{\"error\": 404}", 14, "JSON"},
      {"version https://git-lfs.github.com/spec/v1", 42, "LFS"},
      {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 14, "zeros"},
      {"%PDF-1.4", 8, "PDF"},
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    const char *kind = image_kind((const uint8_t *)files[i].bytes, files[i].n);
    assert_non_null(kind);
    if (strstr(kind, files[i].word) == NULL) fail_msg("'%s' lacks '%s'", kind, files[i].word);
  }
  assert_null(image_kind((const uint8_t *)"hello", 5));
  assert_null(image_kind((const uint8_t *)"", 0));
  assert_null(image_kind((const uint8_t *)"\x89P", 2));
}

/* In both byte orders, behind another segment, and nothing where the block is cut anywhere. */
static void the_orientation_is_read(void **state) {
  (void)state;
  static const uint8_t big[] = {0xff, 0xd8, 0xff, 0xe0, 0, 4,  1, 2, 0xff, 0xe1, 0, 34, 'E',  'x',  'i', 'f',
                                0,    0,    'M',  'M',  0, 42, 0, 0, 0,    8,    0, 1,  0x01, 0x12, 0,   3,
                                0,    0,    0,    1,    0, 6,  0, 0, 0,    0,    0, 0,  0xff, 0xda, 0,   2};
  static const uint8_t little[] = {0xff, 0xd8, 0xff, 0xe1, 0, 34, 'E', 'x', 'i',  'f',  0,    0,    'I', 'I',
                                   42,   0,    8,    0,    0, 0,  1,   0,   0x12, 0x01, 3,    0,    1,   0,
                                   0,    0,    3,    0,    0, 0,  0,   0,   0,    0,    0xff, 0xda, 0,   2};
  assert_int_equal(image_orientation(big, sizeof big), 6);
  assert_int_equal(image_orientation(little, sizeof little), 3);
  for (size_t n = 0; n < 44; n++)
    assert_int_equal(image_orientation(big, n), 1);
  uint8_t odd[sizeof little];
  memcpy(odd, little, sizeof odd);
  odd[30] = 9;
  assert_int_equal(image_orientation(odd, sizeof odd), 1);
  memcpy(odd, little, sizeof odd);
  memset(odd + 16, 0xff, 4); /* the directory lies beyond the block */
  assert_int_equal(image_orientation(odd, sizeof odd), 1);
}

/* PNG: behind another chunk; WebP: bare and behind the mark of JPEG's block, at an odd length before. */
static void the_orientation_of_other_formats(void **state) {
  (void)state;
  static const char png[] = "\x89PNG\r\n\x1a\n\0\0\0\2tEXtab1234\0\0\0\x16"
                            "eXIfMM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\6\0\0"
                            "5678";
  static const char bare[] = "RIFF....WEBPICCP\3\0\0\0abc\0EXIF\x16\0\0\0"
                             "II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\3\0\0\0";
  static const char marked[] = "RIFF....WEBPEXIF\x1c\0\0\0"
                               "Exif\0\0MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\10\0\0";
  assert_int_equal(image_orientation((const uint8_t *)png, sizeof png - 1), 6);
  assert_int_equal(image_orientation((const uint8_t *)bare, sizeof bare - 1), 3);
  assert_int_equal(image_orientation((const uint8_t *)marked, sizeof marked - 1), 8);
  for (size_t n = 0; n < sizeof png - 7; n++)
    assert_int_equal(image_orientation((const uint8_t *)png, n), 1);
  for (size_t n = 0; n < sizeof marked - 1; n++)
    assert_int_equal(image_orientation((const uint8_t *)marked, n), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kinds_are_told_apart),
      cmocka_unit_test(the_orientation_is_read),
      cmocka_unit_test(the_orientation_of_other_formats),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

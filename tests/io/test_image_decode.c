/* Images of every format, against Pillow and CLIPImageProcessor (golden/make_formats.py), and broken ones. */
#include "base/memory.h"
#include "io/file.h"
#include "io/image_decode.h"
#include "io/image_kind.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <zlib.h>

enum { GRID = 8, NAME_BYTES = 32, CASES_MAX = 128 };

/* A case of formats.bin; everything points into the file. */
typedef struct {
  const char *name;
  int32_t width, height;
  const uint8_t *bytes, *pixels;         /* the file; (height, width, 3) */
  const uint8_t (*grids)[GRID][GRID][3]; /* pad 224, pad 336, square 224, square 336 */
  size_t n;
} image_decode_case_t;

static uint8_t *golden;
static image_decode_case_t cases[CASES_MAX];
static int case_count;

static bool is_decoded(const image_decode_case_t *c) {
#ifdef LLAVA_HAS_WEBP
  (void)c;
  return true;
#else
  return image_format(c->bytes, c->n) != IMAGE_WEBP;
#endif
}

static int set_up(void **state) {
  (void)state;
  size_t n;
  if (file_read(TEST_SOURCE_DIR "/io/golden/formats.bin", 1 << 20, (char **)&golden, &n) != STATUS_OK)
    return -1;
  for (const uint8_t *at = golden; at < golden + n; case_count++) {
    assert_in_range(case_count, 0, CASES_MAX - 1);
    image_decode_case_t *c = &cases[case_count];
    int32_t numbers[3];
    memcpy(numbers, at + NAME_BYTES, sizeof numbers);
    c->name = (const char *)at;
    c->n = (size_t)numbers[0];
    c->width = numbers[1];
    c->height = numbers[2];
    c->bytes = at + NAME_BYTES + sizeof numbers;
    c->pixels = c->bytes + c->n;
    c->grids = (const uint8_t(*)[GRID][GRID][3])(c->pixels + 3 * (size_t)c->width * (size_t)c->height);
    at = (const uint8_t *)(c->grids + 4);
  }
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  memory_free(golden);
  return 0;
}

static const image_decode_case_t *find_case(const char *name) {
  for (int i = 0; i < case_count; i++)
    if (strcmp(cases[i].name, name) == 0) return &cases[i];
  fail_msg("no case '%s'", name);
  return NULL;
}

/* ---- What Pillow gives ---- */

static void check_pixels(const image_decode_case_t *c, const image_t *image) {
  assert_int_equal(image->width, c->width);
  assert_int_equal(image->height, c->height);
  for (int32_t i = 0; i < c->width * c->height * 3; i++)
    if (image->rgb[i] != c->pixels[i])
      fail_msg("%s: column %d, row %d, channel %d is %d, expected %d", c->name, i / 3 % c->width,
               i / 3 / c->width, i % 3, image->rgb[i], c->pixels[i]);
}

static void decodes_as_pillow(void **state) {
  (void)state;
  assert_int_equal(case_count, 65);
  for (int i = 0; i < case_count; i++) {
    const image_decode_case_t *c = &cases[i];
    image_t image;
    int32_t size[2][2] = {{0}};
    if (!is_decoded(c)) continue;
    if (image_decode(c->bytes, c->n, c->name, &image) != STATUS_OK) fail_msg("%s", error_message());
    check_pixels(c, &image);
    assert_int_equal(image_check(c->bytes, c->n, c->name, &size[0][0], &size[0][1]), STATUS_OK);
    assert_int_equal(image_size(c->bytes, c->n, c->name, &size[1][0], &size[1][1]), STATUS_OK);
    for (int k = 0; k < 2; k++) {
      assert_int_equal(size[k][0], c->width);
      assert_int_equal(size[k][1], c->height);
    }
    image_free(&image);
  }
}

/* The 8-bit value that was normalised to PIXEL. */
static long level_of(float pixel, int channel) {
  static const double mean[3] = {0.48145466, 0.4578275, 0.40821073};
  static const double deviation[3] = {0.26862954, 0.26130258, 0.27577711};
  return lround(((double)pixel * deviation[channel] + mean[channel]) * 255);
}

static void check_grid(const image_decode_case_t *c, const image_t *image, image_aspect_t aspect,
                       int32_t size, const uint8_t expected[GRID][GRID][3]) {
  static float pixels[3 * 336 * 336];
  const int32_t step = size / GRID;
  assert_int_equal(image_preprocess(image, aspect, PIXELS_CLIP, size, pixels), STATUS_OK);
  for (int y = 0; y < GRID; y++)
    for (int x = 0; x < GRID; x++)
      for (int ch = 0; ch < 3; ch++) {
        int32_t row = y * step + step / 2, column = x * step + step / 2;
        long found = level_of(pixels[(ch * size + row) * size + column], ch);
        if (found != expected[y][x][ch])
          fail_msg("%s, %s %d: column %d, row %d, channel %d is %ld, expected %d", c->name,
                   aspect == IMAGE_PAD ? "pad" : "square", size, column, row, ch, found, expected[y][x][ch]);
      }
}

static void preprocesses_as_the_reference(void **state) {
  (void)state;
  for (int i = 0; i < case_count; i++) {
    const image_decode_case_t *c = &cases[i];
    image_t image;
    if (!is_decoded(c)) continue;
    assert_int_equal(image_decode(c->bytes, c->n, c->name, &image), STATUS_OK);
    check_grid(c, &image, IMAGE_PAD, 224, c->grids[0]);
    check_grid(c, &image, IMAGE_PAD, 336, c->grids[1]);
    check_grid(c, &image, IMAGE_SQUARE, 224, c->grids[2]);
    check_grid(c, &image, IMAGE_SQUARE, 336, c->grids[3]);
    image_free(&image);
  }
}

/* ---- Broken files ---- */

/* Decoding must fail, in every way, name the file and hold WORD, and leave nothing behind. */
static void assert_refused(const uint8_t *bytes, size_t n, const char *word) {
  image_t image;
  int32_t width, height;
  assert_int_equal(image_decode(bytes, n, "a/picture", &image), STATUS_DATA);
  assert_null(image.rgb);
  assert_non_null(strstr(error_message(), "a/picture"));
  if (!strstr(error_message(), word)) fail_msg("'%s' lacks '%s'", error_message(), word);
  assert_int_equal(image_check(bytes, n, "a/picture", &width, &height), STATUS_DATA);
  error_clear();
}

/* A copy in a block of exactly its size, so that a read beyond it is noticed by the sanitizer. */
static uint8_t *copy_of(const image_decode_case_t *c, size_t n) {
  uint8_t *copy;
  assert_int_equal(memory_alloc(&copy, ARENA_OTHER, n > 0 ? n : 1, 1), STATUS_OK);
  memcpy(copy, c->bytes, n);
  return copy;
}

/* Bytes that stand behind the pixels: not needed, and not asked for. */
static size_t tail_of(const image_decode_case_t *c) {
  switch (image_format(c->bytes, c->n)) {
  case IMAGE_PNG:
    return strcmp(c->name, "text behind") == 0 ? 12 + 25 + 4 : 12 + 4;
  case IMAGE_JPEG:
    return 12;
  default:
    return 0;
  }
}

static void truncation_is_noticed(void **state) {
  (void)state;
  for (int i = 0; i < case_count; i++) {
    const image_decode_case_t *c = &cases[i];
    if (!is_decoded(c) || c->n > 3000) continue;
    for (size_t cut = 0; cut + tail_of(c) < c->n; cut += 5) {
      uint8_t *part = copy_of(c, cut);
      image_t image;
      if (image_decode(part, cut, c->name, &image) != STATUS_DATA)
        fail_msg("%s: %zu of %zu", c->name, cut, c->n);
      assert_null(image.rgb);
      memory_free(part);
    }
  }
}

/* Damage anywhere is refused or gives some picture, but nothing worse. */
static void damage_is_survived(void **state) {
  (void)state;
  for (int i = 0; i < case_count; i++) {
    const image_decode_case_t *c = &cases[i];
    if (!is_decoded(c) || c->n > 2000) continue;
    uint8_t *bytes = copy_of(c, c->n);
    for (size_t at = 0; at < c->n; at++) {
      image_t image;
      int32_t width, height;
      bytes[at] ^= 0x55;
      if (image_decode(bytes, c->n, c->name, &image) == STATUS_OK) image_free(&image);
      if (image_check(bytes, c->n, c->name, &width, &height) == STATUS_OK)
        assert_true(width > 0 && height > 0);
      bytes[at] ^= 0x55;
    }
    memory_free(bytes);
  }
}

/* Place of the first chunk KIND of a PNG file. */
static size_t chunk_at(const uint8_t *bytes, size_t n, const char *kind) {
  for (size_t at = 8; at + 8 < n; at += 12 + (size_t)bytes[at + 2] * 256 + bytes[at + 3])
    if (memcmp(bytes + at + 4, kind, 4) == 0) return at;
  fail_msg("no chunk %s", kind);
  return 0;
}

/* Gives the chunk at AT the checksum that fits it. */
static void seal(uint8_t *bytes, size_t at) {
  const uint32_t length = bytes[at + 2] * 256u + bytes[at + 3];
  const uLong sum = crc32(0, bytes + at + 4, length + 4);
  for (int k = 0; k < 4; k++)
    bytes[at + 8 + length + (size_t)k] = (uint8_t)(sum >> (24 - 8 * k));
}

static void png_checksums_are_checked(void **state) {
  (void)state;
  const image_decode_case_t *c = find_case("rgb 8");
  uint8_t *bytes = copy_of(c, c->n);
  size_t at = chunk_at(bytes, c->n, "IDAT");
  bytes[at + 8 + 40] ^= 1; /* what zlib unpacks */
  assert_refused(bytes, c->n, "PNG");
  bytes[at + 8 + 40] ^= 1;
  bytes[at + 9 + bytes[at + 2] * 256u + bytes[at + 3]] ^= 1; /* the sum itself */
  assert_refused(bytes, c->n, "CRC");
  memory_free(bytes);
}

/* Data that zlib refuses, under a checksum that fits. */
static void png_bad_compression_is_refused(void **state) {
  (void)state;
  const image_decode_case_t *c = find_case("palette 8 interlaced");
  uint8_t *bytes = copy_of(c, c->n);
  size_t at = chunk_at(bytes, c->n, "IDAT");
  memset(bytes + at + 8 + 20, 0xff, 30);
  seal(bytes, at);
  assert_refused(bytes, c->n, "PNG");
  memory_free(bytes);
}

static void claim_png_size(uint8_t *bytes, uint32_t width, uint32_t height) {
  const uint32_t size[2] = {width, height};
  for (int k = 0; k < 8; k++)
    bytes[16 + k] = (uint8_t)(size[k / 4] >> (24 - 8 * (k % 4)));
  seal(bytes, 8);
}

/* A few hundred bytes may claim gigabytes of pixels: refused before anything is allocated, with the limit. */
static void png_bombs_are_refused(void **state) {
  (void)state;
  static const uint32_t sizes[][2] = {{60000, 60000}, {1, 2000000}, {2000000, 1}, {0x7fffffff, 0x7fffffff}};
  const image_decode_case_t *c = find_case("grey 1 interlaced");
  uint8_t *bytes = copy_of(c, c->n);
  const size_t before = memory_usage(ARENA_DATA).peak + memory_usage(ARENA_FEATURES).peak;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    claim_png_size(bytes, sizes[i][0], sizes[i][1]);
    assert_refused(bytes, c->n, "at most 100000000 pixels");
  }
  assert_true(memory_usage(ARENA_DATA).peak + memory_usage(ARENA_FEATURES).peak <= before);
  claim_png_size(bytes, 0, 13);
  assert_refused(bytes, c->n, "PNG");
  claim_png_size(bytes, 10000, 10000); /* acceptable, but the data are not there */
  assert_refused(bytes, c->n, "PNG");
  memory_free(bytes);
}

/* Of a lossless file with 14 bits each for width and height. */
static void webp_bombs_are_refused(void **state) {
  (void)state;
  const image_decode_case_t *c = find_case("webp lossless");
  if (!is_decoded(c)) return;
  uint8_t *bytes = copy_of(c, c->n);
  assert_memory_equal(bytes + 12, "VP8L", 4);
  memset(bytes + 21, 0xff, 3);
  bytes[24] |= 0x0f;
  assert_refused(bytes, c->n, "16384 x 16384 pixels");
  memory_free(bytes);
}

static void other_files_are_refused(void **state) {
  (void)state;
  assert_refused(NULL, 0, "empty");
  assert_refused((const uint8_t *)"GIF89a and so on", 16, "GIF");
  assert_refused((const uint8_t *)"hello, world", 12, "unknown");
  assert_refused((const uint8_t *)"\xff\xd8\xff", 3, "JPEG");
  assert_refused((const uint8_t *)"\x89PNG", 4, "PNG");
  assert_refused((const uint8_t *)"RIFF\x04\0\0\0WEBP", 12, "WebP");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(decodes_as_pillow),         cmocka_unit_test(preprocesses_as_the_reference),
      cmocka_unit_test(truncation_is_noticed),     cmocka_unit_test(damage_is_survived),
      cmocka_unit_test(png_checksums_are_checked), cmocka_unit_test(png_bad_compression_is_refused),
      cmocka_unit_test(png_bombs_are_refused),     cmocka_unit_test(webp_bombs_are_refused),
      cmocka_unit_test(other_files_are_refused),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* Resizing and preprocessing against Pillow and CLIPImageProcessor (golden/make_images.py), and on odd
 * images. */
#include "base/memory.h"
#include "vision/image.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { RESIZE, PAD, SQUARE };

typedef struct {
  int32_t kind, width, height, seed, out_width, out_height, bytes;
} image_case_t;

/* The formula of make_images.py. */
static image_t make_image(int32_t width, int32_t height, uint32_t seed) {
  image_t image;
  assert_int_equal(image_create(width, height, &image), STATUS_OK);
  uint32_t state = seed * 2654435761u;
  for (int32_t y = 0; y < height; y++)
    for (int32_t x = 0; x < width; x++)
      for (int32_t c = 0; c < 3; c++) {
        state = state * 1664525u + 1013904223u;
        uint32_t noise = state >> 24;
        int32_t smooth = c == 0 ? x * 255 / width : c == 1 ? y * 255 / height : 255 * ((x / 5 + y / 3) % 2);
        image.rgb[((int64_t)y * width + x) * 3 + c] =
            (uint8_t)(seed % 2 ? noise : ((uint32_t)smooth & 0xF8u) + (noise & 7u));
      }
  return image;
}

static void check_resize(const image_case_t *c, const image_t *image, const uint8_t *expected) {
  image_t out;
  assert_int_equal(image_resize(image, c->out_width, c->out_height, &out), STATUS_OK);
  assert_int_equal(out.width, c->out_width);
  assert_int_equal(out.height, c->out_height);
  assert_memory_equal(out.rgb, expected, (size_t)c->bytes);
  image_free(&out);
}

/* To the bit as well: every value is one of 256 per channel, computed as numpy does. */
static void check_preprocess(const image_case_t *c, const image_t *image, const uint8_t *expected) {
  float *pixels;
  assert_int_equal(memory_alloc(&pixels, ARENA_FEATURES, (size_t)c->bytes, 1), STATUS_OK);
  image_aspect_t aspect = c->kind == PAD ? IMAGE_PAD : IMAGE_SQUARE;
  assert_int_equal(image_preprocess(image, aspect, PIXELS_CLIP, c->out_width, pixels), STATUS_OK);
  assert_memory_equal(pixels, expected, (size_t)c->bytes);
  memory_free(pixels);
}

static void test_golden(void **state) {
  (void)state;
  FILE *file = fopen(TEST_SOURCE_DIR "/vision/golden/images.bin", "rb");
  assert_non_null(file);
  static uint8_t expected[1 << 16];
  int cases = 0;
  for (image_case_t c; fread(&c, sizeof c, 1, file) == 1; cases++) {
    assert_in_range(c.bytes, 1, sizeof expected);
    assert_int_equal(fread(expected, 1, (size_t)c.bytes, file), c.bytes);
    image_t image = make_image(c.width, c.height, (uint32_t)c.seed);
    if (c.kind == RESIZE)
      check_resize(&c, &image, expected);
    else
      check_preprocess(&c, &image, expected);
    image_free(&image);
  }
  fclose(file);
  assert_int_equal(cases, 24);
}

static float level(int c, int value) {
  static const double mean[3] = {0.48145466, 0.4578275, 0.40821073};
  static const double deviation[3] = {0.26862954, 0.26130258, 0.27577711};
  return (float)((value / 255.0 - mean[c]) / deviation[c]);
}

/* A white strip 8 x 2 on a square of the mean colour (122, 116, 104): three rows above it, three below. */
static void test_pad_by_hand(void **state) {
  (void)state;
  static const int fill[3] = {122, 116, 104};
  float pixels[3 * 8 * 8];
  image_t image;
  assert_int_equal(image_create(8, 2, &image), STATUS_OK);
  memset(image.rgb, 255, 8 * 2 * 3);
  assert_int_equal(image_preprocess(&image, IMAGE_PAD, PIXELS_CLIP, 8, pixels), STATUS_OK);
  for (int c = 0; c < 3; c++)
    for (int y = 0; y < 8; y++)
      for (int x = 0; x < 8; x++) {
        int value = y == 3 || y == 4 ? 255 : fill[c];
        assert_true(fabsf(pixels[(c * 8 + y) * 8 + x] - level(c, value)) < 1e-6f);
      }
  image_free(&image);
}

/* An odd border: the smaller half comes first. */
static void test_pad_odd_border(void **state) {
  (void)state;
  float pixels[3 * 4 * 4];
  image_t image;
  assert_int_equal(image_create(1, 4, &image), STATUS_OK);
  assert_int_equal(image_preprocess(&image, IMAGE_PAD, PIXELS_CLIP, 4, pixels), STATUS_OK);
  for (int x = 0; x < 4; x++)
    assert_true(fabsf(pixels[x] - level(0, x == 1 ? 0 : 122)) < 1e-6f);
  image_free(&image);
}

/* The middle of a wide image: columns 3 and 4 of 8. */
static void test_square_crops_the_middle(void **state) {
  (void)state;
  float pixels[3 * 2 * 2];
  image_t image;
  assert_int_equal(image_create(8, 2, &image), STATUS_OK);
  for (int i = 0; i < 16; i++)
    image.rgb[3 * i] = (uint8_t)(10 * (i % 8));
  assert_int_equal(image_preprocess(&image, IMAGE_SQUARE, PIXELS_CLIP, 2, pixels), STATUS_OK);
  assert_true(fabsf(pixels[0] - level(0, 30)) < 1e-6f);
  assert_true(fabsf(pixels[1] - level(0, 40)) < 1e-6f);
  assert_true(fabsf(pixels[3] - level(0, 40)) < 1e-6f);
  image_free(&image);
}

/* SigLIP's pixels: a border of its own mean colour, and all of a wide image, resized on both sides. */
static void test_siglip(void **state) {
  (void)state;
  float pixels[3 * 4 * 4];
  image_t image, resized;
  assert_int_equal(image_create(1, 4, &image), STATUS_OK);
  assert_int_equal(image_preprocess(&image, IMAGE_PAD, PIXELS_SIGLIP, 4, pixels), STATUS_OK);
  for (int x = 0; x < 4; x++)
    assert_true(fabsf(pixels[x] - (x == 1 ? -1.0f : 127.0f / 127.5f - 1.0f)) < 1e-6f);
  image_free(&image);
  image = make_image(9, 5, 1);
  assert_int_equal(image_resize(&image, 4, 4, &resized), STATUS_OK);
  assert_int_equal(image_preprocess(&image, IMAGE_SQUARE, PIXELS_SIGLIP, 4, pixels), STATUS_OK);
  for (int c = 0; c < 3; c++)
    for (int i = 0; i < 16; i++)
      assert_true(fabsf(pixels[c * 16 + i] - ((float)resized.rgb[3 * i + c] / 127.5f - 1.0f)) < 1e-6f);
  image_free(&resized);
  image_free(&image);
}

/* A plain image stays plain at any size: weights sum to one within rounding, even over thousands of taps. */
static void test_plain_stays_plain(void **state) {
  (void)state;
  image_t image, out;
  assert_int_equal(image_create(20000, 3, &image), STATUS_OK);
  memset(image.rgb, 201, 20000 * 3 * 3);
  assert_int_equal(image_resize(&image, 5, 7, &out), STATUS_OK);
  for (int i = 0; i < 5 * 7 * 3; i++)
    assert_int_equal(out.rgb[i], 201);
  image_free(&out);
  image_free(&image);
}

/* Neither the padded square (4.8 GB) nor the resized strip (2.2 GB) of a very long image is ever made. */
static void test_long_image_needs_little_memory(void **state) {
  (void)state;
  enum { LENGTH = 40000, SIZE = 8 };
  float pixels[3 * SIZE * SIZE];
  image_t image = make_image(1, LENGTH, 1);
  size_t before = memory_usage(ARENA_FEATURES).current;
  assert_int_equal(image_preprocess(&image, IMAGE_PAD, PIXELS_CLIP, SIZE, pixels), STATUS_OK);
  assert_int_equal(image_preprocess(&image, IMAGE_SQUARE, PIXELS_CLIP, SIZE, pixels), STATUS_OK);
  assert_int_equal(memory_usage(ARENA_FEATURES).current, before);
  assert_true(memory_usage(ARENA_FEATURES).peak < before + (8u << 20));
  image_free(&image);
}

static void test_refuses_nonsense(void **state) {
  (void)state;
  image_t image = {0}, out;
  float pixel[3];
  assert_int_equal(image_create(0, 4, &image), STATUS_DATA);
  assert_int_equal(image_create(4, -1, &image), STATUS_DATA);
  assert_null(image.rgb);
  assert_int_equal(image_resize(&image, 2, 2, &out), STATUS_DATA);
  assert_int_equal(image_preprocess(&image, IMAGE_PAD, PIXELS_CLIP, 1, pixel), STATUS_DATA);
  image = make_image(2, 2, 1);
  assert_int_equal(image_resize(&image, 2, 0, &out), STATUS_DATA);
  assert_null(out.rgb);
  assert_int_equal(image_preprocess(&image, IMAGE_SQUARE, PIXELS_CLIP, 0, pixel), STATUS_DATA);
  image_free(&image);
  image_free(&image);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_golden),
      cmocka_unit_test(test_siglip),
      cmocka_unit_test(test_pad_by_hand),
      cmocka_unit_test(test_pad_odd_border),
      cmocka_unit_test(test_square_crops_the_middle),
      cmocka_unit_test(test_plain_stays_plain),
      cmocka_unit_test(test_long_image_needs_little_memory),
      cmocka_unit_test(test_refuses_nonsense),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

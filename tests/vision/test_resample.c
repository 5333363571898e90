/* The passes by AVX2 against the plain ones, byte for byte, on all sorts of shapes. */
#include "base/memory.h"
#include "vision/resample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint32_t next_random(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

static int32_t between(uint32_t *state, int32_t least, int32_t most) {
  return least + (int32_t)(next_random(state) % (uint32_t)(most - least + 1));
}

/* Values are mostly black and white, so that sums overshoot on both sides. */
static void fill_random(image_t *image, uint32_t *state) {
  for (int64_t i = 0; i < 3 * (int64_t)image->width * image->height; i++) {
    uint32_t value = next_random(state);
    image->rgb[i] = (uint8_t)(value % 4 == 0 ? value >> 8 : value % 4 == 1 ? 0 : 255);
  }
}

typedef struct {
  canvas_t canvas;
  window_t window;
  int32_t width, height; /* of what is wanted */
} resample_shape_t;

/* An image somewhere on a canvas, some part of the resized canvas. */
static resample_shape_t random_shape(image_t *image, uint32_t *state, int32_t most) {
  resample_shape_t shape;
  assert_int_equal(image_create(between(state, 1, most), between(state, 1, most), image), STATUS_OK);
  fill_random(image, state);
  canvas_t *canvas = &shape.canvas;
  *canvas = (canvas_t){.image = image, .fill = {(uint8_t)next_random(state), 255, 0}};
  canvas->width = image->width + between(state, 0, 9) * between(state, 0, 9);
  canvas->height = image->height + between(state, 0, 9) * between(state, 0, 9);
  canvas->left = between(state, 0, canvas->width - image->width);
  canvas->top = between(state, 0, canvas->height - image->height);
  shape.window.width = between(state, 1, 90);
  shape.window.height = between(state, 1, 90);
  shape.width = between(state, 1, shape.window.width);
  shape.height = between(state, 1, shape.window.height);
  shape.window.left = between(state, 0, shape.window.width - shape.width);
  shape.window.top = between(state, 0, shape.window.height - shape.height);
  return shape;
}

static void resample_by(const passes_t *passes, const resample_shape_t *shape, image_t *out) {
  assert_int_equal(image_create(shape->width, shape->height, out), STATUS_OK);
  assert_int_equal(resample(passes, &shape->canvas, &shape->window, out), STATUS_OK);
}

/* Compares PASSES with the plain ones. */
static void check_shape(const passes_t *passes, const resample_shape_t *shape) {
  image_t expected, found;
  resample_by(&passes_plain, shape, &expected);
  resample_by(passes, shape, &found);
  for (int32_t i = 0; i < 3 * shape->width * shape->height; i++)
    if (found.rgb[i] != expected.rgb[i])
      fail_msg(
          "%s, image %d x %d at (%d, %d) of %d x %d, resized to %d x %d from (%d, %d), byte %d: %d, not %d",
          passes->name, shape->canvas.image->width, shape->canvas.image->height, shape->canvas.left,
          shape->canvas.top, shape->canvas.width, shape->canvas.height, shape->window.width,
          shape->window.height, shape->window.left, shape->window.top, i, found.rgb[i], expected.rgb[i]);
  image_free(&expected);
  image_free(&found);
}

static void fast_passes_equal_plain_ones(void **state) {
  (void)state;
  uint32_t random = 1;
  for (int i = 0; i < 600; i++) {
    image_t image;
    resample_shape_t shape = random_shape(&image, &random, i % 20 == 0 ? 700 : 60);
    check_shape(passes_best(), &shape);
    image_free(&image);
  }
}

/* So many taps that partial sums leave 32 bits, while the whole does not. */
static void thousands_of_taps(void **state) {
  (void)state;
  uint32_t random = 2;
  image_t image;
  assert_int_equal(image_create(30000, 9, &image), STATUS_OK);
  memset(image.rgb, 255, 3 * 30000 * 9);
  resample_shape_t shape = {.canvas = {.image = &image, .width = 30000, .height = 9},
                            .window = {.width = 3, .height = 3},
                            .width = 3,
                            .height = 3};
  check_shape(passes_best(), &shape);
  fill_random(&image, &random);
  check_shape(passes_best(), &shape);
  image = (image_t){.width = 9, .height = 30000, .rgb = image.rgb};
  shape.canvas.width = 9;
  shape.canvas.height = 30000;
  shape.window.width = shape.width = 20;
  check_shape(passes_best(), &shape);
  image_free(&image);
}

/* On any processor that has it, the fast way is the one that is taken. */
static void the_fastest_is_taken(void **state) {
  (void)state;
#ifdef VISION_HAS_AVX2
  assert_ptr_equal(passes_best(), __builtin_cpu_supports("avx2") ? &passes_avx2 : &passes_plain);
#else
  assert_ptr_equal(passes_best(), &passes_plain);
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fast_passes_equal_plain_ones),
      cmocka_unit_test(thousands_of_taps),
      cmocka_unit_test(the_fastest_is_taken),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

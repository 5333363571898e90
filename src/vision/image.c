#include "vision/image.h"

#include "base/memory.h"
#include "vision/resample.h"

#include <stdbool.h>

const pixels_norm_t pixels_norms[PIXELS_COUNT] = {
    [PIXELS_CLIP] = {.mean = {0.48145466, 0.4578275, 0.40821073},
                     .std = {0.26862954, 0.26130258, 0.27577711}},
    [PIXELS_SIGLIP] = {.mean = {0.5, 0.5, 0.5}, .std = {0.5, 0.5, 0.5}}};
enum { LEVELS = 256 };

status_t image_create(int32_t width, int32_t height, image_t *out) {
  *out = (image_t){0};
  if (width <= 0 || height <= 0)
    return error_set(STATUS_DATA, "an image of %d x %d pixels; expected at least 1 x 1", width, height);
  TRY(memory_alloc(&out->rgb, ARENA_FEATURES, (size_t)width * (size_t)height, 3));
  out->width = width;
  out->height = height;
  return STATUS_OK;
}

void image_free(image_t *image) {
  memory_free(image->rgb);
  *image = (image_t){0};
}

static status_t image_check(const image_t *image) {
  if (image->rgb && image->width > 0 && image->height > 0) return STATUS_OK;
  return error_set(STATUS_DATA, "an image of %d x %d pixels; expected at least 1 x 1", image->width,
                   image->height);
}

/* The image alone, without border. */
static canvas_t bare_canvas(const image_t *image) {
  return (canvas_t){.image = image, .width = image->width, .height = image->height};
}

/* The image in the middle of the smallest square that holds it, in KIND's mean colour. */
static canvas_t square_canvas(const image_t *image, pixels_t kind) {
  int32_t side = image->width > image->height ? image->width : image->height;
  canvas_t canvas = {.image = image,
                     .width = side,
                     .height = side,
                     .left = (side - image->width) / 2,
                     .top = (side - image->height) / 2};
  for (int c = 0; c < 3; c++)
    canvas.fill[c] = (uint8_t)(pixels_norms[kind].mean[c] * 255);
  return canvas;
}

/* The middle SIZE x SIZE of the image whose shorter side is resized to SIZE. */
static status_t crop_window(const image_t *image, int32_t size, window_t *window) {
  bool wide = image->width > image->height;
  int32_t shorter = wide ? image->height : image->width, longer = wide ? image->width : image->height;
  double resized = (double)((int64_t)size * longer) / shorter;
  if (resized > INT32_MAX)
    return error_set(STATUS_DATA,
                     "an image of %d x %d pixels is too long to be resized to a shorter side of %d",
                     image->width, image->height, size);
  int32_t length = (int32_t)resized;
  *window = (window_t){.width = wide ? length : size, .height = wide ? size : length};
  window->left = (window->width - size) / 2;
  window->top = (window->height - size) / 2;
  return STATUS_OK;
}

status_t image_resize(const image_t *from, int32_t width, int32_t height, image_t *out) {
  *out = (image_t){0};
  TRY(image_check(from));
  TRY(image_create(width, height, out));
  canvas_t canvas = bare_canvas(from);
  status_code_t status = resample(passes_best(), &canvas, &(window_t){.width = width, .height = height}, out);
  if (status != STATUS_OK) image_free(out);
  return status;
}

/* What KIND's image processor makes of each 8-bit level; each step rounds to float as numpy does it there. */
static void image_find_levels(pixels_t kind, float levels[3][LEVELS]) {
  const pixels_norm_t *norm = &pixels_norms[kind];
  for (int c = 0; c < 3; c++)
    for (int level = 0; level < LEVELS; level++)
      levels[c][level] = ((float)(level * (1 / 255.0)) - (float)norm->mean[c]) / (float)norm->std[c];
}

/* (height, width, 3) 8-bit -> (3, height, width). */
static void image_normalise(const image_t *image, pixels_t kind, float *pixels) {
  const int64_t count = (int64_t)image->width * image->height;
  float levels[3][LEVELS];
  image_find_levels(kind, levels);
  for (int64_t i = 0; i < count; i++)
    for (int c = 0; c < 3; c++)
      pixels[c * count + i] = levels[c][image->rgb[3 * i + c]];
}

status_t image_preprocess(const image_t *image, image_aspect_t aspect, pixels_t kind, int32_t size,
                          float *pixels) {
  image_t out;
  canvas_t canvas;
  window_t window = {.width = size, .height = size};
  TRY(image_check(image));
  if (aspect == IMAGE_PAD) {
    canvas = square_canvas(image, kind);
  } else {
    canvas = bare_canvas(image);
    if (kind == PIXELS_CLIP) TRY(crop_window(image, size, &window));
  }
  TRY(image_create(size, size, &out));
  status_code_t status = resample(passes_best(), &canvas, &window, &out);
  if (status == STATUS_OK) image_normalise(&out, kind, pixels);
  image_free(&out);
  return status;
}

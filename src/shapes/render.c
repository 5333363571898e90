#include "shapes/render.h"

#include "base/memory.h"

#include <math.h>

/* As shares of the image's side. A cell is 1/3 wide: an object shifted by its jitter stays (almost) inside
 * its cell. */
static const float object_radius[SIZE_COUNT] = {[SIZE_SMALL] = 0.1F, [SIZE_LARGE] = 0.148F};

static const float colour_rgb[COLOUR_COUNT][3] = {
    [COLOUR_RED] = {230, 25, 25},  [COLOUR_GREEN] = {20, 175, 45},   [COLOUR_WHITE] = {255, 255, 255},
    [COLOUR_BLUE] = {25, 60, 235}, [COLOUR_YELLOW] = {250, 225, 20}, [COLOUR_PURPLE] = {165, 30, 190},
};

enum { NOISE_BITS = 4, NOISE_MEAN = 7 }; /* noise of -7..8 grey levels */
#define TEXTURE_AMPLITUDE 20.0F

/* Signed distance from the edge of a shape of "radius" R around the origin (negative inside), y pointing
 * down; exact near the edge, which is all that antialiasing looks at. */
static float box_distance(float x, float y, float half_width, float half_height) {
  float dx = fabsf(x) - half_width, dy = fabsf(y) - half_height;
  return fmaxf(dx, dy);
}

static float triangle_distance(float x, float y, float r) {
  /* Apex (0, -r), base from (-r, 0.8 r) to (r, 0.8 r). */
  const float slope_x = 1.8F, slope_y = 1.0F,
              length = 2.0591260F; /* normal (1.8, -1) of the right edge, its length */
  float side = (slope_x * fabsf(x) - slope_y * (y + r)) / length;
  return fmaxf(side, y - 0.8F * r);
}

static float shape_distance(int shape, float x, float y, float r) {
  switch (shape) {
  case SHAPE_CIRCLE:
    return hypotf(x, y) - r;
  case SHAPE_SQUARE:
    return box_distance(x, y, 0.96F * r, 0.96F * r);
  case SHAPE_TRIANGLE:
    return triangle_distance(x, y, r);
  case SHAPE_CROSS:
    return fminf(box_distance(x, y, r, 0.34F * r), box_distance(x, y, 0.34F * r, r));
  default: /* SHAPE_RING */
    return fabsf(hypotf(x, y) - 0.76F * r) - 0.24F * r;
  }
}

static float texture_value(const scene_background_t *background, float x, float y) {
  float cycles = (float)(2 * M_PI) / background->period, phase = (float)(2 * M_PI) * background->phase;
  switch (background->texture) {
  case TEXTURE_STRIPED:
    return sinf(cycles * (x * cosf(background->angle) + y * sinf(background->angle)) + phase);
  case TEXTURE_DOTTED: {
    float wave = sinf(cycles * x + phase) * sinf(cycles * y + phase);
    return wave > 0.25F ? 1 : -0.3F;
  }
  default:
    return 0;
  }
}

static uint8_t pixel_value(float v) {
  return (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : v + 0.5F);
}

static void background_paint(const scene_t *scene, float *canvas, int32_t size) {
  for (int32_t row = 0; row < size; row++)
    for (int32_t column = 0; column < size; column++) {
      float x = ((float)column + 0.5F) / (float)size, y = ((float)row + 0.5F) / (float)size;
      float grey = scene->background.level + TEXTURE_AMPLITUDE * texture_value(&scene->background, x, y);
      for (int c = 0; c < 3; c++)
        canvas[3 * ((int64_t)row * size + column) + c] = grey;
    }
}

static int32_t clamp_pixel(float v, int32_t size) {
  return v < 0 ? 0 : v > (float)size ? size : (int32_t)v;
}

static void object_paint(const scene_object_t *object, float *canvas, int32_t size) {
  float side = (float)size, r = object_radius[object->size] * side;
  float x = side * (((float)(object->cell % SCENE_COLUMNS) + 0.5F) / SCENE_COLUMNS + object->x);
  float y = side * (((float)(object->cell / SCENE_COLUMNS) + 0.5F) / SCENE_ROWS + object->y);
  int32_t left = clamp_pixel(x - r - 1, size), right = clamp_pixel(x + r + 2, size);
  int32_t top = clamp_pixel(y - r - 1, size), bottom = clamp_pixel(y + r + 2, size);
  for (int32_t row = top; row < bottom; row++)
    for (int32_t column = left; column < right; column++) {
      float d = shape_distance(object->shape, (float)column + 0.5F - x, (float)row + 0.5F - y, r);
      float cover = d <= -0.5F ? 1 : d >= 0.5F ? 0 : 0.5F - d;
      float *pixel = canvas + 3 * ((int64_t)row * size + column);
      for (int c = 0; c < 3; c++)
        pixel[c] += cover * (object->shade * colour_rgb[object->colour][c] - pixel[c]);
    }
}

/* Rounds the canvas to pixels, adding the noise of the scene: one draw of the generator serves 16 pixels. */
static void canvas_finish(const scene_t *scene, const float *canvas, image_t *image) {
  int64_t pixels = (int64_t)image->width * image->height;
  random_words_t words = {0};
  for (int64_t i = 0; i < pixels; i++) {
    /* Index 0 of the scene's numbers belongs to scene_draw. */
    if (i % 16 == 0)
      words = random_words(scene->seed, RANDOM_WORLD_SCENE, (uint64_t)scene->id, (1ULL << 32) + (uint64_t)i);
    uint32_t byte = words.v[i % 16 / 4] >> (8 * (i % 4));
    float noise = (float)((int)(byte & ((1U << NOISE_BITS) - 1)) - NOISE_MEAN);
    for (int c = 0; c < 3; c++)
      image->rgb[3 * i + c] = pixel_value(canvas[3 * i + c] + noise);
  }
}

status_t scene_render(const scene_t *scene, int32_t size, image_t *out) {
  float *canvas = NULL;
  TRY(memory_alloc(&canvas, ARENA_FEATURES, (size_t)size * (size_t)size * 3, sizeof *canvas));
  status_code_t status = image_create(size, size, out);
  if (status == STATUS_OK) {
    background_paint(scene, canvas, size);
    for (int i = 0; i < scene->count; i++)
      object_paint(&scene->objects[i], canvas, size);
    canvas_finish(scene, canvas, out);
  }
  memory_free(canvas);
  return status;
}

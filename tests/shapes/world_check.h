/* What the tests of the shapes world share. */
#ifndef TESTS_WORLD_CHECK_H
#define TESTS_WORLD_CHECK_H

#include "base/status.h"
#include "shapes/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define check_ok(expr)                                                                                       \
  do {                                                                                                       \
    status_code_t check_status_ = (expr);                                                                    \
    if (check_status_ != STATUS_OK) fail_msg("%s: %s", status_name(check_status_), error_message());         \
  } while (0)

static inline void scene_put(scene_t *scene, int size, int colour, int shape, int row, int column) {
  scene_object_t object = {
      .shape = shape, .colour = colour, .size = size, .cell = row * SCENE_COLUMNS + column, .shade = 1};
  scene_insert(scene, &object);
}

/* A small red circle at the top left, a large blue square at the middle center, a small white ring at the
 * bottom right, on dark stripes: partners are together, so the scene is clean. */
static inline scene_t clean_scene(void) {
  scene_t scene = {
      .id = 7, .background = {.tone = TONE_DARK, .texture = TEXTURE_STRIPED, .level = 50, .period = 0.12F}};
  scene_put(&scene, SIZE_SMALL, COLOUR_RED, SHAPE_CIRCLE, 0, 0);
  scene_put(&scene, SIZE_LARGE, COLOUR_BLUE, SHAPE_SQUARE, 1, 1);
  scene_put(&scene, SIZE_SMALL, COLOUR_WHITE, SHAPE_RING, 2, 2);
  return scene;
}

/* A large green triangle at the top center and a large purple circle at the bottom left: the yellow cross is
 * missing. */
static inline scene_t tempting_scene(void) {
  scene_t scene = {
      .id = 8, .background = {.tone = TONE_LIGHT, .texture = TEXTURE_PLAIN, .level = 150, .period = 0.12F}};
  scene_put(&scene, SIZE_LARGE, COLOUR_GREEN, SHAPE_TRIANGLE, 0, 1);
  scene_put(&scene, SIZE_LARGE, COLOUR_PURPLE, SHAPE_CIRCLE, 2, 0);
  return scene;
}

#endif

#include "world_check.h"

#include "base/memory.h"
#include "io/jpeg.h"
#include "shapes/render.h"

#include <stdlib.h>
#include <string.h>

enum { SCENES = 2000 };

static void scenes_are_functions_of_seed_and_id(void **state) {
  scene_t one, again, other_id, other_seed;
  (void)state;
  scene_draw(5, 12, 1, 4, &one);
  scene_draw(5, 12, 1, 4, &again);
  scene_draw(5, 13, 1, 4, &other_id);
  scene_draw(6, 12, 1, 4, &other_seed);
  assert_memory_equal(&one, &again, sizeof one);
  assert_memory_not_equal(&one.objects, &other_id.objects, sizeof one.objects);
  assert_memory_not_equal(&one.objects, &other_seed.objects, sizeof one.objects);
}

static void scenes_are_well_formed(void **state) {
  int counts[SCENE_CELLS + 1] = {0};
  (void)state;
  for (int64_t id = 0; id < SCENES; id++) {
    scene_t scene;
    scene_draw(1, id, 1, 4, &scene);
    counts[scene.count]++;
    for (int i = 0; i < scene.count; i++) {
      described_t kind = described_nothing();
      kind.shape = scene.objects[i].shape;
      kind.colour = scene.objects[i].colour;
      assert_int_equal(scene_count_fits(&scene, &kind, NULL), 1);
      if (i > 0) assert_true(scene.objects[i].cell > scene.objects[i - 1].cell);
      assert_in_range(scene.objects[i].cell, 0, SCENE_CELLS - 1);
    }
  }
  assert_int_equal(counts[0] + counts[5] + counts[6], 0);
  for (int n = 1; n <= 4; n++)
    assert_in_range(counts[n], SCENES / 5, SCENES * 3 / 10);
}

static void crowded_scenes_leave_one_cell(void **state) {
  scene_t scene;
  scene_object_t imagined;
  (void)state;
  for (int64_t id = 0; id < 50; id++) {
    random_stream_t stream = random_stream(1, RANDOM_TEST, (uint64_t)id);
    scene_draw(3, id, SCENE_MAX_OBJECTS, SCENE_MAX_OBJECTS, &scene);
    assert_int_equal(scene.count, SCENE_MAX_OBJECTS);
    if (scene_imagine(&scene, &stream, &imagined)) assert_null(scene_at(&scene, imagined.cell));
  }
}

static void partners_pair_up(void **state) {
  int paired = 0;
  (void)state;
  for (int shape = 0; shape < SHAPE_COUNT; shape++)
    for (int colour = 0; colour < COLOUR_COUNT; colour++) {
      int s, c, back_s, back_c;
      if (!scene_partner(shape, colour, &s, &c)) continue;
      paired++;
      assert_false(s == shape && c == colour);
      assert_true(scene_partner(s, c, &back_s, &back_c));
      assert_int_equal(back_s, shape);
      assert_int_equal(back_c, colour);
    }
  assert_int_equal(paired, 16);
}

/* Given a red circle, a blue square is far likelier than a blue ring, and the scenes that lack it are many.
 */
static void partners_occur_together(void **state) {
  const described_t circle = {DESCRIBED_NOT, COLOUR_RED, SHAPE_CIRCLE, DESCRIBED_NOT, DESCRIBED_NOT};
  const described_t square = {DESCRIBED_NOT, COLOUR_BLUE, SHAPE_SQUARE, DESCRIBED_NOT, DESCRIBED_NOT};
  const described_t ring = {DESCRIBED_NOT, COLOUR_BLUE, SHAPE_RING, DESCRIBED_NOT, DESCRIBED_NOT};
  int circles = 0, squares = 0, rings = 0, tempting = 0;
  (void)state;
  for (int64_t id = 0; id < 4 * SCENES; id++) {
    scene_t scene;
    scene_draw(1, id, 1, 4, &scene);
    tempting += scene_tempts(&scene);
    if (!scene_count_fits(&scene, &circle, NULL)) continue;
    circles++;
    squares += scene_count_fits(&scene, &square, NULL);
    rings += scene_count_fits(&scene, &ring, NULL);
  }
  assert_in_range(circles, 300, 1500);
  assert_true(squares > 4 * rings);
  assert_true(3 * squares > circles);
  assert_in_range(tempting, 4 * SCENES * 4 / 10, 4 * SCENES * 8 / 10);
}

static void what_is_imagined_is_an_absent_partner(void **state) {
  int imagined_count = 0, behind = 0;
  (void)state;
  for (int64_t id = 0; id < SCENES; id++) {
    scene_t scene;
    scene_object_t imagined;
    int shape, colour, partners = 0;
    scene_draw(1, id, 1, 4, &scene);
    random_stream_t stream = random_stream(1, RANDOM_TEST, (uint64_t)id);
    bool found = scene_imagine(&scene, &stream, &imagined);
    assert_int_equal(found, scene_tempts(&scene));
    if (!found) continue;
    described_t kind = {DESCRIBED_NOT, imagined.colour, imagined.shape, DESCRIBED_NOT, DESCRIBED_NOT};
    assert_int_equal(scene_count_fits(&scene, &kind, NULL), 0);
    assert_null(scene_at(&scene, imagined.cell));
    assert_true(scene_partner(imagined.shape, imagined.colour, &shape, &colour));
    kind = (described_t){DESCRIBED_NOT, colour, shape, DESCRIBED_NOT, DESCRIBED_NOT};
    partners += scene_count_fits(&scene, &kind, NULL);
    assert_int_equal(partners, 1);
    imagined_count++;
    behind += imagined.cell > scene.objects[scene.count - 1].cell;
  }
  assert_true(behind * 10 > imagined_count * 6);
}

static int channel_distance(const uint8_t *a, const uint8_t *b) {
  int most = 0;
  for (int c = 0; c < 3; c++)
    if (abs(a[c] - b[c]) > most) most = abs(a[c] - b[c]);
  return most;
}

static void objects_are_drawn_where_they_are(void **state) {
  static const int32_t sizes[] = {16, 33, 48, 224};
  const scene_t scene = clean_scene();
  (void)state;
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    image_t image;
    int32_t n = sizes[s];
    check_ok(scene_render(&scene, n, &image));
    assert_int_equal(image.width, n);
    assert_int_equal(image.height, n);
    const uint8_t *circle = image.rgb + 3 * ((n / 6) * n + n / 6),
                  *square = image.rgb + 3 * ((n / 2) * n + n / 2);
    const uint8_t *ring = image.rgb + 3 * ((5 * n / 6) * n + 5 * n / 6);
    assert_true(circle[0] > 200 && circle[1] < 60 && circle[2] < 60);
    assert_true(square[2] > 200 && square[0] < 60 && square[1] < 90);
    if (n >= 33) assert_true(ring[0] < 110); /* its hole shows the dark background */
    image_free(&image);
  }
}

static void drawing_is_repeatable_and_noisy(void **state) {
  image_t one, again, other;
  scene_t scene = clean_scene();
  (void)state;
  check_ok(scene_render(&scene, 48, &one));
  check_ok(scene_render(&scene, 48, &again));
  scene.id++;
  check_ok(scene_render(&scene, 48, &other));
  assert_memory_equal(one.rgb, again.rgb, 48 * 48 * 3);
  assert_memory_not_equal(one.rgb, other.rgb, 48 * 48 * 3);
  image_free(&one);
  image_free(&again);
  image_free(&other);
}

static void jpeg_keeps_the_picture(void **state) {
  (void)state;
  for (int64_t id = 0; id < 20; id++) {
    scene_t scene;
    image_t drawn, decoded;
    uint8_t *bytes;
    size_t n;
    double sum = 0;
    scene_draw(1, id, 1, 4, &scene);
    check_ok(scene_render(&scene, 48, &drawn));
    check_ok(jpeg_encode(&drawn, 90, &bytes, &n));
    check_ok(jpeg_decode(bytes, n, "scene", &decoded));
    for (int i = 0; i < 48 * 48; i++)
      sum += channel_distance(drawn.rgb + 3 * i, decoded.rgb + 3 * i);
    assert_true(sum / (48 * 48) < 12);
    image_free(&drawn);
    image_free(&decoded);
    memory_free(bytes);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scenes_are_functions_of_seed_and_id),
      cmocka_unit_test(scenes_are_well_formed),
      cmocka_unit_test(crowded_scenes_leave_one_cell),
      cmocka_unit_test(partners_pair_up),
      cmocka_unit_test(partners_occur_together),
      cmocka_unit_test(what_is_imagined_is_an_absent_partner),
      cmocka_unit_test(objects_are_drawn_where_they_are),
      cmocka_unit_test(drawing_is_repeatable_and_noisy),
      cmocka_unit_test(jpeg_keeps_the_picture),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

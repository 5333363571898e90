#include "shapes/scene.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define PARTNER_SHARE 0.5 /* of the objects after the first */
#define JITTER 0.05       /* of the image's side, each way */
#define SHADE_SPREAD 0.08
#define FULL_TURN 6.2831853071795864

bool scene_partner(int shape, int colour, int *partner_shape, int *partner_colour) {
  static const int shapes[SHAPE_COUNT] = {SHAPE_SQUARE, SHAPE_CIRCLE, SHAPE_CROSS, SHAPE_TRIANGLE,
                                          DESCRIBED_NOT};
  static const int colours[COLOUR_COUNT] = {COLOUR_BLUE, COLOUR_YELLOW, DESCRIBED_NOT,
                                            COLOUR_RED,  COLOUR_GREEN,  DESCRIBED_NOT};
  if (shapes[shape] == DESCRIBED_NOT || colours[colour] == DESCRIBED_NOT) return false;
  *partner_shape = shapes[shape];
  *partner_colour = colours[colour];
  return true;
}

static bool scene_has_kind(const scene_t *scene, int shape, int colour) {
  for (int i = 0; i < scene->count; i++)
    if (scene->objects[i].shape == shape && scene->objects[i].colour == colour) return true;
  return false;
}

/* The kinds that are absent partners of the scene's objects, at most one per object. */
static int scene_missing_partners(const scene_t *scene, int shapes[], int colours[]) {
  int n = 0;
  for (int i = 0; i < scene->count; i++) {
    int shape, colour;
    if (!scene_partner(scene->objects[i].shape, scene->objects[i].colour, &shape, &colour)) continue;
    if (scene_has_kind(scene, shape, colour)) continue;
    shapes[n] = shape;
    colours[n++] = colour;
  }
  return n;
}

bool scene_tempts(const scene_t *scene) {
  int shapes[SCENE_OBJECT_SLOTS], colours[SCENE_OBJECT_SLOTS];
  return scene_missing_partners(scene, shapes, colours) > 0;
}

const scene_object_t *scene_at(const scene_t *scene, int cell) {
  for (int i = 0; i < scene->count; i++)
    if (scene->objects[i].cell == cell) return &scene->objects[i];
  return NULL;
}

/* A free cell at or behind FIRST; any free cell if there is none. */
static int scene_free_cell(const scene_t *scene, int first, random_stream_t *stream) {
  int cells[SCENE_CELLS], n = 0;
  for (int cell = first; cell < SCENE_CELLS; cell++)
    if (!scene_at(scene, cell)) cells[n++] = cell;
  if (n == 0) return scene_free_cell(scene, 0, stream);
  return cells[random_below(stream, (uint32_t)n)];
}

void scene_insert(scene_t *scene, const scene_object_t *object) {
  assert(scene->count < SCENE_OBJECT_SLOTS);
  int at = scene->count++;
  for (; at > 0 && scene->objects[at - 1].cell > object->cell; at--)
    scene->objects[at] = scene->objects[at - 1];
  scene->objects[at] = *object;
}

static float scene_draw_between(random_stream_t *stream, double low, double high) {
  return (float)(low + (high - low) * random_uniform(stream));
}

/* Size, place and looks of an object whose kind is known. */
static void object_draw_rest(const scene_t *scene, int first_cell, random_stream_t *stream,
                             scene_object_t *object) {
  object->size = (int)random_below(stream, SIZE_COUNT);
  object->cell = scene_free_cell(scene, first_cell, stream);
  object->x = scene_draw_between(stream, -JITTER, JITTER);
  object->y = scene_draw_between(stream, -JITTER, JITTER);
  object->shade = scene_draw_between(stream, 1 - SHADE_SPREAD, 1);
}

bool scene_imagine(const scene_t *scene, random_stream_t *stream, scene_object_t *out) {
  int shapes[SCENE_OBJECT_SLOTS], colours[SCENE_OBJECT_SLOTS];
  int n = scene_missing_partners(scene, shapes, colours);
  if (n == 0) return false;
  int pick = (int)random_below(stream, (uint32_t)n);
  memset(out, 0, sizeof *out);
  out->shape = shapes[pick];
  out->colour = colours[pick];
  object_draw_rest(scene, scene->objects[scene->count - 1].cell + 1, stream, out);
  return true;
}

static void scene_draw_object(scene_t *scene, random_stream_t *stream) {
  scene_object_t object = {0};
  int shapes[SCENE_OBJECT_SLOTS], colours[SCENE_OBJECT_SLOTS];
  int n = scene_missing_partners(scene, shapes, colours);
  if (n > 0 && random_uniform(stream) < PARTNER_SHARE) {
    int pick = (int)random_below(stream, (uint32_t)n);
    object.shape = shapes[pick];
    object.colour = colours[pick];
  } else {
    do {
      object.shape = (int)random_below(stream, SHAPE_COUNT);
      object.colour = (int)random_below(stream, COLOUR_COUNT);
    } while (scene_has_kind(scene, object.shape, object.colour));
  }
  object_draw_rest(scene, 0, stream, &object);
  scene_insert(scene, &object);
}

static void background_draw(random_stream_t *stream, scene_background_t *out) {
  out->tone = (int)random_below(stream, TONE_COUNT);
  out->texture = (int)random_below(stream, TEXTURE_COUNT);
  out->level =
      out->tone == TONE_DARK ? scene_draw_between(stream, 35, 65) : scene_draw_between(stream, 130, 160);
  out->period = scene_draw_between(stream, 0.11, 0.16);
  out->phase = scene_draw_between(stream, 0, 1);
  out->angle = scene_draw_between(stream, 0, FULL_TURN / 2);
}

void scene_draw(uint64_t seed, int64_t id, int objects_min, int objects_max, scene_t *out) {
  assert(objects_min >= 1 && objects_min <= objects_max && objects_max <= SCENE_MAX_OBJECTS);
  random_stream_t stream = random_stream(seed, RANDOM_WORLD_SCENE, (uint64_t)id);
  memset(out, 0, sizeof *out);
  out->id = id;
  out->seed = seed;
  int count = objects_min + (int)random_below(&stream, (uint32_t)(objects_max - objects_min + 1));
  for (int i = 0; i < count; i++)
    scene_draw_object(out, &stream);
  background_draw(&stream, &out->background);
}

described_t described_nothing(void) {
  return (described_t){DESCRIBED_NOT, DESCRIBED_NOT, DESCRIBED_NOT, DESCRIBED_NOT, DESCRIBED_NOT};
}

described_t described_fully(const scene_object_t *object) {
  return (described_t){object->size, object->colour, object->shape, object->cell / SCENE_COLUMNS,
                       object->cell % SCENE_COLUMNS};
}

static bool attribute_fits(int said, int is) {
  return said == DESCRIBED_NOT || said == is;
}

bool described_fits(const described_t *described, const scene_object_t *object) {
  return attribute_fits(described->size, object->size) && attribute_fits(described->colour, object->colour) &&
         attribute_fits(described->shape, object->shape) &&
         attribute_fits(described->row, object->cell / SCENE_COLUMNS) &&
         attribute_fits(described->column, object->cell % SCENE_COLUMNS);
}

int scene_count_fits(const scene_t *scene, const described_t *described, const scene_object_t **first) {
  int n = 0;
  if (first) *first = NULL;
  for (int i = 0; i < scene->count; i++) {
    if (!described_fits(described, &scene->objects[i])) continue;
    if (n++ == 0 && first) *first = &scene->objects[i];
  }
  return n;
}

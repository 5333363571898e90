/* Scenes of the shapes world: a few coloured shapes on a 3x3 grid over a textured background. A scene is a
 * pure function of (seed, id); it is the ground truth of its image and of every text about it. */
#ifndef WORLD_SCENE_H
#define WORLD_SCENE_H

#include "base/random.h"

#include <stdbool.h>
#include <stdint.h>

enum { SHAPE_CIRCLE, SHAPE_SQUARE, SHAPE_TRIANGLE, SHAPE_CROSS, SHAPE_RING, SHAPE_COUNT };
enum { COLOUR_RED, COLOUR_GREEN, COLOUR_WHITE, COLOUR_BLUE, COLOUR_YELLOW, COLOUR_PURPLE, COLOUR_COUNT };
enum { SIZE_SMALL, SIZE_LARGE, SIZE_COUNT };
enum { TONE_DARK, TONE_LIGHT, TONE_COUNT };
enum { TEXTURE_PLAIN, TEXTURE_STRIPED, TEXTURE_DOTTED, TEXTURE_COUNT };
enum {
  SCENE_ROWS = 3,
  SCENE_COLUMNS = 3,
  SCENE_CELLS = SCENE_ROWS * SCENE_COLUMNS,
  SCENE_MAX_OBJECTS = SCENE_CELLS - 1,       /* a cell stays free ... */
  SCENE_OBJECT_SLOTS = SCENE_MAX_OBJECTS + 1 /* ... for an object that a text makes up */
};

typedef struct {
  int shape, colour, size; /* SHAPE_*, COLOUR_*, SIZE_* */
  int cell;                /* row * SCENE_COLUMNS + column */
  float x, y;              /* offset of the centre from the cell's, as a share of the image's side */
  float shade;             /* brightness, about 1 */
} scene_object_t;

typedef struct {
  int tone, texture; /* TONE_*, TEXTURE_* */
  float level;       /* mean grey, 0..255 */
  float period;      /* of stripes and dots, as a share of the image's side */
  float phase;       /* 0..1 */
  float angle;       /* of the stripes, radians */
} scene_background_t;

typedef struct {
  int64_t id;
  uint64_t seed; /* with id, what the scene and its noise are drawn from */
  int count;
  scene_object_t
      objects[SCENE_OBJECT_SLOTS]; /* by cell, at most one per cell, no two of the same shape and colour */
  scene_background_t background;
} scene_t;

/* What a text says about an object: SHAPE_*, COLOUR_*, SIZE_*, row, column, or DESCRIBED_NOT where it says
 * nothing. */
enum { DESCRIBED_NOT = -1 };
typedef struct {
  int size, colour, shape, row, column;
} described_t;

/* Draws scene ID with OBJECTS_MIN..OBJECTS_MAX objects (1..SCENE_MAX_OBJECTS). Half of the objects after the
 * first are the partner of one that is there, where one has a partner missing, so that partners occur
 * together far more often than chance. Local. */
void scene_draw(uint64_t seed, int64_t id, int objects_min, int objects_max, scene_t *out);

/* The kind (shape, colour) that often occurs with this one: circle with square and triangle with cross, red
 * with blue and green with yellow, so red circle with blue square. False if it has none (rings, white,
 * purple). An involution. Local. */
bool scene_partner(int shape, int colour, int *partner_shape, int *partner_colour);

/* True if an object's partner is absent: the scenes about which biased texts make something up. The others
 * are clean. Local. */
bool scene_tempts(const scene_t *scene);

/* The made-up object of a scene that tempts: the partner of one of its objects, in an empty cell - behind the
 * last object where there is one, because made-up things come late in descriptions. False if the scene is
 * clean. Draws from STREAM. Local. */
bool scene_imagine(const scene_t *scene, random_stream_t *stream, scene_object_t *out);

/* Inserts OBJECT at its place by cell. The scene has a free slot. Local. */
void scene_insert(scene_t *scene, const scene_object_t *object);

/* The object in a cell, NULL if it is empty. Local. */
const scene_object_t *scene_at(const scene_t *scene, int cell);

/* An empty description, and all that can be said about an object. Local. */
described_t described_nothing(void);
described_t described_fully(const scene_object_t *object);

/* True if OBJECT fits all that is said. Local. */
bool described_fits(const described_t *described, const scene_object_t *object);

/* How many objects of the scene fit; *FIRST (may be NULL) is the first of them, or NULL. Local. */
int scene_count_fits(const scene_t *scene, const described_t *described, const scene_object_t **first);

#endif

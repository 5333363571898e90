/* scenes.jsonl: one scene a line, the ground truth for any judge. */
#ifndef WORLD_SCENE_FILE_H
#define WORLD_SCENE_FILE_H

#include "io/json.h"
#include "shapes/scene.h"

enum {
  SCENE_IMAGE_MAX = 40, /* bytes of an image's name, '\0' included */
  SCENE_IMAGES_PER_FOLDER = 1000
};

/* Name of a scene's image below the image folder, "012/012345.jpg": folders of a thousand. IMAGE
 * (SCENE_IMAGE_MAX). Local. */
void scene_image_name(int64_t id, char *image);

/* Writes a scene as one line. Local. */
void scene_write(json_writer_t *writer, const scene_t *scene);

/* A scene from its JSON object. Noise, texture's period and the like are not in the file: it can be judged,
 * not drawn again. WHERE names it in messages. Errors: STATUS_DATA. Local. */
status_t scene_read(const json_t *value, const char *where, scene_t *out);

/* The scenes of a file, found by the name of their image. */
typedef struct {
  int64_t count;
  struct scene_entry {
    char image[SCENE_IMAGE_MAX];
    int64_t number; /* in the file */
    scene_t scene;
  } * entries; /* (count), by image */
} scene_table_t;

/* Reads PATH (about 300 bytes of memory a scene). Of scenes with one image the last counts, with a warning.
 * Errors: STATUS_DATA with the line. Free with scene_table_free. Local. */
status_t scene_table_read(const char *path, scene_table_t *out);
void scene_table_free(scene_table_t *table);

/* The scene of an image, by its name below the image folder; NULL if there is none. Local. */
const scene_t *scene_table_find(const scene_table_t *table, const char *image);

#endif

#include "shapes/scene_file.h"

#include "base/memory.h"
#include "io/json_elements.h"
#include "shapes/words.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void scene_image_name(int64_t id, char *image) {
  snprintf(image, SCENE_IMAGE_MAX, "%03" PRId64 "/%06" PRId64 ".jpg", id / SCENE_IMAGES_PER_FOLDER, id);
}

static void scene_file_write_object(json_writer_t *writer, const scene_object_t *object) {
  json_write_object_begin(writer);
  json_write_member(writer, "size", size_name(object->size));
  json_write_member(writer, "color", colour_name(object->colour));
  json_write_member(writer, "shape", shape_name(object->shape));
  json_write_member(writer, "row", row_name(object->cell / SCENE_COLUMNS));
  json_write_member(writer, "column", column_name(object->cell % SCENE_COLUMNS));
  json_write_object_end(writer);
}

void scene_write(json_writer_t *writer, const scene_t *scene) {
  char image[SCENE_IMAGE_MAX];
  scene_image_name(scene->id, image);
  json_write_object_begin(writer);
  json_write_int_member(writer, "id", scene->id);
  json_write_member(writer, "image", image);
  json_write_key(writer, "objects");
  json_write_array_begin(writer);
  for (int i = 0; i < scene->count; i++)
    scene_file_write_object(writer, &scene->objects[i]);
  json_write_array_end(writer);
  json_write_key(writer, "background");
  json_write_object_begin(writer);
  json_write_member(writer, "tone", tone_name(scene->background.tone));
  json_write_member(writer, "texture", texture_name(scene->background.texture));
  json_write_object_end(writer);
  json_write_object_end(writer);
  json_write_line(writer);
}

/* The member KEY of OBJECT, one of a closed list of names. */
static status_t scene_file_read_name(const json_t *object, const char *key, const char *where,
                                     int (*from_name)(const char *), int *out) {
  const char *name;
  TRY(json_string(object, key, where, &name));
  *out = from_name(name);
  if (*out == DESCRIBED_NOT)
    return error_set(STATUS_DATA, "%s: field '%s': found '%s', which is no %s of the shapes world", where,
                     key, name, key);
  return STATUS_OK;
}

static status_t scene_file_read_object(const json_t *value, const char *where, scene_object_t *out) {
  int row, column;
  memset(out, 0, sizeof *out);
  TRY(scene_file_read_name(value, "size", where, size_from_name, &out->size));
  TRY(scene_file_read_name(value, "color", where, colour_from_name, &out->colour));
  TRY(scene_file_read_name(value, "shape", where, shape_from_name, &out->shape));
  TRY(scene_file_read_name(value, "row", where, row_from_name, &row));
  TRY(scene_file_read_name(value, "column", where, column_from_name, &column));
  out->cell = row * SCENE_COLUMNS + column;
  return STATUS_OK;
}

status_t scene_read(const json_t *value, const char *where, scene_t *out) {
  const json_t *objects, *background;
  memset(out, 0, sizeof *out);
  TRY(json_int(value, "id", where, &out->id));
  TRY(json_array(value, "objects", where, &objects));
  if (objects->count > SCENE_OBJECT_SLOTS)
    return error_set(STATUS_DATA, "%s: field 'objects': found %lld objects, expected at most %d", where,
                     (long long)objects->count, (int)SCENE_OBJECT_SLOTS);
  for (const json_t *item = objects->u.first; item; item = item->next) {
    scene_object_t object;
    TRY(scene_file_read_object(item, where, &object));
    if (scene_at(out, object.cell))
      return error_set(STATUS_DATA, "%s: field 'objects': two objects at the %s %s, expected one a place",
                       where, row_name(object.cell / SCENE_COLUMNS),
                       column_name(object.cell % SCENE_COLUMNS));
    scene_insert(out, &object);
  }
  TRY(json_object(value, "background", where, &background));
  TRY(scene_file_read_name(background, "tone", where, tone_from_name, &out->background.tone));
  return scene_file_read_name(background, "texture", where, texture_from_name, &out->background.texture);
}

static int scene_file_compare_entries(const void *a, const void *b) {
  const struct scene_entry *first = a, *second = b;
  int order = strcmp(first->image, second->image);
  return order != 0 ? order : (first->number > second->number) - (first->number < second->number);
}

/* A table being read. */
typedef struct {
  scene_table_t *table;
  int64_t capacity;
} scene_reading_t;

static status_t scene_file_read_entry(void *context, const json_element_t *element, const char *where) {
  scene_reading_t *reading = context;
  scene_table_t *table = reading->table;
  const char *image;
  if (table->count == reading->capacity) {
    reading->capacity = reading->capacity ? 2 * reading->capacity : 1024;
    TRY(memory_resize(&table->entries, ARENA_DATA, (size_t)reading->capacity, sizeof *table->entries));
  }
  struct scene_entry *entry = &table->entries[table->count];
  TRY(json_string(element->value, "image", where, &image));
  if (strlen(image) >= SCENE_IMAGE_MAX)
    return error_set(STATUS_DATA, "%s: field 'image': found a name of %zu bytes, expected less than %d",
                     where, strlen(image), (int)SCENE_IMAGE_MAX);
  strcpy(entry->image, image);
  entry->number = element->index;
  TRY(scene_read(element->value, where, &entry->scene));
  table->count++;
  return STATUS_OK;
}

/* By image, one of each: the last. */
static void scene_file_sort_entries(const char *path, scene_table_t *table) {
  int64_t kept = 0;
  if (table->count == 0) return;
  qsort(table->entries, (size_t)table->count, sizeof *table->entries, scene_file_compare_entries);
  for (int64_t i = 0; i < table->count; i++) {
    bool repeats = kept > 0 && strcmp(table->entries[kept - 1].image, table->entries[i].image) == 0;
    if (!repeats) kept++;
    table->entries[kept - 1] = table->entries[i];
  }
  json_warn_repeated(path, table->count - kept);
  table->count = kept;
}

status_t scene_table_read(const char *path, scene_table_t *out) {
  scene_reading_t reading = {.table = out};
  memset(out, 0, sizeof *out);
  status_code_t status = json_elements_visit(path, scene_file_read_entry, &reading);
  if (status != STATUS_OK) {
    scene_table_free(out);
    return status;
  }
  scene_file_sort_entries(path, out);
  return STATUS_OK;
}

void scene_table_free(scene_table_t *table) {
  memory_free(table->entries);
  *table = (scene_table_t){0};
}

const scene_t *scene_table_find(const scene_table_t *table, const char *image) {
  int64_t low = 0, high = table->count;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    int order = strcmp(table->entries[middle].image, image);
    if (order == 0) return &table->entries[middle].scene;
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

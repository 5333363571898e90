#include "shapes/world_task.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/file.h"
#include "io/jpeg.h"
#include "shapes/dialogue.h"
#include "shapes/render.h"
#include "shapes/scene_file.h"
#include "shapes/world_files.h"
#include "shapes/world_sets.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { IMAGE_SIZE_MIN = 16, IMAGE_SIZE_MAX = 4096 };

world_options_t world_options_default(void) {
  return (world_options_t){.dir = "world",
                           .seed = 1,
                           .pretrain_images = 20000,
                           .sft_images = 20000,
                           .pair_images = 2000,
                           .policy_init_images = 2000,
                           .rl_images = 4000,
                           .eval_images = 400,
                           .objects_min = 1,
                           .objects_max = 4,
                           .turns = 5,
                           .image_size = 48,
                           .quality = 90,
                           .vocab = 768,
                           .bias = 0.6};
}

world_options_t world_options_smaller(const world_options_t *options) {
  enum { PIXELS_MOST = 1 << 23, IMAGES_MOST = 2048, IMAGES_LEAST = 32 };
  world_options_t smaller = *options;
  int64_t *counts[] = {&smaller.pretrain_images,    &smaller.sft_images, &smaller.pair_images,
                       &smaller.policy_init_images, &smaller.rl_images,  &smaller.eval_images};
  int64_t all = world_scene_count(options), size = options->image_size;
  int64_t most = size > 0 ? PIXELS_MOST / (size * size) : 0;
  if (most > IMAGES_MOST) most = IMAGES_MOST;
  if (most < IMAGES_LEAST) most = IMAGES_LEAST;
  if (all <= most) return smaller;
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    if (*counts[i] > 0) *counts[i] = 1 + *counts[i] * most / all;
  return smaller;
}

static status_t world_task_check_range(const char *name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return STATUS_OK;
  return error_set(STATUS_INPUT, "world.%s: found %" PRId64 ", expected %" PRId64 " to %" PRId64, name, value,
                   low, high);
}

static status_t world_task_options_check(const world_options_t *o) {
  const int64_t most = INT64_C(1) << 40;
  TRY(world_task_check_range("pretrain_images", o->pretrain_images, 0, most));
  TRY(world_task_check_range("sft_images", o->sft_images, 0, most));
  TRY(world_task_check_range("pair_images", o->pair_images, 0, most));
  TRY(world_task_check_range("policy_init_images", o->policy_init_images, 0, most));
  TRY(world_task_check_range("ppo_images", o->rl_images, 0, most));
  TRY(world_task_check_range("eval_images", o->eval_images, 0, most));
  TRY(world_task_check_range("objects_max", o->objects_max, 1, SCENE_MAX_OBJECTS));
  TRY(world_task_check_range("objects_min", o->objects_min, 1, o->objects_max));
  TRY(world_task_check_range("turns", o->turns, 1, DIALOGUE_TURNS_MAX));
  TRY(world_task_check_range("image_size", o->image_size, IMAGE_SIZE_MIN, IMAGE_SIZE_MAX));
  TRY(world_task_check_range("jpeg_quality", o->quality, 1, 100));
  if (!(o->bias >= 0 && o->bias <= 1))
    return error_set(STATUS_INPUT, "world.bias: found %g, expected 0 to 1", o->bias);
  return STATUS_OK;
}

/* images/ and its folders of a thousand. */
static status_t folders_make(const world_options_t *options) {
  char path[FILE_MAX_PATH], image[SCENE_IMAGE_MAX];
  int64_t count = world_scene_count(options), made = -1;
  TRY(file_join(path, options->dir, "images", NULL));
  TRY(file_make_folder(path));
  for (int64_t id = 0; id < count; id++) {
    if (id / SCENE_IMAGES_PER_FOLDER == made) continue;
    made = id / SCENE_IMAGES_PER_FOLDER;
    scene_image_name(id, image);
    *strchr(image, '/') = '\0';
    TRY(file_join(path, options->dir, "images", image));
    TRY(file_make_folder(path));
  }
  return STATUS_OK;
}

static status_t image_write(const world_options_t *options, int64_t id) {
  char path[FILE_MAX_PATH], name[SCENE_IMAGE_MAX];
  scene_t scene;
  image_t image;
  uint8_t *bytes = NULL;
  size_t n;
  scene_image_name(id, name);
  TRY(file_join(path, options->dir, "images", name));
  world_scene_draw(options, id, &scene);
  TRY(scene_render(&scene, options->image_size, &image));
  status_code_t status = jpeg_encode(&image, options->quality, &bytes, &n);
  image_free(&image);
  if (status == STATUS_OK) status = file_write(path, bytes, n);
  memory_free(bytes);
  return status;
}

static status_t world_task_images_write(const comm_t *comm, const world_options_t *options) {
  enum { REPORT_EVERY = 256 };
  int64_t count = world_scene_count(options), done = 0;
  for (int64_t id = comm_rank(comm); id < count; id += comm_size(comm), done++) {
    TRY(stop_vote_continue(options->vote));
    TRY(image_write(options, id));
    if (comm_rank(comm) == 0 && done % REPORT_EVERY == 0) log_progress("images", id, count, "images", NULL);
  }
  if (comm_rank(comm) == 0) log_progress("images", count, count, "images", NULL);
  return STATUS_OK;
}

static status_t world_task_texts_write(const world_options_t *options) {
  TRY(world_tokenizer_write(options));
  return world_files_write(options);
}

status_t world_write(comm_t *comm, const world_options_t *options) {
  bool first = comm_rank(comm) == 0;
  TRY(comm_agree(comm, world_task_options_check(options)));
  TRY(comm_agree(comm, first ? folders_make(options) : STATUS_OK));
  TRY(stop_vote_agree(options->vote, comm, world_task_images_write(comm, options)));
  TRY(stop_vote_agree(options->vote, comm, first ? world_task_texts_write(options) : STATUS_OK));
  return STATUS_OK;
}

/* Sample answers with their images. */
#include "base/base64.h"
#include "base/log.h"
#include "base/memory.h"
#include "io/formats/dataset.h"
#include "io/image_decode.h"
#include "io/image_kind.h"
#include "io/jpeg.h"
#include "record/report_data.h"
#include "vision/image.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
  ANSWERS_MAX = 240,
  SPANS_MAX = 64,     /* models */
  LARGEST_SIDE = 320, /* pixels: larger images are shrunk */
  JPEG_QUALITY = 85
};

/* ---- Images ---- */

typedef struct {
  char *key;  /* what tells it from others */
  char *jpeg; /* base64; NULL where it cannot be had */
  int32_t width;
} picture_t;

/* The pictures of all answers; the dataset that was looked into last stays open: samples come in runs. */
typedef struct {
  picture_t pictures[ANSWERS_MAX];
  int32_t count;
  int32_t lost;
  char *path;
  dataset_t *dataset;
} library_t;

static void library_close_dataset(library_t *library) {
  dataset_close(library->dataset);
  memory_free(library->path);
  library->dataset = NULL;
  library->path = NULL;
}

static void library_free(library_t *library) {
  if (!library) return;
  library_close_dataset(library);
  for (int32_t i = 0; i < library->count; i++) {
    memory_free(library->pictures[i].key);
    memory_free(library->pictures[i].jpeg);
  }
  memory_free(library);
}

SCOPED_POINTER(library_free, library_t)

static status_t library_open_dataset(library_t *library, const char *path) {
  if (library->path && strcmp(library->path, path) == 0) return STATUS_OK;
  library_close_dataset(library);
  TRY(dataset_open(NULL, path, &library->dataset));
  return memory_copy_text(&library->path, ARENA_OTHER, path, strlen(path));
}

static bool is_large(int32_t width, int32_t height) {
  return width > LARGEST_SIDE || height > LARGEST_SIDE;
}

/* Shrinks IMAGE so that its longer side is LARGEST_SIDE, where it is longer. */
static status_t report_samples_shrink(image_t *image) {
  if (!is_large(image->width, image->height)) return STATUS_OK;
  int32_t longer = image->width > image->height ? image->width : image->height;
  double scale = (double)LARGEST_SIDE / longer;
  int32_t width = (int32_t)lround(scale * image->width), height = (int32_t)lround(scale * image->height);
  SCOPED(image_free) image_t small = {0};
  TRY(image_resize(image, width > 0 ? width : 1, height > 0 ? height : 1, &small));
  image_free(image);
  *image = small;
  small = (image_t){0};
  return STATUS_OK;
}

/* An image file's bytes as base64 of a JPEG file: as they are where that is what they hold, and not large. */
static status_t report_samples_encode(const char *name, const uint8_t *bytes, size_t n, picture_t *picture) {
  SCOPED(image_free) image_t image = {0};
  SCOPED_MEMORY uint8_t *small = NULL;
  int32_t height;
  TRY(image_size(bytes, n, name, &picture->width, &height));
  if (image_format(bytes, n) == IMAGE_JPEG && !is_large(picture->width, height))
    return base64_encode(bytes, n, &picture->jpeg);
  TRY(image_decode(bytes, n, name, &image));
  TRY(report_samples_shrink(&image));
  TRY(jpeg_encode(&image, JPEG_QUALITY, &small, &n));
  return base64_encode(small, n, &picture->jpeg);
}

static status_t report_samples_read_image(library_t *library, const char *path, int64_t index,
                                          picture_t *picture) {
  SCOPED_MEMORY uint8_t *bytes = NULL;
  TRY(library_open_dataset(library, path));
  if (index < 0 || index >= dataset_info(library->dataset).images)
    return error_set(STATUS_DATA, "%s has no image %lld", path, (long long)index);
  size_t n = (size_t)dataset_image_size(library->dataset, index);
  TRY(memory_alloc(&bytes, ARENA_OTHER, n, 1));
  TRY(dataset_image_read(library->dataset, index, bytes));
  return report_samples_encode(path, bytes, n, picture);
}

/* An image that cannot be had is no reason to have no report. */
static status_t report_samples_add_picture(library_t *library, const char *path, int64_t index,
                                           const char *key, bool inlined) {
  picture_t *picture = &library->pictures[library->count];
  *picture = (picture_t){0};
  library->count++;
  TRY(memory_copy_text(&picture->key, ARENA_OTHER, key, strlen(key)));
  if (inlined) return memory_copy_text(&picture->jpeg, ARENA_OTHER, key, strlen(key));
  if (report_samples_read_image(library, path, index, picture) == STATUS_OK) return STATUS_OK;
  log_debug("the report lacks an image: %s", error_message());
  error_clear();
  library->lost++;
  return STATUS_OK;
}

/* *NUMBER of the picture that LINE names; -1: none. There is room: no answer has two. */
static status_t report_samples_find_picture(library_t *library, const json_t *line, int32_t *number) {
  const char *path = report_text(line, "dataset"), *inlined = report_text(line, "jpeg");
  int64_t index = report_integer(line, "image", -1);
  char place[FILE_MAX_PATH + 32];
  snprintf(place, sizeof place, "%s#%lld", path, (long long)index);
  const char *key = *inlined ? inlined : place;
  *number = -1;
  if (!*inlined && !*path) return STATUS_OK;
  for (*number = 0; *number < library->count; ++*number)
    if (strcmp(library->pictures[*number].key, key) == 0) return STATUS_OK;
  return report_samples_add_picture(library, path, index, key, *inlined != '\0');
}

static void report_samples_write_pictures(const library_t *library, json_writer_t *writer) {
  json_write_key(writer, "images");
  json_write_array_begin(writer);
  for (int32_t i = 0; i < library->count; i++) {
    json_write_object_begin(writer);
    json_write_member(writer, "jpeg", library->pictures[i].jpeg);
    json_write_int_member(writer, "width", library->pictures[i].width);
    json_write_object_end(writer);
  }
  json_write_array_end(writer);
}

/* ---- Answers ---- */

/* A model's first and newest step with samples. */
typedef struct {
  char *model;
  int64_t first, last;
} report_samples_span_t;

typedef struct {
  report_samples_span_t items[SPANS_MAX];
  int32_t count;
} spans_t;

static void spans_free(spans_t *spans) {
  for (int32_t i = 0; i < spans->count; i++)
    memory_free(spans->items[i].model);
}

static report_samples_span_t *report_samples_find_span(spans_t *spans, const char *model) {
  for (int32_t i = 0; i < spans->count; i++)
    if (strcmp(spans->items[i].model, model) == 0) return &spans->items[i];
  return NULL;
}

/* Models beyond SPANS_MAX are left out. */
static status_t report_samples_widen(spans_t *spans, const char *model, int64_t step) {
  report_samples_span_t *span = report_samples_find_span(spans, model);
  if (!span && spans->count == SPANS_MAX) return STATUS_OK;
  if (!span) {
    span = &spans->items[spans->count];
    *span = (report_samples_span_t){.first = step, .last = step};
    TRY(memory_copy_text(&span->model, ARENA_OTHER, model, strlen(model)));
    spans->count++;
  }
  if (step < span->first) span->first = step;
  if (step > span->last) span->last = step;
  return STATUS_OK;
}

static status_t report_samples_find_spans(const char *path, spans_t *spans, notes_t *notes) {
  SCOPED(lines_close) lines_t lines = lines_open(path);
  for (const json_t *line; (line = lines_next(&lines));)
    TRY(report_samples_widen(spans, report_text(line, "model"), report_integer(line, "step", 0)));
  notes_add_dropped(notes, &lines, "samples.jsonl");
  return STATUS_OK;
}

static status_t report_samples_write_answer(const json_t *line, library_t *library, json_writer_t *writer) {
  static const char *const texts[] = {"model", "question", "answer", "score_name", "note"};
  double score = report_number(line, "score", NAN);
  int32_t picture;
  TRY(report_samples_find_picture(library, line, &picture));
  json_write_object_begin(writer);
  json_write_int_member(writer, "step", report_integer(line, "step", 0));
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (*report_text(line, texts[i])) json_write_member(writer, texts[i], report_text(line, texts[i]));
  if (isfinite(score)) json_write_real_member(writer, "score", score);
  if (picture >= 0) json_write_int_member(writer, "image", picture);
  json_write_object_end(writer);
  return STATUS_OK;
}

/* The answers of each model's first and last step. */
static status_t report_samples_write_answers(const char *path, spans_t *spans, library_t *library,
                                             json_writer_t *writer) {
  SCOPED(lines_close) lines_t lines = lines_open(path);
  const json_t *line;
  int32_t count = 0;
  while (count < ANSWERS_MAX && (line = lines_next(&lines))) {
    int64_t step = report_integer(line, "step", 0);
    const report_samples_span_t *span = report_samples_find_span(spans, report_text(line, "model"));
    if (!span || (step != span->first && step != span->last)) continue;
    TRY(report_samples_write_answer(line, library, writer));
    count++;
  }
  return STATUS_OK;
}

status_t report_samples_write(const char *run_dir, json_writer_t *writer, notes_t *notes) {
  SCOPED(spans_free) spans_t spans = {0};
  SCOPED(library_free_at) library_t *library = NULL;
  char path[FILE_MAX_PATH];
  TRY(file_join(path, run_dir, "samples.jsonl", NULL));
  TRY(memory_alloc(&library, ARENA_OTHER, 1, sizeof *library));
  TRY(report_samples_find_spans(path, &spans, notes));
  json_write_key(writer, "samples");
  json_write_array_begin(writer);
  TRY(report_samples_write_answers(path, &spans, library, writer));
  json_write_array_end(writer);
  report_samples_write_pictures(library, writer);
  if (library->lost > 0)
    notes_add(notes, "%d images of sample answers cannot be read; they lie in the datasets of the run.",
              library->lost);
  return STATUS_OK;
}

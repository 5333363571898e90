/* Sample answers with their images. */
#include "base/log.h"
#include "base/memory.h"
#include "io/dataset.h"
#include "io/jpeg.h"
#include "run/base64.h"
#include "run/report_data.h"
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

static void release_answer(answer_t *answer) {
  char *const texts[] = {answer->model, answer->question, answer->answer, answer->score_name,
                         answer->note,  answer->image,    answer->jpeg};
  for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
    memory_free(texts[t]);
}

void report_answers_free(report_data_t *data) {
  for (int64_t i = 0; i < data->answer_count; i++)
    release_answer(&data->answers[i]);
  memory_free(data->answers);
}

/* ---- Images ---- */

/* Shrinks IMAGE so that its longer side is LARGEST_SIDE, and encodes it. */
static status_t shrink(const image_t *image, uint8_t **bytes, size_t *n) {
  int32_t longer = image->width > image->height ? image->width : image->height;
  double scale = (double)LARGEST_SIDE / longer;
  int32_t width = (int32_t)lround(scale * image->width), height = (int32_t)lround(scale * image->height);
  image_t small;
  TRY(image_resize(image, width > 0 ? width : 1, height > 0 ? height : 1, &small));
  status_code_t status = jpeg_encode(&small, JPEG_QUALITY, bytes, n);
  image_free(&small);
  return status;
}

/* A JPEG file's bytes as base64, shrunk where they are large. */
static status_t encode(const char *name, const uint8_t *bytes, size_t n, answer_t *answer) {
  int32_t height;
  TRY(jpeg_size(bytes, n, name, &answer->width, &height));
  if (answer->width <= LARGEST_SIDE && height <= LARGEST_SIDE) return base64_encode(bytes, n, &answer->jpeg);
  image_t image;
  uint8_t *small = NULL;
  TRY(jpeg_decode(bytes, n, name, &image));
  status_code_t status = shrink(&image, &small, &n);
  image_free(&image);
  if (status == STATUS_OK) status = base64_encode(small, n, &answer->jpeg);
  memory_free(small);
  return status;
}

/* The dataset that was looked into last stays open: samples come in runs. */
typedef struct {
  char *path;
  dataset_t *dataset;
} library_t;

static void library_close(library_t *library) {
  dataset_close(library->dataset);
  memory_free(library->path);
  *library = (library_t){0};
}

static status_t library_open(library_t *library, const char *path) {
  if (library->path && strcmp(library->path, path) == 0) return STATUS_OK;
  library_close(library);
  TRY(dataset_open(NULL, path, &library->dataset));
  return memory_copy_text(&library->path, ARENA_OTHER, path, strlen(path));
}

static status_t read_image(library_t *library, const char *path, int64_t index, answer_t *answer) {
  uint8_t *bytes;
  TRY(library_open(library, path));
  if (index < 0 || index >= dataset_info(library->dataset).images)
    return error_set(STATUS_DATA, "%s has no image %lld", path, (long long)index);
  size_t n = (size_t)dataset_image_size(library->dataset, index);
  TRY(memory_alloc(&bytes, ARENA_OTHER, n, 1));
  status_code_t status = dataset_image_read(library->dataset, index, bytes);
  if (status == STATUS_OK) status = encode(path, bytes, n, answer);
  memory_free(bytes);
  return status;
}

/* An image that cannot be had is no reason to have no report. */
static status_t add_image(library_t *library, const json_t *line, answer_t *answer) {
  const char *path = report_text(line, "dataset"), *inlined = report_text(line, "jpeg");
  int64_t index = report_integer(line, "image", -1);
  char key[FILE_MAX_PATH + 32] = "";
  if (*path) snprintf(key, sizeof key, "%s#%lld", path, (long long)index);
  const char *tells_apart = *inlined ? inlined : key;
  TRY(memory_copy_text(&answer->image, ARENA_OTHER, tells_apart, strlen(tells_apart)));
  if (*path && read_image(library, path, index, answer) != STATUS_OK) {
    log_debug("the report lacks an image: %s", error_message());
    error_clear();
  }
  if (answer->jpeg) return STATUS_OK;
  return memory_copy_text(&answer->jpeg, ARENA_OTHER, inlined, strlen(inlined));
}

/* ---- Answers ---- */

/* Takes the marks of the image's place, and the space at both ends that they leave, out of TEXT. */
static void remove_marks(char *text) {
  static const char mark[] = "<image>";
  for (char *at = text; (at = strstr(at, mark));)
    memmove(at, at + sizeof mark - 1, strlen(at + sizeof mark - 1) + 1);
  size_t begin = strspn(text, " \n\t"), end = strlen(text);
  while (end > begin && strchr(" \n\t", text[end - 1]))
    end--;
  memmove(text, text + begin, end - begin);
  text[end - begin] = '\0';
}

static status_t fill_answer(library_t *library, const json_t *line, answer_t *answer) {
  const struct {
    char **to;
    const char *key;
  } texts[] = {{&answer->model, "model"},
               {&answer->question, "question"},
               {&answer->answer, "answer"},
               {&answer->score_name, "score_name"},
               {&answer->note, "note"}};
  answer->step = report_integer(line, "step", 0);
  answer->score = report_number(line, "score", NAN);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    const char *text = report_text(line, texts[i].key);
    TRY(memory_copy_text(texts[i].to, ARENA_OTHER, text, strlen(text)));
  }
  remove_marks(answer->question);
  return add_image(library, line, answer);
}

static bool same_case(const answer_t *a, const answer_t *b) {
  return strcmp(a->question, b->question) == 0 && strcmp(a->image, b->image) == 0;
}

/* The same model asked the same again at the same step: a run that was continued from before. */
static bool is_repeated(const answer_t *a, const answer_t *b) {
  return a->step == b->step && strcmp(a->model, b->model) == 0 && same_case(a, b);
}

static status_t add_answer(report_data_t *data, library_t *library, const json_t *line) {
  if (data->answer_count == ANSWERS_MAX) return STATUS_OK;
  if (data->answer_count == data->answer_capacity) {
    int64_t capacity = data->answer_capacity ? 2 * data->answer_capacity : 32;
    TRY(memory_resize(&data->answers, ARENA_OTHER, (size_t)capacity, sizeof *data->answers));
    data->answer_capacity = capacity;
  }
  answer_t *answer = &data->answers[data->answer_count];
  *answer = (answer_t){.first_of_case = true};
  data->answer_count++;
  TRY(fill_answer(library, line, answer));
  for (int64_t i = 0; i < data->answer_count - 1; i++) {
    answer_t *earlier = &data->answers[i];
    if (same_case(earlier, answer)) answer->first_of_case = false;
    if (!is_repeated(earlier, answer)) continue;
    answer->first_of_case = earlier->first_of_case;
    release_answer(earlier);
    *earlier = *answer;
    data->answer_count--;
    break;
  }
  return STATUS_OK;
}

/* The first and last step of which a model's answers are there. */
typedef struct {
  char *model;
  int64_t first, last;
} span_t;

typedef struct {
  int32_t count;
  span_t items[SPANS_MAX];
} spans_t;

static span_t *find_span(spans_t *spans, const char *model) {
  for (int32_t i = 0; i < spans->count; i++)
    if (strcmp(spans->items[i].model, model) == 0) return &spans->items[i];
  return NULL;
}

/* Models beyond SPANS_MAX are left out. */
static status_t widen(spans_t *spans, const char *model, int64_t step) {
  span_t *span = find_span(spans, model);
  if (!span && spans->count == SPANS_MAX) return STATUS_OK;
  if (!span) {
    span = &spans->items[spans->count];
    *span = (span_t){.first = step, .last = step};
    TRY(memory_copy_text(&span->model, ARENA_OTHER, model, strlen(model)));
    spans->count++;
  }
  if (step < span->first) span->first = step;
  if (step > span->last) span->last = step;
  return STATUS_OK;
}

/* Takes the answers of each model's first and last step; finds out SPANS where DATA is NULL. */
static status_t read_lines(json_reader_t *reader, report_data_t *data, library_t *library, spans_t *spans) {
  for (;;) {
    json_element_t element;
    TRY(json_reader_next(reader, &element));
    if (!element.value) return STATUS_OK;
    int64_t step = report_integer(element.value, "step", 0);
    const char *model = report_text(element.value, "model");
    if (!data) TRY(widen(spans, model, step));
    const span_t *span = find_span(spans, model);
    if (data && span && (step == span->first || step == span->last))
      TRY(add_answer(data, library, element.value));
  }
}

static status_t read_file(const char *path, report_data_t *data, library_t *library, spans_t *spans) {
  json_reader_t *reader;
  TRY(json_reader_open(path, JSON_ELEMENTS, &reader));
  status_code_t status = read_lines(reader, data, library, spans);
  json_reader_close(reader);
  return status;
}

status_t report_answers_read(const char *path, report_data_t *data) {
  spans_t spans = {0};
  library_t library = {0};
  status_code_t status = read_file(path, NULL, &library, &spans);
  if (status == STATUS_OK) status = read_file(path, data, &library, &spans);
  library_close(&library);
  for (int32_t i = 0; i < spans.count; i++)
    memory_free(spans.items[i].model);
  return status;
}

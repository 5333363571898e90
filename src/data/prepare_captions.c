/* Samples from captions: of each image one, whose caption and question are drawn by seed and image. */
#include "data/composing.h"
#include "data/gathering.h"
#include "data/prepare_parts.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/file.h"

#include <inttypes.h>
#include <string.h>

#include <xxhash.h>

/* What is asked for a caption. */
static const char *const questions[] = {
    "Describe the image in one sentence.", "What does the picture show? Answer in one sentence.",
    "Write a short caption for the image.", "Say briefly what can be seen in the photo."};

enum { QUESTIONS = sizeof questions / sizeof *questions, QUESTION_BYTES = 64 };

static status_t caption_start(composing_t *sample, const char *source, const char *image, size_t bytes,
                              uint64_t seed) {
  TRY(composing_start(sample, 2, bytes + QUESTION_BYTES));
  if (snprintf(sample->id, sizeof sample->id, "%s_%s", source, image) >= (int)sizeof sample->id)
    return error_set(STATUS_DATA, "the image name '%.200s' is longer than %zu bytes", image,
                     sizeof sample->id);
  composing_turn(sample, TURN_HUMAN);
  composing_say(sample, questions[XXH3_64bits_withSeed(image, strlen(image), seed) % QUESTIONS]);
  composing_turn(sample, TURN_GPT);
  return STATUS_OK;
}

/* The smallest of an image is drawn. */
static uint64_t caption_order(const char *image, const char *caption, size_t n, uint64_t seed) {
  return XXH3_64bits_withSeed(caption, n, XXH3_64bits_withSeed(image, strlen(image), seed));
}

/* ---- COCO ---- */

static status_t coco_caption_add(prepare_t *prepare, const json_element_t *element, const char *path,
                                 gathering_t *captions) {
  char where[512], number[32];
  const char *text;
  int64_t image;
  snprintf(where, sizeof where, "%.400s: line %" PRId64 ", element %" PRId64, path, element->line,
           element->index);
  TRY(json_int(element->value, "image_id", where, &image));
  TRY(json_string(element->value, "caption", where, &text));
  const text_view_t caption =
      text_strip((text_view_t){text, (size_t)json_get(element->value, "caption")->count});
  snprintf(number, sizeof number, "%" PRId64, image);
  const gathered_t row = {.group = image,
                          .order = caption_order(number, caption.bytes, caption.n, prepare->options->seed),
                          .n = (int32_t)caption.n};
  return gathering_add(captions, &prepare->spool, row, caption.bytes);
}

static status_t coco_captions_read(prepare_t *prepare, const char *path, gathering_t *captions) {
  SCOPED(json_reader_close_at) json_reader_t *file = NULL;
  json_element_t element;
  TRY(json_reader_open_list(path, "annotations", NULL, &file));
  for (;;) {
    TRY(source_next(prepare, path, file, &element));
    if (element.value == NULL) break;
    TRY(coco_caption_add(prepare, &element, path, captions));
  }
  gathering_sort(captions);
  return STATUS_OK;
}

static status_t coco_caption_take(prepare_t *prepare, prepare_source_t *source, const gathered_t *row,
                                  composing_t *sample) {
  char number[32];
  const size_t n = (size_t)row->n;
  snprintf(number, sizeof number, "%" PRId64, row->group);
  TRY(caption_start(sample, "coco", number, n, prepare->options->seed));
  TRY(composing_coco_image(sample, text_or_none(prepare->options->coco_prefix), row->group));
  TRY(spool_read(&prepare->spool, row->at, composing_room(sample, n), n));
  return sample_take(prepare, source, 0, composing_end(sample), sample->image);
}

status_t source_read_captions(prepare_t *prepare, prepare_source_t *source) {
  SCOPED(composing_free) composing_t sample = {0};
  SCOPED(gathering_free) gathering_t captions = {0};
  TRY(coco_captions_read(prepare, source->path, &captions));
  for (int64_t begin = 0, end; begin < captions.count; begin = end) {
    end = gathering_end(&captions, begin);
    source->passed_over += end - begin - 1;
    TRY(stop_vote_continue(prepare->options->vote));
    TRY(coco_caption_take(prepare, source, &captions.rows[begin], &sample));
  }
  return STATUS_OK;
}

/* ---- Flickr30k ---- */

enum { LINE_MAX_BYTES = 64 * 1024 };

typedef struct {
  FILE *stream;
  const char *path;
  int64_t line, bytes, size; /* read so far, in all */
  char text[LINE_MAX_BYTES];
  names_t names;                /* of the images so far; the last one's lines are being read */
  char caption[LINE_MAX_BYTES]; /* its caption that is drawn by now */
  uint64_t order;
  int64_t first_line;
} flickr_t;

static void flickr_free(flickr_t **flickr) {
  if (*flickr == NULL) return;
  if ((*flickr)->stream != NULL) fclose((*flickr)->stream);
  names_free(&(*flickr)->names);
  memory_free(*flickr);
}

static status_t flickr_open(const char *path, flickr_t **out) {
  SCOPED(flickr_free) flickr_t *flickr = NULL;
  TRY(memory_alloc(&flickr, ARENA_IO, 1, sizeof *flickr));
  flickr->path = path;
  TRY(file_size(path, &flickr->size));
  flickr->stream = fopen(path, "rb");
  if (flickr->stream == NULL) return error_set(STATUS_DATA, "%s: cannot be opened", path);
  memory_hand_over(out, &flickr);
  return STATUS_OK;
}

static status_t flickr_refuse(const flickr_t *flickr, const char *problem) {
  return error_set(STATUS_DATA, "%s: line %" PRId64 ": %s", flickr->path, flickr->line, problem);
}

/* The bytes up to the next line end, N of them, with '\0' behind; *FOUND false at the file's end. */
static status_t flickr_bytes(flickr_t *flickr, size_t *n, bool *found) {
  int c;
  *n = 0;
  while ((c = getc(flickr->stream)) != EOF && c != '\n') {
    if (*n + 1 == sizeof flickr->text) return flickr_refuse(flickr, "longer than a caption could be");
    flickr->text[(*n)++] = (char)c;
  }
  if (ferror(flickr->stream)) return error_set(STATUS_DATA, "%s: cannot be read", flickr->path);
  flickr->text[*n] = '\0';
  *found = c != EOF || *n > 0;
  flickr->bytes += (int64_t)*n + (c != EOF);
  return STATUS_OK;
}

/* The next line that is not empty; *FOUND false at the end. */
static status_t flickr_line(flickr_t *flickr, bool *found) {
  size_t n;
  do {
    flickr->line++;
    TRY(flickr_bytes(flickr, &n, found));
    if (!*found) return STATUS_OK;
    if (memchr(flickr->text, '\0', n) != NULL) return flickr_refuse(flickr, "holds a NUL");
    while (n > 0 && flickr->text[n - 1] == '\r')
      flickr->text[--n] = '\0';
  } while (n == 0);
  return text_is_utf8(text_view(flickr->text), NULL) ? STATUS_OK : flickr_refuse(flickr, "is not UTF-8");
}

static const char *flickr_name(const flickr_t *flickr) {
  return flickr->names.count == 0 ? "" : names_name(&flickr->names, flickr->names.count - 1);
}

/* The image whose lines have ended. */
static status_t flickr_take(prepare_t *prepare, prepare_source_t *source, flickr_t *flickr,
                            composing_t *sample) {
  const char *name = flickr_name(flickr);
  if (name[0] == '\0') return STATUS_OK;
  const size_t n = strlen(flickr->caption);
  TRY(caption_start(sample, "flickr", name, n, prepare->options->seed));
  if (snprintf(sample->image, sizeof sample->image, "%s%s", text_or_none(prepare->options->flickr_prefix),
               name) >= (int)sizeof sample->image)
    return error_set(STATUS_INPUT, "prepare.flickr_prefix: too long");
  composing_put(sample, flickr->caption, n);
  return sample_take(prepare, source, flickr->first_line, composing_end(sample), sample->image);
}

/* Begins with image NAME: an image's lines stand together. */
static status_t flickr_begin(flickr_t *flickr, const char *name) {
  const int64_t before = flickr->names.count;
  int64_t number;
  TRY(names_add(&flickr->names, name, "", &number));
  if (number < before)
    return error_set(STATUS_DATA,
                     "%s: line %" PRId64
                     ": a caption of '%.200s', apart from its others; expected an image's "
                     "captions one after the other",
                     flickr->path, flickr->line, name);
  flickr->first_line = flickr->line;
  flickr->order = UINT64_MAX;
  return STATUS_OK;
}

/* "IMAGE#N", a tab, the caption. */
static status_t flickr_line_take(prepare_t *prepare, prepare_source_t *source, flickr_t *flickr,
                                 composing_t *sample) {
  char *tab = strchr(flickr->text, '\t'), *mark = NULL;
  if (tab != NULL) *tab = '\0';
  if (tab != NULL) mark = strrchr(flickr->text, '#');
  if (mark == NULL || mark == flickr->text)
    return flickr_refuse(flickr, "expected IMAGE#NUMBER, a tab and a caption");
  *mark = '\0';
  if (strcmp(flickr->text, flickr_name(flickr)) != 0) {
    TRY(flickr_take(prepare, source, flickr, sample));
    TRY(flickr_begin(flickr, flickr->text));
  } else {
    source->passed_over++;
  }
  const text_view_t caption = text_strip(text_view(tab + 1));
  const uint64_t order = caption_order(flickr_name(flickr), caption.bytes, caption.n, prepare->options->seed);
  if (order >= flickr->order) return STATUS_OK;
  flickr->order = order;
  memcpy(flickr->caption, caption.bytes, caption.n);
  flickr->caption[caption.n] = '\0';
  return STATUS_OK;
}

status_t source_read_flickr(prepare_t *prepare, prepare_source_t *source) {
  SCOPED(flickr_free) flickr_t *flickr = NULL;
  SCOPED(composing_free) composing_t sample = {0};
  bool found;
  TRY(flickr_open(source->path, &flickr));
  for (;;) {
    TRY(stop_vote_continue(prepare->options->vote));
    TRY(flickr_line(flickr, &found));
    if (!found) break;
    TRY(flickr_line_take(prepare, source, flickr, &sample));
    if (flickr->bytes < flickr->size)
      log_progress("texts", flickr->bytes / 1024, (flickr->size + 1023) / 1024, "KiB", source->path);
  }
  log_progress("texts", (flickr->size + 1023) / 1024, (flickr->size + 1023) / 1024, "KiB", source->path);
  return flickr_take(prepare, source, flickr, &sample);
}

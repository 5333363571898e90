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

static status_t coco_caption_read(const json_element_t *element, int64_t *image, text_view_t *caption) {
  char where[64];
  const char *text;
  snprintf(where, sizeof where, "element %" PRId64, element->index);
  TRY(json_int(element->value, "image_id", where, image));
  TRY(json_string(element->value, "caption", where, &text));
  *caption = text_strip((text_view_t){text, (size_t)json_get(element->value, "caption")->count});
  if (caption->n > 0) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: a caption of image %" PRId64 " is empty", where, *image);
}

static status_t coco_caption_add(prepare_t *prepare, prepare_source_t *source, const json_element_t *element,
                                 gathering_t *captions) {
  char number[32];
  text_view_t caption;
  int64_t image;
  status_code_t status = coco_caption_read(element, &image, &caption);
  if (status == STATUS_DATA) return sample_take_bad(prepare, source, source->path, element->line, NULL);
  TRY(status);
  snprintf(number, sizeof number, "%" PRId64, image);
  const gathered_t row = {.group = image,
                          .order = caption_order(number, caption.bytes, caption.n, prepare->options->seed),
                          .n = (int32_t)caption.n};
  return gathering_add(captions, &prepare->spool, row, caption.bytes);
}

static status_t coco_captions_read(prepare_t *prepare, prepare_source_t *source, gathering_t *captions) {
  SCOPED(json_reader_close_at) json_reader_t *file = NULL;
  json_element_t element;
  TRY(json_reader_open_list(source->path, "annotations", NULL, &file));
  for (;;) {
    TRY(source_next(prepare, source->path, file, &element));
    if (element.value == NULL) break;
    TRY(coco_caption_add(prepare, source, &element, captions));
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
  TRY(coco_captions_read(prepare, source, &captions));
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
  size_t n;                  /* bytes of the line, of which TEXT holds as many as it can */
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

/* The bytes up to the next line end, N of them, as many as there is room for and '\0' to TEXT; *FOUND false
 * at the file's end. */
static status_t flickr_bytes(flickr_t *flickr, size_t *n, bool *found) {
  enum { ROOM = sizeof flickr->text - 1 };
  int c;
  for (*n = 0; (c = getc(flickr->stream)) != EOF && c != '\n'; ++*n)
    if (*n < ROOM) flickr->text[*n] = (char)c;
  if (ferror(flickr->stream)) return error_set(STATUS_DATA, "%s: cannot be read", flickr->path);
  flickr->text[*n < ROOM ? *n : ROOM] = '\0';
  *found = c != EOF || *n > 0;
  flickr->bytes += (int64_t)*n + (c != EOF);
  return STATUS_OK;
}

/* The next line that is not empty, without its end; *FOUND false at the file's end. */
static status_t flickr_line(flickr_t *flickr, bool *found) {
  size_t n;
  do {
    flickr->line++;
    TRY(flickr_bytes(flickr, &n, found));
    while (n > 0 && n < sizeof flickr->text && flickr->text[n - 1] == '\r')
      flickr->text[--n] = '\0';
  } while (*found && n == 0);
  flickr->n = n;
  return STATUS_OK;
}

static const char *flickr_name(const flickr_t *flickr) {
  return flickr->names.count == 0 ? "" : names_name(&flickr->names, flickr->names.count - 1);
}

/* Whether NAME is that of an image whose lines have ended: an image's lines stand together. */
static bool flickr_has_ended(const flickr_t *flickr, const char *name) {
  return strcmp(name, flickr_name(flickr)) != 0 && names_find(&flickr->names, name) >= 0;
}

/* "IMAGE#N", a tab, the caption. NAME and CAPTION are parts of the line. */
static status_t flickr_line_read(flickr_t *flickr, const char **name, text_view_t *caption) {
  if (flickr->n >= sizeof flickr->text) return error_set(STATUS_DATA, "longer than a caption could be");
  if (memchr(flickr->text, '\0', flickr->n) != NULL) return error_set(STATUS_DATA, "holds a NUL");
  if (!text_is_utf8(text_view(flickr->text), NULL)) return error_set(STATUS_DATA, "is not UTF-8");
  char *tab = strchr(flickr->text, '\t'), *mark = NULL;
  if (tab != NULL) *tab = '\0';
  if (tab != NULL) mark = strrchr(flickr->text, '#');
  if (mark == NULL || mark == flickr->text)
    return error_set(STATUS_DATA, "expected IMAGE#NUMBER, a tab and a caption");
  *mark = '\0';
  *name = flickr->text;
  *caption = text_strip(text_view(tab + 1));
  if (caption->n == 0) return error_set(STATUS_DATA, "the caption of '%.200s' is empty", *name);
  if (!flickr_has_ended(flickr, *name)) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "a caption of '%.200s', apart from its others; expected an image's captions one after the "
                   "other",
                   *name);
}

static status_t flickr_compose(const prepare_options_t *options, const flickr_t *flickr,
                               composing_t *sample) {
  const char *name = flickr_name(flickr);
  const size_t n = strlen(flickr->caption);
  TRY(caption_start(sample, "flickr", name, n, options->seed));
  if (snprintf(sample->image, sizeof sample->image, "%s%s", text_or_none(options->flickr_prefix), name) >=
      (int)sizeof sample->image)
    return error_set(STATUS_INPUT, "prepare.flickr_prefix: too long");
  composing_put(sample, flickr->caption, n);
  return STATUS_OK;
}

/* The image whose lines have ended. */
static status_t flickr_take(prepare_t *prepare, prepare_source_t *source, const flickr_t *flickr,
                            composing_t *sample) {
  if (flickr->names.count == 0) return STATUS_OK;
  status_code_t status = flickr_compose(prepare->options, flickr, sample);
  if (status == STATUS_DATA)
    return sample_take_bad(prepare, source, source->path, flickr->first_line, flickr_name(flickr));
  TRY(status);
  return sample_take(prepare, source, flickr->first_line, composing_end(sample), sample->image);
}

static status_t flickr_begin(flickr_t *flickr, const char *name) {
  int64_t number;
  flickr->first_line = flickr->line;
  flickr->order = UINT64_MAX;
  return names_add(&flickr->names, name, "", &number);
}

static status_t flickr_line_take(prepare_t *prepare, prepare_source_t *source, flickr_t *flickr,
                                 composing_t *sample) {
  const char *name;
  text_view_t caption;
  status_code_t status = flickr_line_read(flickr, &name, &caption);
  if (status == STATUS_DATA) return sample_take_bad(prepare, source, source->path, flickr->line, NULL);
  TRY(status);
  if (strcmp(name, flickr_name(flickr)) != 0) {
    TRY(flickr_take(prepare, source, flickr, sample));
    TRY(flickr_begin(flickr, name));
  } else {
    source->passed_over++;
  }
  const uint64_t order = caption_order(name, caption.bytes, caption.n, prepare->options->seed);
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

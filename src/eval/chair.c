#include "eval/chair.h"

#include "base/memory.h"
#include "eval/chair_words.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const judge_metric_t metrics[CHAIR_METRICS] = {
    [CHAIR_INSTANCE] = {.name = "chair/instance", .estimator = ESTIMATOR_RATIO},
    [CHAIR_SENTENCE] = {.name = "chair/sentence", .estimator = ESTIMATOR_SHARE},
    [CHAIR_RECALL] = {.name = "chair/recall", .estimator = ESTIMATOR_RATIO},
};

/* An object in an image. */
typedef struct {
  int64_t image;
  int32_t kind; /* while the instances of a file are read: COCO's category */
} shown_t;

typedef struct {
  chair_words_t words;
  shown_t *shown; /* (count), sorted */
  int64_t count;
  int32_t *mentions; /* (CHAIR_MENTIONS_MAX) */
} chair_t;

/* ---- Annotations ---- */

static status_t shown_add(chair_t *chair, int64_t image, int32_t kind) {
  TRY(memory_reserve(&chair->shown, ARENA_OTHER, (size_t)chair->count + 1, sizeof *chair->shown));
  chair->shown[chair->count++] = (shown_t){image, kind};
  return STATUS_OK;
}

/* A file of instances, or one of captions. COCO's categories, as they come; they may follow the instances. */
typedef struct {
  chair_t *chair;
  const char *path;
  lookup_t categories;      /* id -> kind */
  bool instances, captions; /* there are some */
} annotations_t;

static status_t instance_add(annotations_t *file, const json_t *annotation, int64_t image,
                             const char *where) {
  int64_t category;
  TRY(json_int(annotation, "category_id", where, &category));
  if (category != (int32_t)category)
    return error_set(STATUS_DATA, "%s: category_id is %" PRId64 ", expected one of COCO's", where, category);
  file->instances = true;
  return shown_add(file->chair, image, (int32_t)category);
}

static status_t caption_add(annotations_t *file, const json_t *annotation, int64_t image, const char *where) {
  chair_t *chair = file->chair;
  int32_t count;
  const char *caption;
  TRY(json_string(annotation, "caption", where, &caption));
  chair_words_mentions(&chair->words, text_view(caption), chair->mentions, &count);
  for (int32_t i = 0; i < count; i++)
    TRY(shown_add(chair, image, chair->mentions[i]));
  file->captions = true;
  return shown_add(chair, image, CHAIR_NO_OBJECT); /* the image is known, if nothing is in it */
}

static status_t annotation_add(annotations_t *file, const json_t *annotation, const char *where) {
  int64_t image;
  TRY(json_int(annotation, "image_id", where, &image));
  TRY(json_get(annotation, "category_id") ? instance_add(file, annotation, image, where)
                                          : caption_add(file, annotation, image, where));
  if (!file->instances || !file->captions) return STATUS_OK;
  return error_set(STATUS_DATA, "%s: found captions among instances, expected a file for each", where);
}

static status_t category_add(annotations_t *file, const json_t *category, const char *where) {
  int64_t id;
  const char *name;
  char key[32], kind[16];
  TRY(json_int(category, "id", where, &id));
  TRY(json_string(category, "name", where, &name));
  int32_t found = chair_words_kind(&file->chair->words, name);
  if (found == CHAIR_NO_OBJECT)
    return error_set(STATUS_DATA, "%s: category '%.60s' is none of the words of eval.synonyms", where, name);
  snprintf(key, sizeof key, "%" PRId64, id);
  snprintf(kind, sizeof kind, "%d", found);
  return lookup_add(&file->categories, key, kind);
}

static status_t annotations_visit(annotations_t *file, json_reader_t *reader) {
  for (;;) {
    json_element_t element;
    char where[512];
    TRY(json_reader_next(reader, &element));
    if (!element.value) return STATUS_OK;
    snprintf(where, sizeof where, "%s, line %lld", file->path, (long long)element.line);
    TRY(strcmp(element.key, "categories") == 0 ? category_add(file, element.value, where)
                                               : annotation_add(file, element.value, where));
  }
}

/* From entry BEGIN on: categories become kinds. */
static status_t kinds_settle(annotations_t *file, int64_t begin) {
  chair_t *chair = file->chair;
  lookup_sort(&file->categories);
  for (int64_t i = begin; i < chair->count; i++) {
    char key[32];
    snprintf(key, sizeof key, "%d", chair->shown[i].kind);
    const char *kind = lookup_find(&file->categories, key);
    if (!kind)
      return error_set(STATUS_DATA, "%s: image %" PRId64 " has an object of category %s, which has no name",
                       file->path, chair->shown[i].image, key);
    chair->shown[i].kind = atoi(kind);
  }
  return STATUS_OK;
}

static status_t annotations_read_file(annotations_t *file) {
  SCOPED(json_reader_close_at) json_reader_t *reader = NULL;
  int64_t begin = file->chair->count;
  TRY(json_reader_open_list(file->path, "annotations", "categories", &reader));
  TRY(annotations_visit(file, reader));
  if (file->chair->count == begin)
    return error_set(STATUS_DATA, "%s: its 'annotations' are empty, expected COCO's instances or captions",
                     file->path);
  return file->instances ? kinds_settle(file, begin) : STATUS_OK;
}

static status_t annotations_read(chair_t *chair, const char *path) {
  annotations_t file = {.chair = chair, .path = path};
  status_code_t status = annotations_read_file(&file);
  lookup_free(&file.categories);
  return status;
}

static int shown_compare(const void *left, const void *right) {
  const shown_t *a = left, *b = right;
  if (a->image != b->image) return a->image < b->image ? -1 : 1;
  return (a->kind > b->kind) - (a->kind < b->kind);
}

/* ---- Judging ---- */

int64_t chair_image_number(const char *name) {
  const char *slash = strrchr(name, '/'), *dot = strrchr(slash ? slash : name, '.');
  const char *end = dot ? dot : name + strlen(name), *begin = end;
  while (begin > name && begin[-1] >= '0' && begin[-1] <= '9')
    begin--;
  return begin < end && end - begin < 18 ? strtoll(begin, NULL, 10) : -1;
}

/* The objects of IMAGE, as bits of OBJECTS; false where nothing is known of it. */
static bool objects_find(const chair_t *chair, int64_t image, bool objects[CHAIR_OBJECTS_MAX]) {
  int64_t low = 0, high = chair->count;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (chair->shown[middle].image < image)
      low = middle + 1;
    else
      high = middle;
  }
  bool found = low < chair->count && chair->shown[low].image == image;
  for (; low < chair->count && chair->shown[low].image == image; low++)
    if (chair->shown[low].kind != CHAIR_NO_OBJECT) objects[chair->shown[low].kind] = true;
  return found;
}

/* By its file's name or, in files of captions, by its number. */
static int64_t image_of(const answer_t *answer) {
  const json_t *number = json_get(answer->record, "image_id");
  if (number && number->type == JSON_INT) return number->u.integer;
  if (number && number->type == JSON_STRING) return chair_image_number(number->u.string);
  return answer->image ? chair_image_number(answer->image) : -1;
}

static status_t chair_accept(const judge_t *judge, const answer_t *question) {
  bool objects[CHAIR_OBJECTS_MAX] = {false};
  if (objects_find(judge->state, image_of(question), objects)) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "question '%.80s': eval.annotations tell nothing of its image '%.200s', expected the name of "
      "one of COCO's, with its number at the end",
      question->id, question->image ? question->image : "");
}

/* Objects mentioned and not shown, by name, once each. */
static void chair_write(const chair_t *chair, const bool *invented, json_writer_t *writer) {
  json_write_key(writer, "invented");
  json_write_array_begin(writer);
  for (int32_t k = 0; k < chair->words.count; k++)
    if (invented[k]) json_write_string(writer, chair->words.names[k]);
  json_write_array_end(writer);
}

static status_t chair_judge_answer(judge_t *judge, const answer_t *answer, json_writer_t *writer,
                                   verdict_t *out) {
  chair_t *chair = judge->state;
  bool objects[CHAIR_OBJECTS_MAX] = {false}, named[CHAIR_OBJECTS_MAX] = {false},
       invented[CHAIR_OBJECTS_MAX] = {false};
  int32_t count, wrong = 0, there = 0, found = 0;
  objects_find(chair, image_of(answer), objects);
  chair_words_mentions(&chair->words, text_view(answer->text), chair->mentions, &count);
  for (int32_t i = 0; i < count; i++) {
    int32_t kind = chair->mentions[i];
    wrong += !objects[kind];
    (objects[kind] ? named : invented)[kind] = true;
  }
  for (int32_t k = 0; k < chair->words.count; k++) {
    there += objects[k];
    found += named[k];
  }
  out->counts[CHAIR_INSTANCE] = (judge_count_t){wrong, count};
  out->counts[CHAIR_SENTENCE] = (judge_count_t){wrong > 0, 1.0};
  out->counts[CHAIR_RECALL] = (judge_count_t){found, there};
  if (writer) chair_write(chair, invented, writer);
  return STATUS_OK;
}

/* ---- Opening ---- */

static void chair_close(judge_t *judge) {
  chair_t *chair = judge->state;
  if (!chair) return;
  chair_words_free(&chair->words);
  memory_free(chair->shown);
  memory_free(chair->mentions);
  memory_free(chair);
}

static status_t chair_read(const settings_t *settings, judge_t *out) {
  const text_list_t *files = &settings->eval.annotations;
  chair_t *chair;
  TRY(memory_alloc(&chair, ARENA_OTHER, 1, sizeof *chair));
  out->state = chair;
  if (files->count == 0 || !*settings->eval.synonyms)
    return error_set(STATUS_INPUT, "eval.judge = 'chair' needs eval.synonyms, and eval.annotations: COCO's "
                                   "instances_*.json and captions_*.json");
  TRY(memory_alloc(&chair->mentions, ARENA_OTHER, CHAIR_MENTIONS_MAX, sizeof *chair->mentions));
  TRY(chair_words_read(settings->eval.synonyms, &chair->words));
  for (int64_t i = 0; i < files->count; i++)
    TRY(annotations_read(chair, files->items[i]));
  qsort(chair->shown, (size_t)chair->count, sizeof *chair->shown, shown_compare);
  return STATUS_OK;
}

status_t chair_open(session_t *session, judge_t *out) {
  *out = (judge_t){.metrics = metrics,
                   .metric_count = CHAIR_METRICS,
                   .score = JUDGE_NO_SCORE,
                   .answer_key = "caption",
                   .rule = "an object counts as often as it is mentioned, by a word of eval.synonyms, and is "
                           "there if eval.annotations show or mention it",
                   .accept = chair_accept,
                   .judge = chair_judge_answer,
                   .close = chair_close};
  return comm_agree(session->world,
                    comm_rank(session->world) == 0 ? chair_read(session->settings, out) : STATUS_OK);
}

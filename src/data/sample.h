/* One sample of the published JSON files (conversations, preferences, questions) on its way to a dataset. */
#ifndef DATA_SAMPLE_H
#define DATA_SAMPLE_H

#include "data/messages.h"
#include "io/formats/dataset.h"
#include "io/json.h"

typedef enum {
  SAMPLE_CONVERSATION, /* outputs and preference may be there or not */
  SAMPLE_PREFERENCE    /* must have two outputs and a preference */
} sample_kind_t;

/* All zero to begin with; used for one sample after the other. */
typedef struct {
  dataset_sample_t sample; /* image is -1 and there are no facts: who looks them up fills them in */
  const char *image;       /* path below the image folder, NULL if none; the JSON tree's */
  messages_t messages;     /* the sample's turns */
  char number[32];         /* an id that was a number */
  char where[128];         /* "sample 'ID'" for messages */
} sample_reader_t;

/* Reads and checks ELEMENT, number INDEX of its file, to READER->sample, whose texts are valid as long as
 * ELEMENT is and until the next call. Accepted are `id` (text or number) with `conversations` (`from`,
 * `value`); `messages` (`role`, `content`) of chat files; pairs of `chosen` and `rejected` as TRL has them;
 * and questions of the published benchmarks: `question_id` with `text`. Errors: STATUS_DATA naming the
 * sample: wrong types, no human turn, "<image>" without image and the reverse, a preference that is neither 1
 * nor 2, ... Local. */
status_t sample_read(sample_reader_t *reader, const json_t *element, int64_t index, sample_kind_t kind);
void sample_reader_free(sample_reader_t *reader);

#endif

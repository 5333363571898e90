/* A sample put together of texts that lie elsewhere: turn after turn, piece after piece. */
#ifndef DATA_COMPOSING_H
#define DATA_COMPOSING_H

#include "io/formats/dataset.h"

/* All zero to begin with; used for one sample after the other. */
typedef struct {
  dataset_sample_t sample;
  char id[128], image[1024];
  char *text;
  size_t used;
  turn_t *turns;
  int32_t count;
} composing_t;

/* Starts a sample of at most TURNS turns whose pieces have at most BYTES bytes; a general one, without id and
 * image. Local. */
status_t composing_start(composing_t *composing, int32_t turns, size_t bytes);
/* Its image: PREFIX, NUMBER with 12 digits, ".jpg", as COCO names them. Local. */
status_t composing_coco_image(composing_t *composing, const char *prefix, int64_t number);
/* Begins a turn; the first one of the human begins with "<image>" and a line end. Local. */
void composing_turn(composing_t *composing, turn_role_t role);
/* Adds to the turn. Local. */
void composing_put(composing_t *composing, const char *bytes, size_t n);
void composing_say(composing_t *composing, const char *text);
/* N bytes more of the turn, to be filled by the caller. Local. */
char *composing_room(composing_t *composing, size_t n);
/* The sample, once all is said; valid until the next composing_start. Local. */
const dataset_sample_t *composing_end(composing_t *composing);
void composing_free(composing_t *composing);

#endif

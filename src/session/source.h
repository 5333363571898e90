/* Where a task's samples come from: a dataset with its loader, and the settings that say how samples become
 * sequences. */
#ifndef RUN_SOURCE_H
#define RUN_SOURCE_H

#include "data/loader.h"
#include "data/order.h"
#include "session/models.h"
#include "text/conversation.h"

typedef struct {
  dataset_t *dataset;
  loader_t *loader;
  const tokenizer_t *tokenizer;
  template_t template;
  image_aspect_t aspect;
  int32_t max_len;
  bool skip_bad;
  const grid_t *grid;
  int64_t *reported; /* (reported_count): rows that this rank has said to be bad */
  int64_t reported_count;
} source_t;

/* Opens PATH (of the setting SETTING, for messages). Collective. Close with source_close. */
status_t source_open(session_t *session, const model_t *model, const char *setting, const char *path,
                     source_t *out);
void source_close(source_t *source);

/* Training sequence of dataset row ROW. A bad sample is an error that names it or, where data.bad_sample =
 * 'skip', an empty sequence, reported. Local. */
status_t source_sequence(source_t *source, int64_t row, sequence_t *sequence, int64_t *image);

/* The same of SAMPLE; a bad one is an error, STATUS_DATA, that says why but not which. Local. */
status_t source_sample_sequence(const source_t *source, const dataset_sample_t *sample, sequence_t *sequence,
                                int64_t *image);

/* Makes of *IMAGE, its sample's, the image that SEQUENCE shows: -1 where it has no place for one. STATUS_DATA
 * where it has one and there is no image. Local. */
status_t source_image(const sequence_t *sequence, int64_t *image);

/* Adds to the error STATUS of working on ROW which sample it is. Local. */
status_t source_name_sample(const source_t *source, int64_t row, const char *id, status_code_t status);

/* Turns STATUS of working on ROW into an error that names the sample or, where bad samples are skipped,
 * reports it, once, and returns STATUS_OK. Local. */
status_t source_bad_sample(source_t *source, int64_t row, const char *id, status_code_t status);

/* Asks SOURCE's loader for IMAGES (n) as CONFIG's tower takes them. *TICKET is for source_patches, or
 * loader_release. Local. */
status_t source_request(source_t *source, const model_config_t *config, const int64_t *images, int32_t n,
                        loader_ticket_t **ticket);

/* Waits for TICKET, by which IMAGES (n) were asked for, and makes *PATCHES (n, P, patch size) of them, the
 * caller's to free with memory_free. An image that cannot be decoded is an error that names its file, a
 * sample that needs it, and the rank; where bad samples are skipped it is reported, its pixels are zero (the
 * mean colour) and BROKEN[k], all of which are set, is 1. The ticket stays the caller's. Collective on tp
 * where bad samples are skipped (its ranks agree on what is broken), else local. */
status_t source_patches(source_t *source, const model_config_t *config, loader_ticket_t *ticket,
                        const int64_t *images, int32_t n, float **patches, int32_t *broken);

#endif

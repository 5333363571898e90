/* Inside prepare: what its steps share. */
#ifndef DATA_PREPARE_PARTS_H
#define DATA_PREPARE_PARTS_H

#include "data/image_files.h"
#include "data/names.h"
#include "data/prepare.h"
#include "data/sample.h"

#include <stdio.h>

typedef struct {
  const char *path;
  sample_kind_t kind;
  int64_t elements, bad;
} prepare_source_t;

/* What is kept of each sample between the two readings. */
typedef struct {
  int64_t image; /* number of its name, -1 none */
  int64_t bytes; /* of its texts */
  int32_t texts;
  bool bad, held_out;
  bool choice; /* its facts are looked up under "aok_" and the image's name */
} sample_note_t;

typedef struct {
  comm_t *comm;
  const prepare_options_t *options;
  prepare_source_t sources[2];
  int source_count;
  image_folder_t folder;
  names_t names;
  sample_note_t *notes; /* (note_count): rank 0 */
  int64_t note_count;
  FILE *report;        /* rank 0, may be NULL */
  int64_t data_before; /* use of ARENA_DATA before anything was read */
  prepare_counts_t counts;
} prepare_t;

/* One dataset that is being made. */
typedef struct {
  prepare_t *prepare;
  const char *path;
  bool all, held_out; /* which samples: all (those held out are marked), or those that are held out or not */
  int64_t image_count;
  int64_t *images;       /* (image_count): numbers of their names, ascending */
  int64_t *place;        /* (names): place in images or -1 */
  int64_t *sizes;        /* (image_count): bytes */
  const char **problems; /* (image_count): rank 0: why an image is unusable, NULL if it is fine */
  char *problem_bytes;
  struct facts *facts; /* rank 0, may be NULL */
  dataset_counts_t planned;
  int64_t skipped;
  int64_t *elements; /* (planned.samples) rank 0, where asked for: which element each row is */
  int64_t rows;      /* written */
  dataset_writer_t *writer;
} output_t;

/* Where an element stands. */
typedef struct {
  prepare_source_t *source;
  int64_t number; /* over all sources */
  int64_t line;
  status_code_t status; /* of sample_read; its message is the thread's error message */
} sample_place_t;

typedef status_t (*sample_visit_t)(void *context, const sample_place_t *place, const sample_reader_t *reader);

/* Reads all samples of all sources and calls VISIT for each. LABEL is for the progress line; FIRST: warns of
 * what is odd in the files. Rank 0. */
status_t samples_visit(prepare_t *prepare, const char *label, bool first, sample_visit_t visit,
                       void *context);

/* The end of a step that ranks take at their own pace, or rank 0 alone: STATUS agreed, as by stop_vote_agree.
 */
status_t prepare_agree(const prepare_t *prepare, status_code_t status);

/* A bad sample (of which the id at most is known): an error to return, or a line of the report, as the
 * options ask. */
status_t sample_refuse(prepare_t *prepare, const sample_place_t *place, const dataset_sample_t *sample,
                       const char *reason);

/* First reading: notes, names and held-out samples. Rank 0. */
status_t prepare_scan(prepare_t *prepare);

/* Is a sample with this note meant for OUTPUT? */
bool output_wants(const output_t *output, const sample_note_t *note);

/* Reads, checks and writes the images; or only measures their files. Collective. */
status_t output_write_images(output_t *output);
status_t output_measure_images(output_t *output);

/* The second reading, rank 0: the names, facts and samples, once output_plan has counted them. */
status_t output_plan(output_t *output, int64_t *name_bytes);
status_t output_write_texts(output_t *output);

/* ---- Facts: for each image of OUTPUT two lists, under its plain name and under "aok_" ---- */

typedef struct facts facts_t;

/* Reads the facts file once to count what the images need; of entries under one key the last counts. Rank 0.
 */
status_t facts_create(output_t *output, const char *path, facts_t **out);
/* Sets how many facts there are, and their bytes. */
void facts_measure(const facts_t *facts, dataset_counts_t *counts);
/* Reads it again and writes the facts. */
status_t facts_write(facts_t *facts, dataset_writer_t *writer);
/* Rows of an image's facts (its place in OUTPUT); false if there are none. */
bool facts_find(const facts_t *facts, int64_t image, bool choice, int64_t *first, int32_t *count);
void facts_free(facts_t *facts);

#endif

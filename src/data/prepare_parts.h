/* Inside prepare: what its steps share. */
#ifndef DATA_PREPARE_PARTS_H
#define DATA_PREPARE_PARTS_H

#include "data/image_files.h"
#include "data/names.h"
#include "data/prepare.h"
#include "data/sample.h"
#include "data/spool.h"
#include "io/formats/kept.h"

#include <stdio.h>

/* What becomes of a sample. */
typedef enum {
  FATE_KEPT,
  FATE_BAD,       /* it, or its image, cannot be used */
  FATE_APART,     /* its image is in a dataset to keep apart from */
  FATE_UNSCORED,  /* the scores have none for it */
  FATE_FILTERED,  /* its reward is too low */
  FATE_NOT_DRAWN, /* there are more than were asked for */
  FATE_COUNT
} fate_t;

typedef struct prepare prepare_t;
typedef struct prepare_source prepare_source_t;

/* Reads the samples of a source, in the order that they will have, each to sample_take or sample_take_bad.
 * Rank 0. */
typedef status_t (*source_read_t)(prepare_t *prepare, prepare_source_t *source);

struct prepare_source {
  const char *path, *kind;
  source_read_t read;
  int64_t limit;       /* samples wanted, 0: all */
  int64_t begin, end;  /* its notes */
  int64_t passed_over; /* elements that are no samples: questions of other types, captions not drawn */
  int64_t fates[FATE_COUNT];
};

enum { SOURCES_MAX = 7 };

/* What is kept of each sample in memory. */
typedef struct {
  int64_t image; /* number of its name, -1 none */
  int64_t at;    /* of its texts in the spool */
  int64_t bytes; /* of its texts */
  int64_t fact_bytes;
  uint64_t key;         /* hash of its contents and the seed: what draws it */
  int32_t texts, facts; /* facts of its own */
  uint8_t fate, source;
  bool held_out;
  bool choice; /* its facts are looked up under "aok_" and the image's name */
} sample_note_t;

typedef struct facts facts_t;

struct prepare {
  comm_t *comm;
  const prepare_options_t *options;
  prepare_source_t sources[SOURCES_MAX];
  int source_count;
  image_folder_t folder;
  names_t names;
  sample_note_t *notes; /* (note_count): rank 0 */
  int64_t note_count;
  spool_t spool;       /* rank 0: the samples' texts, and what sources put aside */
  facts_t *facts;      /* rank 0, may be NULL */
  FILE *report;        /* rank 0, may be NULL */
  kept_t *kept;        /* images that are whole, until all is written; NULL in a plan */
  int64_t data_before; /* use of ARENA_DATA before anything was read */
  prepare_counts_t counts;
};

/* An image that an earlier start has found whole: it need not be decoded again. All zero: none has. */
typedef struct {
  uint64_t hash; /* of the file's bytes */
  int64_t size;  /* bytes */
  int32_t width, height, turned;
} found_whole_t;

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
  found_whole_t *whole; /* (image_count), of earlier starts; NULL where there is none */
  dataset_counts_t planned;
  int64_t facts;        /* written */
  selection_t elements; /* rank 0, where asked for: those that are rows */
  dataset_writer_t *writer;
} output_t;

/* Texts of the options that are not wanted are NULL or "". */
static inline bool text_given(const char *text) {
  return text != NULL && text[0] != '\0';
}
static inline const char *text_or_none(const char *text) {
  return text == NULL ? "" : text;
}

/* ---- Sources ---- */

/* The sources that the options name, in their order. */
void sources_list(prepare_t *prepare);
status_t source_read_json(prepare_t *prepare, prepare_source_t *source);
status_t source_read_dataset(prepare_t *prepare, prepare_source_t *source);
status_t source_read_vqa(prepare_t *prepare, prepare_source_t *source);
status_t source_read_choices(prepare_t *prepare, prepare_source_t *source);
status_t source_read_captions(prepare_t *prepare, prepare_source_t *source);
status_t source_read_flickr(prepare_t *prepare, prepare_source_t *source);

/* json_reader_next, but before it a look whether to stop; shows how far READER of PATH has come, and warns at
 * the end of what is odd in it. */
status_t source_next(const prepare_t *prepare, const char *path, json_reader_t *reader,
                     json_element_t *element);

/* Notes SAMPLE of SOURCE, with IMAGE (NULL: none) and facts of its own, if it has any, and keeps its texts.
 * LINE: of the file, for messages. Rank 0. */
status_t sample_take(prepare_t *prepare, prepare_source_t *source, int64_t line,
                     const dataset_sample_t *sample, const char *image);
/* Notes a bad sample of SOURCE (of which the id at most is known, else NULL), or what cannot become a part of
 * one, at LINE of its file PATH: an error to return, or a line of the report, as the options ask. The reason
 * is the thread's error message, which is cleared. Rank 0. */
status_t sample_take_bad(prepare_t *prepare, prepare_source_t *source, const char *path, int64_t line,
                         const char *id);
/* The same for a sample that turns out to be bad later. */
status_t sample_refuse(prepare_t *prepare, prepare_source_t *source, const char *path, int64_t line,
                       const char *id, const char *reason);

/* ---- Texts in the spool ---- */

/* All zero to begin with; used for one sample after the other. */
typedef struct {
  dataset_sample_t sample; /* its texts and facts are the record's, each followed by '\0' */
  int64_t line;
  char *bytes;
  turn_t *turns;
  text_view_t *facts;
} record_t;

/* Appends SAMPLE, whose facts are its own, and sets sizes, place and key in NOTE. In a plan nothing is kept.
 */
status_t record_write(prepare_t *prepare, int64_t line, const dataset_sample_t *sample, sample_note_t *note);
status_t record_read(prepare_t *prepare, const sample_note_t *note, record_t *record);
void record_free(record_t *record);

/* ---- Choosing ---- */

/* Decides which samples are kept: those apart from other datasets, with high rewards, as many as wanted. Rank
 * 0. */
status_t samples_choose(prepare_t *prepare);
/* Marks which samples are held out. GOOD: how many there are. */
status_t samples_hold_out(prepare_t *prepare, int64_t good);

/* The end of a step that ranks take at their own pace, or rank 0 alone: STATUS agreed, as by stop_vote_agree.
 */
status_t prepare_agree(const prepare_t *prepare, status_code_t status);

/* Reads all sources and facts, chooses and holds out. Rank 0. */
status_t prepare_scan(prepare_t *prepare);

/* What there was and what became of it, to WRITER as a JSON object; SUMMARY as lines of the log. */
void counts_write(const prepare_t *prepare, json_writer_t *writer);
void counts_log(const prepare_t *prepare);

/* Is a sample with this note meant for OUTPUT? */
bool output_wants(const output_t *output, const sample_note_t *note);

/* From now on images that are whole are kept beside the dataset; those of earlier starts are found.
 * Collective.
 */
status_t prepare_keep(prepare_t *prepare);
/* Which images of OUTPUT an earlier start has found whole. Local. */
status_t output_read_whole(output_t *output);
/* Whether BYTES of IMAGE are those that were found whole; where not, they are to be checked. Thread-safe. */
bool output_found_whole(const output_t *output, int64_t image, const uint8_t *bytes, found_whole_t *whole);
/* IMAGE has proved WHOLE. Local. */
void output_keep_image(const output_t *output, int64_t image, const found_whole_t *whole);

/* Reads, checks and writes the images; or only measures their files. Collective. */
status_t output_write_images(output_t *output);
status_t output_measure_images(output_t *output);

/* Rank 0: the names, facts and samples, once output_plan has counted them. */
status_t output_plan(output_t *output, int64_t *name_bytes);
status_t output_write_texts(output_t *output);

/* ---- Facts: for each image two lists, under its plain name and under "aok_" ---- */

/* Reads the facts files, each once, for the images of all samples that are kept; of entries under one key the
 * last counts. Rank 0. */
status_t facts_create(prepare_t *prepare, facts_t **out);
/* Adds how many OUTPUT needs, and their bytes, to COUNTS. */
void facts_plan(facts_t *facts, const output_t *output, dataset_counts_t *counts);
/* Writes them, as planned, and counts them in OUTPUT. */
status_t facts_write(facts_t *facts, output_t *output);
/* Rows of an image's facts (the number of its name), as written; false if there are none. */
bool facts_find(const facts_t *facts, int64_t image, bool choice, int64_t *first, int32_t *count);
void facts_free(facts_t *facts);

#endif

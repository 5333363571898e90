/* Files of questions as users bring them: datasets, or JSON or a table with a folder of images, which becomes
 * a dataset first. */
#ifndef ROLLOUT_QUESTIONS_H
#define ROLLOUT_QUESTIONS_H

#include "base/selection.h"
#include "io/formats/dataset.h"
#include "io/json.h"
#include "rollout/benchmark.h"
#include "session/session.h"

/* True if PATH is JSON or a table by its name (.json, .jsonl, .tsv), not a dataset. Local. */
bool questions_are_listed(const char *path);

/* A dataset of questions, and the JSON file that it was made of. */
typedef struct {
  char dataset[FILE_MAX_PATH];
  bool listed;              /* false: the questions came as a dataset, and what follows is not there */
  benchmark_t benchmark;    /* whose questions they are */
  char json[FILE_MAX_PATH]; /* the user's file, or its translation (rollout/benchmark.h) */
  selection_t elements;     /* rank 0: those of JSON that are the rows of the dataset */
  const uint8_t *letters;   /* (rows): with generate.letters how many options each question has; else NULL */
  node_memory_t *letter_memory;
} questions_t;

/* Makes the dataset NAME in the run directory of the file PATH (JSON array or lines, or a table).
 * IMAGE_FOLDER "": the folder `images` beside PATH. Samples that data.bad_sample leaves out are listed in
 * NAME.skipped.jsonl. A benchmark's questions are translated first, to NAME.jsonl; MMBench's images go to the
 * folder NAME_images, and generate.circular and generate.letters hold. Collective. Free with questions_free,
 * also after an error. Errors, agreed: STATUS_DATA. */
status_t questions_prepare(session_t *session, const char *path, const char *image_folder, const char *name,
                           questions_t *out);

/* The same for one question, with the image file IMAGE ("": none). Collective. Errors, agreed: STATUS_DATA.
 */
status_t questions_prepare_one(session_t *session, const char *image, const char *text, questions_t *out);
void questions_free(questions_t *questions);

/* Moves READER, on the questions' JSON file, on to the element of ROW, whose id is ID; rows come in ascending
 * order. Ids may be repeated: the place in the file tells whose answer it is. Errors: STATUS_DATA where the
 * file has changed. Rank 0. */
status_t questions_find(const questions_t *questions, json_reader_t *reader, int64_t row, const char *id,
                        json_element_t *element);

/* What the user's file says of the question ELEMENT. Local. */
const json_t *questions_record(const questions_t *questions, const json_t *element);

/* Writes all members of QUESTION, an element of the JSON file, but for those called as one of OWN (ended by
 * NULL), which the answer is about to write itself; true if there were such. Local. */
bool questions_copy(json_writer_t *writer, const json_t *question, const char *const *own);

/* The last question of SAMPLE as it was asked, without image marks, stripped: *TEXT is freed by the caller
 * with memory_free. Local. */
status_t questions_text(const dataset_sample_t *sample, char **text);

#endif

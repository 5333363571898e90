/* Published benchmarks: what their files of questions look like, and as what questions they are asked. */
#ifndef ROLLOUT_BENCHMARK_H
#define ROLLOUT_BENCHMARK_H

#include "io/file.h"
#include "io/json.h"

typedef enum {
  BENCHMARK_NONE,        /* questions (POPE among them) or conversations, as prepare reads them */
  BENCHMARK_LLAVA_BENCH, /* those, too: JSON lines of question_id, image, text, category */
  BENCHMARK_MMHAL,       /* JSON array of question, image_src, image_content, gt_answer, ... */
  BENCHMARK_AMBER,       /* JSON array of id, image, query */
  BENCHMARK_HALLUSION, /* JSON array of category, subcategory, set_id, figure_id, question, gt_answer, ... */
  BENCHMARK_MMBENCH    /* table of index, question, hint, A, B, C, D, answer, image, ... */
} benchmark_t;

/* For messages. */
const char *benchmark_name(benchmark_t benchmark);

/* The member that an answer is called by its grader. */
const char *benchmark_answer_key(benchmark_t benchmark);

/* What the file PATH holds: a table (.tsv) is MMBench's, of JSON the first element tells. Errors: STATUS_DATA
 * (cannot be read, holds nothing). Local. */
status_t benchmark_recognise(const char *path, benchmark_t *out);

/* What a question with the members of ELEMENT is of, but for MMBench, whose are rows of a table. */
benchmark_t benchmark_of_question(const json_t *element);

/* True if questions of BENCHMARK are asked in other words or under other names than they are published. */
bool benchmark_is_translated(benchmark_t benchmark);

/* Of a translated benchmark: writes the questions of PATH to OUTPUT, JSON lines of question_id, image, text
 * and `record`: all that PATH says of the question, but for images. MMBench's images become files in the
 * folder IMAGES (*STORED: there are such); CIRCULAR: each of its questions is asked as often as it has
 * options, which move up by one each time. Errors: STATUS_DATA naming the line and the field. Local. */
status_t benchmark_translate(benchmark_t benchmark, const char *path, const char *output, const char *images,
                             bool circular, bool *stored);

/* Inside benchmark: MMBench's part of it. */
status_t mmbench_translate(const char *path, json_writer_t *writer, const char *images, bool circular,
                           bool *stored);

/* ---- MMBench ---- */

enum { MMBENCH_OPTIONS = 4, MMBENCH_ROUND = 1000000 /* what the index of a copy has more, per copy */ };

/* The options of a question, RECORD: its record, or its row of answers. "" behind the last. */
typedef struct {
  const char *text[MMBENCH_OPTIONS];
  int32_t count;
} mmbench_options_t;

/* Errors: STATUS_DATA where there are fewer than two. Local. */
status_t mmbench_options(const json_t *record, const char *where, mmbench_options_t *out);

/* True of what pandas and the published scripts take for no value: nothing, nan, none. */
bool mmbench_is_blank(const char *text);

#endif

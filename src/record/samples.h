/* Sample answers for people: tasks hand over a few of what models answered, run_dir/samples.jsonl keeps those
 * of the run so far (a restart takes back those of later steps; a task without steps begins it anew),
 * report.html shows them beside their images. */
#ifndef RECORD_SAMPLES_H
#define RECORD_SAMPLES_H

#include "record/record.h"

/* One answer. Answers to the same question about the same image are shown side by side. Texts may be NULL
 * where there is nothing to say. */
typedef struct {
  int64_t step;      /* 0 where a task has no steps */
  const char *model; /* who answers, as people call it: "policy", a model's path */
  const char *question, *answer;
  const char *score_name; /* "reward", "rating": what SCORE is; NULL: there is none */
  double score;
  const char *note; /* a few words: "hallucinates", "correct: no" */
  /* The image: one of a dataset, or a JPEG file's bytes, or none. */
  const char *dataset; /* path */
  int64_t image;       /* its number there; -1 none */
  const void *jpeg;
  size_t jpeg_size;
} record_sample_t;

/* True where RECORD still takes answers of MODEL at STEP: log.samples of each; each model's first and newest
 * step are what the report shows. Local; false on all ranks but 0. */
bool record_wants_sample(const record_t *record, int64_t step, const char *model);

/* Rank 0 appends SAMPLE to samples.jsonl where it is wanted; other ranks do nothing. Errors: STATUS_DATA (the
 * file cannot be written). Local. */
status_t record_sample(record_t *record, const record_sample_t *sample);

#endif

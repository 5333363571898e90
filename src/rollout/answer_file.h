/* Files of answers, in the forms that people and the graders of benchmarks read. */
#ifndef ROLLOUT_ANSWER_FILE_H
#define ROLLOUT_ANSWER_FILE_H

#include "io/json.h"
#include "rollout/benchmark.h"

#include <stdio.h>

typedef enum {
  ANSWERS_LINES, /* JSON lines: all that the question says, then answer, model, stopped, ... */
  ANSWERS_LLAVA, /* JSON lines of question_id, prompt, text (the answer), answer_id, model_id, metadata:
                    LLaVA's scripts for POPE and LLaVA-Bench */
  ANSWERS_ARRAY, /* JSON array: all that the question says, and the answer (MMHal-Bench's model_answer,
                    HallusionBench's model_prediction) */
  ANSWERS_AMBER, /* JSON array of id, response */
  ANSWERS_TABLE  /* a table of all columns but the image, and prediction: MMBench's */
} answers_form_t;

/* *OUT: the form that generate.format asks for: 'auto' is what the grader of BENCHMARK reads, or else JSON
 * lines. Errors: STATUS_INPUT where there is no such form of SAMPLES answers to a question. Local. */
status_t answers_form(const char *format, benchmark_t benchmark, int64_t samples, answers_form_t *out);

/* What the files of FORM are called: ".jsonl", ".json", ".tsv". */
const char *answers_extension(answers_form_t form);

/* One answer. */
typedef struct {
  const json_t *question; /* what a file says of the question; NULL: ID, IMAGE and ASKED are all there is */
  const char *id, *image, *asked;
  const char *text, *model;
  int64_t sample; /* of several answers; -1: the only one */
  bool stopped;   /* by itself */
  int64_t tokens; /* with LOGPROB; -1: neither is wanted */
  double logprob;
} written_answer_t;

/* A file of answers that is being written, by one rank. */
typedef struct {
  answers_form_t form;
  benchmark_t benchmark;
  FILE *stream;          /* the caller's */
  json_writer_t *writer; /* on STREAM */
  int64_t count;
  int64_t replaced; /* answers whose question had members that are called as the answer's own */
} answer_file_t;

/* Starts on STREAM. Local. Errors: STATUS_MEMORY. */
status_t answer_file_begin(answers_form_t form, benchmark_t benchmark, FILE *stream, answer_file_t *out);
void answer_file_add(answer_file_t *file, const written_answer_t *answer);

/* Ends the file, or, where STATUS is an error, gives it up. Errors: STATUS; STATUS_DATA. Local. */
status_t answer_file_end(answer_file_t *file, status_code_t status);

#endif

#include "session/task_files.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  const settings_t *settings;
  task_files_t *inputs, *outputs;
  status_code_t status; /* of the first failure */
} task_files_listing_t;

static status_t listing_add(task_files_t *files, const char *name, const char *path) {
  TRY(memory_resize(&files->items, ARENA_OTHER, (size_t)files->count + 1, sizeof *files->items));
  files->items[files->count] = (task_file_t){.name = name};
  TRY(memory_copy_text(&files->items[files->count].path, ARENA_OTHER, path, strlen(path)));
  files->count++;
  return STATUS_OK;
}

/* Files that are not given ("") are left out. */
static void listing_reads(task_files_listing_t *listing, const char *name, const char *path) {
  if (*path && listing->status == STATUS_OK) listing->status = listing_add(listing->inputs, name, path);
}

static void listing_writes(task_files_listing_t *listing, const char *name, const char *path) {
  if (*path && listing->status == STATUS_OK) listing->status = listing_add(listing->outputs, name, path);
}

static void writes_in_run_dir(task_files_listing_t *listing, const char *file) {
  char path[FILE_MAX_PATH];
  if (listing->status == STATUS_OK)
    listing->status = file_join(path, listing->settings->job.run_dir, file, NULL);
  if (listing->status == STATUS_OK) listing_writes(listing, "in job.run_dir", path);
}

/* What a setting names, or else FILE in the run directory. */
static void writes_or(task_files_listing_t *listing, const char *name, const char *path, const char *file) {
  if (*path)
    listing_writes(listing, name, path);
  else
    writes_in_run_dir(listing, file);
}

/* Made of questions in JSON (rollout/questions.h), under the name STEM. */
static void writes_questions(task_files_listing_t *listing, const char *stem) {
  char file[64];
  snprintf(file, sizeof file, "%s.h5", stem);
  writes_in_run_dir(listing, file);
  snprintf(file, sizeof file, "%s.skipped.jsonl", stem);
  writes_in_run_dir(listing, file);
  snprintf(file, sizeof file, "%s.jsonl", stem); /* a benchmark's, translated */
  writes_in_run_dir(listing, file);
}

/* Sets of tasks. */
enum {
  PREPARE = 1 << TASK_PREPARE,
  IMPORT = 1 << TASK_IMPORT,
  ANNOTATE = 1 << TASK_ANNOTATE,
  GENERATE = 1 << TASK_GENERATE,
  SCORE = 1 << TASK_SCORE,
  EVALUATE = 1 << TASK_EVALUATE,
  TRAINING = 1 << TASK_PRETRAIN | 1 << TASK_SFT | 1 << TASK_RM | 1 << TASK_PPO,
  ANSWERING = GENERATE | SCORE | EVALUATE | TRAINING,
  ANY = (1 << TASK_COUNT) - 1
};

/* Settings that name what TASKS read. */
#define INPUT(tasks, group, setting)                                                                         \
  { tasks, #group "." #setting, offsetof(settings_t, group.setting) }
static const struct {
  int tasks;
  const char *name;
  size_t offset;
} inputs_read[] = {
    INPUT(PREPARE, prepare, conversations),   INPUT(PREPARE, prepare, preferences),
    INPUT(PREPARE, prepare, facts),           INPUT(PREPARE, prepare, caption_facts),
    INPUT(PREPARE, prepare, vqa_questions),   INPUT(PREPARE, prepare, vqa_annotations),
    INPUT(PREPARE, prepare, choices),         INPUT(PREPARE, prepare, captions),
    INPUT(PREPARE, prepare, flickr),          INPUT(PREPARE, prepare, dataset),
    INPUT(PREPARE, prepare, scores),          INPUT(IMPORT, import, projector),
    INPUT(IMPORT, import, tokenizer),         INPUT(IMPORT, import, head),
    INPUT(ANNOTATE, annotate, pairs),         INPUT(ANNOTATE, annotate, scenes),
    INPUT(ANSWERING | IMPORT, model, base),   INPUT(ANSWERING, model, adapter),
    INPUT(ANSWERING, model, tokenizer),       INPUT(GENERATE, generate, dataset),
    INPUT(GENERATE, generate, image),         INPUT(TRAINING, reward, model),
    INPUT(TRAINING | SCORE, data, dataset),   INPUT(TRAINING | EVALUATE, eval, dataset),
    INPUT(TRAINING | EVALUATE, eval, scenes), INPUT(EVALUATE, eval, pope),
    INPUT(EVALUATE, eval, synonyms),          INPUT(EVALUATE, eval, reference),
    INPUT(EVALUATE, eval, judge_prompt),      INPUT(TRAINING | SCORE | IMPORT, rm, prompt_file),
    INPUT(TRAINING, reward, prompt_file)};

/* What TASKS always write in the run directory; the last ones are those of the session. */
static const struct {
  int tasks;
  const char *name;
} results[] = {{PREPARE, "skipped.jsonl"}, {PREPARE, "prepared.json"},
               {SCORE, "scores.h5"},       {EVALUATE, "evaluation.json"},
               {TRAINING, "model.h5"},     {ANY, "input.nml"},
               {ANY, "log.txt"},           {ANY, "run.json"},
               {ANY, "perf.json"},         {ANY, "metrics.jsonl"},
               {ANY, "samples.jsonl"}};

static void list_generate(task_files_listing_t *listing) {
  enum { PAIR = 2 };
  const settings_t *s = listing->settings;
  writes_or(listing, "generate.output", s->generate.output,
            s->generate.samples == PAIR ? "pairs.json" : "answers.jsonl");
  writes_questions(listing, *s->generate.prompt ? "question" : "questions");
}

static void reads_all(task_files_listing_t *listing, const char *name, const text_list_t *files) {
  for (int64_t i = 0; i < files->count; i++)
    listing_reads(listing, name, files->items[i]);
}

static void writes_numbered(task_files_listing_t *listing, const char *stem, int64_t count) {
  for (int64_t k = 1; k <= count; k++) {
    char file[64];
    snprintf(file, sizeof file, "%s_%" PRId64 ".jsonl", stem, k);
    writes_in_run_dir(listing, file);
  }
}

static void list_evaluate(task_files_listing_t *listing) {
  const settings_t *s = listing->settings;
  const text_list_t *columns = s->eval.answers.count > 0 ? &s->eval.answers : &s->eval.models;
  int64_t count = columns->count > 0 ? columns->count : 1;
  reads_all(listing, "eval.models", &s->eval.models);
  reads_all(listing, "eval.answers", &s->eval.answers);
  reads_all(listing, "eval.replies", &s->eval.replies);
  reads_all(listing, "eval.annotations", &s->eval.annotations);
  writes_questions(listing, "questions");
  writes_numbered(listing, "answers", count);
  writes_numbered(listing, "requests", count);
  if (*s->eval.pope) writes_numbered(listing, "pope", count);
  if (*s->eval.pope) writes_questions(listing, "pope");
}

status_t task_files_list(const settings_t *settings, task_files_t *inputs, task_files_t *outputs) {
  task_files_listing_t listing = {settings, inputs, outputs, STATUS_OK};
  task_t task = settings_task(settings);
  *inputs = *outputs = (task_files_t){0};
  for (size_t i = 0; i < sizeof inputs_read / sizeof *inputs_read; i++)
    if (inputs_read[i].tasks >> task & 1)
      listing_reads(&listing, inputs_read[i].name,
                    *(char *const *)(const void *)((const char *)settings + inputs_read[i].offset));
  if (task == TASK_PREPARE) {
    for (int64_t d = 0; d < settings->prepare.apart_from.count; d++)
      listing_reads(&listing, "prepare.apart_from", settings->prepare.apart_from.items[d]);
    listing_writes(&listing, "prepare.output", settings->prepare.output);
    listing_writes(&listing, "prepare.held_out_output", settings->prepare.held_out_output);
  }
  if (task == TASK_IMPORT) writes_or(&listing, "import.output", settings->import.output, "model.h5");
  if (task == TASK_ANNOTATE)
    writes_or(&listing, "annotate.output", settings->annotate.output, "preferences.json");
  if (task == TASK_GENERATE) list_generate(&listing);
  if (task == TASK_EVALUATE) list_evaluate(&listing);
  for (size_t i = 0; i < sizeof results / sizeof *results; i++)
    if (results[i].tasks >> task & 1) writes_in_run_dir(&listing, results[i].name);
  return listing.status;
}

void task_files_free(task_files_t *files) {
  for (int64_t i = 0; i < files->count; i++)
    memory_free(files->items[i].path);
  memory_free(files->items);
  *files = (task_files_t){0};
}

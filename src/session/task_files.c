#include "session/task_files.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  const settings_t *settings;
  task_files_t *inputs, *outputs;
  status_code_t status; /* of the first failure */
} listing_t;

static status_t add(task_files_t *files, const char *name, const char *path) {
  TRY(memory_resize(&files->items, ARENA_OTHER, (size_t)files->count + 1, sizeof *files->items));
  files->items[files->count] = (task_file_t){.name = name};
  TRY(memory_copy_text(&files->items[files->count].path, ARENA_OTHER, path, strlen(path)));
  files->count++;
  return STATUS_OK;
}

/* Files that are not given ("") are left out. */
static void reads(listing_t *listing, const char *name, const char *path) {
  if (*path && listing->status == STATUS_OK) listing->status = add(listing->inputs, name, path);
}

static void writes(listing_t *listing, const char *name, const char *path) {
  if (*path && listing->status == STATUS_OK) listing->status = add(listing->outputs, name, path);
}

static void writes_in_run_dir(listing_t *listing, const char *file) {
  char path[FILE_MAX_PATH];
  if (listing->status == STATUS_OK)
    listing->status = file_join(path, listing->settings->job.run_dir, file, NULL);
  if (listing->status == STATUS_OK) writes(listing, "in job.run_dir", path);
}

/* What a setting names, or else FILE in the run directory. */
static void writes_or(listing_t *listing, const char *name, const char *path, const char *file) {
  if (*path)
    writes(listing, name, path);
  else
    writes_in_run_dir(listing, file);
}

static void reads_model(listing_t *listing) {
  const settings_t *s = listing->settings;
  reads(listing, "model.base", s->model.base);
  reads(listing, "model.adapter", s->model.adapter);
  reads(listing, "model.tokenizer", s->model.tokenizer);
}

/* Made of questions in JSON (rollout/questions.h), under the name STEM. */
static void writes_questions(listing_t *listing, const char *stem) {
  char file[64];
  snprintf(file, sizeof file, "%s.h5", stem);
  writes_in_run_dir(listing, file);
  snprintf(file, sizeof file, "%s.skipped.jsonl", stem);
  writes_in_run_dir(listing, file);
}

static void list_prepare(listing_t *listing) {
  const settings_t *s = listing->settings;
  reads(listing, "prepare.conversations", s->prepare.conversations);
  reads(listing, "prepare.preferences", s->prepare.preferences);
  reads(listing, "prepare.facts", s->prepare.facts);
  writes(listing, "prepare.output", s->prepare.output);
  writes(listing, "prepare.held_out_output", s->prepare.held_out_output);
  writes_in_run_dir(listing, "skipped.jsonl");
}

static void list_import(listing_t *listing) {
  const settings_t *s = listing->settings;
  reads(listing, "model.base", s->model.base);
  reads(listing, "import.projector", s->import.projector);
  reads(listing, "import.tokenizer", s->import.tokenizer);
  reads(listing, "import.head", s->import.head);
  reads(listing, "rm.prompt_file", s->rm.prompt_file);
  writes_or(listing, "import.output", s->import.output, "model.h5");
}

static void list_annotate(listing_t *listing) {
  const settings_t *s = listing->settings;
  reads(listing, "annotate.pairs", s->annotate.pairs);
  reads(listing, "annotate.scenes", s->annotate.scenes);
  writes_or(listing, "annotate.output", s->annotate.output, "preferences.json");
}

static void list_generate(listing_t *listing) {
  enum { PAIR = 2 };
  const settings_t *s = listing->settings;
  reads_model(listing);
  reads(listing, "generate.dataset", s->generate.dataset);
  reads(listing, "generate.image", s->generate.image);
  writes_or(listing, "generate.output", s->generate.output,
            s->generate.samples == PAIR ? "pairs.json" : "answers.jsonl");
  if (*s->generate.prompt) writes_in_run_dir(listing, "question.jsonl");
  writes_questions(listing, *s->generate.prompt ? "question" : "questions");
}

static void list_score(listing_t *listing) {
  const settings_t *s = listing->settings;
  reads_model(listing);
  reads(listing, "data.dataset", s->data.dataset);
  reads(listing, "rm.prompt_file", s->rm.prompt_file);
  writes_in_run_dir(listing, "scores.h5");
}

static void list_evaluate(listing_t *listing) {
  const settings_t *s = listing->settings;
  int64_t models = s->eval.models.count > 0 ? s->eval.models.count : 1;
  reads_model(listing);
  for (int64_t m = 0; m < s->eval.models.count; m++)
    reads(listing, "eval.models", s->eval.models.items[m]);
  reads(listing, "eval.dataset", s->eval.dataset);
  reads(listing, "eval.scenes", s->eval.scenes);
  reads(listing, "eval.pope", s->eval.pope);
  reads(listing, "eval.replies", s->eval.replies);
  for (int64_t m = 1; m <= models; m++) {
    char file[64];
    snprintf(file, sizeof file, "answers_%" PRId64 ".jsonl", m);
    writes_in_run_dir(listing, file);
    snprintf(file, sizeof file, "pope_%" PRId64 ".jsonl", m);
    if (*s->eval.pope) writes_in_run_dir(listing, file);
  }
  if (*s->eval.pope) writes_questions(listing, "pope");
  writes_in_run_dir(listing, "evaluation.json");
}

static void list_training(listing_t *listing) {
  const settings_t *s = listing->settings;
  reads_model(listing);
  reads(listing, "reward.model", s->reward.model);
  reads(listing, "data.dataset", s->data.dataset);
  reads(listing, "eval.dataset", s->eval.dataset);
  reads(listing, "eval.scenes", s->eval.scenes);
  reads(listing, "rm.prompt_file", s->rm.prompt_file);
  reads(listing, "reward.prompt_file", s->reward.prompt_file);
  writes_in_run_dir(listing, "model.h5");
}

static void list_task(listing_t *listing, task_t task) {
  switch (task) {
  case TASK_PREPARE:
    list_prepare(listing);
    return;
  case TASK_IMPORT:
    list_import(listing);
    return;
  case TASK_ANNOTATE:
    list_annotate(listing);
    return;
  case TASK_GENERATE:
    list_generate(listing);
    return;
  case TASK_SCORE:
    list_score(listing);
    return;
  case TASK_EVALUATE:
    list_evaluate(listing);
    return;
  default:
    if (task_trains(task)) list_training(listing);
  }
}

/* Of every run (session/session.h). */
static void list_session(listing_t *listing) {
  static const char *const files[] = {"input.nml", "log.txt",       "run.json",
                                      "perf.json", "metrics.jsonl", "samples.jsonl"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    writes_in_run_dir(listing, files[i]);
}

status_t task_files_list(const settings_t *settings, task_files_t *inputs, task_files_t *outputs) {
  listing_t listing = {settings, inputs, outputs, STATUS_OK};
  *inputs = *outputs = (task_files_t){0};
  list_task(&listing, settings_task(settings));
  list_session(&listing);
  return listing.status;
}

void task_files_free(task_files_t *files) {
  for (int64_t i = 0; i < files->count; i++)
    memory_free(files->items[i].path);
  memory_free(files->items);
  *files = (task_files_t){0};
}

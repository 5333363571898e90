#include "session/prepare_task.h"

#include "base/memory.h"
#include "data/prepare.h"
#include "session/estimate.h"
#include "session/voting.h"

#include <string.h>

int prepare_task_workers(const session_t *session) {
  const int64_t workers = session->settings->prepare.workers;
  return workers > 0 ? (int)workers : session->grid.threads;
}

/* The sources of samples and of facts, and which samples are chosen. */
static prepare_options_t prepare_sources(const settings_t *s) {
  return (prepare_options_t){.conversations = s->prepare.conversations,
                             .conversations_limit = s->prepare.conversations_limit,
                             .preferences = s->prepare.preferences,
                             .preferences_limit = s->prepare.preferences_limit,
                             .image_prefix = s->prepare.image_prefix,
                             .dataset = s->prepare.dataset,
                             .dataset_limit = s->prepare.dataset_limit,
                             .scores = s->prepare.scores,
                             .keep = s->prepare.keep,
                             .vqa_questions = s->prepare.vqa_questions,
                             .vqa_annotations = s->prepare.vqa_annotations,
                             .vqa_limit = s->prepare.vqa_limit,
                             .choices = s->prepare.choices,
                             .choices_limit = s->prepare.choices_limit,
                             .choices_rationale = s->prepare.choices_rationale,
                             .captions = s->prepare.captions,
                             .captions_limit = s->prepare.captions_limit,
                             .coco_prefix = s->prepare.coco_prefix,
                             .flickr = s->prepare.flickr,
                             .flickr_limit = s->prepare.flickr_limit,
                             .flickr_prefix = s->prepare.flickr_prefix,
                             .facts = s->prepare.facts,
                             .caption_facts = s->prepare.caption_facts,
                             .facts_per_image = s->prepare.facts_per_image,
                             .apart_from = (const char *const *)s->prepare.apart_from.items,
                             .apart_count = s->prepare.apart_from.count,
                             .apart_kinds = (const char *const *)s->prepare.apart_sources.items,
                             .apart_kind_count = s->prepare.apart_sources.count};
}

static status_t summary_write(const session_t *session, const char *summary) {
  char path[FILE_MAX_PATH];
  if (summary == NULL) return STATUS_OK;
  TRY(session_path(session, "prepared.json", path));
  return file_replace(path, summary, strlen(summary));
}

static status_t prepare_voting(session_t *session, stop_vote_t *vote) {
  SCOPED_MEMORY char *summary = NULL;
  const settings_t *settings = session->settings;
  char report[FILE_MAX_PATH];
  TRY(session_path(session, "skipped.jsonl", report));
  prepare_options_t options = prepare_sources(settings);
  options.image_folder = settings->prepare.image_folder;
  options.output = settings->prepare.output;
  options.held_out = settings->prepare.held_out;
  options.split_images = strcmp(settings->prepare.held_out_by, "sample") == 0;
  options.held_out_output = settings->prepare.held_out_output;
  options.seed = (uint64_t)settings->job.seed;
  options.skip_bad = strcmp(settings->data.bad_sample, "skip") == 0;
  options.report = report;
  options.workers = prepare_task_workers(session);
  options.vote = vote;
  options.plan = session->dry != NULL;
  options.summary = options.plan ? NULL : &summary;
  prepare_counts_t counts;
  status_code_t status = prepare_run(session->world, &options, &counts);
  session->gained |= counts.gained;
  TRY(status);
  if (session->dry) estimate_output(session->dry, "datasets", (double)counts.bytes);
  return comm_agree(session->world, summary_write(session, summary));
}

status_t prepare_task_run(session_t *session) {
  return session_run_voting(session, prepare_voting);
}

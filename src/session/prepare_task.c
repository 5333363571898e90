#include "session/prepare_task.h"

#include "data/prepare.h"
#include "session/estimate.h"
#include "session/voting.h"

#include <string.h>

static status_t prepare_voting(session_t *session, stop_vote_t *vote) {
  const settings_t *settings = session->settings;
  char report[FILE_MAX_PATH];
  TRY(session_path(session, "skipped.jsonl", report));
  const prepare_options_t options = {.conversations = settings->prepare.conversations,
                                     .preferences = settings->prepare.preferences,
                                     .facts = settings->prepare.facts,
                                     .image_folder = settings->prepare.image_folder,
                                     .output = settings->prepare.output,
                                     .held_out = settings->prepare.held_out,
                                     .split_images = strcmp(settings->prepare.held_out_by, "sample") == 0,
                                     .held_out_output = settings->prepare.held_out_output,
                                     .seed = (uint64_t)settings->job.seed,
                                     .skip_bad = strcmp(settings->data.bad_sample, "skip") == 0,
                                     .report = report,
                                     .workers = (int)settings->prepare.workers,
                                     .vote = vote,
                                     .plan = session->dry != NULL};
  prepare_counts_t counts;
  TRY(prepare_run(session->world, &options, &counts));
  if (session->dry) estimate_output(session->dry, "datasets", (double)counts.bytes);
  return STATUS_OK;
}

status_t prepare_task_run(session_t *session) {
  return session_run_voting(session, prepare_voting);
}

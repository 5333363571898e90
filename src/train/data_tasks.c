#include "train/data_tasks.h"

#include "base/log.h"
#include "data/prepare.h"
#include "perf/perf.h"
#include "world/annotate.h"
#include "world/world_task.h"

#include <string.h>

/* ---- world ---- */

static world_options_t world_options(const settings_t *settings, const char *dir) {
  return (world_options_t){.dir = dir,
                           .seed = (uint64_t)settings->world.seed,
                           .pretrain_images = settings->world.pretrain_images,
                           .sft_images = settings->world.sft_images,
                           .pair_images = settings->world.pair_images,
                           .policy_init_images = settings->world.policy_init_images,
                           .rl_images = settings->world.ppo_images,
                           .eval_images = settings->world.eval_images,
                           .objects_min = (int)settings->world.objects_min,
                           .objects_max = (int)settings->world.objects_max,
                           .turns = (int)settings->world.turns,
                           .image_size = (int)settings->world.image_size,
                           .quality = (int)settings->world.jpeg_quality,
                           .vocab = (int)settings->world.vocab,
                           .bias = settings->world.bias};
}

/* The sets of the world that become datasets of the same name; empty ones are left out. */
typedef struct {
  const char *name;
  int64_t images;
  bool facts;
  int64_t held_out;
} world_dataset_t;

static status_t world_dataset(session_t *session, const char *dir, const world_dataset_t *set) {
  char json[FILE_MAX_PATH], output[FILE_MAX_PATH], facts[FILE_MAX_PATH], images[FILE_MAX_PATH], name[64];
  snprintf(name, sizeof name, "%s.json", set->name);
  TRY(file_join(json, dir, name, NULL));
  snprintf(name, sizeof name, "%s.h5", set->name);
  TRY(file_join(output, dir, name, NULL));
  TRY(file_join(facts, dir, "facts.json", NULL));
  TRY(file_join(images, dir, "images", NULL));
  return prepare_run(session->world,
                     &(prepare_options_t){.conversations = json,
                                          .facts = set->facts ? facts : NULL,
                                          .image_folder = images,
                                          .output = output,
                                          .held_out = set->held_out,
                                          .seed = (uint64_t)session->settings->job.seed,
                                          .workers = (int)session->settings->prepare.workers},
                     NULL);
}

static status_t world_datasets(session_t *session, const char *dir) {
  const settings_t *settings = session->settings;
  const world_dataset_t sets[] = {{"pretrain", settings->world.pretrain_images, false, 0},
                                  {"sft", settings->world.sft_images, false, 0},
                                  {"prompts", settings->world.pair_images, true, 0},
                                  {"policy_init", settings->world.policy_init_images, true, 0},
                                  {"rl", settings->world.ppo_images, true, settings->world.ppo_held_out},
                                  {"eval", settings->world.eval_images, true, 0}};
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
    if (sets[i].images > 0) TRY(world_dataset(session, dir, &sets[i]));
  return STATUS_OK;
}

status_t world_task_run(session_t *session) {
  const settings_t *settings = session->settings;
  const char *dir = *settings->world.dir ? settings->world.dir : session->run_dir;
  world_options_t options = world_options(settings, dir);
  TRY(world_write(session->world, &options));
  return settings->world.datasets ? world_datasets(session, dir) : STATUS_OK;
}

/* ---- prepare ---- */

status_t prepare_task_run(session_t *session) {
  const settings_t *settings = session->settings;
  char report[FILE_MAX_PATH];
  TRY(session_path(session, "skipped.jsonl", report));
  const prepare_options_t options = {.conversations = settings->prepare.conversations,
                                     .preferences = settings->prepare.preferences,
                                     .facts = settings->prepare.facts,
                                     .image_folder = settings->prepare.image_folder,
                                     .output = settings->prepare.output,
                                     .held_out = settings->prepare.held_out,
                                     .held_out_output = settings->prepare.held_out_output,
                                     .seed = (uint64_t)settings->job.seed,
                                     .skip_bad = strcmp(settings->data.bad_sample, "skip") == 0,
                                     .report = report,
                                     .workers = (int)settings->prepare.workers};
  return prepare_run(session->world, &options, NULL);
}

/* ---- annotate ---- */

static void log_annotation(const char *output, const annotation_counts_t *counts) {
  log_info("annotated  %s: %lld pairs, first preferred in %lld, %lld left out as equal, turned round by "
           "noise %lld",
           output, (long long)counts->pairs, (long long)counts->first, (long long)counts->ties,
           (long long)counts->noisy);
}

static status_t annotate(session_t *session) {
  const settings_t *settings = session->settings;
  const annotator_t annotator = {(uint64_t)settings->job.seed, settings->annotate.label_noise};
  char path[FILE_MAX_PATH];
  const char *output = settings->annotate.output;
  annotation_counts_t counts = {0};
  if (!*output) {
    TRY(session_path(session, "preferences.json", path));
    output = path;
  }
  TRY(file_make_parent(output));
  TRY(annotate_file(&annotator, settings->annotate.pairs, settings->annotate.scenes, output, &counts));
  log_annotation(output, &counts);
  return STATUS_OK;
}

status_t annotate_task_run(session_t *session) {
  status_code_t status = STATUS_OK;
  if (comm_rank(session->world) == 0) status = annotate(session);
  return comm_agree(session->world, status);
}

#include "shapes/shapes_tasks.h"

#include "base/log.h"
#include "base/memory.h"
#include "data/prepare.h"
#include "io/formats/dataset.h"
#include "perf/perf.h"
#include "session/estimate.h"
#include "session/prepare_task.h"
#include "session/voting.h"
#include "shapes/annotate.h"
#include "shapes/scene_file.h"
#include "shapes/world_task.h"

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

/* COUNTS may be NULL. In a dry run it is counted only. Collective on COMM. */
static status_t world_dataset(const session_t *session, comm_t *comm, stop_vote_t *vote, const char *dir,
                              const world_dataset_t *set, prepare_counts_t *counts) {
  char json[FILE_MAX_PATH], output[FILE_MAX_PATH], facts[FILE_MAX_PATH], images[FILE_MAX_PATH], name[64];
  snprintf(name, sizeof name, "%s.json", set->name);
  TRY(file_join(json, dir, name, NULL));
  snprintf(name, sizeof name, "%s.h5", set->name);
  TRY(file_join(output, dir, name, NULL));
  TRY(file_join(facts, dir, "facts.json", NULL));
  TRY(file_join(images, dir, "images", NULL));
  return prepare_run(comm,
                     &(prepare_options_t){.conversations = json,
                                          .facts = set->facts ? facts : NULL,
                                          .image_folder = images,
                                          .output = output,
                                          .held_out = session->dry ? 0 : set->held_out,
                                          .seed = (uint64_t)session->settings->job.seed,
                                          .workers = prepare_task_workers(session),
                                          .vote = vote,
                                          .plan = session->dry != NULL},
                     counts);
}

enum { WORLD_DATASETS = 6 };

static void world_sets(const settings_t *settings, world_dataset_t sets[WORLD_DATASETS]) {
  const world_dataset_t all[WORLD_DATASETS] = {
      {"pretrain", settings->world.pretrain_images, false, 0},
      {"sft", settings->world.sft_images, false, 0},
      {"prompts", settings->world.pair_images, true, 0},
      {"policy_init", settings->world.policy_init_images, true, 0},
      {"rl", settings->world.ppo_images, true, settings->world.ppo_held_out},
      {"eval", settings->world.eval_images, true, 0}};
  memcpy(sets, all, sizeof all);
}

static status_t world_datasets(session_t *session, stop_vote_t *vote, const char *dir) {
  world_dataset_t sets[WORLD_DATASETS];
  world_sets(session->settings, sets);
  for (int i = 0; i < WORLD_DATASETS; i++)
    if (sets[i].images > 0) TRY(world_dataset(session, session->world, vote, dir, &sets[i], NULL));
  return STATUS_OK;
}

/* The world's files but for images and datasets, from those of the smaller one, which has a share PART of the
 * images. */
static status_t task_count_texts(estimate_t *estimate, const char *dir, double part) {
  static const struct {
    const char *name;
    bool grows;
  } files[] = {{"scenes.jsonl", true}, {"pretrain.json", true},    {"sft.json", true},
               {"prompts.json", true}, {"policy_init.json", true}, {"rl.json", true},
               {"facts.json", true},   {"eval.json", true},        {"pope.jsonl", true},
               {"corpus.txt", false},  {"tokenizer.model", false}};
  double bytes = 0.0;
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    char path[FILE_MAX_PATH];
    int64_t size;
    TRY(file_join(path, dir, files[i].name, NULL));
    TRY(file_size(path, &size));
    bytes += (double)size / (files[i].grows ? part : 1.0);
  }
  estimate_output(estimate, "texts and tokenizer", bytes);
  return STATUS_OK;
}

static status_t task_count_images(estimate_t *estimate, const world_options_t *drawn, double part) {
  double bytes = 0.0;
  for (int64_t id = 0; id < world_scene_count(drawn); id++) {
    char path[FILE_MAX_PATH], name[SCENE_IMAGE_MAX];
    int64_t size;
    scene_image_name(id, name);
    TRY(file_join(path, drawn->dir, "images", name));
    TRY(file_size(path, &size));
    bytes += (double)size;
  }
  estimate_output(estimate, "images", bytes / part);
  return STATUS_OK;
}

/* The dataset of WHOLE from that of the same name in the smaller world; *KEPT becomes the memory that the
 * larger of them keep of their samples. */
static status_t task_count_dataset(const session_t *session, comm_t *alone, stop_vote_t *vote,
                                   const char *dir, const world_dataset_t *whole,
                                   const world_dataset_t *drawn, int64_t *kept) {
  prepare_counts_t counts;
  char name[64];
  double times = (double)whole->images / (double)drawn->images;
  TRY(world_dataset(session, alone, vote, dir, drawn, &counts));
  snprintf(name, sizeof name, "%s.h5", whole->name);
  estimate_output(session->dry, name,
                  (double)counts.constant + times * (double)(counts.bytes - counts.constant));
  if (times * (double)counts.kept > (double)*kept) *kept = (int64_t)(times * (double)counts.kept);
  return STATUS_OK;
}

static status_t task_count_datasets(const session_t *session, comm_t *alone, stop_vote_t *vote,
                                    const char *dir, const settings_t *drawn, int64_t *kept) {
  world_dataset_t sets[WORLD_DATASETS], drawn_sets[WORLD_DATASETS];
  world_sets(session->settings, sets);
  world_sets(drawn, drawn_sets);
  for (int i = 0; i < WORLD_DATASETS; i++)
    if (sets[i].images > 0)
      TRY(task_count_dataset(session, alone, vote, dir, &sets[i], &drawn_sets[i], kept));
  return STATUS_OK;
}

/* The settings of the world that DRAWN is. */
static settings_t settings_of(const settings_t *settings, const world_options_t *drawn) {
  settings_t small = *settings;
  small.world.pretrain_images = drawn->pretrain_images;
  small.world.sft_images = drawn->sft_images;
  small.world.pair_images = drawn->pair_images;
  small.world.policy_init_images = drawn->policy_init_images;
  small.world.ppo_images = drawn->rl_images;
  small.world.eval_images = drawn->eval_images;
  return small;
}

/* Makes a smaller world in the run directory, which is temporary, and counts. ALONE: rank 0's. *KEPT as in
 * count_dataset. */
static status_t task_count_world(const session_t *session, comm_t *alone, const world_options_t *options,
                                 int64_t *kept) {
  world_options_t drawn = world_options_smaller(options);
  settings_t settings = settings_of(session->settings, &drawn);
  double part = (double)world_scene_count(&drawn) / (double)world_scene_count(options);
  TRY(world_write(alone, &drawn));
  TRY(task_count_images(session->dry, &drawn, part));
  TRY(task_count_texts(session->dry, drawn.dir, part));
  return settings.world.datasets
             ? task_count_datasets(session, alone, options->vote, drawn.dir, &settings, kept)
             : STATUS_OK;
}

/* Notes that BYTES of ARENA would have been in use for a while. */
static void task_note_memory(arena_t arena, int64_t bytes) {
  memory_account(arena, bytes);
  memory_account(arena, -bytes);
}

/* Memory of making the datasets, of which other ranks than 0 have done nothing. */
static status_t task_note_datasets(const session_t *session, int64_t kept) {
  bool first = comm_rank(session->world) == 0;
  if (!session->settings->world.datasets) return STATUS_OK;
  TRY(comm_broadcast(session->world, &kept, 1, COMM_I64, 0));
  task_note_memory(ARENA_DATA, (first ? (int64_t)memory_usage(ARENA_DATA).peak : 0) + kept);
  task_note_memory(ARENA_IO, (int64_t)dataset_writer_memory(first));
  return STATUS_OK;
}

/* Rank 0 does it alone: the others may not see its temporary folder. */
static status_t world_dry(session_t *session, world_options_t *options) {
  comm_t *alone;
  int rank = comm_rank(session->world);
  int64_t kept = 0;
  TRY(comm_split(session->world, rank, 0, "dry run", &alone));
  status_code_t status = stop_vote_start_ranks(alone, session_vote_request, session, &options->vote);
  if (status == STATUS_OK && rank == 0) status = task_count_world(session, alone, options, &kept);
  stop_vote_free(options->vote);
  comm_free(alone);
  TRY(comm_agree(session->world, status));
  return task_note_datasets(session, kept);
}

static status_t world_voting(session_t *session, stop_vote_t *vote) {
  const settings_t *settings = session->settings;
  const char *dir = *settings->world.dir ? settings->world.dir : session->run_dir;
  world_options_t options = world_options(settings, dir);
  if (session->dry) return world_dry(session, &options);
  options.vote = vote;
  TRY(world_write(session->world, &options));
  log_info("world      %lld scenes in %s", (long long)world_scene_count(&options), dir);
  return settings->world.datasets ? world_datasets(session, vote, dir) : STATUS_OK;
}

status_t world_task_run(session_t *session) {
  return session_run_voting(session, world_voting);
}

/* ---- annotate ---- */

static void task_log_annotation(const char *output, const annotation_counts_t *counts) {
  log_info("annotated  %s: %lld pairs, first preferred in %lld, %lld left out as equal, turned round by "
           "noise %lld",
           output, (long long)counts->pairs, (long long)counts->first, (long long)counts->ties,
           (long long)counts->noisy);
}

static status_t task_annotate(session_t *session, stop_vote_t *vote) {
  const settings_t *settings = session->settings;
  const annotator_t annotator = {(uint64_t)settings->job.seed, settings->annotate.label_noise, vote};
  char path[FILE_MAX_PATH];
  const char *output = settings->annotate.output;
  annotation_counts_t counts = {0};
  if (!*output) {
    TRY(session_path(session, "preferences.json", path));
    output = path;
  }
  TRY(file_make_parent(output));
  TRY(annotate_file(&annotator, settings->annotate.pairs, settings->annotate.scenes, output, &counts));
  if (session->dry)
    estimate_output_file(session->dry, "preferences.json", output);
  else
    task_log_annotation(output, &counts);
  return STATUS_OK;
}

static status_t annotate_voting(session_t *session, stop_vote_t *vote) {
  status_code_t status = STATUS_OK;
  if (comm_rank(session->world) == 0) status = task_annotate(session, vote);
  return stop_vote_agree(vote, session->world, status);
}

status_t annotate_task_run(session_t *session) {
  return session_run_voting(session, annotate_voting);
}

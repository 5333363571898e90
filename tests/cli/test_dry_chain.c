/* Every task of the chain, told about by a dry run and then made, in one process: memory by arena must come
 * out as estimated, and the files must have the sizes. The plain device, so that no block for measuring the
 * machine hides what tasks take; prompts are dealt, so that no group's share of the answers depends on how
 * busy the cores are. */
#define _GNU_SOURCE
#include "bench/bench.h"
#include "eval/evaluate.h"
#include "eval/score.h"
#include "io/io_test.h"
#include "main/devices.h"
#include "main/judges.h"
#include "ppo/ppo.h"
#include "rollout/generate.h"
#include "session/dry_run.h"
#include "session/prepare_task.h"
#include "shapes/scene_file.h"
#include "shapes/shapes_tasks.h"
#include "shapes/world_task.h"
#include "train/reward.h"
#include "train/supervised.h"

#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  FIRST_PAIR_IMAGE = 32 /* behind those of pretraining, which have no facts */,
  PAIRS = 24,
  OTHER_BYTES = 1 << 20 /* odds and ends of an arena */
};

static const double disk_tolerance = 0.1, memory_tolerance = 0.05;

#define MODEL "&model base = 'pretrain/model.h5' template = 'v1' /\n"
#define ADAPTER "&adapter r = 8 alpha = 8 /\n"

static void enter(char folder[FILE_MAX_PATH]) {
  io_test_folder(folder);
  assert_int_equal(chdir(folder), 0);
}

static void leave(const char *folder) {
  assert_int_equal(chdir("/"), 0);
  io_test_remove(folder);
}

/* ---- Running ---- */

typedef struct {
  const char *name; /* also the run directory */
  const char *text; /* of the input, without &job */
  status_t (*run)(session_t *session);
} dry_chain_step_t;

static void expect_peak(const char *name, const char *what, double found, double expected) {
  if (fabs(expected - found) > OTHER_BYTES + memory_tolerance * found)
    fail_msg("%s: %s: %.0f bytes, estimated %.0f", name, what, found, expected);
}

static void compare_memory(const char *name, const estimate_t *estimate) {
  for (int a = 0; a < ARENA_COUNT; a++) {
    memory_usage_t usage = memory_usage((arena_t)a);
    if (a == ARENA_COMM && usage.peak < estimate->memory[a])
      continue; /* what a rank writes itself is no message */
    expect_peak(name, usage.name, (double)usage.peak, (double)estimate->memory[a]);
  }
  expect_peak(name, "at one time", (double)memory_peak(), (double)estimate->together);
}

static session_t prepare(const dry_chain_step_t *step, settings_t *settings) {
  char text[2048];
  session_t session;
  int32_t count;
  const device_entry_t *devices = devices_table(&count);
  snprintf(text, sizeof text,
           "&job task = '%s' run_dir = '%s' deterministic = .true. /\n&parallel device = 'plain' /\n&log "
           "level = 'warning' /\n%s",
           step->name, step->name, step->text);
  assert_ok(settings_read_text(step->name, text, 0, NULL, settings, NULL));
  assert_ok(session_prepare(mpi_test_world(), settings, devices, count, &session));
  session.judges = judges_table(&session.judge_count);
  return session;
}

/* Both, and what the first said; the dry run leaves nothing behind. */
static estimate_t run_both(const dry_chain_step_t *step) {
  settings_t settings;
  estimate_t estimate;
  memory_reset_peaks();
  session_t session = prepare(step, &settings);
  assert_ok(dry_run_estimate(&session, step->run, &estimate));
  assert_int_not_equal(access(step->name, F_OK), 0);
  assert_ok(comm_barrier(mpi_test_world()));
  memory_reset_peaks();
  perf_reset();
  assert_ok(session_open(&session, "test"));
  assert_ok(step->run(&session));
  compare_memory(step->name, &estimate);
  session_close(&session, STATUS_OK);
  settings_free(&settings);
  assert_ok(comm_barrier(mpi_test_world()));
  return estimate;
}

/* ---- Files ---- */

/* Bytes of all files that match PATTERN. */
static double bytes_of(const char *pattern) {
  glob_t found;
  double bytes = 0.0;
  assert_int_equal(glob(pattern, 0, NULL, &found), 0);
  for (size_t i = 0; i < found.gl_pathc; i++) {
    int64_t size;
    assert_ok(file_size(found.gl_pathv[i], &size));
    bytes += (double)size;
  }
  globfree(&found);
  return bytes;
}

static void expect_bytes(const char *pattern, double estimated) {
  double found = bytes_of(pattern);
  if (fabs(estimated - found) > disk_tolerance * found)
    fail_msg("%s: %.0f bytes, estimated %.0f", pattern, found, estimated);
}

static void expect_output(const estimate_t *estimate, const char *name, const char *pattern) {
  for (int32_t i = 0; i < estimate->output_count; i++)
    if (strcmp(estimate->outputs[i].name, name) == 0) {
      expect_bytes(pattern, estimate->outputs[i].bytes);
      return;
    }
  fail_msg("%s was not estimated", name);
}

/* Files of answers have at most the estimated size, and not a small part of it. */
static void expect_answers(const estimate_t *estimate, const char *path) {
  double found = bytes_of(path), estimated = estimate->outputs[0].bytes;
  if (found > estimated * (1.0 + disk_tolerance) || found < 0.3 * estimated)
    fail_msg("%s: %.0f bytes, estimated %.0f", path, found, estimated);
}

/* Pairs about pictures that have facts, in the published format. */
static void write_pairs(comm_t *world) {
  FILE *file = comm_rank(world) == 0 ? fopen("pairs.json", "w") : NULL;
  for (int i = 0; i < PAIRS && file; i++) {
    char image[SCENE_IMAGE_MAX];
    scene_image_name(FIRST_PAIR_IMAGE + i, image);
    fprintf(
        file,
        "%s{\"id\": \"%d\", \"image\": \"%s\", \"conversations\": [{\"from\": \"human\", \"value\": "
        "\"<image>\\nWhat is in the image?\"}],\n\"output_1\": {\"from\": \"gpt\", \"value\": \"There is a "
        "red circle.\"}, \"output_2\": {\"from\": \"gpt\", \"value\": \"There is a small blue square in "
        "the middle.\"}, \"preference\": %d}\n",
        i == 0 ? "[" : ",", i, image, 1 + i % 2);
  }
  if (file) {
    fputs("]\n", file);
    fclose(file);
  }
  assert_ok(comm_barrier(world));
}

/* ---- The chain ---- */

static void data_tasks(void) {
  const dry_chain_step_t world = {
      "world",
      "&world pretrain_images = 32 sft_images = 0 pair_images = 32 policy_init_images = 0\n"
      "  ppo_images = 32 eval_images = 16 image_size = 48 /\n",
      world_task_run};
  const dry_chain_step_t annotate = {
      "annotate", "&annotate pairs = 'pairs.json' scenes = 'world/scenes.jsonl' /\n", annotate_task_run};
  const dry_chain_step_t prepare_pairs = {
      "prepare",
      "&prepare preferences = 'pairs.json' facts = 'world/facts.json' held_out = 4\n"
      "  image_folder = 'world/images' output = 'pairs.h5' /\n",
      prepare_task_run};
  estimate_t estimate = run_both(&world);
  if (comm_rank(mpi_test_world()) == 0) {
    expect_output(&estimate, "images", "world/images/*/*.jpg");
    expect_output(&estimate, "texts and tokenizer", "world/[cfpesrt]*[lnt]");
    expect_output(&estimate, "pretrain.h5", "world/pretrain.h5");
    expect_output(&estimate, "rl.h5", "world/rl.h5");
    expect_output(&estimate, "eval.h5", "world/eval.h5");
  }
  write_pairs(mpi_test_world());
  estimate = run_both(&annotate);
  if (comm_rank(mpi_test_world()) == 0)
    expect_output(&estimate, "preferences.json", "annotate/preferences.json");
  estimate = run_both(&prepare_pairs);
  expect_output(&estimate, "datasets", "pairs.h5");
}

static void expect_model(const estimate_t *estimate, const char *name, const char *checkpoints) {
  char path[64];
  snprintf(path, sizeof path, "%s/model.h5", name);
  expect_bytes(path, (double)estimate->files.result);
  expect_bytes(checkpoints, (double)estimate->files.file);
}

static void training_tasks(void) {
  const dry_chain_step_t pretrain = {
      "pretrain",
      "&model from_scratch = .true. tokenizer = 'world/tokenizer.model' train = 'all' template = 'v1'\n"
      "  hidden = 64 layers = 2 heads = 4 mlp = 128 vision_image_size = 48 vision_patch = 16\n"
      "  vision_hidden = 32 vision_layers = 2 vision_heads = 2 vision_mlp = 64 vision_feature_layer = -1 /\n"
      "&data dataset = 'world/pretrain.h5' max_len = 128 /\n&optim batch = 8 steps = 2 /\n",
      supervised_run};
  const dry_chain_step_t start = {
      "sft",
      "&model base = 'pretrain/model.h5' template = 'v1' train = 'lora' /\n" ADAPTER
      "&data dataset = 'world/pretrain.h5' max_len = 128 /\n&optim batch = 8 steps = 2 /\n",
      supervised_run};
  const dry_chain_step_t reward = {"rm",
                                   MODEL ADAPTER "&data dataset = 'pairs.h5' max_len = 512 /\n"
                                                 "&optim batch = 8 steps = 3 /\n&rm facts = .false. /\n",
                                   rm_run};
  const dry_chain_step_t ppo = {
      "ppo",
      "&model base = 'pretrain/model.h5' adapter = 'sft/model.h5' template = 'v1' /\n" ADAPTER
      "&data dataset = 'world/rl.h5' query_len = 128 /\n&reward model = 'rm/model.h5' facts = .false. /\n"
      "&rollout batch = 8 response_len = 16 /\n&optim warmup_steps = 0 /\n"
      "&ppo steps = 2 minibatch = 4 inner_epochs = 1 /\n",
      ppo_run};
  estimate_t estimate = run_both(&pretrain);
  expect_model(&estimate, "pretrain", "pretrain/checkpoints/step_*.h5");
  estimate = run_both(&start);
  expect_model(&estimate, "sft", "sft/checkpoints/step_*.h5");
  estimate = run_both(&reward);
  expect_model(&estimate, "rm", "rm/checkpoints/step_*.h5");
  estimate = run_both(&ppo);
  expect_model(&estimate, "ppo", "ppo/checkpoints/step_*.h5");
  expect_bytes("ppo/rollouts/*.h5", 2.0 * (double)estimate.rollout);
}

static void answering_tasks(void) {
  const dry_chain_step_t generate = {
      "generate", MODEL "&generate dataset = 'world/prompts.h5' samples = 2 max_tokens = 16 /\n",
      generate_run};
  const dry_chain_step_t score = {
      "score",
      "&model base = 'pretrain/model.h5' adapter = 'rm/model.h5' template = 'v1' /\n"
      "&data dataset = 'world/pretrain.h5' /\n&rm facts = .false. /\n",
      score_run};
  const dry_chain_step_t evaluate = {
      "evaluate",
      "&model template = 'v1' /\n&generate greedy = .true. max_tokens = 16 /\n"
      "&eval models = 'pretrain/model.h5', 'ppo/model.h5' dataset = 'world/eval.h5'\n"
      "  judge = 'shapes' scenes = 'world/scenes.jsonl' /\n",
      evaluate_run};
  bool first = comm_rank(mpi_test_world()) == 0;
  estimate_t estimate = run_both(&generate);
  if (first) expect_answers(&estimate, "generate/pairs.json");
  estimate = run_both(&score);
  expect_output(&estimate, "scores.h5", "score/scores.h5");
  estimate = run_both(&evaluate);
  if (first) expect_answers(&estimate, "evaluate/answers_1.jsonl");
}

static void every_task_stays_near_its_estimate(void **state) {
  char folder[FILE_MAX_PATH];
  (void)state;
  enter(folder);
  data_tasks();
  training_tasks();
  answering_tasks();
  const dry_chain_step_t bench = {
      "bench",
      "&bench hidden = 64 layers = 2 heads = 4 mlp = 96 vocab = 300 sequences = 3\n"
      "  length = 20 decode_tokens = 5 repetitions = 1 /\n",
      bench_run};
  run_both(&bench);
  leave(folder);
}

/* What is not there is said by the dry run. */
static void missing_files_are_found(void **state) {
  static const dry_chain_step_t steps[] = {
      {"prepare", "&prepare preferences = 'none.json' image_folder = 'images' output = 'pairs.h5' /\n",
       prepare_task_run},
      {"annotate", "&annotate pairs = 'none.json' scenes = 'none.jsonl' /\n", annotate_task_run}};
  char folder[FILE_MAX_PATH];
  (void)state;
  enter(folder);
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    settings_t settings;
    estimate_t estimate;
    session_t session = prepare(&steps[i], &settings);
    assert_error(dry_run_estimate(&session, steps[i].run, &estimate), STATUS_DATA);
    session_close(&session, STATUS_OK);
    settings_free(&settings);
  }
  leave(folder);
}

/* A world too large to be drawn for an estimate: counts follow from a part of it. */
static void a_large_world_follows_from_a_small_one(void **state) {
  world_options_t options = world_options_default();
  (void)state;
  world_options_t smaller = world_options_smaller(&options);
  assert_true(world_scene_count(&smaller) <= 2100 && world_scene_count(&smaller) > 1000);
  assert_true(smaller.eval_images > 0 && smaller.sft_images < options.sft_images);
  options.image_size = 4096;
  smaller = world_options_smaller(&options);
  assert_true(world_scene_count(&smaller) < 64);
  options.pretrain_images = options.sft_images = options.pair_images = options.policy_init_images = 0;
  options.rl_images = options.eval_images = 8;
  smaller = world_options_smaller(&options);
  assert_int_equal(world_scene_count(&smaller), 16);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_task_stays_near_its_estimate),
                                     cmocka_unit_test(missing_files_are_found),
                                     cmocka_unit_test(a_large_world_follows_from_a_small_one)};
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

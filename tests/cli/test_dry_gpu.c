/* What PPO at published shapes takes of a GPU, told without weights and without a GPU: a policy of 7B with
 * reward and value of 13B fits one of 80 GB with bases in NF4, and does not in bf16. */
#define _GNU_SOURCE
#include "convert/import.h"
#include "data/prepare.h"
#include "io/io_test.h"
#include "main/devices.h"
#include "ppo/ppo.h"
#include "session/dry_run.h"
#include "shapes/world_task.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double giga = 1e9;

/* What a decoder and its tower have, and LoRA of all projections. */
typedef struct {
  double projections, rest, adapter;
} shapes_t;

static shapes_t shapes_of(double c, double f, double layers) {
  const double vocabulary = 32000, tower = 0.295e9, r = 64;
  return (shapes_t){.projections = layers * (4 * c * c + 3 * c * f),
                    .rest = 2 * vocabulary * c + tower,
                    .adapter = layers * r * (4 * 2 * c + 3 * (c + f))};
}

static void enter(char folder[FILE_MAX_PATH]) {
  io_test_folder(folder);
  assert_int_equal(chdir(folder), 0);
}

static void leave(const char *folder) {
  assert_int_equal(chdir("/"), 0);
  io_test_remove(folder);
}

static void make_prompts(void) {
  world_options_t options = world_options_default();
  options.dir = "world";
  options.rl_images = 32;
  options.pretrain_images = options.sft_images = options.pair_images = options.policy_init_images =
      options.eval_images = 0;
  const prepare_options_t prepare = {.conversations = "world/rl.json",
                                     .facts = "world/facts.json",
                                     .image_folder = "world/images",
                                     .output = "prompts.h5",
                                     .seed = 1,
                                     .workers = 1};
  assert_ok(world_write(mpi_test_world(), &options));
  assert_ok(prepare_run(mpi_test_world(), &prepare, NULL));
}

static session_t prepare(const char *text, settings_t *settings) {
  session_t session;
  int32_t count;
  const device_entry_t *devices = devices_table(&count);
  assert_ok(settings_read_text("test", text, 0, NULL, settings, NULL));
  assert_ok(session_prepare(mpi_test_world(), settings, devices, count, &session));
  return session;
}

static void make_outline(const char *folder, const char *role, const char *output) {
  char text[1024];
  settings_t settings;
  snprintf(text, sizeof text,
           "&job task = 'import' run_dir = '%s_run' /\n&log level = 'warning' /\n"
           "&import weights = '%s/../inputs/%s/shapes' tokenizer = 'world/tokenizer.model' outline = .true.\n"
           "  role = '%s' output = '%s' /\n",
           output, TEST_SOURCE_DIR, folder, role, output);
  session_t session = prepare(text, &settings);
  assert_ok(session_open(&session, "test"));
  assert_ok(import_run(&session));
  session_close(&session, STATUS_OK);
  settings_free(&settings);
}

static status_t dry_run_ppo(const char *reward, const char *format, int memory, estimate_t *estimate) {
  char text[1024];
  settings_t settings;
  snprintf(text, sizeof text,
           "&job task = 'ppo' run_dir = 'run' /\n&parallel device = 'plain' gpu_memory = %d /\n"
           "&model base = 'policy_7b.h5' base_format = '%s' recompute = 'full' /\n"
           "&data dataset = 'prompts.h5' /\n&reward model = '%s' /\n"
           "&rollout batch = 64 response_len = 896 /\n&ppo minibatch = 32 inner_epochs = 1 epochs = 2 /\n"
           "&log level = 'warning' /\n",
           memory, format, reward);
  session_t session = prepare(text, &settings);
  status_code_t status = dry_run_estimate(&session, ppo_run, estimate);
  session_close(&session, status);
  settings_free(&settings);
  return status;
}

/* Policy and reference on one base, reward and value on the other; a byte of scale for 64 codes, four for 256
 * scales. */
static void expect_weights(const estimate_t *estimate, double bytes_per_projection) {
  const shapes_t small = shapes_of(4096, 11008, 32), large = shapes_of(5120, 13824, 40);
  double expected = bytes_per_projection * (small.projections + large.projections) +
                    2.0 * (small.rest + large.rest) + 2.0 * 2.0 * (small.adapter + large.adapter);
  double found = (double)estimate->gpu.arenas[ARENA_WEIGHTS];
  if (fabs(found - expected) > 0.01 * expected)
    fail_msg("weights take %.2f GB, expected %.2f", found / giga, expected / giga);
}

static void a_large_reward_model_fits_in_nf4(void **state) {
  const double nf4 = 0.5 + 1.0 / 64 + 4.0 / (64 * 256);
  const double states = 4.0 * 4.0; /* gradient, master, two moments, in float */
  const double trained = shapes_of(4096, 11008, 32).adapter + shapes_of(5120, 13824, 40).adapter;
  char folder[FILE_MAX_PATH];
  estimate_t estimate;
  (void)state;
  enter(folder);
  make_prompts();
  make_outline("llava_7b", "policy", "policy_7b.h5");
  make_outline("llava_13b", "reward", "reward_13b.h5");
  assert_ok(dry_run_ppo("reward_13b.h5", "nf4", 80, &estimate));
  expect_weights(&estimate, nf4);
  const blank_memory_t *gpu = &estimate.gpu;
  assert_true((double)gpu->total < 80 * giga);
  double state_bytes = (double)(gpu->arenas[ARENA_GRADIENTS] + gpu->arenas[ARENA_OPTIMIZER]);
  assert_true(fabs(state_bytes - states * trained) < 0.01 * states * trained);
  /* What 64 responses that become 896 tokens long behind 256 of an image need is more than the share that the
   * cache may take of what is free beside weights and states: it takes that, and prefills lie beside it, in
   * the block that updates have for activations. */
  double share = 0.5, beside = 4 * giga;
  double free_bytes = 80 * giga - (double)gpu->arenas[ARENA_WEIGHTS] - state_bytes;
  double shared = (double)gpu->total - (double)gpu->arenas[ARENA_WEIGHTS] - state_bytes;
  assert_true(share * free_bytes < 64.0 * (896 + 256) * 2 * 32 * 4096 * 2);
  assert_true(shared > share * free_bytes && shared < share * free_bytes + beside);
  assert_true(gpu->total >= gpu->regions[REGION_BACKWARD]);
  assert_true(fabs((double)gpu->regions[REGION_BACKWARD] - (double)gpu->regions[REGION_DECODE]) <
              0.01 * (double)gpu->total);
  leave(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_large_reward_model_fits_in_nf4)};
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

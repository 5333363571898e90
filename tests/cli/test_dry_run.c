/* A dry run tells what the run takes: the run itself is made afterwards, in the same process, and must take
 * that to 5 %, in each arena and at one time. */
#define _GNU_SOURCE
#include "data/prepare.h"
#include "io/io_test.h"
#include "main/devices.h"
#include "session/dry_run.h"
#include "shapes/world_task.h"
#include "train/supervised.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The dry run goes through as many steps as the run has. */
static const char input[] =
    "&job task = 'pretrain' run_dir = 'run' /\n"
    "&model from_scratch = .true. tokenizer = 'world/tokenizer.model' train = 'all' template = 'v1'\n"
    "  hidden = 128 layers = 3 heads = 8 mlp = 384 vision_image_size = 48 vision_patch = 16\n"
    "  vision_hidden = 96 vision_layers = 2 vision_heads = 8 vision_mlp = 384 vision_feature_layer = -1 /\n"
    "&data dataset = 'world/pretrain.h5' max_len = 256 /\n"
    "&optim lr = 1e-3 batch = 32 steps = 3 /\n"
    "&log level = 'warning' /\n";

static const double tolerance = 0.05;

static void enter(char folder[FILE_MAX_PATH]) {
  io_test_folder(folder);
  assert_int_equal(chdir(folder), 0);
}

static void leave(const char *folder) {
  assert_int_equal(chdir("/"), 0);
  io_test_remove(folder);
}

static void make_world(comm_t *world) {
  world_options_t options = world_options_default();
  options.dir = "world";
  options.pretrain_images = 96;
  options.sft_images = options.pair_images = options.policy_init_images = options.rl_images =
      options.eval_images = 0;
  const prepare_options_t prepare = {.conversations = "world/pretrain.json",
                                     .image_folder = "world/images",
                                     .output = "world/pretrain.h5",
                                     .seed = 1,
                                     .workers = 1};
  assert_ok(world_write(world, &options));
  assert_ok(prepare_run(world, &prepare, NULL));
}

static void expect_near(const char *what, size_t found, size_t estimated) {
  if (fabs((double)estimated - (double)found) > tolerance * (double)found)
    fail_msg("%s: %zu bytes, estimated %zu", what, found, estimated);
}

/* PREPARED: peaks of the session, which both have. */
static void compare(const size_t *prepared, size_t prepared_together, const estimate_t *estimate) {
  size_t together = memory_peak() > prepared_together ? memory_peak() : prepared_together;
  for (int a = 0; a < ARENA_COUNT; a++) {
    memory_usage_t usage = memory_usage((arena_t)a);
    if (usage.peak < prepared[a]) usage.peak = prepared[a];
    bool small = usage.peak < 1 << 20; /* odds and ends */
    if (small) continue;
    if (a == ARENA_COMM && usage.peak < estimate->memory[a])
      continue; /* what a rank writes itself is no message */
    expect_near(usage.name, usage.peak, estimate->memory[a]);
  }
  expect_near("at one time", together, estimate->together);
}

/* FLOPs of the three steps: the same passes, so the same number. */
static void compare_flops(const estimate_t *estimate) {
  perf_counter_t counters[REGION_COUNT];
  double flops = 0.0;
  perf_snapshot(counters);
  for (int r = 0; r < REGION_COUNT; r++)
    flops += counters[r].flops;
  assert_int_equal(estimate->steps, 3);
  assert_true(fabs(estimate->flops * 3.0 - flops) <= 1e-9 * flops);
}

/* What the three steps send by collectives of the device: over dp and tp the dry run has counted the same. */
static void compare_traffic(const perf_collective_t *dry) {
  perf_collective_t run[TRAFFIC_COUNT * COLLECTIVE_COUNT];
  perf_collectives(run);
  static const collective_t kinds[] = {COLLECTIVE_REDUCE_SCATTER, COLLECTIVE_ALLGATHER, COLLECTIVE_ALLREDUCE};
  for (int k = 0; k < 3; k++) {
    int i = TRAFFIC_DP * COLLECTIVE_COUNT + (int)kinds[k];
    assert_true(run[i].calls == dry[i].calls && run[i].bytes == dry[i].bytes);
  }
}

static void a_run_takes_what_was_estimated(void **state) {
  comm_t *world = mpi_test_world();
  char folder[FILE_MAX_PATH];
  settings_t settings;
  session_t session;
  estimate_t estimate;
  size_t prepared[ARENA_COUNT], prepared_together;
  perf_collective_t dry[TRAFFIC_COUNT * COLLECTIVE_COUNT];
  int32_t count;
  (void)state;
  enter(folder);
  make_world(world);
  assert_ok(settings_read_text("input", input, 0, NULL, &settings, NULL));
  const device_entry_t *devices = devices_table(&count);
  memory_reset_peaks();
  assert_ok(session_prepare(world, &settings, devices, count, &session));
  for (int a = 0; a < ARENA_COUNT; a++)
    prepared[a] = memory_usage((arena_t)a).peak;
  prepared_together = memory_peak();
  assert_ok(dry_run_estimate(&session, supervised_run, &estimate));
  perf_collectives(dry);
  assert_int_not_equal(access("run", F_OK), 0);
  assert_ok(comm_barrier(world));
  memory_reset_peaks();
  perf_reset();
  assert_ok(session_open(&session, "test"));
  assert_ok(supervised_run(&session));
  compare(prepared, prepared_together, &estimate);
  compare_flops(&estimate);
  compare_traffic(dry);
  session_close(&session, STATUS_OK);
  settings_free(&settings);
  leave(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_run_takes_what_was_estimated)};
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

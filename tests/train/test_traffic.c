/* Bytes that regions count, against numbers worked out by hand from the tiny model's sizes: hidden 24, 2
 * layers, 4 heads of 6 on 2 key-value heads, MLP 20, vocabulary 37, adapter of 3; all in float. */
#include "base/memory.h"
#include "model/cache.h"
#include "model/tiny.h"
#include "model/traffic.h"
#include "mpi_test.h"
#include "perf/perf.h"
#include "tensor/plain/plain.h"
#include "train/optimizer.h"

enum { C = 24, L = 2, Q = 24, KV = 12, F = 20, V = 37, R = 3, REAL = 4 };
/* Of a layer: two norms, q and o, k and v, the MLP's three; the adapter's A and B on each. */
enum { LAYER = 2 * C + 2 * C * Q + 2 * C * KV + 3 * C * F };
enum { ADAPTER = R * (2 * (C + Q) + 2 * (C + KV) + 3 * (C + F)) };
enum { DECODER = L * (LAYER + ADAPTER) + C };
enum { TOWER_C = 16, TOWER_F = 28, PATCHES = 4, PATCH = 3 * 4 * 4, TOWER_L = 2 };
enum {
  TOWER = TOWER_C * (1 + PATCH + PATCHES + 1 + 2) +
          TOWER_L *
              (4 * TOWER_C + 4 * (TOWER_C + 1) * TOWER_C + (TOWER_C + 1) * TOWER_F + (TOWER_F + 1) * TOWER_C),
  PROJECTOR = (TOWER_C + 1) * C
};

typedef struct {
  grid_t grid;
  device_t *device;
  tiny_t tiny;
} fixture_t;

static void set_up(fixture_t *fixture, train_mode_t mode) {
  const tiny_options_t options = {.config = tiny_config(2, false, PROJECTOR_LINEAR), .mode = mode};
  assert_ok(grid_create(mpi_test_world(), 1, 1, &fixture->grid));
  assert_ok(plain_create(PLAIN_FLOAT, false, &fixture->device));
  assert_ok(tiny_create(fixture->device, &fixture->grid, &options, &fixture->tiny));
  perf_reset();
}

static void tear_down(fixture_t *fixture) {
  tiny_free(&fixture->tiny);
  device_free(fixture->device);
  grid_free(&fixture->grid);
}

static double bytes_of(region_t region) {
  perf_counter_t counters[REGION_COUNT];
  perf_snapshot(counters);
  return counters[region].bytes;
}

/* Three sequences of 5, 1 and 9 positions, two to a page. */
static void a_decode_step_reads_weights_and_cache(void **state) {
  enum { N = 3, PAGE = 2, MOST = 5 };
  static const int32_t tokens[N] = {4, 5, 6}, positions[N] = {4, 0, 8}, lengths[N] = {5, 1, 9};
  int32_t pages[N * MOST], slots[N], rows[N] = {0, 1, 2};
  fixture_t fixture;
  cache_t cache;
  const wide_t *logits;
  (void)state;
  set_up(&fixture, TRAIN_NOTHING);
  tiny_t *tiny = &fixture.tiny;
  assert_ok(cache_create(&tiny->base, N * MOST, PAGE, &cache));
  assert_true(cache_take(&cache, N * MOST, pages));
  for (int32_t i = 0; i < N; i++)
    slots[i] = pages[i * MOST + positions[i] / PAGE] * PAGE + positions[i] % PAGE;
  perf_begin(REGION_DECODE);
  assert_ok(pass_decode(tiny->pass, &tiny->role, &cache, MOST, N, tokens, positions, slots, pages, lengths));
  assert_ok(pass_logits(tiny->pass, N, rows, &logits));
  perf_end(REGION_DECODE);
  double read = 5 + 1 + 9, written = N;
  assert_true(bytes_of(REGION_DECODE) == REAL * (DECODER + V * C + (read + written) * 2 * KV * L));
  cache_free(&cache);
  tear_down(&fixture);
}

/* Its tokens' keys and values are written; nothing is kept. */
static void a_prefill_writes_the_cache(void **state) {
  fixture_t fixture;
  cache_t cache;
  int32_t slots[64];
  (void)state;
  set_up(&fixture, TRAIN_NOTHING);
  tiny_t *tiny = &fixture.tiny;
  int32_t rows = tiny->packed.offsets[tiny->packed.sequences];
  const pass_images_t images = {.count = 2, .patches = tiny->patches};
  assert_ok(cache_create(&tiny->base, 8, 8, &cache));
  for (int32_t r = 0; r < rows; r++)
    slots[r] = r;
  perf_begin(REGION_PREFILL);
  assert_ok(pass_forward(tiny->pass, &tiny->role, &tiny->packed, &images, false, &cache, slots));
  perf_end(REGION_PREFILL);
  assert_true(bytes_of(REGION_PREFILL) == REAL * (DECODER + PROJECTOR + rows * 2.0 * KV * L));
  assert_true(bytes_of(REGION_TOWER) == REAL * TOWER);
  cache_free(&cache);
  tear_down(&fixture);
}

/* Forward: weights, and what is kept is written; backward: both are read, gradients read and written. The
 * output head is in one chunk, read by both. */
static void training_moves_gradients_and_what_is_kept(void **state) {
  fixture_t fixture;
  double loss;
  (void)state;
  set_up(&fixture, TRAIN_ALL);
  tiny_t *tiny = &fixture.tiny;
  double rows = tiny->packed.offsets[tiny->packed.sequences], tower_rows = 2 * (PATCHES + 1);
  perf_begin(REGION_FORWARD);
  assert_ok(tiny_gradients(tiny, &loss));
  perf_end(REGION_FORWARD);
  /* The four inputs of norms and products; norms' deviations and attention's sums. */
  double kept = rows * L * (4 * C + 2 * Q + 2 * KV + 3 * F + 7 * R + 2 + 4);
  double tower_kept = tower_rows * TOWER_L * (8 * TOWER_C + 2 * TOWER_F + 4 + 2);
  double trained = DECODER - L * ADAPTER + PROJECTOR + TOWER; /* the adapter is not */
  double expected = 2 * (DECODER + kept) + 2 * PROJECTOR + TOWER + tower_kept + 2 * trained + (2 + 2) * V * C;
  assert_true(bytes_of(REGION_TOWER) == REAL * (TOWER + tower_kept));
  assert_true(bytes_of(REGION_FORWARD) == REAL * expected);
  tear_down(&fixture);
}

/* AdamW: gradient, master and moments read, master, moments and weights written (the master once more read
 * for them); the norm reads the gradient, zeroing writes it. */
static void an_optimizer_step_moves_its_state(void **state) {
  fixture_t fixture;
  optimizer_t *optimizer;
  double norms[2];
  (void)state;
  set_up(&fixture, TRAIN_LORA);
  const optimizer_set_t sets[] = {{&fixture.tiny.adapter.params, 0}};
  const optimizer_options_t options = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .grad_clip = 1.0};
  assert_ok(optimizer_create(fixture.device, &fixture.grid, sets, 1, &options, &optimizer));
  perf_reset();
  assert_ok(optimizer_step(optimizer, 1e-3, norms));
  assert_true(bytes_of(REGION_OPTIMISER) == (1 + 3 + 3 + 2 + 1 + 1) * (double)REAL * L * ADAPTER);
  optimizer_free(optimizer);
  tear_down(&fixture);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_decode_step_reads_weights_and_cache),
      cmocka_unit_test(a_prefill_writes_the_cache),
      cmocka_unit_test(training_moves_gradients_and_what_is_kept),
      cmocka_unit_test(an_optimizer_step_moves_its_state),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

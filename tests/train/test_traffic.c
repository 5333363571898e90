/* FLOPs and bytes that regions count, against numbers worked out by hand from the tiny model's sizes: hidden
 * 24, 2 layers, 4 heads of 6 on 2 key-value heads, MLP 20, vocabulary 37, adapter of 3; all in float. */
#include "base/memory.h"
#include "model/cache.h"
#include "model/tiny.h"
#include "mpi_test.h"
#include "perf/perf.h"
#include "tensor/plain/plain.h"
#include "train/optimizer.h"

enum { C = 24, L = 2, Q = 24, KV = 12, F = 20, V = 37, R = 3, REAL = 4 };
/* Weights of a layer's products, and of the adapter's A and B on each. */
enum { LAYER_PRODUCTS = 2 * C * Q + 2 * C * KV + 3 * C * F };
enum { ADAPTER = R * (2 * (C + Q) + 2 * (C + KV) + 3 * (C + F)) };
enum { TOWER_C = 16, TOWER_F = 28, PATCHES = 4, PATCH = 3 * 4 * 4, TOWER_L = 2 };

typedef struct {
  grid_t grid;
  device_t *device;
  tiny_t tiny;
  index_t *arrays[8];
  int array_count;
} traffic_fixture_t;

static void set_up(traffic_fixture_t *fixture, train_mode_t mode, recompute_t recompute) {
  const tiny_options_t options = {
      .config = tiny_config(2, false, PROJECTOR_LINEAR), .mode = mode, .recompute = recompute};
  fixture->array_count = 0;
  assert_ok(grid_create(mpi_test_world(), 1, 1, &fixture->grid));
  assert_ok(plain_create(PLAIN_FLOAT, false, &fixture->device));
  assert_ok(tiny_create(fixture->device, &fixture->grid, &options, &fixture->tiny));
  perf_reset();
}

static void tear_down(traffic_fixture_t *fixture) {
  while (fixture->array_count > 0)
    device_release(fixture->device, fixture->arrays[--fixture->array_count]);
  tiny_free(&fixture->tiny);
  device_free(fixture->device);
  grid_free(&fixture->grid);
}

static perf_counter_t counted(region_t region) {
  perf_counter_t counters[REGION_COUNT];
  perf_snapshot(counters);
  return counters[region];
}

/* Elements that an operation reads and writes, all of four bytes here. A product that adds to something reads
 * that. */
static double product(double n, double in, double out, bool added) {
  return n * in + in * out + (added ? 2.0 : 1.0) * n * out;
}

/* COUNT projections of one input with their adapters, onto a residual or not: each operand once. */
static double projections(double n, double in, double out, int count, bool residual) {
  return product(n, in, out, residual) + count * (R * in + n * R) + R * out;
}

/* All of a layer but for the attention. Rotation turns queries and keys in place, and writes keys and values,
 * which it reads, to the cache. */
static double layer_elements(double n) {
  double norms = 2.0 * (2.0 * n * C + C + n), rotation = 2.0 * n * (Q + KV) + 3.0 * n * KV + 2.0 * n;
  return norms + rotation + 3.0 * n * F + projections(n, C, Q + 2 * KV, 3, false) +
         projections(n, Q, C, 1, true) + projections(n, C, 2 * F, 2, false) + projections(n, F, C, 1, true);
}

/* VALUES (n) in device memory, until the fixture is torn down. */
static index_t *index_of(traffic_fixture_t *fixture, const int32_t *values, int32_t n) {
  index_t **index = &fixture->arrays[fixture->array_count++];
  assert_ok(index_alloc(fixture->device, ARENA_OTHER, (size_t)n, index));
  assert_ok(index_upload(fixture->device, *index, values, (size_t)n));
  return *index;
}

/* Three sequences of 5, 1 and 9 positions, two to a page. */
static void a_decode_step_reads_weights_and_cache(void **state) {
  enum { N = 3, PAGE = 2, MOST = 5 };
  static const int32_t tokens[N] = {4, 5, 6}, positions[N] = {4, 0, 8}, lengths[N] = {5, 1, 9};
  int32_t pages[N * MOST], slots[N], rows[N] = {0, 1, 2};
  traffic_fixture_t fixture;
  cache_t cache;
  vocab_shard_t logits;
  index_t *row_index;
  (void)state;
  set_up(&fixture, TRAIN_NOTHING, RECOMPUTE_NONE);
  tiny_t *tiny = &fixture.tiny;
  const pass_cache_t options = {.pages = N * MOST, .page_size = PAGE, .rows = N};
  assert_ok(pass_create_cache(tiny->pass, &tiny->role, &options, &cache));
  for (int32_t p = 0; p < N * MOST; p++)
    pages[p] = p;
  for (int32_t i = 0; i < N; i++)
    slots[i] = pages[i * MOST + positions[i] / PAGE] * PAGE + positions[i] % PAGE;
  row_index = index_of(&fixture, rows, N);
  const pass_decode_t step = {.rows = N,
                              .max_pages = MOST,
                              .cached = 5 + 1 + 9,
                              .tokens = index_of(&fixture, tokens, N),
                              .positions = index_of(&fixture, positions, N),
                              .slots = index_of(&fixture, slots, N),
                              .pages = index_of(&fixture, pages, N * MOST),
                              .lengths = index_of(&fixture, lengths, N)};
  perf_begin(REGION_DECODE);
  assert_ok(pass_decode(tiny->pass, &tiny->role, &cache, &step));
  assert_ok(pass_logits(tiny->pass, N, row_index, 1.0, &logits));
  perf_end(REGION_DECODE);
  double read = 5 + 1 + 9, entries = read / PAGE + N; /* of the page table, and lengths */
  double attention = 2.0 * N * Q + 2.0 * read * KV + entries;
  double outside = 2.0 * N * C + N /* embedding */ + 2.0 * N * C + C + N /* last norm */ + 2.0 * N * C +
                   N /* rows */ + N * C /* cleared once */;
  double weights = L * (LAYER_PRODUCTS + ADAPTER) + V * C;
  perf_counter_t decode = counted(REGION_DECODE);
  assert_true(decode.bytes ==
              REAL * (L * (layer_elements(N) + attention) + outside + product(N, C, V, false)));
  assert_true(decode.flops == 2.0 * N * weights + L * 4.0 * read * Q);
  cache_free(&cache);
  tear_down(&fixture);
}

/* Pairs of a query and a key in the batch's sequences. */
static double causal_pairs(const packed_t *packed) {
  double pairs = 0.0;
  for (int32_t s = 0; s < packed->sequences; s++) {
    double n = packed->offsets[s + 1] - packed->offsets[s];
    pairs += 0.5 * n * (n + 1.0);
  }
  return pairs;
}

/* Every trained weight's product is done three times, a frozen adapter's (whose input's gradient is wanted)
 * two times, that of the patches, which have no gradient, two times; attention three times. */
static void training_counts_what_theory_says(void **state) {
  (void)state;
  for (int recompute = RECOMPUTE_NONE; recompute <= RECOMPUTE_FULL; recompute++) {
    traffic_fixture_t fixture;
    double loss;
    set_up(&fixture, TRAIN_ALL, (recompute_t)recompute);
    tiny_t *tiny = &fixture.tiny;
    perf_begin(REGION_FORWARD);
    assert_ok(tiny_gradients(tiny, &loss));
    perf_end(REGION_FORWARD);
    double rows = tiny->packed.offsets[tiny->packed.sequences], images = 2,
           tower_rows = images * (PATCHES + 1);
    double decoder = rows * L * (3.0 * LAYER_PRODUCTS + 2.0 * ADAPTER);
    double heads = 3.0 * (tiny->n * (double)V * C + tiny->scalars * C);
    double attention = 3.0 * L * 2.0 * causal_pairs(&tiny->packed) * Q;
    double patches = images * PATCHES * (2.0 * PATCH * TOWER_C + 3.0 * TOWER_C * C);
    double tower = 3.0 * TOWER_L *
                   (tower_rows * (4.0 * TOWER_C * TOWER_C + 2.0 * TOWER_C * TOWER_F) +
                    images * 2.0 * (PATCHES + 1) * (PATCHES + 1) * TOWER_C);
    double flops = counted(REGION_FORWARD).flops + counted(REGION_TOWER).flops;
    assert_true(flops == 2.0 * (decoder + heads + attention + patches + tower));
    tear_down(&fixture);
  }
}

/* AdamW: gradient, master and moments read, master, moments and weights written; the norm reads the gradient
 * and writes one number, zeroing writes the gradient. */
static void an_optimizer_step_moves_its_state(void **state) {
  traffic_fixture_t fixture;
  optimizer_t *optimizer;
  double norms[2];
  (void)state;
  set_up(&fixture, TRAIN_LORA, RECOMPUTE_NONE);
  const optimizer_set_t sets[] = {{&fixture.tiny.adapter.params, 0}};
  const optimizer_options_t options = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .grad_clip = 1.0};
  assert_ok(optimizer_create(fixture.device, &fixture.grid, sets, 1, &options, &optimizer));
  perf_reset();
  assert_ok(optimizer_step(optimizer, 1e-3, norms));
  assert_true(counted(REGION_OPTIMISER).bytes == REAL * ((1 + 3 + 3 + 1 + 1 + 1) * (double)L * ADAPTER + 1));
  optimizer_free(optimizer);
  tear_down(&fixture);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_decode_step_reads_weights_and_cache),
      cmocka_unit_test(training_counts_what_theory_says),
      cmocka_unit_test(an_optimizer_step_moves_its_state),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

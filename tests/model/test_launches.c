/* How many operations a decode step and a training step ask of a device, and what they allocate, copy and
 * wait for: counted on the plain device, for a model with an adapter on all seven projections. */
#include "model/cache.h"
#include "model/tiny.h"
#include "mpi_test.h"
#include "tensor/ops.h"
#include "tensor/plain/plain.h"

#include <string.h>

enum { LAYERS = 2 };
/* Of a layer: two norms, four linear operations, rotation, attention, gated activation; and each one's
 * gradient. */
enum { FORWARD = 9, BACKWARD = 9 };

static struct { int64_t operations, allocations, uploads, waits; } counts;

static device_t plain; /* the functions that are counted */

static status_t count_run(device_t *device, int number, const void *arguments) {
  counts.operations++;
  return plain.run(device, number, arguments);
}

static status_t count_alloc(device_t *device, size_t bytes, void **out) {
  counts.allocations++;
  return plain.alloc(device, bytes, out);
}

static status_t count_upload(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                             size_t n) {
  counts.uploads++;
  return plain.upload(device, to, to_type, from, from_type, n);
}

static status_t count_synchronize(device_t *device) {
  counts.waits++;
  return plain.synchronize(device);
}

/* The events recorded and waited for last. */
static const void *recorded, *waited;

static status_t note_event_record(device_t *device, void *own) {
  recorded = own;
  return plain.event_record(device, own);
}

static status_t note_event_wait(device_t *device, void *own) {
  waited = own;
  return plain.event_wait(device, own);
}

typedef struct {
  grid_t grid;
  device_t *device;
  tiny_t tiny;
  index_t *arrays[8];
  int array_count;
} launches_fixture_t;

static void launches_open(launches_fixture_t *f, recompute_t recompute) {
  const tiny_options_t options = {
      .config = tiny_config(2, false, PROJECTOR_LINEAR), .mode = TRAIN_LORA, .recompute = recompute};
  assert_ok(grid_create(mpi_test_world(), 1, 1, &f->grid));
  assert_ok(plain_create(PLAIN_FLOAT, false, &f->device));
  assert_ok(tiny_create(f->device, &f->grid, &options, &f->tiny));
  plain = *f->device;
  f->device->run = count_run;
  f->device->alloc = count_alloc;
  f->device->upload = count_upload;
  f->device->synchronize = count_synchronize;
  f->device->event_record = note_event_record;
  f->device->event_wait = note_event_wait;
}

static void launches_close(launches_fixture_t *f) {
  while (f->array_count > 0)
    device_release(f->device, f->arrays[--f->array_count]);
  tiny_free(&f->tiny);
  device_free(f->device);
  grid_free(&f->grid);
}

/* VALUES in device memory, until the fixture is closed. */
static index_t *index_of(launches_fixture_t *f, const int32_t *values, size_t n) {
  index_t **index = &f->arrays[f->array_count++];
  assert_ok(index_alloc(f->device, ARENA_OTHER, n, index));
  assert_ok(index_upload(f->device, *index, values, n));
  return *index;
}

static void a_decode_step_is_nine_operations_a_layer(void **state) {
  enum { N = 2, PAGE = 4 };
  static const int32_t tokens[N] = {4, 5}, positions[N] = {0, 2}, slots[N] = {0, 6}, pages[N] = {0, 1},
                       lengths[N] = {1, 3};
  launches_fixture_t f = {.array_count = 0};
  cache_t cache;
  (void)state;
  launches_open(&f, RECOMPUTE_NONE);
  const pass_cache_t options = {.pages = N, .page_size = PAGE, .rows = N};
  assert_ok(pass_create_cache(f.tiny.pass, &f.tiny.role, &options, &cache));
  assert_ok(OP(f.device, fill_real, &(op_fill_real_t){.n = LAYERS * cache.layer_elements, .x = cache.k}));
  assert_ok(OP(f.device, fill_real, &(op_fill_real_t){.n = LAYERS * cache.layer_elements, .x = cache.v}));
  const pass_decode_t step = {.rows = N,
                              .max_pages = 1,
                              .cached = 1 + 3,
                              .tokens = index_of(&f, tokens, N),
                              .positions = index_of(&f, positions, N),
                              .slots = index_of(&f, slots, N),
                              .pages = index_of(&f, pages, N),
                              .lengths = index_of(&f, lengths, N)};
  for (int again = 0; again < 2; again++) {
    memset(&counts, 0, sizeof counts);
    assert_ok(pass_decode(f.tiny.pass, &f.tiny.role, &cache, &step));
  }
  assert_int_equal(counts.operations, 1 + LAYERS * FORWARD + 1); /* embedding and the last norm */
  assert_int_equal(counts.allocations, 0);
  assert_int_equal(counts.uploads, 0);
  assert_int_equal(counts.waits, 0);
  cache_free(&cache);
  launches_close(&f);
}

/* Operations of forward and backward pass together, in the second step of RECOMPUTE. */
static int64_t training_operations(recompute_t recompute) {
  launches_fixture_t f = {.array_count = 0};
  double loss;
  launches_open(&f, recompute);
  for (int again = 0; again < 2; again++) {
    memset(&counts, 0, sizeof counts);
    assert_ok(tiny_gradients(&f.tiny, &loss));
  }
  assert_int_equal(counts.allocations, 0);
  launches_close(&f);
  return counts.operations;
}

/* What lies around the layers is the same whatever is done again within them: norms and the gated activation;
 * with projections, rotation and attention on top. */
static void a_training_step_is_eighteen_operations_a_layer(void **state) {
  (void)state;
  int64_t none = training_operations(RECOMPUTE_NONE);
  assert_int_equal(training_operations(RECOMPUTE_SELECTIVE), none + LAYERS * 3);
  assert_int_equal(training_operations(RECOMPUTE_FULL), none + LAYERS * (3 + 4));
  /* Tower of two layers and projector, embedding, two sums of image rows, norms, heads with their losses. */
  enum { OUTSIDE_MOST = 75 };
  assert_in_range(none, LAYERS * (FORWARD + BACKWARD), LAYERS * (FORWARD + BACKWARD) + OUTSIDE_MOST);
}

/* Between micro-batches the host waits for the end of the one before, not of the newest. */
static void the_host_is_one_micro_batch_ahead(void **state) {
  enum { MICRO_BATCHES = 4 };
  launches_fixture_t f = {.array_count = 0};
  const void *before = NULL;
  (void)state;
  launches_open(&f, RECOMPUTE_NONE);
  memset(&counts, 0, sizeof counts);
  recorded = waited = NULL;
  for (int m = 0; m < MICRO_BATCHES; m++) {
    assert_ok(pass_pace(f.tiny.pass));
    assert_ptr_equal(waited, before);
    assert_ptr_not_equal(recorded, before);
    before = recorded;
  }
  assert_int_equal(counts.waits, 0);
  launches_close(&f);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_decode_step_is_nine_operations_a_layer),
      cmocka_unit_test(a_training_step_is_eighteen_operations_a_layer),
      cmocka_unit_test(the_host_is_one_micro_batch_ahead),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

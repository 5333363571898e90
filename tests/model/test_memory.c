/* Memory of a pass: logits exist one piece at a time whatever a pass is asked for, features computed earlier
 * take no tower, and a step like one before allocates nothing. */
#include "base/memory.h"
#include "model/tiny.h"
#include "mpi_test.h"
#include "tensor/plain/plain.h"

#include <string.h>

enum { VOCAB = 5000, IMAGES = 2 };

typedef struct {
  grid_t grid;
  device_t *device;
  tiny_t tiny;
} memory_fixture_t;

static void fixture_open(memory_fixture_t *f, projector_t projector, train_mode_t mode) {
  tiny_options_t options = {
      .config = tiny_config(2, false, projector), .mode = mode, .largest_logits = 2 * VOCAB};
  options.config.vocab = VOCAB;
  assert_ok(grid_create(mpi_test_world(), 1, 1, &f->grid));
  assert_ok(plain_create(PLAIN_DOUBLE, true, &f->device));
  assert_ok(tiny_create(f->device, &f->grid, &options, &f->tiny));
}

static void fixture_close(memory_fixture_t *f) {
  tiny_free(&f->tiny);
  device_free(f->device);
  grid_free(&f->grid);
}

static size_t in_use(arena_t arena) {
  return memory_usage(arena).current;
}

static void forward(tiny_t *tiny, const pass_images_t *images, bool keep) {
  assert_ok(pass_forward(tiny->pass, &tiny->role, &tiny->packed, images, keep, NULL, NULL));
}

/* Values of all rows: vectors of the hidden size and some numbers for each, no logits; and afterwards logits
 * for two rows, whichever way they are asked for. */
static void values_take_no_logits(void **state) {
  memory_fixture_t f;
  int32_t all[64];
  double numbers[64] = {0}, values_of[64];
  (void)state;
  fixture_open(&f, PROJECTOR_LINEAR, TRAIN_LORA);
  tiny_t *tiny = &f.tiny;
  const pass_images_t images = {.count = IMAGES, .patches = tiny->patches};
  int32_t rows = tiny->packed.offsets[tiny->packed.sequences];
  assert_true(rows <= 64);
  for (int32_t r = 0; r < rows; r++)
    all[r] = r;
  forward(tiny, &images, true);
  size_t before = in_use(ARENA_SCRATCH), row = (2 * (size_t)tiny->base.config.hidden + 8) * sizeof(double);
  assert_ok(pass_scalars(tiny->pass, rows, all, numbers));
  assert_ok(
      pass_scalars_backward(tiny->pass, rows, all, &(pass_scalar_loss_t){.weights = numbers}, values_of));
  size_t values = in_use(ARENA_SCRATCH) - before, logits = 2 * (VOCAB + 8) * sizeof(double);
  assert_in_range(values, 1, (size_t)rows * row);
  assert_ok(pass_logprobs(tiny->pass, tiny->n, tiny->rows, tiny->targets, 1.0, numbers, NULL));
  size_t with_logits = in_use(ARENA_SCRATCH) - before - values;
  assert_in_range(with_logits, logits / 2, logits);
  fixture_close(&f);
}

static void features_take_no_tower(void **state) {
  memory_fixture_t f;
  float *features;
  pass_t *pass;
  (void)state;
  fixture_open(&f, PROJECTOR_LINEAR, TRAIN_LORA);
  tiny_t *tiny = &f.tiny;
  const model_config_t *config = &tiny->base.config;
  size_t patches = (size_t)(IMAGES * config_patches(config));
  assert_ok(memory_alloc(&features, ARENA_OTHER, patches * (size_t)config->vision_hidden, sizeof *features));
  assert_ok(pass_create(f.device, &f.grid, &(pass_options_t){.recompute = RECOMPUTE_NONE}, &pass));
  assert_ok(pass_features(pass, &tiny->base, IMAGES, tiny->patches, features));
  pass_free(pass);
  forward(tiny, NULL, true);
  size_t activations = in_use(ARENA_ACTIVATIONS), held = in_use(ARENA_FEATURES);
  forward(tiny, &(pass_images_t){.count = IMAGES, .features = features}, true);
  assert_int_equal(in_use(ARENA_ACTIVATIONS), activations);
  size_t widths = (size_t)(config->vision_hidden + config->hidden);
  assert_int_equal(in_use(ARENA_FEATURES) - held, patches * widths * sizeof(double));
  memory_free(features);
  fixture_close(&f);
}

static int allocations;
static status_code_t (*allocate)(device_t *device, size_t bytes, void **out);

static status_t counted_alloc(device_t *device, size_t bytes, void **out) {
  allocations++;
  return allocate(device, bytes, out);
}

static void a_step_like_one_before_allocates_nothing(void **state) {
  static const train_mode_t modes[] = {TRAIN_LORA, TRAIN_DECODER, TRAIN_ALL};
  (void)state;
  for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
    memory_fixture_t f;
    double loss, again;
    fixture_open(&f, PROJECTOR_MLP2X_GELU, modes[m]);
    allocate = f.device->alloc;
    f.device->alloc = counted_alloc;
    allocations = 0;
    assert_ok(tiny_gradients(&f.tiny, &loss));
    assert_true(allocations > 0);
    size_t other = in_use(ARENA_OTHER);
    memory_reset_peaks();
    allocations = 0;
    assert_ok(tiny_gradients(&f.tiny, &again));
    assert_int_equal(allocations, 0);
    assert_int_equal(memory_usage(ARENA_OTHER).peak, other);
    assert_true(loss == again);
    fixture_close(&f);
  }
}

/* What logs and performance reports say that a model has. */
static void weights_are_counted(void **state) {
  model_config_t configs[] = {
      tiny_config(2, false, PROJECTOR_LINEAR), tiny_config(4, true, PROJECTOR_MLP2X_GELU),
      tiny_config_biased(2, PROJECTOR_LINEAR), tiny_config_biased(1, PROJECTOR_MLP2X_GELU)};
  grid_t grid;
  device_t *device;
  (void)state;
  configs[3].o_bias = configs[3].mlp_bias = false;
  assert_ok(grid_create(mpi_test_world(), 1, 1, &grid));
  assert_ok(plain_create(PLAIN_DOUBLE, true, &device));
  for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
    base_t base;
    assert_ok(base_outline(device, &grid, &configs[i], NULL, &base));
    assert_int_equal(base.params.elements,
                     config_decoder_weights(&configs[i]) + config_tower_weights(&configs[i]));
    base_free(&base);
  }
  device_free(device);
  grid_free(&grid);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(weights_are_counted),
      cmocka_unit_test(values_take_no_logits),
      cmocka_unit_test(features_take_no_tower),
      cmocka_unit_test(a_step_like_one_before_allocates_nothing),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

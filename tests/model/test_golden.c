/* The whole model against PyTorch, transformers and PEFT (golden/make_model_golden.py): tower features, final
 * hidden states, log-probabilities, entropies, values, losses and gradients. */
#include "base/memory.h"
#include "model/compare.h"
#include "model/golden_model.h"
#include "mpi_test.h"
#include "tensor/cpu/cpu.h"
#include "tensor/plain/plain.h"

/* Of the largest number of each array. Double: what the file's single precision leaves. Float: sums of a few
 * hundred products, forward; many of them, backward. */
typedef struct {
  bool cpu; /* else plain, in double, checking */
  double forward, gradient;
} golden_platform_t;
static const golden_platform_t plain_platform = {false, 1e-6, 1e-6}, cpu_platform = {true, 1e-5, 1e-4};

typedef struct {
  const golden_platform_t *platform;
  grid_t grid;
  device_t *device;
  golden_model_t model;
  packed_t packed;
  int32_t rows; /* T */
  int32_t *all_rows, *targets;
} golden_fixture_t;

static void fixture_open(golden_fixture_t *f, const golden_platform_t *platform, const char *file,
                         int64_t largest_logits) {
  char path[512];
  snprintf(path, sizeof path, "%s/model/golden/%s", TEST_SOURCE_DIR, file);
  assert_ok(grid_create(mpi_test_world(), 1, 1, &f->grid));
  f->platform = platform;
  if (platform->cpu)
    assert_ok(cpu_create(2, NULL, &f->device));
  else
    assert_ok(plain_create(PLAIN_DOUBLE, true, &f->device));
  golden_model_create(f->device, &f->grid, path, largest_logits, &f->model);
  int32_t sequences = (int32_t)arrays_size(&f->model.arrays, "lengths");
  golden_pack(&f->model, &f->model.arrays, "", 0, sequences, &f->packed);
  f->rows = f->packed.offsets[sequences];
  f->targets = arrays_integers(&f->model.arrays, "targets", f->rows);
  assert_ok(memory_alloc(&f->all_rows, ARENA_OTHER, (size_t)f->rows, sizeof *f->all_rows));
  for (int32_t r = 0; r < f->rows; r++)
    f->all_rows[r] = r;
}

static void fixture_close(golden_fixture_t *f) {
  memory_free(f->all_rows);
  memory_free(f->targets);
  packed_free(&f->packed);
  golden_model_free(&f->model);
  device_free(f->device);
  grid_free(&f->grid);
}

static void compare_forward_array(const golden_fixture_t *f, const char *name, const double *found,
                                  int64_t n) {
  compare_arrays(name, found, arrays_get(&f->model.arrays, name, n), n, 0.0, f->platform->forward);
}

static void check_features(golden_fixture_t *f) {
  const model_config_t *config = &f->model.base.config;
  int64_t n = (int64_t)f->model.images * config_patches(config) * config->vision_hidden;
  float *features;
  double *found;
  assert_ok(memory_alloc(&features, ARENA_OTHER, (size_t)n, sizeof *features));
  assert_ok(memory_alloc(&found, ARENA_OTHER, (size_t)n, sizeof *found));
  assert_ok(pass_features(f->model.pass, &f->model.base, f->model.images, f->model.patches, features));
  for (int64_t i = 0; i < n; i++)
    found[i] = (double)features[i];
  compare_forward_array(f, "features", found, n);
  memory_free(features);
  memory_free(found);
}

/* Final hidden states, read one channel at a time through a head that picks it. */
static void check_hidden(golden_fixture_t *f) {
  int32_t c = f->model.base.config.hidden;
  head_t probe;
  double *weight, *values, *hidden;
  const double zero = 0.0;
  assert_ok(head_create(&f->model.base, "probe", true, &probe));
  assert_ok(memory_alloc(&weight, ARENA_OTHER, (size_t)c, sizeof *weight));
  assert_ok(memory_alloc(&values, ARENA_OTHER, (size_t)f->rows, sizeof *values));
  assert_ok(memory_alloc(&hidden, ARENA_OTHER, (size_t)(f->rows * c), sizeof *hidden));
  assert_ok(param_write(&probe.params, probe.bias, DTYPE_F64, &zero));
  golden_forward(&f->model, &f->model.policy, &probe, &f->packed, false);
  for (int32_t i = 0; i < c; i++) {
    weight[i] = 1.0;
    assert_ok(param_write(&probe.params, probe.weight, DTYPE_F64, weight));
    weight[i] = 0.0;
    assert_ok(pass_scalars(f->model.pass, f->rows, f->all_rows, values));
    for (int32_t r = 0; r < f->rows; r++)
      hidden[r * c + i] = values[r];
  }
  compare_forward_array(f, "hidden", hidden, (int64_t)f->rows * c);
  memory_free(weight);
  memory_free(values);
  memory_free(hidden);
  head_free(&probe);
}

static void check_predictions(golden_fixture_t *f) {
  const arrays_t *arrays = &f->model.arrays;
  double scale = arrays_number(arrays, "scale"), *logprobs, *entropies, values[64];
  int32_t n = (int32_t)arrays_size(arrays, "scalar_rows");
  int32_t *scalar_rows = arrays_integers(arrays, "scalar_rows", n);
  assert_ok(memory_alloc(&logprobs, ARENA_OTHER, 2 * (size_t)f->rows, sizeof *logprobs));
  entropies = logprobs + f->rows;
  golden_forward(&f->model, &f->model.policy, &f->model.head, &f->packed, false);
  assert_ok(pass_logprobs(f->model.pass, f->rows, f->all_rows, f->targets, scale, logprobs, entropies));
  assert_true(n <= 64);
  assert_ok(pass_scalars(f->model.pass, n, scalar_rows, values));
  compare_forward_array(f, "logprobs", logprobs, f->rows);
  compare_forward_array(f, "entropies", entropies, f->rows);
  compare_forward_array(f, "values", values, n);
  golden_forward(&f->model, NULL, NULL, &f->packed, false);
  assert_ok(pass_logprobs(f->model.pass, f->rows, f->all_rows, f->targets, scale, logprobs, NULL));
  compare_forward_array(f, "base_logprobs", logprobs, f->rows);
  memory_free(logprobs);
  memory_free(scalar_rows);
}

static void check_forward(const golden_platform_t *platform, const char *file) {
  golden_fixture_t f;
  fixture_open(&f, platform, file, 0);
  check_features(&f);
  check_hidden(&f);
  check_predictions(&f);
  fixture_close(&f);
}

/* The loss of log-probabilities and values, forward and backward. */
static void run_backward(golden_fixture_t *f, double *loss) {
  const arrays_t *arrays = &f->model.arrays;
  int32_t n = (int32_t)arrays_size(arrays, "scalar_rows");
  int32_t *scalar_rows = arrays_integers(arrays, "scalar_rows", n);
  const double *dvalues = arrays_get(arrays, "scalar_weights", n);
  const double *weights = arrays_get(arrays, "weights", f->rows);
  double values[64], slopes[64], logprobs[64];
  assert_true(n <= 64 && f->rows <= 64);
  for (int32_t i = 0; i < f->rows; i++)
    slopes[i] = -weights[i];
  const pass_token_loss_t tokens = {.slopes = slopes};
  const pass_scalar_loss_t scalars = {.weights = dvalues};
  golden_forward(&f->model, &f->model.policy, &f->model.head, &f->packed, true);
  assert_ok(pass_logprobs_backward(f->model.pass, f->rows, f->all_rows, f->targets,
                                   arrays_number(arrays, "scale"), &tokens,
                                   &(pass_token_numbers_t){.logprobs = logprobs}));
  assert_ok(pass_scalars_backward(f->model.pass, n, scalar_rows, &scalars, values));
  assert_ok(pass_backward(f->model.pass, NULL, NULL));
  assert_ok(pass_synchronize(f->model.pass));
  *loss = 0.0;
  for (int32_t i = 0; i < f->rows; i++)
    *loss += slopes[i] * logprobs[i];
  for (int32_t i = 0; i < n; i++)
    *loss += dvalues[i] * values[i];
  memory_free(scalar_rows);
}

static void check_gradients(const golden_platform_t *platform, const char *file, train_mode_t mode,
                            int64_t largest_logits) {
  golden_fixture_t f;
  double loss;
  fixture_open(&f, platform, file, largest_logits);
  const arrays_t *arrays = &f.model.arrays;
  assert_ok(base_set_trainable(&f.model.base, mode));
  if (mode == TRAIN_LORA) assert_ok(params_train_all(&f.model.policy.params));
  assert_ok(params_train_all(&f.model.head.params));
  run_backward(&f, &loss);
  compare_forward_array(&f, "loss", &loss, 1);
  golden_compare_gradients(&f.model.base.params, arrays, "gradient/", platform->gradient);
  golden_compare_gradients(&f.model.policy.params, arrays, "gradient/policy/", platform->gradient);
  golden_compare_gradients(&f.model.head.params, arrays, "gradient/head/", platform->gradient);
  fixture_close(&f);
}

/* Supervised training: the mean over what is learnt. */
static void check_supervised(const golden_platform_t *platform, const char *file) {
  golden_fixture_t f;
  golden_learnt_t learnt;
  double slopes[64], logprobs[64], loss = 0.0;
  fixture_open(&f, platform, file, 0);
  golden_learnt(&f.model.arrays, 0, &f.packed, &learnt);
  assert_ok(base_set_trainable(&f.model.base, TRAIN_DECODER));
  golden_forward(&f.model, &f.model.policy, NULL, &f.packed, true);
  for (int32_t i = 0; i < learnt.n; i++)
    slopes[i] = -1.0 / learnt.n;
  assert_ok(pass_logprobs_backward(f.model.pass, learnt.n, learnt.rows, learnt.targets, 1.0,
                                   &(pass_token_loss_t){.slopes = slopes},
                                   &(pass_token_numbers_t){.logprobs = logprobs}));
  assert_ok(pass_backward(f.model.pass, NULL, NULL));
  assert_ok(pass_synchronize(f.model.pass));
  for (int32_t i = 0; i < learnt.n; i++)
    loss += slopes[i] * logprobs[i];
  compare_forward_array(&f, "sft_loss", &loss, 1);
  golden_compare_gradients(&f.model.base.params, &f.model.arrays, "sft_gradient/", platform->gradient);
  fixture_close(&f);
}

static void test_forward_plain(void **state) {
  (void)state;
  check_forward(&plain_platform, "grouped.golden");
  check_forward(&plain_platform, "tied.golden");
}

static void test_forward_cpu(void **state) {
  (void)state;
  check_forward(&cpu_platform, "grouped.golden");
  check_forward(&cpu_platform, "tied.golden");
}

static void test_all_gradients_plain(void **state) {
  (void)state;
  check_gradients(&plain_platform, "grouped.golden", TRAIN_ALL, 0);
  check_gradients(&plain_platform, "tied.golden", TRAIN_ALL, 37 * 5);
}

static void test_all_gradients_cpu(void **state) {
  (void)state;
  check_gradients(&cpu_platform, "grouped.golden", TRAIN_ALL, 37 * 5);
  check_gradients(&cpu_platform, "tied.golden", TRAIN_ALL, 0);
}

/* Features from before the tower's first layer, and after a layer counted from the front. */
static void test_feature_layers(void **state) {
  static const char *const files[] = {"embeddings.golden", "front.golden"};
  (void)state;
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    check_forward(&plain_platform, files[i]);
    check_forward(&cpu_platform, files[i]);
    check_gradients(&plain_platform, files[i], TRAIN_ALL, 0);
    check_gradients(&cpu_platform, files[i], TRAIN_ALL, 0);
  }
}

static void test_lora_gradients_plain(void **state) {
  (void)state;
  check_gradients(&plain_platform, "grouped.golden", TRAIN_LORA, 0);
  check_gradients(&plain_platform, "tied.golden", TRAIN_LORA, 0);
}

static void test_lora_gradients_cpu(void **state) {
  (void)state;
  check_gradients(&cpu_platform, "grouped.golden", TRAIN_LORA, 0);
  check_gradients(&cpu_platform, "tied.golden", TRAIN_LORA, 0);
}

static void test_supervised_plain(void **state) {
  (void)state;
  check_supervised(&plain_platform, "grouped.golden");
  check_supervised(&plain_platform, "tied.golden");
}

static void test_supervised_cpu(void **state) {
  (void)state;
  check_supervised(&cpu_platform, "grouped.golden");
  check_supervised(&cpu_platform, "tied.golden");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_forward_plain),        cmocka_unit_test(test_forward_cpu),
      cmocka_unit_test(test_all_gradients_plain),  cmocka_unit_test(test_all_gradients_cpu),
      cmocka_unit_test(test_lora_gradients_plain), cmocka_unit_test(test_lora_gradients_cpu),
      cmocka_unit_test(test_supervised_plain),     cmocka_unit_test(test_supervised_cpu),
      cmocka_unit_test(test_feature_layers),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

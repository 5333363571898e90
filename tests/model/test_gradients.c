/* The whole model in double (plain device, checking mode) against central finite differences: tower,
 * projector, decoder, adapters, heads. */
#include "base/memory.h"
#include "base/random.h"
#include "model/tiny.h"
#include "mpi_test.h"
#include "tensor/plain/plain.h"

#include <math.h>

enum { PROBES = 3 };
/* Of the largest gradient of the weight's tensor (or of SMALL, where the true gradient vanishes: a bias on
 * keys shifts all scores alike); step 1e-5 in double. */
static const double tolerance = 1e-6, small = 1e-2;

static double *read_gradient(const params_t *params, int32_t id) {
  double *gradient;
  assert_ok(memory_alloc(&gradient, ARENA_OTHER, (size_t)params->items[id].elements, sizeof *gradient));
  assert_ok(wide_download(params->device, gradient, DTYPE_F64, param_grad(params, id),
                          (size_t)params->items[id].elements));
  assert_ok(device_synchronize(params->device));
  return gradient;
}

static double loss_with(tiny_t *tiny, params_t *params, int32_t id, double *weights, int64_t element,
                        double change) {
  double kept = weights[element], loss;
  weights[element] = kept + change;
  assert_ok(param_write(params, id, DTYPE_F64, weights));
  assert_ok(tiny_loss(tiny, &loss, NULL, NULL));
  weights[element] = kept;
  assert_ok(param_write(params, id, DTYPE_F64, weights));
  return loss;
}

/* Probes a few elements of one weight, the one with the largest gradient among them. */
static void check_param(tiny_t *tiny, params_t *params, int32_t id) {
  const param_t *param = &params->items[id];
  double *gradient = read_gradient(params, id), *weights, largest = 0.0;
  assert_ok(memory_alloc(&weights, ARENA_OTHER, (size_t)param->elements, sizeof *weights));
  assert_ok(param_read(params, id, DTYPE_F64, weights));
  int64_t probes[PROBES] = {0};
  random_stream_t stream = random_stream(5, RANDOM_TEST, (uint64_t)id);
  for (int64_t i = 0; i < param->elements; i++)
    if (fabs(gradient[i]) > largest) {
      largest = fabs(gradient[i]);
      probes[0] = i;
    }
  for (int p = 1; p < PROBES; p++)
    probes[p] = random_below(&stream, (uint32_t)param->elements);
  if (largest == 0.0) fail_msg("%s has no gradient", param->name);
  for (int p = 0; p < PROBES; p++) {
    const double step = 1e-5;
    double difference = (loss_with(tiny, params, id, weights, probes[p], step) -
                         loss_with(tiny, params, id, weights, probes[p], -step)) /
                        (2.0 * step);
    double error = fabs(difference - gradient[probes[p]]) / fmax(largest, small);
    if (!(error < tolerance))
      fail_msg("%s[%lld]: gradient %.12g, finite difference %.12g, error %.3g", param->name,
               (long long)probes[p], gradient[probes[p]], difference, error);
  }
  memory_free(weights);
  memory_free(gradient);
}

static void check_model(const tiny_options_t *options) {
  grid_t grid;
  device_t *device;
  tiny_t tiny;
  double loss, forward_loss;
  assert_ok(grid_create(mpi_test_world(), 1, 1, &grid));
  assert_ok(plain_create(PLAIN_DOUBLE, true, &device));
  assert_ok(tiny_create(device, &grid, options, &tiny));
  assert_ok(tiny_gradients(&tiny, &loss));
  assert_ok(tiny_loss(&tiny, &forward_loss, NULL, NULL));
  assert_true(fabs(loss - forward_loss) < 1e-10 * fabs(loss));
  params_t *sets[3];
  int32_t count = tiny_sets(&tiny, sets);
  for (int32_t s = 0; s < count; s++)
    for (int32_t i = 0; i < sets[s]->count; i++)
      if (sets[s]->items[i].trainable) check_param(&tiny, sets[s], i);
  tiny_free(&tiny);
  device_free(device);
  grid_free(&grid);
}

static void test_all_weights(void **state) {
  (void)state;
  check_model(&(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_MLP2X_GELU), .mode = TRAIN_ALL});
}

static void test_all_weights_tied_recomputed(void **state) {
  (void)state;
  check_model(&(tiny_options_t){.config = tiny_config(4, true, PROJECTOR_LINEAR),
                                .mode = TRAIN_ALL,
                                .recompute = RECOMPUTE_FULL,
                                .largest_logits = 37 * 5});
}

static void test_biases_and_siglip(void **state) {
  (void)state;
  check_model(&(tiny_options_t){.config = tiny_config_biased(2, PROJECTOR_MLP2X_GELU), .mode = TRAIN_ALL});
}

static void test_biases_recomputed(void **state) {
  (void)state;
  check_model(&(tiny_options_t){.config = tiny_config_biased(1, PROJECTOR_LINEAR),
                                .mode = TRAIN_DECODER,
                                .storage = tiny_halves(TRAIN_DECODER),
                                .recompute = RECOMPUTE_FULL});
}

static void test_lora_beside_biases_on_nf4(void **state) {
  (void)state;
  check_model(&(tiny_options_t){.config = tiny_config_biased(2, PROJECTOR_LINEAR),
                                .mode = TRAIN_LORA,
                                .storage = tiny_quantised(),
                                .recompute = RECOMPUTE_FULL});
}

static void test_lora(void **state) {
  (void)state;
  check_model(&(tiny_options_t){.config = tiny_config(1, false, PROJECTOR_LINEAR), .mode = TRAIN_LORA});
}

static void test_lora_recomputed(void **state) {
  (void)state;
  check_model(&(tiny_options_t){
      .config = tiny_config(2, true, PROJECTOR_LINEAR), .mode = TRAIN_LORA, .recompute = RECOMPUTE_FULL});
}

static void test_lora_on_halves(void **state) {
  (void)state;
  check_model(&(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_LINEAR),
                                .mode = TRAIN_LORA,
                                .storage = tiny_halves(TRAIN_LORA),
                                .recompute = RECOMPUTE_SELECTIVE});
}

static void test_lora_on_nf4(void **state) {
  (void)state;
  check_model(&(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_LINEAR),
                                .mode = TRAIN_LORA,
                                .storage = tiny_quantised(),
                                .recompute = RECOMPUTE_FULL});
}

/* The projector is trained, and all around it frozen in bf16. */
static void test_projector_on_halves(void **state) {
  (void)state;
  check_model(&(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_MLP2X_GELU),
                                .mode = TRAIN_PROJECTOR,
                                .storage = tiny_halves(TRAIN_PROJECTOR),
                                .recompute = RECOMPUTE_FULL});
}

static void test_projector_only(void **state) {
  (void)state;
  check_model(
      &(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_MLP2X_GELU), .mode = TRAIN_PROJECTOR});
}

static void test_decoder(void **state) {
  (void)state;
  check_model(&(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_LINEAR),
                                .mode = TRAIN_DECODER,
                                .recompute = RECOMPUTE_SELECTIVE,
                                .largest_logits = 37});
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_weights),
      cmocka_unit_test(test_all_weights_tied_recomputed),
      cmocka_unit_test(test_biases_and_siglip),
      cmocka_unit_test(test_biases_recomputed),
      cmocka_unit_test(test_lora_beside_biases_on_nf4),
      cmocka_unit_test(test_lora),
      cmocka_unit_test(test_lora_recomputed),
      cmocka_unit_test(test_lora_on_halves),
      cmocka_unit_test(test_lora_on_nf4),
      cmocka_unit_test(test_projector_on_halves),
      cmocka_unit_test(test_projector_only),
      cmocka_unit_test(test_decoder),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

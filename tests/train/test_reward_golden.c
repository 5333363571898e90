/* Reward-model training on one group of pairs against PyTorch (golden/make_update_golden.py): rewards, loss
 * and the gradients of adapter and head. */
#include "base/memory.h"
#include "model/compare.h"
#include "model/golden_model.h"
#include "mpi_test.h"
#include "tensor/cpu/cpu.h"
#include "tensor/plain/plain.h"
#include "train/reward_loss.h"

enum { PAIRS = 4, SEQUENCES = 2 * PAIRS };

/* The rewards of PACKED, the loss and its derivatives. */
static double run_group(golden_model_t *model, const arrays_t *arrays, const packed_t *packed,
                        double *rewards) {
  int32_t rows[SEQUENCES], *preferred = arrays_integers(arrays, "rm/preferred", PAIRS);
  for (int32_t s = 0; s < SEQUENCES; s++)
    rows[s] = packed->offsets[s + 1] - 1;
  golden_forward(model, &model->value, &model->head, packed, true);
  const pass_scalar_loss_t pairs = {.preferred = preferred,
                                    .group = PAIRS,
                                    .center_coef = arrays_number(arrays, "rm/center_coef"),
                                    .weight = 1.0};
  assert_ok(pass_scalars_backward(model->pass, SEQUENCES, rows, &pairs, rewards));
  assert_ok(pass_backward(model->pass, NULL, NULL));
  assert_ok(pass_synchronize(model->pass));
  double loss = reward_pair_loss(PAIRS, rewards, preferred, pairs.center_coef, 1.0);
  memory_free(preferred);
  return loss;
}

/* Frees DEVICE. Tolerances of forward and gradients. */
static void check(device_t *device, double forward, double gradient) {
  grid_t grid;
  golden_model_t model;
  arrays_t arrays;
  packed_t packed;
  double rewards[SEQUENCES];
  assert_ok(grid_create(mpi_test_world(), 1, 1, &grid));
  golden_model_create(device, &grid, TEST_SOURCE_DIR "/model/golden/grouped.golden", 0, &model);
  arrays_read(TEST_SOURCE_DIR "/train/golden/update.golden", &arrays);
  golden_pack(&model, &arrays, "rm/", 0, SEQUENCES, &packed);
  assert_ok(params_train_all(&model.value.params));
  assert_ok(params_train_all(&model.head.params));
  double loss = run_group(&model, &arrays, &packed, rewards);
  compare_arrays("rewards", rewards, arrays_get(&arrays, "rm/rewards", SEQUENCES), SEQUENCES, 0.0, forward);
  compare_arrays("loss", &loss, arrays_get(&arrays, "rm/loss", 1), 1, 0.0, forward);
  golden_compare_gradients(&model.value.params, &arrays, "rm/gradient/value/", gradient);
  golden_compare_gradients(&model.head.params, &arrays, "rm/gradient/head/", gradient);
  packed_free(&packed);
  arrays_free(&arrays);
  golden_model_free(&model);
  device_free(device);
  grid_free(&grid);
}

static void test_plain(void **state) {
  (void)state;
  device_t *device;
  assert_ok(plain_create(PLAIN_DOUBLE, true, &device));
  check(device, 1e-6, 1e-6);
}

static void test_cpu(void **state) {
  (void)state;
  device_t *device;
  assert_ok(cpu_create(2, NULL, &device));
  check(device, 1e-5, 1e-4);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_plain),
      cmocka_unit_test(test_cpu),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

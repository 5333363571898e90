#include "model/device_compare.h"

#include "base/memory.h"
#include "model/compare.h"
#include "model/tiny.h"
#include "mpi_test.h"
#include "tensor/plain/plain.h"

#include <string.h>

static void compare_forward(tiny_t *tiny, tiny_t *oracle, device_tolerances_t tolerances) {
  double loss, oracle_loss, logprobs[64], oracle_logprobs[64], values[8], oracle_values[8];
  assert_ok(tiny_loss(tiny, &loss, logprobs, values));
  assert_ok(tiny_loss(oracle, &oracle_loss, oracle_logprobs, oracle_values));
  compare_arrays("logprobs", logprobs, oracle_logprobs, oracle->n, 0.0, tolerances.forward);
  compare_arrays("values", values, oracle_values, oracle->scalars, 0.0, tolerances.forward);
  compare_arrays("loss", &loss, &oracle_loss, 1, 0.0, tolerances.loss);
}

static void compare_gradients(tiny_t *tiny, tiny_t *oracle, device_tolerances_t tolerances) {
  double loss, oracle_loss;
  assert_ok(tiny_gradients(tiny, &loss));
  assert_ok(tiny_gradients(oracle, &oracle_loss));
  params_t *sets[3], *oracle_sets[3];
  int32_t count = tiny_sets(tiny, sets);
  assert_int_equal(tiny_sets(oracle, oracle_sets), count);
  for (int32_t s = 0; s < count; s++)
    for (int32_t i = 0; i < sets[s]->count; i++) {
      if (!sets[s]->items[i].trainable) continue;
      double *found = gradient_read(sets[s], i), *expected = gradient_read(oracle_sets[s], i);
      /* A vocabulary may be padded on the tested device: behind its rows. */
      compare_arrays(sets[s]->items[i].name, found, expected, oracle_sets[s]->items[i].elements,
                     tolerances.small, tolerances.gradient);
      memory_free(found);
      memory_free(expected);
    }
}

static void check_options(comm_t *world, device_t *device, device_tolerances_t tolerances,
                          const tiny_options_t *options) {
  grid_t grid;
  device_t *plain;
  tiny_t tiny, oracle;
  assert_ok(grid_create(world, 1, 1, &grid));
  assert_ok(device_comm_create(device, grid.tp));
  assert_ok(plain_create(PLAIN_DOUBLE, false, &plain));
  assert_ok(tiny_create(device, &grid, options, &tiny));
  assert_ok(tiny_create(plain, &grid, options, &oracle));
  compare_forward(&tiny, &oracle, tolerances);
  compare_gradients(&tiny, &oracle, tolerances);
  tiny_free(&tiny);
  tiny_free(&oracle);
  device_free(plain);
  device_comm_free(device, grid.tp);
  grid_free(&grid);
}

/* What a recomputed pass leaves: the loss and all gradients, one behind the other. */
static double *run_recomputed(comm_t *world, device_t *device, const tiny_options_t *options, int64_t *n) {
  grid_t grid;
  tiny_t tiny;
  params_t *sets[3];
  double loss, *results;
  assert_ok(grid_create(world, 1, 1, &grid));
  assert_ok(device_comm_create(device, grid.tp));
  assert_ok(tiny_create(device, &grid, options, &tiny));
  assert_ok(tiny_gradients(&tiny, &loss));
  int32_t count = tiny_sets(&tiny, sets);
  *n = 1;
  for (int32_t s = 0; s < count; s++)
    for (int32_t i = 0; i < sets[s]->count; i++)
      *n += sets[s]->items[i].trainable ? sets[s]->items[i].elements : 0;
  assert_ok(memory_alloc(&results, ARENA_OTHER, (size_t)*n, sizeof *results));
  results[0] = loss;
  *n = 1;
  for (int32_t s = 0; s < count; s++)
    for (int32_t i = 0; i < sets[s]->count; i++) {
      if (!sets[s]->items[i].trainable) continue;
      double *gradient = gradient_read(sets[s], i);
      memcpy(results + *n, gradient, (size_t)sets[s]->items[i].elements * sizeof *results);
      *n += sets[s]->items[i].elements;
      memory_free(gradient);
    }
  tiny_free(&tiny);
  device_comm_free(device, grid.tp);
  grid_free(&grid);
  return results;
}

/* What is recomputed has the bits of what would have been kept. */
static void check_recomputed(comm_t *world, device_t *device, tiny_options_t options) {
  int64_t n, kept_n;
  options.recompute = RECOMPUTE_NONE;
  double *kept = run_recomputed(world, device, &options, &kept_n);
  for (int recompute = RECOMPUTE_SELECTIVE; recompute <= RECOMPUTE_FULL; recompute++) {
    options.recompute = (recompute_t)recompute;
    double *found = run_recomputed(world, device, &options, &n);
    assert_int_equal(n, kept_n);
    assert_memory_equal(found, kept, (size_t)n * sizeof *found);
    memory_free(found);
  }
  memory_free(kept);
}

void device_compare_recomputed(comm_t *world, device_t *device) {
  check_recomputed(
      world, device,
      (tiny_options_t){.config = tiny_config(2, false, PROJECTOR_MLP2X_GELU), .mode = TRAIN_ALL});
  check_recomputed(world, device,
                   (tiny_options_t){.config = tiny_config(1, true, PROJECTOR_LINEAR), .mode = TRAIN_LORA});
  check_recomputed(world, device,
                   (tiny_options_t){.config = tiny_config(4, false, PROJECTOR_LINEAR),
                                    .mode = TRAIN_LORA,
                                    .storage = tiny_halves(TRAIN_LORA)});
  check_recomputed(world, device,
                   (tiny_options_t){.config = tiny_config_biased(2, PROJECTOR_LINEAR), .mode = TRAIN_ALL});
  device_free(device);
}

void device_compare(comm_t *world, device_t *device, device_tolerances_t tolerances) {
  check_options(world, device, tolerances,
                &(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_MLP2X_GELU), .mode = TRAIN_ALL});
  check_options(world, device, tolerances,
                &(tiny_options_t){.config = tiny_config(4, true, PROJECTOR_LINEAR),
                                  .mode = TRAIN_ALL,
                                  .recompute = RECOMPUTE_FULL,
                                  .largest_logits = 37 * 5});
  check_options(world, device, tolerances,
                &(tiny_options_t){.config = tiny_config(1, false, PROJECTOR_LINEAR), .mode = TRAIN_LORA});
  check_options(world, device, tolerances,
                &(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_MLP2X_GELU),
                                  .mode = TRAIN_LORA,
                                  .storage = tiny_halves(TRAIN_LORA),
                                  .recompute = RECOMPUTE_SELECTIVE});
  check_options(world, device, tolerances,
                &(tiny_options_t){.config = tiny_config(4, true, PROJECTOR_LINEAR),
                                  .mode = TRAIN_LORA,
                                  .storage = tiny_halves(TRAIN_LORA),
                                  .recompute = RECOMPUTE_FULL});
  check_options(world, device, tolerances,
                &(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_LINEAR),
                                  .mode = TRAIN_LORA,
                                  .storage = tiny_quantised()});
  check_options(world, device, tolerances,
                &(tiny_options_t){.config = tiny_config_biased(2, PROJECTOR_MLP2X_GELU), .mode = TRAIN_ALL});
  check_options(world, device, tolerances,
                &(tiny_options_t){.config = tiny_config_biased(1, PROJECTOR_LINEAR),
                                  .mode = TRAIN_LORA,
                                  .storage = tiny_quantised(),
                                  .recompute = RECOMPUTE_FULL});
  device_free(device);
}

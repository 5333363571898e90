/* The model split over tp = number of ranks against the whole model on one rank: losses, values and the
 * completed gradient of every weight. */
#include "base/memory.h"
#include "model/tiny.h"
#include "mpi_test.h"
#include "tensor/plain/plain.h"

#include <math.h>

/* In double only the order of sums differs. */
static const double tolerance = 1e-10;

static double *download(const params_t *params, int32_t id) {
  double *values;
  assert_ok(memory_alloc(&values, ARENA_OTHER, (size_t)params->items[id].elements, sizeof *values));
  assert_ok(wide_download(params->device, values, DTYPE_F64, param_grad(params, id),
                          (size_t)params->items[id].elements));
  assert_ok(device_synchronize(params->device));
  return values;
}

/* Sums a shard's gradient over its holders where its partition says so. */
static void complete(const grid_t *grid, const partition_t *part, double *gradient) {
  if (part->complete != COMPLETE_SUM) return;
  comm_t *holders;
  int colour = part->split == SPLIT_KV_ROWS ? grid->tp_rank / part->replicas : 0;
  assert_ok(comm_split(grid->tp, colour, grid->tp_rank, "holders", &holders));
  assert_ok(comm_allreduce(holders, gradient, (size_t)partition_elements(part), COMM_F64, COMM_SUM));
  comm_free(holders);
}

static void compare_param(const grid_t *grid, const params_t *split, const params_t *whole, int32_t id) {
  const partition_t *part = &split->items[id].partition;
  double *mine = download(split, id), *all = download(whole, id), largest = 0.0;
  complete(grid, part, mine);
  for (int64_t i = 0; i < whole->items[id].elements; i++)
    largest = fmax(largest, fabs(all[i]));
  for (int64_t r = 0; r < part->row_count; r++)
    for (int64_t c = 0; c < part->col_count; c++) {
      double got = mine[r * part->local_cols + c];
      double expected = all[(part->row_begin + r) * part->cols + part->col_begin + c];
      if (!(fabs(got - expected) <= tolerance * fmax(largest, 1e-3)))
        fail_msg("%s[%lld, %lld]: %.15g, expected %.15g", split->items[id].name, (long long)r, (long long)c,
                 got, expected);
    }
  memory_free(mine);
  memory_free(all);
}

/* Heads are few. */
static void skip_unless_split(const model_config_t *config) {
  if (config_check_tp(config, comm_size(mpi_test_world())) == STATUS_OK) return;
  error_clear();
  skip();
}

/* VOCABULARY_UNIT: the split model's shards are padded to a multiple of it. */
static void check_padded_layout(const tiny_options_t *options, int64_t vocabulary_unit) {
  comm_t *world = mpi_test_world(), *self;
  grid_t grid, alone;
  device_t *device;
  tiny_t split, whole;
  double split_loss, whole_loss;
  skip_unless_split(&options->config);
  assert_ok(comm_split(world, comm_rank(world), 0, "self", &self));
  assert_ok(grid_create(world, comm_size(world), 1, &grid));
  assert_ok(grid_create(self, 1, 1, &alone));
  assert_ok(plain_create(PLAIN_DOUBLE, true, &device));
  device->vocabulary_unit = vocabulary_unit;
  assert_ok(tiny_create(device, &grid, options, &split));
  device->vocabulary_unit = 0;
  assert_ok(tiny_create(device, &alone, options, &whole));
  assert_ok(tiny_gradients(&split, &split_loss));
  assert_ok(tiny_gradients(&whole, &whole_loss));
  assert_true(fabs(split_loss - whole_loss) <= tolerance * fabs(whole_loss));
  params_t *split_sets[3], *whole_sets[3];
  int32_t count = tiny_sets(&split, split_sets);
  assert_int_equal(count, tiny_sets(&whole, whole_sets));
  for (int32_t s = 0; s < count; s++)
    for (int32_t i = 0; i < split_sets[s]->count; i++)
      if (split_sets[s]->items[i].trainable) compare_param(&grid, split_sets[s], whole_sets[s], i);
  tiny_free(&split);
  tiny_free(&whole);
  device_free(device);
  grid_free(&alone);
  grid_free(&grid);
  comm_free(self);
}

static void check_layout(const tiny_options_t *options) {
  check_padded_layout(options, 0);
}

static void test_all_weights(void **state) {
  (void)state;
  check_layout(&(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_MLP2X_GELU), .mode = TRAIN_ALL});
}

static void test_replicated_key_value_heads(void **state) {
  (void)state;
  check_layout(&(tiny_options_t){.config = tiny_config(1, true, PROJECTOR_LINEAR),
                                 .mode = TRAIN_ALL,
                                 .recompute = RECOMPUTE_FULL,
                                 .largest_logits = 60});
}

/* As devices like it that compute by tiles: most of the 37 words' shards are padding. */
static void test_padded_vocabulary(void **state) {
  (void)state;
  check_padded_layout(&(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_LINEAR),
                                        .mode = TRAIN_ALL,
                                        .largest_logits = 200},
                      64);
}

static void test_lora(void **state) {
  (void)state;
  check_layout(&(tiny_options_t){.config = tiny_config(1, false, PROJECTOR_LINEAR), .mode = TRAIN_LORA});
}

static void test_lora_recomputed(void **state) {
  (void)state;
  check_layout(&(tiny_options_t){
      .config = tiny_config(4, false, PROJECTOR_LINEAR), .mode = TRAIN_LORA, .recompute = RECOMPUTE_FULL});
}

static void test_lora_on_halves(void **state) {
  (void)state;
  check_layout(&(tiny_options_t){.config = tiny_config(2, false, PROJECTOR_MLP2X_GELU),
                                 .mode = TRAIN_LORA,
                                 .storage = tiny_halves(TRAIN_LORA),
                                 .recompute = RECOMPUTE_SELECTIVE});
}

/* Blocks are those of the whole weights, wherever ranks divide them. */
static void test_lora_on_nf4(void **state) {
  (void)state;
  check_layout(&(tiny_options_t){
      .config = tiny_config(2, false, PROJECTOR_LINEAR), .mode = TRAIN_LORA, .storage = tiny_quantised()});
}

static void test_all_weights_recomputed_in_part(void **state) {
  (void)state;
  check_layout(&(tiny_options_t){
      .config = tiny_config(4, true, PROJECTOR_LINEAR), .mode = TRAIN_ALL, .recompute = RECOMPUTE_SELECTIVE});
}

static void test_biases_and_siglip(void **state) {
  (void)state;
  check_layout(&(tiny_options_t){.config = tiny_config_biased(2, PROJECTOR_MLP2X_GELU), .mode = TRAIN_ALL});
}

static void test_lora_beside_biases(void **state) {
  (void)state;
  check_layout(&(tiny_options_t){.config = tiny_config_biased(1, PROJECTOR_LINEAR),
                                 .mode = TRAIN_LORA,
                                 .storage = tiny_quantised(),
                                 .recompute = RECOMPUTE_FULL});
}

/* Heads and MLP that three ranks divide. */
static void check_thirds(int32_t kv_heads, train_mode_t mode) {
  model_config_t config = tiny_config_biased(kv_heads, PROJECTOR_MLP2X_GELU);
  config.heads = 6;
  config.mlp = 21;
  check_layout(&(tiny_options_t){.config = config, .mode = mode});
}

static void test_biases_in_thirds(void **state) {
  (void)state;
  check_thirds(3, TRAIN_ALL);
  check_thirds(1, TRAIN_ALL);
  check_thirds(3, TRAIN_LORA);
}

/* A model that finds all tokens equally likely is right as often as one that guesses. */
static void test_equals_share_a_hit(void **state) {
  const tiny_options_t options = {.config = tiny_config(2, false, PROJECTOR_LINEAR), .mode = TRAIN_ALL};
  grid_t grid;
  device_t *device;
  tiny_t tiny;
  double hits = 0.0, *zeros, slopes[64] = {0}, ties[64];
  (void)state;
  skip_unless_split(&options.config);
  assert_ok(grid_create(mpi_test_world(), comm_size(mpi_test_world()), 1, &grid));
  assert_ok(plain_create(PLAIN_DOUBLE, true, &device));
  assert_ok(tiny_create(device, &grid, &options, &tiny));
  const params_t *params = &tiny.base.params;
  int32_t head = tiny.base.lm_head;
  assert_ok(memory_alloc(&zeros, ARENA_OTHER, (size_t)params->items[head].elements, sizeof *zeros));
  assert_ok(param_write(&tiny.base.params, head, DTYPE_F64, zeros));
  const pass_images_t images = {.count = 2, .patches = tiny.patches};
  assert_ok(pass_forward(tiny.pass, &tiny.role, &tiny.packed, &images, true, NULL, NULL));
  assert_ok(pass_logprobs_backward(tiny.pass, tiny.n, tiny.rows, tiny.targets, 1.0,
                                   &(pass_token_loss_t){.slopes = slopes},
                                   &(pass_token_numbers_t){.ties = ties}));
  assert_ok(pass_synchronize(tiny.pass));
  for (int32_t i = 0; i < tiny.n; i++)
    hits += pass_hit(ties[i]);
  assert_true(fabs(hits - (double)tiny.n / options.config.vocab) < tolerance);
  memory_free(zeros);
  tiny_free(&tiny);
  device_free(device);
  grid_free(&grid);
}

/* ---- Random numbers for measuring ---- */

static double *values_of(const params_t *params, int32_t id) {
  double *values;
  assert_ok(memory_alloc(&values, ARENA_OTHER, (size_t)params->items[id].elements, sizeof *values));
  assert_ok(param_read(params, id, DTYPE_F64, values));
  return values;
}

/* The shard has the whole weight's numbers, and zeros in its padding. */
static void compare_values(const params_t *split, const params_t *whole, int32_t id) {
  const partition_t *part = &split->items[id].partition;
  double *mine = values_of(split, id), *all = values_of(whole, id);
  for (int64_t r = 0; r < part->local_rows; r++)
    for (int64_t c = 0; c < part->col_count; c++) {
      bool padding = r >= part->row_count;
      double expected = padding ? 0.0 : all[(part->row_begin + r) * part->cols + part->col_begin + c];
      if (mine[r * part->local_cols + c] != expected)
        fail_msg("%s[%lld, %lld]: %.15g, expected %.15g", split->items[id].name, (long long)r, (long long)c,
                 mine[r * part->local_cols + c], expected);
    }
  memory_free(mine);
  memory_free(all);
}

/* Rows differ from each other, and their numbers have the deviation that training begins with; what begins as
 * ones or zeros does. */
static void check_values(const params_t *params, int32_t id) {
  const param_t *param = &params->items[id];
  double *values = values_of(params, id), sum = 0.0;
  int64_t rows = param->partition.rows, cols = param->partition.cols, equal = 0;
  for (int64_t i = 0; i < rows * cols; i++) {
    sum += values[i] * values[i];
    if (i >= cols && values[i] == values[i - cols]) equal++;
    if (param->init == INIT_ONE) assert_true(values[i] == 1.0);
    if (param->init == INIT_ZERO) assert_true(values[i] == 0.0);
  }
  if (param->init == INIT_NORMAL) {
    double share = sqrt(sum / (double)(rows * cols)) / param->init_scale;
    if (rows * cols >= 400 && !(share > 0.85 && share < 1.15))
      fail_msg("%s: %.3f of its deviation", param->name, share);
    assert_true(equal == 0);
  }
  memory_free(values);
}

static void test_random_numbers(void **state) {
  const model_config_t config = tiny_config(2, false, PROJECTOR_LINEAR);
  comm_t *world = mpi_test_world(), *self;
  grid_t grid, alone;
  device_t *device;
  base_t split, whole;
  (void)state;
  skip_unless_split(&config);
  assert_ok(comm_split(world, comm_rank(world), 0, "self", &self));
  assert_ok(grid_create(world, comm_size(world), 1, &grid));
  assert_ok(grid_create(self, 1, 1, &alone));
  assert_ok(plain_create(PLAIN_DOUBLE, true, &device));
  device->vocabulary_unit = 16;
  assert_ok(base_create(device, &grid, &config, NULL, &split));
  device->vocabulary_unit = 0;
  assert_ok(base_create(device, &alone, &config, NULL, &whole));
  assert_ok(params_randomise(&split.params, 7));
  assert_ok(params_randomise(&whole.params, 7));
  for (int32_t i = 0; i < whole.params.count; i++) {
    compare_values(&split.params, &whole.params, i);
    check_values(&whole.params, i);
  }
  base_free(&split);
  base_free(&whole);
  device_free(device);
  grid_free(&alone);
  grid_free(&grid);
  comm_free(self);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_weights),
      cmocka_unit_test(test_replicated_key_value_heads),
      cmocka_unit_test(test_lora),
      cmocka_unit_test(test_lora_recomputed),
      cmocka_unit_test(test_lora_on_halves),
      cmocka_unit_test(test_lora_on_nf4),
      cmocka_unit_test(test_all_weights_recomputed_in_part),
      cmocka_unit_test(test_equals_share_a_hit),
      cmocka_unit_test(test_padded_vocabulary),
      cmocka_unit_test(test_random_numbers),
      cmocka_unit_test(test_biases_and_siglip),
      cmocka_unit_test(test_lora_beside_biases),
      cmocka_unit_test(test_biases_in_thirds),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

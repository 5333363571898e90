/* Training against PyTorch, transformers and PEFT (golden/make_training_golden.py): six steps of AdamW of the
 * whole model, of the decoder, the projector, an adapter, a reward model, on the same batches: losses,
 * gradient norms, and the weights afterwards. The batch is dealt over the ranks; three accumulate less than
 * one. */
#include "base/memory.h"
#include "model/compare.h"
#include "model/golden_model.h"
#include "mpi_test.h"
#include "tensor/cpu/cpu.h"
#include "tensor/plain/plain.h"
#include "train/optimizer.h"
#include "train/reward_loss.h"
#include "train/schedule.h"

#include <math.h>

/* A step is MICROS micro-batches: of SEQUENCES, or of one group of PAIRS pairs. */
enum { MICROS = 3, SEQUENCES = 2, PAIRS = 2, STEPS_MAX = 16, BUCKET = 64 * PARAMS_SHARE_UNIT };

typedef struct {
  const char *name, *file;
  train_mode_t mode;
  bool reward;
} training_t;

/* LOSS, NORM: relative. WEIGHT: of the largest of its tensor. CHANGE: of the learning rate for each weight,
 * because AdamW divides every gradient by its own size, so that a small one brings its rounding with it. */
typedef struct {
  bool cpu; /* else plain, in double; checking where there is one rank */
  double loss, norm, weight, change;
} parity_platform_t;
static const parity_platform_t plain_platform = {false, 1e-6, 1e-6, 1e-6, 1e-4};
static const parity_platform_t cpu_platform = {true, 5e-6, 2e-5, 1e-5, 1e-3};

typedef struct {
  const training_t *training;
  grid_t grid;
  device_t *device;
  arrays_t arrays;
  golden_model_t model;
  optimizer_t *optimizer;
  int32_t sets;
  params_t *trained[2];
  const char *names[2]; /* of their weights in the file: what stands before them */
} parity_fixture_t;

static void add_trained(parity_fixture_t *f, params_t *params, const char *name) {
  f->trained[f->sets] = params;
  f->names[f->sets++] = name;
}

static void choose_trained(parity_fixture_t *f) {
  golden_model_t *model = &f->model;
  assert_ok(base_set_trainable(&model->base, f->training->mode));
  f->sets = 0;
  if (f->training->mode != TRAIN_LORA) {
    add_trained(f, &model->base.params, "");
  } else if (f->training->reward) {
    add_trained(f, &model->value.params, "value/");
    add_trained(f, &model->head.params, "head/");
  } else {
    add_trained(f, &model->policy.params, "policy/");
  }
  for (int32_t s = 0; s < f->sets && f->training->mode == TRAIN_LORA; s++)
    assert_ok(params_train_all(f->trained[s]));
}

/* Two ranks share the model's layers, three the batch. */
static void fixture_open(parity_fixture_t *f, const parity_platform_t *platform, const training_t *training) {
  int ranks = comm_size(mpi_test_world()), tp = ranks == 2 ? 2 : 1;
  char path[512];
  snprintf(path, sizeof path, "%s/model/golden/%s", TEST_SOURCE_DIR, training->file);
  f->training = training;
  assert_ok(grid_create(mpi_test_world(), 1, tp, &f->grid));
  if (platform->cpu)
    assert_ok(cpu_create(1, NULL, &f->device));
  else
    assert_ok(plain_create(PLAIN_DOUBLE, ranks == 1, &f->device));
  arrays_read(TEST_SOURCE_DIR "/train/golden/training.golden", &f->arrays);
  golden_model_create(f->device, &f->grid, path, 0, &f->model);
  choose_trained(f);
  const optimizer_set_t sets[] = {{f->trained[0], 0}, {f->trained[1], 0}};
  const optimizer_options_t options = {.beta1 = 0.9,
                                       .beta2 = 0.999,
                                       .eps = 1e-8,
                                       .weight_decay = arrays_number(&f->arrays, "weight_decay"),
                                       .grad_clip = arrays_number(&f->arrays, "grad_clip"),
                                       .bucket_elements = BUCKET};
  assert_ok(optimizer_create(f->device, &f->grid, sets, f->sets, &options, &f->optimizer));
}

static void fixture_close(parity_fixture_t *f) {
  optimizer_free(f->optimizer);
  golden_model_free(&f->model);
  arrays_free(&f->arrays);
  device_free(f->device);
  grid_free(&f->grid);
}

static void run_backward(parity_fixture_t *f, bool last) {
  assert_ok(pass_backward(f->model.pass, last ? optimizer_only_layer_done : NULL, f->optimizer));
  assert_ok(pass_synchronize(f->model.pass));
}

/* Learnt tokens of the sequences FIRST to FIRST + COUNT - 1. */
static int32_t count_learnt(const parity_fixture_t *f, int32_t first, int32_t count) {
  golden_learnt_t learnt;
  packed_t packed;
  int32_t n = 0;
  for (int32_t s = first; s < first + count; s += SEQUENCES) {
    golden_pack(&f->model, &f->arrays, "", s, SEQUENCES, &packed);
    golden_learnt(&f->arrays, s, &packed, &learnt);
    n += learnt.n;
    packed_free(&packed);
  }
  return n;
}

/* The part of the loss that micro-batch MICRO of STEP (from 0) has; gradients are added. */
static double run_supervised(parity_fixture_t *f, int32_t step, int32_t micro, bool last) {
  golden_learnt_t learnt;
  packed_t packed;
  double slopes[GOLDEN_LEARNT_MAX], logprobs[GOLDEN_LEARNT_MAX], loss = 0.0;
  int32_t first = (step * MICROS + micro) * SEQUENCES;
  int32_t all = count_learnt(f, step * MICROS * SEQUENCES, MICROS * SEQUENCES);
  golden_pack(&f->model, &f->arrays, "", first, SEQUENCES, &packed);
  golden_learnt(&f->arrays, first, &packed, &learnt);
  golden_forward(&f->model, f->training->mode == TRAIN_LORA ? &f->model.policy : NULL, NULL, &packed, true);
  for (int32_t i = 0; i < learnt.n; i++)
    slopes[i] = -1.0 / all;
  assert_ok(pass_logprobs_backward(f->model.pass, learnt.n, learnt.rows, learnt.targets, 1.0,
                                   &(pass_token_loss_t){.slopes = slopes},
                                   &(pass_token_numbers_t){.logprobs = logprobs}));
  run_backward(f, last);
  for (int32_t i = 0; i < learnt.n; i++)
    loss += slopes[i] * logprobs[i];
  packed_free(&packed);
  return loss;
}

static double run_pairs(parity_fixture_t *f, int32_t step, int32_t micro, bool last) {
  int32_t group = step * MICROS + micro, rows[2 * PAIRS];
  int32_t *preferred = arrays_integers(&f->arrays, "rm/preferred", arrays_size(&f->arrays, "rm/preferred"));
  packed_t packed;
  double rewards[2 * PAIRS];
  const pass_scalar_loss_t pairs = {.preferred = preferred + group * PAIRS,
                                    .group = PAIRS,
                                    .center_coef = arrays_number(&f->arrays, "center_coef"),
                                    .weight = 1.0 / MICROS};
  golden_pack(&f->model, &f->arrays, "rm/", group * 2 * PAIRS, 2 * PAIRS, &packed);
  for (int32_t s = 0; s < 2 * PAIRS; s++)
    rows[s] = packed.offsets[s + 1] - 1;
  golden_forward(&f->model, &f->model.value, &f->model.head, &packed, true);
  assert_ok(pass_scalars_backward(f->model.pass, 2 * PAIRS, rows, &pairs, rewards));
  run_backward(f, last);
  double loss = reward_pair_loss(PAIRS, rewards, pairs.preferred, pairs.center_coef, pairs.weight);
  packed_free(&packed);
  memory_free(preferred);
  return loss;
}

/* Loss and gradient norm of STEP (from 0), which is made. */
static void run_step(parity_fixture_t *f, int32_t step, double lr, double *loss, double *norm) {
  const grid_t *grid = &f->grid;
  double norms[2];
  *loss = 0.0;
  for (int32_t m = grid->dp_rank; m < MICROS; m += grid->dp_size) {
    bool last = m + grid->dp_size >= MICROS;
    *loss += f->training->reward ? run_pairs(f, step, m, last) : run_supervised(f, step, m, last);
  }
  assert_ok(comm_allreduce(grid->dp, loss, 1, COMM_F64, COMM_SUM));
  assert_ok(optimizer_step(f->optimizer, lr, norms));
  *norm = norms[1];
}

static const double *get(const parity_fixture_t *f, const char *what, int64_t n) {
  char name[ARRAYS_NAME_MAX];
  snprintf(name, sizeof name, "%s/%s", f->training->name, what);
  return arrays_get(&f->arrays, name, n);
}

static void run_steps(parity_fixture_t *f, const parity_platform_t *platform) {
  int32_t steps = (int32_t)arrays_number(&f->arrays, "steps");
  const double *losses = get(f, "loss", steps), *norms = get(f, "norm", steps);
  const schedule_t schedule = {.kind = SCHEDULE_COSINE,
                               .base = arrays_number(&f->arrays, "lr"),
                               .warmup = (int64_t)arrays_number(&f->arrays, "warmup"),
                               .total = steps,
                               .from_zero = true};
  for (int32_t s = 0; s < steps; s++) {
    char what[64];
    double loss, norm;
    run_step(f, s, schedule_lr(&schedule, s + 1), &loss, &norm);
    snprintf(what, sizeof what, "%s: loss of step %d", f->training->name, s + 1);
    compare_arrays(what, &loss, losses + s, 1, 0.0, platform->loss);
    snprintf(what, sizeof what, "%s: gradient norm of step %d", f->training->name, s + 1);
    compare_arrays(what, &norm, norms + s, 1, 0.0, platform->norm);
  }
}

/* Keys' biases have no gradient, since they shift all scores alike; of single precision, AdamW sees the
 * rounding, and makes steps of it. */
static bool has_gradient(const parity_platform_t *platform, const param_t *param) {
  return !platform->cpu || !strstr(param->name, "k_proj.bias");
}

static void compare_weight(const parity_fixture_t *f, const parity_platform_t *platform, const char *name,
                           bool gradient, const double *found, const double *expected, int64_t n) {
  double allowed = (gradient ? platform->change : 1.0) * arrays_number(&f->arrays, "lr");
  for (int64_t e = 0; e < n; e++)
    if (!(fabs(found[e] - expected[e]) <= allowed + 1e-7 * fabs(expected[e])))
      fail_msg("%s: %s[%lld]: %.9g, expected %.9g", f->training->name, name, (long long)e, found[e],
               expected[e]);
  if (gradient) compare_arrays(name, found, expected, n, 0.0, platform->weight);
}

/* Compares the trained weights of SET; returns how many there are. */
static int32_t compare_weights(const parity_fixture_t *f, const parity_platform_t *platform, int32_t set) {
  const params_t *params = f->trained[set];
  char prefix[ARRAYS_NAME_MAX];
  int32_t compared = 0;
  snprintf(prefix, sizeof prefix, "%s/after/%s", f->training->name, f->names[set]);
  for (int32_t i = 0; i < params->count; i++) {
    const param_t *param = &params->items[i];
    if (!param->trainable) continue;
    SCOPED_MEMORY double *found = NULL;
    double *expected = golden_shard(param, &f->arrays, prefix);
    compared++;
    assert_ok(memory_alloc(&found, ARENA_OTHER, (size_t)param->elements, sizeof *found));
    assert_ok(param_read(params, i, DTYPE_F64, found));
    compare_weight(f, platform, param->name, has_gradient(platform, param), found, expected, param->elements);
    memory_free(expected);
  }
  return compared;
}

/* Weights that the file has below the training's name. */
static int32_t count_after(const parity_fixture_t *f) {
  char prefix[ARRAYS_NAME_MAX];
  int32_t n = 0;
  snprintf(prefix, sizeof prefix, "%s/after/", f->training->name);
  for (int32_t i = 0; i < f->arrays.count; i++)
    n += strncmp(f->arrays.names[i], prefix, strlen(prefix)) == 0;
  return n;
}

static void check(const parity_platform_t *platform, const training_t *training) {
  parity_fixture_t f = {0};
  int32_t compared = 0;
  fixture_open(&f, platform, training);
  run_steps(&f, platform);
  for (int32_t s = 0; s < f.sets; s++)
    compared += compare_weights(&f, platform, s);
  assert_int_equal(compared, count_after(&f));
  fixture_close(&f);
}

static void check_both(const training_t *training) {
  check(&plain_platform, training);
  check(&cpu_platform, training);
}

static void whole_model(void **state) {
  (void)state;
  check_both(&(training_t){"all", "grouped.golden", TRAIN_ALL, false});
}

static void tied_decoder_and_projector(void **state) {
  (void)state;
  check_both(&(training_t){"decoder", "tied.golden", TRAIN_DECODER, false});
}

static void projector_alone(void **state) {
  (void)state;
  check_both(&(training_t){"projector", "grouped.golden", TRAIN_PROJECTOR, false});
}

static void adapter(void **state) {
  (void)state;
  check_both(&(training_t){"lora", "grouped.golden", TRAIN_LORA, false});
}

static void reward_model(void **state) {
  (void)state;
  check_both(&(training_t){"reward", "grouped.golden", TRAIN_LORA, true});
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_model),     cmocka_unit_test(tied_decoder_and_projector),
      cmocka_unit_test(projector_alone), cmocka_unit_test(adapter),
      cmocka_unit_test(reward_model),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

/* PPO's rewards and updates on fixed rollouts against PyTorch, transformers and PEFT with the method's
 * equations (golden/make_update_golden.py): every statistic, the gradient norms, and the weights afterwards;
 * on as many ranks as there are, as dp and as tp. */
#include "base/memory.h"
#include "model/compare.h"
#include "model/golden_model.h"
#include "mpi_test.h"
#include "ppo/golden_options.h"
#include "ppo/ppo_step.h"
#include "tensor/cpu/cpu.h"
#include "tensor/plain/plain.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 6, STATISTICS = 15, SAMPLE_ARRAYS = 5 };

typedef struct {
  const arrays_t *arrays;
  const char *name; /* of the case */
} ppo_update_case_t;

static const double *get(const ppo_update_case_t *c, const char *name, int64_t n) {
  char full[ARRAYS_NAME_MAX];
  snprintf(full, sizeof full, "ppo/%s/%s", c->name, name);
  return arrays_get(c->arrays, full, n);
}

static ppo_options_t options_of(const ppo_update_case_t *c) {
  return golden_options(get(c, "options", GOLDEN_OPTIONS), arrays_number(c->arrays, "ppo/response_len"));
}

/* ---- The rollouts ---- */

static void *take(ppo_step_t *step, size_t count, size_t size) {
  void *block;
  assert_ok(memory_pool_alloc(&step->pool, &block, count, size));
  return block;
}

/* Group dp_rank has drawn every dp_size-th sample. */
static void fill_tokens(const arrays_t *arrays, const grid_t *grid, ppo_step_t *step) {
  int32_t *lengths = arrays_integers(arrays, "ppo/query/lengths", SAMPLES);
  int32_t *responses = arrays_integers(arrays, "ppo/response_lengths", SAMPLES);
  int32_t *query = arrays_integers(arrays, "ppo/query/tokens", arrays_size(arrays, "ppo/query/tokens"));
  int32_t *response = arrays_integers(arrays, "ppo/responses", arrays_size(arrays, "ppo/responses"));
  const int32_t *next_query = query;
  rollout_t *rollout = &step->rollout;
  *rollout = (rollout_t){.n = SAMPLES, .samples = 1};
  assert_ok(rollout_create(rollout));
  step->owner = take(step, SAMPLES, sizeof *step->owner);
  for (int32_t s = 0; s < SAMPLES; s++) {
    assert_ok(sequence_append(&rollout->queries[s], next_query, lengths[s], false));
    rollout->lengths[s] = responses[s];
    rollout->offsets[s + 1] = rollout->offsets[s] + responses[s];
    next_query += lengths[s];
    step->owner[s] = s % grid->dp_size;
  }
  step->blank = take(step, (size_t)rollout->offsets[SAMPLES], sizeof *step->blank);
  assert_ok(
      ppo_tokens_create(SAMPLES, rollout->lengths, step->owner, grid->dp_rank, PPO_ALL_ARRAYS, &step->own));
  for (int32_t k = 0; k < step->own.count; k++) {
    int32_t s = step->own.which[k];
    memcpy(step->own.tokens + step->own.offsets[k], response + rollout->offsets[s],
           (size_t)responses[s] * sizeof *response);
  }
  memory_free(lengths);
  memory_free(responses);
  memory_free(query);
  memory_free(response);
}

static void copy(const ppo_update_case_t *c, const char *name, double *to, int64_t n) {
  memcpy(to, get(c, name, n), (size_t)n * sizeof *to);
}

/* What this group's samples have of the array NAME of all tokens. */
static void copy_own(const ppo_update_case_t *c, const ppo_step_t *step, const char *name,
                     rollout_token_t kind) {
  const double *all = get(c, name, step->rollout.offsets[SAMPLES]);
  for (int32_t k = 0; k < step->own.count; k++) {
    int32_t s = step->own.which[k];
    memcpy(step->own.numbers[kind] + step->own.offsets[k], all + step->rollout.offsets[s],
           (size_t)step->rollout.lengths[s] * sizeof *all);
  }
}

static void fill_numbers(const ppo_update_case_t *c, ppo_step_t *step) {
  double **arrays[SAMPLE_ARRAYS] = {&step->raw_reward, &step->reward, &step->length_bonus,
                                    &step->length_multiplier, &step->correct};
  for (size_t i = 0; i < SAMPLE_ARRAYS; i++)
    *arrays[i] = take(step, SAMPLES, sizeof(double));
  step->stopped = take(step, SAMPLES, sizeof *step->stopped);
  copy_own(c, step, "logprob", ROLLOUT_LOGPROB);
  copy_own(c, step, "logprob", ROLLOUT_SAMPLER_LOGPROB);
  copy_own(c, step, "ref_logprob", ROLLOUT_REF_LOGPROB);
  copy_own(c, step, "value", ROLLOUT_VALUE);
  copy(c, "raw_reward", step->raw_reward, SAMPLES);
  copy(c, "multiplier", step->length_multiplier, SAMPLES);
  copy(c, "correct", step->correct, SAMPLES);
  for (int s = 0; s < SAMPLES; s++)
    step->stopped[s] = get(c, "stopped", SAMPLES)[s] != 0.0;
}

/* Features of the samples' images, each on one dp group as if it had generated that sample. */
static void fill_features(const arrays_t *arrays, golden_model_t *model, const grid_t *grid,
                          rollout_t *rollout) {
  const model_config_t *config = &model->base.config;
  int32_t *images = arrays_integers(arrays, "ppo/query/images", SAMPLES);
  size_t size = (size_t)config_patches(config) * (size_t)config->vision_hidden;
  float *features, **held = rollout->features[0];
  assert_ok(memory_alloc(&features, ARENA_ROLLOUT, (size_t)model->images * size, sizeof *features));
  assert_ok(pass_features(model->pass, &model->base, model->images, model->patches, features));
  for (int32_t s = 0; s < SAMPLES; s++) {
    if (images[s] < 0 || s % grid->dp_size != grid->dp_rank) continue;
    assert_ok(memory_alloc(&held[s], ARENA_ROLLOUT, size, sizeof *features));
    memcpy(held[s], features + (size_t)images[s] * size, size * sizeof *features);
  }
  memory_free(features);
  memory_free(images);
}

/* ---- The task ---- */

typedef struct {
  golden_model_t model;
  settings_t settings;
  session_t session;
  ppo_task_t task;
  ppo_step_t step;
} ppo_update_fixture_t;

static void train(const ppo_update_case_t *c, ppo_update_fixture_t *f) {
  params_t *sets[] = {&f->model.policy.params, &f->model.value.params, &f->model.head.params};
  for (int s = 0; s < 3; s++)
    assert_ok(params_train_all(sets[s]));
  const optimizer_set_t trained[] = {{sets[0], 0}, {sets[1], 1}, {sets[2], 1}};
  const optimizer_options_t options = {.beta1 = 0.9,
                                       .beta2 = 0.999,
                                       .eps = 1e-8,
                                       .weight_decay = get(c, "weight_decay", 1)[0],
                                       .grad_clip = get(c, "grad_clip", 1)[0],
                                       .bucket_elements = 200};
  assert_ok(optimizer_create(f->session.device, &f->session.grid, trained, 3, &options, &f->task.optimizer));
}

/* A task whose policy and value share the golden model's base. Micro-batches hold a sample or two. */
static void fixture_open(ppo_update_fixture_t *f, const ppo_update_case_t *c, device_t *device, int tp) {
  memset(f, 0, sizeof *f);
  f->settings.job.seed = 1;
  f->settings.ppo.inner_epochs = (int64_t)arrays_number(c->arrays, "ppo/updates");
  f->settings.optim.micro_tokens = 20;
  f->session.settings = &f->settings;
  f->session.world = mpi_test_world();
  f->session.device = device;
  assert_ok(grid_create(mpi_test_world(), tp, 1, &f->session.grid));
  golden_model_create(device, &f->session.grid, TEST_SOURCE_DIR "/model/golden/grouped.golden", 0, &f->model);
  ppo_task_t *task = &f->task;
  task->session = &f->session;
  task->model = (model_t){.base = f->model.base, .pass = f->model.pass};
  task->value_model = &task->model;
  task->policy = (role_t){&f->model.base, &f->model.policy, NULL};
  task->value = (role_t){&f->model.base, &f->model.value, &f->model.head};
  task->options = options_of(c);
  task->batch = task->minibatch = SAMPLES;
  task->scale = 1.0 / arrays_number(c->arrays, "ppo/temperature");
  task->recompute_old = true;
  train(c, f);
  f->step.n = SAMPLES;
  f->step.step = 1;
  f->step.pool.arena = ARENA_ROLLOUT;
  fill_tokens(c->arrays, &f->session.grid, &f->step);
  fill_numbers(c, &f->step);
  fill_features(c->arrays, &f->model, &f->session.grid, &f->step.rollout);
}

static void fixture_close(ppo_update_fixture_t *f) {
  ppo_step_free(&f->step);
  optimizer_free(f->task.optimizer);
  golden_model_free(&f->model);
  grid_free(&f->session.grid);
}

/* ---- Comparisons ---- */

static void compare_own(const ppo_update_case_t *c, const ppo_step_t *step, const char *name,
                        rollout_token_t kind) {
  const double single = 1e-6; /* the file holds single precision */
  const double *all = get(c, name, step->rollout.offsets[SAMPLES]);
  for (int32_t k = 0; k < step->own.count; k++) {
    int32_t s = step->own.which[k];
    compare_arrays(name, step->own.numbers[kind] + step->own.offsets[k], all + step->rollout.offsets[s],
                   step->rollout.lengths[s], 0.0, single);
  }
}

static void check_rewards(const ppo_update_case_t *c, ppo_update_fixture_t *f) {
  ppo_objective_t objective;
  assert_ok(ppo_step_rewards(&f->task, &f->step, &objective));
  compare_own(c, &f->step, "kl", ROLLOUT_KL);
  compare_own(c, &f->step, "shaped_reward", ROLLOUT_SHAPED_REWARD);
  compare_own(c, &f->step, "advantage", ROLLOUT_ADVANTAGE);
  compare_own(c, &f->step, "ret", ROLLOUT_RETURN);
}

static void compare_statistics(const ppo_update_case_t *c, const ppo_update_t *update, double tolerance) {
  static const char *const names[STATISTICS] = {"loss_policy",      "loss_value",      "entropy",
                                                "approx_kl",        "policy_clipfrac", "returns_mean",
                                                "returns_var",      "vpred",           "value_error",
                                                "value_clipfrac",   "value_mean",      "value_var",
                                                "grad_norm_policy", "grad_norm_value", "grad_norm"};
  const ppo_statistics_t *s = &update->mean;
  const double found[STATISTICS] = {
      s->loss_policy,           s->loss_value,           s->entropy,       s->approx_kl,
      s->policy_clipfrac,       s->returns_mean,         s->returns_var,   s->vpred,
      s->value_error,           s->value_clipfrac,       s->value_mean,    s->value_var,
      update->grad_norm_policy, update->grad_norm_value, update->grad_norm};
  for (int i = 0; i < STATISTICS; i++)
    compare_arrays(names[i], &found[i], get(c, "statistics", STATISTICS) + i, 1, 0.0, tolerance);
}

/* Weights after the updates, to TOLERANCE of the learning rate. */
static void compare_weights(const ppo_update_case_t *c, const params_t *params, const char *set,
                            double tolerance) {
  char prefix[ARRAYS_NAME_MAX];
  snprintf(prefix, sizeof prefix, "ppo/%s/after/%s/", c->name, set);
  double lr = get(c, "lr", 1)[0];
  for (int32_t i = 0; i < params->count; i++) {
    const param_t *param = &params->items[i];
    double *expected = golden_shard(param, c->arrays, prefix);
    double *found;
    assert_ok(memory_alloc(&found, ARENA_OTHER, (size_t)param->elements, sizeof *found));
    assert_ok(param_read(params, i, DTYPE_F64, found));
    for (int64_t e = 0; e < param->elements; e++)
      if (!(fabs(found[e] - expected[e]) <= tolerance * lr + 1e-7 * fabs(expected[e])))
        fail_msg("%s, %s[%lld]: %.9g, expected %.9g, learning rate %g", set, param->name, (long long)e,
                 found[e], expected[e], lr);
    memory_free(found);
    memory_free(expected);
  }
}

/* Tolerances: of each statistic; of the learning rate for each weight, because AdamW divides every gradient
 * by its own size, so that a small one brings its rounding with it. Features are single precision on any
 * device. */
typedef struct {
  bool cpu; /* else plain, in double; checking where there is one rank */
  double statistics, weights;
} ppo_update_platform_t;

static void check_case(const ppo_update_platform_t *platform, const arrays_t *arrays, const char *name,
                       int tp) {
  const ppo_update_case_t c = {arrays, name};
  ppo_update_fixture_t f;
  device_t *device;
  ppo_update_t update;
  if (platform->cpu)
    assert_ok(cpu_create(1, NULL, &device));
  else
    assert_ok(plain_create(PLAIN_DOUBLE, comm_size(mpi_test_world()) == 1, &device));
  fixture_open(&f, &c, device, tp);
  check_rewards(&c, &f);
  assert_ok(ppo_update(&f.task, &f.step, get(&c, "lr", 1)[0], &update));
  compare_statistics(&c, &update, platform->statistics);
  compare_weights(&c, &f.model.policy.params, "policy", platform->weights);
  compare_weights(&c, &f.model.value.params, "value", platform->weights);
  compare_weights(&c, &f.model.head.params, "head", platform->weights);
  fixture_close(&f);
  device_free(device);
}

/* Every case on every layout of the ranks. */
static void check(const ppo_update_platform_t *platform) {
  static const char *const names[] = {"published", "sequence", "fixed"};
  arrays_t arrays;
  arrays_read(TEST_SOURCE_DIR "/train/golden/update.golden", &arrays);
  int size = comm_size(mpi_test_world());
  for (int tp = 1; tp <= size && tp <= 4; tp++)
    for (size_t i = 0; i < sizeof names / sizeof *names && tp != 3 && mpi_test_fits(tp); i++)
      check_case(platform, &arrays, names[i], tp);
  arrays_free(&arrays);
}

static void test_plain(void **state) {
  (void)state;
  check(&(ppo_update_platform_t){false, 1e-6, 1e-4});
}

static void test_cpu(void **state) {
  (void)state;
  check(&(ppo_update_platform_t){true, 1e-4, 1e-2});
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_plain),
      cmocka_unit_test(test_cpu),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

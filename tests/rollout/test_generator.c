/* Generation with cache, slots and queue against whole forward passes without them. */
#include "base/memory.h"
#include "model/cache.h"
#include "model/tiny.h"
#include "mpi_test.h"
#include "rollout/oracle.h"
#include "rollout/prompt_set.h"
#include "tensor/cpu/cpu.h"
#include "tensor/plain/plain.h"

#include <math.h>
#include <string.h>

enum { EOS = 2, QUESTION = 20 };

/* A model split over tp, and the same model whole on each rank. */
typedef struct {
  comm_t *self;
  grid_t grid, alone;
  device_t *device;
  tiny_t split, whole;
  prompt_set_t set, truth; /* truth: features of the whole model, and the oracle's responses */
} generator_fixture_t;

typedef enum { DEVICE_DOUBLE, DEVICE_FLOAT, DEVICE_CPU } which_device_t;

static void make_device(which_device_t which, device_t **device) {
  if (which == DEVICE_CPU)
    assert_ok(cpu_create(1, NULL, device));
  else
    assert_ok(plain_create(which == DEVICE_DOUBLE ? PLAIN_DOUBLE : PLAIN_FLOAT, true, device));
}

static void set_up_stored(generator_fixture_t *f, which_device_t which, int tp, int32_t kv_heads,
                          base_storage_t storage) {
  comm_t *world = mpi_test_world();
  const tiny_options_t options = {
      .config = tiny_config(kv_heads, false, PROJECTOR_MLP2X_GELU), .mode = TRAIN_LORA, .storage = storage};
  assert_ok(comm_split(world, comm_rank(world), 0, "self", &f->self));
  assert_ok(grid_create(world, tp, 1, &f->grid));
  assert_ok(grid_create(f->self, 1, 1, &f->alone));
  make_device(which, &f->device);
  assert_ok(tiny_create(f->device, &f->grid, &options, &f->split));
  assert_ok(tiny_create(f->device, &f->alone, &options, &f->whole));
  assert_ok(prompt_set_create(&f->split, &f->set));
  assert_ok(prompt_set_create(&f->whole, &f->truth));
}

static void set_up(generator_fixture_t *f, which_device_t which, int tp, int32_t kv_heads) {
  set_up_stored(f, which, tp, kv_heads, (base_storage_t){0});
}

static void tear_down(generator_fixture_t *f) {
  prompt_set_free(&f->set);
  prompt_set_free(&f->truth);
  tiny_free(&f->split);
  tiny_free(&f->whole);
  device_free(f->device);
  grid_free(&f->alone);
  grid_free(&f->grid);
  comm_free(f->self);
}

static generator_options_t options_of(const sampler_options_t *sampler) {
  return (generator_options_t){.sampler = *sampler,
                               .max_tokens = RESPONSE_MAX,
                               .slots = 4,
                               .page_size = 4,
                               .longest_query = 16,
                               .prefill_tokens = 24,
                               .end = {.answer = EOS, .text = -1, .question = {QUESTION, -1}}};
}

/* Forward pass of the whole model over prompt I and its first N response tokens; *ROWS positions. */
static void forward_whole(generator_fixture_t *f, int32_t i, const response_t *response, int32_t n,
                          int32_t *rows) {
  prompt_set_t *set = &f->truth;
  int32_t tokens[PROMPT_MAX + RESPONSE_MAX];
  memcpy(tokens, set->tokens[i], (size_t)set->lengths[i] * sizeof *tokens);
  memcpy(tokens + set->lengths[i], response->tokens, (size_t)n * sizeof *tokens);
  const packed_source_t source = {tokens, set->lengths[i] + n, set->image[i] >= 0 ? 0 : -1};
  pass_images_t images = {.count = set->image[i] >= 0,
                          .features = set->features + (size_t)(set->image[i] > 0) * set->per_image};
  packed_t packed;
  assert_ok(packed_create(&source, 1, config_patches(&f->whole.base.config), &packed));
  assert_ok(pass_forward(f->whole.pass, &f->whole.role, &packed, &images, false, NULL, NULL));
  *rows = packed.offsets[1];
  packed_free(&packed);
}

/* The response to prompt I, a whole forward pass per token. */
static void answer_the_long_way(generator_fixture_t *f, const generator_options_t *options, int32_t i) {
  response_t *out = &f->truth.responses[i];
  *out = (response_t){0};
  while (out->n < options->max_tokens && !out->stopped) {
    double logits[ORACLE_VOCAB_MAX];
    oracle_row_t row;
    int32_t rows;
    forward_whole(f, i, out, out->n, &rows);
    assert_ok(oracle_logits(f->whole.pass, &f->whole.base, rows - 1, logits));
    oracle_row(&options->sampler, logits, f->whole.base.config.vocab, &row);
    int32_t token = oracle_draw(&options->sampler, &row, 100 + i, out->n);
    out->logprobs[out->n] = row.logprob[token];
    out->entropies[out->n] = row.entropy;
    out->tokens[out->n++] = token;
    out->stopped = token == EOS || token == QUESTION;
  }
}

static void answer_all_the_long_way(generator_fixture_t *f, const generator_options_t *options) {
  for (int32_t i = 0; i < PROMPTS; i++)
    answer_the_long_way(f, options, i);
}

static void compare(const prompt_set_t *set, const prompt_set_t *truth, double tolerance) {
  for (int32_t i = 0; i < PROMPTS; i++) {
    const response_t *got = &set->responses[i], *expected = &truth->responses[i];
    assert_int_equal(got->n, expected->n);
    assert_memory_equal(got->tokens, expected->tokens, (size_t)got->n * sizeof *got->tokens);
    assert_int_equal(got->stopped, expected->stopped);
    for (int32_t t = 0; t < got->n; t++) {
      if (!(fabs(got->logprobs[t] - expected->logprobs[t]) <= tolerance))
        fail_msg("prompt %d token %d: logprob %.15g, expected %.15g", i, t, got->logprobs[t],
                 expected->logprobs[t]);
      assert_true(fabs(got->entropies[t] - expected->entropies[t]) <= tolerance);
    }
  }
}

/* Generates with OPTIONS and compares with the truth. */
static void check_run(generator_fixture_t *f, const generator_options_t *options, double tolerance) {
  generator_t *generator;
  const generator_source_t source = prompt_set_source(&f->set);
  prompt_set_clear(&f->set);
  assert_ok(generator_create(f->split.pass, &f->split.role, options, 0, &generator));
  assert_ok(generator_run(generator, &f->split.role, PROMPTS, &source));
  generator_free(generator);
  assert_ok(prompt_set_share(&f->set, &f->grid));
  compare(&f->set, &f->truth, tolerance);
}

/* Slots, pages, prefill budgets and dealing that must not matter. */
static void check_layouts(generator_fixture_t *f, const sampler_options_t *sampler, double tolerance) {
  generator_options_t options = options_of(sampler);
  answer_all_the_long_way(f, &options);
  static const struct {
    int32_t slots, page_size;
    int64_t prefill_tokens;
    bool deterministic;
  } cases[] = {{3, 4, 24, false}, {1, 1, 1, true}, {64, 64, 1000, false}, {5, 3, 1, true}};
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    options.slots = cases[c].slots;
    options.page_size = cases[c].page_size;
    options.prefill_tokens = cases[c].prefill_tokens;
    options.deterministic = cases[c].deterministic;
    check_run(f, &options, tolerance);
  }
}

/* Runs CHECK for every tp that this number of ranks and the model's heads allow. */
static void for_each_tp(which_device_t which, void (*check)(generator_fixture_t *f, which_device_t which)) {
  static const int splits[] = {1, 2, 4};
  for (size_t s = 0; s < sizeof splits / sizeof *splits; s++) {
    if (comm_size(mpi_test_world()) % splits[s] != 0) continue;
    generator_fixture_t f;
    set_up(&f, which, splits[s], s == 0 ? 2 : 1);
    check(&f, which);
    tear_down(&f);
  }
}

/* Doubles differ by the order of sums only; floats by the invariant "one forward". */
static double tolerance_of(which_device_t which) {
  return which == DEVICE_DOUBLE ? 1e-10 : 1e-5;
}

static void check_greedy(generator_fixture_t *f, which_device_t which) {
  check_layouts(f, &(sampler_options_t){.greedy = true}, tolerance_of(which));
}

static void check_sampled(generator_fixture_t *f, which_device_t which) {
  check_layouts(f, &(sampler_options_t){.temperature = 1.5, .top_p = 1.0, .seed = 9}, tolerance_of(which));
}

static void check_cut(generator_fixture_t *f, which_device_t which) {
  check_layouts(f, &(sampler_options_t){.temperature = 1.5, .top_p = 0.9, .top_k = 12, .seed = 4},
                tolerance_of(which));
}

static void test_greedy(void **state) {
  (void)state;
  for_each_tp(DEVICE_DOUBLE, check_greedy);
}

static void test_sampled(void **state) {
  (void)state;
  for_each_tp(DEVICE_DOUBLE, check_sampled);
}

static void test_sampled_with_cuts(void **state) {
  (void)state;
  for_each_tp(DEVICE_DOUBLE, check_cut);
}

static void test_single_precision(void **state) {
  (void)state;
  for_each_tp(DEVICE_FLOAT, check_sampled);
}

static void test_cpu(void **state) {
  (void)state;
  for_each_tp(DEVICE_CPU, check_sampled);
  for_each_tp(DEVICE_CPU, check_greedy);
}

/* The log-probabilities that the sampler tells are the training forward's, within GAP. */
static void check_training_logprobs(generator_fixture_t *f, which_device_t which, double gap) {
  const sampler_options_t sampler = {.temperature = 1.3, .top_p = 0.8, .seed = 2};
  generator_options_t options = options_of(&sampler);
  answer_all_the_long_way(f, &options);
  check_run(f, &options, tolerance_of(which));
  for (int32_t i = 0; i < PROMPTS; i++) {
    response_t *response = &f->set.responses[i];
    int32_t rows[RESPONSE_MAX], end;
    double logprobs[RESPONSE_MAX], entropies[RESPONSE_MAX];
    forward_whole(f, i, response, response->n, &end);
    for (int32_t t = 0; t < response->n; t++)
      rows[t] = end - response->n + t - 1;
    assert_ok(pass_logprobs(f->whole.pass, response->n, rows, response->tokens, 1.0 / sampler.temperature,
                            logprobs, entropies));
    for (int32_t t = 0; t < response->n; t++) {
      assert_true(fabs(logprobs[t] - response->logprobs[t]) <= gap);
      assert_true(fabs(entropies[t] - response->entropies[t]) <= gap);
    }
  }
}

static void check_training_forward(generator_fixture_t *f, which_device_t which) {
  check_training_logprobs(f, which, tolerance_of(which));
}

static void test_one_forward(void **state) {
  (void)state;
  for_each_tp(DEVICE_DOUBLE, check_training_forward);
  for_each_tp(DEVICE_CPU, check_training_forward);
}

/* Keys and values in 16 bits: the same tokens as by whole passes, which round them too, whatever the pages;
 * on the cpu the log-probabilities are those of training to the bit, as they are without rounding; and a page
 * takes half the memory. */
static void test_half_cache(void **state) {
  (void)state;
  static const which_device_t devices[] = {DEVICE_FLOAT, DEVICE_CPU};
  for (int i = 0; i < 2; i++) {
    generator_fixture_t f, single;
    set_up_stored(&f, devices[i], 1, 2, tiny_half_keys(TRAIN_LORA));
    check_layouts(&f, &(sampler_options_t){.temperature = 1.5, .top_p = 1.0, .seed = 9},
                  tolerance_of(devices[i]));
    check_layouts(&f, &(sampler_options_t){.greedy = true}, tolerance_of(devices[i]));
    check_training_logprobs(&f, devices[i], devices[i] == DEVICE_CPU ? 0.0 : tolerance_of(devices[i]));
    set_up(&single, devices[i], 1, 2);
    assert_int_equal(2 * cache_page_bytes(&f.split.base, 4), cache_page_bytes(&single.split.base, 4));
    if (devices[i] == DEVICE_CPU) check_training_logprobs(&single, DEVICE_CPU, 0.0);
    tear_down(&single);
    tear_down(&f);
  }
}

static void test_endings(void **state) {
  (void)state;
  generator_fixture_t f;
  const sampler_options_t sampler = {.temperature = 5.0, .top_p = 1.0, .seed = 3};
  set_up(&f, DEVICE_DOUBLE, 1, 2);
  generator_options_t options = options_of(&sampler);
  answer_all_the_long_way(&f, &options);
  check_run(&f, &options, 1e-10);
  /* The prompts are only a test if all three ways to end occur. */
  int32_t by_eos = 0, by_question = 0, by_length = 0;
  for (int32_t i = 0; i < PROMPTS; i++) {
    const response_t *response = &f.set.responses[i];
    by_eos += response->tokens[response->n - 1] == EOS;
    by_question += response->tokens[response->n - 1] == QUESTION;
    by_length += !response->stopped;
    assert_true(response->stopped || response->n == RESPONSE_MAX);
  }
  assert_true(by_eos > 0 && by_question > 0 && by_length > 0);
  options.max_tokens = 1;
  answer_all_the_long_way(&f, &options);
  check_run(&f, &options, 1e-10);
  tear_down(&f);
}

/* A run that is interrupted leaves a generator that starts again as if nothing had been. */
static void test_interruption(void **state) {
  (void)state;
  generator_fixture_t f;
  const sampler_options_t sampler = {.temperature = 1.5, .top_p = 1.0, .seed = 9};
  generator_options_t options = options_of(&sampler);
  generator_t *generator;
  set_up(&f, DEVICE_DOUBLE, 1, 2);
  answer_all_the_long_way(&f, &options);
  const generator_source_t source = prompt_set_source(&f.set);
  options.slots = 2;
  assert_ok(generator_create(f.split.pass, &f.split.role, &options, 0, &generator));
  for (int32_t stop_at = 1; stop_at < 5; stop_at += 3) {
    prompt_set_clear(&f.set);
    f.set.stop_at = stop_at;
    assert_int_equal(generator_run(generator, &f.split.role, PROMPTS, &source), STATUS_STOPPED);
    error_clear();
  }
  prompt_set_clear(&f.set);
  f.set.stop_at = 0;
  assert_ok(generator_run(generator, &f.split.role, PROMPTS, &source));
  assert_ok(prompt_set_share(&f.set, &f.grid));
  compare(&f.set, &f.truth, 1e-10);
  generator_free(generator);
  tear_down(&f);
}

static void test_no_prompts(void **state) {
  (void)state;
  generator_fixture_t f;
  const sampler_options_t sampler = {.temperature = 1.0, .top_p = 1.0};
  generator_options_t options = options_of(&sampler);
  generator_t *generator;
  set_up(&f, DEVICE_DOUBLE, 1, 2);
  const generator_source_t source = prompt_set_source(&f.set);
  for (int dealt = 0; dealt < 2; dealt++) {
    options.deterministic = dealt != 0;
    assert_ok(generator_create(f.split.pass, &f.split.role, &options, 0, &generator));
    assert_ok(generator_run(generator, &f.split.role, 0, &source));
    generator_free(generator);
  }
  tear_down(&f);
}

/* Room for the worst case of two sequences, however long the answers get; too little for one is refused. */
static void test_cache_bound(void **state) {
  (void)state;
  generator_fixture_t f;
  const sampler_options_t sampler = {.temperature = 1.5, .top_p = 1.0, .seed = 9};
  generator_options_t options = options_of(&sampler);
  generator_t *generator;
  set_up(&f, DEVICE_DOUBLE, 1, 2);
  size_t page = cache_page_bytes(&f.split.base, options.page_size);
  size_t sequence = page * (size_t)((options.longest_query + options.max_tokens + options.page_size - 1) /
                                    options.page_size);
  assert_error(generator_create(f.split.pass, &f.split.role, &options, sequence - 1, &generator),
               STATUS_INPUT);
  generator_options_t endless = options;
  endless.max_tokens = INT32_MAX;
  assert_error(generator_create(f.split.pass, &f.split.role, &endless, 0, &generator), STATUS_INPUT);
  answer_all_the_long_way(&f, &options);
  const generator_source_t source = prompt_set_source(&f.set);
  prompt_set_clear(&f.set);
  assert_ok(generator_create(f.split.pass, &f.split.role, &options, 2 * sequence, &generator));
  assert_true(memory_usage(ARENA_CACHE).current <= 2 * sequence);
  assert_ok(generator_run(generator, &f.split.role, PROMPTS, &source));
  assert_ok(prompt_set_share(&f.set, &f.grid));
  compare(&f.set, &f.truth, 1e-10);
  generator_free(generator);
  tear_down(&f);
}

/* A prompt beyond what the generator was made for is an error before anything is computed. */
static void test_prompt_too_long(void **state) {
  (void)state;
  generator_fixture_t f;
  const sampler_options_t sampler = {.temperature = 1.5, .top_p = 1.0, .seed = 9};
  generator_options_t options = options_of(&sampler);
  generator_t *generator;
  if (comm_size(mpi_test_world()) > 1) skip(); /* the other groups would wait for the one that failed */
  set_up(&f, DEVICE_DOUBLE, 1, 2);
  const generator_source_t source = prompt_set_source(&f.set);
  options.longest_query = 7;
  assert_ok(generator_create(f.split.pass, &f.split.role, &options, 0, &generator));
  assert_error(generator_run(generator, &f.split.role, PROMPTS, &source), STATUS_INTERNAL);
  generator_free(generator);
  tear_down(&f);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_greedy),
      cmocka_unit_test(test_sampled),
      cmocka_unit_test(test_sampled_with_cuts),
      cmocka_unit_test(test_single_precision),
      cmocka_unit_test(test_cpu),
      cmocka_unit_test(test_one_forward),
      cmocka_unit_test(test_half_cache),
      cmocka_unit_test(test_endings),
      cmocka_unit_test(test_interruption),
      cmocka_unit_test(test_no_prompts),
      cmocka_unit_test(test_cache_bound),
      cmocka_unit_test(test_prompt_too_long),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

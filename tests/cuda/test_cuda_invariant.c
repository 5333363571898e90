/* Batch-invariant operations, the whole model: the sampler's log-probabilities are those of training to the
 * bit, whatever the slots, pages and preemptions, over all ranks; and without the mode they are not. On a
 * GPU, or with the CUDA that the host carries out. */
#include "base/memory.h"
#include "cuda/cuda.h"
#include "model/cache.h"
#include "model/tiny.h"
#include "mpi_test.h"
#include "rollout/prompt_set.h"

#include <math.h>
#include <string.h>

enum { SKIPPED = 77, EOS = 2, QUESTION = 20 };

typedef struct {
  grid_t grid;
  device_t *device;
  tiny_t tiny;
  prompt_set_t set;
} invariant_fixture_t;

/* Sizes that kernels for tensor cores take, on each of four ranks too. */
static model_config_t even_config(int32_t kv_heads) {
  model_config_t config = tiny_config(kv_heads, false, PROJECTOR_MLP2X_GELU);
  config.hidden = 64;
  config.head_size = 16;
  config.mlp = 96;
  config.vision_hidden = 32;
  config.vision_mlp = 40;
  return config;
}

static void set_up(invariant_fixture_t *f, dtype_t real_type, bool batch_invariant,
                   const tiny_options_t *options) {
  comm_t *world = mpi_test_world();
  const cuda_options_t of_device = {.real_type = real_type,
                                    .node_rank = comm_rank(world),
                                    .node_size = comm_size(world),
                                    .batch_invariant = batch_invariant};
  assert_ok(grid_create(world, comm_size(world), 1, &f->grid));
  assert_ok(cuda_create(&of_device, &f->device));
  assert_ok(device_comm_create(f->device, f->grid.tp));
  assert_ok(tiny_create(f->device, &f->grid, options, &f->tiny));
  assert_ok(prompt_set_create(&f->tiny, &f->set));
}

static void tear_down(invariant_fixture_t *f) {
  prompt_set_free(&f->set);
  tiny_free(&f->tiny);
  device_comm_free(f->device, f->grid.tp);
  device_free(f->device);
  grid_free(&f->grid);
}

/* Answers all prompts; ROOM: sequences of the longest size that the cache has room for, 0: all. */
static void generate(invariant_fixture_t *f, const sampler_options_t *sampler, int32_t slots,
                     int32_t page_size, int32_t room) {
  const generator_options_t options = {.sampler = *sampler,
                                       .max_tokens = RESPONSE_MAX,
                                       .slots = slots,
                                       .page_size = page_size,
                                       .longest_query = 16,
                                       .prefill_tokens = 24,
                                       .end = {.answer = EOS, .text = -1, .question = {QUESTION, -1}}};
  const int32_t pages = (options.longest_query + options.max_tokens + page_size - 1) / page_size;
  const size_t bytes = cache_page_bytes(&f->tiny.base, page_size) * (size_t)(room * pages);
  const generator_source_t source = prompt_set_source(&f->set);
  generator_t *generator;
  prompt_set_clear(&f->set);
  assert_ok(generator_create(f->tiny.pass, &f->tiny.role, &options, bytes, &generator));
  assert_ok(generator_run(generator, &f->tiny.role, PROMPTS, &source));
  generator_free(generator);
  assert_ok(prompt_set_share(&f->set, &f->grid));
}

/* The largest difference between what the sampler told and a forward pass over prompts FIRST .. with their
 * responses, COUNT of them packed; TRAINED: with the backward pass behind it. */
static double gap_of(invariant_fixture_t *f, const sampler_options_t *sampler, int32_t first, int32_t count,
                     bool trained) {
  const prompt_set_t *set = &f->set;
  static int32_t tokens[PROMPTS][PROMPT_MAX + RESPONSE_MAX];
  packed_source_t sources[PROMPTS];
  int32_t rows[PROMPTS * RESPONSE_MAX], targets[PROMPTS * RESPONSE_MAX], n = 0;
  double logprobs[PROMPTS * RESPONSE_MAX], told[PROMPTS * RESPONSE_MAX], slopes[PROMPTS * RESPONSE_MAX];
  const double scale = sampler->greedy ? 1.0 : 1.0 / sampler->temperature;
  const pass_images_t images = {.count = 2, .features = set->features};
  packed_t packed;
  for (int32_t i = 0; i < count; i++) {
    const response_t *response = &set->responses[first + i];
    const int32_t prompt = set->lengths[first + i];
    memcpy(tokens[i], set->tokens[first + i], (size_t)prompt * sizeof **tokens);
    memcpy(tokens[i] + prompt, response->tokens, (size_t)response->n * sizeof **tokens);
    sources[i] = (packed_source_t){tokens[i], prompt + response->n, set->image[first + i]};
  }
  assert_ok(packed_create(sources, count, config_patches(&f->tiny.base.config), &packed));
  for (int32_t i = 0; i < count; i++)
    for (int32_t t = 0; t < set->responses[first + i].n; t++, n++) {
      rows[n] = packed.offsets[i + 1] - set->responses[first + i].n + t - 1;
      targets[n] = set->responses[first + i].tokens[t];
      told[n] = set->responses[first + i].logprobs[t];
      slopes[n] = 1.0;
    }
  assert_ok(pass_forward(f->tiny.pass, &f->tiny.role, &packed, &images, trained, NULL, NULL));
  if (trained) {
    const pass_token_loss_t loss = {.slopes = slopes};
    assert_ok(pass_logprobs_backward(f->tiny.pass, n, rows, targets, scale, &loss,
                                     &(pass_token_numbers_t){.logprobs = logprobs}));
    assert_ok(pass_backward(f->tiny.pass, NULL, NULL));
    assert_ok(pass_synchronize(f->tiny.pass));
  } else {
    assert_ok(pass_logprobs(f->tiny.pass, n, rows, targets, scale, logprobs, NULL));
  }
  double gap = 0.0;
  for (int32_t i = 0; i < n; i++) {
    assert_true(isfinite(logprobs[i]) && logprobs[i] < 0.0);
    gap = fmax(gap, fabs(logprobs[i] - told[i]));
  }
  packed_free(&packed);
  return gap;
}

/* Over all together, as in training, and over some. */
static double largest_gap(invariant_fixture_t *f, const sampler_options_t *sampler) {
  double gap = gap_of(f, sampler, 0, PROMPTS, true);
  gap = fmax(gap, gap_of(f, sampler, 0, 3, false));
  return fmax(gap, gap_of(f, sampler, PROMPTS - 1, 1, true));
}

static const sampler_options_t greedy = {.greedy = true},
                               sampled = {.temperature = 1.3, .top_p = 1.0, .seed = 9},
                               cut = {.temperature = 1.3, .top_p = 0.8, .top_k = 12, .seed = 2};

/* Slots, pages and room that make sequences wait, and begin again. */
static const struct {
  const sampler_options_t *sampler;
  int32_t slots, page_size, room;
} layouts[] = {{&greedy, 8, 3, 2}, {&sampled, 4, 4, 0}, {&cut, 1, 16, 0}};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* The first COUNT of them. */
static void check(dtype_t real_type, const tiny_options_t *options, int count) {
  invariant_fixture_t f;
  set_up(&f, real_type, true, options);
  for (int i = 0; i < count; i++) {
    generate(&f, layouts[i].sampler, layouts[i].slots, layouts[i].page_size, layouts[i].room);
    assert_true(largest_gap(&f, layouts[i].sampler) == 0.0);
  }
  tear_down(&f);
}

static int32_t kv_heads(void) {
  return comm_size(mpi_test_world()) > 2 ? 4 : 2;
}

static tiny_options_t even_options(void) {
  return (tiny_options_t){.config = even_config(kv_heads()), .mode = TRAIN_LORA, .lora_r = 8};
}

static void test_bf16(void **state) {
  (void)state;
  tiny_options_t options = even_options();
  check(DTYPE_BF16, &options, LAYOUTS);
  options.storage = tiny_quantised();
  options.recompute = RECOMPUTE_FULL;
  check(DTYPE_BF16, &options, 2);
}

/* Sizes that take other kernels. */
static void test_odd_sizes(void **state) {
  (void)state;
  const tiny_options_t options = {.config = tiny_config(kv_heads(), false, PROJECTOR_MLP2X_GELU),
                                  .mode = TRAIN_LORA};
  check(DTYPE_BF16, &options, 1);
}

static void test_f32(void **state) {
  (void)state;
  tiny_options_t options = even_options();
  check(DTYPE_F32, &options, 1);
  options.storage = tiny_half_keys(TRAIN_LORA);
  check(DTYPE_F32, &options, 2);
}

/* The test sees what it looks for. */
static void test_without(void **state) {
  (void)state;
  const tiny_options_t options = even_options();
  invariant_fixture_t f;
  set_up(&f, DTYPE_BF16, false, &options);
  generate(&f, &sampled, 4, 4, 0);
  assert_true(largest_gap(&f, &sampled) > 0.0);
  tear_down(&f);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_bf16), cmocka_unit_test(test_odd_sizes),
                                     cmocka_unit_test(test_f32), cmocka_unit_test(test_without)};
  if (cuda_count() == 0) {
    printf("skipped: no GPU\n");
    return SKIPPED;
  }
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

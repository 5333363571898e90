/* What must not change a response, to the bit: too little room, prompts that are shared, rows of padding,
 * steps that a device replays; and what the host does meanwhile. */
#include "base/memory.h"
#include "model/cache.h"
#include "model/tiny.h"
#include "mpi_test.h"
#include "perf/perf.h"
#include "rollout/decoding.h"
#include "rollout/prompt_set.h"
#include "tensor/cpu/cpu.h"
#include "tensor/plain/plain.h"

#include <string.h>

typedef struct {
  grid_t grid;
  device_t *device;
  tiny_t tiny;
  prompt_set_t set;
} engine_t;

typedef enum { ON_CPU, ON_CPU_HALVES, ON_PLAIN, VARIANTS } variant_t;

static void set_up(engine_t *e, variant_t variant, int tp) {
  tiny_options_t options = {.config = tiny_config(2, false, PROJECTOR_MLP2X_GELU), .mode = TRAIN_LORA};
  if (variant == ON_CPU_HALVES) options.storage = tiny_half_keys(TRAIN_LORA);
  assert_ok(grid_create(mpi_test_world(), tp, 1, &e->grid));
  if (variant == ON_PLAIN)
    assert_ok(plain_create(PLAIN_DOUBLE, true, &e->device));
  else
    assert_ok(cpu_create(1, NULL, &e->device));
  assert_ok(tiny_create(e->device, &e->grid, &options, &e->tiny));
  assert_ok(prompt_set_create(&e->tiny, &e->set));
}

static void tear_down(engine_t *e) {
  prompt_set_free(&e->set);
  tiny_free(&e->tiny);
  device_free(e->device);
  grid_free(&e->grid);
}

/* On the cpu device, with keys and values in 32 and in 16 bits, and on the plain one, split as far as this
 * number of ranks allows. */
static void for_each(void (*check)(engine_t *e)) {
  int size = comm_size(mpi_test_world());
  for (int variant = 0; variant < VARIANTS; variant++)
    for (int tp = 1; tp <= size && tp <= 2; tp++) {
      engine_t e;
      if (size % tp != 0) continue;
      set_up(&e, (variant_t)variant, tp);
      check(&e);
      tear_down(&e);
    }
}

static generator_options_t options_of(void) {
  return (generator_options_t){.sampler = {.temperature = 1.5, .top_p = 1.0, .seed = 9},
                               .max_tokens = RESPONSE_MAX,
                               .slots = PROMPTS,
                               .page_size = 2,
                               .longest_query = 12,
                               .prefill_tokens = 40,
                               .deterministic = true,
                               .end = {.answer = 2, .text = -1, .question = {-1, -1}}};
}

/* Answers all prompts with a cache of CACHE_BYTES; positions that were prefilled, on all ranks. */
static double answer(engine_t *e, const generator_options_t *options, size_t cache_bytes) {
  generator_t *generator;
  perf_counter_t before[REGION_COUNT], after[REGION_COUNT];
  const generator_source_t source = prompt_set_source(&e->set);
  prompt_set_clear(&e->set);
  assert_ok(generator_create(e->tiny.pass, &e->tiny.base, options, cache_bytes, &generator));
  perf_snapshot(before);
  assert_ok(generator_run(generator, &e->tiny.role, PROMPTS, &source));
  perf_snapshot(after);
  generator_free(generator);
  assert_ok(prompt_set_share(&e->set, &e->grid));
  double positions = after[REGION_PREFILL].tokens - before[REGION_PREFILL].tokens;
  assert_ok(comm_allreduce(e->grid.world, &positions, 1, COMM_F64, COMM_SUM));
  return positions;
}

static void expect_same(const prompt_set_t *set, const response_t *expected) {
  for (int32_t i = 0; i < PROMPTS; i++) {
    const response_t *a = &set->responses[i], *b = &expected[i];
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->stopped, b->stopped);
    assert_memory_equal(a->tokens, b->tokens, (size_t)a->n * sizeof *a->tokens);
    assert_memory_equal(a->logprobs, b->logprobs, (size_t)a->n * sizeof *a->logprobs);
    assert_memory_equal(a->entropies, b->entropies, (size_t)a->n * sizeof *a->entropies);
  }
}

/* In a cache of one longest sequence and little more, sequences are preempted and computed again. */
static void check_preemption(engine_t *e) {
  enum { MORE = 6 };
  generator_options_t options = options_of();
  response_t expected[PROMPTS];
  size_t page = cache_page_bytes(&e->tiny.base, options.page_size);
  size_t pages = (size_t)(options.longest_query + options.max_tokens) / 2;
  int again = 0;
  double once = answer(e, &options, 0);
  memcpy(expected, e->set.responses, sizeof expected);
  for (size_t more = 0; more < MORE; more++) {
    again += answer(e, &options, (pages + more) * page) > once;
    expect_same(&e->set, expected);
  }
  assert_true(again > 0);
}

static void preempted_sequences_go_on_as_before(void **state) {
  (void)state;
  for_each(check_preemption);
}

/* Two and more prompts of one question are computed once where they meet, with much and with little room. */
static void check_sharing(engine_t *e) {
  generator_options_t options = options_of();
  response_t expected[PROMPTS];
  size_t little = 11 * cache_page_bytes(&e->tiny.base, options.page_size);
  for (int32_t together = 2; together <= 4; together += 2)
    for (int32_t slots = 1; slots <= PROMPTS; slots += 7) {
      options.slots = slots;
      e->set.together = together;
      e->set.apart = true;
      double apart = answer(e, &options, 0);
      memcpy(expected, e->set.responses, sizeof expected);
      e->set.apart = false;
      double shared = answer(e, &options, 0);
      expect_same(&e->set, expected);
      if (slots > 1 && e->grid.dp_size == 1) assert_true(shared < apart);
      if (slots == 1) assert_true(shared == apart);
      answer(e, &options, little);
      expect_same(&e->set, expected);
    }
}

static void shared_prompts_change_nothing(void **state) {
  (void)state;
  for_each(check_sharing);
}

/* ---- A device that replays, and counts ---- */

static struct {
  int uploads, waits, allocations, captures, replays;
  status_t (*upload)(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                     size_t n);
  status_t (*synchronize)(device_t *device);
  status_t (*alloc)(device_t *device, size_t bytes, void **out);
} counts;

static status_t count_upload(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                             size_t n) {
  counts.uploads++;
  return counts.upload(device, to, to_type, from, from_type, n);
}

static status_t count_wait(device_t *device) {
  counts.waits++;
  return counts.synchronize(device);
}

static status_t count_alloc(device_t *device, size_t bytes, void **out) {
  counts.allocations++;
  return counts.alloc(device, bytes, out);
}

/* Replays by doing it again: what is kept must not need the host. */
static status_t count_graph(device_t *device, uint64_t key, bool capture, device_body_t body, void *context) {
  int before = counts.uploads + counts.waits + counts.allocations;
  (void)device;
  (void)key;
  counts.captures += capture;
  counts.replays += !capture;
  status_code_t status = body(context);
  assert_int_equal(counts.uploads + counts.waits + counts.allocations, before);
  return status;
}

static void count_on(device_t *device, bool replays) {
  memset(&counts, 0, sizeof counts);
  counts.upload = device->upload;
  counts.synchronize = device->synchronize;
  counts.alloc = device->alloc;
  device->upload = count_upload;
  device->synchronize = count_wait;
  device->alloc = count_alloc;
  if (replays) device->graph = count_graph;
}

static void count_off(device_t *device) {
  device->upload = counts.upload;
  device->synchronize = counts.synchronize;
  device->alloc = counts.alloc;
  device->graph = NULL;
}

/* Rows are padded to buckets, and steps kept and replayed. */
static void check_replays(engine_t *e) {
  generator_options_t options = options_of();
  response_t expected[PROMPTS];
  options.end.answer = -1;
  options.slots = 5;
  answer(e, &options, 0);
  memcpy(expected, e->set.responses, sizeof expected);
  count_on(e->device, true);
  answer(e, &options, 0);
  count_off(e->device);
  expect_same(&e->set, expected);
  assert_true(counts.captures > 0 && counts.replays > 0);
}

static void padding_and_replays_change_nothing(void **state) {
  (void)state;
  for_each(check_replays);
}

/* A token more of each response is a wait more, to see which have ended, and nothing else. */
static void check_steady_state(engine_t *e) {
  enum { FEWER = 3 };
  generator_options_t options = options_of();
  options.end.answer = -1;
  options.page_size = 64;
  count_on(e->device, false);
  options.max_tokens = RESPONSE_MAX - FEWER;
  answer(e, &options, 0);
  int uploads = counts.uploads, waits = counts.waits;
  counts.uploads = counts.waits = 0;
  options.max_tokens = RESPONSE_MAX;
  answer(e, &options, 0);
  count_off(e->device);
  assert_int_equal(counts.uploads, uploads);
  assert_int_equal(counts.waits, waits + FEWER);
}

static void a_token_needs_no_upload(void **state) {
  (void)state;
  for_each(check_steady_state);
}

static void shapes_repeat(void **state) {
  static const int32_t buckets[][2] = {{1, 1}, {2, 2},  {3, 4},   {4, 4},  {5, 8},
                                       {8, 8}, {9, 16}, {17, 24}, {64, 64}};
  (void)state;
  for (size_t i = 0; i < sizeof buckets / sizeof *buckets; i++)
    assert_int_equal(decoding_bucket(buckets[i][0]), buckets[i][1]);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(preempted_sequences_go_on_as_before),
      cmocka_unit_test(shared_prompts_change_nothing),
      cmocka_unit_test(padding_and_replays_change_nothing),
      cmocka_unit_test(a_token_needs_no_upload),
      cmocka_unit_test(shapes_repeat),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

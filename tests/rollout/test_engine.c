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
      if (!mpi_test_fits(tp)) continue;
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

typedef struct {
  double prefilled, decoded;
} positions_t;

/* Answers all prompts with a cache of CACHE_BYTES; the positions of passes and of steps, on all ranks. */
static positions_t answer(engine_t *e, const generator_options_t *options, size_t cache_bytes) {
  generator_t *generator;
  perf_counter_t before[REGION_COUNT], after[REGION_COUNT];
  const generator_source_t source = prompt_set_source(&e->set);
  prompt_set_clear(&e->set);
  assert_ok(generator_create(e->tiny.pass, &e->tiny.role, options, cache_bytes, &generator));
  perf_snapshot(before);
  assert_ok(generator_run(generator, &e->tiny.role, PROMPTS, &source));
  perf_snapshot(after);
  generator_free(generator);
  assert_ok(prompt_set_share(&e->set, &e->grid));
  double positions[2] = {after[REGION_PREFILL].tokens - before[REGION_PREFILL].tokens,
                         after[REGION_DECODE].tokens - before[REGION_DECODE].tokens};
  assert_ok(comm_allreduce(e->grid.world, positions, 2, COMM_F64, COMM_SUM));
  return (positions_t){positions[0], positions[1]};
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
  double once = answer(e, &options, 0).prefilled;
  memcpy(expected, e->set.responses, sizeof expected);
  for (size_t more = 0; more < MORE; more++) {
    again += answer(e, &options, (pages + more) * page).prefilled > once;
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
      double apart = answer(e, &options, 0).prefilled;
      memcpy(expected, e->set.responses, sizeof expected);
      e->set.apart = false;
      double shared = answer(e, &options, 0).prefilled;
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

enum { EVENTS_MOST = 8 };

static struct {
  int uploads, waits, allocations, captures, replays;
  int steps, event_waits, hasty; /* hasty: events behind the newest step that were waited for */
  struct {
    const void *own;
    int step;
  } events[EVENTS_MOST]; /* how many steps had been asked for when each was recorded */
} counts;

static device_t counted; /* its own functions */

static status_t count_upload(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                             size_t n) {
  counts.uploads++;
  return counted.upload(device, to, to_type, from, from_type, n);
}

static status_t count_wait(device_t *device) {
  counts.waits++;
  return counted.synchronize(device);
}

static status_t count_alloc(device_t *device, size_t bytes, void **out) {
  counts.allocations++;
  return counted.alloc(device, bytes, out);
}

static status_t count_run(device_t *device, int number, const void *arguments) {
  counts.steps += number == op_decode_advance;
  return counted.run(device, number, arguments);
}

static status_t count_event_record(device_t *device, void *own) {
  int i = 0;
  while (i < EVENTS_MOST - 1 && counts.events[i].own && counts.events[i].own != own)
    i++;
  counts.events[i].own = own;
  counts.events[i].step = counts.steps;
  return counted.event_record(device, own);
}

static status_t count_event_wait(device_t *device, void *own) {
  counts.event_waits++;
  for (int i = 0; i < EVENTS_MOST; i++)
    counts.hasty += counts.events[i].own == own && counts.events[i].step == counts.steps;
  return counted.event_wait(device, own);
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
  counted = *device;
  memset(&counts, 0, sizeof counts);
  device->upload = count_upload;
  device->synchronize = count_wait;
  device->alloc = count_alloc;
  device->run = count_run;
  if (device->event_record) device->event_record = count_event_record;
  if (device->event_wait) device->event_wait = count_event_wait;
  if (replays) device->graph = count_graph;
}

static void count_off(device_t *device) {
  device->upload = counted.upload;
  device->synchronize = counted.synchronize;
  device->alloc = counted.alloc;
  device->run = counted.run;
  device->event_record = counted.event_record;
  device->event_wait = counted.event_wait;
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

/* A token more of each response is a step more, and a wait for the event of the step before it where the
 * device works behind the host; no upload, no allocation, nor any other wait. */
static void check_steady_state(engine_t *e) {
  enum { FEWER = 3 };
  generator_options_t options = options_of();
  bool behind = device_works_behind(e->device);
  options.end.answer = -1;
  options.page_size = 64;
  answer(e, &options, 0); /* buffers are there */
  count_on(e->device, false);
  options.max_tokens = RESPONSE_MAX - FEWER;
  answer(e, &options, 0);
  const int uploads = counts.uploads, waits = counts.waits, allocations = counts.allocations,
            steps = counts.steps, event_waits = counts.event_waits, hasty = counts.hasty;
  memset(&counts, 0, sizeof counts);
  options.max_tokens = RESPONSE_MAX;
  answer(e, &options, 0);
  count_off(e->device);
  assert_int_equal(counts.uploads, uploads);
  assert_int_equal(counts.waits, waits);
  assert_int_equal(counts.allocations, allocations);
  assert_int_equal(counts.steps, steps + FEWER);
  assert_int_equal(counts.event_waits, event_waits + (behind ? FEWER : 0));
  assert_int_equal(counts.hasty, hasty);
}

static void a_token_needs_no_upload(void **state) {
  (void)state;
  for_each(check_steady_state);
}

/* ---- A device that works behind the host ---- */

static status_t late_event_create(device_t *device, void **own) {
  *own = device;
  return STATUS_OK;
}

static void late_event_free(device_t *device, void *own) {
  assert_ptr_equal(own, device);
}

static status_t late_event(device_t *device, void *own) {
  assert_ptr_equal(own, device);
  return STATUS_OK;
}

/* DEVICE has events, or has none: then it is done with everything at once. */
static void set_behind(device_t *device, bool behind) {
  device->event_create = behind ? late_event_create : NULL;
  device->event_free = behind ? late_event_free : NULL;
  device->event_record = device->event_wait = behind ? late_event : NULL;
}

/* Ends are read one step late, in which a sequence that has ended does nothing; that row is no token. */
static void check_late_ends(engine_t *e) {
  generator_options_t options = options_of();
  response_t expected[PROMPTS];
  int ended = 0, again = 0;
  if (device_works_behind(e->device)) return;
  options.sampler.temperature = 5.0;
  options.end.question[0] = 20;
  options.end.question[1] = 7;
  size_t page = cache_page_bytes(&e->tiny.base, options.page_size);
  size_t pages = (size_t)(options.longest_query + options.max_tokens) / 2;
  const struct {
    int32_t slots, max_tokens;
    size_t bytes;
  } cases[] = {
      {PROMPTS, RESPONSE_MAX, 0},           {3, RESPONSE_MAX, 0}, {1, RESPONSE_MAX, 0}, {3, 1, 0}, {3, 2, 0},
      {5, RESPONSE_MAX, (pages + 2) * page}};
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    options.slots = cases[c].slots;
    options.max_tokens = cases[c].max_tokens;
    positions_t once = answer(e, &options, 0);
    memcpy(expected, e->set.responses, sizeof expected);
    set_behind(e->device, true);
    positions_t late = answer(e, &options, cases[c].bytes);
    set_behind(e->device, false);
    expect_same(&e->set, expected);
    again += late.prefilled > once.prefilled;
    if (cases[c].bytes == 0) assert_true(late.decoded == once.decoded);
    for (int32_t i = 0; i < PROMPTS; i++)
      ended += expected[i].stopped && expected[i].n < options.max_tokens;
  }
  assert_true(ended > PROMPTS && again > 0);
}

static void ends_that_are_read_late_change_nothing(void **state) {
  (void)state;
  for_each(check_late_ends);
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
      cmocka_unit_test(ends_that_are_read_late_change_nothing),
      cmocka_unit_test(shapes_repeat),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

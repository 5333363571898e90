/* Drawing tokens from the rows of a forward pass, split over tp = number of ranks, against sorted rows of the
 * whole model on the host. */
#include "base/memory.h"
#include "model/tiny.h"
#include "mpi_test.h"
#include "rollout/oracle.h"
#include "tensor/plain/plain.h"

#include <math.h>

static const double tolerance = 1e-10;

enum { ROWS = 9, PADDING = 4 };

typedef struct {
  comm_t *self;
  grid_t grid, alone;
  device_t *device;
  tiny_t split, whole;
} sampler_fixture_t;

static status_t forward(tiny_t *tiny) {
  pass_images_t images = {.count = 2, .patches = tiny->patches};
  return pass_forward(tiny->pass, &tiny->role, &tiny->packed, &images, false, NULL, NULL);
}

/* SILENT: the head is zero, so all tokens are equally likely. */
static void set_up(sampler_fixture_t *f, int64_t largest_logits, bool silent) {
  comm_t *world = mpi_test_world();
  const tiny_options_t options = {.config = tiny_config(2, false, PROJECTOR_LINEAR),
                                  .mode = TRAIN_LORA,
                                  .largest_logits = largest_logits};
  assert_ok(comm_split(world, comm_rank(world), 0, "self", &f->self));
  assert_ok(grid_create(world, comm_size(world), 1, &f->grid));
  assert_ok(grid_create(f->self, 1, 1, &f->alone));
  assert_ok(plain_create(PLAIN_DOUBLE, true, &f->device));
  tiny_t *both[] = {&f->split, &f->whole};
  for (int i = 0; i < 2; i++) {
    assert_ok(tiny_create(f->device, i == 0 ? &f->grid : &f->alone, &options, both[i]));
    params_t *params = &both[i]->base.params;
    int32_t head = both[i]->base.lm_head;
    double *zero;
    assert_ok(memory_alloc(&zero, ARENA_OTHER, (size_t)params->items[head].elements, sizeof *zero));
    if (silent) assert_ok(param_write(params, head, DTYPE_F64, zero));
    memory_free(zero);
    assert_ok(forward(both[i]));
  }
}

static void tear_down(sampler_fixture_t *f) {
  tiny_free(&f->split);
  tiny_free(&f->whole);
  device_free(f->device);
  grid_free(&f->alone);
  grid_free(&f->grid);
  comm_free(f->self);
}

/* What is drawn for, and what comes out. */
typedef struct {
  int32_t rows[ROWS], positions[ROWS], tokens[ROWS];
  int64_t samples[ROWS];
  double logprobs[ROWS], entropies[ROWS];
} draws_t;

static index_t *index_made(device_t *device, const int32_t *values, size_t n) {
  index_t *array;
  assert_ok(index_alloc(device, ARENA_OTHER, n, &array));
  assert_ok(index_upload(device, array, values, n));
  return array;
}

/* One call for all rows, of a sampler that takes MOST_ROWS at a time. */
static void draw(sampler_fixture_t *f, const sampler_options_t *options, int32_t most_rows, draws_t *draws) {
  device_t *device = f->device;
  sampler_t *sampler;
  int32_t words[2 * ROWS], none[ROWS] = {0};
  wide_t *logprobs, *entropies;
  for (int32_t i = 0; i < ROWS; i++) {
    words[2 * i] = (int32_t)(uint32_t)draws->samples[i];
    words[2 * i + 1] = (int32_t)(draws->samples[i] >> 32);
  }
  index_t *rows = index_made(device, draws->rows, ROWS), *samples = index_made(device, words, 2 * ROWS);
  index_t *positions = index_made(device, draws->positions, ROWS), *tokens = index_made(device, none, ROWS);
  assert_ok(wide_alloc(device, ARENA_OTHER, ROWS, &logprobs));
  assert_ok(wide_alloc(device, ARENA_OTHER, ROWS, &entropies));
  assert_ok(sampler_create(f->split.pass, device, &f->grid, &f->split.base, options, most_rows, &sampler));
  assert_ok(sampler_draw(sampler, ROWS, rows, samples, positions, tokens, logprobs, entropies));
  sampler_free(sampler);
  assert_ok(index_download(device, draws->tokens, tokens, ROWS));
  assert_ok(wide_download(device, draws->logprobs, DTYPE_F64, logprobs, ROWS));
  assert_ok(wide_download(device, draws->entropies, DTYPE_F64, entropies, ROWS));
  assert_ok(device_synchronize(device));
  void *all[] = {rows, samples, positions, tokens, logprobs, entropies};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    device_release(device, all[i]);
}

/* Draws for ROWS rows at once, one of them padding, and compares each with the oracle. */
static void check(sampler_fixture_t *f, const sampler_options_t *options, int32_t most_rows) {
  draws_t draws;
  for (int32_t i = 0; i < ROWS; i++) {
    draws.rows[i] = i == PADDING ? -1 : (i * 5 + 2) % f->whole.packed.offsets[5];
    draws.positions[i] = 3 * i;
    draws.samples[i] = ((int64_t)i << 33) + 7 - i; /* both halves of the key count */
  }
  draw(f, options, most_rows, &draws);
  for (int32_t i = 0; i < ROWS; i++) {
    double logits[ORACLE_VOCAB_MAX], again;
    oracle_row_t row;
    if (i == PADDING) continue;
    assert_ok(oracle_logits(f->whole.pass, &f->whole.base, draws.rows[i], logits));
    oracle_row(options, logits, f->whole.base.config.vocab, &row);
    int32_t token = draws.tokens[i];
    assert_int_equal(token, oracle_draw(options, &row, draws.samples[i], draws.positions[i]));
    assert_true(fabs(draws.logprobs[i] - row.logprob[token]) <= tolerance);
    assert_true(fabs(draws.entropies[i] - row.entropy) <= tolerance);
    /* What training computes for the token, to the bit. */
    double scale = options->greedy ? 1.0 : 1.0 / options->temperature;
    assert_ok(pass_logprobs(f->split.pass, 1, &draws.rows[i], &token, scale, &again, NULL));
    assert_true(again == draws.logprobs[i]);
  }
}

/* All ways of cutting the distribution. */
static void check_cuts(sampler_fixture_t *f, int32_t most_rows) {
  static const int32_t top_k[] = {0, 1, 2, 5, 36, 37, 1000};
  static const double top_p[] = {1.0, 0.999, 0.9, 0.5, 0.2, 1e-6};
  static const double temperatures[] = {1.0, 0.7, 3.0};
  for (size_t k = 0; k < sizeof top_k / sizeof *top_k; k++)
    for (size_t p = 0; p < sizeof top_p / sizeof *top_p; p++)
      check(
          f,
          &(sampler_options_t){
              .temperature = temperatures[(k + p) % 3], .top_p = top_p[p], .top_k = top_k[k], .seed = 5 + k},
          most_rows);
}

static void test_cuts_against_sorting(void **state) {
  (void)state;
  sampler_fixture_t f;
  set_up(&f, 0, false);
  check_cuts(&f, ROWS);
  tear_down(&f);
}

static void test_few_rows_at_a_time(void **state) {
  (void)state;
  sampler_fixture_t f;
  set_up(&f, 100, false); /* the pass itself takes two rows of logits at a time */
  check(&f, &(sampler_options_t){.temperature = 1.0, .top_p = 0.8, .top_k = 9, .seed = 3}, ROWS);
  check(&f, &(sampler_options_t){.temperature = 1.0, .top_p = 1.0, .seed = 3}, 1);
  tear_down(&f);
}

static void test_greedy(void **state) {
  (void)state;
  sampler_fixture_t f;
  set_up(&f, 0, false);
  /* Temperature and cuts mean nothing to it. */
  check(&f, &(sampler_options_t){.greedy = true, .temperature = 0.1, .top_p = 0.3, .top_k = 2}, ROWS);
  tear_down(&f);
}

/* Ids outside the ranges are never drawn: the others are drawn as if those had no chance, whatever shard they
 * are in. The log-probability stays that of the whole distribution. */
static void test_only_drawable_ids(void **state) {
  (void)state;
  static const token_range_t ranges[] = {{0, 3}, {5, 6}, {11, 30}};
  static const sampler_options_t options[] = {
      {.temperature = 3.0, .top_p = 1.0, .seed = 5, .drawable = ranges, .ranges = 3},
      {.temperature = 3.0, .top_p = 0.5, .seed = 6, .drawable = ranges, .ranges = 3},
      {.temperature = 0.7, .top_p = 0.9, .top_k = 1, .seed = 7, .drawable = ranges, .ranges = 3},
      {.temperature = 1.0, .top_p = 1.0, .top_k = 25, .drawable = ranges + 1, .ranges = 1},
      {.greedy = true, .drawable = ranges, .ranges = 3}};
  sampler_fixture_t f;
  for (int silent = 0; silent < 2; silent++) {
    set_up(&f, 0, silent != 0);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
      check(&f, &options[i], ROWS);
    tear_down(&f);
  }
}

static void test_ties_are_kept_together(void **state) {
  (void)state;
  sampler_fixture_t f;
  set_up(&f, 0, true);
  check_cuts(&f, ROWS);
  check(&f, &(sampler_options_t){.greedy = true}, ROWS);
  tear_down(&f);
}

static void test_seeds_and_samples_differ(void **state) {
  (void)state;
  sampler_fixture_t f;
  set_up(&f, 0, true);
  draws_t draws[2] = {{.rows = {0}}};
  int32_t differ[2] = {0};
  for (int32_t i = 0; i < ROWS; i++)
    draws[0].samples[i] = i;
  draws[1] = draws[0];
  for (uint64_t seed = 0; seed < 2; seed++)
    draw(&f, &(sampler_options_t){.temperature = 1.0, .top_p = 1.0, .seed = seed}, ROWS, &draws[seed]);
  for (int32_t i = 1; i < ROWS; i++) {
    differ[0] += draws[0].tokens[i] != draws[0].tokens[0];
    differ[1] += draws[1].tokens[i] != draws[0].tokens[i];
    assert_true(fabs(draws[0].logprobs[i] + log(37.0)) <= tolerance);
    assert_true(fabs(draws[0].entropies[i] - log(37.0)) <= tolerance);
  }
  assert_true(differ[0] > 0 && differ[1] > 0);
  tear_down(&f);
}

/* Logits that are no numbers give no token, and no error: whoever reads the tokens finds them. */
static void test_broken_logits(void **state) {
  (void)state;
  sampler_fixture_t f;
  draws_t draws = {.rows = {0}};
  set_up(&f, 0, false);
  params_t *params = &f.split.base.params;
  int32_t head = f.split.base.lm_head;
  double *broken;
  assert_ok(memory_alloc(&broken, ARENA_OTHER, (size_t)params->items[head].elements, sizeof *broken));
  broken[0] = NAN; /* of the first id of one rank: all of them must see it */
  if (f.grid.tp_rank == f.grid.tp_size - 1) assert_ok(param_write(params, head, DTYPE_F64, broken));
  memory_free(broken);
  draw(&f, &(sampler_options_t){.temperature = 1.0, .top_p = 1.0}, ROWS, &draws);
  for (int32_t i = 0; i < ROWS; i++)
    assert_int_equal(draws.tokens[i], -1);
  draw(&f, &(sampler_options_t){.greedy = true}, ROWS, &draws);
  for (int32_t i = 0; i < ROWS; i++)
    assert_int_equal(draws.tokens[i], -1);
  tear_down(&f);
}

static void test_too_many_runs_of_ids(void **state) {
  (void)state;
  sampler_fixture_t f;
  token_range_t ranges[VOCAB_RANGES + 1];
  sampler_t *sampler;
  set_up(&f, 0, false);
  for (int32_t r = 0; r <= VOCAB_RANGES; r++)
    ranges[r] = (token_range_t){2 * r, 2 * r + 1};
  const sampler_options_t options = {.greedy = true, .drawable = ranges, .ranges = VOCAB_RANGES + 1};
  assert_int_equal(sampler_create(f.split.pass, f.device, &f.grid, &f.split.base, &options, 1, &sampler),
                   STATUS_INPUT);
  assert_null(sampler);
  error_clear();
  tear_down(&f);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cuts_against_sorting),
      cmocka_unit_test(test_few_rows_at_a_time),
      cmocka_unit_test(test_greedy),
      cmocka_unit_test(test_only_drawable_ids),
      cmocka_unit_test(test_ties_are_kept_together),
      cmocka_unit_test(test_seeds_and_samples_differ),
      cmocka_unit_test(test_broken_logits),
      cmocka_unit_test(test_too_many_runs_of_ids),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

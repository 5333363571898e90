/* What the cuda device does besides operations: copies, events, graphs, collectives of ranks that share a
 * GPU; and that its random numbers are the host's; on a GPU, or with the CUDA that the host carries out. */
#include "base/memory.h"
#include "base/random.h"
#include "cuda/cuda.h"
#include "mpi_test.h"
#include "perf/perf.h"
#include "tensor/event.h"
#include "tensor/ops.h"
#include "tensor/ops_head.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77 };

static device_t *open_mode(dtype_t real_type, bool batch_invariant) {
  device_t *device;
  comm_t *world = mpi_test_world();
  const cuda_options_t options = {.real_type = real_type,
                                  .node_rank = comm_rank(world),
                                  .node_size = comm_size(world),
                                  .batch_invariant = batch_invariant};
  assert_ok(cuda_create(&options, &device));
  return device;
}

static device_t *open_device(dtype_t real_type) {
  return open_mode(real_type, false);
}

/* More than the pinned memory holds, in both directions, from double to bf16 and back. */
static void large_copies(void **state) {
  enum { N = 17 * 1000 * 1000 + 7 };
  device_t *device = open_device(DTYPE_BF16);
  SCOPED_MEMORY double *sent = NULL, *received = NULL;
  perf_counter_t counters[REGION_COUNT];
  real_t *array;
  (void)state;
  perf_snapshot(counters);
  const double before = counters[perf_region()].copied_bytes;
  assert_ok(memory_alloc(&sent, ARENA_OTHER, N, sizeof *sent));
  assert_ok(memory_alloc(&received, ARENA_OTHER, N, sizeof *received));
  for (int64_t i = 0; i < N; i++)
    sent[i] = (double)(i % 251) - 125.0;
  assert_ok(real_alloc(device, ARENA_OTHER, N, &array));
  assert_ok(real_upload(device, array, sent, DTYPE_F64, N));
  assert_ok(real_download(device, received, DTYPE_F64, array, N));
  assert_ok(device_synchronize(device));
  assert_memory_equal(sent, received, N * sizeof *sent);
  /* Both ways, in bf16. */
  perf_snapshot(counters);
  assert_true(counters[perf_region()].copied_bytes - before == 2.0 * N * (double)dtype_size(DTYPE_BF16));
  device_release(device, array);
  device_free(device);
}

/* Each download has what was there when it was asked for, however many there are; an event is behind those
 * before it. */
static void many_downloads(void **state) {
  enum { COUNT = 10007, EVENT_AT = 5000 };
  static int32_t received[COUNT];
  device_t *device = open_device(DTYPE_F32);
  device_event_t *event, *last;
  index_t *array;
  double seconds, begun = perf_now();
  (void)state;
  assert_ok(index_alloc(device, ARENA_OTHER, 1, &array));
  assert_ok(device_event_create(device, &event));
  assert_ok(device_event_create(device, &last));
  for (int32_t i = 0; i < COUNT; i++) {
    assert_ok(index_upload(device, array, &i, 1));
    assert_ok(index_download(device, &received[i], array, 1));
    if (i == EVENT_AT) assert_ok(device_event_record(event));
  }
  assert_ok(device_event_wait(event));
  for (int32_t i = 0; i <= EVENT_AT; i++)
    assert_int_equal(received[i], i);
  assert_ok(device_synchronize(device));
  for (int32_t i = 0; i < COUNT; i++)
    assert_int_equal(received[i], i);
  assert_ok(device_event_record(last));
  assert_ok(device_event_wait(last));
  assert_ok(device_event_seconds(event, last, &seconds));
  assert_true(seconds > 0.0 && seconds <= perf_now() - begun);
  device_event_free(last);
  device_event_free(event);
  device_release(device, array);
  device_free(device);
}

typedef struct {
  device_t *device;
  wide_t *sum;
  real_t *x, *y;
  int runs;
} counting_t;

/* y += x, and sum += the squares of nothing else than what is in sum: needs scratch. */
static status_t count_body(void *context) {
  counting_t *counting = context;
  counting->runs++;
  TRY(OP(counting->device, add, &(op_add_t){.n = 5, .x = counting->x, .y = counting->y}));
  return OP(counting->device, sum_squares,
            &(op_sum_squares_t){.n = 1, .x = counting->sum, .sum = counting->sum});
}

static void graphs(void **state) {
  enum { CALLS = 6 };
  counting_t counting = {.device = open_device(DTYPE_F32)};
  const float ones[5] = {1, 1, 1, 1, 1}, start = 0.5F;
  float expected = start, sum, y[5];
  (void)state;
  assert_true(device_replays(counting.device));
  assert_ok(real_alloc(counting.device, ARENA_OTHER, 5, &counting.x));
  assert_ok(real_alloc(counting.device, ARENA_OTHER, 5, &counting.y));
  assert_ok(wide_alloc(counting.device, ARENA_OTHER, 1, &counting.sum));
  assert_ok(real_upload(counting.device, counting.x, ones, DTYPE_F32, 5));
  assert_ok(real_upload(counting.device, counting.y, ones, DTYPE_F32, 5));
  assert_ok(wide_upload(counting.device, counting.sum, &start, DTYPE_F32, 1));
  for (int i = 0; i < CALLS; i++) {
    assert_ok(device_graph(counting.device, 77, count_body, &counting));
    expected += expected * expected;
  }
  assert_int_equal(counting.runs, 3); /* the third is captured */
  assert_ok(real_download(counting.device, y, DTYPE_F32, counting.y, 5));
  assert_ok(wide_download(counting.device, &sum, DTYPE_F32, counting.sum, 1));
  assert_ok(device_synchronize(counting.device));
  for (int i = 0; i < 5; i++)
    assert_true(y[i] == 1.0F + CALLS);
  assert_true(sum == expected);
  device_release(counting.device, counting.x);
  device_release(counting.device, counting.y);
  device_release(counting.device, counting.sum);
  device_free(counting.device);
}

static void too_much_memory(void **state) {
  device_t *device = open_device(DTYPE_F32);
  wide_t *array;
  (void)state;
  assert_error_about(wide_alloc(device, ARENA_OTHER, (size_t)1 << 45, &array), STATUS_MEMORY, "bytes left");
  assert_ok(wide_alloc(device, ARENA_OTHER, 100, &array)); /* it goes on */
  device_release(device, array);
  device_free(device);
}

/* The ways of collectives that the host's CUDA knows, by what its MPI says. A GPU's MPI says what it says:
 * both are the same there. */
typedef enum { THROUGH_HOST, ON_DEVICE, WAYS } way_t;

static void choose_way(way_t way) {
  assert_int_equal(setenv("LLAVA_TEST_CUDA_AWARE", way == ON_DEVICE ? "1" : "0", 1), 0);
}

/* Sums, shares of different sizes, and a sum that is divided. */
static void check_collectives(void) {
  enum { N = 1001, MOST = 8 };
  comm_t *world = mpi_test_world();
  const int rank = comm_rank(world), size = comm_size(world);
  device_t *device = open_device(DTYPE_BF16);
  float values[N * MOST], total = (float)(size * (size + 1) / 2);
  size_t counts[MOST] = {0}, before = 0, all = 0;
  device_request_t *request;
  real_t *real;
  wide_t *wide;
  assert_true(size <= MOST);
  assert_ok(device_comm_create(device, world));
  assert_ok(real_alloc(device, ARENA_OTHER, N, &real));
  assert_ok(wide_alloc(device, ARENA_OTHER, (size_t)(N * size), &wide));
  for (int i = 0; i < N * size; i++)
    values[i] = (float)(rank + 1);
  assert_ok(real_upload(device, real, values, DTYPE_F32, N));
  assert_ok(real_allreduce(device, world, real, N, COMM_SUM));
  assert_ok(real_download(device, values, DTYPE_F32, real, N));
  assert_ok(device_synchronize(device));
  for (int i = 0; i < N; i++)
    assert_true(values[i] == total);
  for (int r = 0; r < size; r++) {
    counts[r] = (size_t)(r * 3 + (r != 1)); /* one may give nothing */
    before += r < rank ? counts[r] : 0;
    all += counts[r];
  }
  for (size_t i = 0; i < counts[rank]; i++)
    values[i] = (float)(100 * rank + (int)i);
  assert_ok(wide_upload(device, wide_at(device, wide, (int64_t)before), values, DTYPE_F32, counts[rank]));
  assert_ok(wide_allgatherv(device, world, wide_at(device, wide, (int64_t)before), wide, counts));
  assert_ok(wide_download(device, values, DTYPE_F32, wide, all));
  assert_ok(device_synchronize(device));
  for (int r = 0, at = 0; r < size; r++)
    for (size_t i = 0; i < counts[r]; i++)
      assert_true(values[at++] == (float)(100 * r + (int)i));
  for (int i = 0; i < N * size; i++)
    values[i] = (float)((rank + 1) * (i % 7));
  assert_ok(wide_upload(device, wide, values, DTYPE_F32, (size_t)(N * size)));
  assert_ok(wide_reduce_scatter_begin(device, world, wide, N, &request));
  assert_ok(wide_reduce_scatter_end(device, request));
  assert_ok(wide_download(device, values, DTYPE_F32, wide_at(device, wide, rank * N), N));
  assert_ok(device_synchronize(device));
  for (int i = 0; i < N; i++)
    assert_true(values[i] == total * (float)((rank * N + i) % 7));
  device_release(device, real);
  device_release(device, wide);
  device_comm_free(device, world);
  device_free(device);
}

static void collectives(void **state) {
  (void)state;
  for (way_t way = THROUGH_HOST; way < WAYS; way++) {
    choose_way(way);
    check_collectives();
  }
}

/* Element I of what RANK gives: their sum depends on its order. */
static float given(int rank, size_t i) {
  return (float)(i % 1013 + 1) * (rank % 2 ? -1e5F : 0.37F) / (float)(rank + 3);
}

/* A collective whose bits are compared: its device, and what this rank gives it. */
typedef struct {
  device_t *device;
  comm_t *world;
  real_t *array; /* (n) */
  float *values; /* (n): what it is filled with, and then the result */
  size_t n;
} trial_t;

static void trial_begin(way_t way, dtype_t type, size_t n, trial_t *trial) {
  choose_way(way);
  *trial = (trial_t){.device = open_device(type), .world = mpi_test_world(), .n = n};
  assert_ok(device_comm_create(trial->device, trial->world));
  assert_ok(memory_alloc(&trial->values, ARENA_OTHER, n, sizeof *trial->values));
  assert_ok(real_alloc(trial->device, ARENA_OTHER, n, &trial->array));
  for (size_t i = 0; i < n; i++)
    trial->values[i] = given(comm_rank(trial->world), i);
  assert_ok(real_upload(trial->device, trial->array, trial->values, DTYPE_F32, n));
}

/* VALUES have what is in the array now; the caller frees them. */
static float *trial_end(trial_t *trial) {
  assert_ok(real_download(trial->device, trial->values, DTYPE_F32, trial->array, trial->n));
  assert_ok(device_synchronize(trial->device));
  device_release(trial->device, trial->array);
  device_comm_free(trial->device, trial->world);
  device_free(trial->device);
  return trial->values;
}

static double copied_bytes(void) {
  perf_counter_t counters[REGION_COUNT];
  perf_snapshot(counters);
  return counters[perf_region()].copied_bytes;
}

/* BEFORE bytes had been copied between device and host: on the device none are added. */
static void check_copies(way_t way, double before) {
  if (EMULATED && way == ON_DEVICE) assert_true(copied_bytes() == before);
}

/* Calls of COLLECTIVE so far, among all ranks. */
static double calls(collective_t collective) {
  perf_collective_t counters[TRAFFIC_COUNT][COLLECTIVE_COUNT];
  perf_collectives(counters[0]);
  return counters[TRAFFIC_WORLD][collective].calls;
}

static float *reduced(way_t way, dtype_t type, size_t n, comm_op_t op) {
  trial_t trial;
  trial_begin(way, type, n, &trial);
  const double before = copied_bytes(), called = calls(COLLECTIVE_ALLREDUCE);
  assert_ok(real_allreduce(trial.device, trial.world, trial.array, n, op));
  check_copies(way, before);
  assert_true(calls(COLLECTIVE_ALLREDUCE) == called + 1); /* in however many pieces */
  return trial_end(&trial);
}

static void check_reduced(dtype_t type, size_t n, comm_op_t op) {
  SCOPED_MEMORY float *on_host = reduced(THROUGH_HOST, type, n, op);
  SCOPED_MEMORY float *on_device = reduced(ON_DEVICE, type, n, op);
  assert_memory_equal(on_host, on_device, n * sizeof *on_host);
}

/* Whole, by shares (of odd sizes too), and in pieces. */
static void reductions_have_the_same_bits(void **state) {
  static const size_t sizes[] = {1, 7, 4096, 30011, 100003};
  (void)state;
  if (comm_size(mpi_test_world()) == 1) skip(); /* nothing is sent */
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (comm_op_t op = COMM_SUM; op <= COMM_MIN; op++) {
      check_reduced(DTYPE_F32, sizes[i], op);
      check_reduced(DTYPE_BF16, sizes[i], op);
    }
  check_reduced(DTYPE_F32, ((size_t)1 << 22) + 5, COMM_SUM);
}

enum { IN_PIECES = 4, GATHERS, RANKS_MOST = 8 };

/* Elements that each rank gives to gather NUMBER; all of them. */
static size_t gather_counts(int number, int size, size_t *counts) {
  size_t total = 0;
  for (int r = 0; r < size; r++) {
    const size_t of[GATHERS] = {
        (size_t)r * 3 + (r != 1),         /* one may give nothing */
        r == size - 1 ? 1001 : 0,         /* one gives all */
        0,                                /* nobody gives any */
        500,                              /* all the same */
        r == 0 ? 5000003 : 1 + (size_t)r, /* more than goes at a time */
    };
    counts[r] = of[number];
    total += counts[r];
  }
  return total;
}

/* IN_PLACE: what this rank gives lies where it goes to; else at the end of the array. */
static float *gathered(way_t way, dtype_t type, int number, bool in_place) {
  trial_t trial;
  size_t counts[RANKS_MOST], before = 0;
  const size_t n = gather_counts(number, comm_size(mpi_test_world()), counts);
  for (int r = 0; r < comm_rank(mpi_test_world()); r++)
    before += counts[r];
  trial_begin(way, type, 2 * n + 1, &trial);
  const double copied = copied_bytes(), called = calls(COLLECTIVE_ALLGATHER);
  const real_t *mine = real_at(trial.device, trial.array, (int64_t)(in_place ? before : n));
  assert_ok(real_allgatherv(trial.device, trial.world, mine, trial.array, counts));
  check_copies(way, copied);
  assert_true(calls(COLLECTIVE_ALLGATHER) <= called + 1);
  return trial_end(&trial);
}

static void check_gathered(dtype_t type, int number, bool in_place) {
  SCOPED_MEMORY float *on_host = gathered(THROUGH_HOST, type, number, in_place);
  SCOPED_MEMORY float *on_device = gathered(ON_DEVICE, type, number, in_place);
  size_t counts[RANKS_MOST], at = 0;
  const int size = comm_size(mpi_test_world());
  const size_t n = gather_counts(number, size, counts);
  assert_memory_equal(on_host, on_device, (2 * n + 1) * sizeof *on_host);
  for (int r = 0; r < size && type == DTYPE_F32; r++)
    for (size_t i = 0; i < counts[r]; i++, at++)
      assert_true(on_device[at] == given(r, in_place ? at : n + i));
}

static void gathers_have_the_same_bits(void **state) {
  (void)state;
  if (comm_size(mpi_test_world()) == 1) skip(); /* nothing is sent */
  assert_true(comm_size(mpi_test_world()) <= RANKS_MOST);
  for (int number = 0; number < IN_PIECES; number++)
    for (int in_place = 0; in_place < 2; in_place++) {
      check_gathered(DTYPE_F32, number, in_place);
      check_gathered(DTYPE_BF16, number, in_place);
    }
  check_gathered(DTYPE_F32, IN_PIECES, false);
}

/* More sums under way than there is memory for at a time, each larger than those before, ended in another
 * order. */
static float *reduced_in_background(way_t way, size_t *n) {
  enum { SUMS = 11, LEAST = 633, STEP = 37, STRIDE = (LEAST + SUMS * STEP) * RANKS_MOST };
  device_request_t *requests[SUMS];
  trial_t trial;
  *n = (size_t)SUMS * STRIDE;
  trial_begin(way, DTYPE_F32, *n, &trial);
  const double before = copied_bytes();
  for (int b = 0; b < SUMS; b++) {
    wide_t *sum = wide_at(trial.device, (wide_t *)(void *)trial.array, b * STRIDE);
    assert_ok(
        wide_reduce_scatter_begin(trial.device, trial.world, sum, (size_t)(LEAST + b * STEP), &requests[b]));
    assert_ok(comm_poll());
  }
  for (int b = 0; b < SUMS; b++)
    assert_ok(wide_reduce_scatter_end(trial.device, requests[(b + 3) % SUMS]));
  check_copies(way, before);
  float *values = trial_end(&trial);
  /* Beside this rank's share the rest is undefined. */
  for (int b = 0; b < SUMS; b++) {
    const size_t share = (size_t)(LEAST + b * STEP), begin = (size_t)comm_rank(trial.world) * share;
    for (size_t i = 0; i < STRIDE; i++)
      if (i < begin || i >= begin + share) values[(size_t)b * STRIDE + i] = 0;
  }
  return values;
}

static void sums_in_background_have_the_same_bits(void **state) {
  size_t n;
  (void)state;
  if (comm_size(mpi_test_world()) == 1) skip(); /* nothing is sent */
  SCOPED_MEMORY float *on_host = reduced_in_background(THROUGH_HOST, &n);
  SCOPED_MEMORY float *on_device = reduced_in_background(ON_DEVICE, &n);
  assert_memory_equal(on_host, on_device, n * sizeof *on_host);
}

/* Sums over ranks in the order of the ranks, of an array that is gathered in pieces. */
static void sums_in_order(void **state) {
  enum { N = (1 << 22) + 5 };
  comm_t *world = mpi_test_world();
  choose_way(ON_DEVICE);
  device_t *device = open_mode(DTYPE_F32, true);
  SCOPED_MEMORY float *values = NULL, *expected = NULL;
  wide_t *wide;
  (void)state;
  assert_ok(memory_alloc(&values, ARENA_OTHER, N, sizeof *values));
  assert_ok(memory_alloc(&expected, ARENA_OTHER, N, sizeof *expected));
  for (int r = 0; r < comm_size(world); r++)
    for (int i = 0; i < N; i++) {
      const float value = given(r, (size_t)i);
      expected[i] = r == 0 ? value : expected[i] + value;
      if (r == comm_rank(world)) values[i] = value;
    }
  assert_ok(device_comm_create(device, world));
  assert_ok(wide_alloc(device, ARENA_OTHER, N, &wide));
  assert_ok(wide_upload(device, wide, values, DTYPE_F32, N));
  assert_ok(wide_allreduce(device, world, wide, N, COMM_SUM));
  assert_ok(wide_download(device, values, DTYPE_F32, wide, N));
  assert_ok(device_synchronize(device));
  assert_memory_equal(values, expected, N * sizeof *values);
  device_release(device, wide);
  device_comm_free(device, world);
  device_free(device);
}

/* The noise of each row for one id: all that a vocabulary of one token, whose logit is 0, is drawn by. */
static void noise_is_the_hosts(void **state) {
  enum { ROWS = 1000, SEED_IDS = 3 };
  static const int32_t ids[SEED_IDS] = {0, 31999, (1 << 24) - 1};
  static const uint64_t seeds[SEED_IDS] = {1, 0x123456789abcdef0, 77};
  static int32_t samples[2 * ROWS], positions[ROWS];
  static float zeros[ROWS], records[ROWS * VOCAB_RECORD];
  device_t *device = open_device(DTYPE_F32);
  wide_t *logits, *drawn;
  index_t *sample, *position;
  (void)state;
  for (int i = 0; i < ROWS; i++) {
    const random_words_t words = random_words(5, RANDOM_SAMPLING, (uint64_t)i, 0);
    samples[2 * i] = (int32_t)words.v[0];
    samples[2 * i + 1] = (int32_t)words.v[1];
    positions[i] = (int32_t)(words.v[2] >> 1);
  }
  assert_ok(wide_alloc(device, ARENA_OTHER, ROWS, &logits));
  assert_ok(wide_alloc(device, ARENA_OTHER, ROWS * VOCAB_RECORD, &drawn));
  assert_ok(index_alloc(device, ARENA_OTHER, 2 * ROWS, &sample));
  assert_ok(index_alloc(device, ARENA_OTHER, ROWS, &position));
  assert_ok(wide_upload(device, logits, zeros, DTYPE_F32, ROWS));
  assert_ok(index_upload(device, sample, samples, 2 * ROWS));
  assert_ok(index_upload(device, position, positions, ROWS));
  for (int k = 0; k < SEED_IDS; k++) {
    const vocab_draw_t draw = {.seed = seeds[k], .samples = sample, .positions = position};
    const op_vocab_statistics_t op = {
        .shard = {.rows = ROWS, .ld = 1, .begin = ids[k], .count = 1, .logits = logits, .scale = 1.0},
        .draw = &draw,
        .records = drawn};
    assert_ok(OP(device, vocab_statistics, &op));
    assert_ok(wide_download(device, records, DTYPE_F32, drawn, ROWS * VOCAB_RECORD));
    assert_ok(device_synchronize(device));
    for (int i = 0; i < ROWS; i++) {
      const uint64_t of = (uint64_t)(uint32_t)samples[2 * i] | (uint64_t)(uint32_t)samples[2 * i + 1] << 32;
      const random_words_t words =
          random_words(seeds[k], RANDOM_SAMPLING, of, (uint64_t)positions[i] << 32 | (uint64_t)ids[k]);
      const double noise = -log(-log(random_open_unit(words.v[0])));
      assert_true(fabs((double)records[i * VOCAB_RECORD + VOCAB_RECORD_VALUE] - noise) <=
                  1e-7 * fmax(1.0, fabs(noise)));
    }
  }
  device_release(device, logits);
  device_release(device, drawn);
  device_release(device, sample);
  device_release(device, position);
  device_free(device);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(large_copies),
                                     cmocka_unit_test(many_downloads),
                                     cmocka_unit_test(graphs),
                                     cmocka_unit_test(too_much_memory),
                                     cmocka_unit_test(noise_is_the_hosts),
                                     cmocka_unit_test(collectives),
                                     cmocka_unit_test(reductions_have_the_same_bits),
                                     cmocka_unit_test(gathers_have_the_same_bits),
                                     cmocka_unit_test(sums_in_background_have_the_same_bits),
                                     cmocka_unit_test(sums_in_order)};
  if (cuda_count() == 0) {
    printf("skipped: no GPU\n");
    return SKIPPED;
  }
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

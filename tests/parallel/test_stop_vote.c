/* Groups that work at their own pace stop together on any one rank's request, and end together without one,
 * on every layout dp x tp. */
#include "mpi_test.h"
#include "parallel/stop_vote.h"

enum { ENDLESS = 1 << 30 };

/* What a rank does: PIECES pieces of work, with a request at its look number REQUEST_AT (0: never), once
 * only. */
typedef struct {
  int pieces, request_at, looks;
} stop_vote_worker_t;

static bool requested(void *context) {
  stop_vote_worker_t *worker = context;
  return ++worker->looks == worker->request_at;
}

/* Works; *DONE pieces. Returns whether the ranks stopped before the end. */
static bool work(const grid_t *grid, int stride, stop_vote_worker_t *worker, int *done) {
  stop_vote_t *vote = NULL;
  bool stop = false;
  assert_ok(stop_vote_start(grid, stride, requested, worker, &vote));
  for (*done = 0; *done < worker->pieces && !stop; ++*done)
    assert_ok(stop_vote_poll(vote, &stop));
  if (!stop) assert_ok(stop_vote_finish(vote, &stop));
  stop_vote_free(vote);
  return stop;
}

static void expect_equal(comm_t *comm, int value) {
  int32_t range[2] = {value, -value};
  assert_ok(comm_allreduce(comm, range, 2, COMM_I32, COMM_MAX));
  assert_int_equal(range[0], -range[1]);
}

/* One rank after another asks to stop work that would never end; others have nothing to do. */
static void check_requests(const grid_t *grid, int stride) {
  for (int who = 0; who < grid->size; who++) {
    bool idle = grid->dp_rank % 2 != 0;
    stop_vote_worker_t worker = {.pieces = idle ? 0 : ENDLESS, .request_at = grid->rank == who ? 3 : 0};
    int done;
    assert_true(work(grid, stride, &worker, &done));
    expect_equal(grid->tp, done);
  }
}

/* Without a request all work is done, however unevenly it is spread. */
static void check_end(const grid_t *grid, int stride) {
  for (int most = 0; most <= 1000; most += 500) {
    stop_vote_worker_t worker = {.pieces = most * grid->dp_rank};
    int done;
    assert_false(work(grid, stride, &worker, &done));
    assert_int_equal(done, worker.pieces);
  }
}

static void check_layouts(void (*check)(const grid_t *grid, int stride)) {
  int size = comm_size(mpi_test_world());
  for (int tp = 1; tp <= size; tp++) {
    grid_t grid;
    if (!mpi_test_fits(tp)) continue;
    assert_ok(grid_create(mpi_test_world(), tp, 1, &grid));
    check(&grid, 1);
    check(&grid, 4);
    grid_free(&grid);
  }
}

static void one_request_stops_all(void **state) {
  (void)state;
  check_layouts(check_requests);
}

static void all_end_together_without_a_request(void **state) {
  (void)state;
  check_layouts(check_end);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_request_stops_all),
      cmocka_unit_test(all_end_together_without_a_request),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

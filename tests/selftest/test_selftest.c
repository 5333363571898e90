/* The self-test passes where all is well, and each of its checks fails where what it looks at is broken. */
#include "selftest/selftest.h"

#include "mpi_test.h"
#include "tensor/cpu/cpu.h"
#include "tensor/ops.h"
#include "tensor/plain/plain.h"

#include <stdlib.h>

static status_t make_oracle(device_t **out) {
  return plain_create(PLAIN_DOUBLE, false, out);
}

/* Runs the self-test on DEVICE, which is freed; and what its checks came to. */
static status_code_t run(device_t *device, status_code_t results[SELFTEST_CHECKS]) {
  grid_t grid;
  assert_ok(grid_create(mpi_test_world(), 1, 1, &grid));
  assert_ok(device_comm_create(device, grid.tp));
  assert_ok(device_comm_create(device, grid.dp));
  const selftest_t test = {.grid = &grid, .device = device, .make_oracle = make_oracle};
  status_code_t status = selftest_run(&test, results);
  device_free(device);
  grid_free(&grid);
  return status;
}

/* Fails unless exactly CHECKS (a bit each) failed, with FAILURE. */
static void expect(const status_code_t *results, unsigned checks, status_code_t failure) {
  for (int c = 0; c < SELFTEST_CHECKS; c++) {
    status_code_t expected = (checks >> c & 1) ? failure : STATUS_OK;
    if (results[c] != expected)
      fail_msg("check %d came to %s, expected %s", c, status_name(results[c]), status_name(expected));
  }
}

static device_t *make_cpu(void) {
  device_t *device;
  assert_ok(cpu_create(1, NULL, &device));
  return device;
}

static void good_devices_pass(void **state) {
  (void)state;
  status_code_t results[SELFTEST_CHECKS];
  device_t *plain;
  assert_ok(run(make_cpu(), results));
  expect(results, 0, STATUS_OK);
  assert_ok(plain_create(PLAIN_DOUBLE, false, &plain));
  assert_ok(run(plain, results));
  expect(results, 0, STATUS_OK);
}

/* ---- A device that leaves an operation out ---- */

static int left_out;

static status_t leave_out(device_watcher_t *watcher, device_t *device, int number, const void *arguments) {
  (void)watcher;
  return number == left_out ? STATUS_OK : device->run(device, number, arguments);
}

static void check_left_out(int number, unsigned checks) {
  status_code_t results[SELFTEST_CHECKS];
  device_watcher_t watcher = {.run = leave_out};
  device_t *device = make_cpu();
  device->watcher = &watcher;
  left_out = number;
  assert_error(run(device, results), STATUS_NUMERIC);
  expect(results, checks, STATUS_NUMERIC);
}

static void a_wrong_operation_fails(void **state) {
  (void)state;
  const unsigned training = 1u << SELFTEST_TRAINING | 1u << SELFTEST_TRAINING_SPLIT;
  check_left_out(op_swiglu_backward, 1u << SELFTEST_MODEL | training);
  check_left_out(op_adamw, training);
}

/* ---- A device whose ranks do not hear of each other ---- */

static status_t sum_nothing(device_t *device, const device_comm_t *comm, void *data, dtype_t type, size_t n,
                            comm_op_t op) {
  (void)device, (void)comm, (void)data, (void)type, (void)n, (void)op;
  return STATUS_OK;
}

static void a_sum_that_adds_nothing_fails(void **state) {
  (void)state;
  if (comm_size(mpi_test_world()) == 1) skip();
  status_code_t results[SELFTEST_CHECKS];
  device_t *device = make_cpu();
  device->allreduce = sum_nothing;
  assert_error(run(device, results), STATUS_COMM);
  assert_int_equal(results[SELFTEST_COLLECTIVES], STATUS_OK);
  assert_int_equal(results[SELFTEST_DEVICE_COLLECTIVES], STATUS_COMM);
  assert_int_equal(results[SELFTEST_TRAINING_SPLIT], STATUS_STOPPED); /* nothing is tried after it */
}

static status_t sum_own(device_t *device, const device_comm_t *comm, void *data, dtype_t type, size_t n,
                        device_request_t **request) {
  (void)device, (void)comm, (void)data, (void)type, (void)n;
  *request = NULL;
  return STATUS_OK;
}

static void gradients_that_are_not_summed_fail(void **state) {
  (void)state;
  if (comm_size(mpi_test_world()) == 1) skip();
  status_code_t results[SELFTEST_CHECKS];
  device_t *device = make_cpu();
  device->reduce_scatter_begin = sum_own;
  assert_error(run(device, results), STATUS_COMM);
  assert_int_equal(results[SELFTEST_DEVICE_COLLECTIVES], STATUS_COMM);
}

/* ---- A folder that cannot be written ---- */

static void a_folder_that_is_none_fails(void **state) {
  (void)state;
  status_code_t results[SELFTEST_CHECKS];
  const char *before = getenv("TMPDIR");
  char kept[4096];
  snprintf(kept, sizeof kept, "%s", before ? before : "");
  setenv("TMPDIR", "/dev/null", 1);
  assert_error(run(make_cpu(), results), STATUS_DATA);
  expect(results, 1u << SELFTEST_FILES, STATUS_DATA);
  if (before)
    setenv("TMPDIR", kept, 1);
  else
    unsetenv("TMPDIR");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_devices_pass),
      cmocka_unit_test(a_wrong_operation_fails),
      cmocka_unit_test(a_sum_that_adds_nothing_fails),
      cmocka_unit_test(gradients_that_are_not_summed_fail),
      cmocka_unit_test(a_folder_that_is_none_fails),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}

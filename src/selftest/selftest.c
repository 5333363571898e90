#include "selftest/selftest.h"

#include "base/log.h"
#include "perf/perf.h"
#include "selftest/selftest_checks.h"

#include <math.h>

static const struct {
  const char *name;
  status_t (*run)(const selftest_t *test);
} checks[SELFTEST_CHECKS] = {
    [SELFTEST_RANDOM] = {"random numbers against known answers", selftest_random},
    [SELFTEST_COLLECTIVES] = {"collectives of all ranks and of a node", selftest_collectives},
    [SELFTEST_DEVICE_COLLECTIVES] = {"collectives on the device's memory", selftest_device_collectives},
    [SELFTEST_IMAGES] = {"images written and read as JPEG", selftest_images},
    [SELFTEST_FILES] = {"HDF5 files written by all ranks of a node", selftest_files},
    [SELFTEST_MODEL] = {"a model against device 'plain' in double", selftest_model},
    [SELFTEST_TRAINING] = {"training on all ranks against one rank", selftest_training},
    [SELFTEST_TRAINING_SPLIT] = {"the same with the model split over ranks", selftest_training_split},
};

status_t selftest_compare(const char *what, const double *found, const double *expected, int64_t n,
                          double floor, double tolerance) {
  double largest = floor, error = 0.0;
  int64_t worst = 0;
  for (int64_t i = 0; i < n; i++) {
    double difference = fabs(found[i] - expected[i]);
    largest = fmax(largest, fabs(expected[i]));
    if (difference <= error) continue; /* a NaN goes on */
    error = isnan(difference) ? INFINITY : difference;
    worst = i;
  }
  if (error <= tolerance * largest) return STATUS_OK;
  return error_set(STATUS_NUMERIC, "%s: number %lld of %lld is %.9g, expected %.9g (to %.1e)", what,
                   (long long)worst, (long long)n, found[worst], expected[worst], tolerance * largest);
}

/* Makes CHECK on all ranks and logs its line. */
static status_t selftest_make(const selftest_t *test, int check) {
  double begun = perf_now();
  error_clear();
  status_code_t status = comm_agree(test->grid->world, checks[check].run(test));
  log_info("%-44s %-6s %7.2f s", checks[check].name, status == STATUS_OK ? "passed" : "FAILED",
           perf_now() - begun);
  if (status != STATUS_OK) log_info("    %s", error_message());
  return status;
}

/* The first check that failed, SELFTEST_CHECKS if none did. */
static int selftest_first_failure(const status_code_t *results) {
  int check = 0;
  while (check < SELFTEST_CHECKS && results[check] == STATUS_OK)
    check++;
  return check;
}

status_t selftest_run(const selftest_t *test, status_code_t results[SELFTEST_CHECKS]) {
  const grid_t *grid = test->grid;
  int passed = 0;
  log_info("self-test on %d rank%s of %d node%s, device %s (%s)", grid->size, grid->size == 1 ? "" : "s",
           grid->node_count, grid->node_count == 1 ? "" : "s", test->device->name, test->device->detail);
  bool connected = true;
  for (int check = 0; check < SELFTEST_CHECKS; check++) {
    results[check] = connected ? selftest_make(test, check) : STATUS_STOPPED;
    passed += results[check] == STATUS_OK;
    connected = connected && results[check] != STATUS_COMM;
  }
  int failed = selftest_first_failure(results);
  if (failed < SELFTEST_CHECKS)
    return error_set(results[failed],
                     "the self-test failed: %d of %d checks passed, the first that did not is '%s'", passed,
                     SELFTEST_CHECKS, checks[failed].name);
  log_info("%d of %d checks passed", passed, SELFTEST_CHECKS);
  return STATUS_OK;
}

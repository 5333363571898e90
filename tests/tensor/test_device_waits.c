/* Events, a device's clock for regions, and the watch over waits for a device: `hang_device` (hang_device.c)
 * is run under mpirun with a device that never gets done, and its exit status is looked at. */
#define _GNU_SOURCE
#include "perf/perf.h"
#include "tensor/cpu/cpu.h"
#include "tensor/event.h"
#include "tensor/ops.h"
#include "tensor/plain/plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void ok(status_code_t status) {
  if (status != STATUS_OK) fail_msg("%s", error_message());
}

/* MPIRUN and HANG_DEVICE are paths that the build sets. Returns the exit status. */
static int run(const char *ranks, const char *name) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    execl(MPIRUN, MPIRUN, "--bind-to", "none", "-np", ranks, HANG_DEVICE, name, "0.3", (char *)NULL);
    _exit(127);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void a_device_that_hangs_ends_the_run(void **state) {
  (void)state;
  assert_int_equal(run("1", "synchronize"), 5);
  assert_int_equal(run("3", "synchronize"), 5);
  assert_int_equal(run("1", "event"), 5);
  assert_int_equal(run("2", "reduce_scatter"), 5);
}

/* Downloads VALUE and one more, with EVENT between them. */
static void download_two(device_t *device, device_event_t *event, float host[2]) {
  const float sent[2] = {3.0f, 4.0f};
  real_t *data = NULL;
  ok(real_alloc(device, ARENA_OTHER, 2, &data));
  ok(real_upload(device, data, sent, DTYPE_F32, 2));
  host[0] = host[1] = 0.0f;
  ok(real_download(device, &host[0], DTYPE_F32, data, 1));
  ok(device_event_record(event));
  ok(real_download(device, &host[1], DTYPE_F32, real_at(device, data, 1), 1));
  ok(OP(device, fill_real, &(op_fill_real_t){.n = 2, .value = 7.0, .x = data}));
  device_release(device, data);
}

static void check_events(device_t *device) {
  device_event_t *event = NULL;
  float host[2];
  ok(device_event_create(device, &event));
  for (int round = 0; round < 2; round++) {
    download_two(device, event, host);
    ok(device_event_wait(event));
    assert_true(host[0] == 3.0f);
    ok(device_synchronize(device));
    assert_true(host[1] == 4.0f);
  }
  bool done = false;
  download_two(device, event, host);
  while (!done)
    ok(device_event_query(event, &done));
  assert_true(host[0] == 3.0f);
  ok(device_synchronize(device));
  device_event_free(event);
}

static void events_follow_what_was_asked(void **state) {
  device_t *device;
  (void)state;
  for (int checking = 0; checking < 2; checking++) {
    ok(plain_create(PLAIN_FLOAT, checking, &device));
    check_events(device);
    device_free(device);
  }
  ok(cpu_create(1, NULL, &device));
  check_events(device);
  device_free(device);
}

/* The checking device is as late as a device may be: nothing is there before it was waited for, what comes
 * behind an event is not there with it, and a first question is answered with no. */
static void a_checking_device_is_late(void **state) {
  device_t *device;
  device_event_t *event = NULL;
  float host[2];
  bool done = true;
  (void)state;
  ok(plain_create(PLAIN_FLOAT, true, &device));
  ok(device_event_create(device, &event));
  assert_int_equal(device_event_wait(event), STATUS_INTERNAL); /* it was never recorded */
  assert_int_equal(device_event_query(event, &done), STATUS_INTERNAL);
  error_clear();
  download_two(device, event, host);
  ok(device_event_query(event, &done));
  assert_false(done);
  assert_true(host[0] == 0.0f && host[1] == 0.0f);
  ok(device_event_wait(event));
  assert_true(host[0] == 3.0f && host[1] == 0.0f);
  ok(device_synchronize(device));
  assert_true(host[1] == 4.0f);
  device_event_free(event);
  device_free(device);
}

static region_t told;

static void tell_region(device_t *device, int region) {
  (void)device;
  told = (region_t)region;
}

static void tell_seconds(device_t *device, double *seconds) {
  (void)device;
  for (int i = 0; i < REGION_COUNT; i++)
    seconds[i] = told == REGION_DECODE && i == REGION_DECODE ? 7.0 : 0.0;
}

/* A device with a clock is told of regions and asked for their times, for as long as it lives. */
static void a_device_times_regions(void **state) {
  device_t *device;
  perf_counter_t counters[REGION_COUNT];
  (void)state;
  ok(plain_create(PLAIN_FLOAT, false, &device));
  device->region_begin = tell_region;
  device->region_seconds = tell_seconds;
  perf_reset();
  device_time_regions(device);
  perf_begin(REGION_DECODE);
  assert_int_equal(told, REGION_DECODE);
  perf_snapshot(counters);
  assert_true(counters[REGION_DECODE].seconds == 7.0);
  perf_end(REGION_DECODE);
  assert_int_equal(told, REGION_OTHER);
  device_free(device);
  perf_begin(REGION_DECODE);
  assert_int_equal(told, REGION_OTHER);
  perf_end(REGION_DECODE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(events_follow_what_was_asked),
      cmocka_unit_test(a_checking_device_is_late),
      cmocka_unit_test(a_device_times_regions),
      cmocka_unit_test(a_device_that_hangs_ends_the_run),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "perf/perf.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void spin(double seconds) {
  double end = perf_now() + seconds;
  while (perf_now() < end) {
  }
}

static void time_goes_to_the_innermost_region(void **state) {
  (void)state;
  perf_counter_t c[REGION_COUNT];
  perf_reset();
  double start = perf_now();
  perf_begin(REGION_FORWARD);
  spin(0.004);
  perf_begin(REGION_TOWER);
  spin(0.008);
  perf_end(REGION_TOWER);
  perf_end(REGION_FORWARD);
  double elapsed = perf_now() - start;
  perf_snapshot(c);
  assert_true(c[REGION_FORWARD].seconds >= 0.004);
  assert_true(c[REGION_TOWER].seconds >= 0.008);
  assert_true(c[REGION_FORWARD].seconds + c[REGION_TOWER].seconds <= elapsed + 1e-9);
  assert_int_equal(c[REGION_FORWARD].count, 1);
  assert_int_equal(c[REGION_TOWER].count, 1);
}

/* The regions' times add up to the time since the reset, open regions included. */
static void no_time_is_lost(void **state) {
  (void)state;
  perf_counter_t c[REGION_COUNT];
  double before = perf_now();
  perf_reset();
  double after = perf_now();
  spin(0.002);
  perf_begin(REGION_DECODE);
  for (int i = 0; i < 100; i++) {
    perf_begin(REGION_EXCHANGE);
    perf_end(REGION_EXCHANGE);
  }
  double early = perf_now();
  perf_snapshot(c);
  double late = perf_now();
  double sum = 0;
  for (int i = 0; i < REGION_COUNT; i++)
    sum += c[i].seconds;
  assert_true(sum >= early - after - 1e-9 && sum <= late - before + 1e-9);
  assert_true(c[REGION_OTHER].seconds >= 0.002);
  assert_int_equal(c[REGION_EXCHANGE].count, 100);
  perf_end(REGION_DECODE);
}

static void work_goes_to_the_innermost_region(void **state) {
  (void)state;
  perf_counter_t c[REGION_COUNT];
  perf_reset();
  perf_flops(1);
  perf_begin(REGION_BACKWARD);
  perf_flops(10);
  perf_bytes(20);
  perf_tokens(30);
  perf_begin(REGION_REDUCE);
  assert_int_equal(perf_region(), REGION_REDUCE);
  perf_comm(40, 0.5);
  perf_collective(TRAFFIC_DP, COLLECTIVE_REDUCE_SCATTER, 1, 40, 0.25);
  perf_collective(TRAFFIC_DP, COLLECTIVE_REDUCE_SCATTER, 0, 0, 0.25);
  perf_copied(50);
  perf_end(REGION_REDUCE);
  perf_flops(10);
  perf_end(REGION_BACKWARD);
  assert_int_equal(perf_region(), REGION_OTHER);
  perf_snapshot(c);
  assert_true(c[REGION_OTHER].flops == 1);
  assert_true(c[REGION_BACKWARD].flops == 20);
  assert_true(c[REGION_BACKWARD].bytes == 20);
  assert_true(c[REGION_BACKWARD].tokens == 30);
  assert_true(c[REGION_BACKWARD].comm_bytes == 0);
  assert_true(c[REGION_REDUCE].comm_bytes == 40);
  assert_true(c[REGION_REDUCE].comm_seconds == 0.5);
  perf_collective_t kinds[TRAFFIC_COUNT * COLLECTIVE_COUNT];
  perf_collectives(kinds);
  const perf_collective_t *sums = &kinds[TRAFFIC_DP * COLLECTIVE_COUNT + COLLECTIVE_REDUCE_SCATTER];
  assert_true(sums->calls == 1 && sums->bytes == 40 && sums->seconds == 0.5);
  perf_reset();
  perf_collectives(kinds);
  assert_true(sums->calls == 0 && sums->bytes == 0 && sums->seconds == 0);
  assert_true(c[REGION_BACKWARD].copied_bytes == 0);
  assert_true(c[REGION_REDUCE].copied_bytes == 50);
}

/* A function that returned early on an error left its regions open. */
static void leaving_a_region_leaves_those_inside(void **state) {
  (void)state;
  perf_reset();
  perf_begin(REGION_EVALUATE);
  perf_begin(REGION_PREFILL);
  perf_begin(REGION_TOWER);
  perf_end(REGION_EVALUATE);
  assert_int_equal(perf_region(), REGION_OTHER);
  perf_end(REGION_TOWER); /* was not open: nothing happens */
  assert_int_equal(perf_region(), REGION_OTHER);
}

/* Deeper than anything nests: what is entered is left again, in pairs. */
static void regions_nest_to_any_depth(void **state) {
  (void)state;
  perf_reset();
  perf_begin(REGION_POLICY);
  for (int i = 0; i < 200; i++)
    perf_begin(i % 2 ? REGION_FORWARD : REGION_BACKWARD);
  for (int i = 199; i >= 0; i--)
    perf_end(i % 2 ? REGION_FORWARD : REGION_BACKWARD);
  assert_int_equal(perf_region(), REGION_POLICY);
  perf_end(REGION_POLICY);
  assert_int_equal(perf_region(), REGION_OTHER);
}

static void *decode(void *unused) {
  (void)unused;
  for (int i = 0; i < 1000; i++)
    perf_thread(REGION_IMAGE_DECODE, 0.25, 2);
  return NULL;
}

static void helper_threads_add_beside_the_main_thread(void **state) {
  (void)state;
  perf_counter_t c[REGION_COUNT];
  pthread_t threads[4];
  perf_reset();
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, decode, NULL), 0);
  for (int i = 0; i < 4; i++)
    pthread_join(threads[i], NULL);
  perf_snapshot(c);
  assert_int_equal(c[REGION_IMAGE_DECODE].count, 4000);
  assert_true(c[REGION_IMAGE_DECODE].thread_seconds == 1000);
  assert_true(c[REGION_IMAGE_DECODE].bytes == 8000);
  assert_true(c[REGION_IMAGE_DECODE].seconds == 0);
  perf_reset();
  perf_snapshot(c);
  assert_int_equal(c[REGION_IMAGE_DECODE].count, 0);
}

/* A clock that counts a second for each mark, for the region of the mark before. */
typedef struct {
  double seconds[REGION_COUNT];
  region_t region;
} marks_t;

static void marks_begin(void *context, region_t region) {
  marks_t *marks = context;
  marks->seconds[marks->region]++;
  marks->region = region;
}

static void marks_seconds(void *context, double *seconds) {
  memcpy(seconds, ((marks_t *)context)->seconds, sizeof((marks_t *)context)->seconds);
}

/* Another clock's times take the place of ours, from when it is used until it is removed. */
static void another_clock_times_regions(void **state) {
  (void)state;
  perf_counter_t c[REGION_COUNT];
  marks_t marks = {.seconds = {[REGION_FORWARD] = 100.0}, .region = REGION_OTHER};
  perf_reset();
  perf_begin(REGION_FORWARD);
  spin(0.002);
  perf_clock_use(&(perf_clock_t){marks_begin, marks_seconds, &marks}); /* in the forward pass: 1 s of other */
  perf_snapshot(c);
  double own = c[REGION_FORWARD].seconds;
  assert_true(own >= 0.002 && own < 50.0);
  assert_true(c[REGION_OTHER].seconds >= 1.0);
  perf_begin(REGION_REDUCE);
  perf_end(REGION_REDUCE);
  perf_end(REGION_FORWARD);
  perf_snapshot(c);
  assert_true(c[REGION_FORWARD].seconds == own + 2.0);
  assert_true(c[REGION_REDUCE].seconds == 1.0);
  perf_reset();
  perf_begin(REGION_BACKWARD);
  perf_clock_remove(c); /* another's: nothing happens */
  perf_end(REGION_BACKWARD);
  perf_snapshot(c);
  assert_true(c[REGION_FORWARD].seconds == 0.0 && c[REGION_BACKWARD].seconds == 1.0);
  double removed = perf_now();
  perf_clock_remove(&marks);
  perf_begin(REGION_BACKWARD);
  perf_end(REGION_BACKWARD);
  perf_snapshot(c);
  assert_true(c[REGION_BACKWARD].seconds > 1.0);
  assert_true(c[REGION_BACKWARD].seconds <= 1.0 + (perf_now() - removed) + 1e-9);
}

static void every_region_has_a_name_of_its_own(void **state) {
  (void)state;
  for (int i = 0; i < REGION_COUNT; i++) {
    assert_non_null(perf_region_name((region_t)i));
    for (int j = 0; j < i; j++)
      assert_string_not_equal(perf_region_name((region_t)i), perf_region_name((region_t)j));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(time_goes_to_the_innermost_region),
      cmocka_unit_test(no_time_is_lost),
      cmocka_unit_test(work_goes_to_the_innermost_region),
      cmocka_unit_test(leaving_a_region_leaves_those_inside),
      cmocka_unit_test(regions_nest_to_any_depth),
      cmocka_unit_test(helper_threads_add_beside_the_main_thread),
      cmocka_unit_test(another_clock_times_regions),
      cmocka_unit_test(every_region_has_a_name_of_its_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

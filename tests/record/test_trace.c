#define _GNU_SOURCE
#include "record/trace.h"

#include "io/json.h"
#include "perf/perf.h"
#include "run_test.h"

#include <pthread.h>
#include <zlib.h>

/* Unpacks and parses the timeline at PATH. */
static json_document_t read_trace(const char *path) {
  static char text[1 << 20];
  json_document_t document;
  gzFile file = gzopen(path, "rb");
  assert_non_null(file);
  int n = gzread(file, text, sizeof text);
  assert_true(n > 0 && n < (int)sizeof text);
  assert_int_equal(gzclose(file), Z_OK);
  assert_ok(json_parse(text, (size_t)n, path, &document));
  return document;
}

typedef struct {
  int stretches, helpers;
  double ts, dur; /* of the last stretch called NAME */
} found_t;

/* The stretches called NAME. */
static found_t find(const json_t *root, const char *name) {
  found_t found = {0};
  const json_t *events;
  assert_ok(json_array(root, "traceEvents", "trace", &events));
  for (const json_t *event = events->u.first; event; event = event->next) {
    const char *phase, *event_name;
    int64_t thread = 0;
    assert_ok(json_string(event, "ph", "trace", &phase));
    assert_ok(json_string(event, "name", "trace", &event_name));
    if (strcmp(phase, "X") != 0 || strcmp(event_name, name) != 0) continue;
    assert_ok(json_int(event, "tid", "trace", &thread));
    assert_ok(json_real(event, "ts", "trace", &found.ts));
    assert_ok(json_real(event, "dur", "trace", &found.dur));
    found.stretches++;
    found.helpers += thread != 0;
  }
  return found;
}

static void *decode_image(void *argument) {
  (void)argument;
  perf_thread(REGION_IMAGE_DECODE, 0.5, 0.0);
  return NULL;
}

static void regions_become_stretches(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  trace_t *trace;
  pthread_t thread;
  run_test_folder(folder);
  assert_ok(trace_open(0, &trace));
  perf_begin(REGION_FORWARD);
  perf_begin(REGION_TOWER);
  perf_end(REGION_TOWER);
  assert_int_equal(pthread_create(&thread, NULL, decode_image, NULL), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  perf_end(REGION_FORWARD);
  assert_ok(trace_write(trace, run_test_path(path, folder, "trace/rank_3.json.gz"), 3));
  trace_close(trace);
  perf_begin(REGION_FORWARD); /* nobody listens any more */
  perf_end(REGION_FORWARD);
  json_document_t document = read_trace(path);
  found_t forward = find(document.root, "forward"), tower = find(document.root, "tower"),
          decode = find(document.root, "image decode");
  assert_true(forward.stretches == 1 && tower.stretches == 1 && decode.stretches == 1);
  assert_true(forward.helpers == 0 && decode.helpers == 1);
  /* Rounded to a tenth of a microsecond. */
  assert_true(tower.ts >= forward.ts - 0.2 && tower.ts + tower.dur <= forward.ts + forward.dur + 0.4);
  assert_true(decode.dur > 4.9e5 && decode.dur < 5.1e5);
  assert_true(forward.ts > 1e15); /* microseconds since 1970 */
  json_free(&document);
  run_test_remove(folder);
}

/* Regions that an early return left open end with the one around them. */
static void regions_left_open_end_too(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  trace_t *trace;
  run_test_folder(folder);
  assert_ok(trace_open(0, &trace));
  perf_begin(REGION_BACKWARD);
  perf_begin(REGION_REDUCE);
  perf_end(REGION_BACKWARD);
  assert_ok(trace_write(trace, run_test_path(path, folder, "rank_0.json.gz"), 0));
  trace_close(trace);
  json_document_t document = read_trace(path);
  assert_int_equal(find(document.root, "reduce").stretches, 1);
  assert_int_equal(find(document.root, "backward").stretches, 1);
  json_free(&document);
  run_test_remove(folder);
}

static void memory_is_bounded_and_the_newest_stay(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  trace_t *trace;
  const json_t *other;
  int64_t dropped;
  run_test_folder(folder);
  assert_ok(trace_open(10, &trace));
  for (int i = 0; i < 95; i++) {
    perf_begin(i < 90 ? REGION_DECODE : REGION_REWARD);
    perf_end(i < 90 ? REGION_DECODE : REGION_REWARD);
  }
  assert_ok(trace_write(trace, run_test_path(path, folder, "rank_0.json.gz"), 0));
  trace_close(trace);
  json_document_t document = read_trace(path);
  assert_int_equal(find(document.root, "decode").stretches, 5);
  assert_int_equal(find(document.root, "reward").stretches, 5);
  assert_ok(json_object(document.root, "otherData", "trace", &other));
  assert_ok(json_int(other, "dropped", "trace", &dropped));
  assert_int_equal(dropped, 85);
  json_free(&document);
  run_test_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(regions_become_stretches),
      cmocka_unit_test(regions_left_open_end_too),
      cmocka_unit_test(memory_is_bounded_and_the_newest_stay),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

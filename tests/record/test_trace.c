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

/* What is recorded of an operation and of a collective while somebody listens. */
static void record_work(void) {
  perf_begin(REGION_FORWARD);
  double begin = perf_now();
  if (perf_observed()) perf_operation("linear", begin);
  perf_comm_since("allreduce", 8.0, begin);
  perf_end(REGION_FORWARD);
}

static const char *kind_of(const json_t *root, const char *name) {
  const json_t *events;
  const char *kind = NULL;
  assert_ok(json_array(root, "traceEvents", "trace", &events));
  for (const json_t *event = events->u.first; event; event = event->next) {
    const char *event_name;
    assert_ok(json_string(event, "name", "trace", &event_name));
    if (strcmp(event_name, name) == 0) assert_ok(json_string(event, "cat", "trace", &kind));
  }
  return kind ? kind : "none";
}

static void operations_and_collectives_are_told_apart(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  trace_t *trace;
  run_test_folder(folder);
  assert_false(perf_observed());
  record_work();
  assert_ok(trace_open(0, &trace));
  record_work();
  assert_ok(trace_write(trace, run_test_path(path, folder, "rank_0.json.gz"), 0));
  trace_close(trace);
  json_document_t document = read_trace(path);
  assert_string_equal(kind_of(document.root, "linear"), "operation");
  assert_string_equal(kind_of(document.root, "allreduce"), "collective");
  assert_string_equal(kind_of(document.root, "forward"), "region");
  assert_int_equal(find(document.root, "linear").stretches, 1);
  json_free(&document);
  run_test_remove(folder);
}

/* Timelines of RANKS ranks, each with RANK + 1 stretches, in FOLDER/trace. */
static void leave_timelines(const char *folder, int ranks) {
  char name[64], path[FILE_MAX_PATH];
  for (int rank = 0; rank < ranks; rank++) {
    trace_t *trace;
    assert_ok(trace_open(0, &trace));
    for (int i = 0; i <= rank; i++) {
      perf_begin(REGION_REWARD);
      perf_end(REGION_REWARD);
    }
    snprintf(name, sizeof name, "trace/rank_%d.json.gz", rank);
    assert_ok(trace_write(trace, run_test_path(path, folder, name), rank));
    trace_close(trace);
  }
}

static void timelines_of_ranks_are_merged(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  enum { RANKS = 11 };
  run_test_folder(folder);
  leave_timelines(folder, RANKS);
  assert_ok(trace_merge(folder, NULL));
  json_document_t document = read_trace(run_test_path(path, folder, "trace/all.json.gz"));
  const json_t *events;
  int of_rank[RANKS] = {0};
  assert_ok(json_array(document.root, "traceEvents", "trace", &events));
  for (const json_t *event = events->u.first; event; event = event->next) {
    int64_t rank;
    const char *phase;
    assert_ok(json_int(event, "pid", "trace", &rank));
    assert_ok(json_string(event, "ph", "trace", &phase));
    assert_in_range(rank, 0, RANKS - 1);
    of_rank[rank] += strcmp(phase, "X") == 0;
  }
  for (int rank = 0; rank < RANKS; rank++)
    assert_int_equal(of_rank[rank], rank + 1);
  json_free(&document);
  assert_ok(trace_merge(folder, NULL)); /* the merged one is not taken for a rank's */
  assert_ok(trace_merge(folder, run_test_path(path, folder, "other.json.gz")));
  assert_true(file_exists(path));
  run_test_remove(folder);
}

static void assert_refused(const char *folder, const char *named) {
  assert_int_equal(trace_merge(folder, NULL), STATUS_DATA);
  assert_non_null(strstr(error_message(), named));
  error_clear();
}

static void what_cannot_be_merged_is_refused(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  int64_t bytes;
  run_test_folder(folder);
  assert_refused(folder, "log.trace");
  leave_timelines(folder, 2);
  run_test_path(path, folder, "trace/rank_1.json.gz");
  assert_ok(file_size(path, &bytes));
  assert_int_equal(truncate(path, bytes / 2), 0);
  assert_refused(folder, "rank_1.json.gz");
  assert_false(file_exists(run_test_path(path, folder, "trace/all.json.gz")));
  assert_false(file_exists(run_test_path(path, folder, "trace/all.json.gz.partial")));
  run_test_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(regions_become_stretches),
      cmocka_unit_test(regions_left_open_end_too),
      cmocka_unit_test(memory_is_bounded_and_the_newest_stay),
      cmocka_unit_test(operations_and_collectives_are_told_apart),
      cmocka_unit_test(timelines_of_ranks_are_merged),
      cmocka_unit_test(what_cannot_be_merged_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

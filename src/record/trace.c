#define _GNU_SOURCE
#include "record/trace.h"

#include "base/memory.h"
#include "io/file.h"
#include "perf/perf.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

enum { DEFAULT_CAPACITY = 1 << 18, HOST_MAX = 128 };

struct trace {
  perf_event_t *events; /* (capacity): a ring */
  int64_t capacity;
  int64_t count;  /* events seen; the newest lie before count % capacity */
  double to_1970; /* added to perf_now(): seconds since 1970 */
};

SCOPED_POINTER(trace_close, trace_t)

static void trace_record(void *context, const perf_event_t *event) {
  trace_t *trace = context;
  trace->events[trace->count++ % trace->capacity] = *event;
}

status_t trace_open(int64_t capacity, trace_t **out) {
  SCOPED(trace_close_at) trace_t *trace = NULL;
  if (capacity <= 0) capacity = DEFAULT_CAPACITY;
  TRY(memory_alloc(&trace, ARENA_OTHER, 1, sizeof *trace));
  TRY(memory_alloc(&trace->events, ARENA_OTHER, (size_t)capacity, sizeof *trace->events));
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  trace->to_1970 = (double)time.tv_sec + 1e-9 * (double)time.tv_nsec - perf_now();
  trace->capacity = capacity;
  perf_observe(trace_record, trace);
  memory_hand_over(out, &trace);
  return STATUS_OK;
}

void trace_close(trace_t *trace) {
  if (!trace) return;
  perf_observe(NULL, NULL);
  memory_free(trace->events);
  memory_free(trace);
}

static void host_name(char host[HOST_MAX]) {
  if (gethostname(host, HOST_MAX) != 0) host[0] = '\0';
  host[HOST_MAX - 1] = '\0';
  for (char *c = host; *c; c++)
    if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ' || (unsigned char)*c > '~') *c = '?';
}

static const char *const kinds[] = {
    [PERF_REGION] = "region", [PERF_OPERATION] = "operation", [PERF_COLLECTIVE] = "collective"};

static void trace_write_event(const trace_t *trace, gzFile file, int rank, const perf_event_t *event) {
  gzprintf(file,
           ",\n{\"name\": \"%s\", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": %d, \"tid\": %lld, \"ts\": %.1f, "
           "\"dur\": %.1f}",
           event->name ? event->name : perf_region_name(event->region), kinds[event->kind], rank,
           (long long)event->thread, 1e6 * (event->begin + trace->to_1970),
           1e6 * (event->end - event->begin));
}

static bool trace_write_events(const trace_t *trace, gzFile file, int rank) {
  char host[HOST_MAX];
  host_name(host);
  int64_t kept = trace->count < trace->capacity ? trace->count : trace->capacity;
  gzprintf(
      file,
      "{\"displayTimeUnit\": \"ms\", \"otherData\": {\"rank\": %d, \"host\": \"%s\", \"events\": %lld, "
      "\"dropped\": %lld},\n\"traceEvents\": [\n{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": %d, "
      "\"args\": {\"name\": \"rank %d on %s\"}},\n{\"name\": \"process_sort_index\", \"ph\": \"M\", \"pid\": "
      "%d, "
      "\"args\": {\"sort_index\": %d}},\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": %d, "
      "\"tid\": 0, \"args\": {\"name\": \"main\"}}",
      rank, host, (long long)kept, (long long)(trace->count - kept), rank, rank, host, rank, rank, rank);
  for (int64_t i = trace->count - kept; i < trace->count; i++)
    trace_write_event(trace, file, rank, &trace->events[i % trace->capacity]);
  gzprintf(file, "\n]}\n");
  int error = Z_OK;
  (void)gzerror(file, &error);
  return error == Z_OK;
}

status_t trace_write(const trace_t *trace, const char *path, int rank) {
  char partial[FILE_MAX_PATH];
  TRY(file_make_parent(path));
  TRY(file_partial(partial, path));
  gzFile file = gzopen(partial, "wb1"); /* the ranks wait for it at the end of the run */
  bool good = file && trace_write_events(trace, file, rank);
  if (file && gzclose(file) != Z_OK) good = false;
  if (good) return file_rename(partial, path);
  (void)unlink(partial);
  return error_set(STATUS_DATA, "the timeline %s cannot be written; is the disk full?", path);
}

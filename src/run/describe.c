#define _GNU_SOURCE
#include "run/describe.h"

#include "base/memory.h"
#include "io/json.h"
#include "perf/perf.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { HOST_MAX = 128, TIME_MAX = 32 };

static void write_text(json_writer_t *writer, const char *key, const char *text) {
  json_write_key(writer, key);
  json_write_string(writer, text);
}

static void write_int(json_writer_t *writer, const char *key, int64_t value) {
  json_write_key(writer, key);
  json_write_int(writer, value);
}

static void write_real(json_writer_t *writer, const char *key, double value) {
  json_write_key(writer, key);
  json_write_real(writer, value);
}

/* Universal time, ISO 8601. */
static void time_text(time_t when, char text[TIME_MAX]) {
  struct tm parts;
  gmtime_r(&when, &parts);
  strftime(text, TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

static void write_times(const session_t *session, json_writer_t *writer) {
  char text[TIME_MAX];
  double seconds = perf_now() - session->started;
  time_t now = time(NULL);
  time_text(now - (time_t)seconds, text);
  write_text(writer, "started", text);
  time_text(now, text);
  write_text(writer, "written", text);
  write_real(writer, "seconds", seconds);
}

static void write_machine(const session_t *session, json_writer_t *writer) {
  const grid_t *grid = &session->grid;
  char host[HOST_MAX];
  if (gethostname(host, sizeof host) != 0) host[0] = '\0';
  host[HOST_MAX - 1] = '\0';
  write_text(writer, "host", host);
  write_int(writer, "nodes", grid->node_count);
  write_int(writer, "ranks", grid->size);
  write_int(writer, "dp", grid->dp_size);
  write_int(writer, "tp", grid->tp_size);
  write_int(writer, "threads", grid->threads);
  write_text(writer, "device", session->device->name);
  write_text(writer, "device_detail", session->device->detail);
  write_real(writer, "sgemm_flops", session->sgemm_flops);
  write_real(writer, "stream_bytes", session->stream_bytes);
}

status_t describe_run(const session_t *session, const char *state, const char *reason) {
  json_writer_t *writer;
  char path[FILE_MAX_PATH], *text;
  size_t n;
  TRY(session_path(session, "run.json", path));
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  write_text(writer, "format", "llava_rlhf run");
  write_int(writer, "format_version", 1);
  write_text(writer, "task", session->settings->job.task);
  write_text(writer, "build", session->build);
  write_text(writer, "state", state);
  write_text(writer, "reason", reason);
  write_times(session, writer);
  write_machine(session, writer);
  write_int(writer, "seed", session->settings->job.seed);
  write_int(writer, "skipped_samples", session->skipped);
  json_write_object_end(writer);
  json_write_line(writer);
  TRY(json_writer_finish(writer, &text, &n));
  status_code_t status = file_replace(path, text, n);
  memory_free(text);
  return status;
}

#define _GNU_SOURCE
#include "run/describe.h"

#include "base/memory.h"
#include "io/json.h"
#include "perf/perf.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { HOST_MAX = 128, TIME_MAX = 32, CORES_TEXT = 256 };

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
  json_write_member(writer, "started", text);
  time_text(now, text);
  json_write_member(writer, "written", text);
  json_write_real_member(writer, "seconds", seconds);
}

static void write_machine(const session_t *session, json_writer_t *writer) {
  const grid_t *grid = &session->grid;
  char host[HOST_MAX], cores[CORES_TEXT];
  if (gethostname(host, sizeof host) != 0) host[0] = '\0';
  host[HOST_MAX - 1] = '\0';
  json_write_member(writer, "host", host);
  json_write_int_member(writer, "nodes", grid->node_count);
  json_write_int_member(writer, "ranks", grid->size);
  json_write_int_member(writer, "dp", grid->dp_size);
  json_write_int_member(writer, "tp", grid->tp_size);
  json_write_int_member(writer, "threads", grid->threads);
  core_set_text(&session->cores, cores, sizeof cores);
  json_write_member(writer, "cores", cores);
  json_write_int_member(writer, "core_count", core_set_count(&session->cores));
  json_write_member(writer, "device", session->device->name);
  json_write_member(writer, "device_detail", session->device->detail);
  json_write_real_member(writer, "sgemm_flops", session->sgemm_flops);
  json_write_real_member(writer, "stream_bytes", session->stream_bytes);
}

status_t describe_run(const session_t *session, const char *state, const char *reason) {
  json_writer_t *writer;
  char path[FILE_MAX_PATH], *text;
  size_t n;
  TRY(session_path(session, "run.json", path));
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_member(writer, "format", "llava_rlhf run");
  json_write_int_member(writer, "format_version", 1);
  json_write_member(writer, "task", session->settings->job.task);
  json_write_member(writer, "build", session->build);
  json_write_member(writer, "state", state);
  json_write_member(writer, "reason", reason);
  write_times(session, writer);
  write_machine(session, writer);
  json_write_int_member(writer, "seed", session->settings->job.seed);
  json_write_int_member(writer, "skipped_samples", session->skipped);
  json_write_object_end(writer);
  json_write_line(writer);
  TRY(json_writer_finish(writer, &text, &n));
  status_code_t status = file_replace(path, text, n);
  memory_free(text);
  return status;
}

#define _GNU_SOURCE
#include "record/describe.h"

#include "base/memory.h"
#include "io/json.h"
#include "perf/perf.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { HOST_MAX = 128, CORES_TEXT = 256 };

void time_text(time_t when, char text[TIME_TEXT_MAX]) {
  struct tm parts;
  gmtime_r(&when, &parts);
  strftime(text, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

static void describe_write_times(const record_t *record, json_writer_t *writer) {
  char text[TIME_TEXT_MAX];
  double seconds = perf_now() - record->started;
  time_t now = time(NULL);
  time_text(now - (time_t)seconds, text);
  json_write_member(writer, "started", text);
  time_text(now, text);
  json_write_member(writer, "written", text);
  json_write_real_member(writer, "seconds", seconds);
}

static void describe_write_machine(const record_t *record, json_writer_t *writer) {
  const record_machine_t *machine = &record->machine;
  const grid_t *grid = machine->grid;
  char host[HOST_MAX], cores[CORES_TEXT];
  if (gethostname(host, sizeof host) != 0) host[0] = '\0';
  host[HOST_MAX - 1] = '\0';
  json_write_member(writer, "host", host);
  json_write_int_member(writer, "nodes", grid->node_count);
  json_write_int_member(writer, "ranks", grid->size);
  json_write_int_member(writer, "dp", grid->dp_size);
  json_write_int_member(writer, "tp", grid->tp_size);
  json_write_int_member(writer, "threads", grid->threads);
  core_set_text(machine->cores, cores, sizeof cores);
  json_write_member(writer, "cores", cores);
  json_write_int_member(writer, "core_count", core_set_count(machine->cores));
  json_write_member(writer, "device", machine->device);
  json_write_member(writer, "device_detail", machine->device_detail);
  json_write_real_member(writer, "product_flops", machine->product_flops);
  json_write_real_member(writer, "stream_bytes", machine->stream_bytes);
}

status_t describe_run(const record_t *record, const char *state, const char *reason) {
  SCOPED_MEMORY char *text = NULL;
  json_writer_t *writer;
  char path[FILE_MAX_PATH];
  size_t n;
  TRY(file_join(path, record->run_dir, "run.json", NULL));
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_member(writer, "format", "llava_rlhf run");
  json_write_int_member(writer, "format_version", 1);
  json_write_member(writer, "task", record->settings->job.task);
  json_write_member(writer, "build", record->machine.build);
  json_write_member(writer, "state", state);
  json_write_member(writer, "reason", reason);
  describe_write_times(record, writer);
  describe_write_machine(record, writer);
  json_write_int_member(writer, "seed", record->settings->job.seed);
  json_write_int_member(writer, "skipped_samples", record->skipped);
  json_write_object_end(writer);
  json_write_line(writer);
  TRY(json_writer_finish(writer, &text, &n));
  return file_replace(path, text, n);
}

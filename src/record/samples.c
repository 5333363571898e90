#include "record/samples.h"

#include "base/memory.h"
#include "io/json.h"
#include "record/base64.h"

#include <math.h>

/* A number for (STEP, MODEL) (FNV-1a). */
static uint64_t round_of(int64_t step, const char *model) {
  uint64_t hash = 0xcbf29ce484222325u ^ (uint64_t)step * 0x9e3779b97f4a7c15u;
  for (const char *c = model ? model : ""; *c; c++)
    hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
  return hash;
}

bool record_wants_sample(const record_t *record, int64_t step, const char *model) {
  if (record->rank != 0 || !record->rundir) return false;
  int64_t taken = record->sample_round == round_of(step, model) ? record->sample_count : 0;
  return taken < record->settings->log.samples;
}

static void write_optional(json_writer_t *writer, const char *key, const char *text) {
  if (!text) return;
  json_write_member(writer, key, text);
}

static status_t write_image(json_writer_t *writer, const record_sample_t *sample) {
  if (sample->jpeg) {
    char *text;
    TRY(base64_encode(sample->jpeg, sample->jpeg_size, &text));
    write_optional(writer, "jpeg", text);
    memory_free(text);
  } else if (sample->dataset && sample->image >= 0) {
    write_optional(writer, "dataset", sample->dataset);
    json_write_int_member(writer, "image", sample->image);
  }
  return STATUS_OK;
}

static status_t sample_line(const record_sample_t *sample, char **line, size_t *n) {
  json_writer_t *writer;
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_int_member(writer, "step", sample->step);
  write_optional(writer, "model", sample->model);
  write_optional(writer, "question", sample->question);
  write_optional(writer, "answer", sample->answer);
  if (sample->score_name && isfinite(sample->score)) {
    write_optional(writer, "score_name", sample->score_name);
    json_write_real_member(writer, "score", sample->score);
  }
  write_optional(writer, "note", sample->note);
  status_code_t status = write_image(writer, sample);
  json_write_object_end(writer);
  json_write_line(writer);
  status_code_t finished = json_writer_finish(writer, line, n);
  if (status == STATUS_OK) return finished;
  if (finished == STATUS_OK) memory_free(*line);
  return status;
}

status_t record_sample(record_t *record, const record_sample_t *sample) {
  if (!record_wants_sample(record, sample->step, sample->model)) return STATUS_OK;
  uint64_t round = round_of(sample->step, sample->model);
  record->sample_count = record->sample_round == round ? record->sample_count + 1 : 1;
  record->sample_round = round;
  char *line;
  size_t n;
  TRY(sample_line(sample, &line, &n));
  status_code_t status = rundir_samples_append(record->rundir, line, n);
  memory_free(line);
  return status;
}

#include "record/samples.h"

#include "base/base64.h"
#include "base/memory.h"
#include "io/json.h"

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

static status_t sample_line(const record_sample_t *sample, char **line, size_t *n) {
  SCOPED_MEMORY char *jpeg = NULL;
  json_writer_t *writer;
  if (sample->jpeg) TRY(base64_encode(sample->jpeg, sample->jpeg_size, &jpeg));
  TRY(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_int_member(writer, "step", sample->step);
  json_write_optional(writer, "model", sample->model);
  json_write_optional(writer, "question", sample->question);
  json_write_optional(writer, "answer", sample->answer);
  if (sample->score_name && isfinite(sample->score)) {
    json_write_member(writer, "score_name", sample->score_name);
    json_write_real_member(writer, "score", sample->score);
  }
  json_write_optional(writer, "note", sample->note);
  json_write_optional(writer, "jpeg", jpeg);
  if (!jpeg && sample->dataset && sample->image >= 0) {
    json_write_member(writer, "dataset", sample->dataset);
    json_write_int_member(writer, "image", sample->image);
  }
  json_write_object_end(writer);
  json_write_line(writer);
  return json_writer_finish(writer, line, n);
}

status_t record_sample(record_t *record, const record_sample_t *sample) {
  if (!record_wants_sample(record, sample->step, sample->model)) return STATUS_OK;
  uint64_t round = round_of(sample->step, sample->model);
  record->sample_count = record->sample_round == round ? record->sample_count + 1 : 1;
  record->sample_round = round;
  SCOPED_MEMORY char *line = NULL;
  size_t n;
  TRY(sample_line(sample, &line, &n));
  return rundir_samples_append(record->rundir, line, n);
}

#include "run/samples.h"

#include "base/memory.h"
#include "io/json.h"
#include "run/base64.h"

#include <math.h>
#include <string.h>

/* A number for (STEP, MODEL) (FNV-1a). */
static uint64_t round_of(int64_t step, const char *model) {
  uint64_t hash = 0xcbf29ce484222325u ^ (uint64_t)step * 0x9e3779b97f4a7c15u;
  for (const char *c = model ? model : ""; *c; c++)
    hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
  return hash;
}

bool session_wants_sample(const session_t *session, int64_t step, const char *model) {
  if (comm_rank(session->world) != 0) return false;
  int64_t taken = session->sample_round == round_of(step, model) ? session->sample_count : 0;
  return taken < session->settings->log.samples;
}

static void write_optional(json_writer_t *writer, const char *key, const char *text) {
  if (!text) return;
  json_write_member(writer, key, text);
}

static status_t write_image(json_writer_t *writer, const session_sample_t *sample) {
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

static status_t sample_line(const session_sample_t *sample, char **line, size_t *n) {
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

status_t session_sample(session_t *session, const session_sample_t *sample) {
  if (!session_wants_sample(session, sample->step, sample->model)) return STATUS_OK;
  uint64_t round = round_of(sample->step, sample->model);
  session->sample_count = session->sample_round == round ? session->sample_count + 1 : 1;
  session->sample_round = round;
  char path[FILE_MAX_PATH], *line;
  size_t n;
  TRY(session_path(session, "samples.jsonl", path));
  TRY(sample_line(sample, &line, &n));
  status_code_t status = file_append(path, line, n);
  memory_free(line);
  return status;
}

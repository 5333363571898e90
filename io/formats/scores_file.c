#include "io/formats/scores_file.h"

#include "base/memory.h"
#include "io/formats/sample_table.h"

#include <unistd.h>

static const h5_format_t format = {"llava_rlhf_scores", 3, "score the samples again (task score)"};

/* ---- columns ---- */

enum { RAGGED_TOKENS, RAGGED_NAMES, RAGGED_COUNT };

/* The file's layout, with the places of SCORES' arrays. */
static table_t scores_file_table_make(scores_file_t *scores) {
  table_t table = {.samples = scores->samples, .index = scores->index, .ragged_count = RAGGED_COUNT};
  table.ragged[RAGGED_TOKENS] = (table_ragged_t){"/offsets", &scores->offsets};
  table.ragged[RAGGED_NAMES] = (table_ragged_t){"/text/id/offsets", &scores->name_offsets};
  sample_table_add(&table, "/sample/id", "row of the dataset", H5TYPE_I64, -1, &scores->id);
  sample_table_add(&table, "/text/id/bytes", "the sample's id in the dataset, UTF-8", H5TYPE_U8, RAGGED_NAMES,
                   &scores->names);
  sample_table_add(&table, "/tokens", "token ids of the answers", H5TYPE_I32, RAGGED_TOKENS, &scores->tokens);
  sample_table_add(&table, "/logprob", "log-probability of each answer token, teacher-forced, nats",
                   H5TYPE_F32, RAGGED_TOKENS, &scores->logprob);
  if (scores->has_reward)
    sample_table_add(&table, "/reward", "the reward head's score", H5TYPE_F32, -1, &scores->reward);
  return table;
}

int64_t scores_file_bytes(int64_t samples, int64_t tokens, bool has_reward) {
  enum { OWN_BYTES = 7 << 10 /* about what HDF5 and the attributes take */, NAME_BYTES = 12 /* of most */ };
  scores_file_t none = {.has_reward = has_reward};
  table_t table = scores_file_table_make(&none);
  const int64_t elements[RAGGED_COUNT] = {[RAGGED_TOKENS] = tokens, [RAGGED_NAMES] = NAME_BYTES * samples};
  int64_t bytes = OWN_BYTES;
  for (int r = 0; r < table.ragged_count; r++)
    bytes += h5_growing_bytes(H5TYPE_I64, samples + 1);
  bytes += h5_growing_bytes(H5TYPE_U64, samples); /* hashes */
  for (int c = 0; c < table.column_count; c++) {
    int ragged = table.columns[c].ragged;
    bytes += h5_growing_bytes(table.columns[c].type, ragged < 0 ? samples : elements[ragged]);
  }
  return bytes;
}

/* ---- writing ---- */

struct scores_writer {
  comm_t *comm;
  char path[FILE_MAX_PATH], partial[FILE_MAX_PATH];
  h5_file_t *file;
  bool has_reward;
  table_end_t end;
};

static status_t scores_file_info_write(h5_file_t *file, const scores_info_t *info) {
  TRY(h5_attr_write_text(file, "/", "model", info->model));
  TRY(h5_attr_write_text(file, "/", "dataset", info->dataset));
  return h5_attr_write_u64(file, "/", "dataset_identity", &info->dataset_identity, 1);
}

static status_t writer_begin(scores_writer_t *writer, const char *path, const scores_info_t *info) {
  scores_file_t none = {.has_reward = writer->has_reward};
  table_t table = scores_file_table_make(&none);
  TRY(file_join(writer->path, path, NULL, NULL));
  TRY(comm_agree(writer->comm, comm_rank(writer->comm) == 0 ? file_make_parent(path) : STATUS_OK));
  TRY(file_partial(writer->partial, path));
  TRY(h5_create(writer->partial, writer->comm, &format, &writer->file));
  TRY(comm_agree(writer->comm, scores_file_info_write(writer->file, info)));
  return sample_table_begin(writer->file, writer->comm, &table);
}

status_t scores_writer_open(comm_t *comm, const char *path, const scores_info_t *info, bool has_reward,
                            scores_writer_t **out) {
  TRY(comm_agree(comm, memory_alloc(out, ARENA_IO, 1, sizeof **out)));
  scores_writer_t *writer = *out;
  writer->comm = comm;
  writer->has_reward = has_reward;
  status_code_t status = writer_begin(writer, path, info);
  if (status == STATUS_OK) return STATUS_OK;
  scores_writer_abandon(writer);
  *out = NULL;
  return error_context(status, "while starting the scores %s", path);
}

status_t scores_writer_append(scores_writer_t *writer, const scores_file_t *round) {
  scores_file_t copy = *round; /* the table keeps addresses of its pointers, and only reads through them */
  copy.has_reward = writer->has_reward;
  table_t table = scores_file_table_make(&copy);
  return error_context(sample_table_append(writer->file, writer->comm, &table, &writer->end),
                       "while writing the scores %s", writer->path);
}

status_t scores_writer_close(scores_writer_t *writer) {
  status_code_t status = file_commit(writer->comm, writer->path, h5_close(writer->file), false);
  memory_free(writer);
  return status;
}

void scores_writer_abandon(scores_writer_t *writer) {
  if (!writer) return;
  h5_abandon(writer->file);
  if (comm_rank(writer->comm) == 0 && *writer->partial) unlink(writer->partial);
  memory_free(writer);
}

/* ---- reading ---- */

static status_t scores_file_info_read(h5_file_t *file, scores_info_t *info) {
  TRY(h5_attr_read_text(file, "/", "model", &info->model));
  TRY(h5_attr_read_text(file, "/", "dataset", &info->dataset));
  return h5_attr_read_u64(file, "/", "dataset_identity", &info->dataset_identity, 1);
}

status_t scores_info_read(const char *path, scores_info_t *info) {
  SCOPED(h5_abandon_at) h5_file_t *file = NULL;
  *info = (scores_info_t){0};
  TRY(h5_open(path, H5_READ, &format, &file));
  status_code_t status = scores_file_info_read(file, info);
  if (status != STATUS_OK) scores_info_free(info);
  return status;
}

void scores_info_free(scores_info_t *info) {
  memory_free(info->model);
  memory_free(info->dataset);
  *info = (scores_info_t){0};
}

status_t scores_file_read(const char *path, int64_t begin, int64_t count, scores_file_t *scores) {
  SCOPED(h5_abandon_at) h5_file_t *file = NULL;
  *scores = (scores_file_t){0};
  TRY(h5_open(path, H5_READ, &format, &file));
  scores->has_reward = h5_exists(file, "/reward");
  table_t table = scores_file_table_make(scores);
  status_code_t status = sample_table_read(file, begin, count, &table, &scores->index);
  scores->samples = table.samples;
  if (status != STATUS_OK) scores_file_free(scores);
  return status;
}

void scores_file_free(scores_file_t *scores) {
  table_t table = scores_file_table_make(scores);
  sample_table_free(&table);
  memory_free(scores->index);
  *scores = (scores_file_t){0};
}

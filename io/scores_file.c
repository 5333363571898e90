#include "io/scores_file.h"

#include "base/memory.h"
#include "io/sample_table.h"

#include <string.h>

static const char format_name[] = "llava_rlhf_scores";
enum { FORMAT_VERSION = 1 };

/* The file's layout, with the places of SCORES' arrays. */
static table_t table_make(scores_file_t *scores) {
  table_t table = {.samples = scores->samples, .index = scores->index, .ragged_count = 1, .column_count = 3};
  table.ragged[0] = (table_ragged_t){"/offsets", &scores->offsets};
  table.columns[0] = (table_column_t){.path = "/sample/id",
                                      .meaning = "row of the dataset",
                                      .type = H5TYPE_I64,
                                      .ragged = -1,
                                      .width = 1,
                                      .data_at = &scores->id};
  table.columns[1] = (table_column_t){.path = "/tokens",
                                      .meaning = "token ids of the answers",
                                      .type = H5TYPE_I32,
                                      .ragged = 0,
                                      .width = 1,
                                      .data_at = &scores->tokens};
  table.columns[2] = (table_column_t){.path = "/logprob",
                                      .meaning = "log-probability of each answer token, teacher-forced, nats",
                                      .type = H5TYPE_F32,
                                      .ragged = 0,
                                      .width = 1,
                                      .data_at = &scores->logprob};
  if (scores->has_reward)
    table.columns[table.column_count++] = (table_column_t){.path = "/reward",
                                                           .meaning = "the reward head's score",
                                                           .type = H5TYPE_F32,
                                                           .ragged = -1,
                                                           .width = 1,
                                                           .data_at = &scores->reward};
  return table;
}

double scores_file_bytes(double samples, double tokens, bool has_reward) {
  enum { OWN_BYTES = 6 << 10 }; /* about what HDF5 and the attributes take */
  const scores_file_t *scores = NULL;
  double per_sample =
      sizeof *scores->id + sizeof *scores->offsets + (has_reward ? sizeof *scores->reward : 0);
  return OWN_BYTES + samples * per_sample + tokens * (sizeof *scores->tokens + sizeof *scores->logprob);
}

static status_t scores_fill(h5_file_t *file, comm_t *comm, const char *model, const scores_file_t *scores) {
  scores_file_t copy = *scores; /* the table keeps addresses of its pointers, and only reads through them */
  table_t table = table_make(&copy);
  TRY(comm_agree(comm, h5_attr_write_text(file, "/", "model", model)));
  return sample_table_write(file, comm, &table);
}

static status_t scores_write(comm_t *comm, const char *path, const char *model, const scores_file_t *scores) {
  char partial[FILE_MAX_PATH];
  h5_file_t *file;
  status_code_t status = comm_rank(comm) == 0 ? file_make_parent(path) : STATUS_OK;
  TRY(comm_agree(comm, status));
  TRY(file_partial(partial, path));
  TRY(h5_create(partial, comm, format_name, FORMAT_VERSION, &file));
  status = scores_fill(file, comm, model, scores);
  status_code_t closed = h5_close(file);
  return file_commit(comm, path, status != STATUS_OK ? status : closed, true);
}

status_t scores_file_write(comm_t *comm, const char *path, const char *model, const scores_file_t *scores) {
  status_code_t status = scores_write(comm, path, model, scores);
  if (status == STATUS_OK) return STATUS_OK;
  return error_context(status, "while writing the scores %s", path);
}

static status_t scores_read(h5_file_t *file, int64_t begin, int64_t count, scores_file_t *scores) {
  scores->has_reward = h5_exists(file, "/reward");
  table_t table = table_make(scores);
  TRY(sample_table_read(file, begin, count, &table));
  scores->samples = table.samples;
  TRY(memory_alloc(&scores->index, ARENA_ROLLOUT, (size_t)scores->samples, sizeof *scores->index));
  for (int64_t i = 0; i < scores->samples; ++i)
    scores->index[i] = begin + i;
  return STATUS_OK;
}

status_t scores_file_read(const char *path, int64_t begin, int64_t count, scores_file_t *scores) {
  h5_file_t *file;
  *scores = (scores_file_t){0};
  TRY(h5_open(path, NULL, H5_READ, format_name, FORMAT_VERSION, &file));
  status_code_t status = scores_read(file, begin, count, scores);
  status_code_t closed = h5_close(file);
  if (status == STATUS_OK) status = closed;
  if (status != STATUS_OK) scores_file_free(scores);
  return status;
}

void scores_file_free(scores_file_t *scores) {
  table_t table = table_make(scores);
  sample_table_free(&table);
  memory_free(scores->index);
  *scores = (scores_file_t){0};
}

#include "io/formats/responses_file.h"

#include "base/memory.h"
#include "io/formats/sample_table.h"
#include "io/formats/weights.h"

#include <stdio.h>
#include <string.h>

static const h5_format_t format = {"llava_rlhf_responses", 2, "the step is drawn again without it"};

/* The file's layout, with the places of RESPONSES' arrays. */
static table_t responses_file_table(responses_file_t *responses) {
  table_t table = {.samples = responses->samples, .index = responses->index};
  table.ragged[table.ragged_count++] = (table_ragged_t){"/response/offsets", &responses->offsets};
  sample_table_add(&table, "/sample/response", "place in the step's order", H5TYPE_I64, -1,
                   &responses->response);
  sample_table_add(&table, "/sample/id", "row of the dataset", H5TYPE_I64, -1, &responses->row);
  sample_table_add(&table, "/sample/stopped", "1 if the response ended by itself", H5TYPE_U8, -1,
                   &responses->stopped);
  sample_table_add(&table, "/response/tokens", "token ids, with the one that ended the response", H5TYPE_I32,
                   0, &responses->tokens);
  sample_table_add(&table, "/token/sampler_logprob", "log-probability as the sampler computed it, nats",
                   H5TYPE_F64, 0, &responses->logprob);
  sample_table_add(&table, "/token/entropy", "entropy of the distribution that it is of, nats", H5TYPE_F64, 0,
                   &responses->entropy);
  return table;
}

status_t responses_file_path(char path[FILE_MAX_PATH], const char *run_dir) {
  return file_join(path, run_dir, "interrupted_step.h5", NULL);
}

/* ---- Writing ---- */

static status_t responses_fill(h5_file_t *file, comm_t *comm, const char *identity,
                               const responses_file_t *responses) {
  responses_file_t copy = *responses; /* the table keeps addresses of its pointers, and only reads */
  table_t table = responses_file_table(&copy);
  TRY(comm_agree(comm,
                 comm_rank(comm) == 0 ? weights_write_text(file, "/", "identity", identity) : STATUS_OK));
  return sample_table_write(file, comm, &table);
}

static status_t responses_write(comm_t *comm, const char *path, const char *identity,
                                const responses_file_t *responses) {
  char partial[FILE_MAX_PATH];
  h5_file_t *file;
  TRY(file_partial(partial, path));
  TRY(h5_create(partial, comm, &format, &file));
  return file_commit(comm, path, h5_end(file, responses_fill(file, comm, identity, responses)), false);
}

status_t responses_file_write(comm_t *comm, const char *path, const char *identity,
                              const responses_file_t *responses) {
  return error_context(responses_write(comm, path, identity, responses), "while writing the responses %s",
                       path);
}

/* ---- Reading ---- */

/* Names the first line of IDENTITY that FOUND does not have. */
static status_t identity_compare(const char *path, const char *found, const char *identity) {
  while (*identity && *found) {
    int n = (int)strcspn(identity, "\n"), other = (int)strcspn(found, "\n");
    if (n != other || strncmp(identity, found, (size_t)n) != 0)
      return error_set(STATUS_DATA, "the responses of %s are of %.*s, this step is of %.*s", path, other,
                       found, n, identity);
    identity += n + (identity[n] == '\n');
    found += other + (found[other] == '\n');
  }
  if (*identity == *found) return STATUS_OK;
  return error_set(STATUS_DATA, "%s does not say all that its responses are of", path);
}

static status_t responses_read(h5_file_t *file, const char *identity, responses_file_t *responses) {
  SCOPED_MEMORY char *found = NULL;
  TRY(weights_read_text(file, "/", "identity", &found, NULL));
  TRY(identity_compare(h5_path(file), found, identity));
  table_t table = responses_file_table(responses);
  TRY(sample_table_read(file, 0, -1, &table, &responses->index));
  responses->samples = table.samples;
  return STATUS_OK;
}

status_t responses_file_read(const char *path, const char *identity, responses_file_t *responses) {
  SCOPED(h5_abandon_at) h5_file_t *file = NULL;
  *responses = (responses_file_t){0};
  TRY(h5_open(path, H5_READ, &format, &file));
  status_code_t status = responses_read(file, identity, responses);
  if (status != STATUS_OK) responses_file_free(responses);
  return status;
}

void responses_file_free(responses_file_t *responses) {
  table_t table = responses_file_table(responses);
  sample_table_free(&table);
  memory_free(responses->index);
  *responses = (responses_file_t){0};
}

#define _GNU_SOURCE
#include "weights_samples.h"

#include "io/formats/weights_file.h"
#include "mpi_test.h"

#include <stdlib.h>
#include <string.h>

const sample_t samples[TENSORS] = {
    {"/weights/a.weight", 2, {7, 5}, DTYPE_F32, 7, 5, SHARE_ROWS},
    {"/weights/b.weight", 2, {6, 9}, DTYPE_F32, 6, 9, SHARE_COLS},
    {"/weights/c.weight", 1, {11}, DTYPE_F32, 11, 1, SHARE_REPLICA},
    {"/weights/conv.weight", 4, {4, 3, 2, 2}, DTYPE_BF16, 4, 12, SHARE_ROWS},
    {"/optimizer/policy/a/m", 2, {8, 6}, DTYPE_F32, 8, 6, SHARE_PIECES},
    {"/heads/value/bias", 0, {0}, DTYPE_BF16, 1, 1, SHARE_REPLICA},
};

/* Exact in bfloat16 too: at most 8 bits. */
static float value_at(int64_t tensor, int64_t element) {
  return (float)((tensor * 31 + element * 7) % 251 - 100);
}

void share_of(int64_t n, int rank, int size, int64_t *begin, int64_t *count) {
  *begin = n * rank / size;
  *count = n * (rank + 1) / size - *begin;
}

/* A rank's rectangle in a split over SIZE ranks; true if the rank is the one that gives it. */
static bool rectangle(const sample_t *sample, share_t share, int rank, int size, int64_t box[4]) {
  box[0] = box[2] = 0;
  box[1] = sample->rows;
  box[3] = sample->cols;
  if (share == SHARE_ROWS) share_of(sample->rows, rank, size, &box[0], &box[1]);
  if (share == SHARE_COLS) share_of(sample->cols, rank, size, &box[2], &box[3]);
  return share != SHARE_REPLICA || rank == size - 1;
}

static float *rectangle_values(int64_t tensor, const sample_t *sample, const int64_t box[4]) {
  float *values = calloc((size_t)(box[1] * box[3]) + 1, sizeof *values);
  for (int64_t row = 0; row < box[1]; ++row)
    for (int64_t col = 0; col < box[3]; ++col)
      values[row * box[3] + col] = value_at(tensor, (box[0] + row) * sample->cols + box[2] + col);
  return values;
}

weights_item_t sample_item(int64_t tensor, const int64_t box[4], const float *data, bool mine) {
  const sample_t *sample = &samples[tensor];
  weights_item_t item = {.path = sample->path,
                         .ndim = sample->ndim,
                         .dtype = sample->dtype,
                         .rows = sample->rows,
                         .cols = sample->cols,
                         .row_begin = box[0],
                         .row_count = box[1],
                         .col_begin = box[2],
                         .col_count = box[3],
                         .data = data,
                         .mine = mine,
                         .meaning = sample->path};
  memcpy(item.shape, sample->shape, sizeof item.shape);
  return item;
}

static status_t pieces_go_on(pieces_t *pieces, int64_t first, int64_t n) {
  assert_int_equal(first, pieces->next);
  assert_true(n > 0 && n <= WEIGHTS_PIECE_ELEMENTS && first + n <= pieces->n);
  pieces->next += n;
  if (n > pieces->largest) pieces->largest = n;
  if (pieces->refused >= first && pieces->refused < first + n)
    return error_set(STATUS_NUMERIC, "element %lld is refused", (long long)pieces->refused);
  return STATUS_OK;
}

status_t pieces_give(void *context, int64_t first, int64_t n, float *values) {
  pieces_t *pieces = context;
  TRY(pieces_go_on(pieces, first, n));
  memcpy(values, pieces->values + first, (size_t)n * sizeof *values);
  return STATUS_OK;
}

status_t pieces_take(void *context, int64_t first, int64_t n, const float *values) {
  pieces_t *pieces = context;
  TRY(pieces_go_on(pieces, first, n));
  memcpy(pieces->values + first, values, (size_t)n * sizeof *values);
  return STATUS_OK;
}

static status_t annotate(h5_file_t *file, void *context) {
  TRY(h5_attr_write_text(file, "/weights", "config", context));
  return weights_write_bytes(file, "/tokenizer", "text", "tok", 3);
}

const h5_format_t samples_format = {"test_weights", 1, "make it again"};
const weights_spec_t samples_spec = {.format = &samples_format, .annotate = annotate, .context = "{}"};

status_t samples_give(comm_t *comm, const char *path, uint64_t *identity) {
  weights_item_t items[TENSORS * 2];
  float *data[TENSORS * 2];
  pieces_t pieces[TENSORS * 2];
  int64_t box[4], count = 0;
  int rank = comm_rank(comm), size = comm_size(comm);
  for (int64_t t = 0; t < TENSORS; ++t) {
    if (samples[t].share == SHARE_PIECES) {
      /* Two pieces per rank: a row range in two halves of columns; the last rank gives what is left as one.
       */
      for (int half = 0; half < (rank == size - 1 ? 1 : 2); ++half) {
        rectangle(&samples[t], SHARE_ROWS, rank, size, box);
        if (rank < size - 1) share_of(samples[t].cols, half, 2, &box[2], &box[3]);
        data[count] = rectangle_values(t, &samples[t], box);
        items[count] = sample_item(t, box, data[count], true);
        ++count;
      }
      continue;
    }
    bool mine = rectangle(&samples[t], samples[t].share, rank, size, box);
    data[count] = mine ? rectangle_values(t, &samples[t], box) : NULL;
    items[count] = sample_item(t, box, data[count], mine);
    ++count;
  }
  for (int64_t i = size % 2; i < count; i += 2) {
    pieces[i] = (pieces_t){.values = data[i], .n = items[i].row_count * items[i].col_count, .refused = -1};
    items[i].data = NULL;
    items[i].give = pieces_give;
    items[i].context = &pieces[i];
  }
  status_code_t status = path ? weights_write(comm, path, &samples_spec, items, count)
                              : weights_items_identity(comm, items, count, identity);
  for (int64_t i = size % 2; i < count; i += 2)
    if (items[i].mine) assert_int_equal(pieces[i].next, pieces[i].n);
  for (int64_t i = 0; i < count; ++i)
    free(data[i]);
  return status;
}

status_t samples_write(comm_t *comm, const char *path) {
  return samples_give(comm, path, NULL);
}

static void samples_fill(comm_t *comm, const char *path, share_t share, bool handed) {
  weights_file_t *file;
  weights_request_t requests[TENSORS];
  float *expected[TENSORS];
  assert_ok(weights_open(comm, path, &samples_format, &file));
  assert_int_equal(weights_count(file), TENSORS);
  if (handed) file->nodes = 2;
  for (int64_t t = 0; t < TENSORS; ++t) {
    int64_t box[4];
    rectangle(&samples[t], share, comm_rank(comm), comm_size(comm), box);
    expected[t] = rectangle_values(t, &samples[t], box);
    /* Rows two elements further apart than needed: the gap must stay untouched. */
    float *data = malloc((size_t)(box[1] * (box[3] + 2) + 1) * sizeof *data);
    for (int64_t i = 0; i < box[1] * (box[3] + 2); ++i)
      data[i] = -1000;
    requests[t] = (weights_request_t){.path = samples[t].path,
                                      .rows = samples[t].rows,
                                      .cols = samples[t].cols,
                                      .row_begin = box[0],
                                      .row_count = box[1],
                                      .col_begin = box[2],
                                      .col_count = box[3],
                                      .stride = box[3] + 2,
                                      .data = data};
  }
  assert_ok(weights_read(file, requests, TENSORS));
  for (int64_t t = 0; t < TENSORS; ++t) {
    const weights_request_t *request = &requests[t];
    for (int64_t row = 0; row < request->row_count; ++row) {
      for (int64_t col = 0; col < request->col_count; ++col)
        assert_true(request->data[row * request->stride + col] ==
                    expected[t][row * request->col_count + col]);
      assert_true(request->data[row * request->stride + request->col_count] == -1000);
    }
    free(expected[t]);
    free(requests[t].data);
  }
  assert_ok(weights_check_all_read(file, "/", NULL, NULL));
  weights_close(file);
}

static void samples_take(comm_t *comm, const char *path, share_t share, bool handed) {
  weights_file_t *file;
  weights_request_t requests[TENSORS];
  pieces_t pieces[TENSORS];
  assert_ok(weights_open(comm, path, &samples_format, &file));
  if (handed) file->nodes = 2;
  for (int64_t t = 0; t < TENSORS; ++t) {
    int64_t box[4];
    rectangle(&samples[t], share, comm_rank(comm), comm_size(comm), box);
    pieces[t] = (pieces_t){.n = box[1] * box[3], .refused = -1};
    pieces[t].values = calloc((size_t)pieces[t].n + 1, sizeof(float));
    requests[t] = (weights_request_t){.path = samples[t].path,
                                      .rows = samples[t].rows,
                                      .cols = samples[t].cols,
                                      .row_begin = box[0],
                                      .row_count = box[1],
                                      .col_begin = box[2],
                                      .col_count = box[3],
                                      .take = pieces_take,
                                      .context = &pieces[t]};
  }
  assert_ok(weights_read(file, requests, TENSORS));
  for (int64_t t = 0; t < TENSORS; ++t) {
    const weights_request_t *request = &requests[t];
    const int64_t box[4] = {request->row_begin, request->row_count, request->col_begin, request->col_count};
    float *expected = rectangle_values(t, &samples[t], box);
    assert_int_equal(pieces[t].next, pieces[t].n);
    assert_int_equal(pieces[t].largest, pieces[t].n);
    assert_memory_equal(pieces[t].values, expected, (size_t)pieces[t].n * sizeof *expected);
    free(expected);
    free(pieces[t].values);
  }
  weights_close(file);
}

void samples_compare(comm_t *comm, const char *path, share_t share, bool handed) {
  samples_fill(comm, path, share, handed);
  samples_take(comm, path, share, handed);
}

comm_t *first_ranks(comm_t *world, int n) {
  comm_t *part;
  assert_ok(comm_split(world, comm_rank(world) < n, comm_rank(world), "part", &part));
  if (comm_rank(world) < n) return part;
  comm_free(part);
  return NULL;
}

#include "convert/copying.h"

#include "base/log.h"
#include "base/memory.h"
#include "session/estimate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Floats that a rank holds of a piece. */
static const int64_t piece_share = INT64_C(8) << 20;
/* Bytes for each rank between two looks at whether to stop, where nothing changes. */
static const double stored_share = 256e6;
static const float f16_most = 65504.0f, f16_beyond = 65520.0f; /* what is rounded to infinity */

status_t copy_list_add(copy_list_t *list, copy_t **out) {
  if (list->count == list->capacity) {
    int64_t capacity = 2 * list->capacity + 16;
    TRY(memory_resize(&list->items, ARENA_IO, (size_t)capacity, sizeof *list->items));
    list->capacity = capacity;
  }
  *out = &list->items[list->count++];
  **out = (copy_t){.fill = 0.0f};
  return STATUS_OK;
}

void copy_list_free(copy_list_t *list) {
  memory_free(list->items);
  *list = (copy_list_t){0};
}

/* A tensor as rows: the first dimension, and the others. */
static int64_t copying_rows_of(const copy_t *copy) {
  return copy->dims > 0 ? copy->shape[0] : 1;
}

static int64_t cols_of(const copy_t *copy) {
  int64_t cols = 1;
  for (int d = 1; d < copy->dims; d++)
    cols *= copy->shape[d];
  return cols;
}

double copy_list_bytes(const copy_list_t *list) {
  double bytes = 0.0;
  for (int64_t i = 0; i < list->count; i++)
    bytes += (double)copying_rows_of(&list->items[i]) * (double)cols_of(&list->items[i]) *
             (double)tensor_type_size(list->items[i].type);
  return bytes;
}

/* Rows of one tensor, and this rank's of them. */
typedef struct {
  int64_t item;
  int64_t begin, end; /* of all ranks */
  int64_t row, rows;  /* of this one */
  float *values;      /* (rows, columns) */
  float *a, *b;       /* (r, columns), (rows, r); NULL where nothing is merged */
} copying_piece_t;

typedef struct {
  session_t *session;
  weights_file_t *weights, *lora;
  const copy_list_t *list;
  safetensors_writer_t *writer;
  copying_piece_t *pieces; /* (count) that are moved at once */
  int64_t count;
  int64_t item, row; /* where the next piece begins */
  double done;       /* bytes written */
} copying_t;

/* ---- A round of pieces ---- */

static void piece_free(copying_piece_t *piece) {
  memory_free(piece->values);
  memory_free(piece->a);
  memory_free(piece->b);
}

static copying_piece_t piece_of(const copying_t *copying, int64_t begin, int64_t end) {
  int64_t size = copying->session->grid.size, rank = copying->session->grid.rank, n = end - begin;
  copying_piece_t piece = {.item = copying->item, .begin = begin, .end = end, .row = begin + n * rank / size};
  piece.rows = begin + n * (rank + 1) / size - piece.row;
  return piece;
}

static status_t piece_allocate(const copying_t *copying, copying_piece_t *piece) {
  const copy_t *copy = &copying->list->items[piece->item];
  TRY(memory_alloc(&piece->values, ARENA_IO, (size_t)(piece->rows * cols_of(copy)), sizeof(float)));
  if (!*copy->a) return STATUS_OK;
  TRY(memory_alloc(&piece->a, ARENA_IO, (size_t)(copy->r * cols_of(copy)), sizeof(float)));
  return memory_alloc(&piece->b, ARENA_IO, (size_t)(piece->rows * copy->r), sizeof(float));
}

/* What piece_allocate takes. */
static int64_t piece_bytes(const copying_t *copying, const copying_piece_t *piece) {
  const copy_t *copy = &copying->list->items[piece->item];
  int64_t floats = piece->rows * cols_of(copy);
  if (*copy->a) floats += copy->r * (cols_of(copy) + piece->rows);
  return floats * (int64_t)sizeof(float);
}

/* Whether COPY is written as it is stored. */
static bool copy_is_stored(const copying_t *copying, const copy_t *copy) {
  const weights_tensor_t *tensor =
      *copy->path && !*copy->a ? weights_find(copying->weights, copy->path) : NULL;
  return tensor && copy->type == (tensor->dtype == DTYPE_BF16 ? TENSOR_BF16 : TENSOR_F32);
}

/* Pieces of the tensors that come next, as many as fill what the ranks may hold. */
static status_t copying_round_plan(copying_t *copying) {
  int64_t left = piece_share * copying->session->grid.size;
  copying->count = 0;
  while (copying->item < copying->list->count && left > 0) {
    const copy_t *copy = &copying->list->items[copying->item];
    if (copy_is_stored(copying, copy)) break;
    int64_t cols = cols_of(copy), rows = copying_rows_of(copy), begin = copying->row;
    int64_t most = left / (cols > 0 ? cols : 1), end = rows - begin > most ? begin + most : rows;
    if (end == begin && rows > begin) {
      if (copying->count > 0) break;
      end = begin + 1;
    }
    TRY(memory_resize(&copying->pieces, ARENA_IO, (size_t)copying->count + 1, sizeof *copying->pieces));
    copying->pieces[copying->count++] = piece_of(copying, begin, end);
    left -= (end - begin) * cols + 1;
    copying->row = end;
    if (end < rows) break;
    copying->item++;
    copying->row = 0;
  }
  return STATUS_OK;
}

static weights_request_t copying_request(const char *path, int64_t rows, int64_t cols, int64_t begin,
                                         int64_t count, float *data) {
  return (weights_request_t){.path = path,
                             .rows = rows,
                             .cols = cols,
                             .row_begin = begin,
                             .row_count = count,
                             .col_count = cols,
                             .data = data};
}

static status_t copying_read_requests(copying_t *copying, weights_request_t *requests, bool merged) {
  int64_t n = 0;
  for (int64_t p = 0; p < copying->count; p++) {
    const copying_piece_t *piece = &copying->pieces[p];
    const copy_t *copy = &copying->list->items[piece->item];
    int64_t rows = copying_rows_of(copy), cols = cols_of(copy);
    if (!merged && *copy->path)
      requests[n++] = copying_request(copy->path, rows, cols, piece->row, piece->rows, piece->values);
    if (!merged || !*copy->a) continue;
    requests[n++] = copying_request(copy->a, copy->r, cols, 0, copy->r, piece->a);
    requests[n++] = copying_request(copy->b, rows, copy->r, piece->row, piece->rows, piece->b);
  }
  return weights_read(merged ? copying->lora : copying->weights, requests, n);
}

static status_t round_read(copying_t *copying) {
  weights_request_t *requests;
  TRY(comm_agree(copying->session->world,
                 memory_alloc(&requests, ARENA_IO, 2 * (size_t)copying->count, sizeof *requests)));
  status_code_t status = copying_read_requests(copying, requests, false);
  if (status == STATUS_OK && copying->lora) status = copying_read_requests(copying, requests, true);
  memory_free(requests);
  return status;
}

/* values += scale * b a, as LoRA adds it to what the module computes. */
static void copying_merge(const copy_t *copy, copying_piece_t *piece) {
  int64_t cols = cols_of(copy);
  float scale = (float)copy->scale;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < piece->rows; row++) {
    float *values = piece->values + row * cols;
    for (int64_t k = 0; k < copy->r; k++) {
      float factor = scale * piece->b[row * copy->r + k];
      const float *a = piece->a + k * cols;
      for (int64_t c = 0; c < cols; c++)
        values[c] += factor * a[c];
    }
  }
}

static status_t copying_check_range(const copy_t *copy, const float *values, int64_t n) {
  for (int64_t i = 0; i < n && copy->type == TENSOR_F16; i++)
    if (!(fabsf(values[i]) < f16_beyond))
      return error_set(STATUS_DATA,
                       "%s holds %g, but half precision ends at %g; set export.dtype = 'bf16' or 'f32'",
                       copy->path, (double)values[i], (double)f16_most);
  return STATUS_OK;
}

static status_t piece_write(copying_t *copying, copying_piece_t *piece) {
  const copy_t *copy = &copying->list->items[piece->item];
  int64_t cols = cols_of(copy), n = piece->rows * cols;
  if (n == 0) return STATUS_OK;
  for (int64_t i = 0; i < n && !*copy->path; i++)
    piece->values[i] = copy->fill;
  if (*copy->a) copying_merge(copy, piece);
  TRY(copying_check_range(copy, piece->values, n));
  return safetensors_write_f32(copying->writer, piece->item, piece->row * cols, n, piece->values);
}

static status_t round_write(copying_t *copying) {
  for (int64_t p = 0; p < copying->count; p++) {
    const copying_piece_t *piece = &copying->pieces[p];
    const copy_t *copy = &copying->list->items[piece->item];
    TRY(piece_write(copying, &copying->pieces[p]));
    copying->done +=
        (double)((piece->end - piece->begin) * cols_of(copy)) * (double)tensor_type_size(copy->type);
  }
  return STATUS_OK;
}

static status_t round_allocate(copying_t *copying) {
  for (int64_t p = 0; p < copying->count; p++)
    TRY(piece_allocate(copying, &copying->pieces[p]));
  return STATUS_OK;
}

static status_t round_run(copying_t *copying) {
  status_code_t status = copying_round_plan(copying);
  if (status == STATUS_OK) status = round_allocate(copying);
  TRY(comm_agree(copying->session->world, status));
  if (copying->count == 0) return STATUS_OK;
  TRY(round_read(copying));
  return comm_agree(copying->session->world, round_write(copying));
}

/* ---- What is written as it is stored ---- */

static status_t stored_write(void *context, int64_t i, int64_t first, int64_t n, const void *stored) {
  copying_t *copying = context;
  return safetensors_write(copying->writer, copying->item + i, first, n, stored);
}

/* The tensors from the next one on that nothing changes, as many as are worth a round, maybe none. */
static status_t stored_run(copying_t *copying) {
  SCOPED_MEMORY const char **paths = NULL;
  comm_t *world = copying->session->world;
  int64_t count = 0, left = copying->list->count - copying->item;
  double bytes = 0.0, most = stored_share * copying->session->grid.size;
  TRY(comm_agree(world, memory_alloc(&paths, ARENA_IO, (size_t)left, sizeof *paths)));
  for (; count < left && bytes < most; count++) {
    const copy_t *copy = &copying->list->items[copying->item + count];
    if (!copy_is_stored(copying, copy)) break;
    paths[count] = copy->path;
    bytes += (double)(copying_rows_of(copy) * cols_of(copy)) * (double)tensor_type_size(copy->type);
  }
  TRY(weights_read_stored(copying->weights, paths, count, stored_write, copying));
  copying->item += count;
  copying->done += bytes;
  return STATUS_OK;
}

/* ---- All of them ---- */

static status_t copying_go_on(session_t *session) {
  bool stop;
  TRY(comm_any(session->world, session_stop_requested(session, 0.0), &stop));
  return stop ? STATUS_STOPPED : STATUS_OK;
}

static status_t copying_rounds_run(copying_t *copying, const char *stem) {
  int64_t total = (int64_t)copy_list_bytes(copying->list) >> 20;
  while (copying->item < copying->list->count) {
    TRY(copying_go_on(copying->session));
    status_code_t status = stored_run(copying);
    if (status == STATUS_OK) status = round_run(copying);
    for (int64_t p = 0; p < copying->count; p++)
      piece_free(&copying->pieces[p]);
    TRY(status);
    if (copying->session->grid.rank == 0)
      log_progress(stem, (int64_t)copying->done >> 20, total, "MiB", NULL);
  }
  return STATUS_OK;
}

/* ---- What it takes ---- */

/* Of what is changed a round of pieces is in memory, of what is not a block, which a round is read through as
 * well. */
static status_t estimate_rounds(copying_t *copying, int64_t *most) {
  while (copying->item < copying->list->count) {
    if (copying->row == 0 && copy_is_stored(copying, &copying->list->items[copying->item])) {
      copying->item++;
      continue;
    }
    int64_t bytes = 0;
    TRY(copying_round_plan(copying));
    for (int64_t p = 0; p < copying->count; p++)
      bytes += piece_bytes(copying, &copying->pieces[p]);
    if (bytes > *most) *most = bytes;
  }
  return STATUS_OK;
}

status_t copying_estimate(const copy_list_t *list, weights_file_t *weights, session_t *session) {
  copying_t copying = {.session = session, .weights = weights, .list = list};
  int64_t most = 0;
  status_code_t status = estimate_rounds(&copying, &most);
  memory_free(copying.pieces);
  TRY(status);
  estimate_staging(session->dry, most + WEIGHTS_BLOCK_BYTES);
  return STATUS_OK;
}

/* ---- All of them, for good ---- */

static status_t copying_describe(const copy_list_t *list, tensor_spec_t **specs) {
  TRY(memory_alloc(specs, ARENA_IO, (size_t)list->count, sizeof **specs));
  for (int64_t i = 0; i < list->count; i++) {
    const copy_t *copy = &list->items[i];
    (*specs)[i] = (tensor_spec_t){.name = copy->name, .type = copy->type, .dims = copy->dims};
    memcpy((*specs)[i].shape, copy->shape, (size_t)copy->dims * sizeof copy->shape[0]);
  }
  return STATUS_OK;
}

status_t copying_run(session_t *session, weights_file_t *weights, weights_file_t *lora,
                     const copy_list_t *list, const char *folder, const char *stem, int64_t shard_bytes) {
  tensor_spec_t *specs = NULL;
  copying_t copying = {.session = session, .weights = weights, .lora = lora, .list = list};
  status_code_t status = comm_agree(session->world, copying_describe(list, &specs));
  if (status == STATUS_OK)
    status =
        safetensors_create(session->world, folder, stem, specs, list->count, shard_bytes, &copying.writer);
  if (status == STATUS_OK) status = safetensors_finish(copying.writer, copying_rounds_run(&copying, stem));
  memory_free(copying.pieces);
  memory_free(specs);
  return status;
}

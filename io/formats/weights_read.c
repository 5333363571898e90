/* Reading by all ranks. Two ways:
 * - each rank reads and verifies the blocks it wants. Best where few ranks want the same block, and on one
 * node, whose page cache reads the disk once for all.
 * - each wanted block is read and verified by one rank, then handed to all, so that the work of the file
 * system does not grow with the number of replicas. */
#include "base/log.h"
#include "base/memory.h"
#include "io/formats/weights_file.h"

#include <stdio.h>
#include <string.h>

/* Ranks that want the same byte, on average, beyond which it is read once and handed round. */
static const int64_t replicas_most = 2;

/* Bytes that one round brings to every rank: a block of each node. */
static int64_t round_bytes_most(int nodes) {
  enum { NODES_LEAST = 4, NODES_MOST = 16 };
  int64_t blocks = nodes < NODES_LEAST ? NODES_LEAST : nodes > NODES_MOST ? NODES_MOST : nodes;
  return blocks * WEIGHTS_BLOCK_BYTES;
}

int64_t weights_reading_bytes(int nodes) {
  return (nodes == 1 ? WEIGHTS_BLOCK_BYTES : round_bytes_most(nodes)) +
         WEIGHTS_PIECE_ELEMENTS * (int64_t)sizeof(float);
}

typedef struct {
  weights_file_t *file;
  const weights_request_t *requests;
  int64_t count;
  int64_t *tensor;      /* (count) */
  int32_t *wanted_here; /* (blocks): 1 if this rank wants it */
  int32_t *wanted;      /* (blocks): 1 if any rank wants it */
  int64_t *place;       /* (blocks): where a block of the round begins in BYTES */
  size_t *rank_bytes;   /* (comm size): of the round */
  char *bytes;          /* the round's blocks */
  float *values;        /* of a piece */
  int64_t first, last;  /* the round takes wanted blocks among these */
  int64_t total, most;  /* bytes of the round, and of the largest round */
} weights_read_reader_t;

/* ---- requests ---- */

static weights_box_t request_box(const weights_request_t *request) {
  return (weights_box_t){request->row_begin, request->row_count, request->col_begin, request->col_count};
}

static status_t request_check(weights_file_t *file, const weights_request_t *request, int64_t *tensor) {
  char text[WEIGHTS_SHAPE_TEXT];
  *tensor = weights_index(file, request->path);
  if (*tensor < 0) return weights_missing(file, request->path);
  const weights_tensor_t *found = &file->tensors[*tensor];
  if (!weights_view_fits(found, request->rows, request->cols))
    return error_set(STATUS_DATA, "%s: %s has shape %s, expected %lld x %lld", h5_path(file->h5),
                     request->path, weights_shape_text(found, text), (long long)request->rows,
                     (long long)request->cols);
  return weights_box_check(request->path, request_box(request), request->rows, request->cols);
}

/* Checks all requests; the message is about the first bad one and says how many more there are. */
static status_t requests_check(weights_read_reader_t *reader) {
  char message[1024];
  int64_t bad = 0;
  status_code_t status = STATUS_OK;
  for (int64_t i = 0; i < reader->count; ++i) {
    status_code_t one = request_check(reader->file, &reader->requests[i], &reader->tensor[i]);
    if (one == STATUS_OK) continue;
    if (bad == 0) snprintf(message, sizeof message, "%s", error_message());
    if (bad == 0) status = one;
    bad += 1;
  }
  if (bad == 0) return STATUS_OK;
  if (bad == 1) return error_set(status, "%s", message);
  return error_set(status, "%s (and %lld more tensors that are missing or do not fit)", message,
                   (long long)(bad - 1));
}

/* The part of the request that lies in BLOCK; returns of how many boxes it is. */
static int request_clip(const weights_request_t *request, const weights_block_t *block,
                        weights_box_t boxes[3]) {
  return weights_clip(request_box(request), request->cols, block->begin, block->count, boxes);
}

/* Marks the blocks that this rank wants. */
static void requests_mark(weights_read_reader_t *reader) {
  const weights_plan_t *plan = &reader->file->plan;
  for (int64_t i = 0; i < reader->count; ++i) {
    const weights_request_t *request = &reader->requests[i];
    for (int64_t b = plan->first[reader->tensor[i]]; b < plan->first[reader->tensor[i] + 1]; ++b) {
      weights_block_t block = weights_plan_block(plan, b);
      weights_box_t boxes[3];
      if (request_clip(request, &block, boxes) > 0) reader->wanted_here[b] = 1;
    }
  }
}

/* ---- rounds ---- */

/* Sets the round's end and bytes, from its first block on. */
static void round_extent(weights_read_reader_t *reader) {
  int64_t most = round_bytes_most(reader->file->nodes);
  reader->last = reader->first;
  reader->total = 0;
  for (; reader->last < reader->file->plan.blocks; ++reader->last) {
    if (!reader->wanted[reader->last]) continue;
    int64_t bytes = weights_plan_block(&reader->file->plan, reader->last).bytes;
    if (reader->total > 0 && reader->total + bytes > most) break;
    reader->total += bytes;
  }
}

/* Places the round's blocks and reads those dealt to this rank. */
static status_t round_load(weights_read_reader_t *reader) {
  comm_t *comm = reader->file->comm;
  int size = comm_size(comm), rank = comm_rank(comm);
  int64_t begin = 0;
  status_code_t status = STATUS_OK;
  memset(reader->rank_bytes, 0, (size_t)size * sizeof *reader->rank_bytes);
  for (int64_t b = reader->first; b < reader->last; ++b) {
    if (!reader->wanted[b]) continue;
    int64_t bytes = weights_plan_block(&reader->file->plan, b).bytes;
    int owner = weights_deal(begin, bytes, reader->total, size);
    reader->place[b] = begin;
    reader->rank_bytes[owner] += (size_t)bytes;
    if (owner == rank && status == STATUS_OK)
      status = weights_block_read(reader->file, b, reader->bytes + begin);
    begin += bytes;
  }
  return status;
}

static void box_copy(const weights_request_t *request, dtype_t dtype, const weights_block_t *block,
                     const char *bytes, weights_box_t box) {
  int64_t stride = request->stride ? request->stride : request->col_count;
  for (int64_t row = box.row; row < box.row + box.rows; ++row) {
    int64_t element = row * request->cols + box.col - block->begin;
    float *to = request->data + (row - request->row_begin) * stride + box.col - request->col_begin;
    weights_decode(dtype, bytes + element * weights_dtype_size(dtype), box.cols, to);
  }
}

/* Elements of BOX from element DONE on. */
static void box_decode(const weights_request_t *request, dtype_t dtype, const weights_block_t *block,
                       const char *bytes, weights_box_t box, int64_t done, int64_t n, float *values) {
  for (int64_t i = 0, run; i < n; i += run) {
    int64_t row = box.row + (done + i) / box.cols, col = (done + i) % box.cols;
    int64_t element = row * request->cols + box.col + col - block->begin;
    run = box.cols == request->cols || n - i < box.cols - col ? n - i : box.cols - col;
    weights_decode(dtype, bytes + element * weights_dtype_size(dtype), run, values + i);
  }
}

static status_t box_hand_over(const weights_read_reader_t *reader, const weights_request_t *request,
                              dtype_t dtype, const weights_block_t *block, const char *bytes,
                              weights_box_t box) {
  for (int64_t done = 0, n; done < box.rows * box.cols; done += n) {
    weights_piece_t piece = weights_next_piece(request_box(request), box, done);
    n = piece.n;
    box_decode(request, dtype, block, bytes, box, done, n, reader->values);
    TRY(request->take(request->context, piece.first, n, reader->values));
  }
  return STATUS_OK;
}

/* Copies or hands over what request I has of the round. */
static status_t request_fill(const weights_read_reader_t *reader, int64_t i) {
  const weights_request_t *request = &reader->requests[i];
  const weights_plan_t *plan = &reader->file->plan;
  int64_t begin = plan->first[reader->tensor[i]], end = plan->first[reader->tensor[i] + 1];
  if (begin < reader->first) begin = reader->first;
  if (end > reader->last) end = reader->last;
  for (int64_t b = begin; b < end; ++b) {
    weights_block_t block = weights_plan_block(plan, b);
    weights_box_t boxes[3];
    int n = request_clip(request, &block, boxes);
    dtype_t dtype = plan->tensors[block.tensor].dtype;
    const char *bytes = reader->bytes + reader->place[b];
    for (int k = 0; k < n; ++k)
      if (request->take)
        TRY(box_hand_over(reader, request, dtype, &block, bytes, boxes[k]));
      else
        box_copy(request, dtype, &block, bytes, boxes[k]);
  }
  return STATUS_OK;
}

static status_t requests_fill(const weights_read_reader_t *reader) {
  for (int64_t i = 0; i < reader->count; ++i)
    TRY(request_fill(reader, i));
  return STATUS_OK;
}

static status_t weights_read_rounds_run(weights_read_reader_t *reader) {
  comm_t *comm = reader->file->comm;
  for (reader->first = 0; reader->first < reader->file->plan.blocks; reader->first = reader->last) {
    round_extent(reader);
    if (reader->total == 0) continue;
    TRY(comm_agree(comm, round_load(reader)));
    char *mine = reader->bytes;
    for (int rank = 0; rank < comm_rank(comm); ++rank)
      mine += reader->rank_bytes[rank];
    TRY(comm_allgatherv(comm, mine, reader->bytes, reader->rank_bytes, COMM_BYTE));
    TRY(comm_agree(comm, requests_fill(reader)));
  }
  return STATUS_OK;
}

/* ---- each for itself ---- */

/* Bytes of the blocks marked in WANTED. */
static int64_t wanted_bytes(const weights_plan_t *plan, const int32_t *wanted) {
  int64_t bytes = 0;
  for (int64_t b = 0; b < plan->blocks; ++b)
    bytes += wanted[b] ? weights_plan_block(plan, b).bytes : 0;
  return bytes;
}

static status_t weights_read_alone(weights_read_reader_t *reader) {
  TRY(memory_alloc(&reader->bytes, ARENA_IO, WEIGHTS_BLOCK_BYTES, 1));
  for (int64_t b = 0; b < reader->file->plan.blocks; ++b) {
    if (!reader->wanted_here[b]) continue;
    TRY(weights_block_read(reader->file, b, reader->bytes));
    reader->first = b;
    reader->last = b + 1;
    TRY(requests_fill(reader));
  }
  return STATUS_OK;
}

/* ---- one for all ---- */

/* Room for the largest round. */
static status_t rounds_prepare(weights_read_reader_t *reader) {
  for (reader->first = 0; reader->first < reader->file->plan.blocks; reader->first = reader->last) {
    round_extent(reader);
    if (reader->total > reader->most) reader->most = reader->total;
  }
  TRY(memory_alloc(&reader->rank_bytes, ARENA_IO, (size_t)comm_size(reader->file->comm),
                   sizeof *reader->rank_bytes));
  return memory_alloc(&reader->bytes, ARENA_IO, (size_t)reader->most, 1);
}

static status_t requests_prepare(weights_read_reader_t *reader) {
  TRY(memory_alloc(&reader->tensor, ARENA_IO, (size_t)reader->count, sizeof *reader->tensor));
  size_t blocks = (size_t)reader->file->plan.blocks;
  TRY(memory_alloc(&reader->wanted, ARENA_IO, blocks, sizeof *reader->wanted));
  TRY(memory_alloc(&reader->wanted_here, ARENA_IO, blocks, sizeof *reader->wanted_here));
  TRY(memory_alloc(&reader->place, ARENA_IO, blocks, sizeof *reader->place));
  TRY(requests_check(reader));
  requests_mark(reader);
  int64_t most = 0;
  for (int64_t i = 0; i < reader->count; ++i) {
    const weights_request_t *request = &reader->requests[i];
    int64_t n = request->take ? weights_piece_elements(request->row_count * request->col_count) : 0;
    if (n > most) most = n;
  }
  TRY(memory_alloc(&reader->values, ARENA_IO, (size_t)most, sizeof *reader->values));
  memcpy(reader->wanted, reader->wanted_here, blocks * sizeof *reader->wanted);
  return STATUS_OK;
}

static void weights_read_reader_free(weights_read_reader_t *reader) {
  memory_free(reader->tensor);
  memory_free(reader->wanted_here);
  memory_free(reader->wanted);
  memory_free(reader->place);
  memory_free(reader->rank_bytes);
  memory_free(reader->bytes);
  memory_free(reader->values);
}

status_t weights_read(weights_file_t *file, const weights_request_t *requests, int64_t count) {
  SCOPED(weights_read_reader_free)
  weights_read_reader_t reader = {.file = file, .requests = requests, .count = count};
  size_t blocks = (size_t)file->plan.blocks;
  if (weights_is_outline(file)) return weights_refuse_outline(h5_path(file->h5));
  TRY(comm_agree(file->comm, requests_prepare(&reader)));
  TRY(comm_allreduce(file->comm, reader.wanted, blocks, COMM_I32, COMM_MAX));
  for (size_t b = 0; b < blocks; ++b)
    file->requested[b] |= reader.wanted[b];
  int64_t here = wanted_bytes(&file->plan, reader.wanted_here);
  TRY(comm_allreduce(file->comm, &here, 1, COMM_I64, COMM_SUM));
  if (file->nodes == 1 || here <= replicas_most * wanted_bytes(&file->plan, reader.wanted))
    return comm_agree(file->comm, weights_read_alone(&reader));
  TRY(comm_agree(file->comm, rounds_prepare(&reader)));
  return weights_read_rounds_run(&reader);
}

/* ---- as stored ---- */

/* This rank's share of the blocks of PATHS, which begin at byte *BEGIN of TOTAL. */
static status_t stored_tensor_read(weights_file_t *file, const char *path, int64_t i, int64_t *begin,
                                   int64_t total, char *bytes, weights_take_stored_t take, void *context) {
  const weights_plan_t *plan = &file->plan;
  int64_t tensor = weights_index(file, path);
  for (int64_t b = plan->first[tensor]; b < plan->first[tensor + 1]; ++b) {
    weights_block_t block = weights_plan_block(plan, b);
    int owner = weights_deal(*begin, block.bytes, total, comm_size(file->comm));
    *begin += block.bytes;
    file->requested[b] = 1;
    if (owner != comm_rank(file->comm)) continue;
    TRY(weights_block_read(file, b, bytes));
    TRY(take(context, i, block.begin, block.count, bytes));
  }
  return STATUS_OK;
}

static status_t stored_read(weights_file_t *file, const char *const *paths, int64_t count,
                            weights_take_stored_t take, void *context) {
  SCOPED_MEMORY char *bytes = NULL;
  int64_t total = 0, begin = 0;
  TRY(memory_alloc(&bytes, ARENA_IO, WEIGHTS_BLOCK_BYTES, 1));
  for (int64_t i = 0; i < count; ++i) {
    const weights_tensor_t *tensor = weights_find(file, paths[i]);
    if (!tensor) return weights_missing(file, paths[i]);
    total += weights_elements(tensor) * weights_dtype_size(tensor->dtype);
  }
  for (int64_t i = 0; i < count; ++i)
    TRY(stored_tensor_read(file, paths[i], i, &begin, total, bytes, take, context));
  return STATUS_OK;
}

status_t weights_read_stored(weights_file_t *file, const char *const *paths, int64_t count,
                             weights_take_stored_t take, void *context) {
  if (weights_is_outline(file)) return weights_refuse_outline(h5_path(file->h5));
  return comm_agree(file->comm, stored_read(file, paths, count, take, context));
}

/* ---- checks ---- */

/* Tensors to be named: the first few, and how many. */
typedef struct {
  char names[512];
  size_t used;
  int64_t count;
} listed_t;

static void list_name(listed_t *list, const char *name) {
  if (list->count++ >= 3 || list->used >= sizeof list->names) return;
  list->used += (size_t)snprintf(list->names + list->used, sizeof list->names - list->used, "%s%s",
                                 list->used > 0 ? ", " : "", name);
}

static bool was_read(const weights_file_t *file, int64_t tensor) {
  const weights_plan_t *plan = &file->plan;
  bool read = plan->first[tensor] == plan->first[tensor + 1];
  for (int64_t b = plan->first[tensor]; b < plan->first[tensor + 1]; ++b)
    read = read || file->requested[b];
  return read;
}

status_t weights_check_all_read(const weights_file_t *file, const char *prefix, weights_unused_t unused,
                                const void *context) {
  listed_t extra = {.count = 0}, expected = {.count = 0};
  for (int64_t t = 0; t < file->plan.tensor_count; ++t) {
    const char *path = file->tensors[t].path;
    if (strncmp(path, prefix, strlen(prefix)) != 0 || was_read(file, t)) continue;
    bool known = unused && unused(path + strlen(prefix), context);
    list_name(known ? &expected : &extra, known ? path + strlen(prefix) : path);
  }
  if (extra.count > 0)
    return error_set(
        STATUS_DATA, "%s: %lld tensors below %s belong to nothing in this model: %s%s; is it another model?",
        h5_path(file->h5), (long long)extra.count, prefix, extra.names, extra.count > 3 ? ", ..." : "");
  if (expected.count > 0)
    log_info(
        "%s: %lld tensors are not used by a model of this configuration, nor kept in what it becomes: %s%s",
        h5_path(file->h5), (long long)expected.count, expected.names, expected.count > 3 ? ", ..." : "");
  return STATUS_OK;
}

status_t weights_verify(weights_file_t *file) {
  SCOPED_MEMORY char *bytes = NULL;
  if (weights_is_outline(file)) return weights_refuse_outline(h5_path(file->h5));
  status_code_t status = memory_alloc(&bytes, ARENA_IO, WEIGHTS_BLOCK_BYTES, 1);
  for (int64_t b = comm_rank(file->comm); b < file->plan.blocks; b += comm_size(file->comm))
    if (status == STATUS_OK) status = weights_block_read(file, b, bytes);
  return comm_agree(file->comm, status);
}

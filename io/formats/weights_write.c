#include "base/memory.h"
#include "io/file.h"
#include "io/formats/weights_blocks.h"
#include "io/write_behind.h"
#include "perf/perf.h"

#include <string.h>
#include <unistd.h>
#include <xxhash.h>

/* Of which each gets about its share. */
int64_t weights_round_bytes(int ranks) {
  return (INT64_C(32) << 20) * ranks;
}

/* The exchange below does what collective buffering would, so that each rank writes large neighbouring ranges
 * to their place by itself. */
typedef struct {
  comm_t *comm;
  const char *path; /* of the partial file */
  const weights_item_t *items;
  int64_t count;
  int64_t *item_tensor; /* (count) */
  weights_tensor_t *tensors;
  int64_t *cols; /* of each tensor as its items see it */
  int64_t tensor_count;
  weights_plan_t plan;
  h5_file_t *file;        /* NULL where only hashes are wanted */
  h5_span_t *spans;       /* (tensor_count): where each lies in the file */
  uint64_t *hashes;       /* (plan.blocks), zero for blocks of other ranks */
  int64_t *given;         /* (plan.blocks): bytes in messages that this rank gives of each */
  float *values;          /* of a piece */
  write_behind_t *behind; /* NULL as FILE */
  char *send, *blocks;    /* rounds', (send_room) and, where there is no file, (blocks_room) */
  void *recv;             /* (recv_room) */
  size_t send_room, recv_room, blocks_room;
} writer_t;

/* Consecutive blocks FIRST .. LAST - 1, moved at once. */
typedef struct {
  int64_t first, last, bytes;
  int *owner;         /* (last - first) */
  int64_t mine_first; /* this rank's blocks: mine_first .. mine_last - 1 */
  int64_t mine_last;
  size_t *send_counts, *recv_counts; /* (comm size) */
  size_t *cursor;                    /* (comm size): where the next bytes for each rank go in SEND */
  size_t own;                        /* bytes of SEND for this rank itself, which come last */
  char *blocks;                      /* this rank's blocks, each at a multiple of WRITE_BEHIND_ALIGNMENT */
  int64_t *offsets;                  /* (mine_last - mine_first + 1): where each begins in BLOCKS */
  int64_t *covered;                  /* (mine_last - mine_first): elements that have come */
  write_piece_t *pieces;             /* (mine_last - mine_first): where the blocks belong */
} weights_write_round_t;

/* Goes before the elements of a box: RUNS runs of RUN elements, the first at element FIRST of its tensor, the
 * next ones one row of the tensor further. */
typedef struct {
  int64_t block, first, run, runs;
} box_header_t;

/* ---- items ---- */

static weights_tensor_t item_tensor(const weights_item_t *item) {
  weights_tensor_t tensor = {.path = item->path, .ndim = item->ndim, .dtype = item->dtype};
  for (int d = 0; d < H5_MAX_DIMS; ++d)
    tensor.shape[d] = d < item->ndim ? item->shape[d] : 1;
  return tensor;
}

static weights_box_t item_box(const weights_item_t *item) {
  return (weights_box_t){item->row_begin, item->row_count, item->col_begin, item->col_count};
}

static status_t item_check(const weights_item_t *item) {
  char text[WEIGHTS_SHAPE_TEXT];
  if (item->ndim < 0 || item->ndim > H5_MAX_DIMS)
    return error_set(STATUS_INTERNAL, "%s has %d dimensions, at most %d are stored", item->path, item->ndim,
                     H5_MAX_DIMS);
  if (item->dtype != DTYPE_F32 && item->dtype != DTYPE_BF16)
    return error_set(STATUS_INTERNAL, "%s: only float32 and bfloat16 are stored", item->path);
  weights_tensor_t tensor = item_tensor(item);
  if (!weights_shape_fits(&tensor) || !weights_view_fits(&tensor, item->rows, item->cols))
    return error_set(STATUS_INTERNAL, "%s: shape %s cannot be seen as %lld x %lld", item->path,
                     weights_shape_text(&tensor, text), (long long)item->rows, (long long)item->cols);
  return item->mine ? weights_box_check(item->path, item_box(item), item->rows, item->cols) : STATUS_OK;
}

static void weights_write_writer_free(writer_t *writer) {
  weights_plan_free(&writer->plan);
  memory_free(writer->item_tensor);
  memory_free(writer->tensors);
  memory_free(writer->cols);
  memory_free(writer->spans);
  memory_free(writer->hashes);
  memory_free(writer->given);
  memory_free(writer->values);
  memory_free(writer->send);
  memory_free(writer->recv);
  memory_free(writer->blocks);
}

/* Finds the tensors behind the items. */
static status_t writer_list(writer_t *writer) {
  TRY(memory_alloc(&writer->item_tensor, ARENA_IO, (size_t)writer->count, sizeof *writer->item_tensor));
  TRY(memory_alloc(&writer->tensors, ARENA_IO, (size_t)writer->count, sizeof *writer->tensors));
  TRY(memory_alloc(&writer->cols, ARENA_IO, (size_t)writer->count, sizeof *writer->cols));
  TRY(memory_alloc(&writer->spans, ARENA_IO, (size_t)writer->count, sizeof *writer->spans));
  for (int64_t i = 0; i < writer->count; ++i) {
    const weights_item_t *item = &writer->items[i];
    TRY(item_check(item));
    bool again = i > 0 && strcmp(item->path, item[-1].path) == 0;
    weights_tensor_t tensor = item_tensor(item);
    if (!again) {
      writer->tensors[writer->tensor_count] = tensor;
      writer->cols[writer->tensor_count] = item->cols;
      writer->tensor_count += 1;
    }
    writer->item_tensor[i] = writer->tensor_count - 1;
    const weights_tensor_t *listed = &writer->tensors[writer->tensor_count - 1];
    if (again &&
        (writer->cols[writer->tensor_count - 1] != item->cols || listed->dtype != tensor.dtype ||
         listed->ndim != tensor.ndim || memcmp(listed->shape, tensor.shape, sizeof tensor.shape) != 0))
      return error_set(STATUS_INTERNAL, "%s is listed twice with different shapes or types", item->path);
  }
  TRY(weights_plan_create(writer->tensors, writer->tensor_count, &writer->plan));
  return memory_alloc(&writer->hashes, ARENA_IO, (size_t)writer->plan.blocks, sizeof *writer->hashes);
}

/* Bytes of a box in a message; padded so that the next header is aligned. */
static size_t box_bytes(weights_box_t box, dtype_t dtype) {
  int64_t payload = box.rows * box.cols * weights_dtype_size(dtype);
  return sizeof(box_header_t) + (size_t)((payload + 7) / 8 * 8);
}

/* What this rank's items have of each block, and room for the largest piece. */
static status_t writer_measure(writer_t *writer) {
  const weights_plan_t *plan = &writer->plan;
  int64_t most = 0;
  TRY(memory_alloc(&writer->given, ARENA_IO, (size_t)plan->blocks, sizeof *writer->given));
  for (int64_t i = 0; i < writer->count; ++i) {
    const weights_item_t *item = &writer->items[i];
    int64_t tensor = writer->item_tensor[i];
    if (!item->mine) continue;
    if (item->row_count * item->col_count > most) most = item->row_count * item->col_count;
    for (int64_t b = plan->first[tensor]; b < plan->first[tensor + 1]; ++b) {
      weights_block_t block = weights_plan_block(plan, b);
      weights_box_t boxes[3];
      int n = weights_clip(item_box(item), item->cols, block.begin, block.count, boxes);
      for (int k = 0; k < n; ++k)
        writer->given[b] += (int64_t)box_bytes(boxes[k], item->dtype);
    }
  }
  return memory_alloc(&writer->values, ARENA_IO, (size_t)weights_piece_elements(most),
                      sizeof *writer->values);
}

/* Lists the tensors on every rank, and sees by a hash that all have the same. */
static status_t writer_prepare(writer_t *writer) {
  status_code_t status = writer_list(writer);
  if (status == STATUS_OK) status = writer_measure(writer);
  TRY(comm_agree(writer->comm, status));
  uint64_t hash = (uint64_t)writer->tensor_count;
  for (int64_t t = 0; t < writer->tensor_count; ++t) {
    const weights_tensor_t *tensor = &writer->tensors[t];
    int64_t numbers[3 + H5_MAX_DIMS] = {tensor->ndim, (int64_t)tensor->dtype, writer->cols[t]};
    memcpy(numbers + 3, tensor->shape, sizeof tensor->shape);
    hash = XXH3_64bits_withSeed(tensor->path, strlen(tensor->path), hash);
    hash = XXH3_64bits_withSeed(numbers, sizeof numbers, hash);
  }
  uint64_t both[2] = {hash, ~hash};
  TRY(comm_allreduce(writer->comm, both, 2, COMM_U64, COMM_MAX));
  if (both[0] == ~both[1]) return STATUS_OK;
  return error_set(STATUS_INTERNAL, "%s: the ranks list different tensors (this rank %lld)", writer->path,
                   (long long)writer->tensor_count);
}

/* ---- rank 0's part ---- */

/* All datasets, empty, and the attributes. */
static status_t skeleton_write(const writer_t *writer, const weights_spec_t *spec) {
  TRY(weights_create_datasets(writer->file, writer->tensors, writer->tensor_count));
  for (int64_t i = 0; i < writer->count; ++i)
    if (writer->items[i].meaning && (i == 0 || writer->item_tensor[i] != writer->item_tensor[i - 1]))
      TRY(h5_attr_write_text(writer->file, writer->items[i].path, "meaning", writer->items[i].meaning));
  return spec->annotate ? spec->annotate(writer->file, spec->context) : STATUS_OK;
}

/* ---- a round ---- */

static void round_free(weights_write_round_t *round) {
  memory_free(round->owner);
  memory_free(round->send_counts);
  memory_free(round->recv_counts);
  memory_free(round->cursor);
  memory_free(round->offsets);
  memory_free(round->covered);
  memory_free(round->pieces);
}

/* Takes blocks from FIRST on, as many as fit a round and no rank gives too much of. Collective. */
static status_t weights_write_round_extent(const writer_t *writer, int64_t first,
                                           weights_write_round_t *round) {
  int64_t most = weights_round_bytes(comm_size(writer->comm)), bytes = 0, given = 0, last = first;
  for (; last < writer->plan.blocks; ++last) {
    bytes += weights_plan_block(&writer->plan, last).bytes;
    given += writer->given[last];
    if (last > first && (bytes > most || given > WEIGHTS_GIVEN_BYTES)) break;
  }
  TRY(comm_allreduce(writer->comm, &last, 1, COMM_I64, COMM_MIN));
  *round = (weights_write_round_t){.first = first, .last = last};
  for (int64_t b = first; b < last; ++b)
    round->bytes += weights_plan_block(&writer->plan, b).bytes;
  return STATUS_OK;
}

/* Deals the blocks. */
static status_t weights_write_round_plan(const writer_t *writer, weights_write_round_t *round) {
  int size = comm_size(writer->comm), rank = comm_rank(writer->comm);
  int64_t first = round->first;
  int64_t n = round->last - first, begin = 0;
  TRY(memory_alloc(&round->owner, ARENA_IO, (size_t)n, sizeof *round->owner));
  round->mine_first = round->mine_last = first;
  for (int64_t i = 0; i < n; ++i) {
    int64_t bytes = weights_plan_block(&writer->plan, first + i).bytes;
    round->owner[i] = weights_deal(begin, bytes, round->bytes, size);
    begin += bytes;
    if (round->owner[i] < rank) round->mine_first = first + i + 1;
    if (round->owner[i] <= rank) round->mine_last = first + i + 1;
  }
  TRY(memory_alloc(&round->send_counts, ARENA_IO, (size_t)size, sizeof *round->send_counts));
  TRY(memory_alloc(&round->recv_counts, ARENA_IO, (size_t)size, sizeof *round->recv_counts));
  return memory_alloc(&round->cursor, ARENA_IO, (size_t)size, sizeof *round->cursor);
}

/* Elements FIRST .. FIRST + N - 1 of the item's rectangle to VALUES. */
static status_t item_values(const weights_item_t *item, int64_t first, int64_t n, float *values) {
  if (item->give) return item->give(item->context, first, n, values);
  int64_t stride = item->stride ? item->stride : item->col_count;
  for (int64_t done = 0, run; done < n; done += run) {
    int64_t row = (first + done) / item->col_count, col = (first + done) % item->col_count;
    run = n - done < item->col_count - col ? n - done : item->col_count - col;
    memcpy(values + done, item->data + row * stride + col, (size_t)run * sizeof *values);
  }
  return STATUS_OK;
}

static status_t box_pack(const writer_t *writer, const weights_item_t *item, int64_t block, weights_box_t box,
                         char *to) {
  box_header_t header = {block, box.row * item->cols + box.col, box.cols, box.rows};
  memcpy(to, &header, sizeof header);
  to += sizeof header;
  for (int64_t done = 0, n; done < box.rows * box.cols; done += n) {
    weights_piece_t piece = weights_next_piece(item_box(item), box, done);
    n = piece.n;
    TRY(item_values(item, piece.first, n, writer->values));
    weights_encode(item->dtype, writer->values, n, to + done * weights_dtype_size(item->dtype));
  }
  return STATUS_OK;
}

/* Packs what this rank's item I has of the round. */
static status_t round_add_item(const writer_t *writer, weights_write_round_t *round, int64_t i) {
  const weights_item_t *item = &writer->items[i];
  const weights_plan_t *plan = &writer->plan;
  int64_t begin = plan->first[writer->item_tensor[i]], end = plan->first[writer->item_tensor[i] + 1];
  if (begin < round->first) begin = round->first;
  if (end > round->last) end = round->last;
  for (int64_t b = begin; b < end; ++b) {
    weights_block_t block = weights_plan_block(plan, b);
    weights_box_t boxes[3];
    int n = weights_clip(item_box(item), item->cols, block.begin, block.count, boxes);
    size_t *cursor = &round->cursor[round->owner[b - round->first]];
    for (int k = 0; k < n; ++k) {
      TRY(box_pack(writer, item, b, boxes[k], writer->send + *cursor));
      *cursor += box_bytes(boxes[k], item->dtype);
    }
  }
  return STATUS_OK;
}

/* Sees that a buffer whose contents are of no use any more has room for BYTES. */
static status_t room_make(char **buffer, size_t *room, size_t bytes) {
  if (bytes <= *room) return STATUS_OK;
  memory_free(*buffer);
  *room = 0;
  TRY(memory_alloc(buffer, ARENA_IO, bytes, 1));
  *room = bytes;
  return STATUS_OK;
}

static int64_t aligned(int64_t bytes) {
  return (bytes + WRITE_BEHIND_ALIGNMENT - 1) / WRITE_BEHIND_ALIGNMENT * WRITE_BEHIND_ALIGNMENT;
}

/* Room for this rank's blocks. */
static status_t round_make_blocks(writer_t *writer, weights_write_round_t *round) {
  int64_t n = round->mine_last - round->mine_first;
  TRY(memory_alloc(&round->offsets, ARENA_IO, (size_t)n + 1, sizeof *round->offsets));
  TRY(memory_alloc(&round->covered, ARENA_IO, (size_t)n, sizeof *round->covered));
  TRY(memory_alloc(&round->pieces, ARENA_IO, (size_t)n, sizeof *round->pieces));
  for (int64_t i = 0; i < n; ++i)
    round->offsets[i + 1] =
        round->offsets[i] + aligned(weights_plan_block(&writer->plan, round->mine_first + i).bytes);
  if (writer->behind)
    return n > 0 ? write_behind_buffer(writer->behind, round->offsets[n], &round->blocks) : STATUS_OK;
  TRY(room_make(&writer->blocks, &writer->blocks_room, (size_t)round->offsets[n]));
  round->blocks = writer->blocks;
  return STATUS_OK;
}

/* What goes to this rank itself comes last, and is no message. */
static status_t round_pack(writer_t *writer, weights_write_round_t *round) {
  int size = comm_size(writer->comm), self = comm_rank(writer->comm);
  for (int64_t b = round->first; b < round->last; ++b)
    round->send_counts[round->owner[b - round->first]] += (size_t)writer->given[b];
  size_t total = 0;
  round->own = round->send_counts[self];
  round->send_counts[self] = 0;
  for (int rank = 0; rank < size; ++rank) {
    round->cursor[rank] = total;
    total += round->send_counts[rank];
  }
  round->cursor[self] = total;
  total += round->own;
  TRY(room_make(&writer->send, &writer->send_room, total));
  for (int64_t i = 0; i < writer->count && total > 0; ++i)
    if (writer->items[i].mine) TRY(round_add_item(writer, round, i));
  perf_bytes(2.0 * (double)total); /* read from the items, written to the messages */
  return round_make_blocks(writer, round);
}

/* Puts a received box into its block; returns the bytes it took in the message. */
static size_t box_unpack(const writer_t *writer, weights_write_round_t *round, const char *from) {
  box_header_t header;
  memcpy(&header, from, sizeof header);
  weights_block_t block = weights_plan_block(&writer->plan, header.block);
  const weights_tensor_t *tensor = &writer->tensors[block.tensor];
  int64_t size = weights_dtype_size(tensor->dtype), place = header.block - round->mine_first;
  int64_t cols = writer->cols[block.tensor];
  char *to = round->blocks + round->offsets[place] + (header.first - block.begin) * size;
  for (int64_t run = 0; run < header.runs; ++run)
    memcpy(to + run * cols * size, from + sizeof header + run * header.run * size,
           (size_t)(header.run * size));
  round->covered[place] += header.runs * header.run;
  return box_bytes((weights_box_t){.rows = header.runs, .cols = header.run}, tensor->dtype);
}

/* Hashes block B, and notes where it belongs. */
static status_t block_finish(writer_t *writer, weights_write_round_t *round, int64_t b) {
  weights_block_t block = weights_plan_block(&writer->plan, b);
  const weights_tensor_t *tensor = &writer->tensors[block.tensor];
  int64_t mine = b - round->mine_first, covered = round->covered[mine];
  if (covered != block.count)
    return error_set(STATUS_INTERNAL, "%s: the ranks gave %lld elements for the %lld from element %lld on",
                     tensor->path, (long long)covered, (long long)block.count, (long long)block.begin);
  writer->hashes[b] = XXH3_64bits(round->blocks + round->offsets[mine], (size_t)block.bytes);
  perf_bytes((writer->file ? 2.0 : 1.0) * (double)block.bytes);
  round->pieces[mine] = (write_piece_t){round->offsets[mine], block.bytes, 0};
  if (writer->file)
    round->pieces[mine].place =
        writer->spans[block.tensor].begin + block.begin * weights_dtype_size(tensor->dtype);
  return STATUS_OK;
}

static void boxes_unpack(const writer_t *writer, weights_write_round_t *round, const char *from,
                         size_t bytes) {
  perf_bytes(2.0 * (double)bytes); /* read from the messages, written to the blocks */
  for (size_t place = 0; place < bytes;)
    place += box_unpack(writer, round, from + place);
}

static status_t round_store(writer_t *writer, weights_write_round_t *round) {
  size_t received = 0, sent = 0;
  for (int rank = 0; rank < comm_size(writer->comm); ++rank) {
    received += round->recv_counts[rank];
    sent += round->send_counts[rank];
  }
  boxes_unpack(writer, round, writer->recv, received);
  boxes_unpack(writer, round, writer->send + sent, round->own);
  for (int64_t b = round->mine_first; b < round->mine_last; ++b)
    TRY(block_finish(writer, round, b));
  if (!writer->behind || round->mine_first == round->mine_last) return STATUS_OK;
  return write_behind_put(writer->behind, round->pieces, round->mine_last - round->mine_first);
}

/* Brings all blocks from the ranks that have their elements to those that hash and store them. Every step is
 * agreed before the next; all ranks then know all hashes. */
static status_t weights_write_rounds_run(writer_t *writer) {
  comm_t *comm = writer->comm;
  for (int64_t first = 0; first < writer->plan.blocks;) {
    SCOPED(round_free) weights_write_round_t round = {0};
    TRY(weights_write_round_extent(writer, first, &round));
    status_code_t status = weights_write_round_plan(writer, &round);
    if (status == STATUS_OK) status = round_pack(writer, &round);
    TRY(comm_agree(comm, status));
    status = comm_exchange_bytes(comm, writer->send, round.send_counts, &writer->recv, &writer->recv_room,
                                 round.recv_counts);
    if (status == STATUS_OK) status = round_store(writer, &round);
    TRY(comm_agree(comm, status));
    first = round.last;
  }
  return comm_allreduce(comm, writer->hashes, (size_t)writer->plan.blocks, COMM_U64, COMM_SUM);
}

/* ---- all of it ---- */

struct weights_writing {
  comm_t *comm;
  char path[FILE_MAX_PATH], partial[FILE_MAX_PATH];
  h5_file_t *file;
  write_behind_t *behind; /* writes to it */
};

/* The contents of the open file, of which data may still be written afterwards. */
static status_t file_fill(writer_t *writer, const weights_spec_t *spec) {
  comm_t *comm = writer->comm;
  bool lead = comm_rank(comm) == 0;
  TRY(comm_agree(comm, lead ? skeleton_write(writer, spec) : STATUS_OK));
  TRY(weights_find_spans(writer->file, comm, writer->tensors, writer->tensor_count, writer->spans));
  TRY(weights_write_rounds_run(writer));
  status_code_t status = lead ? weights_write_hashes(writer->file, &writer->plan, writer->hashes) : STATUS_OK;
  if (status == STATUS_OK) status = h5_complete(writer->file);
  return comm_agree(comm, status);
}

static status_t writer_run(weights_writing_t *writing, writer_t *writer, const weights_spec_t *spec) {
  const weights_disk_t *disk = &spec->disk;
  int64_t alignment = disk->alignment > 0 ? disk->alignment : WRITE_BEHIND_ALIGNMENT;
  int64_t waiting = disk->behind > 0 ? disk->behind : 0;
  TRY(writer_prepare(writer));
  TRY(h5_create_aligned(writing->partial, writing->comm, spec->format, alignment, &writing->file));
  TRY(comm_agree(writing->comm, write_behind_create(writing->partial, h5_descriptor(writing->file),
                                                    !disk->cached, waiting, &writing->behind)));
  writer->file = writing->file;
  writer->behind = writing->behind;
  TRY(file_fill(writer, spec));
  write_behind_seal(writing->behind);
  return STATUS_OK;
}

bool weights_writing_is_done(weights_writing_t *writing) {
  return write_behind_is_done(writing->behind);
}

void weights_writing_drop(weights_writing_t *writing) {
  write_behind_free(writing->behind);
  h5_abandon(writing->file);
  if (comm_rank(writing->comm) == 0) unlink(writing->partial);
  memory_free(writing);
}

/* Ends WRITING, which has come to STATUS on this rank. */
static status_t writing_end(weights_writing_t *writing, status_code_t status) {
  if (status == STATUS_OK) status = write_behind_wait(writing->behind);
  write_behind_free(writing->behind);
  status = file_commit(writing->comm, writing->path, h5_end(writing->file, status), false);
  status = error_context(status, "while writing %s", writing->path);
  memory_free(writing);
  return status;
}

status_t weights_write_end(weights_writing_t *writing) {
  return writing_end(writing, STATUS_OK);
}

status_t weights_write_begin(comm_t *comm, const char *path, const weights_spec_t *spec,
                             const weights_item_t *items, int64_t count, weights_writing_t **out) {
  SCOPED_MEMORY weights_writing_t *writing = NULL;
  *out = NULL;
  status_code_t status = memory_alloc(&writing, ARENA_IO, 1, sizeof *writing);
  if (status == STATUS_OK) status = file_join(writing->path, path, NULL, NULL);
  if (status == STATUS_OK) status = file_partial(writing->partial, path);
  TRY(comm_agree(comm, status));
  writing->comm = comm;
  SCOPED(weights_write_writer_free)
  writer_t writer = {.comm = comm, .path = writing->partial, .items = items, .count = count};
  status = writer_run(writing, &writer, spec);
  memory_hand_over(out, &writing);
  if (status == STATUS_OK) return STATUS_OK;
  status = writing_end(*out, status);
  *out = NULL;
  return status;
}

status_t weights_write(comm_t *comm, const char *path, const weights_spec_t *spec,
                       const weights_item_t *items, int64_t count) {
  weights_writing_t *writing;
  TRY(weights_write_begin(comm, path, spec, items, count, &writing));
  return weights_write_end(writing);
}

status_t weights_items_identity(comm_t *comm, const weights_item_t *items, int64_t count,
                                uint64_t *identity) {
  SCOPED(weights_write_writer_free)
  writer_t writer = {.comm = comm, .path = "(weights in memory)", .items = items, .count = count};
  TRY(writer_prepare(&writer));
  TRY(weights_write_rounds_run(&writer));
  return comm_agree(comm, weights_identity_sorted(&writer.plan, writer.hashes, identity));
}

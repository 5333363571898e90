/* The owned state as rectangles of named weights, for checkpoints and norms. */
#include "train/optimizer_internal.h"

#include "base/memory.h"

int64_t piece_elements(const optimizer_piece_t *piece) {
  return piece->rows * piece->cols;
}

/* Where pieces go; LIST NULL: they are only counted. */
typedef struct {
  optimizer_piece_t *list;
  int32_t count;
} pieces_out_t;

static void piece_add(pieces_out_t *out, optimizer_piece_t piece) {
  if (piece_elements(&piece) == 0) return;
  if (out->list) out->list[out->count] = piece;
  out->count++;
}

/* Elements FIRST .. LAST - 1 of a weight's stored shard, as up to three rectangles: the end of a row, whole
 * rows, the beginning of a row. PIECE says of which weight, and where element FIRST lies. */
static void range_add(pieces_out_t *out, optimizer_piece_t piece, int64_t first, int64_t last) {
  int64_t width = piece.param->partition.local_cols;
  while (first < last) {
    int64_t col = first % width, whole = (last - first) / width;
    piece.first_row = first / width;
    piece.first_col = col;
    piece.rows = col == 0 && whole > 0 ? whole : 1;
    piece.cols = col == 0 && whole > 0 ? width : last - first < width - col ? last - first : width - col;
    piece_add(out, piece);
    first += piece_elements(&piece);
    piece.offset += piece_elements(&piece);
    piece.grad += piece_elements(&piece);
  }
}

/* What this rank owns of PARAM in BUCKET, its vocabulary padding left out. */
static void bucket_add(const optimizer_t *optimizer, int32_t index, const param_t *param,
                       const bucket_t *bucket, pieces_out_t *out) {
  int64_t elements = param->partition.row_count * param->partition.local_cols;
  int64_t begin = bucket_own(optimizer, bucket), end = begin + bucket->mine;
  int64_t first = param->grad_offset > begin ? param->grad_offset : begin;
  int64_t last = param->grad_offset + elements < end ? param->grad_offset + elements : end;
  const optimizer_piece_t piece = {
      .set = index, .param = param, .offset = bucket->offset + first - begin, .grad = first};
  range_add(out, piece, first - param->grad_offset, last - param->grad_offset);
}

static void list_pieces(const optimizer_t *optimizer, pieces_out_t *out) {
  for (int32_t s = 0; s < optimizer->count; s++) {
    const set_t *set = &optimizer->sets[s];
    for (int32_t i = 0; i < set->params->count; i++)
      for (int32_t b = 0; b < set->bucket_count && set->params->items[i].trainable; b++)
        bucket_add(optimizer, s, &set->params->items[i], &set->buckets[b], out);
  }
}

status_t optimizer_make_pieces(optimizer_t *optimizer) {
  pieces_out_t out = {0};
  list_pieces(optimizer, &out);
  TRY(memory_alloc(&optimizer->pieces, ARENA_OTHER, (size_t)out.count, sizeof *optimizer->pieces));
  out = (pieces_out_t){.list = optimizer->pieces};
  list_pieces(optimizer, &out);
  optimizer->piece_count = out.count;
  return STATUS_OK;
}

int32_t optimizer_piece_count(const optimizer_t *optimizer) {
  return optimizer->piece_count;
}

optimizer_piece_t optimizer_piece(const optimizer_t *optimizer, int32_t index) {
  return optimizer->pieces[index];
}

static wide_t *piece_state(const optimizer_t *optimizer, const optimizer_piece_t *piece,
                           optimizer_state_t state, int64_t first) {
  return wide_at(optimizer->device, optimizer->sets[piece->set].state[state], piece->offset + first);
}

status_t optimizer_read(const optimizer_t *optimizer, const optimizer_piece_t *piece, optimizer_state_t state,
                        int64_t first, int64_t n, float *to) {
  wide_t *from = piece_state(optimizer, piece, state, first);
  TRY(wide_download(optimizer->device, to, DTYPE_F32, from, (size_t)n));
  return device_synchronize(optimizer->device);
}

status_t optimizer_write(optimizer_t *optimizer, const optimizer_piece_t *piece, optimizer_state_t state,
                         int64_t first, int64_t n, const float *from) {
  return wide_upload(optimizer->device, piece_state(optimizer, piece, state, first), from, DTYPE_F32,
                     (size_t)n);
}

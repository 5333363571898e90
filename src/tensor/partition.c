#include "tensor/partition.h"

#include <inttypes.h>

/* N elements in even parts over PARTS; an error that names NAME and WHAT is split where that does not go. */
static status_t partition_part(const char *name, const char *what, int64_t n, int index, int parts,
                               int64_t *begin, int64_t *count) {
  if (n % parts != 0)
    return error_set(STATUS_INPUT,
                     "%s: its %" PRId64
                     " %s cannot be split evenly over parallel.tp = %d: choose a tp that divides them",
                     name, n, what, parts);
  *count = n / parts;
  *begin = *count * index;
  return STATUS_OK;
}

/* Rows by key-value head: even shares of heads, or, where tp exceeds the heads, one head for a run of ranks.
 */
static status_t split_heads(const char *name, int heads, int tp_rank, int tp_size, partition_t *out) {
  if (heads < 1 || out->rows % heads != 0)
    return error_set(STATUS_INPUT, "%s: %" PRId64 " rows do not hold %d key-value heads of the same size",
                     name, out->rows, heads);
  if (tp_size <= heads) {
    if (heads % tp_size != 0)
      return error_set(
          STATUS_INPUT,
          "%s: its %d key-value heads cannot be split evenly over parallel.tp = %d: choose a tp that "
          "divides them or that is a multiple of them",
          name, heads, tp_size);
    return partition_part(name, "rows", out->rows, tp_rank, tp_size, &out->row_begin, &out->row_count);
  }
  if (tp_size % heads != 0)
    return error_set(
        STATUS_INPUT,
        "%s: its %d key-value heads cannot be shared evenly by parallel.tp = %d ranks: choose a tp that "
        "divides them or that is a multiple of them",
        name, heads, tp_size);
  out->replicas = tp_size / heads;
  out->replica = tp_rank % out->replicas;
  return partition_part(name, "rows", out->rows, tp_rank / out->replicas, heads, &out->row_begin,
                        &out->row_count);
}

/* Every rank stores the same number of rows; the last ranks' may be padding, in part or whole. */
static void split_vocabulary(int64_t unit, int tp_rank, int tp_size, partition_t *out) {
  out->local_rows = (out->rows + tp_size - 1) / tp_size;
  if (unit > 1) out->local_rows = (out->local_rows + unit - 1) / unit * unit;
  out->row_begin = out->local_rows * tp_rank;
  if (out->row_begin > out->rows) out->row_begin = out->rows;
  out->row_count = out->rows - out->row_begin;
  if (out->row_count > out->local_rows) out->row_count = out->local_rows;
}

static status_t partition_split(const char *name, int heads, int64_t unit, int tp_rank, int tp_size,
                                partition_t *out) {
  switch (out->split) {
  case SPLIT_NONE:
    out->replicas = tp_size;
    out->replica = tp_rank;
    break;
  case SPLIT_ROWS:
    TRY(partition_part(name, "rows", out->rows, tp_rank, tp_size, &out->row_begin, &out->row_count));
    break;
  case SPLIT_COLUMNS:
    TRY(partition_part(name, "columns", out->cols, tp_rank, tp_size, &out->col_begin, &out->col_count));
    break;
  case SPLIT_KV_ROWS:
    TRY(split_heads(name, heads, tp_rank, tp_size, out));
    break;
  case SPLIT_VOCAB:
    split_vocabulary(unit, tp_rank, tp_size, out);
    break;
  }
  return STATUS_OK;
}

status_t partition_make(const char *name, split_t split_kind, complete_t complete, int64_t rows, int64_t cols,
                        int heads, int64_t unit, int tp_rank, int tp_size, partition_t *out) {
  *out = (partition_t){.split = split_kind,
                       .complete = complete,
                       .rows = rows,
                       .cols = cols,
                       .row_count = rows,
                       .col_count = cols,
                       .replicas = 1};
  if (tp_size < 1 || tp_rank < 0 || tp_rank >= tp_size || rows < 0 || cols < 0)
    return error_set(STATUS_INTERNAL, "%s: shape (%" PRId64 ", %" PRId64 ") for rank %d of %d", name, rows,
                     cols, tp_rank, tp_size);
  TRY(partition_split(name, heads, unit, tp_rank, tp_size, out));
  if (split_kind != SPLIT_VOCAB) out->local_rows = out->row_count;
  out->local_cols = out->col_count;
  /* The only holder of a shard has nobody to complete its gradient with. */
  if (out->replicas == 1) out->complete = COMPLETE_LOCAL;
  if (out->replicas > 1 && complete == COMPLETE_LOCAL)
    return error_set(
        STATUS_INTERNAL,
        "%s: %d ranks hold the same shard, so its gradient must be declared equal or to be summed", name,
        out->replicas);
  return STATUS_OK;
}

int64_t partition_elements(const partition_t *partition) {
  return partition->local_rows * partition->local_cols;
}

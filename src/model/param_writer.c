#include "model/param_writer.h"

#include "base/memory.h"
#include "tensor/weight_nf4.h"

#include <string.h>

static bool is_nf4(const param_writer_t *writer) {
  return writer->params->items[writer->id].format == WEIGHT_NF4;
}

static int64_t whole_blocks(const weight_t *weight) {
  return weight->whole_rows * nf4_row_blocks(weight->whole_cols);
}

static status_t nf4_begin(param_writer_t *writer) {
  const weight_t weight = param_weight(writer->params, writer->id);
  int64_t end;
  weight_nf4_columns(&weight, &writer->col_begin, &end);
  writer->col_count = end - writer->col_begin;
  TRY(memory_alloc(&writer->row, ARENA_IO, (size_t)writer->col_count, sizeof *writer->row));
  return memory_alloc(&writer->absmax, ARENA_IO, (size_t)whole_blocks(&weight), sizeof *writer->absmax);
}

status_t param_writer_begin(params_t *params, int32_t id, param_writer_t *out) {
  const partition_t *part = &params->items[id].partition;
  *out = (param_writer_t){
      .params = params, .id = id, .col_begin = part->col_begin, .col_count = part->col_count};
  return is_nf4(out) ? nf4_begin(out) : STATUS_OK;
}

void param_writer_free(param_writer_t *writer) {
  memory_free(writer->row);
  memory_free(writer->absmax);
  *writer = (param_writer_t){0};
}

/* Whole rows FIRST .. FIRST + ROWS - 1, and their blocks' absmax to their place in the whole weight. */
static status_t nf4_rows(param_writer_t *writer, int64_t first, int64_t rows, const float *values) {
  const weight_t weight = param_weight(writer->params, writer->id);
  const nf4_view_t view = weight_nf4_view(&weight);
  float *absmax = NULL;
  TRY(memory_alloc(&absmax, ARENA_SCRATCH, (size_t)(rows * view.row_blocks), sizeof *absmax));
  status_code_t status = weight_nf4_write_rows(writer->params->device, &weight, first, rows, values, absmax);
  for (int64_t r = 0; r < rows && status == STATUS_OK; r++)
    memcpy(writer->absmax + view.first + (first + r) * view.whole_row_blocks, absmax + r * view.row_blocks,
           (size_t)view.row_blocks * sizeof *absmax);
  memory_free(absmax);
  return status;
}

/* Rows that come in parts are put together, the others are taken as they are. */
static status_t nf4_take(param_writer_t *writer, int64_t n, const float *values) {
  enum { ROWS_AT_ONCE = 64 };
  int64_t cols = writer->col_count;
  while (n > 0) {
    int64_t at = writer->come % cols, row = writer->come / cols, take;
    if (at == 0 && n >= cols) {
      int64_t rows = n / cols < ROWS_AT_ONCE ? n / cols : ROWS_AT_ONCE;
      take = rows * cols;
      TRY(nf4_rows(writer, row, rows, values));
    } else {
      take = n < cols - at ? n : cols - at;
      memcpy(writer->row + at, values, (size_t)take * sizeof *values);
      if (at + take == cols) TRY(nf4_rows(writer, row, 1, writer->row));
    }
    writer->come += take;
    values += take;
    n -= take;
  }
  return STATUS_OK;
}

status_t param_writer_take(void *context, int64_t first, int64_t n, const float *values) {
  param_writer_t *writer = context;
  if (first != writer->come)
    return error_set(STATUS_INTERNAL, "%s: element %lld comes where %lld was expected",
                     writer->params->items[writer->id].name, (long long)first, (long long)writer->come);
  if (is_nf4(writer)) return nf4_take(writer, n, values);
  writer->come += n;
  return param_write_elements(writer->params, writer->id, first, n, DTYPE_F32, values);
}

status_t param_writer_end(param_writer_t *writer) {
  const params_t *params = writer->params;
  if (!is_nf4(writer)) return STATUS_OK;
  const weight_t weight = param_weight(params, writer->id);
  if (params->grid->tp_size > 1)
    TRY(comm_allreduce(params->grid->tp, writer->absmax, (size_t)whole_blocks(&weight), COMM_F32, COMM_MAX));
  return weight_nf4_write_scales(params->device, &weight, writer->absmax);
}

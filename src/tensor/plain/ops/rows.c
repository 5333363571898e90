/* Operations that pick rows: embedding, gather, scatter. */
#include "tensor/plain/ops/element.h"

static bool in_shard(int32_t token, int64_t begin, int64_t count) {
  return token >= begin && token < begin + count;
}

static status_t embedding_plain(device_t *device, const op_embedding_t *op) {
  access_t access = access_begin(device, "embedding");
  int64_t C = op->cols;
  access_index(&access, "tokens", op->tokens, op->rows, INT32_MIN, INT32_MAX, false);
  reads_weight(&access, "weight", &op->weight, op->count, C);
  writes(&access, "y", op->y, op->rows, C, C);
  TRY(access_ready(&access));
  const int32_t *tokens = (const int32_t *)op->tokens;
  element_t *y = (element_t *)op->y;
  for (int64_t t = 0; t < op->rows; t++)
    for (int64_t c = 0; c < C; c++)
      y[t * C + c] = in_shard(tokens[t], op->begin, op->count)
                         ? (element_t)weight_element(&op->weight, tokens[t] - op->begin, c)
                         : 0;
  access_end(&access);
  return STATUS_OK;
}

static status_t embedding_backward_plain(device_t *device, const op_embedding_backward_t *op) {
  access_t access = access_begin(device, "embedding_backward");
  int64_t C = op->cols;
  access_index(&access, "tokens", op->tokens, op->rows, INT32_MIN, INT32_MAX, false);
  reads(&access, "dy", op->dy, op->rows, C, C);
  updates(&access, "dweight", op->dweight, op->count, C, C);
  TRY(access_ready(&access));
  const int32_t *tokens = (const int32_t *)op->tokens;
  const element_t *dy = (const element_t *)op->dy;
  element_t *dweight = (element_t *)op->dweight;
  for (int64_t t = 0; t < op->rows; t++)
    for (int64_t c = 0; c < C; c++)
      if (in_shard(tokens[t], op->begin, op->count))
        dweight[(tokens[t] - op->begin) * C + c] += dy[t * C + c];
  access_end(&access);
  return STATUS_OK;
}

/* Elements from the first to just behind the last of ROWS rows. */
static int64_t rows_extent(int64_t rows, int64_t cols, int64_t ld) {
  return rows > 0 ? (rows - 1) * ld + cols : 0;
}

static void row_copy(const element_t *from, element_t *to, int64_t cols, bool add) {
  for (int64_t c = 0; c < cols; c++)
    to[c] = add ? to[c] + from[c] : from[c];
}

static void rows_require(access_t *access, const op_rows_t *op) {
  access_require(access, op->rows >= 0 && op->cols >= 0, "sizes %lld x %lld", (long long)op->rows,
                 (long long)op->cols);
  access_require(access, op->rows == 0 || (op->ld_from >= op->cols && op->ld_to >= op->cols),
                 "row strides %lld and %lld, less than %lld columns", (long long)op->ld_from,
                 (long long)op->ld_to, (long long)op->cols);
}

static status_t rows_gather_plain(device_t *device, const op_rows_t *op) {
  access_t access = access_begin(device, "rows_gather");
  rows_require(&access, op);
  access_index(&access, "index", op->index, op->rows, -1, INT32_MAX, false);
  int64_t from_rows = access_index_max(&access, op->index, op->rows) + 1;
  reads_some(&access, "from", op->from, rows_extent(from_rows, op->cols, op->ld_from));
  writes_some(&access, "to", op->to, rows_extent(op->rows, op->cols, op->ld_to));
  const int32_t *index = (const int32_t *)op->index;
  for (int64_t i = 0; access.status == STATUS_OK && i < op->rows; i++) {
    if (index[i] < 0) continue;
    access_touch(&access, "from", op->from, sizeof(element_t), index[i] * op->ld_from, op->cols);
    if (op->add) access_touch(&access, "to", op->to, sizeof(element_t), i * op->ld_to, op->cols);
  }
  TRY(access_ready(&access));
  for (int64_t i = 0; i < op->rows; i++)
    if (index[i] >= 0)
      row_copy((const element_t *)op->from + index[i] * op->ld_from, (element_t *)op->to + i * op->ld_to,
               op->cols, op->add);
  access_end(&access);
  return STATUS_OK;
}

static status_t rows_scatter_plain(device_t *device, const op_rows_t *op) {
  access_t access = access_begin(device, "rows_scatter");
  rows_require(&access, op);
  access_index(&access, "index", op->index, op->rows, -1, INT32_MAX, true);
  int64_t to_rows = access_index_max(&access, op->index, op->rows) + 1;
  reads_some(&access, "from", op->from, rows_extent(op->rows, op->cols, op->ld_from));
  writes_some(&access, "to", op->to, rows_extent(to_rows, op->cols, op->ld_to));
  const int32_t *index = (const int32_t *)op->index;
  for (int64_t i = 0; access.status == STATUS_OK && i < op->rows; i++) {
    if (index[i] < 0) continue;
    access_touch(&access, "from", op->from, sizeof(element_t), i * op->ld_from, op->cols);
    if (op->add) access_touch(&access, "to", op->to, sizeof(element_t), index[i] * op->ld_to, op->cols);
  }
  TRY(access_ready(&access));
  for (int64_t i = 0; i < op->rows; i++)
    if (index[i] >= 0)
      row_copy((const element_t *)op->from + i * op->ld_from, (element_t *)op->to + index[i] * op->ld_to,
               op->cols, op->add);
  access_end(&access);
  return STATUS_OK;
}

void PLAIN_NAME(plain_fill_rows)(ops_t *ops) {
  ops->embedding = embedding_plain;
  ops->embedding_backward = embedding_backward_plain;
  ops->rows_gather = rows_gather_plain;
  ops->rows_scatter = rows_scatter_plain;
}

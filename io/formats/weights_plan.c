#include "io/formats/weights_plan.h"

#include "base/half.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

/* Less than this per rank is not worth another rank's opening and writing. */
static const int64_t deal_least_bytes = INT64_C(1) << 20;

int64_t weights_dtype_size(dtype_t dtype) {
  return (int64_t)dtype_size(dtype);
}

h5_type_t weights_h5_type(dtype_t dtype) {
  return dtype == DTYPE_BF16 ? H5TYPE_BF16 : H5TYPE_F32;
}

int64_t weights_elements(const weights_tensor_t *tensor) {
  int64_t n = 1;
  for (int d = 0; d < tensor->ndim; ++d)
    n *= tensor->shape[d];
  return n;
}

bool weights_shape_fits(const weights_tensor_t *tensor) {
  return memory_shape_fits(tensor->shape, tensor->ndim, weights_dtype_size(tensor->dtype));
}

bool weights_view_fits(const weights_tensor_t *tensor, int64_t rows, int64_t cols) {
  int64_t elements = weights_elements(tensor), leading = 1;
  if (rows < 0 || cols < 0 || (cols > 0 && rows > INT64_MAX / cols) || rows * cols != elements) return false;
  if (leading == rows) return true;
  for (int d = 0; d < tensor->ndim; ++d) {
    leading *= tensor->shape[d];
    if (leading == rows) return true;
  }
  return false;
}

const char *weights_shape_text(const weights_tensor_t *tensor, char text[WEIGHTS_SHAPE_TEXT]) {
  int n = snprintf(text, WEIGHTS_SHAPE_TEXT, "(");
  for (int d = 0; d < tensor->ndim; ++d)
    n += snprintf(text + n, (size_t)(WEIGHTS_SHAPE_TEXT - n), "%s%lld", d ? ", " : "",
                  (long long)tensor->shape[d]);
  snprintf(text + n, (size_t)(WEIGHTS_SHAPE_TEXT - n), ")");
  return text;
}

/* ---- blocks ---- */

static int64_t block_elements(dtype_t dtype) {
  return WEIGHTS_BLOCK_BYTES / weights_dtype_size(dtype);
}

int64_t weights_blocks(const weights_tensor_t *tensor) {
  int64_t most = block_elements(tensor->dtype);
  return (weights_elements(tensor) + most - 1) / most;
}

status_t weights_plan_create(const weights_tensor_t *tensors, int64_t count, weights_plan_t *plan) {
  *plan = (weights_plan_t){.tensors = tensors, .tensor_count = count};
  TRY(memory_alloc(&plan->first, ARENA_IO, (size_t)count + 1, sizeof *plan->first));
  for (int64_t t = 0; t < count; ++t)
    plan->first[t + 1] = plan->first[t] + weights_blocks(&tensors[t]);
  plan->blocks = plan->first[count];
  return STATUS_OK;
}

void weights_plan_free(weights_plan_t *plan) {
  memory_free(plan->first);
  *plan = (weights_plan_t){0};
}

weights_block_t weights_plan_block(const weights_plan_t *plan, int64_t i) {
  int64_t low = 0, high = plan->tensor_count;
  while (high - low > 1) {
    int64_t middle = low + (high - low) / 2;
    if (plan->first[middle] <= i)
      low = middle;
    else
      high = middle;
  }
  const weights_tensor_t *tensor = &plan->tensors[low];
  weights_block_t block = {.tensor = low, .index = i - plan->first[low]};
  int64_t most = block_elements(tensor->dtype);
  block.begin = block.index * most;
  block.count = weights_elements(tensor) - block.begin;
  if (block.count > most) block.count = most;
  block.bytes = block.count * weights_dtype_size(tensor->dtype);
  return block;
}

int weights_deal(int64_t begin, int64_t bytes, int64_t total, int size) {
  int64_t parts = (total + deal_least_bytes - 1) / deal_least_bytes;
  if (parts > size) parts = size;
  if (parts < 1) parts = 1;
  int64_t part = (begin + bytes / 2) * parts / (total > 0 ? total : 1);
  if (part >= parts) part = parts - 1;
  return (int)(part * size / parts); /* the parts are spread over all ranks, and so over the nodes */
}

/* ---- boxes ---- */

static int64_t weights_plan_larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static int64_t weights_plan_smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

status_t weights_box_check(const char *path, weights_box_t rectangle, int64_t rows, int64_t cols) {
  weights_box_t r = rectangle;
  if (r.row >= 0 && r.rows >= 0 && r.row <= rows - r.rows && r.col >= 0 && r.cols >= 0 &&
      r.col <= cols - r.cols)
    return STATUS_OK;
  return error_set(STATUS_INTERNAL, "%s: rows %lld+%lld, columns %lld+%lld lie outside %lld x %lld", path,
                   (long long)r.row, (long long)r.rows, (long long)r.col, (long long)r.cols, (long long)rows,
                   (long long)cols);
}

static int box_keep(weights_box_t rectangle, int64_t row, int64_t row_end, int64_t col, int64_t col_end,
                    weights_box_t *box) {
  int64_t top = weights_plan_larger(row, rectangle.row),
          bottom = weights_plan_smaller(row_end, rectangle.row + rectangle.rows);
  int64_t left = weights_plan_larger(col, rectangle.col),
          right = weights_plan_smaller(col_end, rectangle.col + rectangle.cols);
  if (top >= bottom || left >= right) return 0;
  *box = (weights_box_t){top, bottom - top, left, right - left};
  return 1;
}

int weights_clip(weights_box_t rectangle, int64_t cols, int64_t begin, int64_t count,
                 weights_box_t boxes[3]) {
  if (count <= 0 || cols <= 0) return 0;
  int64_t last = begin + count - 1;
  int64_t first_row = begin / cols, first_col = begin % cols;
  int64_t last_row = last / cols, end_col = last % cols + 1;
  if (first_row == last_row) return box_keep(rectangle, first_row, first_row + 1, first_col, end_col, boxes);
  int n = 0;
  int64_t whole_begin = first_col == 0 ? first_row : first_row + 1;
  int64_t whole_end = end_col == cols ? last_row + 1 : last_row;
  if (first_col > 0) n += box_keep(rectangle, first_row, first_row + 1, first_col, cols, boxes + n);
  n += box_keep(rectangle, whole_begin, whole_end, 0, cols, boxes + n);
  if (end_col < cols) n += box_keep(rectangle, last_row, last_row + 1, 0, end_col, boxes + n);
  return n;
}

weights_piece_t weights_next_piece(weights_box_t rectangle, weights_box_t box, int64_t done) {
  int64_t row = box.cols > 0 ? done / box.cols : 0, col = box.cols > 0 ? done % box.cols : 0;
  int64_t most = WEIGHTS_PIECE_ELEMENTS, left = box.rows * box.cols - done;
  if (box.cols < rectangle.cols || box.cols > most)
    left = weights_plan_smaller(left, box.cols - col);
  else if (left > 0)
    most = most / box.cols * box.cols;
  return (weights_piece_t){(box.row + row - rectangle.row) * rectangle.cols + box.col + col - rectangle.col,
                           weights_plan_smaller(left, most)};
}

int64_t weights_piece_elements(int64_t n) {
  return weights_plan_smaller(n, WEIGHTS_PIECE_ELEMENTS);
}

/* ---- types ---- */

void weights_encode(dtype_t dtype, const float *from, int64_t n, void *to) {
  if (dtype == DTYPE_BF16)
    half_to_bf16(from, to, (size_t)n);
  else
    memcpy(to, from, (size_t)n * sizeof *from);
}

void weights_decode(dtype_t dtype, const void *from, int64_t n, float *to) {
  if (dtype == DTYPE_BF16)
    half_from_bf16(from, to, (size_t)n);
  else
    memcpy(to, from, (size_t)n * sizeof *to);
}

/* How many of N values have all bits of the exponent set: loops that the compiler vectorises. */
static int32_t count_infinite_bf16(const unsigned char *values, int64_t n) {
  const uint16_t exponent = 0x7f80;
  uint16_t count = 0; /* of a run, which is shorter than its range */
  for (int64_t i = 0; i < n; ++i) {
    uint16_t bits;
    memcpy(&bits, values + 2 * i, sizeof bits);
    count = (uint16_t)(count + ((bits & exponent) == exponent));
  }
  return count;
}

static int32_t count_infinite_f32(const unsigned char *values, int64_t n) {
  const uint32_t exponent = 0x7f800000u;
  int32_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    memcpy(&bits, values + 4 * i, sizeof bits);
    count += (bits & exponent) == exponent;
  }
  return count;
}

int64_t weights_find_infinite(dtype_t dtype, const void *values, int64_t n) {
  enum { RUN = 4096 }; /* values that are looked at before it is asked whether one was bad */
  int32_t (*count)(const unsigned char *, int64_t) =
      dtype == DTYPE_BF16 ? count_infinite_bf16 : count_infinite_f32;
  const unsigned char *bytes = values;
  int64_t size = weights_dtype_size(dtype);
  for (int64_t begin = 0; begin < n; begin += RUN) {
    int64_t end = begin + RUN < n ? begin + RUN : n;
    if (count(bytes + begin * size, end - begin) == 0) continue;
    for (int64_t i = begin; i < end; ++i)
      if (count(bytes + i * size, 1) > 0) return i;
  }
  return n;
}

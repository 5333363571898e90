#include "tensor/weight_nf4.h"

#include <string.h>

/* Sizes in bytes of what lies one behind the other. */
typedef struct {
  int64_t row_blocks, codes, scales, groups;
} nf4_sizes_t;

static nf4_sizes_t sizes_of(const weight_t *weight) {
  int64_t row_blocks = nf4_row_blocks(weight->col_begin % NF4_BLOCK + weight->cols);
  int64_t blocks = weight->whole_rows * nf4_row_blocks(weight->whole_cols);
  return (nf4_sizes_t){.row_blocks = row_blocks,
                       .codes = weight->rows * row_blocks * NF4_BLOCK_BYTES,
                       .scales = (weight->rows * row_blocks + 3) / 4 * 4,
                       .groups = (blocks + NF4_GROUP - 1) / NF4_GROUP * (int64_t)sizeof(float)};
}

size_t weight_nf4_bytes(const weight_t *weight) {
  nf4_sizes_t sizes = sizes_of(weight);
  return (size_t)(sizes.codes + sizes.scales + sizes.groups) + sizeof(float);
}

nf4_view_t weight_nf4_view(const weight_t *weight) {
  nf4_sizes_t sizes = sizes_of(weight);
  const uint8_t *data = weight->data;
  const void *offset = data + sizes.codes + sizes.scales;
  int64_t whole_row_blocks = nf4_row_blocks(weight->whole_cols);
  return (nf4_view_t){.codes = data,
                      .scales = data + sizes.codes,
                      .offset = offset,
                      .groups = (const float *)offset + 1,
                      .row_blocks = sizes.row_blocks,
                      .skip = weight->col_begin % NF4_BLOCK,
                      .first = weight->row_begin * whole_row_blocks + weight->col_begin / NF4_BLOCK,
                      .whole_row_blocks = whole_row_blocks};
}

void weight_nf4_columns(const weight_t *weight, int64_t *begin, int64_t *end) {
  *begin = weight->col_begin - weight->col_begin % NF4_BLOCK;
  int64_t blocks_end = *begin + sizes_of(weight).row_blocks * NF4_BLOCK;
  *end = blocks_end < weight->whole_cols ? blocks_end : weight->whole_cols;
}

/* Bytes, a multiple of four, as they are. */
static status_t write_bytes(device_t *device, const void *to, const void *from, int64_t bytes) {
  return index_upload(device, (index_t *)(uintptr_t)to, from, (size_t)bytes / sizeof(int32_t));
}

status_t weight_nf4_write_rows(device_t *device, const weight_t *weight, int64_t first, int64_t rows,
                               const float *values, float *absmax) {
  nf4_view_t view = weight_nf4_view(weight);
  int64_t begin, end, bytes = view.row_blocks * NF4_BLOCK_BYTES;
  weight_nf4_columns(weight, &begin, &end);
  nf4_absmax(values, rows, end - begin, absmax);
  uint8_t *codes = NULL;
  TRY(memory_alloc(&codes, ARENA_SCRATCH, (size_t)(rows * bytes), 1));
  nf4_encode(values, rows, end - begin, absmax, codes);
  status_code_t status = write_bytes(device, view.codes + first * bytes, codes, rows * bytes);
  memory_free(codes);
  return status;
}

/* In ALL: the scales of this part, filled up, the offset, the groups. */
static void part_scales(const weight_t *weight, const float *absmax, uint8_t *whole, uint8_t *all) {
  nf4_sizes_t sizes = sizes_of(weight);
  nf4_view_t view = weight_nf4_view(weight);
  int64_t blocks = weight->whole_rows * view.whole_row_blocks;
  float offset = nf4_offset(absmax, blocks);
  memset(all, 0, (size_t)sizes.scales);
  memcpy(all + sizes.scales, &offset, sizeof offset);
  nf4_scales_encode(absmax, blocks, offset, whole, (float *)(void *)(all + sizes.scales + sizeof offset));
  for (int64_t r = 0; r < weight->rows; r++)
    memcpy(all + r * view.row_blocks, whole + view.first + r * view.whole_row_blocks,
           (size_t)view.row_blocks);
}

status_t weight_nf4_write_scales(device_t *device, const weight_t *weight, const float *absmax) {
  nf4_view_t view = weight_nf4_view(weight);
  nf4_sizes_t sizes = sizes_of(weight);
  int64_t bytes = (int64_t)weight_nf4_bytes(weight) - sizes.codes;
  uint8_t *whole = NULL, *all = NULL;
  status_code_t status =
      memory_alloc(&whole, ARENA_SCRATCH, (size_t)(weight->whole_rows * view.whole_row_blocks), 1);
  if (status == STATUS_OK) status = memory_alloc(&all, ARENA_SCRATCH, (size_t)bytes, 1);
  if (status == STATUS_OK) {
    part_scales(weight, absmax, whole, all);
    status = write_bytes(device, view.scales, all, bytes);
  }
  memory_free(whole);
  memory_free(all);
  return status;
}

void weight_nf4_row(const weight_t *weight, int64_t r, float *values) {
  nf4_view_t view = weight_nf4_view(weight);
  for (int64_t c = 0; c < weight->cols; c++)
    values[c] = nf4_view_value(&view, r, c);
}

/* How the tensors of a weights file are cut into blocks, dealt over ranks and rounds. Internal to io/. */
#ifndef IO_WEIGHTS_PLAN_H
#define IO_WEIGHTS_PLAN_H

#include "io/formats/weights.h"
#include "io/h5.h"

/* A block: elements BEGIN .. BEGIN + COUNT - 1 (row-major) of one tensor; what is hashed, read and written at
 * once. */
typedef struct {
  int64_t tensor;
  int64_t index; /* which block of its tensor */
  int64_t begin, count;
  int64_t bytes;
} weights_block_t;

typedef struct {
  const weights_tensor_t *tensors; /* (tensors_count), borrowed */
  int64_t tensor_count;
  int64_t *first; /* (tensor_count + 1): number of each tensor's first block */
  int64_t blocks; /* of all tensors */
} weights_plan_t;

/* Bytes of one element as stored, and the file's type for it. */
int64_t weights_dtype_size(dtype_t dtype);
h5_type_t weights_h5_type(dtype_t dtype);

/* Its shape is one that has been checked: a file's (h5_dataset_info) or item's. */
int64_t weights_elements(const weights_tensor_t *tensor);

/* Blocks that the tensor is cut into. */
int64_t weights_blocks(const weights_tensor_t *tensor);

/* False if the tensor's bytes are no number. */
bool weights_shape_fits(const weights_tensor_t *tensor);

/* True if the tensor's shape, read row-major, can be seen as ROWS x COLS: ROWS is a product of leading
 * dimensions. */
bool weights_view_fits(const weights_tensor_t *tensor, int64_t rows, int64_t cols);

/* Writes the shape as "(3, 4)" to TEXT. */
enum { WEIGHTS_SHAPE_TEXT = 112 };
const char *weights_shape_text(const weights_tensor_t *tensor, char text[WEIGHTS_SHAPE_TEXT]);

/* Cuts TENSORS (count) into blocks. Free with weights_plan_free. Errors: STATUS_MEMORY. Local. */
status_t weights_plan_create(const weights_tensor_t *tensors, int64_t count, weights_plan_t *plan);
void weights_plan_free(weights_plan_t *plan);

/* Block number I of all. */
weights_block_t weights_plan_block(const weights_plan_t *plan, int64_t i);

/* Identity of PLAN's tensors, whatever their order, from the HASHES (plan->blocks) of their blocks. Errors:
 * STATUS_MEMORY. Local. */
status_t weights_identity_sorted(const weights_plan_t *plan, const uint64_t *hashes, uint64_t *identity);

/* Which of SIZE ranks gets a block that begins at byte BEGIN of a round of TOTAL bytes and is BYTES long:
 * rank numbers never fall along a round, so each rank's blocks lie next to each other in the file. */
int weights_deal(int64_t begin, int64_t bytes, int64_t total, int size);

/* A rectangle of a tensor with COLS columns. */
typedef struct {
  int64_t row, rows, col, cols;
} weights_box_t;

/* STATUS_INTERNAL unless RECTANGLE, of tensor PATH, lies inside ROWS x COLS. */
status_t weights_box_check(const char *path, weights_box_t rectangle, int64_t rows, int64_t cols);

/* The part of RECTANGLE whose elements lie in BEGIN .. BEGIN + COUNT - 1, as at most three boxes in order;
 * returns how many. */
int weights_clip(weights_box_t rectangle, int64_t cols, int64_t begin, int64_t count, weights_box_t boxes[3]);

/* Elements FIRST .. FIRST + N - 1, row-major, of a rectangle. */
typedef struct {
  int64_t first, n;
} weights_piece_t;

/* The next piece of BOX, of which DONE elements are behind, in the RECTANGLE that it lies in; N is 0 behind
 * the last one. Whole rows, as many as may come together, where BOX is as wide as RECTANGLE; otherwise a row,
 * or a part of it. */
weights_piece_t weights_next_piece(weights_box_t rectangle, weights_box_t box, int64_t done);

/* Of the N elements of rectangles that one rank has, those that go through memory at once. */
int64_t weights_piece_elements(int64_t n);

/* Converts N floats to the stored type, or back. */
void weights_encode(dtype_t dtype, const float *from, int64_t n, void *to);
void weights_decode(dtype_t dtype, const void *from, int64_t n, float *to);

/* The first of N stored values that is NaN or infinite, N if all are finite. */
int64_t weights_find_infinite(dtype_t dtype, const void *values, int64_t n);

#endif

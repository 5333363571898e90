/* Weights in NF4: where codes and scales lie in device memory, and how they get there. A weight is a part of
 * a whole matrix (weight_t): it holds the blocks of the matrix that it touches, with their scales, so that
 * its values do not depend on how the matrix is divided. Its memory, of weight_nf4_bytes:
 *
 *   codes (rows, row_blocks, NF4_BLOCK_BYTES) | scales (rows, row_blocks), filled up to 4 bytes | offset |
 *   groups of the whole matrix
 */
#ifndef TENSOR_WEIGHT_NF4_H
#define TENSOR_WEIGHT_NF4_H

#include "tensor/nf4.h"
#include "tensor/weight.h"

/* The same for code that reads it, on the host or on a device. */
nf4_view_t weight_nf4_view(const weight_t *weight);
size_t weight_nf4_bytes(const weight_t *weight);

/* The columns *BEGIN .. *END - 1 of the whole matrix that the weight's blocks cover. Local. */
void weight_nf4_columns(const weight_t *weight, int64_t *begin, int64_t *end);

/* Writes the codes of rows FIRST .. FIRST + ROWS - 1 of the weight from their VALUES in these columns
 * (rows, *END - *BEGIN; host), and sets ABSMAX (rows, row_blocks; host). Local. Errors: the device's. */
status_t weight_nf4_write_rows(device_t *device, const weight_t *weight, int64_t first, int64_t rows,
                               const float *values, float *absmax);

/* Writes scales, offset and groups from the absmax of all blocks of the whole matrix (whole_rows, its blocks
 * of a row; host). Local. Errors: the device's, STATUS_MEMORY. */
status_t weight_nf4_write_scales(device_t *device, const weight_t *weight, const float *absmax);

/* Row R's values (cols) of a weight in host memory. Local. */
void weight_nf4_row(const weight_t *weight, int64_t r, float *values);

#endif

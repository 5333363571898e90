/* NF4: matrices of 4-bit codes of a fixed code book, quantised in blocks, whose scales are quantised again
 * (Dettmers et al., "QLoRA", 2023, sections 2 and 3). Host functions on arrays; no device, no allocation.
 *
 * A row of a matrix (rows, cols) is a run of nf4_row_blocks(cols) blocks of NF4_BLOCK values, 32 bytes each:
 * two codes a byte, the first value in the high half. A row whose length is not a multiple of NF4_BLOCK ends
 * with a short block: its codes are filled up with NF4_ZERO. Arrays of one value a block are
 * (rows, nf4_row_blocks(cols)), row-major; the blocks of a matrix are numbered in that order.
 *
 *   value = nf4_code[code] * scale
 *   scale = nf4_scale_map[byte] * group + offset
 *
 * scale is what is left of absmax, the largest magnitude of the block; group is the largest |absmax - offset|
 * of NF4_GROUP blocks, and offset the mean absmax of the matrix.
 * Each operation rounds to float. Where cols is a multiple of NF4_BLOCK, codes, scales and
 * values are to the bit those of bitsandbytes (quantize_4bit with quant_type "nf4", blocksize 64,
 * compress_statistics, in its PyTorch implementation), given the same offset: bitsandbytes sums the mean in
 * float, nf4_offset in double. A value halfway between two codes takes the lower code; a block of zeros takes
 * the code of zero; a group without differences has scales of exactly the offset. Codes are chosen by the
 * exact absmax, not by what its byte gives. */
#ifndef TENSOR_NF4_H
#define TENSOR_NF4_H

#include <stdint.h>

enum { NF4_BLOCK = 64, NF4_BLOCK_BYTES = NF4_BLOCK / 2, NF4_GROUP = 256, NF4_CODES = 16, NF4_ZERO = 7 };

/* The code book: quantiles of the normal distribution, scaled to [-1, 1]; nf4_code[NF4_ZERO] is 0. */
extern const float nf4_code[NF4_CODES];

/* The signed 8-bit dynamic map (Dettmers, "8-Bit Approximations for Parallelism in Deep Learning", 2015), in
 * rising order: seven decades of both signs, each with twice as many steps as the one below it, 0, and 1. */
extern const float nf4_scale_map[256];

/* Blocks of a row of COLS values. Local. */
int64_t nf4_row_blocks(int64_t cols);

/* Sets the largest magnitude of each block. VALUES (rows, cols), finite; ABSMAX one a block. Local. */
void nf4_absmax(const float *values, int64_t rows, int64_t cols, float *absmax);

/* Sets CODES (rows, nf4_row_blocks(cols), NF4_BLOCK_BYTES) of VALUES (rows, cols) with the ABSMAX of their
 * blocks. Local. */
void nf4_encode(const float *values, int64_t rows, int64_t cols, const float *absmax, uint8_t *codes);

/* The mean of ABSMAX (blocks), summed in double in their order; 0 without blocks. Local. */
float nf4_offset(const float *absmax, int64_t blocks);

/* Sets SCALES (blocks) and GROUPS (blocks / NF4_GROUP, rounded up) of ABSMAX (blocks): all those of a matrix,
 * or a part that begins with a group. Local. */
void nf4_scales_encode(const float *absmax, int64_t blocks, float offset, uint8_t *scales, float *groups);

/* Sets DECODED (blocks) from what nf4_scales_encode has set. Local. */
void nf4_scales_decode(const uint8_t *scales, const float *groups, float offset, int64_t blocks,
                       float *decoded);

/* Sets VALUES (rows, cols) from CODES and the scales of their blocks. Local. */
void nf4_decode(const uint8_t *codes, const float *scales, int64_t rows, int64_t cols, float *values);

/* A part of a matrix in memory: all blocks that it touches, with their scales and the groups of the whole
 * matrix. Column c lies in block (skip + c) / NF4_BLOCK of its row, at value (skip + c) % NF4_BLOCK; block b
 * of row r is block first + r * whole_row_blocks + b of the whole matrix, and so in group that / NF4_GROUP.
 */
typedef struct {
  const uint8_t *codes, *scales; /* (rows, row_blocks, NF4_BLOCK_BYTES), (rows, row_blocks) */
  const float *offset, *groups;
  int64_t row_blocks, skip;
  int64_t first, whole_row_blocks;
} nf4_view_t;

/* The scales of blocks BLOCK .. BLOCK + BLOCKS - 1 of rows ROW .. ROW + ROWS - 1: that of block b of row r to
 * TO[b * ld + r]. Not inline: a compiler that fuses multiplications and additions, as in the cpu device,
 * would make other scales. Local. */
void nf4_view_scales(const nf4_view_t *view, int64_t row, int64_t rows, int64_t block, int64_t blocks,
                     int64_t ld, float *to);
/* The value in row R, column C. Local. */
float nf4_view_value(const nf4_view_t *view, int64_t r, int64_t c);

#endif

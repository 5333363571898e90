/* The loops of the cpu device, compiled once per SIMD level: each level fills a table of these functions, and
 * one table is chosen when the device is made. Kernels know nothing of threads: they work on a range of their
 * operation, and cpu_for (tensor/cpu/state.h) deals out ranges. */
#ifndef TENSOR_CPU_KERNELS_H
#define TENSOR_CPU_KERNELS_H

#include "tensor/ops.h"

/* Works on items begin .. end-1 of an operation: rows, elements, blocks or tasks, as said beside it. SCRATCH
 * is the calling thread's own. */
typedef void (*range_kernel_t)(const void *op, int64_t begin, int64_t end, float *scratch);

/* A reduction: each item is a block of rows or elements whose result has a place of its own. Blocks depend on
 * the operation's shape alone, so that results do not depend on the number of threads. */
typedef struct {
  const void *op;  /* the operation; for sum_squares the array */
  int64_t count;   /* elements, for sum_squares */
  int64_t block;   /* rows or elements of a block */
  int64_t columns; /* of a block's result */
  float *partial;  /* (blocks, columns); NULL: not wanted */
  double *totals;  /* (blocks), for sum_squares */
} block_op_t;

/* out (columns) += the sum over b < blocks of partial + b * stride. */
typedef struct {
  const float *partial;
  int64_t blocks, stride;
  float *out;
} sum_blocks_t;

/* The part of c that one call of gemm makes. */
typedef struct {
  op_gemm_t op;
  int64_t row_begin, row_end, col_begin, col_end;
  float *scratch; /* of the kernel's own size */
} gemm_part_t;

/* A way to make products: the micro-tile, of which shares of the work are multiples, and rates by which they
 * are chosen. */
typedef struct {
  int64_t tile_rows, tile_cols;
  double products_per_ns;     /* multiply-adds of a thread, about */
  double products_per_packed; /* multiply-adds in the time of packing an element, about */
  int64_t (*scratch)(void);   /* floats of a thread */
  void (*run)(const gemm_part_t *part);
} gemm_kernel_t;

/* Query rows of one (sequence, key-value head): the forward pass's work list (tensor/sequences.h) has one
 * after the other. */
typedef struct {
  int32_t begin, length; /* of the sequence, in rows of the batch */
  int32_t kv_head;
  int32_t query_begin, query_end; /* in rows of the sequence; the backward pass takes them all */
} attention_task_t;

enum { ATTENTION_KEYS = 64 }; /* keys of a tile */

/* Rotary embedding with its table (positions, D): D/2 cosines, then D/2 sines. */
typedef struct {
  const op_rotary_t *op;
  const float *table;
} rope_job_t;

/* One run of a step. */
typedef struct {
  const op_adamw_t *op;
  const adamw_run_t *run;
} adamw_job_t;

typedef struct {
  gemm_kernel_t gemm, gemm_half; /* gemm_half: where b is a weight in bf16 */

  range_kernel_t rmsnorm, layernorm;                      /* rows */
  range_kernel_t rmsnorm_backward, layernorm_backward;    /* block_op_t: blocks of rows */
  range_kernel_t activation_backward, add;                /* elements */
  range_kernel_t adamw;                                   /* adamw_job_t: elements of its run */
  range_kernel_t swiglu, swiglu_backward;                 /* rows */
  range_kernel_t sum_squares;                             /* block_op_t: blocks of elements */
  range_kernel_t rotary;                                  /* rope_job_t: rows */
  range_kernel_t add_periodic, rows_gather, rows_scatter; /* rows */
  range_kernel_t embedding_backward;                      /* columns */
  range_kernel_t sum_periodic;                            /* block_op_t: (block, phase) */
  range_kernel_t sum_blocks;                              /* sum_blocks_t: columns */

  range_kernel_t attention;                           /* tasks of the work list */
  range_kernel_t attention_backward, attention_paged; /* (sequence, key-value head); (row, key-value head) */
  int64_t (*attention_scratch)(int64_t queries, int32_t group, int32_t head_size); /* floats */
  int64_t (*attention_backward_scratch)(int64_t longest, int32_t head_size);       /* floats */
  int64_t (*attention_paged_scratch)(int32_t group, int32_t head_size);            /* floats */

  range_kernel_t vocab_max, vocab_backward, vocab_histogram; /* rows */
  range_kernel_t vocab_statistics;                           /* rows; scratch to draw: the shard's count */
} kernels_t;

/* Fill TABLE with one level's functions; those that the compiler's target lacks do not exist (folder.cmake).
 */
void kernels_fill_generic(kernels_t *table);
void kernels_fill_avx2(kernels_t *table);
void kernels_fill_avx512(kernels_t *table);
void kernels_fill_amx(kernels_t *table);

#endif

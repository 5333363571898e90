/* How a weight is split over tp, and how its gradient is completed over tp: the one description that the
 * model, optimiser, checkpoints, import and export read. */
#ifndef TENSOR_PARTITION_H
#define TENSOR_PARTITION_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum {
  SPLIT_NONE, /* replicated: every rank holds all of it */
  SPLIT_ROWS, /* dimension 0 (a projection's outputs): heads and MLP columns are rows of the (out, in) weight
               */
  SPLIT_COLUMNS, /* dimension 1 (a projection's inputs) */
  SPLIT_KV_ROWS, /* rows by key-value head: replicated over runs of ranks where tp exceeds the heads */
  SPLIT_VOCAB    /* rows; shards are padded to the same length */
} split_t;

typedef enum {
  COMPLETE_LOCAL, /* this rank's gradient of its shard is whole */
  COMPLETE_EQUAL, /* replicated, and every rank has computed the same whole gradient */
  COMPLETE_SUM    /* holders see different parts: sum over the ranks that hold the same shard */
} complete_t;

/* This rank's part of a weight of global shape (rows, cols) (a vector is (n, 1), a scalar (1, 1)). */
typedef struct {
  split_t split;
  complete_t complete;
  int64_t rows, cols;           /* global, without padding */
  int64_t row_begin, row_count; /* the true rows of this shard */
  int64_t col_begin, col_count;
  int64_t local_rows, local_cols; /* stored shape: row_count plus vocabulary padding; all tp ranks alike */
  int replicas;                   /* ranks of the tp group that hold this very shard */
  int replica;                    /* 0 .. replicas-1; only replica 0 counts in norms and is written */
} partition_t;

/* Makes the partition for tp_rank of tp_size. HEADS is the number of key-value heads for SPLIT_KV_ROWS (rows
 * must be a multiple), otherwise ignored; a vocabulary's shards are padded to a multiple of UNIT rows (0 and
 * 1: as few as there can be). Errors: STATUS_INPUT where the split does not divide, naming NAME. Local. */
status_t partition_make(const char *name, split_t split, complete_t complete, int64_t rows, int64_t cols,
                        int heads, int64_t unit, int tp_rank, int tp_size, partition_t *out);

/* Stored elements of this rank's shard: local_rows * local_cols. */
int64_t partition_elements(const partition_t *partition);

#endif

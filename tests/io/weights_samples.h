/* A weights file of small tensors of all kinds, split in all ways, for the tests of such files. */
#ifndef TESTS_IO_WEIGHTS_SAMPLES_H
#define TESTS_IO_WEIGHTS_SAMPLES_H

#include "io/formats/weights.h"

enum { TENSORS = 6 };

/* How a tensor is shared in these tests. */
typedef enum { SHARE_ROWS, SHARE_COLS, SHARE_REPLICA, SHARE_PIECES } share_t;

typedef struct {
  const char *path;
  int ndim;
  int64_t shape[4];
  dtype_t dtype;
  int64_t rows, cols;
  share_t share;
} sample_t;

extern const sample_t samples[TENSORS];
extern const h5_format_t samples_format;
extern const weights_spec_t samples_spec;

/* Part RANK of N things that SIZE ranks share. */
void share_of(int64_t n, int rank, int size, int64_t *begin, int64_t *count);

/* The rectangle BOX (first row, rows, first column, columns) of a sample. */
weights_item_t sample_item(int64_t tensor, const int64_t box[4], const float *data, bool mine);

/* Writes all samples from the ranks of COMM; without PATH only names them. Half of the items are given by a
 * function; which ones depends on the number of ranks. */
status_t samples_give(comm_t *comm, const char *path, uint64_t *identity);
status_t samples_write(comm_t *comm, const char *path);

/* Reads all samples in SHARE on the ranks of COMM, in place and in pieces, and compares; HANDED takes the way
 * of many nodes with replicas. */
void samples_compare(comm_t *comm, const char *path, share_t share, bool handed);

/* A communicator of the first N ranks of WORLD; NULL on the others. */
comm_t *first_ranks(comm_t *world, int n);

/* Values that are given, or taken, piece by piece, each once and in order. */
typedef struct {
  float *values; /* (n) */
  int64_t n;
  int64_t next;    /* the element that has to come next */
  int64_t largest; /* piece so far */
  int64_t refused; /* the element that there is an error at; -1: none */
} pieces_t;

/* For weights_item_t and weights_request_t. */
status_t pieces_give(void *pieces, int64_t first, int64_t n, float *values);
status_t pieces_take(void *pieces, int64_t first, int64_t n, const float *values);

#endif

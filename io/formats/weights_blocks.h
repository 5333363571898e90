/* Weights files written from what somebody gives block by block, on whichever rank it is asked for: nothing
 * is exchanged, and a rank holds no more than a block. Beside it, what all ways of writing share. */
#ifndef IO_WEIGHTS_BLOCKS_H
#define IO_WEIGHTS_BLOCKS_H

#include "io/formats/weights.h"
#include "io/formats/weights_plan.h"
#include "parallel/stop_vote.h"

/* A tensor of the file. */
typedef struct {
  weights_tensor_t tensor;
  const char *meaning; /* becomes the attribute `meaning`; NULL: none */
  bool stored;         /* its values are given as they are stored, not as float */
} weights_given_item_t;

/* GIVE sets VALUES (n), float or of the stored type, to elements FIRST .. FIRST + N - 1, row-major, of item
 * number ITEM; each element is asked for once, on one rank, in the order of the items. Local. */
typedef struct {
  const weights_given_item_t *items; /* (count) */
  int64_t count;
  status_t (*give)(void *context, int64_t item, int64_t first, int64_t n, void *values);
  void *context;
} weights_given_t;

/* Writes the file PATH of GIVEN, which appears as one of weights_write does. Each rank has a run of
 * neighbouring blocks; between two of them it looks at PULSE (of all ranks of COMM; NULL: none). Collective
 * on COMM. Errors, agreed: GIVE's; STATUS_STOPPED after a request, and nothing is left; STATUS_DATA (disk, or
 * a value that is not finite), STATUS_MEMORY. */
status_t weights_write_given(comm_t *comm, stop_vote_t *vote, const char *path, const weights_spec_t *spec,
                             const weights_given_t *given);

/* Writes the file PATH of ITEMS (count) as an outline: all but the numbers, in a few hundred bytes a tensor,
 * marked by the attribute `outline` of its root, for a dry run. A tensor's hashes follow from its path, type
 * and shape, so outlines of the same shapes have the same identity. Collective on COMM. Errors, agreed:
 * STATUS_DATA (disk), STATUS_MEMORY. */
status_t weights_write_outline(comm_t *comm, const char *path, const weights_spec_t *spec,
                               const weights_given_item_t *items, int64_t count);

/* Creates the datasets of TENSORS (count), contents undefined, in a file open on rank 0. Errors: STATUS_DATA.
 */
status_t weights_create_datasets(h5_file_t *file, const weights_tensor_t *tensors, int64_t count);
/* Finds where they lie. Collective on COMM, which has created FILE. Errors, agreed. */
status_t weights_find_spans(h5_file_t *file, comm_t *comm, const weights_tensor_t *tensors, int64_t count,
                            h5_span_t *spans);
/* Adds the HASHES (plan->blocks) of all blocks of PLAN's tensors. On rank 0. Errors: STATUS_DATA. */
status_t weights_write_hashes(h5_file_t *file, const weights_plan_t *plan, const uint64_t *hashes);

#endif

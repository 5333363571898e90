/* An open weights file as its readers share it. Internal to io/. */
#ifndef IO_WEIGHTS_FILE_H
#define IO_WEIGHTS_FILE_H

#include "io/formats/weights.h"
#include "io/formats/weights_plan.h"

struct weights_file {
  comm_t *comm;
  int nodes;                 /* that the ranks are on; those of one node share its page cache */
  h5_file_t *h5;             /* opened by each rank alone */
  weights_tensor_t *tensors; /* (plan.tensor_count), sorted by path */
  char *text;                /* the paths */
  weights_plan_t plan;
  uint64_t *hashes;   /* (plan.blocks) */
  int32_t *requested; /* (plan.blocks): 1 once any rank has read the block */
};

/* Reads block I to BYTES and checks its hash and that its values are finite. Errors: STATUS_DATA naming file,
 * tensor and block. Local. */
status_t weights_block_read(weights_file_t *file, int64_t i, void *bytes);

/* Reads the N hashes of dataset OBJECT. Errors: STATUS_DATA where it has another number of them. Local. */
status_t weights_hashes_read(h5_file_t *file, const char *object, int64_t n, uint64_t *hashes);

/* Number of the tensor of this path, -1 if there is none. Local. */
int64_t weights_index(const weights_file_t *file, const char *path);

/* STATUS_DATA: there is no tensor PATH; says what is there under this name, or the nearest name. Local. */
status_t weights_missing(weights_file_t *file, const char *path);

#endif

/* One small file of each kind, for tests of what goes wrong with them. */
#ifndef TESTS_IO_SMALL_FILES_H
#define TESTS_IO_SMALL_FILES_H

#include "io/formats/weights.h"

extern const h5_format_t small_weights_format;

/* Each writes PATH from all ranks of COMM; the bytes are always the same. Collective. */
status_t small_weights_write(comm_t *comm, const char *path);
status_t small_dataset_write(comm_t *comm, const char *path);
status_t small_rollout_write(comm_t *comm, const char *path);
status_t small_scores_write(comm_t *comm, const char *path);

#endif

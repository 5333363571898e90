/* The program with one wrong rule: the gradients of weights whose names hold MUTATE_RULE, of which several
 * ranks of a tp group hold the same shard, are taken for whole where they are to be summed, and summed where
 * they are whole. Linked with --wrap=partition_make. */
#include "tensor/partition.h"

#include <stdlib.h>
#include <string.h>

status_code_t __real_partition_make(const char *name, split_t split, complete_t complete, int64_t rows,
                                    int64_t cols, int heads, int64_t unit, int tp_rank, int tp_size,
                                    partition_t *out);
status_code_t __wrap_partition_make(const char *name, split_t split, complete_t complete, int64_t rows,
                                    int64_t cols, int heads, int64_t unit, int tp_rank, int tp_size,
                                    partition_t *out);

status_code_t __wrap_partition_make(const char *name, split_t split, complete_t complete, int64_t rows,
                                    int64_t cols, int heads, int64_t unit, int tp_rank, int tp_size,
                                    partition_t *out) {
  const char *wrong = getenv("MUTATE_RULE");
  status_code_t status =
      __real_partition_make(name, split, complete, rows, cols, heads, unit, tp_rank, tp_size, out);
  if (status != STATUS_OK || !wrong || !strstr(name, wrong) || out->replicas == 1) return status;
  out->complete = out->complete == COMPLETE_SUM ? COMPLETE_EQUAL : COMPLETE_SUM;
  return status;
}

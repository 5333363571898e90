/* NCCL, loaded when it is first needed: programs start on machines without it, where collectives then go
 * through MPI. */
#ifndef CUDA_NCCL_H
#define CUDA_NCCL_H

#include "cuda/cuda_device.h"

struct nccl_group_t; /* one communicator of NCCL */

/* Whether the library was found; its version. */
bool nccl_is_there(void);
const char *nccl_version(void);

/* The communicator of COMM's ranks, each with a GPU of its own. Collective on COMM. */
status_t nccl_group_create(comm_t *comm, nccl_group_t **out);
/* NULL is fine. ABORT: without the other ranks, after an error. */
void nccl_group_free(nccl_group_t *group, bool abort);
/* Whether it works still. Errors: STATUS_COMM. */
status_t nccl_group_check(nccl_group_t *group);

/* In STREAM's order; all ranks, in the same order. DATA (n) in place. */
status_t nccl_allreduce(nccl_group_t *group, cudaStream_t stream, void *data, dtype_t type, size_t n,
                        comm_op_t op);
status_t nccl_allgatherv(nccl_group_t *group, cudaStream_t stream, const void *mine, void *all,
                         const size_t *counts, dtype_t type);
/* DATA (size * n): elements rank * n .. become this rank's share of the sum. */
status_t nccl_reduce_scatter(nccl_group_t *group, cudaStream_t stream, void *data, dtype_t type, size_t n);

#endif

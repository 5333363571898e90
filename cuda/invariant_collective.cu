/* Sums over ranks in the order of the ranks: NCCL and MPI choose an order by the size of what is summed. All
 * parts are gathered, a piece of the array at a time, and added: (size - 1) b bytes received for each number,
 * (size + 1) b moved in memory. */
#include "cuda/invariant.h"
#include "cuda/parts.h"

enum { PIECE = 1 << 22 }; /* numbers of the array */

static status_code_t sum_piece(device_t *device, const device_comm_t *comm, void *data, dtype_t type,
                               size_t n, size_t *counts) {
  const int ranks = comm_size(comm->host);
  void *parts = nullptr;
  TRY(cuda_scratch(device, (size_t)ranks * n * dtype_size(type), &parts));
  for (int r = 0; r < ranks; r++)
    counts[r] = n;
  TRY(device->allgatherv(device, comm, data, parts, counts, type));
  return parts_combine(device, parts, ranks, type, n, COMM_SUM, data);
}

static status_t allreduce_invariant(device_t *device, const device_comm_t *comm, void *data, dtype_t type,
                                    size_t n, comm_op_t op) {
  SCOPED_MEMORY size_t *counts = nullptr;
  const bool is_known = type == DTYPE_F32 || type == DTYPE_BF16; /* else cuda_allreduce says so */
  if (op != COMM_SUM || comm_size(comm->host) == 1 || !is_known)
    return cuda_allreduce(device, comm, data, type, n, op);
  TRY(memory_alloc(&counts, ARENA_COMM, (size_t)comm_size(comm->host), sizeof *counts));
  for (size_t i = 0; i < n; i += PIECE)
    TRY(sum_piece(device, comm, static_cast<char *>(data) + i * dtype_size(type), type,
                  n - i < PIECE ? n - i : (size_t)PIECE, counts));
  return STATUS_OK;
}

void cuda_fill_invariant_collectives(device_t *device) {
  device->allreduce = allreduce_invariant;
}

/* Sums over ranks in the order of the ranks: NCCL and MPI choose an order by the size of what is summed. All
 * parts are gathered, a piece of the array at a time, and added: (size - 1) b bytes received for each number,
 * (size + 1) b moved in memory. */
#include "cuda/invariant.h"
#include "cuda/map.h"

enum { PIECE = 1 << 22 }; /* numbers of the array */

template <class T> struct sum_ranks_t {
  int ranks;
  int64_t n;
  const T *parts; /* (ranks, n) */
  T *sums;
  template <int N> __device__ void run(int64_t i) const {
    float sum[N];
    run_load<N>(parts + i, sum);
    for (int r = 1; r < ranks; r++) {
      float part[N];
      run_load<N>(parts + r * n + i, part);
#pragma unroll
      for (int j = 0; j < N; j++)
        sum[j] += part[j];
    }
    run_store<N>(sums + i, sum);
  }
};

template <class T>
static status_code_t sum_piece(device_t *device, const device_comm_t *comm, T *data, dtype_t type, size_t n,
                               size_t *counts) {
  const int ranks = comm_size(comm->host);
  void *parts = nullptr;
  TRY(cuda_scratch(device, (size_t)ranks * n * sizeof(T), &parts));
  for (int r = 0; r < ranks; r++)
    counts[r] = n;
  TRY(device->allgatherv(device, comm, data, parts, counts, type));
  const bool packed = is_packed(data) && n % pack_t<T>::N == 0;
  return map<T>(device, "sum over ranks", (int64_t)n, packed,
                sum_ranks_t<T>{ranks, (int64_t)n, static_cast<const T *>(parts), data});
}

template <class T>
static status_code_t sum_pieces(device_t *device, const device_comm_t *comm, T *data, dtype_t type,
                                size_t n) {
  SCOPED_MEMORY size_t *counts = nullptr;
  TRY(memory_alloc(&counts, ARENA_COMM, (size_t)comm_size(comm->host), sizeof *counts));
  for (size_t i = 0; i < n; i += PIECE)
    TRY(sum_piece(device, comm, data + i, type, n - i < PIECE ? n - i : (size_t)PIECE, counts));
  return STATUS_OK;
}

static status_t allreduce_invariant(device_t *device, const device_comm_t *comm, void *data, dtype_t type,
                                    size_t n, comm_op_t op) {
  if (op != COMM_SUM || comm_size(comm->host) == 1) return cuda_allreduce(device, comm, data, type, n, op);
  if (type == DTYPE_F32) return sum_pieces(device, comm, static_cast<float *>(data), type, n);
  if (type == DTYPE_BF16) return sum_pieces(device, comm, static_cast<bf16 *>(data), type, n);
  return cuda_allreduce(device, comm, data, type, n, op); /* says that there is none */
}

void cuda_fill_invariant_collectives(device_t *device) {
  device->allreduce = allreduce_invariant;
}

#include "cuda/map.h"
#include "cuda/parts.h"

/* As the host's collectives have it (src/parallel/comm_reduce.c). */
template <comm_op_t OP> static __device__ __forceinline__ float combine(float value, float part) {
  if constexpr (OP == COMM_MAX)
    return part > value ? part : value;
  else if constexpr (OP == COMM_MIN)
    return part < value ? part : value;
  else
    return value + part;
}

template <class T, comm_op_t OP> struct combine_parts_t {
  int ranks;
  int64_t n;
  const T *parts; /* (ranks, n) */
  T *to;
  template <int N> __device__ void run(int64_t i) const {
    float value[N];
    run_load<N>(parts + i, value);
    for (int r = 1; r < ranks; r++) {
      float part[N];
      run_load<N>(parts + r * n + i, part);
#pragma unroll
      for (int j = 0; j < N; j++)
        value[j] = combine<OP>(value[j], part[j]);
    }
    run_store<N>(to + i, value);
  }
};

template <class T, comm_op_t OP>
static status_code_t combine_as(device_t *device, const T *parts, int ranks, size_t n, T *to) {
  const bool packed = is_packed(parts) && is_packed(to) && n % pack_t<T>::N == 0;
  return map<T>(device, "parts of all ranks", (int64_t)n, packed,
                combine_parts_t<T, OP>{ranks, (int64_t)n, parts, to});
}

template <class T>
static status_code_t combine_by(device_t *device, const void *parts, int ranks, size_t n, comm_op_t op,
                                void *to) {
  const T *from = static_cast<const T *>(parts);
  T *result = static_cast<T *>(to);
  if (op == COMM_MAX) return combine_as<T, COMM_MAX>(device, from, ranks, n, result);
  if (op == COMM_MIN) return combine_as<T, COMM_MIN>(device, from, ranks, n, result);
  return combine_as<T, COMM_SUM>(device, from, ranks, n, result);
}

status_t parts_combine(device_t *device, const void *parts, int ranks, dtype_t type, size_t n, comm_op_t op,
                       void *to) {
  if (type == DTYPE_BF16) return combine_by<bf16>(device, parts, ranks, n, op, to);
  return combine_by<float>(device, parts, ranks, n, op, to);
}

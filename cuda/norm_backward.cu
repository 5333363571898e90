/* Gradients of RMSNorm and LayerNorm: bound by memory. Bytes per element, b those of the compute type: 3b (4b
 * where dx is added to), those of weights included; rows that are too long for registers, or lie at odd
 * addresses, are read twice, and once more for each gradient of a weight. */
#include "cuda/map.h"
#include "cuda/sums.h"

enum { NORM_THREADS = 256 };

template <class T> struct norm_backward_t {
  int64_t cols;
  const T *x, *weight, *dy;
  const float *mean, *rstd; /* mean: NULL in an RMSNorm */
  T *dx;
  bool dx_add;
};

/* With n = (x - mean) rstd and dn = dy weight: dx = rstd (dn - mean(dn) - n mean(dn n)), without mean(dn) in
 * an RMSNorm. */

/* ---- Rows in registers: one pass over memory ---- */

/* A block has a run of rows, the packs of each row in the registers of its threads; it reads the next row
 * while it works on one, and adds up the gradients of weights on the way. How rows are divided depends on
 * their number alone. */
enum { ROW_THREADS_MOST = 512, ROW_CHUNKS_MOST = 512, TOTAL_COLS = 32, TOTAL_ROWS = 32 };

/* Packs of a thread: a LayerNorm has two gradients of weights in registers. */
template <bool MEANS> constexpr int ROW_PACKS = MEANS ? 1 : 2;

template <class T, int PACKS> struct row_t { pack_t<T> of[PACKS]; };

template <class T> static __device__ __forceinline__ int64_t row_col(int p) {
  return ((int64_t)p * blockDim.x + threadIdx.x) * pack_t<T>::N;
}
/* A thread's packs of the row at FROM; zeros behind its end. */
template <int PACKS, class T>
static __device__ __forceinline__ row_t<T, PACKS> row_load(const T *from, int64_t cols) {
  row_t<T, PACKS> row;
#pragma unroll
  for (int p = 0; p < PACKS; p++)
    if (row_col<T>(p) < cols)
      row.of[p] = pack_load(from + row_col<T>(p));
    else
      *reinterpret_cast<uint4 *>(&row.of[p]) = make_uint4(0, 0, 0, 0);
  return row;
}

/* The sums of KINDS values over the block, by turns in one half of BUFFER and the other, so that its threads
 * meet once. */
template <int KINDS>
static __device__ __forceinline__ void row_sums(float (&value)[KINDS],
                                                float (*buffer)[ROW_THREADS_MOST / WARP]) {
#pragma unroll
  for (int i = 0; i < KINDS; i++) {
    value[i] = warp_sum(value[i]);
    if (threadIdx.x % WARP == 0) buffer[i][threadIdx.x / WARP] = value[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < KINDS; i++) {
    value[i] = 0.0f;
    for (unsigned w = 0; w < blockDim.x / WARP; w++)
      value[i] += buffer[i][w];
  }
}

/* PARTS (chunks, 1 or, of a LayerNorm, 2, cols): the gradients of weight and bias; NULL: not wanted. */
template <class T, bool MEANS>
static __global__ void __launch_bounds__(ROW_THREADS_MOST, 1)
    norm_backward_rows_kernel(const norm_backward_t<T> op, int64_t rows, int64_t chunk, float *parts) {
  kernel_begin();
  constexpr int N = pack_t<T>::N, KINDS = MEANS ? 2 : 1, PACKS = ROW_PACKS<MEANS>;
  __shared__ float buffer[2][KINDS][ROW_THREADS_MOST / WARP];
  const int64_t begin = (int64_t)blockIdx.x * chunk, end = begin + chunk < rows ? begin + chunk : rows,
                cols = op.cols;
  const row_t<T, PACKS> weight = row_load<PACKS>(op.weight, cols);
  row_t<T, PACKS> x = row_load<PACKS>(op.x + begin * cols, cols),
                  dy = row_load<PACKS>(op.dy + begin * cols, cols);
  float rstd = op.rstd[begin], mean = MEANS ? op.mean[begin] : 0.0f;
  float gradient[KINDS][PACKS][N] = {};
  for (int64_t row = begin; row < end; row++) {
    const int64_t next = row + 1 < end ? row + 1 : row;
    const row_t<T, PACKS> next_x = row_load<PACKS>(op.x + next * cols, cols),
                          next_dy = row_load<PACKS>(op.dy + next * cols, cols);
    const float next_rstd = op.rstd[next], next_mean = MEANS ? op.mean[next] : 0.0f;
    row_t<T, PACKS> before = {};
    if (op.dx_add) before = row_load<PACKS>(op.dx + row * cols, cols);
    float means[KINDS] = {};
#pragma unroll
    for (int p = 0; p < PACKS; p++)
#pragma unroll
      for (int j = 0; j < N; j++) {
        const float d = load_float(dy.of[p].v[j]), n = (load_float(x.of[p].v[j]) - mean) * rstd,
                    dn = d * load_float(weight.of[p].v[j]);
        means[0] += dn * n;
        gradient[0][p][j] += d * n;
        if constexpr (MEANS) {
          means[1] += dn;
          gradient[1][p][j] += d;
        }
      }
    row_sums(means, buffer[row & 1]);
    const float mean_dn_n = means[0] / (float)cols, mean_dn = MEANS ? means[KINDS - 1] / (float)cols : 0.0f;
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
      pack_t<T> to;
#pragma unroll
      for (int j = 0; j < N; j++) {
        const float n = (load_float(x.of[p].v[j]) - mean) * rstd,
                    dn = load_float(dy.of[p].v[j]) * load_float(weight.of[p].v[j]),
                    dx = rstd * (dn - mean_dn - n * mean_dn_n);
        to.v[j] = store_float<T>(op.dx_add ? dx + load_float(before.of[p].v[j]) : dx);
      }
      if (row_col<T>(p) < cols) pack_store(op.dx + row * cols + row_col<T>(p), to);
    }
    x = next_x;
    dy = next_dy;
    rstd = next_rstd;
    mean = next_mean;
  }
  if (!parts) return;
#pragma unroll
  for (int i = 0; i < KINDS; i++)
#pragma unroll
    for (int p = 0; p < PACKS; p++)
      if (row_col<T>(p) < cols)
        run_store<N>(parts + ((int64_t)blockIdx.x * KINDS + i) * cols + row_col<T>(p), gradient[i][p]);
}

/* dweight, or (blockIdx.y 1) dbias, += the parts of all CHUNKS, in a fixed order; NULL: not wanted. */
static __global__ void __launch_bounds__(TOTAL_COLS *TOTAL_ROWS)
    norm_total_kernel(int64_t cols, int32_t chunks, const float *parts, float *dweight, float *dbias) {
  kernel_begin();
  __shared__ float lanes[TOTAL_ROWS][TOTAL_COLS];
  const int64_t col = (int64_t)blockIdx.x * TOTAL_COLS + threadIdx.x;
  float *sums = blockIdx.y == 0 ? dweight : dbias, sum = 0.0f;
  if (!sums) return;
  if (col < cols)
#pragma unroll 8
    for (int32_t c = threadIdx.y; c < chunks; c += TOTAL_ROWS)
      sum += parts[((int64_t)c * gridDim.y + blockIdx.y) * cols + col];
  lanes[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || col >= cols) return;
#pragma unroll
  for (int y = 1; y < TOTAL_ROWS; y++)
    sum += lanes[y][threadIdx.x];
  sums[col] += sum;
}

/* Whether rows fit into the registers of a block. */
template <class T, bool MEANS> static bool rows_fit(const norm_backward_t<T> &op) {
  return op.cols <= (int64_t)ROW_THREADS_MOST * ROW_PACKS<MEANS> * pack_t<T>::N;
}

template <class T, bool MEANS>
static status_code_t norm_backward_rows(device_t *device, const char *name, int64_t rows,
                                        const norm_backward_t<T> &op, float *dweight, float *dbias) {
  constexpr int N = pack_t<T>::N, KINDS = MEANS ? 2 : 1, PACKS = ROW_PACKS<MEANS>;
  const int64_t chunk = (rows + ROW_CHUNKS_MOST - 1) / ROW_CHUNKS_MOST, chunks = (rows + chunk - 1) / chunk,
                warps = (op.cols + PACKS * N * WARP - 1) / (PACKS * N * WARP);
  const bool wanted = dweight || dbias;
  void *scratch = nullptr;
  if (wanted) TRY(cuda_scratch(device, (size_t)(chunks * KINDS * op.cols) * sizeof(float), &scratch));
  float *parts = static_cast<float *>(scratch);
  TRY(launch(device, name, {dim3((unsigned)chunks), dim3((unsigned)warps * WARP), 0},
             norm_backward_rows_kernel<T, MEANS>, op, rows, chunk, parts));
  if (!wanted) return STATUS_OK;
  launch_t shape = launch_over(op.cols, TOTAL_COLS, TOTAL_COLS);
  shape.block.y = TOTAL_ROWS;
  shape.grid.y = KINDS;
  return launch(device, name, shape, norm_total_kernel, op.cols, (int32_t)chunks, parts, dweight, dbias);
}

/* ---- Any rows: a block for each, which reads it again from the cache for the second pass ---- */

template <class T, int PACK, bool MEANS>
static __global__ void __launch_bounds__(NORM_THREADS) norm_backward_kernel(const norm_backward_t<T> op) {
  kernel_begin();
  const int64_t row = blockIdx.x, cols = op.cols;
  const T *x = op.x + row * cols, *dy = op.dy + row * cols;
  T *dx = op.dx + row * cols;
  const int64_t first = threadIdx.x * PACK, step = NORM_THREADS * PACK;
  const float mean = MEANS ? op.mean[row] : 0.0f, rstd = op.rstd[row];
  float sum = 0.0f, dot = 0.0f, v[PACK], d[PACK], w[PACK];
  for (int64_t c = first; c < cols; c += step) {
    run_load<PACK>(x + c, v);
    run_load<PACK>(dy + c, d);
    run_load<PACK>(op.weight + c, w);
#pragma unroll
    for (int j = 0; j < PACK; j++) {
      const float dn = d[j] * w[j];
      sum += dn;
      dot += dn * (v[j] - mean) * rstd;
    }
  }
  const float mean_dn = MEANS ? block_sum<NORM_THREADS>(sum) / (float)cols : 0.0f;
  const float mean_dn_n = block_sum<NORM_THREADS>(dot) / (float)cols;
  for (int64_t c = first; c < cols; c += step) {
    run_load<PACK>(x + c, v);
    run_load<PACK>(dy + c, d);
    run_load<PACK>(op.weight + c, w);
#pragma unroll
    for (int j = 0; j < PACK; j++)
      d[j] = rstd * (d[j] * w[j] - mean_dn - (v[j] - mean) * rstd * mean_dn_n);
    if (op.dx_add) {
      run_load<PACK>(dx + c, w);
#pragma unroll
      for (int j = 0; j < PACK; j++)
        d[j] += w[j];
    }
    run_store<PACK>(dx + c, d);
  }
}

/* dy n of an element: what is summed to the gradient of a weight. */
template <class T> struct weight_gradient_t {
  int64_t cols;
  const T *x, *dy;
  const float *mean, *rstd;
  __device__ float operator()(int64_t row, int64_t col) const {
    const float centred = load_float(x[row * cols + col]) - (mean ? mean[row] : 0.0f);
    return load_float(dy[row * cols + col]) * centred * rstd[row];
  }
};

template <class T> struct bias_gradient_t {
  int64_t cols;
  const T *dy;
  __device__ float operator()(int64_t row, int64_t col) const {
    return load_float(dy[row * cols + col]);
  }
};

/* The gradients of weights first: dx may be dy. */
template <class T, bool MEANS>
static status_code_t norm_backward_any(device_t *device, const char *name, int64_t rows,
                                       const norm_backward_t<T> &op, bool packed, float *dweight,
                                       float *dbias) {
  const weight_gradient_t<T> weight = {op.cols, op.x, op.dy, op.mean, op.rstd};
  if (dweight) TRY(sum_rows(device, name, rows, op.cols, 1, weight, dweight));
  if (dbias) TRY(sum_rows(device, name, rows, op.cols, 1, bias_gradient_t<T>{op.cols, op.dy}, dbias));
  return launch(device, name, {dim3((unsigned)rows), dim3(NORM_THREADS), 0},
                packed ? norm_backward_kernel<T, pack_t<T>::N, MEANS> : norm_backward_kernel<T, 1, MEANS>,
                op);
}

template <class T, bool MEANS>
static status_code_t norm_backward(device_t *device, const char *name, int64_t rows,
                                   const norm_backward_t<T> &op, float *dweight, float *dbias) {
  if (rows <= 0 || op.cols <= 0) return STATUS_OK;
  const bool packed = is_packed(op.x) && is_packed(op.weight) && is_packed(op.dy) && is_packed(op.dx) &&
                      op.cols % pack_t<T>::N == 0;
  if (packed && rows_fit<T, MEANS>(op) && !cuda_state(device)->options.measured)
    return norm_backward_rows<T, MEANS>(device, name, rows, op, dweight, dbias);
  return norm_backward_any<T, MEANS>(device, name, rows, op, packed, dweight, dbias);
}

static status_code_t rmsnorm_backward_cuda(device_t *device, const op_rmsnorm_backward_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return norm_backward<T, false>(device, "rmsnorm_backward", op->rows,
                                   {op->cols, real<T>(op->x), real<T>(op->weight), real<T>(op->dy), nullptr,
                                    wide(op->rstd), real<T>(op->dx), op->dx_add},
                                   wide(op->dweight), nullptr);
  });
}

static status_code_t layernorm_backward_cuda(device_t *device, const op_layernorm_backward_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return norm_backward<T, true>(device, "layernorm_backward", op->rows,
                                  {op->cols, real<T>(op->x), real<T>(op->weight), real<T>(op->dy),
                                   wide(op->mean), wide(op->rstd), real<T>(op->dx), op->dx_add},
                                  wide(op->dweight), wide(op->dbias));
  });
}

void cuda_fill_norm_backward(ops_t *ops) {
  ops->rmsnorm_backward = rmsnorm_backward_cuda;
  ops->layernorm_backward = layernorm_backward_cuda;
}

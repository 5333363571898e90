/* Operations that pick rows, and on tables: bound by memory. Bytes per element of the result, b those of the
 * compute type: embedding 2b, gather and scatter 2b (3b where they add), add_periodic 2b (the table stays in
 * the cache), sum_periodic b; embedding_backward b, and 8 for each element of the table that tokens name. */
#include "cuda/map.h"
#include "cuda/sums.h"

template <class T, class W> struct embedding_t {
  int64_t cols, begin, count;
  const int32_t *tokens;
  const W *weight;
  T *y;
  template <int N> __device__ void run(int64_t row, int64_t col) const {
    const int64_t place = tokens[row] - begin;
    float all[N] = {};
    if (place >= 0 && place < count) run_load<N>(weight + place * cols + col, all);
    run_store<N>(y + row * cols + col, all);
  }
};

template <class T, class W> static status_code_t embedding_from(device_t *device, const op_embedding_t *op) {
  const embedding_t<T, W> f = {
      op->cols,      op->begin, op->count, indices(op->tokens), static_cast<const W *>(op->weight.data),
      real<T>(op->y)};
  /* Packs are those of the smaller type, so that both are moved by 16 bytes. */
  return map_rows<W>(device, "embedding", op->rows, op->cols, is_packed(f.weight) && is_packed(f.y), f);
}

static status_code_t embedding_cuda(device_t *device, const op_embedding_t *op) {
  if (device->real_type == DTYPE_BF16) return embedding_from<bf16, bf16>(device, op);
  return op->weight.format == WEIGHT_BF16 ? embedding_from<float, bf16>(device, op)
                                          : embedding_from<float, float>(device, op);
}

/* ---- Its gradient ---- */

enum {
  MARK_THREADS = 256,
  SUM_THREADS = 128,
  SUM_TOKENS = 8, /* that a thread looks at, at once */
  SUM_RUN = 8,    /* columns of a thread */
  SUM_FOUND = SUM_THREADS * SUM_TOKENS,
  ROW_THREADS = 256
};

/* The first and the last row of a place of the table: ROWS - first and last + 1, 0 where there is none. */
struct alignas(8) mark_t {
  int32_t first, last;
};

static __global__ void __launch_bounds__(MARK_THREADS)
    embedding_mark_kernel(int32_t rows, int64_t begin, int64_t count, const int32_t *tokens, mark_t *marks) {
  kernel_begin();
  const int32_t row = (int32_t)(blockIdx.x * MARK_THREADS + threadIdx.x);
  if (row >= rows) return;
  const int64_t place = tokens[row] - begin;
  if (place < 0 || place >= count) return;
  atomicMax(&marks[place].first, rows - row);
  atomicMax(&marks[place].last, row + 1);
}

/* To FOUND, in their order: which of rows BASE .. BASE + SUM_FOUND - 1, none before FIRST and none behind
 * LAST, have TOKEN. How many there are. All threads call it. */
static __device__ __forceinline__ int32_t rows_find(const int32_t *tokens, int32_t token, int32_t base,
                                                    int32_t last, int32_t *found) {
  __shared__ int32_t in_warp[SUM_THREADS / WARP];
  const int32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP,
                own = base + (int32_t)threadIdx.x * SUM_TOKENS;
  unsigned mine = 0;
#pragma unroll
  for (int i = 0; i < SUM_TOKENS; i++)
    if (own + i <= last && tokens[own + i] == token) mine |= 1u << i;
  int32_t before = __popc(mine);
#pragma unroll
  for (int step = 1; step < WARP; step *= 2) {
    const int32_t other = __shfl_up_sync(0xffffffffu, before, (unsigned)step);
    if (lane >= step) before += other;
  }
  if (lane == WARP - 1) in_warp[warp] = before;
  __syncthreads();
  before -= __popc(mine);
  int32_t total = 0;
#pragma unroll
  for (int w = 0; w < SUM_THREADS / WARP; w++) {
    if (w < warp) before += in_warp[w];
    total += in_warp[w];
  }
  for (; mine; mine &= mine - 1u)
    found[before++] = own + __ffs((int)mine) - 1;
  __syncthreads();
  return total;
}

template <int RUN, class T> static __device__ __forceinline__ void row_add(const T *from, float (&sum)[RUN]) {
  float added[RUN];
  run_load<RUN>(from, added);
#pragma unroll
  for (int j = 0; j < RUN; j++)
    sum[j] += added[j];
}

/* The first row of a token adds all rows of that token, in their order: a block for SUM_THREADS RUN columns.
 * A token of one row, as most are, is not looked for. */
template <class T, int RUN>
static __global__ void __launch_bounds__(SUM_THREADS)
    embedding_backward_kernel(int32_t rows, int64_t cols, int64_t begin, int64_t count, const int32_t *tokens,
                              const mark_t *marks, const T *dy, float *dweight) {
  kernel_begin();
  __shared__ int32_t found[SUM_FOUND];
  const int32_t first = (int32_t)blockIdx.x, token = tokens[first];
  const int64_t place = token - begin, col = ((int64_t)blockIdx.y * SUM_THREADS + threadIdx.x) * RUN;
  if (place < 0 || place >= count) return;
  const mark_t mark = marks[place];
  if (rows - mark.first != first) return;
  const int32_t last = mark.last - 1;
  const bool there = col < cols;
  const T *from = dy + (there ? col : 0);
  float *to = dweight + place * cols + (there ? col : 0), sum[RUN];
  run_load<RUN>(to, sum);
  if (first == last) {
    row_add<RUN>(from + first * cols, sum);
  } else {
    for (int32_t base = first; base <= last; base += SUM_FOUND) {
      const int32_t total = rows_find(tokens, token, base, last, found);
#pragma unroll 8
      for (int32_t i = 0; i < total; i++)
        row_add<RUN>(from + found[i] * cols, sum);
      __syncthreads();
    }
  }
  if (there) run_store<RUN>(to, sum);
}

/* A block for each row: the first row of a token adds all rows of that token, in their order; each thread has
 * columns of its own: the kernel that was measured. */
template <class T>
static __global__ void __launch_bounds__(ROW_THREADS)
    embedding_backward_rows_kernel(int64_t rows, int64_t cols, int64_t begin, int64_t count,
                                   const int32_t *tokens, const T *dy, float *dweight) {
  kernel_begin();
  __shared__ int64_t found[ROW_THREADS];
  __shared__ int32_t in_warp[ROW_THREADS / WARP];
  const int64_t first = blockIdx.x, place = tokens[first] - begin;
  const int32_t token = tokens[first], lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  if (place < 0 || place >= count) return;
  for (int64_t base = 0; base < first; base += ROW_THREADS) {
    const int64_t t = base + threadIdx.x;
    if (__syncthreads_or(t < first && tokens[t] == token)) return;
  }
  for (int64_t base = first; base < rows; base += ROW_THREADS) {
    const int64_t t = base + threadIdx.x;
    const bool is_mine = t < rows && tokens[t] == token;
    const unsigned ballot = __ballot_sync(0xffffffffu, is_mine);
    if (lane == 0) in_warp[warp] = __popc(ballot);
    __syncthreads();
    int32_t before = __popc(ballot & ((1u << lane) - 1u)), total = 0;
    for (int w = 0; w < ROW_THREADS / WARP; w++) {
      if (w < warp) before += in_warp[w];
      total += in_warp[w];
    }
    if (is_mine) found[before] = t;
    __syncthreads();
    for (int64_t c = threadIdx.x; total > 0 && c < cols; c += ROW_THREADS) {
      float sum = dweight[place * cols + c];
      for (int32_t i = 0; i < total; i++)
        sum += load_float(dy[found[i] * cols + c]);
      dweight[place * cols + c] = sum;
    }
    __syncthreads();
  }
}

static status_code_t embedding_backward_cuda(device_t *device, const op_embedding_backward_t *op) {
  if (op->rows <= 0 || op->cols <= 0) return STATUS_OK;
  const cuda_state_t *state = cuda_state(device);
  const int32_t *tokens = indices(op->tokens);
  if (state->options.measured)
    return with_real(device, [&](auto zero) {
      using T = decltype(zero);
      return launch(device, "embedding_backward", {dim3((unsigned)op->rows), dim3(ROW_THREADS), 0},
                    embedding_backward_rows_kernel<T>, op->rows, op->cols, op->begin, op->count, tokens,
                    real<T>(op->dy), wide(op->dweight));
    });
  const size_t bytes = (size_t)op->count * sizeof(mark_t);
  const int32_t rows = (int32_t)op->rows;
  void *scratch = nullptr;
  if (op->count <= 0) return STATUS_OK;
  TRY(cuda_scratch(device, bytes, &scratch));
  mark_t *marks = static_cast<mark_t *>(scratch);
  TRY_CUDA(cudaMemsetAsync(marks, 0, bytes, state->compute.raw));
  TRY(launch(device, "embedding_backward marks", launch_over(rows, MARK_THREADS, MARK_THREADS),
             embedding_mark_kernel, rows, op->begin, op->count, tokens, marks));
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    const bool packed = is_packed(op->dy) && is_packed(op->dweight) && op->cols % SUM_RUN == 0;
    const int64_t each = (int64_t)SUM_THREADS * (packed ? SUM_RUN : 1);
    launch_t shape = {dim3((unsigned)rows), dim3(SUM_THREADS), 0};
    shape.grid.y = (unsigned)((op->cols + each - 1) / each);
    return launch(device, "embedding_backward", shape,
                  packed ? embedding_backward_kernel<T, SUM_RUN> : embedding_backward_kernel<T, 1>, rows,
                  op->cols, op->begin, op->count, tokens, marks, real<T>(op->dy), wide(op->dweight));
  });
}

/* ---- Rows by index ---- */

template <class T> struct rows_t {
  int64_t ld_from, ld_to;
  const T *from;
  const int32_t *index;
  T *to;
  bool scatter, add;
  template <int N> __device__ void run(int64_t row, int64_t col) const {
    const int64_t other = index[row];
    if (other < 0) return;
    const T *source = from + (scatter ? row : other) * ld_from + col;
    T *target = to + (scatter ? other : row) * ld_to + col;
    float all[N], before[N];
    run_load<N>(source, all);
    if (add) {
      run_load<N>(target, before);
#pragma unroll
      for (int j = 0; j < N; j++)
        all[j] += before[j];
    }
    run_store<N>(target, all);
  }
};

static status_code_t move_rows(device_t *device, const char *name, const op_rows_t *op, bool scatter) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    constexpr int N = pack_t<T>::N;
    const rows_t<T> f = {op->ld_from, op->ld_to, real<T>(op->from), indices(op->index), real<T>(op->to),
                         scatter,     op->add};
    return map_rows<T>(device, name, op->rows, op->cols,
                       is_packed(op->from) && is_packed(op->to) && op->ld_from % N == 0 && op->ld_to % N == 0,
                       f);
  });
}

static status_code_t rows_gather_cuda(device_t *device, const op_rows_gather_t *op) {
  return move_rows(device, "rows_gather", op, false);
}

static status_code_t rows_scatter_cuda(device_t *device, const op_rows_scatter_t *op) {
  return move_rows(device, "rows_scatter", op, true);
}

/* ---- Periodic tables ---- */

template <class T> struct add_periodic_t {
  int64_t cols, period;
  const T *table;
  T *x;
  template <int N> __device__ void run(int64_t row, int64_t col) const {
    float all[N], added[N];
    run_load<N>(x + row * cols + col, all);
    run_load<N>(table + row % period * cols + col, added);
#pragma unroll
    for (int j = 0; j < N; j++)
      all[j] += added[j];
    run_store<N>(x + row * cols + col, all);
  }
};

static status_code_t add_periodic_cuda(device_t *device, const op_add_periodic_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return map_rows<T>(device, "add_periodic", op->rows, op->cols, is_packed(op->table) && is_packed(op->x),
                       add_periodic_t<T>{op->cols, op->period, real<T>(op->table), real<T>(op->x)});
  });
}

template <class T> struct row_value_t {
  int64_t ld;
  const T *x;
  __device__ float operator()(int64_t row, int64_t col) const {
    return load_float(x[row * ld + col]);
  }
};

static status_code_t sum_periodic_cuda(device_t *device, const op_sum_periodic_t *op) {
  return with_real(device, [&](auto zero) {
    using T = decltype(zero);
    return sum_rows(device, "sum_periodic", op->rows, op->cols, op->period,
                    row_value_t<T>{op->ldx, real<T>(op->x)}, wide(op->sums));
  });
}

void cuda_fill_rows(ops_t *ops) {
  ops->embedding = embedding_cuda;
  ops->embedding_backward = embedding_backward_cuda;
  ops->rows_gather = rows_gather_cuda;
  ops->rows_scatter = rows_scatter_cuda;
  ops->add_periodic = add_periodic_cuda;
  ops->sum_periodic = sum_periodic_cuda;
}

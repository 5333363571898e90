/* Gradients of attention over packed sequences. With p = exp(scale q k - lse) and ds = p (dout v - dout out):
 * dq = scale ds k, by blocks of queries that go over keys; dk = scale ds^T q and dv = p^T dout, by blocks of
 * keys that go over the queries of all their heads. No sum is shared by blocks: the same bits in every run,
 * for seven products where sums shared by blocks would need five. */
#include "cuda/attention_cudnn.h"
#include "cuda/attention_hopper.h"
#include "cuda/map.h"

/* dout out of each row and head: DOTS (T, H). LANES share a head of up to 8 LANES elements. */
template <class T, int LANES>
static __global__ void __launch_bounds__(TILE_THREADS)
    dots_kernel(const attention_t<T> op, int64_t rows, float *dots) {
  kernel_begin();
  const int64_t item = (int64_t)blockIdx.x * (TILE_THREADS / LANES) + threadIdx.x / LANES;
  const int32_t col = (int32_t)threadIdx.x % LANES * CHUNK;
  float sum = 0.0f, out[CHUNK] = {}, dout[CHUNK] = {};
  if (item < rows * op.heads) {
    const int64_t place = item / op.heads * op.ldo + item % op.heads * op.head_size;
    if (op.packed && col < op.head_size) {
      run_load<CHUNK>(op.out + place + col, out);
      run_load<CHUNK>(op.dout + place + col, dout);
    } else {
#pragma unroll
      for (int i = 0; i < CHUNK; i++) {
        out[i] = col + i < op.head_size ? load_float(op.out[place + col + i]) : 0.0f;
        dout[i] = col + i < op.head_size ? load_float(op.dout[place + col + i]) : 0.0f;
      }
    }
  }
#pragma unroll
  for (int i = 0; i < CHUNK; i++)
    sum = fmaf(out[i], dout[i], sum);
#pragma unroll
  for (int step = LANES / 2; step > 0; step /= 2)
    sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (col == 0 && item < rows * op.heads) dots[item] = sum;
}

/* Rows of the other side in a step, of which two are in shared memory: that of the step, and the next one. */
template <int D> constexpr int step_rows = D <= 64 ? 64 : 32;
enum { STAGES = 2 };
template <int D>
constexpr size_t backward_shared =
    (2 * TENSOR_BACKWARD_ROWS + STAGES * 2 * step_rows<D>)*tile_ld<D> * sizeof(bf16) + STAGES *
                                                                                           2 * step_rows<D> *
                                                                                           sizeof(float);

template <int D>
static __global__ void __launch_bounds__(TILE_THREADS) query_kernel(const attention_t<bf16> op) {
  kernel_begin();
  constexpr int ROWS = TENSOR_BACKWARD_ROWS, KEYS = step_rows<D>, LD = tile_ld<D>;
  DYNAMIC_SHARED(bf16, q);
  bf16 *dout = q + ROWS * LD, *stages = dout + ROWS * LD;
  const attention_block_t work =
      attention_block(op.tiles[blockIdx.x / op.heads], blockIdx.x, op.heads, ROWS, false);
  const int32_t length = work.tile.length, lane = lane_id(), mine = (int32_t)threadIdx.x / WARP * FRAGMENT,
                row = work.tile.first + mine;
  const int64_t begin = work.tile.begin, column = (int64_t)work.head * op.head_size,
                place = begin * op.ldkv + (int64_t)(work.head / op.group) * op.head_size;
  const int32_t keys = op.causal ? smaller(length, work.tile.first + ROWS) : length;
  const float scale = op.scale * LOG2_E;
  float lse[2] = {}, dots[2] = {}, dq[1][D / 8][4] = {};
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int32_t at = row + result_row(lane, 2 * half);
    if (at >= length) continue;
    lse[half] = op.lse[(begin + at) * op.heads + work.head] * LOG2_E;
    dots[half] = op.dots[(begin + at) * op.heads + work.head];
  }
  const auto load = [&](int32_t key) {
    bf16 *k = stages + key / KEYS % STAGES * 2 * KEYS * LD;
    tile_load<KEYS, D>(k, op.k + place, op.ldkv, key, length, op);
    tile_load<KEYS, D>(k + KEYS * LD, op.v + place, op.ldkv, key, length, op);
  };
  tile_load<ROWS, D>(q, op.q + begin * op.ldq + column, op.ldq, work.tile.first, length, op);
  tile_load<ROWS, D>(dout, op.dout + begin * op.ldo + column, op.ldo, work.tile.first, length, op);
  load(0);
  for (int32_t key = 0; key < keys; key += KEYS) {
    const bf16 *k = stages + key / KEYS % STAGES * 2 * KEYS * LD, *v = k + KEYS * LD;
    float s[1][KEYS / 8][4], ds[1][KEYS / 8][4];
    copy_end();
    __syncthreads(); /* this step's are there, and those before are used */
    if (key + KEYS < keys) load(key + KEYS);
    multiply_rows<1, KEYS / 8, D>(s, q + mine * LD, k);
    multiply_rows<1, KEYS / 8, D>(ds, dout + mine * LD, v);
    const bool is_cut = key + KEYS > length || (op.causal && key + KEYS > row + 1);
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int32_t at = key + n * 8 + result_col(lane, i);
        const bool is_out = is_cut && (at >= length || (op.causal && at > row + result_row(lane, i)));
        const float p = power_of_two(s[0][n][i] * scale - lse[i / 2]);
        ds[0][n][i] = is_out ? 0.0f : p * (ds[0][n][i] - dots[i / 2]);
      }
    multiply_scores<1, KEYS / 8, D>(dq, ds, k);
  }
  const float factor[1][2] = {{op.scale, op.scale}};
  tile_store<1, D>(dq, factor, q + mine * LD, op.dq + begin * op.ldq + column, op.ldq, row, length, op);
}

/* Scores are transposed here: rows are keys, columns queries. */
template <int D>
static __global__ void __launch_bounds__(TILE_THREADS) key_kernel(const attention_t<bf16> op) {
  kernel_begin();
  constexpr int ROWS = TENSOR_BACKWARD_ROWS, QUERIES = step_rows<D>, LD = tile_ld<D>;
  DYNAMIC_SHARED(bf16, k);
  bf16 *v = k + ROWS * LD, *stages = v + ROWS * LD;
  float *numbers = reinterpret_cast<float *>(stages + STAGES * 2 * QUERIES * LD);
  const int32_t kv_heads = op.heads / op.group;
  const attention_block_t work =
      attention_block(op.tiles[blockIdx.x / kv_heads], blockIdx.x, kv_heads, ROWS, true);
  const int32_t length = work.tile.length, lane = lane_id(), mine = (int32_t)threadIdx.x / WARP * FRAGMENT,
                row = work.tile.first + mine;
  const int64_t begin = work.tile.begin, place = begin * op.ldkv + (int64_t)work.head * op.head_size;
  const int32_t from = op.causal ? work.tile.first : 0, each = (length - from + QUERIES - 1) / QUERIES,
                steps = each * op.group;
  const float scale = op.scale * LOG2_E;
  float dk[1][D / 8][4] = {}, dv[1][D / 8][4] = {};
  const auto load = [&](int32_t step) {
    const int32_t head = work.head * op.group + step / each, query = from + step % each * QUERIES;
    bf16 *q = stages + step % STAGES * 2 * QUERIES * LD;
    float *lse = numbers + step % STAGES * 2 * QUERIES, *dots = lse + QUERIES;
    const int64_t column = (int64_t)head * op.head_size;
    tile_load<QUERIES, D>(q, op.q + begin * op.ldq + column, op.ldq, query, length, op);
    tile_load<QUERIES, D>(q + QUERIES * LD, op.dout + begin * op.ldo + column, op.ldo, query, length, op);
    if (threadIdx.x < QUERIES) {
      const int32_t at = query + (int32_t)threadIdx.x;
      const int64_t number = (begin + at) * op.heads + head;
      lse[threadIdx.x] = at < length ? op.lse[number] * LOG2_E : INFINITY; /* p = 0 beyond the last */
      dots[threadIdx.x] = at < length ? op.dots[number] : 0.0f;
    }
  };
  tile_load<ROWS, D>(k, op.k + place, op.ldkv, work.tile.first, length, op);
  tile_load<ROWS, D>(v, op.v + place, op.ldkv, work.tile.first, length, op);
  load(0);
  for (int32_t step = 0; step < steps; step++) {
    const int32_t query = from + step % each * QUERIES;
    const bf16 *q = stages + step % STAGES * 2 * QUERIES * LD, *dout = q + QUERIES * LD;
    const float *lse = numbers + step % STAGES * 2 * QUERIES, *dots = lse + QUERIES;
    float p[1][QUERIES / 8][4], ds[1][QUERIES / 8][4];
    copy_end();
    __syncthreads(); /* this step's are there, and those before are used */
    if (step + 1 < steps) load(step + 1);
    multiply_rows<1, QUERIES / 8, D>(p, k + mine * LD, q);
    multiply_rows<1, QUERIES / 8, D>(ds, v + mine * LD, dout);
    const bool is_cut = op.causal && query < row + FRAGMENT - 1;
#pragma unroll
    for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int32_t col = n * 8 + result_col(lane, i);
        const bool is_out = is_cut && query + col < row + result_row(lane, i);
        p[0][n][i] = is_out ? 0.0f : power_of_two(p[0][n][i] * scale - lse[col]);
        ds[0][n][i] = p[0][n][i] * (ds[0][n][i] - dots[col]);
      }
    multiply_scores<1, QUERIES / 8, D>(dv, p, dout);
    multiply_scores<1, QUERIES / 8, D>(dk, ds, q);
  }
  const float factor[1][2] = {{op.scale, op.scale}}, one[1][2] = {{1.0f, 1.0f}};
  tile_store<1, D>(dk, factor, k + mine * LD, op.dk + place, op.ldkv, row, length, op);
  tile_store<1, D>(dv, one, v + mine * LD, op.dv + place, op.ldkv, row, length, op);
}

static status_code_t backward_tensor(device_t *device, int64_t tiles, const attention_t<bf16> &op) {
  return with_tile_size(op.head_size, [&](auto size) -> status_code_t {
    constexpr int D = decltype(size)::value;
    TRY(launch(device, "attention_backward dq",
               launch_tiles(tiles, op.heads, TILE_THREADS, backward_shared<D>), query_kernel<D>, op));
    return launch(device, "attention_backward dk, dv",
                  launch_tiles(tiles, op.heads / op.group, TILE_THREADS, backward_shared<D>), key_kernel<D>,
                  op);
  });
}

template <class T>
static status_code_t attention_dots(device_t *device, int64_t rows, const attention_t<T> &op, float *dots) {
  const auto with_lanes = [&](auto lanes) {
    constexpr int LANES = decltype(lanes)::value;
    return launch(device, "attention_backward dots",
                  launch_over(rows * op.heads, TILE_THREADS / LANES, TILE_THREADS), dots_kernel<T, LANES>, op,
                  rows, dots);
  };
  if (op.head_size <= 64) return with_lanes(std::integral_constant<int, 8>());
  if (op.head_size <= 128) return with_lanes(std::integral_constant<int, 16>());
  return with_lanes(std::integral_constant<int, 32>());
}

/* What the backward pass has beside the forward pass's; the dots come first. NEXT: numbers that kernels hand
 * their work out by. */
template <class T>
static status_code_t backward_operands(device_t *device, const op_attention_backward_t *op,
                                       attention_t<T> *work, uint32_t **next) {
  const int64_t rows = sequences_positions(op->forward.sequences);
  void *scratch = nullptr;
  enum { NEXT_BYTES = 256 };
  TRY(attention_operands(&op->forward, work));
  TRY(cuda_scratch(device, (size_t)(rows * work->heads) * sizeof(float) + NEXT_BYTES, &scratch));
  *next = static_cast<uint32_t *>(scratch);
  float *dots = static_cast<float *>(scratch) + NEXT_BYTES / sizeof(float);
  work->dout = real<T>(op->dout);
  work->dots = dots;
  work->dq = real<T>(op->dq);
  work->dk = real<T>(op->dk);
  work->dv = real<T>(op->dv);
  work->packed =
      work->packed && is_packed(op->dout) && is_packed(op->dq) && is_packed(op->dk) && is_packed(op->dv);
  return attention_dots(device, rows, *work, dots);
}

status_code_t attention_backward_cuda(device_t *device, const op_attention_backward_t *op) {
  const sequences_t *all = op->forward.sequences;
  const attention_shape_t shape = attention_shape(all->head_size, device->real_type == DTYPE_BF16);
  const int64_t tiles = attention_tiles(all->count, all->offsets_host, shape.backward_rows, nullptr),
                before = shape.forward_rows == shape.backward_rows ? 0 : all->listed / TILE_NUMBERS - tiles;
  if (tiles == 0) return STATUS_OK;
  if (cudnn_takes_backward(device, op)) return attention_backward_cudnn(device, op);
  return with_real(device, [&](auto zero) -> status_code_t {
    using T = decltype(zero);
    attention_t<T> work;
    uint32_t *next;
    TRY(backward_operands(device, op, &work, &next));
    if constexpr (sizeof(T) == sizeof(bf16))
      if (hopper_takes(device, work)) return attention_backward_hopper(device, all, before, work, next);
    work.tiles += before;
    if constexpr (sizeof(T) == sizeof(bf16))
      if (shape.tensor_cores) return backward_tensor(device, tiles, work);
    return attention_backward_any(device, tiles, work);
  });
}

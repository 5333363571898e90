/* Attention over packed sequences, forward, and the work list. On tensor cores a block works on 128 queries
 * of a head, 32 a warp, and goes over 64 keys a step with a running maximum and sum of each query; the keys
 * of a step are fetched during the sums over values of the step before, its values during its scores. */
#include "cuda/attention_cudnn.h"
#include "cuda/attention_hopper.h"
#include "cuda/attention_softmax.h"

enum { FORWARD_TILES = TENSOR_FORWARD_ROWS / (TILE_WARPS * FRAGMENT) };

template <int D>
static __global__ void __launch_bounds__(TILE_THREADS) attention_kernel(const attention_t<bf16> op) {
  kernel_begin();
  constexpr int ROWS = TENSOR_FORWARD_ROWS, KEYS = FORWARD_KEYS, LD = tile_ld<D>;
  DYNAMIC_SHARED(bf16, q);
  bf16 *k = q + ROWS * LD, *v = k + KEYS * LD;
  const attention_block_t work =
      attention_block(op.tiles[blockIdx.x / op.heads], blockIdx.x, op.heads, ROWS, false);
  const int32_t length = work.tile.length, lane = lane_id(),
                mine = (int32_t)threadIdx.x / WARP * FORWARD_TILES * FRAGMENT, row = work.tile.first + mine;
  const int64_t begin = work.tile.begin, column = (int64_t)work.head * op.head_size,
                place = begin * op.ldkv + (int64_t)(work.head / op.group) * op.head_size;
  const int32_t keys = op.causal ? smaller(length, work.tile.first + ROWS) : length;
  float out[FORWARD_TILES][D / 8][4] = {}, s[FORWARD_TILES][KEYS / 8][4];
  softmax_t<FORWARD_TILES> state;
  state.clear();
  tile_load<ROWS, D>(q, op.q + begin * op.ldq + column, op.ldq, work.tile.first, length, op);
  tile_load<KEYS, D>(k, op.k + place, op.ldkv, 0, length, op);
  for (int32_t key = 0; key < keys; key += KEYS) {
    copy_end();
    __syncthreads(); /* keys are there, and the values before are used */
    const bool is_idle = op.causal && key >= row + FORWARD_TILES * FRAGMENT;
    tile_load<KEYS, D>(v, op.v + place, op.ldkv, key, length, op);
    if (!is_idle) {
      multiply_rows<FORWARD_TILES, KEYS / 8, D>(s, q + mine * LD, k);
      softmax_step(s, out, state, row, key, length, op);
    }
    copy_end();
    __syncthreads(); /* values are there, and keys are used */
    if (key + KEYS < keys) tile_load<KEYS, D>(k, op.k + place, op.ldkv, key + KEYS, length, op);
    if (!is_idle) multiply_scores<FORWARD_TILES, KEYS / 8, D>(out, s, v);
  }
  float factor[FORWARD_TILES][2];
#pragma unroll
  for (int t = 0; t < FORWARD_TILES; t++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int32_t at = row + t * FRAGMENT + result_row(lane, 2 * half);
      const float sum = state.total(t, half);
      factor[t][half] = 1.0f / sum;
      if (op.lse && at < length && lane % 4 == 0)
        op.lse[(begin + at) * op.heads + work.head] = state.max[t][half] * LOG_2 + logf(sum);
    }
  tile_store<FORWARD_TILES, D>(out, factor, q + mine * LD, op.out + begin * op.ldo + column, op.ldo, row,
                               length, op);
}

static status_code_t attention_tensor(device_t *device, int64_t tiles, const attention_t<bf16> &op) {
  return with_tile_size(op.head_size, [&](auto size) {
    constexpr int D = decltype(size)::value;
    const size_t shared = (TENSOR_FORWARD_ROWS + 2 * FORWARD_KEYS) * tile_ld<D> * sizeof(bf16);
    return launch(device, "attention", launch_tiles(tiles, op.heads, TILE_THREADS, shared),
                  attention_kernel<D>, op);
  });
}

static attention_shape_t shape_of(const device_t *device, const sequences_t *all) {
  return attention_shape(all->head_size, device->real_type == DTYPE_BF16);
}

static status_code_t attention_cuda(device_t *device, const op_attention_t *op) {
  const sequences_t *all = op->sequences;
  const attention_shape_t shape = shape_of(device, all);
  if (cudnn_takes(device, op)) return attention_cudnn(device, op);
  const int64_t tiles = attention_tiles(all->count, all->offsets_host, shape.forward_rows, nullptr);
  return with_real(device, [&](auto zero) -> status_code_t {
    using T = decltype(zero);
    attention_t<T> work;
    TRY(attention_operands(op, &work));
    if constexpr (sizeof(T) == sizeof(bf16)) {
      const bool is_free = !cuda_state(device)->options.batch_invariant; /* else as paged attention does it */
      if (is_free && hopper_takes(device, work)) return attention_hopper(device, all, tiles, work);
      if (shape.tensor_cores) return attention_tensor(device, tiles, work);
    }
    return attention_any(device, tiles, work);
  });
}

/* Tiles of the forward pass, then those of the backward pass where they differ. */
int64_t cuda_list_work(device_t *device, const sequences_t *all, int32_t *list) {
  const attention_shape_t shape = shape_of(device, all);
  attention_tile_t *tiles = reinterpret_cast<attention_tile_t *>(list);
  int64_t count = attention_tiles(all->count, all->offsets_host, shape.forward_rows, tiles);
  if (shape.backward_rows != shape.forward_rows)
    count +=
        attention_tiles(all->count, all->offsets_host, shape.backward_rows, tiles ? tiles + count : nullptr);
  return count * TILE_NUMBERS;
}

void cuda_fill_attention(ops_t *ops) {
  ops->attention = attention_cuda;
  ops->attention_backward = attention_backward_cuda;
}

/* Products with few rows of a weight in NF4, read where it lies: 0.52 bytes for each of its n k values. A
 * value is what nf4_decode makes of it, and the product that of matrix_vector.cu, but for the order along k:
 * a lane takes 16 bytes of codes of a row, so 32 neighbouring values. Two values at once are looked up in a
 * table of all bytes, of which there are as many copies as lanes look up in at a time, each in banks of its
 * own. By values and multiprocessor that is one of 32 places in shared memory a cycle and a half of those for
 * integers, both within the time that memory takes. */
#include "cuda/matrix_vector.h"

enum {
  CODES_LANE = 32,                       /* values that a lane takes at once */
  CODES_STEP = CODES_LANE * 4,           /* values of a row that a warp takes at once */
  CODES_STEPS = 2,                       /* of a group */
  CODES_SPAN = CODES_STEP * CODES_STEPS, /* values */
  CODES_SPAN_BYTES = CODES_SPAN / 2,     /* a line of the second-level cache */
  CODES_BLOCKS = 2,                      /* a multiprocessor */
  CODES_STAGES = 3,
  PAIR_COPIES = 16,
  PAIR_BYTES = PAIR_COPIES * 2 * sizeof(float) /* of all copies */
};
static_assert((int)CODES_SPAN_BYTES == (int)FEW_LINE_BYTES, "lanes fetch a line of a row each");
static_assert((int)PAIR_BYTES == 1 << 7, "the place of a byte's pairs is the byte, shifted");

struct codes_shared_t {
  float2 pairs[256][PAIR_COPIES]; /* the two values of a byte */
  float scale_map[256];
  union {
    uint4 codes[FEW_WARPS][CODES_STAGES][2 * CODES_STEPS][WARP];
    few_ring_t<1> ring; /* of blocks that multiply by A */
  };
};

/* The first value of a byte is its upper half. */
static __device__ __forceinline__ void shared_fill(codes_shared_t *shared, const nf4_tables_t &tables) {
  const int32_t byte = threadIdx.x;
  static_assert(FEW_THREADS == 256, "a byte for each thread");
  const float high = tables.code[byte >> 4], low = tables.code[byte & 15];
  shared->scale_map[byte] = tables.scale_map[byte];
  float4 *copies = reinterpret_cast<float4 *>(shared->pairs[byte]);
#pragma unroll
  for (int32_t i = 0; i < PAIR_COPIES / 2; i++) /* neighbours begin in other banks */
    copies[(i + byte) % (PAIR_COPIES / 2)] = make_float4(high, low, high, low);
  __syncthreads();
}

static __device__ __forceinline__ const uint8_t *codes_of(const few_part_t &part, int64_t row) {
  return part.nf4.codes + at_most(row, part.rows - 1) * part.nf4.row_blocks * NF4_BLOCK_BYTES;
}

template <class C>
static __device__ __forceinline__ void codes_fetch(const few_t<C> &op, const few_place_t &place) {
  const int32_t lane = (int32_t)threadIdx.x % WARP;
  if (lane >= FEW_TILE) return;
  const uint8_t *codes = codes_of(*place.part, place.row + lane);
  for (int32_t i = 0; i < op.fetched; i++) {
    const int64_t at = ((int64_t)i * op.share + place.share) * CODES_SPAN_BYTES;
    if (at < op.k / 2) fetch_line(codes + at);
  }
}

/* Two values of byte I of WORD, as bf16. PAIRS: the lane's copies, LANE its place among them. */
static __device__ __forceinline__ uint32_t values_of(const codes_shared_t *shared, uint32_t lane,
                                                     uint32_t word, int i, float scale) {
  const uint32_t shifted = i == 0 ? word << 7 : word >> (8 * i - 7), at = (shifted & 0x7f80u) | lane;
  const float2 pair =
      *reinterpret_cast<const float2 *>(reinterpret_cast<const unsigned char *>(shared->pairs) + at);
  return pack_two(__fmul_rn(pair.x, scale), __fmul_rn(pair.y, scale));
}

/* Codes of rows LOW and HIGH of the tile by 8 COLUMNS rows of x, over CODES_STEP of k. */
template <int COLUMNS>
static __device__ __forceinline__ void multiply_codes(float (&sum)[COLUMNS][4], const codes_shared_t *shared,
                                                      const uint4 &low, const uint4 &high,
                                                      const float (&scale)[2], const uint4 (&x)[COLUMNS][4]) {
  const uint32_t lane = threadIdx.x % PAIR_COPIES * (uint32_t)sizeof(float2),
                 words[2][4] = {{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
#pragma unroll
  for (int w = 0; w < 4; w++) {
    uint4 values[2];
#pragma unroll
    for (int row = 0; row < 2; row++) {
      values[row].x = values_of(shared, lane, words[row][w], 0, scale[row]);
      values[row].y = values_of(shared, lane, words[row][w], 1, scale[row]);
      values[row].z = values_of(shared, lane, words[row][w], 2, scale[row]);
      values[row].w = values_of(shared, lane, words[row][w], 3, scale[row]);
    }
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
      multiply_step(sum[c], values[0], values[1], x[c][w]);
  }
}

/* As multiply_ring. Beyond the last value there are zeros of x, and the scales of the first block. */
template <int COLUMNS, class C>
static __device__ __forceinline__ void multiply_nf4(float (&sum)[COLUMNS][4], const few_t<C> &op,
                                                    const few_place_t &place, codes_shared_t *shared) {
  const few_part_t &part = *place.part;
  const nf4_view_t &view = part.nf4;
  const int32_t number = (int32_t)threadIdx.x % WARP, first = number % 4 * CODES_LANE;
  const int32_t groups = (int32_t)((op.k + CODES_SPAN - 1) / CODES_SPAN);
  const int64_t rows[2] = {at_most(place.row + lane_row(), part.rows - 1),
                           at_most(place.row + lane_row() + FEW_TILE / 2, part.rows - 1)};
  const uint8_t *const codes[2] = {codes_of(part, rows[0]) + first / 2, codes_of(part, rows[1]) + first / 2};
  const float offset = *view.offset;
  auto *stages = shared->codes[threadIdx.x / WARP];
  const bf16 *from[COLUMNS];
#pragma unroll
  for (int c = 0; c < COLUMNS; c++)
    from[c] = op.x + at_most(c * FEW_COLUMNS + lane_row(), op.rows - 1) * op.ldx;
  const auto ask = [&](int32_t group, int32_t stage) {
    if (group < groups) {
      const int64_t at = (int64_t)group * CODES_SPAN_BYTES;
#pragma unroll
      for (int s = 0; s < CODES_STEPS; s++) {
        const bool there = (at + s * CODES_STEP / 2) * 2 + first < op.k;
#pragma unroll
        for (int row = 0; row < 2; row++)
          copy_begin(&stages[stage][2 * s + row][number], codes[row] + (there ? at + s * CODES_STEP / 2 : 0),
                     there);
      }
    }
    copy_group();
  };
#pragma unroll
  for (int stage = 0; stage < CODES_STAGES; stage++)
    ask(place.share + stage * op.share, stage);
  int32_t stage = 0;
#pragma unroll 1
  for (int32_t group = place.share; group < groups; group += op.share) {
#pragma unroll
    for (int s = 0; s < CODES_STEPS; s++) {
      const int64_t k = (int64_t)group * CODES_SPAN + s * CODES_STEP + first;
      const int64_t block = k < op.k ? k / NF4_BLOCK : 0;
      float scale[2];
      uint4 x[COLUMNS][4];
#pragma unroll
      for (int row = 0; row < 2; row++)
        scale[row] = nf4_scale_of(shared->scale_map, view.scales[rows[row] * view.row_blocks + block],
                                  nf4_group_of(view, rows[row], block), offset);
#pragma unroll
      for (int c = 0; c < COLUMNS; c++)
#pragma unroll
        for (int w = 0; w < 4; w++)
          x[c][w] = k < op.k ? load_shared_by_all(from[c] + k + w * pack_t<bf16>::N) : make_uint4(0, 0, 0, 0);
      if (s == 0) copy_wait<CODES_STAGES - 1>();
      multiply_codes(sum, shared, stages[stage][2 * s][number], stages[stage][2 * s + 1][number], scale, x);
    }
    ask(group + CODES_STAGES * op.share, stage); /* into the place that was just read */
    stage = stage + 1 < CODES_STAGES ? stage + 1 : 0;
  }
}

template <class C, int COLUMNS>
static __global__ void __launch_bounds__(FEW_THREADS, CODES_BLOCKS)
    few_nf4_kernel(const __grid_constant__ few_t<C> op, const __grid_constant__ nf4_tables_t tables) {
  kernel_release();
  DYNAMIC_SHARED(codes_shared_t, shared);
  const few_place_t place = place_of(op);
  const bool is_nf4 = !place.part->w;
  if (is_nf4)
    codes_fetch(op, place);
  else
    fetch_ahead(op, place);
  shared_fill(shared, tables);
  kernel_wait();

  float sum[COLUMNS][4] = {};
  if (is_nf4)
    multiply_nf4(sum, op, place, shared);
  else
    multiply_ring<COLUMNS, 1>(sum, op, lane_of<COLUMNS>(op, place), place.share, &shared->ring);
  few_finish(sum, op, place);
}

int64_t few_nf4_span() {
  return CODES_SPAN;
}

bool few_nf4_fits(const weight_t *weight) {
  const nf4_view_t view = weight_nf4_view(weight);
  return view.skip == 0 && weight->cols % CODES_LANE == 0 && is_packed(view.codes);
}

template <class C> static status_code_t few_nf4(device_t *device, const launch_t &shape, const few_t<C> &op) {
  launch_t with_tables = shape;
  with_tables.shared = sizeof(codes_shared_t);
  return launch(device, "product of few rows, NF4", with_tables,
                op.rows <= FEW_COLUMNS ? few_nf4_kernel<C, 1>
                                       : few_nf4_kernel<C, FEW_ROWS_MOST / FEW_COLUMNS>,
                op, nf4_tables());
}

status_code_t few_nf4_launch(device_t *device, const launch_t &shape, const few_t<float> &op) {
  return few_nf4(device, shape, op);
}
status_code_t few_nf4_launch(device_t *device, const launch_t &shape, const few_t<bf16> &op) {
  return few_nf4(device, shape, op);
}

/* What the attention kernels for compute capability 9.0 share. */
#ifndef CUDA_ATTENTION_HOPPER_H
#define CUDA_ATTENTION_HOPPER_H

#include "cuda/attention_tile.h"
#include "cuda/hopper.h"

/* A block: a warpgroup for copies, and workers for 64 rows each. */
enum {
  WORKERS = 2,
  WORKER_WARPS = WORKERS * 4,
  TENSOR_THREADS = (1 + WORKERS) * WARPGROUP,
  LOADER_REGISTERS = 24,
  WORKER_REGISTERS = 240,
  SWIZZLE_ALIGNMENT = SWIZZLED_ROWS * RUN_ROW_BYTES
};

/* *MAP: of ROWS rows of COLS elements at FROM, LD apart (all multiples of 16 bytes), in boxes of BOX_ROWS
 * rows and RUN_COLS columns. Errors: STATUS_DEVICE. */
status_t hopper_map(CUtensorMap *map, const bf16 *from, int64_t rows, int64_t cols, int64_t ld,
                    int32_t box_rows);

/* Whether there are kernels for OP on this device, and they: TILES as attention_any's. */
bool hopper_takes(const device_t *device, const attention_t<bf16> &op);
status_code_t attention_hopper(device_t *device, const sequences_t *all, int64_t tiles,
                               const attention_t<bf16> &op);
/* The gradients; op.dots is there, TILES are the forward pass's. NEXT: two numbers in scratch. */
status_code_t attention_backward_hopper(device_t *device, const sequences_t *all, int64_t tiles,
                                        const attention_t<bf16> &op, uint32_t *next);

#ifdef HAS_WARPGROUPS

/* The block's memory, which tiles need aligned. */
template <class T> static __device__ __forceinline__ T *aligned_shared(unsigned char *bytes) {
  const uint32_t over = shared_address(bytes) % SWIZZLE_ALIGNMENT;
  return reinterpret_cast<T *>(bytes + (SWIZZLE_ALIGNMENT - over) % SWIZZLE_ALIGNMENT);
}

/* The first of a thread's two rows of its worker's 64; the other one is 8 further. */
static __device__ __forceinline__ int32_t worker_row() {
  return (int32_t)threadIdx.x % WARPGROUP / WARP * FRAGMENT + lane_id() / 4;
}

/* ROWS rows of D columns from ROW, COL on, run by run. */
template <int ROWS, int D>
static __device__ __forceinline__ void tile_fetch(bf16 *to, const CUtensorMap *map, int32_t col, int32_t row,
                                                  uint64_t *full) {
#pragma unroll
  for (int c = 0; c < D; c += RUN_COLS)
    box_load(to + c * ROWS, map, col + c, row, full);
}

/* All lanes of the warp have used what BARRIER is about. */
static __device__ __forceinline__ void release(uint64_t *barrier) {
  __syncwarp();
  if (lane_id() == 0) barrier_arrive(barrier);
}

/* Two workers that begin their products by turns, worker 0 first. */
static __device__ __forceinline__ void turn_wait(int32_t worker) {
  numbered_wait(1 + worker, WORKERS * WARPGROUP);
}
static __device__ __forceinline__ void turn_give(int32_t worker) {
  numbered_arrive(2 - worker, WORKERS * WARPGROUP);
}
static __device__ __forceinline__ void turns_begin(int32_t worker) {
  if (worker == 1) turn_give(worker);
}

/* c = a b^T: a worker's 64 rows of the TENSOR_FORWARD_ROWS that a block has of A, and STEP rows of B. */
template <int D, int STEP>
static __device__ __forceinline__ void rows_begin(float (&c)[STEP / 8][4], const bf16 *a, const bf16 *b) {
  const uint64_t left = tile_descriptor(a, 0), right = tile_descriptor(b, 0);
  products_hold(c);
  products_begin();
#pragma unroll
  for (int d = 0; d < D; d += FRAGMENT) {
    const int run = d / RUN_COLS, inside = d % RUN_COLS * (int)sizeof(bf16);
    multiply_tiles(c, further(left, run * TENSOR_FORWARD_ROWS * RUN_ROW_BYTES + inside),
                   further(right, run * STEP * RUN_ROW_BYTES + inside), d != 0);
  }
  products_commit();
}

/* c += a b: A in registers, B of STEP rows. */
template <int D, int STEP>
static __device__ __forceinline__ void sums_begin(float (&c)[D / 8][4],
                                                  const uint32_t (&a)[STEP / FRAGMENT][4], const bf16 *b) {
  const uint64_t right = tile_descriptor(b, STEP);
  products_hold(c);
  products_begin();
#pragma unroll
  for (int k = 0; k < STEP / FRAGMENT; k++)
    multiply_rows_of(c, a[k], further(right, k * FRAGMENT * RUN_ROW_BYTES));
  products_commit();
}

/* A result of COLS columns as left factors of products that sum over them. */
template <int COLS>
static __device__ __forceinline__ void fragments_pack(uint32_t (&to)[COLS / FRAGMENT][4],
                                                      const float (&from)[COLS / 8][4]) {
#pragma unroll
  for (int k = 0; k < COLS / FRAGMENT; k++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      to[k][i] = pack_two(from[2 * k + i / 2][i % 2 * 2], from[2 * k + i / 2][i % 2 * 2 + 1]);
}

/* WORDS of chunks 0 .. 3 on each of four lanes become, on lane J, the words of chunk J of all four. */
static __device__ __forceinline__ uint4 quad_transpose(const uint32_t (&words)[4]) {
  const int32_t lane = lane_id() % 4;
  uint32_t got[4];
  const auto pick = [](const uint32_t(&from)[4], int32_t i) {
    return i & 2 ? (i & 1 ? from[3] : from[2]) : (i & 1 ? from[1] : from[0]);
  };
#pragma unroll
  for (int i = 0; i < 4; i++)
    got[i] = __shfl_xor_sync(0xffffffffu, pick(words, lane ^ i), i);
  return make_uint4(pick(got, lane), pick(got, 1 ^ lane), pick(got, 2 ^ lane), pick(got, 3 ^ lane));
}

/* A worker's 64 rows of D columns, times FACTOR of the thread's two, as bf16 to row ROW (the thread's first
 * one) of TO; rows from LENGTH on are left out. */
template <int D>
static __device__ __forceinline__ void fragments_store(const float (&c)[D / 8][4], const float (&factor)[2],
                                                       bf16 *to, int64_t ld, int32_t row, int32_t length) {
#pragma unroll
  for (int half = 0; half < 2; half++)
#pragma unroll
    for (int d = 0; d < D / 8; d += 4) {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; i++)
        words[i] = pack_two(c[d + i][2 * half] * factor[half], c[d + i][2 * half + 1] * factor[half]);
      const uint4 eight = quad_transpose(words);
      if (row + half * 8 < length)
        *reinterpret_cast<uint4 *>(to + (int64_t)(row + half * 8) * ld + (d + lane_id() % 4) * CHUNK) = eight;
    }
}

#endif

#endif

/* Instructions of compute capability 9.0 (sm_90a): barriers in shared memory, bulk copies of tiles, products
 * of a warpgroup. One function each. Tiles lie in shared memory as the copies leave them: runs of 64 columns
 * (128 bytes a row), 16-byte pieces swizzled over eight rows, each run aligned to 1024 bytes. */
#ifndef CUDA_HOPPER_H
#define CUDA_HOPPER_H

#include "cuda/mma.h"

#include <cudaTypedefs.h>

enum { WARPGROUP = 4 * WARP, RUN_COLS = 64, RUN_ROW_BYTES = RUN_COLS * sizeof(bf16), SWIZZLED_ROWS = 8 };

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HAS_WARPGROUPS 1
#endif

#ifdef HAS_WARPGROUPS

/* ---- Barriers of a block ---- */

static __device__ __forceinline__ void barrier_init(uint64_t *barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals));
}
/* Makes initialised barriers known to the copy engine. */
static __device__ __forceinline__ void barrier_init_end() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/* An arrival, and BYTES that copies will bring before the phase ends. */
static __device__ __forceinline__ void barrier_expect(uint64_t *barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
}
static __device__ __forceinline__ void barrier_arrive(uint64_t *barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
/* Waits for the end of the phase of PARITY; that of 1 has ended before the first. */
static __device__ __forceinline__ void barrier_wait(uint64_t *barrier, uint32_t parity) {
  uint32_t is_over;
  do {
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
        : "=r"(is_over)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  } while (!is_over);
}

/* Barriers by number, of THREADS threads: those that wait, and those that only come by. */
static __device__ __forceinline__ void numbered_wait(int32_t number, int32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
static __device__ __forceinline__ void numbered_arrive(int32_t number, int32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/* ---- Copies of tiles ---- */

/* The box of MAP at COL, ROW to shared memory; it arrives at BARRIER. */
static __device__ __forceinline__ void box_load(void *to, const CUtensorMap *map, int32_t col, int32_t row,
                                                uint64_t *barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, "
               "%4}], [%2];" ::"r"(shared_address(to)),
               "l"(map), "r"(shared_address(barrier)), "r"(col), "r"(row)
               : "memory");
}
static __device__ __forceinline__ void map_prefetch(const CUtensorMap *map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* ---- Registers of a warpgroup ---- */

template <int N> static __device__ __forceinline__ void registers_give() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> static __device__ __forceinline__ void registers_take() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

/* ---- Products ---- */

/* What describes a tile to the tensor cores. ROWS: of its runs, where columns of several are one side of the
 * product (B with rows summed over); elsewhere it has no meaning. */
static __device__ __forceinline__ uint64_t tile_descriptor(const void *tile, int32_t rows) {
  const uint64_t swizzle = 1, eight_rows = SWIZZLED_ROWS * RUN_ROW_BYTES;
  return swizzle << 62 | eight_rows >> 4 << 32 | (uint64_t)(rows * RUN_ROW_BYTES) >> 4 << 16 |
         (shared_address(tile) >> 4 & 0x3fff);
}
/* The same, BYTES further. */
static __device__ __forceinline__ uint64_t further(uint64_t descriptor, int32_t bytes) {
  return descriptor + (uint64_t)(bytes >> 4);
}

static __device__ __forceinline__ void products_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
static __device__ __forceinline__ void products_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* All but the last N groups of products are done. */
template <int N> static __device__ __forceinline__ void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
/* The compiler keeps the accumulators C where they are across this place. */
template <int COLS> static __device__ __forceinline__ void products_hold(float (&c)[COLS][4]) {
#pragma unroll
  for (int n = 0; n < COLS; n++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      asm volatile("" : "+f"(c[n][i])::"memory");
}

#define FOUR(c, n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define SIXTEEN(c, n) FOUR(c, n), FOUR(c, n + 1), FOUR(c, n + 2), FOUR(c, n + 3)
#define NAMES_32                                                                                             \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "     \
  "%22, %23, %24, %25, %26, "                                                                                \
  "%27, %28, %29, %30, %31"
#define NAMES_64                                                                                             \
  NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "    \
           "%50, %51, %52, %53, %54, "                                                                       \
           "%55, %56, %57, %58, %59, %60, %61, %62, %63"

/* c (64 rows of the warpgroup, 8 COLS) = a b^T, or += where ADDS: 16 elements of each row of A (64 rows) and
 * of B (8 COLS rows). */
static __device__ __forceinline__ void multiply_tiles(float (&c)[8][4], uint64_t a, uint64_t b,
                                                      int32_t adds) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES_32
               "}, %32, %33, p, 1, 1, 0, 0;\n}"
               : SIXTEEN(c, 0), SIXTEEN(c, 4)
               : "l"(a), "l"(b), "r"(adds));
}
static __device__ __forceinline__ void multiply_tiles(float (&c)[16][4], uint64_t a, uint64_t b,
                                                      int32_t adds) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES_64
               "}, %64, %65, p, 1, 1, 0, 0;\n}"
               : SIXTEEN(c, 0), SIXTEEN(c, 4), SIXTEEN(c, 8), SIXTEEN(c, 12)
               : "l"(a), "l"(b), "r"(adds));
}
/* c (64, 8 COLS) += a b: A (64, 16) a fragment in registers, B 16 rows of 8 COLS columns. */
static __device__ __forceinline__ void multiply_rows_of(float (&c)[8][4], const uint32_t (&a)[4],
                                                        uint64_t b) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES_32
               "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"
               : SIXTEEN(c, 0), SIXTEEN(c, 4)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
static __device__ __forceinline__ void multiply_rows_of(float (&c)[16][4], const uint32_t (&a)[4],
                                                        uint64_t b) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES_64
               "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"
               : SIXTEEN(c, 0), SIXTEEN(c, 4), SIXTEEN(c, 8), SIXTEEN(c, 12)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef FOUR
#undef SIXTEEN
#undef NAMES_32
#undef NAMES_64

#endif

#endif

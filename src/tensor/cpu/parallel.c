/* Threads and scratch of the cpu device. */
#define _GNU_SOURCE
#include "tensor/cpu/state.h"

#include <omp.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

/* Work in nanoseconds that a further thread must have to be worth waking: about four times what opening and
 * closing a parallel region takes. */
static const double work_per_thread = 8e3;

void cpu_advise_huge(void *pointer, size_t bytes) {
  const uintptr_t page = 4096;
  uintptr_t begin = ((uintptr_t)pointer + page - 1) & ~(page - 1),
            end = ((uintptr_t)pointer + bytes) & ~(page - 1);
  if (begin < end) (void)!madvise((void *)begin, end - begin, MADV_HUGEPAGE);
}

status_t cpu_scratch(cpu_state_t *state, int64_t floats) {
  floats = (floats + 15) / 16 * 16;
  if (floats <= state->scratch_floats) return STATUS_OK;
  float *fresh = NULL;
  TRY(memory_alloc(&fresh, ARENA_SCRATCH, (size_t)floats * (size_t)state->threads, sizeof *fresh));
  cpu_advise_huge(fresh, (size_t)floats * (size_t)state->threads * sizeof *fresh);
  memory_free(state->scratch);
  state->scratch = fresh;
  state->scratch_floats = floats;
  return STATUS_OK;
}

status_t cpu_shared(cpu_state_t *state, int64_t bytes, void *out) {
  if (bytes > state->shared_bytes) {
    float *fresh = NULL;
    TRY(memory_alloc(&fresh, ARENA_SCRATCH, (size_t)bytes, 1));
    memory_free(state->shared);
    state->shared = fresh;
    state->shared_bytes = bytes;
  }
  memcpy(out, &(void *){state->shared}, sizeof(void *));
  return STATUS_OK;
}

int cpu_threads(const cpu_state_t *state, double work) {
  double worth = work / work_per_thread;
  if (worth >= (double)state->threads) return state->threads;
  return worth < 2.0 ? 1 : (int)worth;
}

static float *scratch_of(const cpu_state_t *state, int thread) {
  return state->scratch ? state->scratch + thread * state->scratch_floats : NULL;
}

void cpu_for(cpu_state_t *state, range_kernel_t kernel, const void *op, int64_t n, int64_t grain,
             double work) {
  if (n <= 0) return;
  int64_t grains = (n + grain - 1) / grain;
  int threads = cpu_threads(state, work);
  if (threads > grains) threads = (int)grains;
  if (threads <= 1) {
    kernel(op, 0, n, scratch_of(state, 0));
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    int64_t me = omp_get_thread_num(), all = omp_get_num_threads();
    int64_t begin = grains * me / all * grain, end = grains * (me + 1) / all * grain;
    if (end > n) end = n;
    if (begin < end) kernel(op, begin, end, scratch_of(state, (int)me));
  }
}

void cpu_for_each(cpu_state_t *state, range_kernel_t kernel, const void *op, int64_t n, double work) {
  int threads = cpu_threads(state, work);
  if (threads > n) threads = (int)n;
  if (threads <= 1) {
    if (n > 0) kernel(op, 0, n, scratch_of(state, 0));
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t i = 0; i < n; i++)
    kernel(op, i, i + 1, scratch_of(state, omp_get_thread_num()));
}

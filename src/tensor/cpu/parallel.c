/* Threads and scratch of the cpu device. */
#define _GNU_SOURCE
#include "tensor/cpu/state.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

/* Nanoseconds of work that make a thread worth its waking, and that make a share worth its taking. */
static const double work_per_thread = 8e3, work_per_share = 4e3;
/* Shares per thread, so that one which comes late or is held up leaves its part to the others. */
enum { SHARES_PER_THREAD = 4 };

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

int64_t cpu_shares(double work, int threads, int64_t most) {
  double worth = work / work_per_share;
  int64_t shares = (int64_t)SHARES_PER_THREAD * threads;
  if (worth < (double)shares) shares = worth < (double)threads ? threads : (int64_t)worth;
  return shares < most ? shares : most;
}

float *cpu_scratch_of(const cpu_state_t *state, int thread) {
  return state->scratch ? state->scratch + thread * state->scratch_floats : NULL;
}

/* A range kernel's job: share i is grains * i / shares .. grains * (i + 1) / shares. */
typedef struct {
  const cpu_state_t *state;
  range_kernel_t kernel;
  const void *op;
  int64_t n, grain, grains, shares;
} range_job_t;

static void run_share(const void *context, int64_t item, int thread) {
  const range_job_t *job = context;
  int64_t begin = job->grains * item / job->shares * job->grain;
  int64_t end = job->grains * (item + 1) / job->shares * job->grain;
  if (end > job->n) end = job->n;
  if (begin < end) job->kernel(job->op, begin, end, cpu_scratch_of(job->state, thread));
}

void cpu_for(cpu_state_t *state, range_kernel_t kernel, const void *op, int64_t n, int64_t grain,
             double work) {
  int threads = cpu_threads(state, work);
  range_job_t job = {.state = state, .kernel = kernel, .op = op, .n = n, .grain = grain};
  job.grains = (n + grain - 1) / grain;
  job.shares = threads > 1 ? cpu_shares(work, threads, job.grains) : 1;
  if (n > 0) pool_run(state->pool, threads, job.shares, run_share, &job);
}

void cpu_for_each(cpu_state_t *state, range_kernel_t kernel, const void *op, int64_t n, double work) {
  int threads = cpu_threads(state, work);
  range_job_t job = {.state = state, .kernel = kernel, .op = op, .n = n, .grain = 1, .grains = n};
  double shares = work / work_per_share; /* tiny items go together */
  job.shares = threads == 1 || shares < 1.0 ? 1 : shares > (double)n ? n : (int64_t)shares;
  if (job.shares > POOL_ITEMS_MAX) job.shares = POOL_ITEMS_MAX;
  if (n > 0) pool_run(state->pool, threads, job.shares, run_share, &job);
}

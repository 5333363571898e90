/* Threads of a block as fibers, which run until they wait for the others. */
#include <cuda_runtime.h>

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { THREADS = 1024, WARP_LANES = 32, STACK_BYTES = 256 << 10, SHARED_BYTES = 256 << 10 };

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
alignas(128) unsigned char host_dynamic_shared[SHARED_BYTES];

/* Threads that wait for each other. */
typedef struct {
  unsigned members, arrived; /* that have not returned yet; of those, that wait */
  uint64_t generation;
} meeting_t;

typedef struct {
  meeting_t meeting;
  uint64_t values[WARP_LANES];
  unsigned ballot, ballot_done;
} warp_t;

typedef enum { FIBER_NEW, FIBER_STARTED, FIBER_DONE } fiber_state_t;

static struct {
  const std::function<void()> *kernel;
  unsigned threads, current;
  fiber_state_t state[THREADS];
  jmp_buf place[THREADS], scheduler;
  ucontext_t start, back;
  char *stacks;
  meeting_t block;
  int any, any_done;
  warp_t warps[THREADS / WARP_LANES];
  bool has_moved;
} run;

static void yield() {
  if (_setjmp(run.place[run.current]) == 0) _longjmp(run.scheduler, 1);
}

static bool meeting_ends(meeting_t *meeting) {
  if (meeting->members == 0 || meeting->arrived < meeting->members) return false;
  meeting->arrived = 0;
  meeting->generation++;
  run.has_moved = true;
  return true;
}

/* AT_END is done once, by the last that arrives. */
template <class F> static void meet(meeting_t *meeting, F &&at_end) {
  const uint64_t generation = meeting->generation;
  meeting->arrived++;
  if (meeting->arrived == meeting->members) at_end();
  if (meeting_ends(meeting)) return;
  while (meeting->generation == generation)
    yield();
}

static warp_t *warp_of_thread() {
  return &run.warps[run.current / WARP_LANES];
}

unsigned host_lane() {
  return run.current % WARP_LANES;
}

void __syncthreads() {
  meet(&run.block, [] {});
}

int __syncthreads_or(int value) {
  run.any |= value != 0;
  meet(&run.block, [] {
    run.any_done = run.any;
    run.any = 0;
  });
  int any = run.any_done;
  meet(&run.block, [] {});
  return any;
}

void __syncwarp(unsigned) {
  meet(&warp_of_thread()->meeting, [] {});
}

unsigned __ballot_sync(unsigned, int value) {
  warp_t *warp = warp_of_thread();
  if (value) warp->ballot |= 1u << host_lane();
  meet(&warp->meeting, [&] {
    warp->ballot_done = warp->ballot;
    warp->ballot = 0;
  });
  unsigned ballot = warp->ballot_done;
  meet(&warp->meeting, [] {});
  return ballot;
}

uint64_t host_shuffle(uint64_t value, unsigned from) {
  warp_t *warp = warp_of_thread();
  warp->values[host_lane()] = value;
  meet(&warp->meeting, [] {});
  value = warp->values[from % WARP_LANES];
  meet(&warp->meeting, [] {});
  return value;
}

static void fiber_main() {
  (*run.kernel)();
  run.state[run.current] = FIBER_DONE;
  run.has_moved = true;
  meeting_t *meetings[] = {&run.block, &warp_of_thread()->meeting};
  for (meeting_t *meeting : meetings) {
    meeting->members--;
    (void)meeting_ends(meeting);
  }
  _longjmp(run.scheduler, 1);
}

static void fiber_resume(unsigned thread) {
  run.current = thread;
  threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y};
  if (_setjmp(run.scheduler) != 0) return;
  if (run.state[thread] == FIBER_STARTED) _longjmp(run.place[thread], 1);
  run.state[thread] = FIBER_STARTED;
  getcontext(&run.start);
  run.start.uc_stack.ss_sp = run.stacks + (size_t)thread * STACK_BYTES;
  run.start.uc_stack.ss_size = STACK_BYTES;
  run.start.uc_link = &run.back;
  makecontext(&run.start, fiber_main, 0);
  setcontext(&run.start);
}

static void run_block() {
  run.block = {run.threads, 0, 0};
  run.any = 0;
  for (unsigned t = 0; t < run.threads; t++) {
    run.state[t] = FIBER_NEW;
    if (t % WARP_LANES == 0) run.warps[t / WARP_LANES] = {};
    run.warps[t / WARP_LANES].meeting.members++;
  }
  for (unsigned done = 0; done < run.threads;) {
    done = 0;
    run.has_moved = false;
    for (unsigned t = 0; t < run.threads; t++) {
      if (run.state[t] != FIBER_DONE) fiber_resume(t);
      done += run.state[t] == FIBER_DONE;
    }
    if (run.has_moved) continue;
    fprintf(stderr, "block (%u, %u, %u): its threads wait at different barriers\n", blockIdx.x, blockIdx.y,
            blockIdx.z);
    abort();
  }
}

cudaError_t host_run(const cudaLaunchConfig_t &config, const std::function<void()> &kernel) {
  if (!run.stacks) {
    void *stacks = mmap(NULL, (size_t)THREADS * STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) return cudaErrorMemoryAllocation;
    run.stacks = static_cast<char *>(stacks);
  }
  run.kernel = &kernel;
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  run.threads = blockDim.x * blockDim.y * blockDim.z;
  for (unsigned z = 0; z < gridDim.z; z++)
    for (unsigned y = 0; y < gridDim.y; y++)
      for (unsigned x = 0; x < gridDim.x; x++) {
        blockIdx = {x, y, z};
        run_block();
      }
  return cudaSuccess;
}

/* Threads of a block as fibers, which run until they wait for the others. */
#include <cuda_runtime.h>

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

/* Of values that lanes give each other there are two sets, used in turn: who writes to one again has met the
 * others since, and they have read it. */
typedef struct {
  meeting_t meeting;
  uint64_t values[2][WARP_LANES];
  unsigned ballot, ballot_done;
} warp_t;

/* A place to go on at: __builtin_setjmp's. */
typedef void *place_t[5];

/* A fiber is begun once and runs its thread of each block from then on. */
typedef struct {
  bool is_begun, is_done; /* once at all; with this block */
  const meeting_t *waits; /* NULL: for nothing */
  uint64_t generation;    /* of the meeting that it waits for */
  place_t place;
} fiber_t;

static struct {
  const std::function<void()> *kernel;
  unsigned threads, current;
  fiber_t fibers[THREADS];
  place_t scheduler;
  ucontext_t start, back;
  char *stacks;
  meeting_t block;
  int any, any_done;
  warp_t warps[THREADS / WARP_LANES];
  bool has_moved;
} run;

/* Other fibers run before such a function returns: nothing is to be concluded from what it does itself, of
 * registers least. */
#ifdef __clang__
#define SWITCHES __attribute__((noinline))
#else
#define SWITCHES __attribute__((noipa))
#endif

SWITCHES __attribute__((noreturn)) static void go_on(place_t place) {
  __builtin_longjmp(place, 1);
}

SWITCHES static void yield() {
  if (__builtin_setjmp(run.fibers[run.current].place) == 0) go_on(run.scheduler);
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
  fiber_t *fiber = &run.fibers[run.current];
  fiber->waits = meeting;
  fiber->generation = generation;
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
  uint64_t *values = warp->values[warp->meeting.generation % 2];
  values[host_lane()] = value;
  meet(&warp->meeting, [] {});
  return values[from % WARP_LANES];
}

static void run_thread() {
  (*run.kernel)();
  run.fibers[run.current].is_done = true;
  run.has_moved = true;
  meeting_t *meetings[] = {&run.block, &warp_of_thread()->meeting};
  for (meeting_t *meeting : meetings) {
    meeting->members--;
    (void)meeting_ends(meeting);
  }
}

static void fiber_main() {
  for (;;) {
    run_thread();
    yield();
  }
}

SWITCHES static void fiber_begin(unsigned thread) {
  run.fibers[thread].is_begun = true;
  getcontext(&run.start);
  run.start.uc_stack.ss_sp = run.stacks + (size_t)thread * STACK_BYTES;
  run.start.uc_stack.ss_size = STACK_BYTES;
  run.start.uc_link = &run.back;
  makecontext(&run.start, fiber_main, 0);
  setcontext(&run.start);
}

SWITCHES static void fiber_resume(unsigned thread) {
  run.current = thread;
  threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y};
  if (__builtin_setjmp(run.scheduler) != 0) return;
  if (run.fibers[thread].is_begun) go_on(run.fibers[thread].place);
  fiber_begin(thread);
}

static bool fiber_can_go_on(const fiber_t *fiber) {
  return !fiber->is_done && !(fiber->waits && fiber->waits->generation == fiber->generation);
}

static void run_block() {
  run.block = {run.threads, 0, 0};
  run.any = 0;
  for (unsigned t = 0; t < run.threads; t++) {
    run.fibers[t].is_done = false;
    run.fibers[t].waits = NULL;
    if (t % WARP_LANES == 0) run.warps[t / WARP_LANES] = {};
    run.warps[t / WARP_LANES].meeting.members++;
  }
  for (unsigned done = 0; done < run.threads;) {
    done = 0;
    run.has_moved = false;
    for (unsigned t = 0; t < run.threads; t++) {
      if (fiber_can_go_on(&run.fibers[t])) fiber_resume(t);
      done += run.fibers[t].is_done;
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

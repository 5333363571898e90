/* The device's own clock for regions of the run: an event at each change of region. The same changes are
 * ranges for NVIDIA's profilers. */
#include "cuda/cuda_device.h"

extern "C" {
#include "perf/perf.h"
}

#include <nvtx3/nvToolsExt.h>

enum { MARKS = 1024 };

/* Mark m is at m % MARKS: from it on the device works for its region. Marks begin .. end - 1 are not counted
 * yet but for the last, which is open. */
struct clock_t_ {
  cudaEvent_t event[MARKS];
  int region[MARKS];
  int64_t begin, end;
  double seconds[REGION_COUNT];
};

/* Counts the time between mark BEGIN and the next one, which has been reached. */
static void clock_count_one(clock_t_ *clock) {
  int first = (int)(clock->begin % MARKS), next = (int)((clock->begin + 1) % MARKS);
  float milliseconds = 0.0f;
  if (cudaEventElapsedTime(&milliseconds, clock->event[first], clock->event[next]) == cudaSuccess)
    clock->seconds[clock->region[first]] += 1e-3 * (double)milliseconds;
  else
    (void)cudaGetLastError();
  clock->begin++;
}

/* Counts all up to the last mark, waiting for it. */
static void clock_count(device_t *device) {
  clock_t_ *clock = cuda_state(device)->clock;
  if (clock->end == 0 || cuda_wait(device, clock->event[(clock->end - 1) % MARKS]) != STATUS_OK) {
    error_clear(); /* the next operation meets what is wrong, and can say so */
    clock->begin = clock->end > 0 ? clock->end - 1 : 0;
    return;
  }
  while (clock->begin + 1 < clock->end)
    clock_count_one(clock);
}

static void clock_mark(device_t *device, int region) {
  clock_t_ *clock = cuda_state(device)->clock;
  if (clock->end - clock->begin == MARKS) clock_count(device);
  int place = (int)(clock->end % MARKS);
  clock->region[place] = region;
  if (cudaEventRecord(clock->event[place], cuda_state(device)->compute.raw) != cudaSuccess)
    (void)cudaGetLastError();
  clock->end++;
}

static void cuda_region_begin(device_t *device, int region) {
  if (cuda_state(device)->capturing) return;
  if (cuda_state(device)->clock->end > 0) (void)nvtxRangePop();
  (void)nvtxRangePushA(perf_region_name((region_t)region));
  clock_mark(device, region);
}

static void cuda_region_seconds(device_t *device, double *seconds) {
  clock_t_ *clock = cuda_state(device)->clock;
  if (clock->end > 0) clock_mark(device, clock->region[(clock->end - 1) % MARKS]);
  clock_count(device);
  for (int r = 0; r < REGION_COUNT; r++)
    seconds[r] = clock->seconds[r];
}

status_t cuda_fill_clock(device_t *device) {
  cuda_state_t *state = cuda_state(device);
  TRY(memory_alloc(&state->clock, ARENA_OTHER, 1, sizeof *state->clock));
  for (int i = 0; i < MARKS; i++)
    TRY_CUDA(cudaEventCreate(&state->clock->event[i]));
  device->region_begin = cuda_region_begin;
  device->region_seconds = cuda_region_seconds;
  return STATUS_OK;
}

void cuda_free_clock(device_t *device) {
  clock_t_ *clock = cuda_state(device)->clock;
  for (int i = 0; clock && i < MARKS; i++)
    if (clock->event[i]) (void)cudaEventDestroy(clock->event[i]);
  memory_free(clock);
}

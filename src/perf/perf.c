#define _GNU_SOURCE
#include "perf/perf.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_MAX = 64 };

static const char *const region_names[REGION_COUNT] = {
    [REGION_OTHER] = "other",
    [REGION_SETUP] = "set-up",
    [REGION_DATA_WAIT] = "data wait",
    [REGION_IMAGE_DECODE] = "image decode",
    [REGION_EXCHANGE] = "exchange",
    [REGION_TOWER] = "tower",
    [REGION_PREFILL] = "prefill",
    [REGION_DECODE] = "decode",
    [REGION_QUEUE_WAIT] = "queue wait",
    [REGION_POLICY] = "policy",
    [REGION_REFERENCE] = "reference",
    [REGION_VALUE] = "value",
    [REGION_REWARD] = "reward",
    [REGION_FORWARD] = "forward",
    [REGION_BACKWARD] = "backward",
    [REGION_REDUCE] = "reduce",
    [REGION_OPTIMISER] = "optimiser",
    [REGION_CHECKPOINT] = "checkpoint",
    [REGION_ROLLOUT_WRITE] = "rollout write",
    [REGION_EVALUATE] = "evaluate",
    [REGION_IMBALANCE] = "imbalance",
};

static const char *const collective_names[COLLECTIVE_COUNT] = {
    [COLLECTIVE_BARRIER] = "barrier",      [COLLECTIVE_BROADCAST] = "broadcast",
    [COLLECTIVE_ALLREDUCE] = "all-reduce", [COLLECTIVE_REDUCE_SCATTER] = "reduce-scatter",
    [COLLECTIVE_ALLGATHER] = "all-gather", [COLLECTIVE_GATHER] = "gather",
    [COLLECTIVE_EXCHANGE] = "exchange",    [COLLECTIVE_AGREEMENT] = "agreement",
    [COLLECTIVE_FETCH] = "fetch",          [COLLECTIVE_VOTE] = "vote",
};

static const char *const traffic_names[TRAFFIC_COUNT] = {
    [TRAFFIC_WORLD] = "world", [TRAFFIC_DP] = "dp", [TRAFFIC_TP] = "tp"};

/* Main thread: a stack of open regions; the time since MARK belongs to the innermost one. The stack's bottom
 * is REGION_OTHER. */
static struct {
  perf_counter_t counters[REGION_COUNT];
  perf_collective_t collectives[TRAFFIC_COUNT][COLLECTIVE_COUNT];
  region_t stack[DEPTH_MAX];
  double begins[DEPTH_MAX]; /* when each of the stack was entered */
  int depth;
  int deeper;         /* regions entered when the stack was full: their work goes to its top */
  double mark;        /* 0 until the clock starts */
  perf_clock_t clock; /* whose times count; begin NULL: ours */
  double clock_seconds[REGION_COUNT]; /* its times that are in the counters already */
} perf;

/* Helper threads, and who is told of regions that end. */
static struct {
  pthread_mutex_t mutex;
  perf_counter_t counters[REGION_COUNT];
  perf_observer_t observer;
  void *context;
} helpers = {.mutex = PTHREAD_MUTEX_INITIALIZER};

double perf_now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

const char *perf_region_name(region_t region) {
  return region < REGION_COUNT ? region_names[region] : "unknown";
}

const char *perf_collective_name(collective_t collective) {
  return collective < COLLECTIVE_COUNT ? collective_names[collective] : "unknown";
}

const char *perf_traffic_name(traffic_t traffic) {
  return traffic < TRAFFIC_COUNT ? traffic_names[traffic] : "unknown";
}

region_t perf_region(void) {
  return perf.depth > 0 ? perf.stack[perf.depth - 1] : REGION_OTHER;
}

/* Gives the time up to now to the innermost region. */
static void perf_charge(void) {
  double now = perf_now();
  if (perf.mark > 0 && !perf.clock.begin) perf.counters[perf_region()].seconds += now - perf.mark;
  if (hardware_count() > 0) hardware_take(perf.counters[perf_region()].hardware);
  perf.mark = now;
}

static void perf_tell_clock(void) {
  if (perf.clock.begin) perf.clock.begin(perf.clock.context, perf_region());
}

/* What the clock in use has counted since it was read last. */
static void perf_read_clock(bool counts) {
  double seconds[REGION_COUNT];
  if (!perf.clock.begin) return;
  perf.clock.seconds(perf.clock.context, seconds);
  for (int i = 0; i < REGION_COUNT; i++) {
    if (counts) perf.counters[i].seconds += seconds[i] - perf.clock_seconds[i];
    perf.clock_seconds[i] = seconds[i];
  }
}

void perf_clock_use(const perf_clock_t *clock) {
  perf_charge();
  perf_read_clock(true);
  perf.clock = *clock;
  perf_read_clock(false);
  perf_tell_clock();
}

void perf_clock_remove(const void *context) {
  if (!perf.clock.begin || perf.clock.context != context) return;
  perf_charge();
  perf_read_clock(true);
  perf.clock = (perf_clock_t){0};
}

void perf_begin(region_t region) {
  perf_charge();
  perf.counters[region].count++;
  if (perf.depth == DEPTH_MAX) {
    perf.deeper++;
    return;
  }
  perf.begins[perf.depth] = perf.mark;
  perf.stack[perf.depth++] = region;
  perf_tell_clock();
}

/* Whether REGION is open at all. */
static int is_open(region_t region) {
  for (int i = 0; i < perf.depth; i++)
    if (perf.stack[i] == region) return 1;
  return 0;
}

/* Only the main thread changes the observer, so that it may look at it without the lock. */
static void perf_tell_of_main(const perf_event_t *event) {
  pthread_mutex_lock(&helpers.mutex);
  helpers.observer(helpers.context, event);
  pthread_mutex_unlock(&helpers.mutex);
}

void perf_end(region_t region) {
  perf_charge();
  if (perf.deeper > 0) {
    perf.deeper--;
    return;
  }
  /* An early return on an error leaves inner regions open: they end with the one around them. */
  if (!is_open(region)) return;
  region_t left;
  do {
    left = perf.stack[--perf.depth];
    if (helpers.observer)
      perf_tell_of_main(&(perf_event_t){.region = left, .begin = perf.begins[perf.depth], .end = perf.mark});
  } while (left != region);
  perf_tell_clock();
}

void perf_flops(double flops) {
  perf.counters[perf_region()].flops += flops;
}

void perf_bytes(double bytes) {
  perf.counters[perf_region()].bytes += bytes;
}

void perf_comm(double bytes, double seconds) {
  perf_counter_t *counter = &perf.counters[perf_region()];
  counter->comm_bytes += bytes;
  counter->comm_seconds += seconds;
}

void perf_comm_since(const char *call, double bytes, double begin) {
  double now = perf_now();
  perf_comm(bytes, now - begin);
  if (helpers.observer)
    perf_tell_of_main(&(perf_event_t){
        .kind = PERF_COLLECTIVE, .region = perf_region(), .name = call, .begin = begin, .end = now});
}

bool perf_observed(void) {
  return helpers.observer != NULL;
}

void perf_operation(const char *name, double begin) {
  perf_tell_of_main(&(perf_event_t){
      .kind = PERF_OPERATION, .region = perf_region(), .name = name, .begin = begin, .end = perf_now()});
}

void perf_copied(double bytes) {
  perf.counters[perf_region()].copied_bytes += bytes;
}

void perf_tokens(double tokens) {
  perf.counters[perf_region()].tokens += tokens;
}

void perf_collective(traffic_t traffic, collective_t collective, double calls, double bytes, double seconds) {
  perf_collective_t *counter = &perf.collectives[traffic][collective];
  counter->calls += calls;
  counter->bytes += bytes;
  counter->seconds += seconds;
}

void perf_background(double seconds, double exposed) {
  perf_counter_t *counter = &perf.counters[perf_region()];
  counter->background_seconds += seconds;
  counter->exposed_seconds += exposed;
}

void perf_thread(region_t region, double seconds, double bytes) {
  pthread_mutex_lock(&helpers.mutex);
  helpers.counters[region].count++;
  helpers.counters[region].thread_seconds += seconds;
  helpers.counters[region].bytes += bytes;
  if (helpers.observer) {
    double now = perf_now();
    const perf_event_t event = {
        .region = region, .begin = now - seconds, .end = now, .thread = (int64_t)gettid()};
    helpers.observer(helpers.context, &event);
  }
  pthread_mutex_unlock(&helpers.mutex);
}

void perf_observe(perf_observer_t observer, void *context) {
  pthread_mutex_lock(&helpers.mutex);
  helpers.observer = observer;
  helpers.context = context;
  pthread_mutex_unlock(&helpers.mutex);
}

void perf_snapshot(perf_counter_t *counters) {
  perf_charge();
  perf_read_clock(true);
  memcpy(counters, perf.counters, sizeof perf.counters);
  pthread_mutex_lock(&helpers.mutex);
  for (int i = 0; i < REGION_COUNT; i++) {
    counters[i].count += helpers.counters[i].count;
    counters[i].thread_seconds += helpers.counters[i].thread_seconds;
    counters[i].bytes += helpers.counters[i].bytes;
  }
  pthread_mutex_unlock(&helpers.mutex);
}

void perf_collectives(perf_collective_t *counters) {
  memcpy(counters, perf.collectives, sizeof perf.collectives);
}

void perf_reset(void) {
  pthread_mutex_lock(&helpers.mutex);
  memset(helpers.counters, 0, sizeof helpers.counters);
  pthread_mutex_unlock(&helpers.mutex);
  perf_read_clock(false);
  memset(perf.counters, 0, sizeof perf.counters);
  memset(perf.collectives, 0, sizeof perf.collectives);
  perf.mark = perf_now();
}

/* Named regions with time, FLOPs, bytes moved, bytes communicated and tokens; always on. The counters are one
 * of the two globals of the program. Reports over ranks are made by perf/report.h from gathered snapshots. */
#ifndef PERF_PERF_H
#define PERF_PERF_H

#include "perf/hardware.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum {
  REGION_OTHER, /* what no region claims */
  REGION_SETUP,
  REGION_DATA_WAIT,
  REGION_IMAGE_DECODE,
  REGION_EXCHANGE,
  REGION_TOWER,
  REGION_PREFILL,
  REGION_DECODE,
  REGION_QUEUE_WAIT,
  REGION_POLICY, /* policy's teacher-forced forward before the update */
  REGION_REFERENCE,
  REGION_VALUE,
  REGION_REWARD,
  REGION_FORWARD,
  REGION_BACKWARD,
  REGION_REDUCE, /* gradients over dp */
  REGION_OPTIMISER,
  REGION_CHECKPOINT,
  REGION_ROLLOUT_WRITE,
  REGION_EVALUATE,
  REGION_IMBALANCE, /* waiting for other ranks at a step's end */
  REGION_COUNT
} region_t;

typedef struct {
  uint64_t count;
  double seconds;        /* of the main thread, exclusive of inner regions */
  double thread_seconds; /* of helper threads, beside the main thread */
  double flops;
  double bytes;      /* moved by operations: each operand read or written once (tensor/op_cost.h) */
  double comm_bytes; /* sent by this rank, in the collectives called within the region */
  double comm_seconds;
  double copied_bytes;       /* between the host and a device with memory of its own */
  double background_seconds; /* in which collectives that run in the background were under way */
  double exposed_seconds; /* of these, what the main thread spent on starting, advancing and awaiting them */
  double tokens;
  double hardware[HARDWARE_MOST]; /* events (perf/hardware.h), where they are counted */
} perf_counter_t;

/* Kinds of traffic between ranks. An agreement is what ranks do before they go on together (comm_agree,
 * comm_any); fetch and vote go at each group's own pace (parallel/queue.h, parallel/stop_vote.h). */
typedef enum {
  COLLECTIVE_BARRIER,
  COLLECTIVE_BROADCAST,
  COLLECTIVE_ALLREDUCE,
  COLLECTIVE_REDUCE_SCATTER,
  COLLECTIVE_ALLGATHER,
  COLLECTIVE_GATHER,
  COLLECTIVE_EXCHANGE,
  COLLECTIVE_AGREEMENT,
  COLLECTIVE_FETCH,
  COLLECTIVE_VOTE,
  COLLECTIVE_COUNT
} collective_t;

/* Among which ranks: all of them or those of a node, groups that share the samples, ranks that share a model.
 */
typedef enum { TRAFFIC_WORLD, TRAFFIC_DP, TRAFFIC_TP, TRAFFIC_COUNT } traffic_t;

typedef struct {
  double calls;
  double bytes;   /* sent by this rank, as comm_bytes counts them */
  double seconds; /* of the main thread */
} perf_collective_t;

/* Name in reports ("data wait"). */
const char *perf_region_name(region_t region);
const char *perf_collective_name(collective_t collective); /* "reduce-scatter" */
const char *perf_traffic_name(traffic_t traffic);          /* "dp" */

/* Enters / leaves a region of the main thread. Regions nest; time goes to the innermost one. Leaving a region
 * leaves those that an error kept open inside it. */
void perf_begin(region_t region);
void perf_end(region_t region);

/* The innermost open region (REGION_OTHER if none). */
region_t perf_region(void);

/* Adds to the innermost region. Main thread only. */
void perf_flops(double flops);
void perf_bytes(double bytes);
void perf_comm(double bytes, double seconds);
void perf_copied(double bytes);
void perf_tokens(double tokens);
/* The same traffic once more, by its kind and whatever the region: CALLS is 0 for a wait that ends a call. */
void perf_collective(traffic_t traffic, collective_t collective, double calls, double bytes, double seconds);
/* Collectives in the background have been under way for SECONDS without a gap, EXPOSED of which the main
 * thread gave to them: the rest was hidden behind its own work. */
void perf_background(double seconds, double exposed);

/* The same of a collective that began at BEGIN (perf_now()) and ends now; observers hear of it as CALL, a
 * string literal. */
void perf_comm_since(const char *call, double bytes, double begin);
/* Whether somebody observes: then perf_operation is worth calling, when operation NAME, a string literal,
 * that began at BEGIN is done, or has been asked of a device that works behind the host. Main thread only. */
bool perf_observed(void);
void perf_operation(const char *name, double begin);

/* Adds the work of a helper thread (image decoding) to REGION. Thread-safe. */
void perf_thread(region_t region, double seconds, double bytes);

/* A stretch of time that a region was open, inner regions included, or that an operation or a collective
 * within it took; times of perf_now(). THREAD: 0 is the main thread, helper threads have the system's
 * numbers. */
typedef enum { PERF_REGION, PERF_OPERATION, PERF_COLLECTIVE } perf_kind_t;
typedef struct {
  perf_kind_t kind;
  region_t region;
  const char *name; /* of an operation or a collective; NULL: the region's */
  double begin, end;
  int64_t thread;
} perf_event_t;

/* From now on OBSERVER is told of every stretch when it ends, by one thread at a time; NULL ends it. It must
 * not call this header's functions. Main thread only. */
typedef void (*perf_observer_t)(void *context, const perf_event_t *event);
void perf_observe(perf_observer_t observer, void *context);

/* A clock that tells how long the regions of the main thread last, in place of this header's own: that of a
 * device which works behind the host. BEGIN: from now on the innermost region is REGION. SECONDS fills in
 * what each of REGION_COUNT has got so far. Both may not call this header's functions. */
typedef struct {
  void (*begin)(void *context, region_t region);
  void (*seconds)(void *context, double *seconds);
  void *context;
} perf_clock_t;
/* Main thread only. CLOCK's struct is copied; what was counted before stays. */
void perf_clock_use(const perf_clock_t *clock);
/* The own clock again, where CONTEXT's was in use. */
void perf_clock_remove(const void *context);

/* Copies the counters; time of open regions up to now included. COUNTERS has REGION_COUNT elements. */
void perf_snapshot(perf_counter_t *counters);

/* Copies what perf_collective has counted. COUNTERS (TRAFFIC_COUNT, COLLECTIVE_COUNT). */
void perf_collectives(perf_collective_t *counters);

/* Sets all counters to zero and starts the clock. */
void perf_reset(void);

/* Seconds of a monotonic clock. */
double perf_now(void);

#endif

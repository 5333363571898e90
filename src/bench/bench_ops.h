/* Time of a device's operations, each by itself. */
#ifndef TRAIN_BENCH_OPS_H
#define TRAIN_BENCH_OPS_H

#include "tensor/event.h"
#include "tensor/ops.h"

/* Operations that are reported together. */
typedef enum {
  TIMED_QKV, /* activations times weights, with adapters, by what they are for */
  TIMED_O,
  TIMED_GATE_UP,
  TIMED_DOWN,
  TIMED_HEAD,
  TIMED_LINEAR,
  TIMED_QKV_BACKWARD, /* gradients of both */
  TIMED_O_BACKWARD,
  TIMED_GATE_UP_BACKWARD,
  TIMED_DOWN_BACKWARD,
  TIMED_HEAD_BACKWARD,
  TIMED_LINEAR_BACKWARD,
  TIMED_ATTENTION,
  TIMED_ATTENTION_BACKWARD,
  TIMED_ATTENTION_PAGED,
  TIMED_VOCAB, /* softmax and sampling over the vocabulary */
  TIMED_NORM,
  TIMED_ACTIVATION,
  TIMED_ROTARY, /* and writing to the cache */
  TIMED_ROWS,   /* embedding, gather, scatter, sums over rows */
  TIMED_ADAMW,
  TIMED_COPY, /* copies, fills, sums of whole arrays */
  TIMED_COUNT
} timed_t;

/* Name in reports ("linear, down"). */
const char *timed_name(timed_t timed);

typedef struct {
  int64_t calls;
  double seconds, flops, bytes; /* tensor/op_cost.h */
} op_time_t;

/* What tells one linear operation from another: this rank's sizes. */
typedef struct {
  int64_t hidden, mlp, vocab;
} op_timer_sizes_t;

/* Operations whose times are not known yet: so many does a device that works behind the host have to do. */
enum { TIMER_PLACES = 512 };

/* Must stay where it is between op_timer_start and op_timer_stop. */
typedef struct {
  device_watcher_t watcher; /* first, so that it leads here */
  device_t *device;
  op_timer_sizes_t sizes;
  op_time_t times[TIMED_COUNT];
  int64_t count; /* of operations; number i is at i % TIMER_PLACES */
  struct {
    timed_t timed;
    device_event_t *begin, *end;
  } places[TIMER_PLACES];
} op_timer_t;

/* From now on DEVICE's operations are measured one by one, by events before and behind each. Times start at
 * zero. End it with op_timer_stop and op_timer_free, also where it failed. Local. */
status_t op_timer_start(device_t *device, const op_timer_sizes_t *sizes, op_timer_t *timer);
/* No longer; waits for the last ones' times. Local. */
status_t op_timer_stop(op_timer_t *timer);
void op_timer_free(op_timer_t *timer);

#endif

/* Time of a device's operations, each by itself. */
#ifndef TRAIN_BENCH_OPS_H
#define TRAIN_BENCH_OPS_H

#include "tensor/ops.h"

/* Operations that are reported together. */
typedef enum {
  TIMED_LINEAR,          /* activations times weights, with adapters */
  TIMED_LINEAR_BACKWARD, /* gradients of both */
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

/* Name in reports ("gemm forward"). */
const char *timed_name(timed_t timed);

typedef struct {
  int64_t calls;
  double seconds, flops; /* flops 0 where they are not worth counting */
} op_time_t;

/* Must stay where it is between op_timer_start and op_timer_stop. */
typedef struct {
  device_watcher_t watcher; /* first, so that it leads here */
  op_time_t times[TIMED_COUNT];
} op_timer_t;

/* From now on DEVICE's operations are measured one by one: each waits for the one before, which slows a
 * device that works while the host goes on. Times start at zero. Local. */
void op_timer_start(device_t *device, op_timer_t *timer);
void op_timer_stop(device_t *device);

#endif

/* What the cpu device keeps, and how its operations share work among threads. */
#ifndef TENSOR_CPU_STATE_H
#define TENSOR_CPU_STATE_H

#include "tensor/cpu/kernels.h"
#include "tensor/cpu/pool.h"

enum { CPU_ROPE_TABLES = 8 };

/* Cosines and sines of positions 0 .. positions-1, kept between calls. */
typedef struct {
  double base;
  rope_scaling_t scaling;
  int32_t head_size;
  int64_t positions;
  float *values; /* (positions, D) */
} rope_table_t;

typedef struct {
  int threads;
  pool_t *pool;
  kernels_t kernels;
  ops_t ops;
  float
      *scratch; /* (threads, scratch_floats): each thread's own, grows to what the largest operation needs */
  int64_t scratch_floats;
  float *shared; /* for partial results of all threads; grows likewise */
  int64_t shared_bytes;
  rope_table_t rope[CPU_ROPE_TABLES];
  int rope_next; /* the table that is replaced next when all are taken */
} cpu_state_t;

static inline cpu_state_t *cpu_state(const device_t *device) {
  return device->state;
}

/* Asks the system for huge pages under a large block: only advice, without them everything works a little
 * slower. */
void cpu_advise_huge(void *pointer, size_t bytes);
/* Makes sure that each thread has FLOATS of scratch. Errors: STATUS_MEMORY. */
status_t cpu_scratch(cpu_state_t *state, int64_t floats);
/* *OUT gets BYTES of memory that all threads may use until the next call of this function. Errors:
 * STATUS_MEMORY. */
status_t cpu_shared(cpu_state_t *state, int64_t bytes, void *out);

/* Thread's scratch; NULL before the first cpu_scratch. */
float *cpu_scratch_of(const cpu_state_t *state, int thread);

/* Runs KERNEL on items 0 .. n-1 of OP: in about equal runs of multiples of GRAIN items, on as many threads as
 * WORK, the operation's cost in units of about a nanosecond of one thread, is worth. */
void cpu_for(cpu_state_t *state, range_kernel_t kernel, const void *op, int64_t n, int64_t grain,
             double work);
/* The same for items of unequal cost: item by item to whoever is free, tiny ones together. */
void cpu_for_each(cpu_state_t *state, range_kernel_t kernel, const void *op, int64_t n, double work);
/* Threads that WORK is worth, at least 1; into how many shares to cut it for THREADS, at most MOST. */
int cpu_threads(const cpu_state_t *state, double work);
int64_t cpu_shares(double work, int threads, int64_t most);

/* The device's list_work: tasks of attention (attention_task_t). */
int64_t cpu_list_work(device_t *device, const sequences_t *sequences, int32_t *list);

/* Each file of operations adds its own to OPS. */
void cpu_fill_gemm(ops_t *ops);
void cpu_fill_norm(ops_t *ops);
void cpu_fill_elementwise(ops_t *ops);
void cpu_fill_rows(ops_t *ops);
void cpu_fill_attention(ops_t *ops);
void cpu_fill_decode(ops_t *ops);
void cpu_fill_vocab(ops_t *ops);
void cpu_fill_loss(ops_t *ops);

#endif

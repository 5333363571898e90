/* A device: memory, a stream, collectives and the op table. Model code is written once against this header
 * and never asks where it runs. Device memory has types of its own that cannot be dereferenced: host and
 * device exchange data only by device_upload and device_download. */
#ifndef TENSOR_DEVICE_H
#define TENSOR_DEVICE_H

#include "base/memory.h"
#include "base/status.h"
#include "parallel/comm.h"
#include "parallel/cores.h"
#include "tensor/dtype.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct device device_t;
typedef struct device_real real_t; /* device memory of the compute type: weights, activations */
typedef struct device_wide
    wide_t; /* device memory of the accumulation type: gradients, statistics, optimiser */
typedef struct device_index index_t; /* device memory of 32-bit integers */

struct ops; /* tensor/ops.h */

/* Sees every operation of a device before and after it is run: timers, counters, checks. */
typedef struct device_watcher device_watcher_t;
struct device_watcher {
  /* Instead of DEVICE's own run function, which it calls itself. */
  status_t (*run)(device_watcher_t *watcher, device_t *device, int number, const void *arguments);
};

/* Work that a device may replay: device_graph. */
typedef status_t (*device_body_t)(void *context);

/* What every device provides. Fields are set by the device's own create function; others only read them. */
struct device {
  const char *name;          /* "cpu", "plain", "cuda" */
  const char *detail;        /* SIMD level, GPU model */
  dtype_t real_type;         /* F32, F64 (plain), BF16 */
  dtype_t wide_type;         /* F32, F64 (plain) */
  size_t alignment;          /* bytes, of buffers that share a block; 0: none do (a device that checks) */
  const struct ops *ops;     /* a missing operation is NULL; of a device whose run is ops_run */
  device_watcher_t *watcher; /* NULL, or who sees every operation; set and reset by its owner */
  bool uncounted;            /* operations are done a second time, which is no work; set and reset likewise */
  void *state;               /* the device's own */
  struct device_blocks *blocks; /* device.c's own: size and arena of each block; NULL at the start */
  struct device_graphs *graphs; /* device.c's own: what may be replayed; NULL at the start */
  void (*destroy)(device_t *device);
  /* Required functions; call them through the wrappers below. */
  status_t (*run)(device_t *device, int number, const void *arguments); /* an operation: tensor/ops.h */
  status_t (*alloc)(device_t *device, size_t bytes, void **out);
  void (*release)(device_t *device, void *pointer, size_t bytes);
  status_t (*upload)(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                     size_t n);
  status_t (*download)(device_t *device, void *to, dtype_t to_type, const void *from, dtype_t from_type,
                       size_t n);
  status_t (*synchronize)(device_t *device);
  status_t (*allreduce)(device_t *device, comm_t *comm, void *data, dtype_t type, size_t n, comm_op_t op);
  status_t (*allgatherv)(device_t *device, comm_t *comm, const void *mine, void *all, const size_t *counts,
                         dtype_t type);
  status_t (*reduce_begin)(device_t *device, comm_t *comm, void *data, dtype_t type, size_t n, int root,
                           comm_request_t **request);
  status_t (*reduce_end)(device_t *device, comm_request_t *request);
  /* Optional: adds to CORES those that the device's own threads may run on, as the system tells for each. */
  void (*add_cores)(device_t *device, core_set_t *cores);
  /* Optional: CAPTURE runs BODY and keeps what it asks of the device under KEY, in place of what is there;
   * otherwise does again what is kept there. Neither allocates nor waits. */
  status_t (*graph)(device_t *device, uint64_t key, bool capture, device_body_t body, void *context);
  /* Optional: bytes that this rank may still take; without it, host memory is taken. */
  size_t (*free_memory)(device_t *device);
};

void device_free(device_t *device);

/* Runs operation NUMBER (op_number_t) with its arguments: use OP of tensor/ops.h. Counts its FLOPs and bytes
 * (tensor/op_cost.h) in the region of the performance table that is open. Local. */
status_t device_run(device_t *device, int number, const void *arguments);

/* Runs BODY, or has the device do again what the last BODY of this KEY asked of it: on a device that can,
 * after two calls of the key, as long as no memory is got or given back, since addresses are part of it. What
 * BODY does must follow from KEY and from device memory alone, and it neither uploads nor waits. Its FLOPs
 * and bytes are counted each time, as those of the call that was kept. Local, if BODY is. */
status_t device_graph(device_t *device, uint64_t key, device_body_t body, void *context);
/* Whether it can: shapes should repeat then. */
static inline bool device_replays(const device_t *device) {
  return device->graph != NULL;
}

/* Bytes that this rank may still take on DEVICE, where RANKS ranks share the node's memory; 0 where the
 * system does not tell. Local. */
size_t device_free_memory(device_t *device, int ranks);

/* Device memory: N elements of the compute type, accumulation type, 32-bit integers. Contents are undefined
 * (the checking mode of plain poisons them). N = 0 gives NULL. Counted in ARENA. Errors: STATUS_MEMORY.
 * Local. */
status_t real_alloc(device_t *device, arena_t arena, size_t n, real_t **out);
status_t wide_alloc(device_t *device, arena_t arena, size_t n, wide_t **out);
status_t index_alloc(device_t *device, arena_t arena, size_t n, index_t **out);
/* BYTES of device memory, counted in *ARENA (NULL: the caller counts them, memory_account): what real_alloc
 * and workspaces (tensor/workspace.h) are made of. 0 bytes give NULL. Errors: STATUS_MEMORY. Local. */
status_t device_alloc(device_t *device, const arena_t *arena, size_t bytes, void **out);
/* Frees what the functions above gave; NULL is fine. */
void device_release(device_t *device, void *pointer);

/* The element N further on. */
static inline real_t *real_at(const device_t *device, const real_t *base, int64_t n) {
  return (real_t *)((uintptr_t)base + (uintptr_t)(n * (int64_t)dtype_size(device->real_type)));
}
static inline wide_t *wide_at(const device_t *device, const wide_t *base, int64_t n) {
  return (wide_t *)((uintptr_t)base + (uintptr_t)(n * (int64_t)dtype_size(device->wide_type)));
}
static inline index_t *index_at(const index_t *base, int64_t n) {
  return (index_t *)((uintptr_t)base + (uintptr_t)(n * (int64_t)sizeof(int32_t)));
}

/* Copies N elements from host to device on the device's stream; host elements are F32 or F64 (I32 for
 * indices) and are converted. The host memory may be reused at once. Local. */
status_t real_upload(device_t *device, real_t *to, const void *from, dtype_t host_type, size_t n);
status_t wide_upload(device_t *device, wide_t *to, const void *from, dtype_t host_type, size_t n);
status_t index_upload(device_t *device, index_t *to, const int32_t *from, size_t n);
/* Copies N elements from device to host; the host memory holds them after device_synchronize, not before.
 * Local. */
status_t real_download(device_t *device, void *to, dtype_t host_type, const real_t *from, size_t n);
status_t wide_download(device_t *device, void *to, dtype_t host_type, const wide_t *from, size_t n);
status_t index_download(device_t *device, int32_t *to, const index_t *from, size_t n);
/* Waits for all that was asked of the device. Local. */
status_t device_synchronize(device_t *device);

/* Collectives on device memory, in the stream's order. Collective on COMM; see comm.h. */
status_t real_allreduce(device_t *device, comm_t *comm, real_t *data, size_t n, comm_op_t op);
status_t wide_allreduce(device_t *device, comm_t *comm, wide_t *data, size_t n, comm_op_t op);
/* MINE may be its own place inside ALL. COUNTS (comm size) in elements. */
status_t real_allgatherv(device_t *device, comm_t *comm, const real_t *mine, real_t *all,
                         const size_t *counts);
status_t wide_allgatherv(device_t *device, comm_t *comm, const wide_t *mine, wide_t *all,
                         const size_t *counts);
/* Starts summing DATA (n) to ROOT in the background; DATA is not touched until wide_reduce_end. */
status_t wide_reduce_begin(device_t *device, comm_t *comm, wide_t *data, size_t n, int root,
                           comm_request_t **request);
status_t wide_reduce_end(device_t *device, comm_request_t *request);

/* The cores that this rank computes on: of the calling thread and the device's own, as measured. Local. */
void device_cores(device_t *device, core_set_t *cores);

/* Error that names DEVICE and NAME where FUNCTION_IS_NULL: a missing operation is never a slow path in
 * disguise. */
status_t device_require(const device_t *device, const char *name, bool function_is_null);

#endif

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
typedef struct device_half half_t; /* device memory of bf16: weights that are not trained (tensor/weight.h) */
typedef struct device_index index_t; /* device memory of 32-bit integers */

typedef struct device_request
    device_request_t; /* a collective in the background; what it is, the device knows */

/* A communicator as a device sees it: made once (device_comm_create), used by all of its collectives. */
typedef struct device_comm {
  comm_t *host;             /* the same ranks */
  void *own;                /* what the device's comm_create made; NULL where it has none */
  struct device_comm *next; /* device.c's own */
} device_comm_t;

struct ops;       /* tensor/ops.h */
struct sequences; /* tensor/sequences.h */

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
  const char *name;        /* "cpu", "plain", "cuda" */
  const char *detail;      /* SIMD level, GPU model */
  dtype_t real_type;       /* F32, F64 (plain), BF16 */
  dtype_t wide_type;       /* F32, F64 (plain) */
  size_t alignment;        /* bytes, of buffers that share a block; 0: none do (a device that checks) */
  int64_t vocabulary_unit; /* rows of a vocabulary's shard are a multiple of it (padding is never looked at);
                              0 and 1: as many as there are */
  int64_t peak_matrix;     /* rows of square matrices whose product runs at the peak; 0: not for speed */
  int64_t peak_elements;   /* numbers whose copying tells the bandwidth */
  const struct ops *ops;   /* a missing operation is NULL; of a device whose run is ops_run */
  device_watcher_t *watcher; /* NULL, or who sees every operation; set and reset by its owner */
  bool uncounted;            /* operations are done a second time, which is no work; set and reset likewise */
  void *state;               /* the device's own */
  struct device_blocks *blocks; /* device.c's own: size and arena of each block; NULL at the start */
  device_comm_t *comms;         /* device.c's own: the communicators made; NULL at the start */
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
  status_t (*allreduce)(device_t *device, const device_comm_t *comm, void *data, dtype_t type, size_t n,
                        comm_op_t op);
  status_t (*allgatherv)(device_t *device, const device_comm_t *comm, const void *mine, void *all,
                         const size_t *counts, dtype_t type);
  status_t (*reduce_scatter_begin)(device_t *device, const device_comm_t *comm, void *data, dtype_t type,
                                   size_t n, device_request_t **request);
  status_t (*reduce_scatter_end)(device_t *device, device_request_t *request);
  /* Optional: what the device needs for collectives on COMM (collective on it), and its end. Without them all
   * it needs is the host's communicator. */
  status_t (*comm_create)(device_t *device, comm_t *comm, void **own);
  void (*comm_free)(device_t *device, void *own);
  /* Optional, all or none: events (tensor/event.h). A device without them has done what was asked of it,
   * copies included, when each call returns. */
  status_t (*event_create)(device_t *device, void **own);
  void (*event_free)(device_t *device, void *own);
  status_t (*event_record)(device_t *device, void *own);
  status_t (*event_query)(device_t *device, void *own, bool *done);
  status_t (*event_wait)(device_t *device, void *own);
  status_t (*event_seconds)(device_t *device, void *from, void *to, double *seconds);
  /* Optional: the device's own list of attention's work over SEQUENCES, of which offsets_host, heads and what
   * follows from them are there: as many 32-bit integers as it returns, in LIST (host) where that is not
   * NULL. It is put into device memory once, for all layers and both directions. */
  int64_t (*list_work)(device_t *device, const struct sequences *sequences, int32_t *list);
  /* Optional, both or none: a clock of the device's own for regions of the run (perf/perf.h), for a device
   * that works behind the host. region_begin: what is asked of the device from now on belongs to REGION
   * (region_t). region_seconds: how long each of REGION_COUNT has lasted on the device so far; waits for what
   * was asked. */
  void (*region_begin)(device_t *device, int region);
  void (*region_seconds)(device_t *device, double *seconds);
  /* Optional: adds to CORES those that the device's own threads may run on, as the system tells for each. */
  void (*add_cores)(device_t *device, core_set_t *cores);
  /* Optional: CAPTURE runs BODY and keeps what it asks of the device under KEY, in place of what is there;
   * otherwise does again what is kept there. Neither allocates nor waits. */
  status_t (*graph)(device_t *device, uint64_t key, bool capture, device_body_t body, void *context);
  /* Optional: bytes that this rank may still take; without it, host memory is taken. */
  size_t (*free_memory)(device_t *device);
  /* Goes with it: bytes that the device has, for all ranks that share it. */
  size_t (*total_memory)(device_t *device);
  /* Optional: joules that this rank's share of the device has taken since some moment, by its own counter; 0
   * where that is not known. */
  double (*energy)(device_t *device);
};

void device_free(device_t *device);

/* From now on regions are timed by DEVICE's clock, where it has one, until it is freed. Main thread. Local.
 */
void device_time_regions(device_t *device);

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

/* Whether it works behind the host: what was asked of it may not have been done when the call returns
 * (tensor/event.h). The host asks for more then before it waits for what it wants to know. */
static inline bool device_works_behind(const device_t *device) {
  return device->event_record != NULL;
}

/* Bytes that this rank may still take on DEVICE, where RANKS ranks share the node's memory; 0 where the
 * system does not tell. Local. */
size_t device_free_memory(device_t *device, int ranks);
/* Says that memory was put to another use without having been given back: what device_graph has captured is
 * forgotten. Local. */
void device_memory_moved(device_t *device);
/* Joules that this rank's share of DEVICE has taken since some moment, to be subtracted; 0 where it does not
 * tell. Local. */
double device_energy(device_t *device);
/* Joules since device_energy told BEFORE; 0 where that is not known. Local. */
double device_energy_since(device_t *device, double before);
/* Bytes that DEVICE has in all, shared or not, or the node for its ranks; 0 where the system does not tell.
 * Local. */
size_t device_total_memory(device_t *device);

/* Device memory: N elements of the compute type, accumulation type, 32-bit integers. Contents are undefined
 * (the checking mode of plain poisons them). N = 0 gives NULL. Counted in ARENA. Errors: STATUS_MEMORY.
 * Local. */
status_t real_alloc(device_t *device, arena_t arena, size_t n, real_t **out);
status_t wide_alloc(device_t *device, arena_t arena, size_t n, wide_t **out);
status_t index_alloc(device_t *device, arena_t arena, size_t n, index_t **out);
/* BYTES of device memory, counted in *ARENA (NULL: the caller counts them,
 * memory_account_device): what real_alloc
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
static inline half_t *half_at(const half_t *base, int64_t n) {
  return (half_t *)((uintptr_t)base + (uintptr_t)(n * (int64_t)dtype_size(DTYPE_BF16)));
}
static inline index_t *index_at(const index_t *base, int64_t n) {
  return (index_t *)((uintptr_t)base + (uintptr_t)(n * (int64_t)sizeof(int32_t)));
}

/* Copies N elements from host to device on the device's stream; host elements are F32 or F64 (I32 for
 * indices) and are converted. The host memory may be reused at once. Local. */
status_t real_upload(device_t *device, real_t *to, const void *from, dtype_t host_type, size_t n);
status_t wide_upload(device_t *device, wide_t *to, const void *from, dtype_t host_type, size_t n);
status_t index_upload(device_t *device, index_t *to, const int32_t *from, size_t n);
/* The same to bf16, rounded to nearest. */
status_t half_upload(device_t *device, half_t *to, const void *from, dtype_t host_type, size_t n);
/* Copies N elements from device to host; the host memory holds them after device_synchronize, or once an
 * event that was recorded behind the copy is done (tensor/event.h), not before. Local. */
status_t real_download(device_t *device, void *to, dtype_t host_type, const real_t *from, size_t n);
status_t wide_download(device_t *device, void *to, dtype_t host_type, const wide_t *from, size_t n);
status_t half_download(device_t *device, void *to, dtype_t host_type, const half_t *from, size_t n);
status_t index_download(device_t *device, int32_t *to, const index_t *from, size_t n);
/* Waits for all that was asked of the device. Like every wait for a device it is watched
 * (parallel/watchdog.h): a device that hangs ends the run. A device that waits for long may call
 * watchdog_poll meanwhile. Local. */
status_t device_synchronize(device_t *device);

/* Makes COMM known to DEVICE, before the first collective on it, and ends that, before COMM is freed:
 * explicitly, for a device's own communicator may need all ranks to be freed. Collective on COMM. Errors:
 * STATUS_DEVICE. */
status_t device_comm_create(device_t *device, comm_t *comm);
/* COMM NULL, or not known to DEVICE: nothing happens. */
void device_comm_free(device_t *device, comm_t *comm);

/* Collectives on device memory, in the stream's order. Collective on COMM; see comm.h. Errors:
 * STATUS_INTERNAL where DEVICE needs communicators of its own and COMM was not made known to it. */
status_t real_allreduce(device_t *device, comm_t *comm, real_t *data, size_t n, comm_op_t op);
status_t wide_allreduce(device_t *device, comm_t *comm, wide_t *data, size_t n, comm_op_t op);
/* MINE may be its own place inside ALL. COUNTS (comm size) in elements. */
status_t real_allgatherv(device_t *device, comm_t *comm, const real_t *mine, real_t *all,
                         const size_t *counts);
status_t wide_allgatherv(device_t *device, comm_t *comm, const wide_t *mine, wide_t *all,
                         const size_t *counts);
/* Starts summing DATA (comm size * n) in the background: after wide_reduce_scatter_end elements rank * N ..
 * of it are this rank's share of the sum and the others undefined; nothing touches DATA in between. One call,
 * however many ranks. A device that does not go through parallel/comm.h counts perf_comm and perf_background
 * itself. */
status_t wide_reduce_scatter_begin(device_t *device, comm_t *comm, wide_t *data, size_t n,
                                   device_request_t **request);
/* NULL is fine. */
status_t wide_reduce_scatter_end(device_t *device, device_request_t *request);

/* The cores that this rank computes on: of the calling thread and the device's own, as measured. Local. */
void device_cores(device_t *device, core_set_t *cores);

/* Error that names DEVICE and NAME where FUNCTION_IS_NULL: a missing operation is never a slow path in
 * disguise. */
status_t device_require(const device_t *device, const char *name, bool function_is_null);

#endif

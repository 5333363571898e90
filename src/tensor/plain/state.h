/* The state of a plain device, seen by this folder only. */
#ifndef TENSOR_PLAIN_STATE_H
#define TENSOR_PLAIN_STATE_H

#include "tensor/plain/guard.h"
#include "tensor/plain/plain.h"

/* A download that a wait carries out. */
typedef struct plain_download {
  struct plain_download *next;
  uint64_t number; /* downloads are counted from 1 */
  void *to;
  dtype_t to_type, from_type;
  size_t n;
  void *copy; /* the elements as they were when the download's turn came */
} plain_download_t;

/* A reduction under way. */
typedef struct plain_reduction {
  struct plain_reduction *next;
  comm_request_t *request; /* NULL: one rank */
  void *data;
  size_t bytes, place, share; /* of DATA; of this rank's share of the sum: where it begins, and its bytes */
  void *copy;                 /* checking mode: what MPI works on; else NULL, and it works on DATA */
} plain_reduction_t;

/* An event: the newest download before it, and whether it has been asked about since it was recorded. */
typedef struct {
  uint64_t download;
  bool asked;
} plain_event_t;

typedef struct {
  plain_type_t type;
  bool checking;
  guard_t guard;               /* the rest: checking mode only */
  plain_download_t *downloads; /* oldest first */
  uint64_t download_count;     /* so far */
  plain_reduction_t *reductions;
} plain_state_t;

static inline plain_state_t *plain_state(const device_t *device) {
  return device->state;
}

/* Collectives (collective.c). */
status_t plain_allreduce(device_t *device, const device_comm_t *comm, void *data, dtype_t type, size_t n,
                         comm_op_t op);
status_t plain_allgatherv(device_t *device, const device_comm_t *comm, const void *mine, void *all,
                          const size_t *counts, dtype_t type);
status_t plain_reduce_scatter_begin(device_t *device, const device_comm_t *comm, void *data, dtype_t type,
                                    size_t n, device_request_t **request);
status_t plain_reduce_scatter_end(device_t *device, device_request_t *request);

#endif

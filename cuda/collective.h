/* The ways in which collectives on device memory go. Each communicator takes one when it is made
 * (collective.cc); each is a file of functions. */
#ifndef CUDA_COLLECTIVE_H
#define CUDA_COLLECTIVE_H

#include "cuda/cuda_device.h"

struct collective_way_t;
struct nccl_group_t;

/* A communicator of several ranks. */
struct group_t {
  comm_t *host;
  const collective_way_t *way;
  nccl_group_t *nccl; /* of NCCL's way; else NULL */
  group_t *next;
};

/* A sum that was begun: each way adds what it needs. */
struct request_t {
  const group_t *group;
  void *data;
  size_t n; /* numbers of a rank's share */
};

/* All are called by all ranks of GROUP, in the same order. */
struct collective_way_t {
  const char *name;    /* "collectives go NAME" */
  bool is_of_host;     /* the CPU takes part, so that no graph can hold them */
  size_t request_size; /* bytes of what it makes of request_t */
  status_t (*allreduce)(device_t *device, const group_t *group, void *data, dtype_t type, size_t n,
                        comm_op_t op);
  status_t (*allgatherv)(device_t *device, const group_t *group, const void *mine, void *all,
                         const size_t *counts, dtype_t type);
  /* Sums of fp32. After an error of reduce_begin the caller frees REQUEST; reduce_end hands it over to the
   * way, which frees it. */
  status_t (*reduce_begin)(device_t *device, request_t *request);
  status_t (*reduce_end)(device_t *device, request_t *request);
  void (*request_free)(request_t *request);
  void (*release)(device_t *device); /* what the way has kept for later calls */
};

extern const collective_way_t collective_nccl, collective_mpi, collective_host;

/* What a device keeps for its collectives, each part for one file. */
struct nccl_request_t; /* collective_nccl.cc: sums whose times are not counted yet */
struct windows_t;      /* collective_mpi.cc: memory that MPI is given */
struct groups_t {
  group_t *first;
  bool has_failed;
  nccl_request_t *timed; /* the oldest first */
  windows_t *windows;
  float *staging; /* collective_host.cc: (staging_count) */
  size_t staging_count;
};

/* Elements of all of GROUP's ranks, and of those before this one. */
struct gathered_t {
  size_t total, before;
};
static inline gathered_t gathered(const group_t *group, const size_t *counts) {
  gathered_t found = {0, 0};
  for (int r = 0; r < comm_size(group->host); r++) {
    if (r < comm_rank(group->host)) found.before += counts[r];
    found.total += counts[r];
  }
  return found;
}

/* The place BYTES behind DATA. */
static inline char *place_at(void *data, size_t bytes) {
  return static_cast<char *>(data) + bytes;
}

#endif

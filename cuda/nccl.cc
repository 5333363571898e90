#include "cuda/nccl.h"

#ifdef LLAVA_HAS_NCCL

extern "C" {
#include "base/log.h"
#include "parallel/watchdog.h"
}

#include <dlfcn.h>
#include <nccl.h>
#include <stdio.h>

struct nccl_group_t {
  ncclComm_t raw;
  int rank, size;
};

/* The library's functions that are used here, as its header declares them. */
static struct {
  bool is_tried, is_there;
  char version[32];
  decltype(&ncclGetVersion) get_version;
  decltype(&ncclGetErrorString) error_string;
  decltype(&ncclGetLastError) last_error;
  decltype(&ncclGetUniqueId) unique_id;
  decltype(&ncclCommInitRank) init_rank;
  decltype(&ncclCommDestroy) destroy;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclCommGetAsyncError) async_error;
  decltype(&ncclGroupStart) group_start;
  decltype(&ncclGroupEnd) group_end;
  decltype(&ncclAllReduce) all_reduce;
  decltype(&ncclAllGather) all_gather;
  decltype(&ncclBroadcast) broadcast;
  decltype(&ncclReduceScatter) reduce_scatter;
} nccl;

template <class F> static bool find(void *library, const char *name, F *out) {
  *out = reinterpret_cast<F>(dlsym(library, name));
  if (!*out) log_warning("device cuda: NCCL has no '%s'; collectives go through MPI", name);
  return *out != nullptr;
}

static bool find_all(void *library) {
  return find(library, "ncclGetVersion", &nccl.get_version) &&
         find(library, "ncclGetErrorString", &nccl.error_string) &&
         find(library, "ncclGetLastError", &nccl.last_error) &&
         find(library, "ncclGetUniqueId", &nccl.unique_id) &&
         find(library, "ncclCommInitRank", &nccl.init_rank) &&
         find(library, "ncclCommDestroy", &nccl.destroy) && find(library, "ncclCommAbort", &nccl.abort) &&
         find(library, "ncclCommGetAsyncError", &nccl.async_error) &&
         find(library, "ncclGroupStart", &nccl.group_start) &&
         find(library, "ncclGroupEnd", &nccl.group_end) && find(library, "ncclAllReduce", &nccl.all_reduce) &&
         find(library, "ncclAllGather", &nccl.all_gather) &&
         find(library, "ncclBroadcast", &nccl.broadcast) &&
         find(library, "ncclReduceScatter", &nccl.reduce_scatter);
}

bool nccl_is_there(void) {
  if (nccl.is_tried) return nccl.is_there;
  nccl.is_tried = true;
  void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  nccl.is_there = library && find_all(library);
  int version = 0;
  if (nccl.is_there && nccl.get_version(&version) == ncclSuccess)
    snprintf(nccl.version, sizeof nccl.version, "NCCL %d.%d.%d", version / 10000, version / 100 % 100,
             version % 100);
  return nccl.is_there;
}

const char *nccl_version(void) {
  return nccl_is_there() ? nccl.version : "no libnccl.so.2";
}

/* A failed call of the communicator GROUP, which may not be there yet. */
static status_t nccl_status(ncclResult_t result, const nccl_group_t *group, const char *call) {
  if (result == ncclSuccess) return STATUS_OK;
  return error_set(STATUS_COMM, "device 'cuda': NCCL, %s on rank %d of %d: %s (%s)", call,
                   group ? group->rank : -1, group ? group->size : 0, nccl.error_string(result),
                   nccl.last_error(group ? group->raw : nullptr));
}
#define TRY_NCCL(group, call) TRY(nccl_status((call), (group), #call))

/* Enqueues what CALL, named NAME, asks for: the first call of a kind may wait for the other ranks. */
template <class F> static status_code_t watched(nccl_group_t *group, const char *name, F &&call) {
  watchdog_enter(name);
  status_code_t status = nccl_status(call(), group, name);
  watchdog_leave();
  return status;
}

status_t nccl_group_create(comm_t *comm, nccl_group_t **out) {
  SCOPED_MEMORY nccl_group_t *group = nullptr;
  ncclUniqueId id = {};
  *out = nullptr;
  status_code_t status = memory_alloc(&group, ARENA_COMM, 1, sizeof *group);
  if (status == STATUS_OK && comm_rank(comm) == 0)
    status = nccl_status(nccl.unique_id(&id), NULL, "ncclGetUniqueId");
  TRY(comm_agree(comm, status));
  group->rank = comm_rank(comm);
  group->size = comm_size(comm);
  TRY(comm_broadcast(comm, &id, sizeof id, COMM_BYTE, 0));
  status = watched(group, "start of NCCL",
                   [&] { return nccl.init_rank(&group->raw, group->size, id, group->rank); });
  TRY(comm_agree(comm, status));
  memory_hand_over(out, &group);
  return STATUS_OK;
}

void nccl_group_free(nccl_group_t *group, bool abort) {
  if (!group) return;
  if (group->raw) (void)(abort ? nccl.abort(group->raw) : nccl.destroy(group->raw));
  memory_free(group);
}

status_t nccl_group_check(nccl_group_t *group) {
  ncclResult_t found = ncclSuccess;
  if (!group->raw) return STATUS_OK;
  TRY_NCCL(group, nccl.async_error(group->raw, &found));
  if (found == ncclSuccess || found == ncclInProgress) return STATUS_OK;
  status_code_t status = nccl_status(found, group, "a collective that was begun");
  (void)nccl.abort(group->raw);
  group->raw = nullptr;
  return status;
}

static ncclDataType_t type_of(dtype_t type) {
  return type == DTYPE_BF16 ? ncclBfloat16 : type == DTYPE_I32 ? ncclInt32 : ncclFloat32;
}

static ncclRedOp_t op_of(comm_op_t op) {
  return op == COMM_MAX ? ncclMax : op == COMM_MIN ? ncclMin : ncclSum;
}

status_t nccl_allreduce(nccl_group_t *group, cudaStream_t stream, void *data, dtype_t type, size_t n,
                        comm_op_t op) {
  return watched(group, "NCCL's all-reduce", [&] {
    return nccl.all_reduce(data, data, n, type_of(type), op_of(op), group->raw, stream);
  });
}

/* Shares of different sizes: a broadcast from each rank, all at once. */
static ncclResult_t gather_by_broadcasts(nccl_group_t *group, cudaStream_t stream, const void *mine,
                                         void *all, const size_t *counts, dtype_t type) {
  ncclResult_t result = nccl.group_start();
  char *place = static_cast<char *>(all);
  for (int r = 0; result == ncclSuccess && r < group->size; r++) {
    if (counts[r] > 0)
      result = nccl.broadcast(r == group->rank ? mine : place, place, counts[r], type_of(type), r, group->raw,
                              stream);
    place += counts[r] * dtype_size(type);
  }
  ncclResult_t ended = nccl.group_end();
  return result == ncclSuccess ? ended : result;
}

status_t nccl_allgatherv(nccl_group_t *group, cudaStream_t stream, const void *mine, void *all,
                         const size_t *counts, dtype_t type) {
  bool is_even = true;
  for (int r = 1; r < group->size; r++)
    is_even = is_even && counts[r] == counts[0];
  return watched(group, "NCCL's all-gather", [&] {
    return is_even ? nccl.all_gather(mine, all, counts[0], type_of(type), group->raw, stream)
                   : gather_by_broadcasts(group, stream, mine, all, counts, type);
  });
}

status_t nccl_reduce_scatter(nccl_group_t *group, cudaStream_t stream, void *data, dtype_t type, size_t n) {
  char *share = static_cast<char *>(data) + (size_t)group->rank * n * dtype_size(type);
  return watched(group, "NCCL's reduce-scatter", [&] {
    return nccl.reduce_scatter(data, share, n, type_of(type), ncclSum, group->raw, stream);
  });
}

#else

bool nccl_is_there(void) {
  return false;
}

const char *nccl_version(void) {
  return "built without NCCL";
}

/* Nobody calls what follows: there are no groups. */
static status_t nccl_missing(void) {
  return error_set(STATUS_INTERNAL, "device 'cuda': built without NCCL");
}

status_t nccl_group_create(comm_t *, nccl_group_t **) {
  return nccl_missing();
}

void nccl_group_free(nccl_group_t *, bool) {}

status_t nccl_group_check(nccl_group_t *) {
  return nccl_missing();
}

status_t nccl_allreduce(nccl_group_t *, cudaStream_t, void *, dtype_t, size_t, comm_op_t) {
  return nccl_missing();
}

status_t nccl_allgatherv(nccl_group_t *, cudaStream_t, const void *, void *, const size_t *, dtype_t) {
  return nccl_missing();
}

status_t nccl_reduce_scatter(nccl_group_t *, cudaStream_t, void *, dtype_t, size_t) {
  return nccl_missing();
}

#endif

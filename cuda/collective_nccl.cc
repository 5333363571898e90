/* Collectives by NCCL, in the stream's order; their times are the device's. Sums of gradients run beside the
 * operations, in a stream of their own. */
#include "cuda/collective.h"
#include "cuda/nccl.h"

extern "C" {
#include "perf/perf.h"
}

/* AFTER what it sums; BEGUN and DONE in the stream beside the operations', which waits for it from REACHED
 * until PASSED. */
struct nccl_request_t : request_t {
  cudaEvent_t after, begun, done, reached, passed;
  bool is_ended;
  nccl_request_t *next;
};

static status_t by_nccl_allreduce(device_t *device, const group_t *group, void *data, dtype_t type, size_t n,
                                  comm_op_t op) {
  comm_count(group->host, COLLECTIVE_ALLREDUCE, (double)(n * dtype_size(type)), perf_now());
  return nccl_allreduce(group->nccl, cuda_state(device)->compute.raw, data, type, n, op);
}

static status_t by_nccl_allgatherv(device_t *device, const group_t *group, const void *mine, void *all,
                                   const size_t *counts, dtype_t type) {
  const size_t bytes = counts[comm_rank(group->host)] * dtype_size(type);
  comm_count(group->host, COLLECTIVE_ALLGATHER, (double)bytes, perf_now());
  return nccl_allgatherv(group->nccl, cuda_state(device)->compute.raw, mine, all, counts, type);
}

static void by_nccl_request_free(request_t *begun) {
  nccl_request_t *request = static_cast<nccl_request_t *>(begun);
  cudaEvent_t events[] = {request->after, request->begun, request->done, request->reached, request->passed};
  for (cudaEvent_t event : events)
    if (event) (void)cudaEventDestroy(event);
  memory_free(request);
}

/* Counts the times of requests that are over. */
static void requests_count(groups_t *groups) {
  while (groups->timed && groups->timed->is_ended && cudaEventQuery(groups->timed->passed) == cudaSuccess) {
    nccl_request_t *request = groups->timed;
    float busy = 0.0f, exposed = 0.0f;
    if (cudaEventElapsedTime(&busy, request->begun, request->done) == cudaSuccess &&
        cudaEventElapsedTime(&exposed, request->reached, request->passed) == cudaSuccess)
      perf_background(1e-3 * (double)busy, 1e-3 * (double)exposed);
    groups->timed = request->next;
    by_nccl_request_free(request);
  }
  (void)cudaGetLastError(); /* not ready is no error here */
}

static status_t request_events(nccl_request_t *request) {
  cudaEvent_t *events[] = {&request->after, &request->begun, &request->done, &request->reached,
                           &request->passed};
  for (cudaEvent_t *event : events)
    TRY_CUDA(cudaEventCreate(event));
  return STATUS_OK;
}

static status_t by_nccl_reduce_begin(device_t *device, request_t *begun) {
  const cuda_state_t *state = cuda_state(device);
  nccl_request_t *request = static_cast<nccl_request_t *>(begun), **end = &state->groups->timed;
  requests_count(state->groups);
  TRY(request_events(request));
  TRY_CUDA(cudaEventRecord(request->after, state->compute.raw));
  TRY_CUDA(cudaStreamWaitEvent(state->background.raw, request->after, 0));
  TRY_CUDA(cudaEventRecord(request->begun, state->background.raw));
  TRY(nccl_reduce_scatter(request->group->nccl, state->background.raw, request->data, DTYPE_F32, request->n));
  TRY_CUDA(cudaEventRecord(request->done, state->background.raw));
  comm_count(request->group->host, COLLECTIVE_REDUCE_SCATTER,
             (double)((size_t)(comm_size(request->group->host) - 1) * request->n * dtype_size(DTYPE_F32)),
             perf_now());
  while (*end)
    end = &(*end)->next;
  *end = request;
  return STATUS_OK;
}

static status_t by_nccl_reduce_end(device_t *device, request_t *begun) {
  const cuda_state_t *state = cuda_state(device);
  nccl_request_t *request = static_cast<nccl_request_t *>(begun);
  TRY_CUDA(cudaEventRecord(request->reached, state->compute.raw));
  TRY_CUDA(cudaStreamWaitEvent(state->compute.raw, request->done, 0));
  TRY_CUDA(cudaEventRecord(request->passed, state->compute.raw));
  request->is_ended = true;
  requests_count(state->groups);
  return STATUS_OK;
}

static void by_nccl_release(device_t *device) {
  groups_t *groups = cuda_state(device)->groups;
  while (groups->timed) {
    nccl_request_t *request = groups->timed;
    groups->timed = request->next;
    by_nccl_request_free(request);
  }
}

const collective_way_t collective_nccl = {"by NCCL",
                                          false,
                                          sizeof(nccl_request_t),
                                          by_nccl_allreduce,
                                          by_nccl_allgatherv,
                                          by_nccl_reduce_begin,
                                          by_nccl_reduce_end,
                                          by_nccl_request_free,
                                          by_nccl_release};

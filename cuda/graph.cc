/* Work that is captured once and launched again as a whole: decode steps, whose kernels are shorter than
 * their launches. */
#include "cuda/cuda_device.h"

enum { GRAPHS_MOST = 64 };

struct graphs_t {
  struct {
    uint64_t key;
    cudaGraphExec_t work; /* NULL: a free place */
  } graph[GRAPHS_MOST];
  int next; /* the place that is taken next where all are */
};

/* The place of KEY, or the one that it gets. */
static int graph_place(graphs_t *graphs, uint64_t key) {
  int free_place = -1;
  for (int i = 0; i < GRAPHS_MOST; i++) {
    if (graphs->graph[i].work && graphs->graph[i].key == key) return i;
    if (!graphs->graph[i].work && free_place < 0) free_place = i;
  }
  if (free_place >= 0) return free_place;
  int place = graphs->next;
  graphs->next = (place + 1) % GRAPHS_MOST;
  return place;
}

/* What BODY asks of the stream; its own error counts before that of the end of the capture. */
static status_t graph_record(device_t *device, device_body_t body, void *context, cudaGraph_t *graph) {
  cuda_state_t *state = cuda_state(device);
  TRY_CUDA(cudaStreamBeginCapture(state->compute.raw, cudaStreamCaptureModeThreadLocal));
  state->capturing = true;
  status_code_t status = body(context);
  state->capturing = false;
  cudaError_t error = cudaStreamEndCapture(state->compute.raw, graph);
  if (status != STATUS_OK) (void)cudaGetLastError();
  TRY(status);
  TRY_CUDA(error);
  return STATUS_OK;
}

static status_t graph_capture(device_t *device, int place, device_body_t body, void *context) {
  cuda_state_t *state = cuda_state(device);
  cudaGraphExec_t *work = &state->graphs->graph[place].work;
  cudaGraph_t graph = NULL;
  if (*work) { /* it may be running */
    TRY_CUDA(cudaStreamSynchronize(state->compute.raw));
    TRY_CUDA(cudaGraphExecDestroy(*work));
    *work = NULL;
  }
  status_code_t status = graph_record(device, body, context, &graph);
  if (status == STATUS_OK)
    status = cuda_status(cudaGraphInstantiate(work, graph, 0), "cudaGraphInstantiate of a captured body");
  if (graph) (void)cudaGraphDestroy(graph);
  return status;
}

/* Where a collective needs the host, the body is run each time; its work has been counted. */
static status_t graph_run_body(device_t *device, bool capture, device_body_t body, void *context) {
  bool was_uncounted = device->uncounted;
  device->uncounted = was_uncounted || !capture;
  status_code_t status = body(context);
  device->uncounted = was_uncounted;
  return status;
}

static status_t cuda_graph(device_t *device, uint64_t key, bool capture, device_body_t body, void *context) {
  cuda_state_t *state = cuda_state(device);
  if (collectives_need_host(device)) return graph_run_body(device, capture, body, context);
  int place = graph_place(state->graphs, key);
  if (capture) TRY(graph_capture(device, place, body, context));
  state->graphs->graph[place].key = key;
  if (!state->graphs->graph[place].work)
    return error_set(STATUS_INTERNAL, "device 'cuda': graph %llx was never captured",
                     (unsigned long long)key);
  TRY_CUDA(cudaGraphLaunch(state->graphs->graph[place].work, state->compute.raw));
  return STATUS_OK;
}

bool graphs_exist(const device_t *device) {
  const graphs_t *graphs = cuda_state(device)->graphs;
  for (int i = 0; graphs && i < GRAPHS_MOST; i++)
    if (graphs->graph[i].work) return true;
  return false;
}

status_t cuda_fill_graph(device_t *device) {
  cuda_state_t *state = cuda_state(device);
  TRY(memory_alloc(&state->graphs, ARENA_OTHER, 1, sizeof *state->graphs));
  device->graph = cuda_graph;
  return STATUS_OK;
}

void cuda_free_graph(device_t *device) {
  graphs_t *graphs = cuda_state(device)->graphs;
  for (int i = 0; graphs && i < GRAPHS_MOST; i++)
    if (graphs->graph[i].work) (void)cudaGraphExecDestroy(graphs->graph[i].work);
  memory_free(graphs);
}

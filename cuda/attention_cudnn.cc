#include "cuda/attention_cudnn.h"

#ifdef LLAVA_HAS_CUDNN

#include "cuda/cudnn_graph.h"

extern "C" {
#include "base/log.h"
}

#include <dlfcn.h>
#include <new>
#include <stdio.h>
#include <vector>

namespace fe = cudnn_frontend;
void *fe::cudnn_dlhandle = nullptr;

/* LEAST_VERSION: the first with all that is asked for here. STRIDE_UNIT: rows begin at multiples of it. */
enum { LEAST_VERSION = 91100, STRIDE_UNIT = 8, ALIGNMENT = 256 };

struct plan_t {
  cudnn_shape_t shape;
  std::shared_ptr<fe::graph::Graph> graph;
  std::shared_ptr<fe::KernelCache> kernels; /* of a forward plan: compiled once for batches of all sizes */
  int64_t workspace;                        /* bytes */
};

struct cudnn_t {
  cudnnHandle_t handle;
  bool has_backward;
  std::vector<plan_t> plans;
};

/* ---- The library ---- */

static size_t loaded_version(void) {
  static const bool is_loaded = (fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL));
  return is_loaded ? fe::detail::get_backend_version() : 0;
}

const char *cudnn_version(void) {
  static char text[32];
  const size_t version = loaded_version();
  if (version == 0) return "no libcudnn.so.9";
  snprintf(text, sizeof text, "cuDNN %zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
  return text;
}

static status_t frontend_status(fe::error_t error, const char *call) {
  if (error.is_good()) return STATUS_OK;
  return error_set(STATUS_DEVICE, "device 'cuda': %s, %s: %s", cudnn_version(), call,
                   error.get_message().c_str());
}
#define TRY_FRONTEND(call) TRY(frontend_status((call), #call))

static status_t cudnn_status(cudnnStatus_t status, const char *call) {
  if (status == CUDNN_STATUS_SUCCESS) return STATUS_OK;
  return error_set(STATUS_DEVICE, "device 'cuda': %s, %s: %s", cudnn_version(), call,
                   fe::detail::get_error_string(status));
}
#define TRY_CUDNN(call) TRY(cudnn_status((call), #call))

status_t cuda_fill_cudnn(device_t *device) {
  cuda_state_t *state = cuda_state(device);
  if (loaded_version() < LEAST_VERSION)
    return error_set(
        STATUS_DEVICE,
        "parallel.attention = 'cudnn': %s; expected cuDNN %d.%d or later where libraries are looked for "
        "(LD_LIBRARY_PATH); or use 'own'",
        cudnn_version(), LEAST_VERSION / 10000, LEAST_VERSION / 100 % 100);
  state->cudnn = new (std::nothrow) cudnn_t();
  if (!state->cudnn) return error_set(STATUS_MEMORY, "device 'cuda': no memory for cuDNN's plans");
  TRY_CUDNN(fe::detail::create_handle(&state->cudnn->handle));
  TRY_CUDNN(fe::detail::set_stream(state->cudnn->handle, state->compute.raw));
  /* Elsewhere its gradients of packed sequences differ from run to run. */
  state->cudnn->has_backward = state->capability / 10 == 9 || state->capability / 10 == 10;
  log_info("device cuda: attention by %s%s", cudnn_version(),
           state->cudnn->has_backward ? ""
                                      : ", its gradients by own kernels (they would differ from run to run)");
  return STATUS_OK;
}

void cuda_free_cudnn(device_t *device) {
  cudnn_t *cudnn = cuda_state(device)->cudnn;
  if (!cudnn) return;
  cudnn->plans.clear();
  if (cudnn->handle) (void)fe::detail::destroy_handle(cudnn->handle);
  delete cudnn;
}

/* ---- Plans ---- */

/* Whether plans for A and B have kernels in common. */
static bool same_kernels(const cudnn_shape_t &a, const cudnn_shape_t &b) {
  cudnn_shape_t sized = a;
  sized.sequences = b.sequences;
  sized.longest = b.longest;
  sized.positions = b.positions;
  return !a.is_backward && cudnn_shapes_equal(&sized, &b);
}

static status_t build(cudnn_t *cudnn, plan_t *plan) {
  plan->graph = std::make_shared<fe::graph::Graph>();
  if (!plan->shape.is_backward) {
    for (const plan_t &other : cudnn->plans)
      if (same_kernels(plan->shape, other.shape)) plan->kernels = other.kernels;
    if (!plan->kernels) plan->kernels = std::make_shared<fe::KernelCache>();
  }
  cudnn_describe(plan->shape, plan->kernels, *plan->graph);
  TRY_FRONTEND(plan->graph->build(cudnn->handle, {fe::HeurMode_t::A}));
  TRY_FRONTEND(plan->graph->get_workspace_size(plan->workspace));
  log_debug("device cuda: cuDNN's plan for %lld sequences up to %lld, workspace %lld bytes",
            (long long)plan->shape.sequences, (long long)plan->shape.longest, (long long)plan->workspace);
  return STATUS_OK;
}

/* *OUT: the plan for SHAPE, until the next is looked for. */
static status_t find_plan(cudnn_t *cudnn, const cudnn_shape_t &shape, const plan_t **out) {
  for (const plan_t &plan : cudnn->plans)
    if (cudnn_shapes_equal(&plan.shape, &shape)) {
      *out = &plan;
      return STATUS_OK;
    }
  try {
    plan_t plan = {shape, nullptr, nullptr, 0};
    TRY(build(cudnn, &plan));
    cudnn->plans.push_back(plan);
  } catch (const std::exception &error) {
    return error_set(STATUS_DEVICE, "device 'cuda': a plan of %s: %s", cudnn_version(), error.what());
  }
  *out = &cudnn->plans.back();
  return STATUS_OK;
}

static cudnn_shape_t shape_of(const op_attention_t *op, bool is_backward) {
  const sequences_t *all = op->sequences;
  cudnn_shape_t shape = {};
  shape.is_backward = is_backward;
  shape.causal = op->causal;
  shape.keeps_lse = op->lse != NULL;
  shape.sequences = cudnn_bound(all->count);
  shape.longest = cudnn_bound(all->longest);
  if (is_backward) shape.positions = cudnn_bound(sequences_positions(all));
  shape.heads = all->heads;
  shape.kv_heads = all->kv_heads;
  shape.head_size = all->head_size;
  shape.ldq = op->ldq;
  shape.ldkv = op->ldkv;
  shape.ldo = op->ldo;
  shape.scale = (float)op->scale;
  return shape;
}

/* ---- Operations ---- */

using operands_t = std::unordered_map<int64_t, void *>;

static void *given(const void *pointer) {
  return const_cast<void *>(pointer); /* of what it only reads, too, the library asks for these */
}

static operands_t operands_of(const op_attention_t *op) {
  operands_t all = {
      {CUDNN_Q, given(op->q)}, {CUDNN_K, given(op->k)}, {CUDNN_V, given(op->v)}, {CUDNN_OUT, op->out}};
  if (op->lse) all[CUDNN_LSE] = op->lse;
  return all;
}

/* Runs the plan for SHAPE on OPERANDS and the sequences of OP. Scratch: offsets, lengths, workspace. */
static status_t run(device_t *device, const op_attention_t *op, const cudnn_shape_t &shape,
                    operands_t operands) {
  cuda_state_t *state = cuda_state(device);
  const plan_t *plan;
  void *scratch = nullptr;
  TRY(find_plan(state->cudnn, shape, &plan));
  const size_t rows = (size_t)shape.sequences + 1,
               own = rows * (RAGGED_MATRICES * sizeof(int64_t) + sizeof(int32_t)),
               begin = (own + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  TRY(cuda_scratch(device, begin + (size_t)plan->workspace, &scratch));
  int64_t *offsets = static_cast<int64_t *>(scratch);
  const ragged_t ragged = {{shape.ldq, shape.ldkv, shape.ldo, shape.heads},
                           offsets,
                           reinterpret_cast<int32_t *>(offsets + RAGGED_MATRICES * rows)};
  TRY(ragged_write(device, op->sequences, shape.sequences, ragged));
  const cudnn_operand_t matrices[] = {CUDNN_OFFSETS_Q, CUDNN_OFFSETS_KV, CUDNN_OFFSETS_OUT,
                                      CUDNN_OFFSETS_LSE};
  for (size_t m = 0; m < RAGGED_MATRICES; m++)
    if (matrices[m] != CUDNN_OFFSETS_LSE || shape.keeps_lse) operands[matrices[m]] = offsets + m * rows;
  operands[CUDNN_LENGTHS] = ragged.lengths;
  TRY_FRONTEND(plan->graph->execute(state->cudnn->handle, operands, static_cast<char *>(scratch) + begin));
  if (state->options.check && !state->capturing) TRY_CUDA(cudaStreamSynchronize(state->compute.raw));
  return STATUS_OK;
}

static bool is_taken(const device_t *device, const op_attention_t *op, int32_t head_most) {
  const sequences_t *all = op->sequences;
  return cuda_state(device)->cudnn && all->count > 0 && all->longest > 0 && all->head_size <= head_most &&
         all->head_size % CUDNN_HEAD_UNIT == 0 && op->ldq % STRIDE_UNIT == 0 && op->ldkv % STRIDE_UNIT == 0 &&
         op->ldo % STRIDE_UNIT == 0 && is_packed(op->q) && is_packed(op->k) && is_packed(op->v) &&
         is_packed(op->out);
}

bool cudnn_takes(const device_t *device, const op_attention_t *op) {
  return is_taken(device, op, CUDNN_FORWARD_HEAD_MOST);
}

bool cudnn_takes_backward(const device_t *device, const op_attention_backward_t *op) {
  return is_taken(device, &op->forward, CUDNN_BACKWARD_HEAD_MOST) &&
         cuda_state(device)->cudnn->has_backward && is_packed(op->dout) && is_packed(op->dq) &&
         is_packed(op->dk) && is_packed(op->dv);
}

status_code_t attention_cudnn(device_t *device, const op_attention_t *op) {
  return run(device, op, shape_of(op, false), operands_of(op));
}

status_code_t attention_backward_cudnn(device_t *device, const op_attention_backward_t *op) {
  operands_t operands = operands_of(&op->forward);
  operands[CUDNN_DOUT] = given(op->dout);
  operands[CUDNN_DQ] = op->dq;
  operands[CUDNN_DK] = op->dk;
  operands[CUDNN_DV] = op->dv;
  return run(device, &op->forward, shape_of(&op->forward, true), operands);
}

#else

const char *cudnn_version(void) {
  return "built without cuDNN";
}

status_t cuda_fill_cudnn(device_t *) {
  return error_set(STATUS_DEVICE,
                   "parallel.attention = 'cudnn': the program was built without cuDNN's headers and those "
                   "of its frontend (cuda/README.md); use 'own'");
}

void cuda_free_cudnn(device_t *) {}

bool cudnn_takes(const device_t *, const op_attention_t *) {
  return false;
}

bool cudnn_takes_backward(const device_t *, const op_attention_backward_t *) {
  return false;
}

/* Nobody calls these: nothing is taken. */
static status_t cudnn_missing(void) {
  return error_set(STATUS_INTERNAL, "device 'cuda': built without cuDNN");
}

status_code_t attention_cudnn(device_t *, const op_attention_t *) {
  return cudnn_missing();
}

status_code_t attention_backward_cudnn(device_t *, const op_attention_backward_t *) {
  return cudnn_missing();
}

#endif

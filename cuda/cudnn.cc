/* Sequences of a packed batch are to cuDNN a padded batch (sequences, heads, longest, D) whose sequences
 * begin where offsets say, so that nothing is padded in memory. */
#include "cuda/cudnn.h"

#ifdef LLAVA_HAS_CUDNN

/* Into cudnn_dlhandle, below. */
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>

#include <dlfcn.h>
#include <new>
#include <stdio.h>
#include <string.h>

namespace fe = cudnn_frontend;
using graph_t = fe::graph::Graph;
using tensor_t = fe::graph::Tensor_attributes;
using tensor_p = std::shared_ptr<tensor_t>;

void *fe::cudnn_dlhandle = nullptr;

/* The first version with what is asked for here; with gradients for capabilities 10.x. */
enum { LEAST_VERSION = 91100, GRADIENTS_100_VERSION = 91800 };

struct cudnn_library_t {
  cudnnHandle_t handle;
};

struct cudnn_plan_t {
  graph_t graph;
  std::shared_ptr<fe::KernelCache> kernels; /* of forward plans */
  int64_t workspace;
};

/* ---- The library ---- */

/* 0: there is none that can be used. */
static size_t loaded_version(void) {
  static size_t version = [] {
    fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    try {
      return fe::cudnn_dlhandle ? fe::detail::get_backend_version() : 0;
    } catch (const std::exception &) {
      return (size_t)0;
    }
  }();
  return version;
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

/* CALL, whose exceptions (of memory, mostly) become errors. */
template <class F> static status_code_t caught(const char *what, F &&call) {
  try {
    return call();
  } catch (const std::exception &error) {
    return error_set(STATUS_DEVICE, "device 'cuda': %s, %s: %s", cudnn_version(), what, error.what());
  }
}

static status_t library_open(cudaStream_t stream, cudnn_library_t **out) {
  SCOPED_MEMORY cudnn_library_t *library = nullptr;
  if (loaded_version() < LEAST_VERSION)
    return error_set(STATUS_DEVICE,
                     "parallel.attention = 'cudnn': %s; expected cuDNN %d.%d or later where libraries are "
                     "looked for (LD_LIBRARY_PATH); or use 'own'",
                     cudnn_version(), LEAST_VERSION / 10000, LEAST_VERSION / 100 % 100);
  TRY(memory_alloc(&library, ARENA_OTHER, 1, sizeof *library));
  TRY_CUDNN(fe::detail::create_handle(&library->handle));
  status_code_t status = cudnn_status(fe::detail::set_stream(library->handle, stream), "cudnnSetStream");
  if (status != STATUS_OK) {
    (void)fe::detail::destroy_handle(library->handle);
    return status;
  }
  memory_hand_over(out, &library);
  return STATUS_OK;
}

status_t cudnn_open(cudaStream_t stream, cudnn_library_t **out) {
  return caught("its start", [&]() -> status_code_t { return library_open(stream, out); });
}

void cudnn_close(cudnn_library_t *library) {
  if (!library) return;
  (void)fe::detail::destroy_handle(library->handle);
  memory_free(library);
}

bool cudnn_has_gradients(int capability) {
  const int major = capability / 10;
  return major == 9 || (major == 10 && loaded_version() >= GRADIENTS_100_VERSION);
}

/* ---- What is asked of it ---- */

/* As graphs know operands: 0 stands for none there. */
static int64_t number(cudnn_operand_t operand) {
  return 1 + (int64_t)operand;
}

/* A number for each sequence, and MORE. */
static tensor_p numbers(graph_t &graph, const cudnn_shape_t &shape, int64_t more, fe::DataType_t type,
                        cudnn_operand_t operand) {
  return graph.tensor(tensor_t()
                          .set_uid(number(operand))
                          .set_dim({shape.sequences + more, 1, 1, 1})
                          .set_stride({1, 1, 1, 1})
                          .set_data_type(type));
}

static tensor_p offsets(graph_t &graph, const cudnn_shape_t &shape, cudnn_operand_t operand) {
  return numbers(graph, shape, 1, fe::DataType_t::INT64, operand);
}

/* TENSOR: (positions, heads * size), rows LD apart, which begin at AT. */
static tensor_t &place(tensor_t &tensor, const cudnn_shape_t &shape, int64_t heads, int64_t size, int64_t ld,
                       const tensor_p &at, cudnn_operand_t operand) {
  return tensor.set_uid(number(operand))
      .set_dim({shape.sequences, heads, shape.longest, size})
      .set_stride({shape.longest * ld, size, ld, 1})
      .set_ragged_offset(at);
}

/* Where the matrices of both directions begin. */
struct offsets_t {
  tensor_p q, kv, out, lse;
};

struct inputs_t {
  offsets_t at;
  tensor_p lengths, q, k, v;
};

static inputs_t inputs(graph_t &graph, const cudnn_shape_t &shape) {
  const auto matrix = [&](int64_t heads, int64_t ld, const tensor_p &at, cudnn_operand_t operand) {
    tensor_t tensor;
    return graph.tensor(place(tensor, shape, heads, shape.head_size, ld, at, operand));
  };
  inputs_t in;
  in.at = {offsets(graph, shape, CUDNN_OFFSETS_Q), offsets(graph, shape, CUDNN_OFFSETS_KV),
           offsets(graph, shape, CUDNN_OFFSETS_OUT), nullptr};
  if (shape.keeps_lse) in.at.lse = offsets(graph, shape, CUDNN_OFFSETS_LSE);
  in.lengths = numbers(graph, shape, 0, fe::DataType_t::INT32, CUDNN_LENGTHS);
  in.q = matrix(shape.heads, shape.ldq, in.at.q, CUDNN_Q);
  in.k = matrix(shape.kv_heads, shape.ldkv, in.at.kv, CUDNN_K);
  in.v = matrix(shape.kv_heads, shape.ldkv, in.at.kv, CUDNN_V);
  return in;
}

/* (positions, heads) in fp32. */
static tensor_t &place_lse(tensor_t &tensor, const cudnn_shape_t &shape, const tensor_p &at) {
  return place(tensor, shape, shape.heads, 1, shape.heads, at, CUDNN_LSE)
      .set_data_type(fe::DataType_t::FLOAT);
}

/* What both directions have of OPTIONS. */
template <class O> static O &describe(O &options, const cudnn_shape_t &shape, const tensor_p &lengths) {
  options.set_attn_scale(shape.scale).set_padding_mask(true).set_seq_len_q(lengths).set_seq_len_kv(lengths);
  if (shape.causal)
    options.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT).set_diagonal_band_right_bound(0);
  return options;
}

static void forward(graph_t &graph, const cudnn_shape_t &shape) {
  const inputs_t in = inputs(graph, shape);
  fe::graph::SDPA_attributes options;
  describe(options, shape, in.lengths).set_generate_stats(shape.keeps_lse);
  auto [out, lse] = graph.sdpa(in.q, in.k, in.v, options);
  place(*out, shape, shape.heads, shape.head_size, shape.ldo, in.at.out, CUDNN_OUT).set_output(true);
  if (shape.keeps_lse) place_lse(*lse, shape, in.at.lse).set_output(true);
}

static void backward(graph_t &graph, const cudnn_shape_t &shape) {
  const inputs_t in = inputs(graph, shape);
  tensor_t out, dout, lse;
  place(out, shape, shape.heads, shape.head_size, shape.ldo, in.at.out, CUDNN_OUT);
  place(dout, shape, shape.heads, shape.head_size, shape.ldo, in.at.out, CUDNN_DOUT);
  place_lse(lse, shape, in.at.lse);
  fe::graph::SDPA_backward_attributes options;
  describe(options, shape, in.lengths)
      .set_deterministic_algorithm(true)
      .set_max_total_seq_len_q(shape.positions)
      .set_max_total_seq_len_kv(shape.positions);
  auto [dq, dk, dv] = graph.sdpa_backward(in.q, in.k, in.v, graph.tensor(out), graph.tensor(dout),
                                          graph.tensor(lse), options);
  place(*dq, shape, shape.heads, shape.head_size, shape.ldq, in.at.q, CUDNN_DQ).set_output(true);
  place(*dk, shape, shape.kv_heads, shape.head_size, shape.ldkv, in.at.kv, CUDNN_DK).set_output(true);
  place(*dv, shape, shape.kv_heads, shape.head_size, shape.ldkv, in.at.kv, CUDNN_DV).set_output(true);
}

/* The frontend looks at kernels when it takes the operation: one of its two forms cannot share any. */
static void describe_plan(const cudnn_shape_t &shape, const cudnn_plan_t *kin, cudnn_plan_t *plan) {
  plan->graph.set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  if (shape.is_backward) {
    backward(plan->graph, shape);
    return;
  }
  plan->kernels = kin ? kin->kernels : std::make_shared<fe::KernelCache>();
  plan->graph.set_dynamic_shape_enabled(true).set_kernel_cache(plan->kernels);
  forward(plan->graph, shape);
}

/* ---- Plans ---- */

using gpu_p = std::shared_ptr<fe::DeviceProperties>;

static status_t gpu_read(const cudnn_gpu_t &gpu, gpu_p *out) {
  auto properties = std::make_shared<fe::DeviceProperties>();
  const std::vector<uint8_t> text(gpu.properties, gpu.properties + strlen(gpu.properties));
  TRY_FRONTEND(properties->deserialize(text));
  *out = properties;
  return STATUS_OK;
}

status_t cudnn_gpu_check(const cudnn_gpu_t &gpu) {
  return caught("a GPU", [&]() -> status_code_t {
    gpu_p properties;
    return gpu_read(gpu, &properties);
  });
}

static status_t describe_gpu(const cudnn_gpu_t &gpu, graph_t *graph) {
  gpu_p properties;
  TRY(gpu_read(gpu, &properties));
  graph->set_device_properties(properties).set_sm_version(gpu.capability).set_sm_count(gpu.multiprocessors);
  return STATUS_OK;
}

static status_t plan_make(cudnn_library_t *library, const cudnn_gpu_t *gpu, const cudnn_shape_t &shape,
                          const cudnn_plan_t *kin, cudnn_plan_t *plan) {
  if (gpu) TRY(describe_gpu(*gpu, &plan->graph));
  describe_plan(shape, kin, plan);
  TRY_FRONTEND(gpu ? plan->graph.build({fe::HeurMode_t::A})
                   : plan->graph.build(library->handle, {fe::HeurMode_t::A}));
  TRY_FRONTEND(plan->graph.get_workspace_size(plan->workspace));
  return STATUS_OK;
}

status_t cudnn_plan_create(cudnn_library_t *library, const cudnn_gpu_t *gpu, const cudnn_shape_t &shape,
                           const cudnn_plan_t *kin, cudnn_plan_t **out) {
  return caught("a plan of attention", [&]() -> status_code_t {
    std::unique_ptr<cudnn_plan_t> plan(new cudnn_plan_t());
    TRY(plan_make(library, gpu, shape, kin, plan.get()));
    *out = plan.release();
    return STATUS_OK;
  });
}

void cudnn_plan_free(cudnn_plan_t *plan) {
  delete plan;
}

size_t cudnn_plan_workspace(const cudnn_plan_t *plan) {
  return (size_t)plan->workspace;
}

status_t cudnn_plan_run(cudnn_library_t *library, const cudnn_plan_t *plan, const cudnn_operands_t &operands,
                        void *workspace) {
  return caught("attention", [&]() -> status_code_t {
    std::unordered_map<int64_t, void *> all;
    for (int i = 0; i < CUDNN_OPERANDS; i++)
      if (operands.at[i]) all[number((cudnn_operand_t)i)] = operands.at[i];
    TRY_FRONTEND(plan->graph.execute(library->handle, all, workspace));
    return STATUS_OK;
  });
}

#else

const char *cudnn_version(void) {
  return "built without cuDNN";
}

status_t cudnn_open(cudaStream_t, cudnn_library_t **) {
  return error_set(STATUS_DEVICE,
                   "parallel.attention = 'cudnn': the program was built without the headers of cuDNN and "
                   "its frontend (cuda/README.md); use 'own'");
}

void cudnn_close(cudnn_library_t *) {}

bool cudnn_has_gradients(int) {
  return false;
}

/* Nobody calls what follows: the library is not open. */
static status_t cudnn_missing(void) {
  return error_set(STATUS_INTERNAL, "device 'cuda': built without cuDNN");
}

status_t cudnn_gpu_check(const cudnn_gpu_t &) {
  return cudnn_missing();
}

status_t cudnn_plan_create(cudnn_library_t *, const cudnn_gpu_t *, const cudnn_shape_t &,
                           const cudnn_plan_t *, cudnn_plan_t **) {
  return cudnn_missing();
}

void cudnn_plan_free(cudnn_plan_t *) {}

size_t cudnn_plan_workspace(const cudnn_plan_t *) {
  return 0;
}

status_t cudnn_plan_run(cudnn_library_t *, const cudnn_plan_t *, const cudnn_operands_t &, void *) {
  return cudnn_missing();
}

#endif

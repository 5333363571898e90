/* As much of cuDNN and its frontend as the device uses, carried out by the host in loops (cudnn.cc). */
#ifndef HOST_CUDNN_FRONTEND_H
#define HOST_CUDNN_FRONTEND_H

#include <cuda_runtime.h>

#include <array>
#include <dlfcn.h>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

typedef enum { CUDNN_STATUS_SUCCESS } cudnnStatus_t;
typedef struct host_cudnn *cudnnHandle_t;

namespace cudnn_frontend {

extern void *cudnn_dlhandle;

enum class DataType_t { UNKNOWN, BFLOAT16, FLOAT, INT32, INT64 };
enum class HeurMode_t { A };
enum class DiagonalAlignment_t { TOP_LEFT };
class KernelCache {};

struct error_t {
  std::string message; /* empty: all is well */
  bool is_good() const {
    return message.empty();
  }
  std::string get_message() {
    return message;
  }
};

/* No GPU is described here. */
class DeviceProperties {
public:
  error_t deserialize(const std::vector<uint8_t> &) {
    return {"no description of a GPU is taken"};
  }
};

namespace detail {
size_t get_backend_version();
const char *get_error_string(cudnnStatus_t status);
cudnnStatus_t create_handle(cudnnHandle_t *handle);
cudnnStatus_t destroy_handle(cudnnHandle_t handle);
cudnnStatus_t set_stream(cudnnHandle_t handle, cudaStream_t stream);
} /* namespace detail */

namespace graph {

struct Tensor_attributes {
  int64_t uid = 0;
  std::vector<int64_t> dim, stride;
  DataType_t type = DataType_t::UNKNOWN;
  std::shared_ptr<Tensor_attributes> ragged;
  bool is_output = false;

  Tensor_attributes &set_uid(int64_t value) {
    uid = value;
    return *this;
  }
  Tensor_attributes &set_dim(const std::vector<int64_t> &value) {
    dim = value;
    return *this;
  }
  Tensor_attributes &set_stride(const std::vector<int64_t> &value) {
    stride = value;
    return *this;
  }
  Tensor_attributes &set_data_type(DataType_t value) {
    type = value;
    return *this;
  }
  Tensor_attributes &set_ragged_offset(const std::shared_ptr<Tensor_attributes> &value) {
    ragged = value;
    return *this;
  }
  Tensor_attributes &set_output(bool value) {
    is_output = value;
    return *this;
  }
};
using tensor_p = std::shared_ptr<Tensor_attributes>;

/* Of both directions; O is the one of them. */
template <class O> struct attention_attributes_t {
  float scale = 1.0f;
  bool has_padding = false, is_causal = false;
  tensor_p lengths_q, lengths_kv;

  O &set_attn_scale(float value) {
    scale = value;
    return own();
  }
  O &set_padding_mask(bool value) {
    has_padding = value;
    return own();
  }
  O &set_seq_len_q(const tensor_p &value) {
    lengths_q = value;
    return own();
  }
  O &set_seq_len_kv(const tensor_p &value) {
    lengths_kv = value;
    return own();
  }
  O &set_diagonal_alignment(DiagonalAlignment_t) {
    return own();
  }
  O &set_diagonal_band_right_bound(int value) {
    is_causal = value == 0;
    return own();
  }

private:
  O &own() {
    return static_cast<O &>(*this);
  }
};

struct SDPA_attributes : attention_attributes_t<SDPA_attributes> {
  bool has_lse = false;
  SDPA_attributes &set_generate_stats(bool value) {
    has_lse = value;
    return *this;
  }
};

struct SDPA_backward_attributes : attention_attributes_t<SDPA_backward_attributes> {
  bool is_deterministic = false;
  int64_t positions_q = 0, positions_kv = 0;
  SDPA_backward_attributes &set_deterministic_algorithm(bool value) {
    is_deterministic = value;
    return *this;
  }
  SDPA_backward_attributes &set_max_total_seq_len_q(int64_t value) {
    positions_q = value;
    return *this;
  }
  SDPA_backward_attributes &set_max_total_seq_len_kv(int64_t value) {
    positions_kv = value;
    return *this;
  }
};

class Graph {
public:
  Graph &set_io_data_type(DataType_t value) {
    io = value;
    return *this;
  }
  Graph &set_intermediate_data_type(DataType_t) {
    return *this;
  }
  Graph &set_compute_data_type(DataType_t) {
    return *this;
  }
  Graph &set_device_properties(const std::shared_ptr<DeviceProperties> &) {
    return *this;
  }
  Graph &set_sm_version(int) {
    return *this;
  }
  Graph &set_sm_count(int) {
    return *this;
  }
  Graph &set_dynamic_shape_enabled(bool) {
    return *this;
  }
  Graph &set_kernel_cache(const std::shared_ptr<KernelCache> &) {
    return *this;
  }
  tensor_p tensor(const Tensor_attributes &of) {
    return std::make_shared<Tensor_attributes>(of);
  }
  std::array<tensor_p, 2> sdpa(tensor_p q, tensor_p k, tensor_p v, const SDPA_attributes &options);
  std::array<tensor_p, 3> sdpa_backward(tensor_p q, tensor_p k, tensor_p v, tensor_p out, tensor_p dout,
                                        tensor_p lse, const SDPA_backward_attributes &options);
  error_t build(cudnnHandle_t handle, const std::vector<HeurMode_t> &modes);
  error_t build(const std::vector<HeurMode_t> &modes) {
    return build(nullptr, modes);
  }
  error_t get_workspace_size(int64_t &bytes) const;
  error_t execute(cudnnHandle_t handle, std::unordered_map<int64_t, void *> &operands, void *workspace) const;

private:
  DataType_t io = DataType_t::UNKNOWN;
  tensor_p q, k, v, out, lse, dout, dq, dk, dv, lengths;
  float scale = 1.0f;
  bool is_causal = false;
  int64_t positions = 0; /* of the backward pass */
};

} /* namespace graph */
} /* namespace cudnn_frontend */

/* The library is this program. */
#define dlopen(name, flags) dlopen(nullptr, flags)

#endif

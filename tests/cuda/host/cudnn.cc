/* Attention as cuDNN's frontend describes it: each operand found by its number, its strides and the offset of
 * its sequence, in double. A graph that says what cuDNN would not take is refused. */
#include "cuda_bf16.h"
#include "cudnn_frontend.h"

#include <math.h>
#include <string.h>

namespace cudnn_frontend {

enum { VERSION = 91900, WORKSPACE_BYTES = 4096 };

namespace detail {
size_t get_backend_version() {
  return VERSION;
}
const char *get_error_string(cudnnStatus_t) {
  return "no error";
}
cudnnStatus_t create_handle(cudnnHandle_t *handle) {
  static char one;
  *handle = reinterpret_cast<cudnnHandle_t>(&one);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t destroy_handle(cudnnHandle_t) {
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t set_stream(cudnnHandle_t, cudaStream_t) {
  return CUDNN_STATUS_SUCCESS;
}
} /* namespace detail */

namespace graph {

using operands_t = std::unordered_map<int64_t, void *>;

/* A tensor where its operand lies. */
struct operand_t {
  const Tensor_attributes *of;
  void *data;
  const int64_t *offsets;

  int64_t place(int64_t b, int64_t h, int64_t i, int64_t d) const {
    return offsets[b] + h * of->stride[1] + i * of->stride[2] + d * of->stride[3];
  }
  double get(int64_t b, int64_t h, int64_t i, int64_t d) const {
    const int64_t at = place(b, h, i, d);
    return of->type == DataType_t::FLOAT ? (double)static_cast<float *>(data)[at]
                                         : (double)__bfloat162float(static_cast<__nv_bfloat16 *>(data)[at]);
  }
  void set(int64_t b, int64_t h, int64_t i, int64_t d, double value) const {
    const int64_t at = place(b, h, i, d);
    if (of->type == DataType_t::FLOAT)
      static_cast<float *>(data)[at] = (float)value;
    else
      static_cast<__nv_bfloat16 *>(data)[at] = __float2bfloat16_rn((float)value);
  }
};

static operand_t find(const tensor_p &tensor, const operands_t &operands) {
  if (!tensor || tensor->uid == 0) return {nullptr, nullptr, nullptr};
  return {tensor.get(), operands.at(tensor->uid), static_cast<int64_t *>(operands.at(tensor->ragged->uid))};
}

std::array<tensor_p, 2> Graph::sdpa(tensor_p q_, tensor_p k_, tensor_p v_, const SDPA_attributes &options) {
  q = q_, k = k_, v = v_, out = std::make_shared<Tensor_attributes>();
  if (options.has_lse) lse = std::make_shared<Tensor_attributes>();
  scale = options.scale, is_causal = options.is_causal;
  if (options.has_padding && options.lengths_q == options.lengths_kv) lengths = options.lengths_q;
  return {out, lse};
}

std::array<tensor_p, 3> Graph::sdpa_backward(tensor_p q_, tensor_p k_, tensor_p v_, tensor_p out_,
                                             tensor_p dout_, tensor_p lse_,
                                             const SDPA_backward_attributes &options) {
  q = q_, k = k_, v = v_, out = out_, dout = dout_, lse = lse_;
  dq = std::make_shared<Tensor_attributes>();
  dk = std::make_shared<Tensor_attributes>();
  dv = std::make_shared<Tensor_attributes>();
  scale = options.scale, is_causal = options.is_causal;
  if (options.has_padding && options.is_deterministic && options.lengths_q == options.lengths_kv)
    lengths = options.lengths_q;
  if (options.positions_q == options.positions_kv) positions = options.positions_q;
  return {dq, dk, dv};
}

/* Of TENSOR, which is (sequences, HEADS, longest, SIZE) of a packed batch. */
static std::string wrong(const char *name, const tensor_p &tensor, const Tensor_attributes &q, int64_t heads,
                         int64_t size, DataType_t type) {
  const std::vector<int64_t> dim = {q.dim[0], heads, q.dim[2], size};
  if (tensor->uid == 0 || tensor->dim != dim) return std::string(name) + " has another shape";
  if (tensor->type != type) return std::string(name) + " has another type";
  if (!tensor->ragged || tensor->ragged->type != DataType_t::INT64 || tensor->ragged->dim[0] != q.dim[0] + 1)
    return std::string(name) + " has no offsets";
  return tensor->stride[3] == 1 ? "" : std::string(name) + " has elements apart";
}

error_t Graph::build(cudnnHandle_t, const std::vector<HeurMode_t> &) {
  const int64_t heads = q->dim[1], kv_heads = k->dim[1], size = q->dim[3];
  const struct {
    const char *name;
    const tensor_p &tensor;
    int64_t heads, size;
  } all[] = {{"q", q, heads, size},      {"k", k, kv_heads, size},    {"v", v, kv_heads, size},
             {"out", out, heads, size},  {"dout", dout, heads, size}, {"dq", dq, heads, size},
             {"dk", dk, kv_heads, size}, {"dv", dv, kv_heads, size},  {"lse", lse, heads, 1}};
  for (const auto &one : all) {
    if (!one.tensor) continue;
    const bool is_lse = one.size == 1;
    if (!is_lse && one.tensor->type == DataType_t::UNKNOWN) one.tensor->type = io;
    std::string found = wrong(one.name, one.tensor, *q, one.heads, one.size,
                              is_lse ? DataType_t::FLOAT : DataType_t::BFLOAT16);
    if (!found.empty()) return {found};
  }
  if (!lengths || lengths->type != DataType_t::INT32 || lengths->dim[0] != q->dim[0]) return {"no lengths"};
  return {size % 8 == 0 && heads % kv_heads == 0 ? "" : "heads that there is no kernel for"};
}

error_t Graph::get_workspace_size(int64_t &bytes) const {
  bytes = WORKSPACE_BYTES;
  return {};
}

static double dot(const operand_t &a, int64_t head_a, int64_t i, const operand_t &b, int64_t head_b,
                  int64_t j, int64_t sequence) {
  double sum = 0.0;
  for (int64_t d = 0; d < a.of->dim[3]; d++)
    sum += a.get(sequence, head_a, i, d) * b.get(sequence, head_b, j, d);
  return sum;
}

/* A head of a sequence of N positions. */
struct head_t {
  operand_t q, k, v, out, lse, dout, dq, dk, dv;
  int64_t sequence, head, kv_head, n, size;
  double scale;
  bool is_causal;
  std::vector<double> dk_sums, dv_sums; /* (n, size): of all query heads of kv_head */

  /* Of row I, with each key. */
  std::vector<double> scores(int64_t i) const {
    std::vector<double> all((size_t)(is_causal ? i + 1 : n));
    for (size_t j = 0; j < all.size(); j++)
      all[j] = scale * dot(q, head, i, k, kv_head, (int64_t)j, sequence);
    return all;
  }

  void forward(int64_t i) const {
    std::vector<double> p = scores(i), result((size_t)size);
    double most = -INFINITY, total = 0.0;
    for (double s : p)
      most = fmax(most, s);
    for (double &s : p)
      total += s = exp(s - most);
    for (size_t j = 0; j < p.size(); j++)
      for (int64_t d = 0; d < size; d++)
        result[(size_t)d] += p[j] / total * v.get(sequence, kv_head, (int64_t)j, d);
    for (int64_t d = 0; d < size; d++)
      out.set(sequence, head, i, d, result[(size_t)d]);
    if (lse.of) lse.set(sequence, head, i, 0, most + log(total));
  }

  void backward(int64_t i) {
    std::vector<double> p = scores(i), result((size_t)size);
    const double dots = dot(dout, head, i, out, head, i, sequence);
    for (size_t j = 0; j < p.size(); j++) {
      p[j] = exp(p[j] - lse.get(sequence, head, i, 0));
      const double ds = p[j] * (dot(dout, head, i, v, kv_head, (int64_t)j, sequence) - dots) * scale;
      for (int64_t d = 0; d < size; d++) {
        result[(size_t)d] += ds * k.get(sequence, kv_head, (int64_t)j, d);
        dk_sums[j * (size_t)size + (size_t)d] += ds * q.get(sequence, head, i, d);
        dv_sums[j * (size_t)size + (size_t)d] += p[j] * dout.get(sequence, head, i, d);
      }
    }
    for (int64_t d = 0; d < size; d++)
      dq.set(sequence, head, i, d, result[(size_t)d]);
  }

  void store_sums() const {
    for (int64_t j = 0; j < n; j++)
      for (int64_t d = 0; d < size; d++) {
        dk.set(sequence, kv_head, j, d, dk_sums[(size_t)(j * size + d)]);
        dv.set(sequence, kv_head, j, d, dv_sums[(size_t)(j * size + d)]);
      }
  }
};

error_t Graph::execute(cudnnHandle_t, std::unordered_map<int64_t, void *> &operands, void *workspace) const {
  const int32_t *of_lengths = static_cast<int32_t *>(operands.at(lengths->uid));
  const int64_t group = q->dim[1] / k->dim[1];
  head_t work = {find(q, operands),   find(k, operands),   find(v, operands),
                 find(out, operands), find(lse, operands), find(dout, operands),
                 find(dq, operands),  find(dk, operands),  find(dv, operands)};
  int64_t sum = 0;
  for (const auto &one : operands)
    if (reinterpret_cast<uintptr_t>(one.second) % 16 != 0) return {"an operand that is not aligned"};
  work.size = q->dim[3];
  work.scale = (double)scale;
  work.is_causal = is_causal;
  memset(workspace, 0xff, WORKSPACE_BYTES);
  for (int64_t b = 0; b < q->dim[0]; b++) {
    work.sequence = b;
    work.n = of_lengths[b];
    sum += work.n;
    if (work.n < 0 || work.n > q->dim[2] || (dq && sum > positions))
      return {"a batch that is larger than its plan"};
    for (int64_t h = 0; h < q->dim[1]; h++) {
      work.head = h;
      work.kv_head = h / group;
      if (h % group == 0) {
        work.dk_sums.assign((size_t)(work.n * work.size), 0.0);
        work.dv_sums = work.dk_sums;
      }
      for (int64_t i = 0; i < work.n; i++)
        dq ? work.backward(i) : work.forward(i);
      if (dq && (h + 1) % group == 0) work.store_sums();
    }
  }
  return {};
}

} /* namespace graph */
} /* namespace cudnn_frontend */

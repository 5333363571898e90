/* Sequences of a packed batch are to cuDNN a padded batch (sequences, heads, longest, D) whose sequences
 * begin where offsets say, so that nothing is padded in memory. */
#ifdef LLAVA_HAS_CUDNN

#include "cuda/cudnn_graph.h"

namespace fe = cudnn_frontend;
using graph_t = fe::graph::Graph;
using tensor_t = fe::graph::Tensor_attributes;
using tensor_p = std::shared_ptr<tensor_t>;

/* A number for each sequence, and MORE. */
static tensor_p numbers(graph_t &graph, const cudnn_shape_t &shape, int64_t more, fe::DataType_t type,
                        cudnn_operand_t operand) {
  return graph.tensor(tensor_t()
                          .set_uid(operand)
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
  return tensor.set_uid(operand)
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
void cudnn_describe(const cudnn_shape_t &shape, const std::shared_ptr<fe::KernelCache> &kernels,
                    graph_t &graph) {
  if (kernels) graph.set_dynamic_shape_enabled(true).set_kernel_cache(kernels);
  graph.set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  shape.is_backward ? backward(graph, shape) : forward(graph, shape);
}

#endif

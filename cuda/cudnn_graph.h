/* Packed attention as cuDNN is asked for it, by its frontend. Included where cuDNN's headers are. */
#ifndef CUDA_CUDNN_GRAPH_H
#define CUDA_CUDNN_GRAPH_H

/* The library is loaded at run time, into cudnn_frontend::cudnn_dlhandle (attention_cudnn.cc). */
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>

extern "C" {
#include "cuda/cudnn_shape.h"
}

/* What a plan is given, by these numbers. Offsets (sequences + 1) in elements, of each matrix's own stride;
 * lengths (sequences). */
enum cudnn_operand_t : int64_t {
  CUDNN_Q = 1,
  CUDNN_K,
  CUDNN_V,
  CUDNN_OUT,
  CUDNN_LSE,
  CUDNN_DOUT,
  CUDNN_DQ,
  CUDNN_DK,
  CUDNN_DV,
  CUDNN_LENGTHS,
  CUDNN_OFFSETS_Q,
  CUDNN_OFFSETS_KV,
  CUDNN_OFFSETS_OUT,
  CUDNN_OFFSETS_LSE
};

/* Describes the attention of SHAPE to GRAPH, which is empty but for what the caller has said of the GPU:
 * matrices in bf16, lse in fp32, gradients with the same bits in every run. KERNELS, of a forward pass:
 * those that it shares with graphs for other bounds. The caller builds it. */
void cudnn_describe(const cudnn_shape_t &shape, const std::shared_ptr<cudnn_frontend::KernelCache> &kernels,
                    cudnn_frontend::graph::Graph &graph);

#endif

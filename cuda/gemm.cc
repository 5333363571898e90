/* Products by cuBLASLt: 2 m n k FLOPs; bytes of a, b and c, each once. Row-major matrices are column-major
 * ones transposed, so that the library is asked for c^T = op(b)^T op(a)^T, and a bias over the columns of c
 * is its bias over rows. Which of its algorithms multiplies a shape is asked once and kept. */
#include "cuda/gemm.h"

extern "C" {
#include "base/log.h"
}

#include <string.h>

enum { WORKSPACE_BYTES = 32 << 20, PLANS = 4096, ALIGNMENT_MOST = 256 };

struct plan_t {
  product_key_t key;
  bool is_taken, is_known; /* is_known: the library has an algorithm */
  cublasLtMatmulAlgo_t algorithm;
};

struct products_t {
  cublasLtHandle_t handle;
  void *workspace;
  plan_t plans[PLANS]; /* by the hash of the key; another shape may take a place */
};

/* One product as the library wants it. */
struct matmul_t {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t b, a, c;
};

static cudaDataType_t data_type(const device_t *device, bool is_wide) {
  return is_wide || device->real_type == DTYPE_F32 ? CUDA_R_32F : CUDA_R_16BF;
}

static status_t describe_operation(const product_key_t *key, const op_gemm_t *op, matmul_t *to) {
  const cublasOperation_t b = key->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                          a = key->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  TRY_CUBLAS(cublasLtMatmulDescInit(&to->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  TRY_CUBLAS(cublasLtMatmulDescSetAttribute(&to->operation, CUBLASLT_MATMUL_DESC_TRANSA, &b, sizeof b));
  TRY_CUBLAS(cublasLtMatmulDescSetAttribute(&to->operation, CUBLASLT_MATMUL_DESC_TRANSB, &a, sizeof a));
  if (!key->bias) return STATUS_OK;
  const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
  const void *bias = op->bias;
  TRY_CUBLAS(cublasLtMatmulDescSetAttribute(&to->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                            sizeof epilogue));
  TRY_CUBLAS(
      cublasLtMatmulDescSetAttribute(&to->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
  return STATUS_OK;
}

static status_t describe_batch(cublasLtMatrixLayoutOpaque_t *layout, int32_t count, int64_t stride) {
  TRY_CUBLAS(
      cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
  TRY_CUBLAS(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                              sizeof stride));
  return STATUS_OK;
}

static status_t describe(const device_t *device, const product_key_t *key, const op_gemm_t *op,
                         matmul_t *to) {
  const cudaDataType_t type = data_type(device, false), c_type = data_type(device, key->c_wide);
  const uint64_t m = (uint64_t)key->m, n = (uint64_t)key->n, k = (uint64_t)key->k;
  TRY(describe_operation(key, op, to));
  TRY_CUBLAS(cublasLtMatrixLayoutInit(&to->b, type, key->trans_b ? k : n, key->trans_b ? n : k, key->ldb));
  TRY_CUBLAS(cublasLtMatrixLayoutInit(&to->a, type, key->trans_a ? m : k, key->trans_a ? k : m, key->lda));
  TRY_CUBLAS(cublasLtMatrixLayoutInit(&to->c, c_type, n, m, key->ldc));
  if (key->batch == 1) return STATUS_OK;
  TRY(describe_batch(&to->b, key->batch, key->stride_b));
  TRY(describe_batch(&to->a, key->batch, key->stride_a));
  return describe_batch(&to->c, key->batch, key->stride_c);
}

static status_t prefer(cublasLtMatmulPreferenceOpaque_t *to, const product_key_t *key) {
  const uint64_t workspace = WORKSPACE_BYTES;
  const uint32_t a = key->align_a, b = key->align_b, before = key->align_before, c = key->align_c;
  TRY_CUBLAS(cublasLtMatmulPreferenceInit(to));
  TRY_CUBLAS(cublasLtMatmulPreferenceSetAttribute(to, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                  sizeof workspace));
  TRY_CUBLAS(
      cublasLtMatmulPreferenceSetAttribute(to, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &b, sizeof b));
  TRY_CUBLAS(
      cublasLtMatmulPreferenceSetAttribute(to, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &a, sizeof a));
  TRY_CUBLAS(cublasLtMatmulPreferenceSetAttribute(to, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &before,
                                                  sizeof before));
  TRY_CUBLAS(
      cublasLtMatmulPreferenceSetAttribute(to, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &c, sizeof c));
  return STATUS_OK;
}

/* Asks the library for the algorithm of a shape. */
static status_t plan_make(device_t *device, const product_key_t *key, matmul_t *matmul, plan_t *plan) {
  cublasLtMatmulPreferenceOpaque_t preference;
  cublasLtMatmulHeuristicResult_t found;
  int count = 0;
  TRY(prefer(&preference, key));
  cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(cuda_state(device)->products->handle, &matmul->operation, &matmul->b,
                                     &matmul->a, &matmul->c, &matmul->c, &preference, 1, &found, &count);
  plan->key = *key;
  plan->is_taken = true;
  plan->is_known = status == CUBLAS_STATUS_SUCCESS && count > 0;
  if (plan->is_known) {
    plan->algorithm = found.algo;
    return STATUS_OK;
  }
  log_debug("device cuda: cuBLASLt has no product of (%lld, %lld) by (%lld, %lld) with leading dimensions "
            "%lld, %lld, %lld (%s); the device's own, slow one is taken",
            (long long)key->m, (long long)key->k, (long long)key->k, (long long)key->n, (long long)key->lda,
            (long long)key->ldb, (long long)key->ldc, cublasLtGetStatusString(status));
  return STATUS_OK;
}

status_t cuda_product(device_t *device, const product_key_t *key, const op_gemm_t *op, bool *done) {
  products_t *products = cuda_state(device)->products;
  plan_t *plan = &products->plans[product_hash(key) % PLANS];
  const float alpha = (float)op->alpha, beta = (float)op->beta;
  const void *before = op->before ? op->before : op->c;
  matmul_t matmul;
  TRY(describe(device, key, op, &matmul));
  if (!plan->is_taken || memcmp(&plan->key, key, sizeof *key) != 0)
    TRY(plan_make(device, key, &matmul, plan));
  *done = plan->is_known;
  if (!plan->is_known) return STATUS_OK;
  TRY_CUBLAS(cublasLtMatmul(products->handle, &matmul.operation, &alpha, op->b, &matmul.b, op->a, &matmul.a,
                            &beta, before, &matmul.c, op->c, &matmul.c, &plan->algorithm, products->workspace,
                            WORKSPACE_BYTES, cuda_state(device)->compute.raw));
  if (cuda_state(device)->options.check && !cuda_state(device)->capturing)
    TRY_CUDA(cudaStreamSynchronize(cuda_state(device)->compute.raw));
  return STATUS_OK;
}

status_t cuda_weight_as_real(device_t *device, const weight_t *weight, const real_t **out) {
  const size_t bytes = (size_t)(weight->rows * weight->cols) * dtype_size(device->real_type);
  const bool is_nf4 = weight->format == WEIGHT_NF4;
  void *made = NULL;
  *out = static_cast<const real_t *>(weight->data);
  if (weight->format == WEIGHT_REAL || (!is_nf4 && device->real_type == DTYPE_BF16)) return STATUS_OK;
  TRY(device_require(device, "gemm by a weight in NF4", is_nf4 && !cuda_state(device)->nf4_decode));
  TRY(cuda_scratch(device, bytes, &made));
  *out = static_cast<const real_t *>(made);
  if (is_nf4) return cuda_state(device)->nf4_decode(device, weight, static_cast<real_t *>(made));
  return cuda_widen_half(device, weight->rows * weight->cols, static_cast<const half_t *>(weight->data),
                         static_cast<float *>(made));
}

/* OP, its b in the compute type (no weight is looked at). */
static status_t gemm_real(device_t *device, const op_gemm_t *op, bool by_shape) {
  /* Before the activation, where there is one: in pre, or where c will be. */
  op_gemm_t product = *op;
  bool done = false;
  const bool activates = op->activation != ACTIVATION_NONE;
  const bool library_bias = op->bias && !(op->c_wide && device->real_type != DTYPE_F32);
  if (activates && op->pre) {
    product.c = op->pre;
    product.before = op->before ? op->before : op->c;
  }
  if (!library_bias) product.bias = NULL;
  const product_key_t key = product_key(&product);
  if (by_shape) TRY(cuda_product(device, &key, &product, &done));
  if (!done) TRY(cuda_gemm_any(device, &product));
  if (!activates && product.bias == op->bias) return STATUS_OK;
  op_gemm_t rest = *op; /* what the product has not done yet */
  rest.alpha = 0.0;
  rest.beta = 1.0;
  rest.bias = product.bias == op->bias ? NULL : op->bias;
  rest.pre = NULL;
  return cuda_epilogue(device, &rest, product.c);
}

status_t cuda_gemm(device_t *device, const op_gemm_t *op, bool by_shape) {
  op_gemm_t product = *op;
  bool done = false;
  if (op->m == 0 || op->n == 0) return STATUS_OK;
  if (op->k == 0) return cuda_epilogue(device, op, op->before ? op->before : op->c);
  if (by_shape && cuda_state(device)->matrix_vector)
    TRY(cuda_state(device)->matrix_vector(device, op, &done));
  if (done) return STATUS_OK;
  if (op->weight) TRY(cuda_weight_as_real(device, op->weight, &product.b));
  return gemm_real(device, &product, by_shape);
}

static status_code_t gemm_cuda(device_t *device, const op_gemm_t *op) {
  return cuda_gemm(device, op, true);
}

static status_code_t linear_cuda(device_t *device, const op_linear_t *op) {
  bool done = false;
  TRY(cuda_linear_few(device, op, &done));
  return done ? STATUS_OK : linear_adapters_first(device, op);
}

status_t cuda_fill_products(device_t *device) {
  cuda_state_t *state = cuda_state(device);
  TRY(memory_alloc(&state->products, ARENA_OTHER, 1, sizeof *state->products));
  TRY_CUBLAS(cublasLtCreate(&state->products->handle));
  TRY(device->alloc(device, WORKSPACE_BYTES, &state->products->workspace));
  memory_account(ARENA_SCRATCH, WORKSPACE_BYTES);
  state->ops.gemm = gemm_cuda;
  state->ops.linear = linear_cuda;
  state->ops.linear_backward = linear_backward_adapters_first;
  return STATUS_OK;
}

void cuda_free_products(device_t *device) {
  products_t *products = cuda_state(device)->products;
  if (!products) return;
  if (products->workspace) {
    device->release(device, products->workspace, WORKSPACE_BYTES);
    memory_account(ARENA_SCRATCH, -WORKSPACE_BYTES);
  }
  if (products->handle) (void)cublasLtDestroy(products->handle);
  memory_free(products);
}

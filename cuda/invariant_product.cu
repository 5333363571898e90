/* Linear operations and products of a forward pass, batch-invariant: bf16 by the kernels of
 * invariant_product.h, an adapter's part with the weight's; fp32 and odd shapes by the kernel that takes any,
 * which sums each number in order (gemm_any.cu). */
#include "cuda/gemm.h"
#include "cuda/invariant.h"
#include "cuda/invariant_product.h"

static bool invariant_fits(const device_t *device, int64_t k, const void *x, int64_t ldx) {
  return device->real_type == DTYPE_BF16 && k % pack_t<bf16>::N == 0 && rows_packed(x, ldx);
}

/* Those in NF4 are decoded to memory that is aligned. */
static bool weight_fits(const weight_t *weight) {
  return weight->format == WEIGHT_NF4 || is_packed(weight->data);
}

template <class C> static status_code_t product_launch(device_t *device, invariant_t<C> *op) {
  return op->rows <= INVARIANT_FEW_MOST ? invariant_few(device, op) : invariant_many(device, op);
}

static bool linear_fits(const device_t *device, const op_linear_t *op) {
  if (!invariant_fits(device, op->in, op->x, op->ldx)) return false;
  for (int32_t i = 0; i < op->segments; i++) {
    const linear_segment_t *segment = &op->segment[i];
    if (!weight_fits(&segment->weight) || !is_packed(segment->a)) return false;
    if (segment->b && !(rows_packed(segment->b, op->lora_rank) && rows_packed(segment->u, op->ldu)))
      return false;
  }
  return true;
}

/* u = x A^T, of neighbouring adapters at once. */
static status_code_t adapters_of(device_t *device, const op_linear_t *op) {
  for (int32_t i = 0, count; i<op->segments; i += count> 0 ? count : 1) {
    count = linear_adapters(device, op, i);
    if (count == 0) continue;
    invariant_t<bf16> product = {};
    product.rows = op->rows;
    product.parts = 1;
    product.part[0].w = real<bf16>(op->segment[i].a);
    product.part[0].rows = (int64_t)count * op->lora_rank;
    product.k = op->in;
    product.x = real<bf16>(op->x);
    product.ldx = op->ldx;
    product.y = real<bf16>(op->segment[i].u);
    product.ldy = op->ldu;
    TRY(product_launch(device, &product));
  }
  return STATUS_OK;
}

/* COUNT segments from FIRST on, whose columns of y begin at COL; into Y, before the activation. */
template <class C>
static status_code_t segments_of(device_t *device, const op_linear_t *op, int32_t first, int32_t count,
                                 int64_t *col, C *y) {
  invariant_t<C> product = {};
  product.rows = op->rows;
  for (int32_t i = first; i < first + count; i++) {
    const linear_segment_t *segment = &op->segment[i];
    invariant_part_t *part = &product.part[product.parts++];
    const real_t *w = nullptr;
    TRY(cuda_weight_as_real(device, &segment->weight, &w));
    part->w = real<bf16>(w);
    part->rows = segment->weight.rows;
    part->u = real<bf16>(segment->u);
    part->b = real<bf16>(segment->b);
    part->b_begin = segment->b_begin;
    part->b_end = segment->b_begin + segment->b_rows;
    part->col = *col;
    *col += part->rows;
  }
  product.k = op->in;
  product.x = real<bf16>(op->x);
  product.ldx = op->ldx;
  product.rank = op->lora_rank;
  product.ldu = op->ldu;
  product.scale = (float)op->lora_scale;
  product.residual = reinterpret_cast<const C *>(op->residual);
  product.bias = real<bf16>(op->bias);
  product.y = y;
  product.ldy = op->ldy;
  return product_launch(device, &product);
}

template <class C> static status_code_t invariant_linear(device_t *device, const op_linear_t *op) {
  const bool activates = op->activation != ACTIVATION_NONE;
  C *before = activates && op->pre ? reinterpret_cast<C *>(op->pre) : static_cast<C *>(op->y);
  int64_t col = 0;
  TRY(adapters_of(device, op));
  for (int32_t i = 0, count; i < op->segments; i += count) {
    count = op->segments; /* weights in NF4 take turns in scratch */
    for (int32_t j = 0; j < op->segments; j++)
      if (op->segment[j].weight.format == WEIGHT_NF4) count = 1;
    TRY(segments_of(device, op, i, count, &col, before));
  }
  if (!activates) return STATUS_OK;
  const op_gemm_t rest = {.m = op->rows,
                          .n = op->out,
                          .c = op->y,
                          .ldc = op->ldy,
                          .c_wide = op->y_wide,
                          .beta = 1.0,
                          .activation = op->activation};
  return cuda_epilogue(device, &rest, before);
}

static status_code_t gemm_invariant(device_t *device, const op_gemm_t *op) {
  return cuda_gemm(device, op, false);
}

/* By linear_by_products, whose products are not chosen by shape meanwhile. */
static status_code_t linear_of_products(device_t *device, const op_linear_t *op) {
  ops_t *ops = &cuda_state(device)->ops;
  const auto gemm = ops->gemm;
  ops->gemm = gemm_invariant;
  status_code_t status = linear_by_products(device, op);
  ops->gemm = gemm;
  return status;
}

static status_code_t linear_invariant(device_t *device, const op_linear_t *op) {
  if (op->rows == 0 || op->out == 0) return STATUS_OK;
  if (!linear_fits(device, op)) return linear_of_products(device, op);
  return op->y_wide ? invariant_linear<float>(device, op) : invariant_linear<bf16>(device, op);
}

void cuda_fill_invariant_products(ops_t *ops) {
  ops->linear = linear_invariant;
}

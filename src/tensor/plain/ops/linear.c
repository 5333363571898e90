/* The matrix product with its epilogue, and the activations. */
#include "tensor/linear.h"
#include "tensor/plain/ops/element.h"

#include <math.h>

static const double quick_gelu_slope = 1.702;

/* GELU (tanh) is x / (1 + e^-z) with z = 2 sqrt(2 / pi) (x + gelu_cube x^3): tanh by a sigmoid. */
static const double gelu_scale = 2.0 * M_SQRT1_2 * M_2_SQRTPI, gelu_cube = 0.044715;

static double activate_plain(activation_t activation, double x) {
  if (activation == ACTIVATION_QUICK_GELU) return x / (1.0 + exp(-quick_gelu_slope * x));
  if (activation == ACTIVATION_GELU) return 0.5 * x * (1.0 + erf(x * M_SQRT1_2));
  if (activation == ACTIVATION_GELU_TANH) return x / (1.0 + exp(-gelu_scale * (x + gelu_cube * x * x * x)));
  return x;
}

static double activation_slope(activation_t activation, double x) {
  if (activation == ACTIVATION_QUICK_GELU) {
    double sigmoid = 1.0 / (1.0 + exp(-quick_gelu_slope * x));
    return sigmoid + quick_gelu_slope * x * sigmoid * (1.0 - sigmoid);
  }
  if (activation == ACTIVATION_GELU) {
    double density = exp(-0.5 * x * x) * 0.5 * M_SQRT1_2 * M_2_SQRTPI;
    return 0.5 * (1.0 + erf(x * M_SQRT1_2)) + x * density;
  }
  if (activation == ACTIVATION_GELU_TANH) {
    double sigmoid = 1.0 / (1.0 + exp(-gelu_scale * (x + gelu_cube * x * x * x)));
    return sigmoid + x * sigmoid * (1.0 - sigmoid) * gelu_scale * (1.0 + 3.0 * gelu_cube * x * x);
  }
  return 1.0;
}

/* Element (i, j) of op(a) op(b). */
static double gemm_product(const op_gemm_t *op, int64_t i, int64_t j) {
  const element_t *a = (const element_t *)op->a + (op->trans_a ? i : i * op->lda);
  weight_t b = op->weight ? *op->weight : weight_real(op->b, 0, op->ldb);
  int64_t a_step = op->trans_a ? op->lda : 1;
  double sum = 0.0;
  for (int64_t l = 0; l < op->k; l++)
    sum += (double)a[l * a_step] * (op->trans_b ? weight_element(&b, j, l) : weight_element(&b, l, j));
  return sum;
}

static void gemm_operands(access_t *access, const op_gemm_t *op) {
  int64_t m = op->m, n = op->n, k = op->k;
  access_require(access, m >= 0 && n >= 0 && k >= 0, "sizes %lld x %lld x %lld", (long long)m, (long long)n,
                 (long long)k);
  access_require(access, !op->pre || op->activation != ACTIVATION_NONE,
                 "'pre' is kept only with an activation");
  access_require(access, !op->c_wide || op->activation == ACTIVATION_NONE, "an activation has a real result");
  if (op->trans_a)
    reads(access, "a", op->a, k, m, op->lda);
  else
    reads(access, "a", op->a, m, k, op->lda);
  int64_t b_rows = op->trans_b ? n : k, b_cols = op->trans_b ? k : n;
  if (op->weight)
    reads_weight(access, "weight", op->weight, b_rows, b_cols);
  else
    reads(access, "b", op->b, b_rows, b_cols, op->ldb);
  if (op->bias) reads(access, "bias", op->bias, 1, n, n);
  bool apart = op->before && op->before != op->c;
  if (op->beta != 0.0 && apart) reads(access, "before", op->before, m, n, op->ldc);
  if (op->beta == 0.0 || apart)
    writes(access, "c", op->c, m, n, op->ldc);
  else
    updates(access, "c", op->c, m, n, op->ldc);
  if (op->pre) writes(access, "pre", op->pre, m, n, op->ldc);
}

static status_t gemm_plain(device_t *device, const op_gemm_t *op) {
  access_t access = access_begin(device, "gemm");
  gemm_operands(&access, op);
  TRY(access_ready(&access));
  const element_t *bias = (const element_t *)op->bias;
  element_t *c = op->c, *pre = (element_t *)op->pre;
  const element_t *before = op->before ? op->before : op->c;
  for (int64_t i = 0; i < op->m; i++)
    for (int64_t j = 0; j < op->n; j++) {
      int64_t place = i * op->ldc + j;
      double value = op->alpha * gemm_product(op, i, j);
      if (op->beta != 0.0) value += op->beta * (double)before[place];
      if (bias) value += (double)bias[j];
      if (pre) pre[place] = (element_t)value;
      c[place] = (element_t)activate_plain(op->activation, value);
    }
  access_end(&access);
  return STATUS_OK;
}

static status_t activation_backward_plain(device_t *device, const op_activation_backward_t *op) {
  access_t access = access_begin(device, "activation_backward");
  reads(&access, "pre", op->pre, 1, op->n, op->n);
  reads(&access, "dy", op->dy, 1, op->n, op->n);
  writes_over(&access, "dx", op->dx, op->n, op->dy);
  TRY(access_ready(&access));
  const element_t *pre = (const element_t *)op->pre, *dy = (const element_t *)op->dy;
  element_t *dx = (element_t *)op->dx;
  for (int64_t i = 0; i < op->n; i++)
    dx[i] = (element_t)((double)dy[i] * activation_slope(op->activation, (double)pre[i]));
  access_end(&access);
  return STATUS_OK;
}

void PLAIN_NAME(plain_fill_linear)(ops_t *ops) {
  ops->gemm = gemm_plain;
  ops->linear = linear_by_products;
  ops->linear_backward = linear_backward_by_products;
  ops->activation_backward = activation_backward_plain;
}

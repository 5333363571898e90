/* RMSNorm (Zhang and Sennrich 2019) and LayerNorm (Ba et al. 2016), forward and backward. */
#include "tensor/plain/ops/element.h"

#include <math.h>

static status_t rmsnorm_plain(device_t *device, const op_rmsnorm_t *op) {
  access_t access = access_begin(device, "rmsnorm");
  int64_t C = op->cols;
  reads(&access, "x", op->x, op->rows, C, C);
  reads(&access, "weight", op->weight, 1, C, C);
  writes(&access, "y", op->y, op->rows, C, C);
  if (op->rstd) writes(&access, "rstd", op->rstd, 1, op->rows, op->rows);
  TRY(access_ready(&access));
  const element_t *weight = (const element_t *)op->weight;
  for (int64_t t = 0; t < op->rows; t++) {
    const element_t *x = (const element_t *)op->x + t * C;
    element_t *y = (element_t *)op->y + t * C;
    double squares = 0.0;
    for (int64_t c = 0; c < C; c++)
      squares += (double)x[c] * (double)x[c];
    double rstd = 1.0 / sqrt(squares / (double)C + op->eps);
    for (int64_t c = 0; c < C; c++)
      y[c] = (element_t)((double)x[c] * rstd * (double)weight[c]);
    if (op->rstd) ((element_t *)op->rstd)[t] = (element_t)rstd;
  }
  access_end(&access);
  return STATUS_OK;
}

/* A gradient that is set, or added to. */
static void give_plain(element_t *to, double value, bool add) {
  *to = (element_t)(add ? (double)*to + value : value);
}

static void rmsnorm_operands(access_t *access, const op_rmsnorm_backward_t *op) {
  int64_t C = op->cols;
  reads(access, "x", op->x, op->rows, C, C);
  reads(access, "weight", op->weight, 1, C, C);
  reads(access, "dy", op->dy, op->rows, C, C);
  reads(access, "rstd", op->rstd, 1, op->rows, op->rows);
  if (op->dx_add)
    updates(access, "dx", op->dx, op->rows, C, C);
  else
    writes(access, "dx", op->dx, op->rows, C, C);
  if (op->dweight) updates(access, "dweight", op->dweight, 1, C, C);
}

/* With n = x * rstd: dn = dy * weight; dx = rstd * (dn - n * mean(dn * n)); dweight = sum over rows of dy *
 * n. */
static status_t rmsnorm_backward_plain(device_t *device, const op_rmsnorm_backward_t *op) {
  access_t access = access_begin(device, "rmsnorm_backward");
  rmsnorm_operands(&access, op);
  TRY(access_ready(&access));
  int64_t C = op->cols;
  const element_t *weight = (const element_t *)op->weight;
  for (int64_t t = 0; t < op->rows; t++) {
    const element_t *x = (const element_t *)op->x + t * C, *dy = (const element_t *)op->dy + t * C;
    element_t *dx = (element_t *)op->dx + t * C;
    double rstd = (double)((const element_t *)op->rstd)[t], mean = 0.0;
    for (int64_t c = 0; c < C; c++)
      mean += (double)dy[c] * (double)weight[c] * (double)x[c] * rstd;
    mean /= (double)C;
    for (int64_t c = 0; c < C; c++)
      give_plain(&dx[c], rstd * ((double)dy[c] * (double)weight[c] - (double)x[c] * rstd * mean), op->dx_add);
  }
  for (int64_t c = 0; op->dweight && c < C; c++) {
    double sum = 0.0;
    for (int64_t t = 0; t < op->rows; t++)
      sum += (double)((const element_t *)op->dy)[t * C + c] * (double)((const element_t *)op->x)[t * C + c] *
             (double)((const element_t *)op->rstd)[t];
    give_plain((element_t *)op->dweight + c, sum, true);
  }
  access_end(&access);
  return STATUS_OK;
}

static status_t layernorm_plain(device_t *device, const op_layernorm_t *op) {
  access_t access = access_begin(device, "layernorm");
  int64_t C = op->cols;
  reads(&access, "x", op->x, op->rows, C, C);
  reads(&access, "weight", op->weight, 1, C, C);
  reads(&access, "bias", op->bias, 1, C, C);
  writes(&access, "y", op->y, op->rows, C, C);
  if (op->mean) writes(&access, "mean", op->mean, 1, op->rows, op->rows);
  if (op->rstd) writes(&access, "rstd", op->rstd, 1, op->rows, op->rows);
  TRY(access_ready(&access));
  const element_t *weight = (const element_t *)op->weight, *bias = (const element_t *)op->bias;
  for (int64_t t = 0; t < op->rows; t++) {
    const element_t *x = (const element_t *)op->x + t * C;
    element_t *y = (element_t *)op->y + t * C;
    double mean = 0.0, variance = 0.0;
    for (int64_t c = 0; c < C; c++)
      mean += (double)x[c] / (double)C;
    for (int64_t c = 0; c < C; c++)
      variance += ((double)x[c] - mean) * ((double)x[c] - mean) / (double)C;
    double rstd = 1.0 / sqrt(variance + op->eps);
    for (int64_t c = 0; c < C; c++)
      y[c] = (element_t)(((double)x[c] - mean) * rstd * (double)weight[c] + (double)bias[c]);
    if (op->mean) ((element_t *)op->mean)[t] = (element_t)mean;
    if (op->rstd) ((element_t *)op->rstd)[t] = (element_t)rstd;
  }
  access_end(&access);
  return STATUS_OK;
}

static void layernorm_operands(access_t *access, const op_layernorm_backward_t *op) {
  int64_t C = op->cols;
  reads(access, "x", op->x, op->rows, C, C);
  reads(access, "weight", op->weight, 1, C, C);
  reads(access, "dy", op->dy, op->rows, C, C);
  reads(access, "mean", op->mean, 1, op->rows, op->rows);
  reads(access, "rstd", op->rstd, 1, op->rows, op->rows);
  if (op->dx_add)
    updates(access, "dx", op->dx, op->rows, C, C);
  else
    writes(access, "dx", op->dx, op->rows, C, C);
  if (op->dweight) updates(access, "dweight", op->dweight, 1, C, C);
  if (op->dbias) updates(access, "dbias", op->dbias, 1, C, C);
}

/* With n = (x - mean) * rstd: dn = dy * weight; dx = rstd * (dn - mean(dn) - n * mean(dn * n)). */
static void layernorm_backward_row_plain(const op_layernorm_backward_t *op, int64_t t) {
  int64_t C = op->cols;
  const element_t *x = (const element_t *)op->x + t * C, *dy = (const element_t *)op->dy + t * C;
  const element_t *weight = (const element_t *)op->weight;
  element_t *dx = (element_t *)op->dx + t * C;
  double mean = (double)((const element_t *)op->mean)[t], rstd = (double)((const element_t *)op->rstd)[t];
  double mean_dn = 0.0, mean_dn_n = 0.0;
  for (int64_t c = 0; c < C; c++) {
    double dn = (double)dy[c] * (double)weight[c];
    mean_dn += dn / (double)C;
    mean_dn_n += dn * ((double)x[c] - mean) * rstd / (double)C;
  }
  for (int64_t c = 0; c < C; c++) {
    double dn = (double)dy[c] * (double)weight[c], n = ((double)x[c] - mean) * rstd;
    give_plain(&dx[c], rstd * (dn - mean_dn - n * mean_dn_n), op->dx_add);
  }
}

static status_t layernorm_backward_plain(device_t *device, const op_layernorm_backward_t *op) {
  access_t access = access_begin(device, "layernorm_backward");
  layernorm_operands(&access, op);
  TRY(access_ready(&access));
  const element_t *x = (const element_t *)op->x, *dy = (const element_t *)op->dy;
  const element_t *mean = (const element_t *)op->mean, *rstd = (const element_t *)op->rstd;
  for (int64_t t = 0; t < op->rows; t++)
    layernorm_backward_row_plain(op, t);
  for (int64_t c = 0; c < op->cols; c++) {
    double weight_sum = 0.0, bias_sum = 0.0;
    for (int64_t t = 0; t < op->rows; t++) {
      double grad = (double)dy[t * op->cols + c];
      weight_sum += grad * ((double)x[t * op->cols + c] - (double)mean[t]) * (double)rstd[t];
      bias_sum += grad;
    }
    if (op->dweight) give_plain((element_t *)op->dweight + c, weight_sum, true);
    if (op->dbias) give_plain((element_t *)op->dbias + c, bias_sum, true);
  }
  access_end(&access);
  return STATUS_OK;
}

void PLAIN_NAME(plain_fill_norm)(ops_t *ops) {
  ops->rmsnorm = rmsnorm_plain;
  ops->rmsnorm_backward = rmsnorm_backward_plain;
  ops->layernorm = layernorm_plain;
  ops->layernorm_backward = layernorm_backward_plain;
}

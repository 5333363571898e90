/* Operations on elements by themselves, sums over rows, and casts. */
#include "tensor/plain/ops/element.h"

#include <math.h>

static double sigmoid_plain(double x) {
  return 1.0 / (1.0 + exp(-x));
}

static status_t swiglu_plain(device_t *device, const op_swiglu_t *op) {
  access_t access = access_begin(device, "swiglu");
  int64_t F = op->cols;
  reads(&access, "gate_up", op->gate_up, op->rows, 2 * F, 2 * F);
  writes(&access, "y", op->y, op->rows, F, F);
  TRY(access_ready(&access));
  element_t *y = (element_t *)op->y;
  for (int64_t t = 0; t < op->rows; t++)
    for (int64_t i = 0; i < F; i++) {
      const element_t *gate = (const element_t *)op->gate_up + t * 2 * F + i, *up = gate + F;
      y[t * F + i] = (element_t)((double)*gate * sigmoid_plain((double)*gate) * (double)*up);
    }
  access_end(&access);
  return STATUS_OK;
}

static status_t swiglu_backward_plain(device_t *device, const op_swiglu_backward_t *op) {
  access_t access = access_begin(device, "swiglu_backward");
  int64_t F = op->cols, n = op->rows * F;
  reads(&access, "gate_up", op->gate_up, 1, 2 * n, 2 * n);
  reads(&access, "dy", op->dy, 1, n, n);
  writes_over(&access, "dgate_up", op->dgate_up, 2 * n, op->gate_up);
  if (op->y) writes_over(&access, "y", op->y, n, op->dy);
  TRY(access_ready(&access));
  for (int64_t t = 0; t < op->rows; t++)
    for (int64_t i = 0; i < F; i++) {
      int64_t at = t * 2 * F + i;
      const element_t *gate = (const element_t *)op->gate_up + at, *up = gate + F;
      double g = (double)*gate, u = (double)*up, s = sigmoid_plain(g);
      double d = (double)((const element_t *)op->dy)[t * F + i];
      ((element_t *)op->dgate_up)[at] = (element_t)(d * u * s * (1.0 + g * (1.0 - s)));
      ((element_t *)op->dgate_up)[at + F] = (element_t)(d * g * s);
      if (op->y) ((element_t *)op->y)[t * F + i] = (element_t)(g * s * u);
    }
  access_end(&access);
  return STATUS_OK;
}

static status_t add_periodic_plain(device_t *device, const op_add_periodic_t *op) {
  access_t access = access_begin(device, "add_periodic");
  int64_t C = op->cols;
  access_require(&access, op->period > 0, "period %lld", (long long)op->period);
  reads(&access, "table", op->table, op->period, C, C);
  updates(&access, "x", op->x, op->rows, C, C);
  TRY(access_ready(&access));
  const element_t *table = (const element_t *)op->table;
  element_t *x = (element_t *)op->x;
  for (int64_t r = 0; r < op->rows; r++)
    for (int64_t c = 0; c < C; c++)
      x[r * C + c] += table[r % op->period * C + c];
  access_end(&access);
  return STATUS_OK;
}

static status_t sum_periodic_plain(device_t *device, const op_sum_periodic_t *op) {
  access_t access = access_begin(device, "sum_periodic");
  int64_t C = op->cols;
  access_require(&access, op->period > 0, "period %lld", (long long)op->period);
  reads(&access, "x", op->x, op->rows, C, op->ldx);
  updates(&access, "sums", op->sums, op->period, C, C);
  TRY(access_ready(&access));
  const element_t *x = (const element_t *)op->x;
  element_t *sums = (element_t *)op->sums;
  for (int64_t p = 0; p < op->period; p++)
    for (int64_t c = 0; c < C; c++) {
      double sum = (double)sums[p * C + c];
      for (int64_t r = p; r < op->rows; r += op->period)
        sum += (double)x[r * op->ldx + c];
      sums[p * C + c] = (element_t)sum;
    }
  access_end(&access);
  return STATUS_OK;
}

static status_t add_plain(device_t *device, const op_add_t *op) {
  access_t access = access_begin(device, "add");
  reads(&access, "x", op->x, 1, op->n, op->n);
  updates(&access, "y", op->y, 1, op->n, op->n);
  TRY(access_ready(&access));
  const element_t *x = (const element_t *)op->x;
  element_t *y = (element_t *)op->y;
  for (int64_t i = 0; i < op->n; i++)
    y[i] += x[i];
  access_end(&access);
  return STATUS_OK;
}

/* Copies of memory that nobody wrote are let through: the copy is as unwritten as the original. */
static status_t copy_elements(device_t *device, const char *name, int64_t n, const void *from, void *to) {
  access_t access = access_begin(device, name);
  reads_some(&access, "from", from, n);
  writes(&access, "to", to, 1, n, n);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < n; i++)
    ((element_t *)to)[i] = ((const element_t *)from)[i];
  access_end(&access);
  return STATUS_OK;
}

static status_t copy_plain(device_t *device, const op_copy_t *op) {
  return copy_elements(device, "copy", op->n, op->x, op->y);
}

static status_t narrow_plain(device_t *device, const op_narrow_t *op) {
  return copy_elements(device, "narrow", op->n, op->from, op->to);
}

static status_t widen_plain(device_t *device, const op_widen_t *op) {
  return copy_elements(device, "widen", op->n, op->from, op->to);
}

static status_t fill_plain(device_t *device, const char *name, int64_t n, double value, void *x) {
  access_t access = access_begin(device, name);
  writes(&access, "x", x, 1, n, n);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < n; i++)
    ((element_t *)x)[i] = (element_t)value;
  access_end(&access);
  return STATUS_OK;
}

static status_t fill_real_plain(device_t *device, const op_fill_real_t *op) {
  return fill_plain(device, "fill_real", op->n, op->value, op->x);
}

static status_t fill_wide_plain(device_t *device, const op_fill_wide_t *op) {
  return fill_plain(device, "fill_wide", op->n, op->value, op->x);
}

static status_t sum_squares_plain(device_t *device, const op_sum_squares_t *op) {
  access_t access = access_begin(device, "sum_squares");
  reads(&access, "x", op->x, 1, op->n, op->n);
  updates(&access, "sum", op->sum, 1, 1, 1);
  TRY(access_ready(&access));
  const element_t *x = (const element_t *)op->x;
  element_t *sum = (element_t *)op->sum;
  double squares = 0.0;
  for (int64_t i = 0; i < op->n; i++)
    squares += (double)x[i] * (double)x[i];
  *sum = (element_t)((double)*sum + squares);
  access_end(&access);
  return STATUS_OK;
}

void PLAIN_NAME(plain_fill_elementwise)(ops_t *ops) {
  ops->swiglu = swiglu_plain;
  ops->swiglu_backward = swiglu_backward_plain;
  ops->add_periodic = add_periodic_plain;
  ops->sum_periodic = sum_periodic_plain;
  ops->add = add_plain;
  ops->copy = copy_plain;
  ops->narrow = narrow_plain;
  ops->widen = widen_plain;
  ops->fill_real = fill_real_plain;
  ops->fill_wide = fill_wide_plain;
  ops->sum_squares = sum_squares_plain;
}

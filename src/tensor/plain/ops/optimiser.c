/* AdamW (Loshchilov and Hutter 2019) in PyTorch's form. */
#include "tensor/plain/ops/element.h"

#include <math.h>

static status_t adamw_run_plain(device_t *device, const op_adamw_t *op, const adamw_run_t *run) {
  access_t access = access_begin(device, "adamw");
  access_require(&access, op->step >= 1, "step %lld; they count from 1", (long long)op->step);
  updates(&access, "master", run->master, 1, run->n, run->n);
  updates(&access, "m", run->m, 1, run->n, run->n);
  updates(&access, "v", run->v, 1, run->n, run->n);
  reads(&access, "grad", run->grad, 1, run->n, run->n);
  if (run->real) writes(&access, "real", run->real, 1, run->n, run->n);
  TRY(access_ready(&access));
  element_t *master = (element_t *)run->master, *m = (element_t *)run->m, *v = (element_t *)run->v;
  element_t *real = (element_t *)run->real;
  const element_t *grad = (const element_t *)run->grad;
  double correction1 = 1.0 - pow(op->beta1, (double)op->step),
         correction2 = 1.0 - pow(op->beta2, (double)op->step);
  for (int64_t i = 0; i < run->n; i++) {
    double g = (double)grad[i] * op->grad_scale;
    double weight = (double)master[i] * (1.0 - op->lr * op->weight_decay);
    double first = op->beta1 * (double)m[i] + (1.0 - op->beta1) * g;
    double second = op->beta2 * (double)v[i] + (1.0 - op->beta2) * g * g;
    m[i] = (element_t)first;
    v[i] = (element_t)second;
    master[i] = (element_t)(weight - op->lr * (first / correction1) / (sqrt(second / correction2) + op->eps));
    if (real) real[i] = master[i];
  }
  access_end(&access);
  return STATUS_OK;
}

static status_t adamw_plain(device_t *device, const op_adamw_t *op) {
  for (int32_t i = 0; i < op->count; i++)
    TRY(adamw_run_plain(device, op, &op->runs[i]));
  return STATUS_OK;
}

void PLAIN_NAME(plain_fill_optimiser)(ops_t *ops) {
  ops->adamw = adamw_plain;
}

#include "tensor/loss_derivatives.h"

#include "tensor/ops.h"
#include "tensor/plain/plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { INPUTS_MAX = 4 };

static void ok(status_code_t status) {
  if (status != STATUS_OK) fail_msg("%s", error_message());
}

/* A device, some arrays of N numbers on it, and a result of as many. */
typedef struct {
  device_t *device;
  size_t n;
  wide_t *inputs[INPUTS_MAX], *result;
} run_t;

static run_t run_begin(size_t n, const double *const *inputs, int count) {
  run_t run = {.n = n};
  ok(plain_create(PLAIN_DOUBLE, true, &run.device));
  for (int i = 0; i < count; i++) {
    ok(wide_alloc(run.device, ARENA_OTHER, n, &run.inputs[i]));
    ok(wide_upload(run.device, run.inputs[i], inputs[i], DTYPE_F64, n));
  }
  ok(wide_alloc(run.device, ARENA_OTHER, n, &run.result));
  return run;
}

static void run_end(run_t *run, double *result) {
  ok(wide_download(run->device, result, DTYPE_F64, run->result, run->n));
  ok(device_synchronize(run->device));
  for (int i = 0; i < INPUTS_MAX; i++)
    device_release(run->device, run->inputs[i]);
  device_release(run->device, run->result);
  device_free(run->device);
}

double policy_derivative(double logprob, double old_logprob, double slope, double clip) {
  double result;
  run_t run = run_begin(1, (const double *[]){&logprob, &old_logprob, &slope}, 3);
  ok(OP(run.device, policy_loss,
        &(op_policy_loss_t){.n = 1,
                            .logprob = run.inputs[0],
                            .old_logprob = run.inputs[1],
                            .slope = run.inputs[2],
                            .clip = clip,
                            .dlogprob = run.result}));
  run_end(&run, &result);
  return result;
}

double value_derivative(double value, double old_value, double ret, double clip) {
  static const double one = 1.0;
  double result;
  run_t run = run_begin(1, (const double *[]){&value, &old_value, &ret, &one}, 4);
  ok(OP(run.device, value_loss,
        &(op_value_loss_t){.n = 1,
                           .value = run.inputs[0],
                           .old_value = run.inputs[1],
                           .ret = run.inputs[2],
                           .weight = run.inputs[3],
                           .clip = clip,
                           .dvalue = run.result}));
  run_end(&run, &result);
  return result;
}

void pair_derivatives(int32_t pairs, const double *rewards, const int32_t *preferred, double center_coef,
                      double weight, double *drewards) {
  run_t run = run_begin(2 * (size_t)pairs, &rewards, 1);
  index_t *labels;
  ok(index_alloc(run.device, ARENA_OTHER, (size_t)pairs, &labels));
  ok(index_upload(run.device, labels, preferred, (size_t)pairs));
  ok(OP(run.device, pair_loss,
        &(op_pair_loss_t){.pairs = pairs,
                          .group = pairs,
                          .rewards = run.inputs[0],
                          .preferred = labels,
                          .center_coef = center_coef,
                          .weight = weight,
                          .drewards = run.result}));
  device_release(run.device, labels);
  run_end(&run, drewards);
}

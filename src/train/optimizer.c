#include "train/optimizer_internal.h"

#include "base/memory.h"
#include "perf/perf.h"

#include <math.h>

/* Elements of a bucket: a BUCKETS'th of a set's gradient, so that most can be summed while the backward pass
 * runs, within bounds. */
enum { BUCKETS = 16, BUCKET_LEAST = 1 << 16, BUCKET_MOST = 1 << 22 };

optimizer_options_t optimizer_options(const settings_t *settings) {
  return (optimizer_options_t){.beta1 = settings->optim.betas[0],
                               .beta2 = settings->optim.betas[1],
                               .eps = settings->optim.eps,
                               .weight_decay = settings->optim.weight_decay,
                               .grad_clip = settings->optim.grad_clip};
}

static status_t optimizer_make_state(const optimizer_t *optimizer, set_t *set) {
  device_t *device = optimizer->device;
  for (int s = 0; s < OPTIMIZER_STATES; s++)
    TRY(wide_alloc(device, ARENA_OPTIMIZER, (size_t)set->owned, &set->state[s]));
  if (set->owned == 0) return STATUS_OK;
  for (int32_t b = 0; b < set->bucket_count; b++) {
    const bucket_t *bucket = &set->buckets[b];
    if (bucket->mine == 0) continue;
    TRY(OP(device, widen,
           &(op_widen_t){.n = bucket->mine,
                         .from = real_at(device, set->weights, bucket_own(optimizer, bucket)),
                         .to = wide_at(device, set->state[OPTIMIZER_MASTER], bucket->offset)}));
  }
  TRY(OP(device, fill_wide, &(op_fill_wide_t){.n = set->owned, .value = 0.0, .x = set->state[OPTIMIZER_M]}));
  return OP(device, fill_wide,
            &(op_fill_wide_t){.n = set->owned, .value = 0.0, .x = set->state[OPTIMIZER_V]});
}

/* Master weights from those that were kept unrounded. They go over the host, once: no operation copies
 * numbers of the accumulation type. */
static status_t optimizer_take_unrounded(optimizer_t *optimizer) {
  SCOPED_MEMORY float *values = NULL;
  int64_t most = 0;
  for (int32_t i = 0; i < optimizer->piece_count; i++)
    if (optimizer->pieces[i].param->unrounded && piece_elements(&optimizer->pieces[i]) > most)
      most = piece_elements(&optimizer->pieces[i]);
  TRY(memory_alloc(&values, ARENA_OTHER, (size_t)most, sizeof *values));
  for (int32_t i = 0; i < optimizer->piece_count; i++) {
    const optimizer_piece_t *piece = &optimizer->pieces[i];
    if (!piece->param->unrounded) continue;
    const wide_t *kept = wide_at(optimizer->device, optimizer->sets[piece->set].params->grad, piece->grad);
    TRY(wide_download(optimizer->device, values, DTYPE_F32, kept, (size_t)piece_elements(piece)));
    TRY(device_synchronize(optimizer->device));
    TRY(optimizer_write(optimizer, piece, OPTIMIZER_MASTER, 0, piece_elements(piece), values));
  }
  for (int32_t s = 0; s < optimizer->count; s++)
    if (optimizer->sets[s].params->keeps) TRY(params_end_keeping(optimizer->sets[s].params));
  return STATUS_OK;
}

static adamw_run_t optimizer_run(const optimizer_t *optimizer, const set_t *set, const bucket_t *bucket) {
  const device_t *device = optimizer->device;
  int64_t own = bucket_own(optimizer, bucket);
  return (adamw_run_t){.n = bucket->mine,
                       .master = wide_at(device, set->state[OPTIMIZER_MASTER], bucket->offset),
                       .m = wide_at(device, set->state[OPTIMIZER_M], bucket->offset),
                       .v = wide_at(device, set->state[OPTIMIZER_V], bucket->offset),
                       .grad = wide_at(device, set->params->grad, own),
                       .real = real_at(device, set->weights, own)};
}

static status_t optimizer_make_runs(optimizer_t *optimizer) {
  int32_t most = 0;
  for (int32_t s = 0; s < optimizer->count; s++)
    most += optimizer->sets[s].bucket_count;
  TRY(memory_alloc(&optimizer->runs, ARENA_OTHER, (size_t)most, sizeof *optimizer->runs));
  for (int32_t s = 0; s < optimizer->count; s++)
    for (int32_t b = 0; b < optimizer->sets[s].bucket_count; b++) {
      const bucket_t *bucket = &optimizer->sets[s].buckets[b];
      if (bucket->mine > 0)
        optimizer->runs[optimizer->run_count++] = optimizer_run(optimizer, &optimizer->sets[s], bucket);
    }
  return STATUS_OK;
}

static int64_t bucket_elements(const optimizer_t *optimizer, const set_t *set) {
  int64_t part = set->params->trainable / BUCKETS;
  if (optimizer->options.bucket_elements > 0) return optimizer->options.bucket_elements;
  return part < BUCKET_LEAST ? BUCKET_LEAST : part > BUCKET_MOST ? BUCKET_MOST : part;
}

static status_t optimizer_build(optimizer_t *optimizer, const optimizer_set_t *sets) {
  TRY(memory_alloc(&optimizer->sets, ARENA_OTHER, (size_t)optimizer->count, sizeof *optimizer->sets));
  for (int32_t s = 0; s < optimizer->count; s++) {
    set_t *set = &optimizer->sets[s];
    set->params = sets[s].params;
    set->group = sets[s].group;
    if (set->group >= optimizer->groups) optimizer->groups = set->group + 1;
    TRY(params_trained(set->params, &set->weights));
    TRY(optimizer_make_buckets(optimizer->grid, set, bucket_elements(optimizer, set)));
    TRY(optimizer_make_state(optimizer, set));
  }
  TRY(wide_alloc(optimizer->device, ARENA_OPTIMIZER, (size_t)optimizer->groups, &optimizer->squares));
  TRY(memory_alloc(&optimizer->counts, ARENA_OTHER, (size_t)optimizer->grid->dp_size, sizeof(size_t)));
  TRY(optimizer_make_runs(optimizer));
  TRY(optimizer_make_pieces(optimizer));
  TRY(optimizer_take_unrounded(optimizer));
  return optimizer_make_comms(optimizer);
}

status_t optimizer_create(device_t *device, const grid_t *grid, const optimizer_set_t *sets, int32_t count,
                          const optimizer_options_t *options, optimizer_t **out) {
  TRY(memory_alloc(out, ARENA_OTHER, 1, sizeof **out));
  optimizer_t *optimizer = *out;
  optimizer->device = device;
  optimizer->grid = grid;
  optimizer->options = *options;
  optimizer->count = count;
  status_code_t status = optimizer_build(optimizer, sets);
  if (status != STATUS_OK) {
    optimizer_free(optimizer);
    *out = NULL;
  }
  return status;
}

static bool is_under_way(const set_t *set) {
  for (int32_t b = 0; b < set->bucket_count && set->buckets; b++)
    if (set->buckets[b].request) return true;
  return false;
}

/* A rank that failed alone cannot wait for reductions that the others may never join. Until it has ended the
 * run, MPI may write to the gradients: they are not given back. */
static void optimizer_keep_gradients(set_t *set) {
  if (is_under_way(set)) set->params->grad = NULL;
}

void optimizer_free(optimizer_t *optimizer) {
  if (!optimizer) return;
  for (int32_t s = 0; s < optimizer->count && optimizer->sets; s++) {
    set_t *set = &optimizer->sets[s];
    optimizer_keep_gradients(set);
    memory_free(set->buckets);
    for (int k = 0; k < OPTIMIZER_STATES; k++)
      device_release(optimizer->device, set->state[k]);
  }
  memory_free(optimizer->sets);
  memory_free(optimizer->pieces);
  memory_free(optimizer->runs);
  memory_free(optimizer->counts);
  device_release(optimizer->device, optimizer->squares);
  optimizer_free_comms(optimizer);
  memory_free(optimizer);
}

/* NORMS (groups + 1): gradient norms over the whole model, replicas counted once. */
static status_t global_norms(optimizer_t *optimizer, double *norms) {
  int32_t groups = optimizer->groups;
  TRY(OP(optimizer->device, fill_wide,
         &(op_fill_wide_t){.n = groups, .value = 0.0, .x = optimizer->squares}));
  for (int32_t i = 0; i < optimizer->piece_count; i++) {
    const optimizer_piece_t *piece = &optimizer->pieces[i];
    if (piece->param->partition.replica != 0) continue;
    const set_t *set = &optimizer->sets[piece->set];
    TRY(OP(optimizer->device, sum_squares,
           &(op_sum_squares_t){.n = piece_elements(piece),
                               .x = wide_at(optimizer->device, set->params->grad, piece->grad),
                               .sum = wide_at(optimizer->device, optimizer->squares, set->group)}));
  }
  TRY(wide_download(optimizer->device, norms, DTYPE_F64, optimizer->squares, (size_t)groups));
  TRY(device_synchronize(optimizer->device));
  TRY(comm_allreduce(optimizer->grid->world, norms, (size_t)groups, COMM_F64, COMM_SUM));
  norms[groups] = 0.0;
  for (int32_t g = 0; g < groups; g++) {
    norms[groups] += norms[g];
    norms[g] = sqrt(norms[g]);
  }
  norms[groups] = sqrt(norms[groups]);
  if (isfinite(norms[groups])) return STATUS_OK;
  return error_set(STATUS_NUMERIC,
                   "the gradient's norm is %g at optimiser step %lld: one of its numbers is not finite, or "
                   "their squares are "
                   "beyond single precision (a norm of 1.8e19); the weights were not changed. Lower "
                   "optim.lr, or look for a "
                   "broken sample",
                   norms[groups], (long long)optimizer->steps + 1);
}

static status_t optimizer_update(optimizer_t *optimizer, double lr, double grad_scale) {
  const optimizer_options_t *options = &optimizer->options;
  return OP(optimizer->device, adamw,
            &(op_adamw_t){.count = optimizer->run_count,
                          .runs = optimizer->runs,
                          .grad_scale = grad_scale,
                          .lr = lr,
                          .beta1 = options->beta1,
                          .beta2 = options->beta2,
                          .eps = options->eps,
                          .weight_decay = options->weight_decay,
                          .step = optimizer->steps});
}

static status_t optimizer_step_sets(optimizer_t *optimizer, double lr, double *norms) {
  perf_begin(REGION_REDUCE);
  status_code_t status = optimizer_finish_reductions(optimizer);
  if (status == STATUS_OK) status = optimizer_complete_over_tp(optimizer);
  perf_end(REGION_REDUCE);
  TRY(status);
  TRY(global_norms(optimizer, norms));
  double clip = optimizer->options.grad_clip, norm = norms[optimizer->groups];
  /* As torch.nn.utils.clip_grad_norm_. */
  double scale = clip > 0.0 && clip / (norm + 1e-6) < 1.0 ? clip / (norm + 1e-6) : 1.0;
  optimizer->steps++;
  TRY(optimizer_update(optimizer, lr, scale));
  for (int32_t s = 0; s < optimizer->count; s++) {
    TRY(optimizer_spread(optimizer, &optimizer->sets[s]));
    TRY(params_zero_grad(optimizer->sets[s].params));
  }
  return STATUS_OK;
}

status_t optimizer_step(optimizer_t *optimizer, double lr, double *norms) {
  perf_begin(REGION_OPTIMISER);
  status_code_t status = optimizer_step_sets(optimizer, lr, norms);
  perf_end(REGION_OPTIMISER);
  return status;
}

status_t optimizer_discard(optimizer_t *optimizer) {
  perf_begin(REGION_REDUCE);
  status_code_t status = optimizer_finish_reductions(optimizer);
  perf_end(REGION_REDUCE);
  return status;
}

status_t optimizer_check_loss(optimizer_t *optimizer, double loss, int64_t step) {
  if (isfinite(loss)) return STATUS_OK;
  TRY(optimizer_discard(optimizer));
  return error_set(STATUS_NUMERIC,
                   "the loss of step %lld is %g; the weights were not changed. Lower optim.lr, or look for a "
                   "broken sample",
                   (long long)step, loss);
}

int64_t optimizer_steps(const optimizer_t *optimizer) {
  return optimizer->steps;
}

void optimizer_set_steps(optimizer_t *optimizer, int64_t steps) {
  optimizer->steps = steps;
}

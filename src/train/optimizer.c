#include "train/optimizer.h"

#include "base/memory.h"
#include "perf/perf.h"
#include "tensor/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_BUCKET = 1 << 22 };

/* A run of a set's gradient that goes to one owner. */
typedef struct {
  int64_t begin, count;
  int owner; /* dp rank */
  comm_request_t *request;
  bool started;
} bucket_t;

typedef struct {
  params_t *params;
  int32_t group;
  int64_t data_begin; /* of the trained run in params.data */
  int64_t *bounds;    /* (dp + 1): owner d holds bounds[d] .. bounds[d + 1] */
  size_t *counts;     /* (dp) */
  bucket_t *buckets;  /* descending */
  int32_t bucket_count;
  wide_t *state[OPTIMIZER_STATES]; /* (owned) */
} set_t;

struct optimizer {
  device_t *device;
  const grid_t *grid;
  optimizer_options_t options;
  set_t *sets;
  int32_t count, groups;
  optimizer_piece_t *pieces;
  int32_t piece_count;
  wide_t *squares;     /* (groups) */
  comm_t *kv_comm;     /* the ranks that hold the same key-value heads; NULL where each has its own */
  comm_t *reduce_comm; /* the ranks of dp: for what runs in the background, so that its order does not depend
                          on what a rank does meanwhile; NULL where dp is 1 */
  int64_t steps;
};

optimizer_options_t optimizer_options(const settings_t *settings) {
  return (optimizer_options_t){.beta1 = settings->optim.betas[0],
                               .beta2 = settings->optim.betas[1],
                               .eps = settings->optim.eps,
                               .weight_decay = settings->optim.weight_decay,
                               .grad_clip = settings->optim.grad_clip};
}

static int64_t owned_begin(const optimizer_t *optimizer, const set_t *set) {
  return set->bounds[optimizer->grid->dp_rank];
}

static int64_t owned_count(const optimizer_t *optimizer, const set_t *set) {
  return set->bounds[optimizer->grid->dp_rank + 1] - owned_begin(optimizer, set);
}

/* The trained weights must be one run of params.data, so that owners' ranges of gradient and data correspond.
 */
static status_t optimizer_find_run(set_t *set) {
  const params_t *params = set->params;
  int64_t next = -1;
  for (int32_t i = 0; i < params->count; i++) {
    const param_t *param = &params->items[i];
    if (!param->trainable) continue;
    if (next < 0) set->data_begin = next = param->offset;
    if (param->offset != next)
      return error_set(STATUS_INTERNAL, "trained weights of '%s' do not lie side by side at %s", params->name,
                       param->name);
    next += param->elements;
  }
  return STATUS_OK;
}

/* The row boundary of a trained weight at or below element TARGET of the gradient. */
static int64_t row_boundary(const params_t *params, int64_t target) {
  for (int32_t i = 0; i < params->count; i++) {
    const param_t *param = &params->items[i];
    if (!param->trainable || target >= param->grad_offset + param->elements) continue;
    int64_t cols = param->partition.local_cols;
    return param->grad_offset + (target - param->grad_offset) / cols * cols;
  }
  return params->trainable;
}

static status_t optimizer_make_bounds(const grid_t *grid, set_t *set) {
  size_t dp = (size_t)grid->dp_size;
  TRY(memory_alloc(&set->bounds, ARENA_OTHER, dp + 1, sizeof *set->bounds));
  TRY(memory_alloc(&set->counts, ARENA_OTHER, dp, sizeof *set->counts));
  int64_t n = set->params->trainable;
  for (int d = 1; d < grid->dp_size; d++)
    set->bounds[d] = row_boundary(set->params, n * d / grid->dp_size);
  set->bounds[grid->dp_size] = n;
  for (int d = 0; d < grid->dp_size; d++)
    set->counts[d] = (size_t)(set->bounds[d + 1] - set->bounds[d]);
  return STATUS_OK;
}

static status_t optimizer_make_buckets(const grid_t *grid, set_t *set, int64_t largest) {
  int32_t count = 0;
  for (int d = 0; d < grid->dp_size; d++)
    count += (int32_t)((int64_t)(set->counts[d] + (size_t)largest - 1) / largest);
  TRY(memory_alloc(&set->buckets, ARENA_OTHER, (size_t)count, sizeof *set->buckets));
  for (int d = grid->dp_size - 1; d >= 0; d--)
    for (int64_t end = set->bounds[d + 1]; end > set->bounds[d];) {
      int64_t begin = end - largest > set->bounds[d] ? end - largest : set->bounds[d];
      set->buckets[set->bucket_count++] = (bucket_t){.begin = begin, .count = end - begin, .owner = d};
      end = begin;
    }
  return STATUS_OK;
}

static status_t optimizer_make_state(const optimizer_t *optimizer, set_t *set) {
  device_t *device = optimizer->device;
  int64_t n = owned_count(optimizer, set), begin = owned_begin(optimizer, set);
  for (int s = 0; s < OPTIMIZER_STATES; s++)
    TRY(wide_alloc(device, ARENA_OPTIMIZER, (size_t)n, &set->state[s]));
  if (n == 0) return STATUS_OK;
  TRY(OP(device, widen,
         &(op_widen_t){.n = n,
                       .from = real_at(device, set->params->data, set->data_begin + begin),
                       .to = set->state[OPTIMIZER_MASTER]}));
  TRY(OP(device, fill_wide, &(op_fill_wide_t){.n = n, .value = 0.0, .x = set->state[OPTIMIZER_M]}));
  return OP(device, fill_wide, &(op_fill_wide_t){.n = n, .value = 0.0, .x = set->state[OPTIMIZER_V]});
}

/* The part of PARAM that lies in the owned range of its set; rows 0 if none. */
static optimizer_piece_t piece_of(const optimizer_t *optimizer, int32_t index, const param_t *param) {
  const set_t *set = &optimizer->sets[index];
  int64_t begin = owned_begin(optimizer, set), end = begin + owned_count(optimizer, set);
  int64_t first = param->grad_offset > begin ? param->grad_offset : begin;
  int64_t last = param->grad_offset + param->elements < end ? param->grad_offset + param->elements : end;
  optimizer_piece_t piece = {.set = index, .param = param};
  if (!param->trainable || last <= first) return piece;
  piece.first_row = (first - param->grad_offset) / param->partition.local_cols;
  piece.rows = (last - first) / param->partition.local_cols;
  piece.offset = first - begin;
  int64_t true_rows = param->partition.row_count - piece.first_row;
  if (piece.rows > true_rows) piece.rows = true_rows > 0 ? true_rows : 0;
  return piece;
}

static status_t optimizer_make_pieces(optimizer_t *optimizer) {
  int32_t most = 0;
  for (int32_t s = 0; s < optimizer->count; s++)
    most += optimizer->sets[s].params->count;
  TRY(memory_alloc(&optimizer->pieces, ARENA_OTHER, (size_t)most, sizeof *optimizer->pieces));
  for (int32_t s = 0; s < optimizer->count; s++)
    for (int32_t i = 0; i < optimizer->sets[s].params->count; i++) {
      optimizer_piece_t piece = piece_of(optimizer, s, &optimizer->sets[s].params->items[i]);
      if (piece.rows > 0) optimizer->pieces[optimizer->piece_count++] = piece;
    }
  return STATUS_OK;
}

/* A communicator of the ranks that hold the same key-value heads, if any weight is shared that way. */
static status_t optimizer_make_kv_comm(optimizer_t *optimizer) {
  const grid_t *grid = optimizer->grid;
  int replicas = 1;
  for (int32_t s = 0; s < optimizer->count; s++)
    for (int32_t i = 0; i < optimizer->sets[s].params->count; i++) {
      const partition_t *part = &optimizer->sets[s].params->items[i].partition;
      if (part->split == SPLIT_KV_ROWS && part->replicas > replicas) replicas = part->replicas;
    }
  if (replicas == 1) return STATUS_OK;
  return comm_split(grid->tp, grid->tp_rank / replicas, grid->tp_rank, "kv", &optimizer->kv_comm);
}

static status_t optimizer_build(optimizer_t *optimizer, const optimizer_set_t *sets) {
  int64_t bucket =
      optimizer->options.bucket_elements > 0 ? optimizer->options.bucket_elements : DEFAULT_BUCKET;
  TRY(memory_alloc(&optimizer->sets, ARENA_OTHER, (size_t)optimizer->count, sizeof *optimizer->sets));
  for (int32_t s = 0; s < optimizer->count; s++) {
    set_t *set = &optimizer->sets[s];
    set->params = sets[s].params;
    set->group = sets[s].group;
    if (set->group >= optimizer->groups) optimizer->groups = set->group + 1;
    TRY(optimizer_find_run(set));
    TRY(optimizer_make_bounds(optimizer->grid, set));
    TRY(optimizer_make_buckets(optimizer->grid, set, bucket));
    TRY(optimizer_make_state(optimizer, set));
  }
  TRY(wide_alloc(optimizer->device, ARENA_OPTIMIZER, (size_t)optimizer->groups, &optimizer->squares));
  TRY(optimizer_make_pieces(optimizer));
  const grid_t *grid = optimizer->grid;
  if (grid->dp_size > 1) TRY(comm_split(grid->dp, 0, grid->dp_rank, "reduce", &optimizer->reduce_comm));
  return optimizer_make_kv_comm(optimizer);
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
    memory_free(set->bounds);
    memory_free(set->counts);
    memory_free(set->buckets);
    for (int k = 0; k < OPTIMIZER_STATES; k++)
      device_release(optimizer->device, set->state[k]);
  }
  memory_free(optimizer->sets);
  memory_free(optimizer->pieces);
  device_release(optimizer->device, optimizer->squares);
  comm_free(optimizer->kv_comm);
  comm_free(optimizer->reduce_comm);
  memory_free(optimizer);
}

/* First element of the gradient that belongs to LAYER or to what lies behind it. */
static int64_t complete_from(const params_t *params, int32_t layer) {
  if (layer < 0) return 0;
  char prefix[PARAM_NAME_MAX];
  snprintf(prefix, sizeof prefix, "model.layers.%d.", layer);
  for (int32_t i = 0; i < params->count; i++)
    if (params->items[i].trainable && strncmp(params->items[i].name, prefix, strlen(prefix)) == 0)
      return params->items[i].grad_offset;
  return params->trainable;
}

/* Starts the buckets of SET that lie at or behind FROM, in descending order, as every rank does. */
static status_t optimizer_start_buckets(optimizer_t *optimizer, set_t *set, int64_t from) {
  for (int32_t b = 0; b < set->bucket_count; b++) {
    bucket_t *bucket = &set->buckets[b];
    if (bucket->started) continue;
    if (bucket->begin < from) break;
    bucket->started = true;
    if (optimizer->grid->dp_size == 1) continue;
    TRY(wide_reduce_begin(optimizer->device, optimizer->reduce_comm,
                          wide_at(optimizer->device, set->params->grad, bucket->begin), (size_t)bucket->count,
                          bucket->owner, &bucket->request));
  }
  return STATUS_OK;
}

/* Starts what of GROUP is complete. Sets are started in order, each in full before the next, so that ranks
 * agree on the order of reductions. */
static status_t optimizer_start_group(optimizer_t *optimizer, int32_t group, int32_t layer) {
  for (int32_t s = 0; s < optimizer->count; s++) {
    set_t *set = &optimizer->sets[s];
    if (set->group != group) continue;
    TRY(optimizer_start_buckets(optimizer, set, complete_from(set->params, layer)));
    if (layer >= 0) break;
  }
  return STATUS_OK;
}

status_t optimizer_layer_done(optimizer_t *optimizer, int32_t group, int32_t layer) {
  perf_begin(REGION_REDUCE);
  status_code_t status = optimizer_start_group(optimizer, group, layer);
  if (status == STATUS_OK) status = comm_poll();
  perf_end(REGION_REDUCE);
  return status;
}

status_t optimizer_only_layer_done(void *context, int32_t layer) {
  return optimizer_layer_done(context, 0, layer);
}

static status_t optimizer_finish_reductions(optimizer_t *optimizer) {
  for (int32_t g = 0; g < optimizer->groups; g++)
    TRY(optimizer_start_group(optimizer, g, -1));
  for (int32_t s = 0; s < optimizer->count; s++)
    for (int32_t b = 0; b < optimizer->sets[s].bucket_count; b++) {
      bucket_t *bucket = &optimizer->sets[s].buckets[b];
      if (bucket->request) TRY(wide_reduce_end(optimizer->device, bucket->request));
      bucket->request = NULL;
      bucket->started = false;
    }
  return STATUS_OK;
}

/* The communicator over which a weight's gradient is summed, NULL where it is whole. */
static comm_t *completing_comm(const optimizer_t *optimizer, const param_t *param) {
  if (param->partition.complete != COMPLETE_SUM || optimizer->grid->tp_size == 1) return NULL;
  return param->partition.split == SPLIT_KV_ROWS ? optimizer->kv_comm : optimizer->grid->tp;
}

static wide_t *owned_grad(const optimizer_t *optimizer, const set_t *set, int64_t offset) {
  return wide_at(optimizer->device, set->params->grad, owned_begin(optimizer, set) + offset);
}

/* Stored elements of a piece; those of the padding behind it count where the whole shard's end is owned: they
 * are zero. */
static int64_t piece_elements(const optimizer_piece_t *piece) {
  return piece->rows * piece->param->partition.local_cols;
}

/* Sums over tp what its ranks hold parts of, runs of neighbours in one call. */
static status_t complete_over_tp(optimizer_t *optimizer) {
  for (int32_t i = 0; i < optimizer->piece_count;) {
    const optimizer_piece_t *piece = &optimizer->pieces[i++];
    comm_t *comm = completing_comm(optimizer, piece->param);
    if (!comm) continue;
    int64_t n = piece_elements(piece);
    while (i < optimizer->piece_count && optimizer->pieces[i].set == piece->set &&
           optimizer->pieces[i].offset == piece->offset + n &&
           completing_comm(optimizer, optimizer->pieces[i].param) == comm)
      n += piece_elements(&optimizer->pieces[i++]);
    wide_t *grad = owned_grad(optimizer, &optimizer->sets[piece->set], piece->offset);
    TRY(wide_allreduce(optimizer->device, comm, grad, (size_t)n, COMM_SUM));
  }
  return STATUS_OK;
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
                               .x = owned_grad(optimizer, set, piece->offset),
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

static status_t optimizer_update_set(optimizer_t *optimizer, set_t *set, double lr, double grad_scale) {
  device_t *device = optimizer->device;
  const optimizer_options_t *options = &optimizer->options;
  int64_t n = owned_count(optimizer, set), begin = owned_begin(optimizer, set);
  real_t *run = real_at(device, set->params->data, set->data_begin);
  real_t *mine = real_at(device, run, begin);
  if (n > 0) {
    TRY(OP(device, adamw,
           &(op_adamw_t){.n = n,
                         .master = set->state[OPTIMIZER_MASTER],
                         .m = set->state[OPTIMIZER_M],
                         .v = set->state[OPTIMIZER_V],
                         .grad = owned_grad(optimizer, set, 0),
                         .grad_scale = grad_scale,
                         .lr = lr,
                         .beta1 = options->beta1,
                         .beta2 = options->beta2,
                         .eps = options->eps,
                         .weight_decay = options->weight_decay,
                         .step = optimizer->steps}));
    TRY(OP(device, narrow, &(op_narrow_t){.n = n, .from = set->state[OPTIMIZER_MASTER], .to = mine}));
  }
  if (optimizer->grid->dp_size > 1) TRY(real_allgatherv(device, optimizer->grid->dp, mine, run, set->counts));
  return params_zero_grad(set->params);
}

static status_t optimizer_step_sets(optimizer_t *optimizer, double lr, double *norms) {
  perf_begin(REGION_REDUCE);
  status_code_t status = optimizer_finish_reductions(optimizer);
  if (status == STATUS_OK) status = complete_over_tp(optimizer);
  perf_end(REGION_REDUCE);
  TRY(status);
  TRY(global_norms(optimizer, norms));
  double clip = optimizer->options.grad_clip, norm = norms[optimizer->groups];
  /* As torch.nn.utils.clip_grad_norm_. */
  double scale = clip > 0.0 && clip / (norm + 1e-6) < 1.0 ? clip / (norm + 1e-6) : 1.0;
  optimizer->steps++;
  for (int32_t s = 0; s < optimizer->count; s++)
    TRY(optimizer_update_set(optimizer, &optimizer->sets[s], lr, scale));
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

int32_t optimizer_piece_count(const optimizer_t *optimizer) {
  return optimizer->piece_count;
}

optimizer_piece_t optimizer_piece(const optimizer_t *optimizer, int32_t index) {
  return optimizer->pieces[index];
}

status_t optimizer_read(const optimizer_t *optimizer, const optimizer_piece_t *piece, optimizer_state_t state,
                        float *to) {
  wide_t *from = wide_at(optimizer->device, optimizer->sets[piece->set].state[state], piece->offset);
  TRY(wide_download(optimizer->device, to, DTYPE_F32, from, (size_t)piece_elements(piece)));
  return device_synchronize(optimizer->device);
}

status_t optimizer_write(optimizer_t *optimizer, const optimizer_piece_t *piece, optimizer_state_t state,
                         const float *from) {
  wide_t *to = wide_at(optimizer->device, optimizer->sets[piece->set].state[state], piece->offset);
  return wide_upload(optimizer->device, to, from, DTYPE_F32, (size_t)piece_elements(piece));
}

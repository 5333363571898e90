/* The way of gradients and weights over dp and tp. */
#include "train/optimizer_internal.h"

#include "base/memory.h"
#include "perf/perf.h"

#include <stdio.h>
#include <string.h>

/* What rank R of dp owns of BUCKET, without the padding. */
static int64_t bucket_owned_by(const set_t *set, const bucket_t *bucket, int r) {
  int64_t left = set->params->trainable - bucket->begin - r * bucket->share;
  return left < 0 ? 0 : left < bucket->share ? left : bucket->share;
}

status_t optimizer_make_buckets(const grid_t *grid, set_t *set, int64_t largest) {
  int64_t dp = grid->dp_size, unit = dp * PARAMS_SHARE_UNIT, all = params_grad_elements(set->params);
  int64_t size = dp == 1 ? all : largest < unit ? unit : largest / unit * unit;
  if (all == 0) return STATUS_OK;
  TRY(memory_alloc(&set->buckets, ARENA_OTHER, (size_t)((all + size - 1) / size), sizeof *set->buckets));
  for (int64_t begin = 0; begin < all; begin += size) {
    bucket_t *bucket = &set->buckets[set->bucket_count++];
    *bucket = (bucket_t){
        .begin = begin, .share = (all - begin < size ? all - begin : size) / dp, .offset = set->owned};
    bucket->mine = bucket_owned_by(set, bucket, grid->dp_rank);
    set->owned += bucket->mine;
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
  TRY(comm_split(grid->tp, grid->tp_rank / replicas, grid->tp_rank, "kv", &optimizer->kv_comm));
  return device_comm_create(optimizer->device, optimizer->kv_comm);
}

status_t optimizer_make_comms(optimizer_t *optimizer) {
  const grid_t *grid = optimizer->grid;
  if (grid->dp_size > 1) {
    TRY(comm_split(grid->dp, 0, grid->dp_rank, "reduce", &optimizer->reduce_comm));
    TRY(device_comm_create(optimizer->device, optimizer->reduce_comm));
  }
  return optimizer_make_kv_comm(optimizer);
}

void optimizer_free_comms(optimizer_t *optimizer) {
  device_comm_free(optimizer->device, optimizer->kv_comm);
  device_comm_free(optimizer->device, optimizer->reduce_comm);
  comm_free(optimizer->kv_comm);
  comm_free(optimizer->reduce_comm);
}

/* ---- Over dp ---- */

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
  for (int32_t b = set->bucket_count - 1; b >= 0; b--) {
    bucket_t *bucket = &set->buckets[b];
    if (bucket->started) continue;
    if (bucket->begin < from) break;
    bucket->started = true;
    if (optimizer->grid->dp_size == 1) continue;
    TRY(wide_reduce_scatter_begin(optimizer->device, optimizer->reduce_comm,
                                  wide_at(optimizer->device, set->params->grad, bucket->begin),
                                  (size_t)bucket->share, &bucket->request));
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

status_t optimizer_finish_reductions(optimizer_t *optimizer) {
  for (int32_t g = 0; g < optimizer->groups; g++)
    TRY(optimizer_start_group(optimizer, g, -1));
  for (int32_t s = 0; s < optimizer->count; s++)
    for (int32_t b = optimizer->sets[s].bucket_count - 1; b >= 0; b--) {
      bucket_t *bucket = &optimizer->sets[s].buckets[b];
      TRY(wide_reduce_scatter_end(optimizer->device, bucket->request));
      bucket->request = NULL;
      bucket->started = false;
    }
  return STATUS_OK;
}

status_t optimizer_spread(optimizer_t *optimizer, const set_t *set) {
  const grid_t *grid = optimizer->grid;
  for (int32_t b = 0; b < set->bucket_count && grid->dp_size > 1; b++) {
    const bucket_t *bucket = &set->buckets[b];
    for (int r = 0; r < grid->dp_size; r++)
      optimizer->counts[r] = (size_t)bucket_owned_by(set, bucket, r);
    real_t *all = real_at(optimizer->device, set->weights, bucket->begin);
    TRY(real_allgatherv(optimizer->device, grid->dp,
                        real_at(optimizer->device, all, grid->dp_rank * bucket->share), all,
                        optimizer->counts));
  }
  return STATUS_OK;
}

/* ---- Over tp ---- */

/* The communicator over which a weight's gradient is summed, NULL where it is whole. */
static comm_t *completing_comm(const optimizer_t *optimizer, const param_t *param) {
  if (param->partition.complete != COMPLETE_SUM || optimizer->grid->tp_size == 1) return NULL;
  return param->partition.split == SPLIT_KV_ROWS ? optimizer->kv_comm : optimizer->grid->tp;
}

/* Runs of neighbours go in one call. */
status_t optimizer_complete_over_tp(optimizer_t *optimizer) {
  for (int32_t i = 0; i < optimizer->piece_count;) {
    const optimizer_piece_t *piece = &optimizer->pieces[i++];
    comm_t *comm = completing_comm(optimizer, piece->param);
    if (!comm) continue;
    int64_t n = piece_elements(piece);
    while (i < optimizer->piece_count && optimizer->pieces[i].set == piece->set &&
           optimizer->pieces[i].grad == piece->grad + n &&
           completing_comm(optimizer, optimizer->pieces[i].param) == comm)
      n += piece_elements(&optimizer->pieces[i++]);
    wide_t *grad = wide_at(optimizer->device, optimizer->sets[piece->set].params->grad, piece->grad);
    TRY(wide_allreduce(optimizer->device, comm, grad, (size_t)n, COMM_SUM));
  }
  return STATUS_OK;
}

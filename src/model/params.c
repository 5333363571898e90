#include "model/params.h"

#include "base/memory.h"
#include "base/random.h"
#include "tensor/ops.h"

#include <stdio.h>
#include <string.h>

/* Elements that are initialised at once. */
enum { INITIAL_BLOCK = 1 << 20 };

void params_create(device_t *device, const grid_t *grid, const char *name, params_t *out) {
  *out = (params_t){.device = device, .grid = grid};
  snprintf(out->name, sizeof out->name, "%s", name);
}

status_t params_add(params_t *params, const param_spec_t *spec, int32_t *id) {
  if (params->count == params->capacity) {
    int32_t capacity = params->capacity ? 2 * params->capacity : 64;
    TRY(memory_resize(&params->items, ARENA_OTHER, (size_t)capacity, sizeof *params->items));
    params->capacity = capacity;
  }
  param_t *param = &params->items[params->count];
  *param =
      (param_t){.ndim = spec->ndim, .init = spec->init, .init_scale = spec->init_scale, .grad_offset = -1};
  int written = snprintf(param->name, sizeof param->name, "%s", spec->name);
  if (written < 0 || (size_t)written >= sizeof param->name)
    return error_set(STATUS_INTERNAL, "name of a weight is longer than %d: %s", PARAM_NAME_MAX - 1,
                     spec->name);
  int64_t cols = 1;
  for (int d = 0; d < spec->ndim; d++)
    param->shape[d] = spec->shape[d];
  for (int d = 1; d < spec->ndim; d++)
    cols *= spec->shape[d];
  TRY(partition_make(spec->name, spec->split, spec->complete, spec->shape[0], cols, spec->heads,
                     params->device->vocabulary_unit, params->grid->tp_rank, params->grid->tp_size,
                     &param->partition));
  param->elements = partition_elements(&param->partition);
  param->offset = params->elements;
  params->elements += param->elements;
  *id = params->count++;
  return STATUS_OK;
}

status_t params_allocate(params_t *params) {
  return real_alloc(params->device, ARENA_WEIGHTS, (size_t)params->elements, &params->data);
}

int64_t params_grad_elements(const params_t *params) {
  int64_t dp = params->grid->dp_size, unit = dp > 1 ? dp * PARAMS_SHARE_UNIT : 1;
  return (params->trainable + unit - 1) / unit * unit;
}

status_t params_set_trainable(params_t *params, bool (*trainable)(const param_t *param, const void *context),
                              const void *context) {
  device_release(params->device, params->grad);
  params->grad = NULL;
  params->trainable = 0;
  for (int32_t i = 0; i < params->count; i++) {
    param_t *param = &params->items[i];
    param->trainable = trainable(param, context);
    param->grad_offset = param->trainable ? params->trainable : -1;
    param->unrounded = false;
    if (param->trainable) params->trainable += param->elements;
  }
  TRY(wide_alloc(params->device, ARENA_GRADIENTS, (size_t)params_grad_elements(params), &params->grad));
  params->keeps = dtype_size(params->device->real_type) < dtype_size(params->device->wide_type);
  return params_zero_grad(params);
}

status_t params_end_keeping(params_t *params) {
  params->keeps = false;
  for (int32_t i = 0; i < params->count; i++)
    params->items[i].unrounded = false;
  return params_zero_grad(params);
}

static bool params_always(const param_t *param, const void *context) {
  (void)param;
  (void)context;
  return true;
}

status_t params_train_all(params_t *params) {
  return params_set_trainable(params, params_always, NULL);
}

/* A number of its own for each name (FNV-1a, 64 bits): the stream of its initial values. */
static uint64_t name_hash(const char *name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char *c = name; *c; c++)
    hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
  return hash;
}

/* The initial value of one element of a weight's global (rows, cols) view. */
static double initial_value(const param_t *param, uint64_t seed, uint64_t hash, int64_t element) {
  if (param->init == INIT_ZERO) return 0.0;
  if (param->init == INIT_ONE) return 1.0;
  random_stream_t stream = random_stream(seed, RANDOM_INIT, hash ^ (uint64_t)element * 0x9e3779b97f4a7c15u);
  if (param->init == INIT_NORMAL) return param->init_scale * random_normal(&stream);
  return param->init_scale * (2.0 * random_uniform(&stream) - 1.0);
}

void param_initial(const param_t *param, uint64_t seed, int64_t first, int64_t count, float *values) {
  uint64_t hash = name_hash(param->name);
  for (int64_t i = 0; i < count; i++)
    values[i] = (float)initial_value(param, seed, hash, first + i);
}

/* Rows FIRST .. FIRST + ROWS - 1 of a stored shard to VALUES (rows, local_cols). */
static void initial_rows(const param_t *param, uint64_t seed, int64_t first, int64_t rows, double *values) {
  const partition_t *part = &param->partition;
  uint64_t hash = name_hash(param->name);
#pragma omp parallel for schedule(static)
  for (int64_t r = first; r < first + rows; r++) {
    double *row = values + (r - first) * part->local_cols;
    for (int64_t c = 0; c < part->local_cols; c++) {
      int64_t element = (part->row_begin + r) * part->cols + part->col_begin + c;
      bool padding = r >= part->row_count;
      row[c] = padding ? 0.0 : initial_value(param, seed, hash, element);
    }
  }
}

/* By blocks of rows, so that little of a large weight is ever on the host. */
static status_t initialise_one(params_t *params, int32_t id, uint64_t seed, int64_t block, double *values) {
  const param_t *param = &params->items[id];
  int64_t rows = param->partition.local_rows;
  for (int64_t first = 0; first < rows; first += block) {
    int64_t count = rows - first < block ? rows - first : block;
    initial_rows(param, seed, first, count, values);
    TRY(param_write_rows(params, id, first, count, DTYPE_F64, values));
  }
  return STATUS_OK;
}

status_t params_initialise(params_t *params, uint64_t seed) {
  for (int32_t i = 0; i < params->count; i++) {
    int64_t cols = params->items[i].partition.local_cols, rows = params->items[i].partition.local_rows;
    if (rows * cols == 0) continue;
    int64_t block = cols < INITIAL_BLOCK ? INITIAL_BLOCK / cols : 1;
    double *values;
    if (block > rows) block = rows;
    TRY(memory_alloc(&values, ARENA_OTHER, (size_t)(block * cols), sizeof *values));
    status_code_t status = initialise_one(params, i, seed, block, values);
    memory_free(values);
    TRY(status);
  }
  return STATUS_OK;
}

void params_free(params_t *params) {
  if (!params->device) return;
  device_release(params->device, params->data);
  device_release(params->device, params->grad);
  memory_free(params->items);
  *params = (params_t){0};
}

real_t *param_data(const params_t *params, int32_t id) {
  return real_at(params->device, params->data, params->items[id].offset);
}

wide_t *param_grad(const params_t *params, int32_t id) {
  const param_t *param = &params->items[id];
  return param->trainable ? wide_at(params->device, params->grad, param->grad_offset) : NULL;
}

status_t params_zero_grad(params_t *params) {
  if (params->trainable == 0) return STATUS_OK;
  return OP(params->device, fill_wide,
            &(op_fill_wide_t){.n = params_grad_elements(params), .value = 0.0, .x = params->grad});
}

status_t param_read(const params_t *params, int32_t id, dtype_t host_type, void *to) {
  TRY(real_download(params->device, to, host_type, param_data(params, id),
                    (size_t)params->items[id].elements));
  return device_synchronize(params->device);
}

status_t param_write_rows(params_t *params, int32_t id, int64_t first, int64_t rows, dtype_t host_type,
                          const void *from) {
  param_t *param = &params->items[id];
  int64_t at = first * param->partition.local_cols;
  size_t n = (size_t)(rows * param->partition.local_cols);
  if (params->keeps && param->trainable) {
    param->unrounded = true;
    TRY(wide_upload(params->device, wide_at(params->device, param_grad(params, id), at), from, host_type, n));
  }
  return real_upload(params->device, real_at(params->device, param_data(params, id), at), from, host_type, n);
}

status_t param_write(params_t *params, int32_t id, dtype_t host_type, const void *from) {
  return param_write_rows(params, id, 0, params->items[id].partition.local_rows, host_type, from);
}

int64_t params_global_elements(const params_t *params) {
  int64_t elements = 0;
  for (int32_t i = 0; i < params->count; i++)
    elements += params->items[i].partition.rows * params->items[i].partition.cols;
  return elements;
}

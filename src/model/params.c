#include "model/param_writer.h"

#include "base/memory.h"
#include "base/random.h"
#include "tensor/ops.h"
#include "tensor/weight_nf4.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Elements that are initialised at once. */
enum { INITIAL_BLOCK = 1 << 20 };

void params_create(device_t *device, const grid_t *grid, const char *name, params_t *out) {
  *out = (params_t){.device = device, .grid = grid};
  snprintf(out->name, sizeof out->name, "%s", name);
}

static weight_t weight_of(const param_t *param, const void *data) {
  const partition_t *part = &param->partition;
  return (weight_t){.format = param->format,
                    .rows = part->local_rows,
                    .cols = part->local_cols,
                    .data = data,
                    .row_begin = part->row_begin,
                    .col_begin = part->col_begin,
                    .whole_rows = part->rows,
                    .whole_cols = part->cols};
}

/* Behind the weights before it: at once, or where operations like weights to begin. */
static void place(params_t *params, param_t *param, bool follows) {
  weight_format_t before = params->count > 0 ? params->items[params->count - 1].format : param->format;
  if (before != param->format || (param->format != WEIGHT_REAL && !follows))
    params->bytes = (params->bytes + WEIGHT_ALIGNMENT - 1) / WEIGHT_ALIGNMENT * WEIGHT_ALIGNMENT;
  param->offset = params->bytes;
  const weight_t weight = weight_of(param, NULL);
  params->bytes += param->format == WEIGHT_NF4 ? weight_nf4_bytes(&weight)
                                               : weight_bytes(params->device, param->format, param->elements);
}

status_t params_add(params_t *params, const param_spec_t *spec, int32_t *id) {
  if (params->count == params->capacity) {
    int32_t capacity = params->capacity ? 2 * params->capacity : 64;
    TRY(memory_resize(&params->items, ARENA_OTHER, (size_t)capacity, sizeof *params->items));
    params->capacity = capacity;
  }
  param_t *param = &params->items[params->count];
  *param = (param_t){.ndim = spec->ndim,
                     .format = spec->format,
                     .init = spec->init,
                     .init_scale = spec->init_scale,
                     .grad_offset = -1};
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
  params->elements += param->elements;
  place(params, param, spec->follows);
  *id = params->count++;
  return STATUS_OK;
}

status_t params_allocate(params_t *params) {
  const arena_t arena = ARENA_WEIGHTS;
  return device_alloc(params->device, &arena, params->bytes, &params->data);
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

/* Rows FIRST .. FIRST + ROWS - 1 of a stored shard, columns BEGIN .. BEGIN + COLS - 1 of the whole weight, to
 * VALUES (rows, cols). */
static void initial_rows(const param_t *param, uint64_t seed, int64_t first, int64_t rows, int64_t begin,
                         int64_t cols, double *values) {
  const partition_t *part = &param->partition;
  uint64_t hash = name_hash(param->name);
#pragma omp parallel for schedule(static)
  for (int64_t r = first; r < first + rows; r++) {
    double *row = values + (r - first) * cols;
    for (int64_t c = 0; c < cols; c++) {
      int64_t element = (part->row_begin + r) * part->cols + begin + c;
      bool padding = r >= part->row_count;
      row[c] = padding ? 0.0 : initial_value(param, seed, hash, element);
    }
  }
}

/* Rows FIRST .. of a weight in NF4 by way of its WRITER, in single precision. */
static status_t take_initial_rows(param_writer_t *writer, int64_t first, int64_t n, const double *values) {
  float *singles = NULL;
  TRY(memory_alloc(&singles, ARENA_OTHER, (size_t)n, sizeof *singles));
  for (int64_t i = 0; i < n; i++)
    singles[i] = (float)values[i];
  status_code_t status = param_writer_take(writer, first * writer->col_count, n, singles);
  memory_free(singles);
  return status;
}

/* By blocks of rows, so that little of a large weight is ever on the host. */
static status_t initialise_one(params_t *params, uint64_t seed, int64_t block, param_writer_t *writer,
                               double *values) {
  const param_t *param = &params->items[writer->id];
  int64_t rows = param->partition.local_rows, cols = writer->col_count;
  for (int64_t first = 0; first < rows; first += block) {
    int64_t count = rows - first < block ? rows - first : block, n = count * cols;
    initial_rows(param, seed, first, count, writer->col_begin, cols, values);
    if (param->format == WEIGHT_NF4)
      TRY(take_initial_rows(writer, first, n, values));
    else
      TRY(param_write_elements(params, writer->id, first * cols, n, DTYPE_F64, values));
  }
  return param->format == WEIGHT_NF4 ? param_writer_end(writer) : STATUS_OK;
}

status_t params_initialise(params_t *params, uint64_t seed) {
  for (int32_t i = 0; i < params->count; i++) {
    if (params->items[i].elements == 0) continue;
    SCOPED(param_writer_free) param_writer_t writer = {0};
    SCOPED_MEMORY double *values = NULL;
    TRY(param_writer_begin(params, i, &writer));
    int64_t rows = params->items[i].partition.local_rows;
    int64_t block = writer.col_count < INITIAL_BLOCK ? INITIAL_BLOCK / writer.col_count : 1;
    if (block > rows) block = rows;
    TRY(memory_alloc(&values, ARENA_OTHER, (size_t)(block * writer.col_count), sizeof *values));
    TRY(initialise_one(params, seed, block, &writer, values));
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

static void *param_place(const params_t *params, int32_t id) {
  return (char *)params->data + params->items[id].offset;
}

weight_t param_weight(const params_t *params, int32_t id) {
  return weight_of(&params->items[id], param_place(params, id));
}

real_t *param_real(const params_t *params, int32_t id) {
  assert(params->items[id].format == WEIGHT_REAL);
  return param_place(params, id);
}

status_t params_trained(const params_t *params, real_t **out) {
  *out = NULL;
  for (int32_t i = 0; i < params->count; i++) {
    const param_t *param = &params->items[i];
    if (!param->trainable) continue;
    real_t *first = real_at(params->device, param_place(params, i), -param->grad_offset);
    if (!*out) *out = first;
    if (first != *out || param->format != WEIGHT_REAL)
      return error_set(STATUS_INTERNAL,
                       "trained weights of '%s' do not lie side by side in the compute type at %s",
                       params->name, param->name);
  }
  return STATUS_OK;
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

static status_t not_in_nf4(const params_t *params, int32_t id, const char *what) {
  if (params->items[id].format != WEIGHT_NF4) return STATUS_OK;
  return error_set(STATUS_INTERNAL, "%s is kept in NF4 and cannot be %s element by element",
                   params->items[id].name, what);
}

status_t param_read_elements(const params_t *params, int32_t id, int64_t first, int64_t n, dtype_t host_type,
                             void *to) {
  const void *from = param_place(params, id);
  TRY(not_in_nf4(params, id, "read"));
  if (params->items[id].format == WEIGHT_BF16)
    TRY(half_download(params->device, to, host_type, half_at(from, first), (size_t)n));
  else
    TRY(real_download(params->device, to, host_type, real_at(params->device, from, first), (size_t)n));
  return device_synchronize(params->device);
}

status_t param_write_elements(params_t *params, int32_t id, int64_t first, int64_t n, dtype_t host_type,
                              const void *from) {
  param_t *param = &params->items[id];
  void *to = param_place(params, id);
  TRY(not_in_nf4(params, id, "written"));
  if (param->format == WEIGHT_BF16)
    return half_upload(params->device, half_at(to, first), from, host_type, (size_t)n);
  if (params->keeps && param->trainable) {
    param->unrounded = true;
    wide_t *kept = wide_at(params->device, param_grad(params, id), first);
    TRY(wide_upload(params->device, kept, from, host_type, (size_t)n));
  }
  return real_upload(params->device, real_at(params->device, to, first), from, host_type, (size_t)n);
}

status_t param_read(const params_t *params, int32_t id, dtype_t host_type, void *to) {
  return param_read_elements(params, id, 0, params->items[id].elements, host_type, to);
}

status_t param_write(params_t *params, int32_t id, dtype_t host_type, const void *from) {
  return param_write_elements(params, id, 0, params->items[id].elements, host_type, from);
}

/* Row by row: each rank has few of them. */
status_t params_clear_padding(params_t *params) {
  for (int32_t i = 0; i < params->count; i++) {
    const partition_t *part = &params->items[i].partition;
    SCOPED_MEMORY float *zeros = NULL;
    if (part->row_count == part->local_rows) continue;
    TRY(memory_alloc(&zeros, ARENA_OTHER, (size_t)part->local_cols, sizeof *zeros));
    for (int64_t row = part->row_count; row < part->local_rows; row++)
      TRY(param_write_elements(params, i, row * part->local_cols, part->local_cols, DTYPE_F32, zeros));
  }
  return STATUS_OK;
}

dtype_t param_stored(const params_t *params, int32_t id) {
  bool real = params->items[id].format == WEIGHT_REAL;
  return !real || params->device->real_type == DTYPE_BF16 ? DTYPE_BF16 : DTYPE_F32;
}

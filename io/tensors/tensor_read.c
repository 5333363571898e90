/* Ranges of elements, from the file straight to where they are wanted, or through a small stage where they
 * are converted or put into order. */
#include "base/half.h"
#include "base/memory.h"
#include "io/tensors/tensor_set.h"

#include <string.h>

enum {
  STAGE_BYTES = 256 * 1024, /* stays in the cache between reading and converting */
  DENSE_BYTES = 16 * 1024   /* runs that begin this close to each other are read with what lies between */
};

/* ---- Conversion ---- */

static void doubles_to_f32(const void *from, float *to, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double value;
    memcpy(&value, (const char *)from + 8 * i, sizeof value);
    to[i] = (float)value;
  }
}

/* N elements of TYPE, a real one, to float. */
static void tensor_read_convert(tensor_type_t type, const void *from, float *to, size_t n) {
  if (type == TENSOR_BF16)
    half_from_bf16(from, to, n);
  else if (type == TENSOR_F16)
    half_from_f16(from, to, n);
  else if (type == TENSOR_F64)
    doubles_to_f32(from, to, n);
  else
    memcpy(to, from, n * sizeof *to);
}

/* ---- One read ---- */

typedef struct {
  const tensor_source_t *source;
  const tensor_record_t *record;
  int64_t first, count;
  char *out;
  bool floats;  /* OUT takes floats, not what is stored */
  int64_t size; /* bytes of a stored element */
  char *stage;  /* (STAGE_BYTES) of the file from byte STAGE_AT on, STAGED of them */
  int64_t stage_at, staged;
  float *converted; /* (STAGE_BYTES / sizeof(float)), where floats are wanted */
} range_t;

static status_t stage_alloc(range_t *range) {
  TRY(memory_alloc(&range->stage, ARENA_IO, STAGE_BYTES, 1));
  if (!range->floats) return STATUS_OK;
  return memory_alloc(&range->converted, ARENA_IO, STAGE_BYTES, 1);
}

static status_t tensor_read_converted(range_t *range) {
  const int64_t most = STAGE_BYTES / range->size;
  int64_t place = range->record->entry.place + range->first * range->size;
  for (int64_t at = 0; at < range->count; at += most) {
    int64_t n = range->count - at < most ? range->count - at : most;
    TRY(tensor_source_read(range->source, range->stage, (size_t)(n * range->size), place + at * range->size));
    tensor_read_convert(range->record->entry.type, range->stage, (float *)range->out + at, (size_t)n);
  }
  return STATUS_OK;
}

/* ---- Views ---- */

/* An axis of the box that is walked, in order of falling strides. */
typedef struct {
  int64_t n;
  int64_t stride; /* elements of the file from one index to the next */
  int64_t step;   /* elements of the result */
} tensor_read_axis_t;

typedef struct {
  tensor_read_axis_t axes[TENSOR_MAX_DIMS];
  int count;
  int64_t place;    /* byte of the file of its first element */
  int64_t position; /* of that element in the result; the box may begin before the range */
} box_t;

static void box_add(box_t *box, tensor_read_axis_t axis) {
  int i = box->count++;
  for (; i > 0 && box->axes[i - 1].stride < axis.stride; i--)
    box->axes[i] = box->axes[i - 1];
  box->axes[i] = axis;
}

/* The smallest box of indices that holds the range: one index of the leading dimensions in which its first
 * and last element agree, a stretch of the next one, all of the rest. */
static void box_around(const range_t *range, box_t *box) {
  const tensor_entry_t *entry = &range->record->entry;
  int64_t rest = entry->elements, first = range->first, last = range->first + range->count - 1;
  bool whole = false;
  *box = (box_t){.place = entry->place, .position = -range->first};
  for (int d = 0; d < entry->dims; d++) {
    rest /= entry->shape[d];
    int64_t begin = whole ? 0 : first / rest, end = whole ? entry->shape[d] - 1 : last / rest;
    if (!whole) first %= rest, last %= rest;
    whole = whole || begin != end;
    box->place += begin * range->record->stride[d] * range->size;
    box->position += begin * rest;
    if (end > begin) box_add(box, (tensor_read_axis_t){end - begin + 1, range->record->stride[d], rest});
  }
  if (box->count == 0) box_add(box, (tensor_read_axis_t){1, 1, 1});
}

/* Makes *BYTES point to N staged bytes of the file from PLACE on; AHEAD: it is worth to read more of it. */
static status_t stage_get(range_t *range, int64_t place, int64_t n, bool ahead, const char **bytes) {
  if (place < range->stage_at || place + n > range->stage_at + range->staged) {
    int64_t most = range->record->end - place < STAGE_BYTES ? range->record->end - place : STAGE_BYTES;
    range->staged = 0;
    TRY(tensor_source_read(range->source, range->stage, (size_t)(ahead ? most : n), place));
    range->stage_at = place;
    range->staged = ahead ? most : n;
  }
  *bytes = range->stage + (place - range->stage_at);
  return STATUS_OK;
}

/* Puts N elements of SIZE bytes to POSITION, POSITION + STEP, ... of the result, as far as it goes. */
static inline void tensor_read_scatter(const range_t *range, const char *from, size_t size, int64_t n,
                                       int64_t position, int64_t step) {
  for (int64_t i = 0; i < n; i++, position += step)
    if (position >= 0 && position < range->count)
      memcpy(range->out + (size_t)position * size, from + (size_t)i * size, size);
}

static void tensor_read_put(const range_t *range, const char *from, int64_t n, int64_t position,
                            int64_t step) {
  size_t size = range->floats ? sizeof(float) : (size_t)range->size;
  if (range->floats) {
    tensor_read_convert(range->record->entry.type, from, range->converted, (size_t)n);
    from = (const char *)range->converted;
  }
  /* Each with a size that the compiler knows. */
  if (size == 1)
    tensor_read_scatter(range, from, 1, n, position, step);
  else if (size == 2)
    tensor_read_scatter(range, from, 2, n, position, step);
  else if (size == 4)
    tensor_read_scatter(range, from, 4, n, position, step);
  else
    tensor_read_scatter(range, from, 8, n, position, step);
}

/* The elements of the innermost axis, which begin at PLACE and go to POSITION. */
static status_t tensor_read_run(range_t *range, tensor_read_axis_t axis, int64_t place, int64_t position,
                                bool ahead) {
  const char *bytes;
  int64_t most = axis.stride == 1 ? STAGE_BYTES / 8 : 1;
  for (int64_t i = 0; i < axis.n; i += most) {
    int64_t n = axis.n - i < most ? axis.n - i : most;
    TRY(stage_get(range, place + i * axis.stride * range->size, n * range->size, ahead, &bytes));
    tensor_read_put(range, bytes, n, position + i * axis.step, axis.step);
  }
  return STATUS_OK;
}

/* Are the runs of the innermost axis, or where it has none its elements, near enough to each other? */
static bool box_dense(const box_t *box, int64_t size) {
  const tensor_read_axis_t *inner = &box->axes[box->count - 1];
  if (inner->stride != 1) return inner->stride <= DENSE_BYTES / size;
  return box->count > 1 && inner[-1].stride <= DENSE_BYTES / size;
}

/* Walks the file forwards and puts each element where it belongs. */
static status_t tensor_read_view(range_t *range) {
  box_t box;
  box_around(range, &box);
  const int outer = box.count - 1;
  const bool ahead = box_dense(&box, range->size);
  int64_t at[TENSOR_MAX_DIMS] = {0}, place = box.place, position = box.position;
  for (int d = 0; d >= 0;) {
    TRY(tensor_read_run(range, box.axes[outer], place, position, ahead));
    for (d = outer - 1; d >= 0; d--) {
      const tensor_read_axis_t *axis = &box.axes[d];
      place += axis->stride * range->size;
      position += axis->step;
      if (++at[d] < axis->n) break;
      place -= axis->n * axis->stride * range->size;
      position -= axis->n * axis->step;
      at[d] = 0;
    }
  }
  return STATUS_OK;
}

/* ---- Entry points ---- */

static status_t tensor_read_range(const tensor_files_t *files, const tensor_entry_t *entry, int64_t first,
                                  int64_t count, void *out, bool floats) {
  const tensor_record_t *record = (const tensor_record_t *)entry;
  if (first < 0 || count < 0 || first > entry->elements || count > entry->elements - first)
    return error_set(STATUS_INTERNAL, "tensor '%s': %lld elements from %lld on wanted of %lld", entry->name,
                     (long long)count, (long long)first, (long long)entry->elements);
  range_t range = {.source = &files->sources[record->source],
                   .record = record,
                   .first = first,
                   .count = count,
                   .out = out,
                   .floats = floats,
                   .size = (int64_t)tensor_type_size(entry->type)};
  if (count == 0) return STATUS_OK;
  if (entry->contiguous && !(floats && entry->type != TENSOR_F32))
    return tensor_source_read(range.source, out, (size_t)(count * range.size),
                              entry->place + first * range.size);
  status_code_t status = stage_alloc(&range);
  if (status == STATUS_OK)
    status = entry->contiguous ? tensor_read_converted(&range) : tensor_read_view(&range);
  memory_free(range.stage);
  memory_free(range.converted);
  return status;
}

status_t tensor_files_read(const tensor_files_t *files, const tensor_entry_t *entry, int64_t first,
                           int64_t count, void *data) {
  return tensor_read_range(files, entry, first, count, data, false);
}

status_t tensor_files_read_f32(const tensor_files_t *files, const tensor_entry_t *entry, int64_t first,
                               int64_t count, float *data) {
  if (tensor_type_is_real(entry->type)) return tensor_read_range(files, entry, first, count, data, true);
  return error_set(STATUS_DATA, "%s: tensor '%.200s': type %s found, expected F64, F32, F16 or BF16",
                   entry->file, entry->name, tensor_type_name(entry->type));
}

#include "tensor/plain/access.h"

#include "tensor/plain/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MESSAGE_BYTES = 300 };

access_t access_begin(device_t *device, const char *op) {
  return (access_t){.device = device, .op = op, .status = STATUS_OK};
}

static void access_close(access_t *access) {
  for (int i = 0; i < access->count; i++)
    if (access->operands[i].block)
      guard_close(&plain_state(access->device)->guard, access->operands[i].block);
  access->count = 0;
}

void access_end(access_t *access) {
  access_close(access);
}

status_t access_ready(access_t *access) {
  if (access->status != STATUS_OK) access_close(access);
  return access->status;
}

void access_require(access_t *access, bool condition, const char *format, ...) {
  if (condition || access->status != STATUS_OK) return;
  char message[MESSAGE_BYTES];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  access->status = error_set(STATUS_DEVICE, "%s: %s", access->op, message);
}

/* ---- Overlaps ---- */

/* Elements from the operand's first to just behind its last. */
static int64_t extent_plain(const access_operand_t *operand) {
  return (operand->rows - 1) * operand->ld + operand->cols;
}

static bool writes_plain(access_use_t use) {
  return use == ACCESS_WRITE || use == ACCESS_UPDATE || use == ACCESS_PATCH;
}

static bool same_plain(const access_operand_t *a, const access_operand_t *b) {
  return a->begin == b->begin && a->rows == b->rows && a->cols == b->cols && a->size == b->size &&
         (a->rows == 1 || a->ld == b->ld);
}

/* Whether two operands have an element in common. Column blocks of the same rows (q, k and v side by side)
 * have not. */
static bool overlap_plain(const access_operand_t *a, const access_operand_t *b) {
  if (a->begin + (size_t)extent_plain(a) * a->size <= b->begin ||
      b->begin + (size_t)extent_plain(b) * b->size <= a->begin)
    return false;
  if (b->begin < a->begin) return overlap_plain(b, a);
  size_t distance = b->begin - a->begin;
  bool one_stride = a->ld == b->ld || a->rows == 1 || b->rows == 1;
  if (a->size != b->size || distance % a->size != 0 || !one_stride) return true;
  int64_t ld = a->rows > 1 ? a->ld : b->ld;
  if (a->rows == 1 && b->rows == 1) return true;
  int64_t column = (int64_t)(distance / a->size) % ld;
  return !(column >= a->cols && column + b->cols <= ld);
}

static bool may_be(const access_operand_t *a, const access_operand_t *b) {
  return a->over && (uintptr_t)a->over == b->begin && same_plain(a, b);
}

static void check_overlaps(access_t *access, const access_operand_t *fresh) {
  for (int i = 0; i < access->count; i++) {
    const access_operand_t *other = &access->operands[i];
    if (!writes_plain(fresh->use) && !writes_plain(other->use)) continue;
    if (may_be(fresh, other) || may_be(other, fresh)) continue;
    access_require(access, !overlap_plain(fresh, other), "operands '%s' and '%s' overlap", other->name,
                   fresh->name);
  }
}

/* ---- Bounds and poison (checking mode) ---- */

static void open_block(access_t *access, access_operand_t *operand) {
  plain_state_t *state = plain_state(access->device);
  size_t bytes = (size_t)extent_plain(operand) * operand->size;
  guard_block_t *block = guard_find(&state->guard, (void *)operand->begin, bytes);
  if (!block) {
    bool inside = guard_contains(&state->guard, (void *)operand->begin);
    access_require(access, false, "operand '%s' (%lld x %lld, row stride %lld) is %s", operand->name,
                   (long long)operand->rows, (long long)operand->cols, (long long)operand->ld,
                   inside ? "not inside one block of device memory: it is too short"
                          : "host memory or another device's");
    return;
  }
  access_require(access, block->live, "operand '%s' was freed", operand->name);
  for (const plain_reduction_t *r = state->reductions; r; r = r->next)
    access_require(access,
                   operand->begin + bytes <= (uintptr_t)r->data ||
                       (uintptr_t)r->data + r->bytes <= operand->begin,
                   "operand '%s' is being reduced: wait for wide_reduce_scatter_end first", operand->name);
  if (access->status != STATUS_OK) return;
  access->status = guard_open(&state->guard, block);
  if (access->status == STATUS_OK) operand->block = block;
}

/* Of an element of bf16, whose poison is half a word, the word around it counts. */
static bool poisoned_plain(const unsigned char *element, size_t size) {
  const uint32_t *words = (const void *)(element - (uintptr_t)element % sizeof *words);
  return words[0] == GUARD_POISON && (size <= sizeof *words || words[1] == GUARD_POISON);
}

static void check_poison(access_t *access, const access_operand_t *operand) {
  const unsigned char *data = (const unsigned char *)operand->begin;
  for (int64_t row = 0; row < operand->rows; row++)
    for (int64_t col = 0; col < operand->cols; col++)
      if (poisoned_plain(data + (size_t)(row * operand->ld + col) * operand->size, operand->size)) {
        access_require(access, false,
                       "operand '%s' holds memory that nobody wrote, first at row %lld, column %lld",
                       operand->name, (long long)row, (long long)col);
        return;
      }
}

void access_operand(access_t *access, const char *name, const void *pointer, size_t size, int64_t rows,
                    int64_t cols, int64_t ld, access_use_t use, const void *over) {
  access_require(access, rows >= 0 && cols >= 0, "operand '%s' has a negative size: %lld x %lld", name,
                 (long long)rows, (long long)cols);
  if (access->status != STATUS_OK || rows == 0 || cols == 0) return;
  access_require(access, pointer, "operand '%s' is NULL", name);
  access_require(access, rows == 1 || ld >= cols,
                 "operand '%s' has row stride %lld, less than its %lld columns", name, (long long)ld,
                 (long long)cols);
  access_require(access, access->count < ACCESS_OPERANDS_MAX, "too many operands");
  if (access->status != STATUS_OK) return;
  access_operand_t operand = {.name = name,
                              .begin = (uintptr_t)pointer,
                              .rows = rows,
                              .cols = cols,
                              .ld = ld,
                              .size = size,
                              .use = use,
                              .over = over};
  check_overlaps(access, &operand);
  if (access->status != STATUS_OK) return;
  bool checking = plain_state(access->device)->checking;
  if (checking) open_block(access, &operand);
  access->operands[access->count++] = operand;
  if (access->status != STATUS_OK || !checking) return;
  if (use == ACCESS_READ || use == ACCESS_UPDATE) check_poison(access, &operand);
}

void access_touch(access_t *access, const char *name, const void *pointer, size_t size, int64_t element,
                  int64_t count) {
  if (access->status != STATUS_OK || !plain_state(access->device)->checking) return;
  const unsigned char *data = (const unsigned char *)pointer + (size_t)element * size;
  for (int64_t i = 0; i < count; i++)
    access_require(access, !poisoned_plain(data + (size_t)i * size, size),
                   "operand '%s' holds memory that nobody wrote, first at element %lld", name,
                   (long long)(element + i));
}

/* ---- Indices ---- */

static int compare_int32(const void *a, const void *b) {
  int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;
  return (left > right) - (left < right);
}

static void check_distinct(access_t *access, const char *name, const int32_t *values, int64_t n) {
  int32_t *sorted = NULL;
  access->status = memory_alloc(&sorted, ARENA_SCRATCH, (size_t)n, sizeof *sorted);
  if (access->status != STATUS_OK) return;
  for (int64_t i = 0; i < n; i++)
    sorted[i] = values[i];
  qsort(sorted, (size_t)n, sizeof *sorted, compare_int32);
  for (int64_t i = 1; i < n; i++)
    access_require(access, sorted[i] < 0 || sorted[i] != sorted[i - 1], "index operand '%s' holds %d twice",
                   name, sorted[i]);
  memory_free(sorted);
}

void access_index(access_t *access, const char *name, const index_t *pointer, int64_t n, int64_t min,
                  int64_t max, bool distinct) {
  access_operand(access, name, pointer, sizeof(int32_t), 1, n, n, ACCESS_READ, NULL);
  if (access->status != STATUS_OK || n == 0) return;
  const int32_t *values = (const int32_t *)pointer;
  for (int64_t i = 0; i < n; i++)
    access_require(access, values[i] >= min && values[i] <= max,
                   "index operand '%s' holds %d at %lld, expected %lld..%lld", name, values[i], (long long)i,
                   (long long)min, (long long)max);
  if (distinct && access->status == STATUS_OK) check_distinct(access, name, values, n);
}

int64_t access_index_max(const access_t *access, const index_t *pointer, int64_t n) {
  int64_t max = -1;
  if (access->status != STATUS_OK) return max;
  for (int64_t i = 0; i < n; i++)
    if (((const int32_t *)pointer)[i] > max) max = ((const int32_t *)pointer)[i];
  return max;
}

#include "data/order.h"

#include "base/memory.h"
#include "base/random.h"

#include <string.h>

static status_t arrays_make(order_t *order, const int64_t *rows) {
  const size_t n = (size_t)order->count;
  if (rows != NULL) {
    TRY(memory_alloc(&order->rows, ARENA_DATA, n, sizeof *rows));
    memcpy(order->rows, rows, n * sizeof *rows);
  }
  for (int k = 0; k < 2; k++) {
    order->epochs[k] = -1;
    if (order->shuffled) TRY(memory_alloc(&order->permutations[k], ARENA_DATA, n, sizeof *rows));
  }
  return STATUS_OK;
}

status_t order_create(uint64_t seed, bool shuffled, const int64_t *rows, int64_t count, order_t *order) {
  *order = (order_t){.seed = seed, .shuffled = shuffled, .count = count};
  if (count <= 0) return error_set(STATUS_DATA, "there are no samples to draw from");
  status_code_t status = arrays_make(order, rows);
  if (status != STATUS_OK) order_free(order);
  return status;
}

void order_free(order_t *order) {
  memory_free(order->rows);
  memory_free(order->permutations[0]);
  memory_free(order->permutations[1]);
  *order = (order_t){0};
}

int64_t order_epoch(const order_t *order, int64_t position) {
  return position / order->count;
}

int64_t order_place(const order_t *order, int64_t position) {
  return position % order->count;
}

/* The permutation of EPOCH; even and odd epochs have a place each. */
static const int64_t *order_permutation(order_t *order, int64_t epoch) {
  int k = (int)(epoch % 2);
  if (order->epochs[k] != epoch) {
    random_permutation(order->seed, RANDOM_ORDER, (uint64_t)epoch, order->count, order->permutations[k]);
    order->epochs[k] = epoch;
  }
  return order->permutations[k];
}

status_t order_rows(order_t *order, int64_t position, int64_t n, int64_t *rows) {
  if (position < 0 || n < 0)
    return error_set(STATUS_INTERNAL, "%lld samples from position %lld were asked for", (long long)n,
                     (long long)position);
  for (int64_t i = 0; i < n; i++) {
    int64_t place = order_place(order, position + i);
    int64_t index =
        order->shuffled ? order_permutation(order, order_epoch(order, position + i))[place] : place;
    rows[i] = order->rows == NULL ? index : order->rows[index];
  }
  return STATUS_OK;
}

#include "data/order.h"

#include "base/random.h"

static status_t arrays_make(comm_t *comm, order_t *order, const int64_t *rows) {
  const size_t n = (size_t)order->count, arrays = order->shuffled ? 3 : 1;
  TRY(node_memory_create(comm, ARENA_DATA, arrays * n, sizeof *rows, &order->memory));
  order->rows = node_memory_data(order->memory);
  for (size_t i = 0; i < n && node_memory_writes(order->memory); i++)
    order->rows[i] = rows ? rows[i] : (int64_t)i;
  for (int k = 0; k < 2; k++) {
    order->epochs[k] = -1;
    if (order->shuffled) order->permutations[k] = order->rows + (size_t)(k + 1) * n;
  }
  return node_memory_meet(order->memory);
}

status_t order_create(comm_t *comm, uint64_t seed, bool shuffled, const int64_t *rows, int64_t count,
                      order_t *order) {
  *order = (order_t){.seed = seed, .shuffled = shuffled, .count = count};
  if (count <= 0) return error_set(STATUS_DATA, "there are no samples to draw from");
  status_code_t status = arrays_make(comm, order, rows);
  if (status != STATUS_OK) order_free(order);
  return status;
}

void order_free(order_t *order) {
  node_memory_free(order->memory);
  *order = (order_t){0};
}

int64_t order_epoch(const order_t *order, int64_t position) {
  return position / order->count;
}

int64_t order_place(const order_t *order, int64_t position) {
  return position % order->count;
}

/* The permutation of EPOCH; even and odd epochs have a place each. */
static status_t order_permutation(order_t *order, int64_t epoch, const int64_t **permutation) {
  int k = (int)(epoch % 2);
  *permutation = order->permutations[k];
  if (order->epochs[k] == epoch) return STATUS_OK;
  TRY(node_memory_meet(order->memory)); /* nobody reads the one that was there */
  if (node_memory_writes(order->memory))
    random_permutation(order->seed, RANDOM_ORDER, (uint64_t)epoch, order->count, order->permutations[k]);
  order->epochs[k] = epoch;
  return node_memory_meet(order->memory);
}

status_t order_rows(order_t *order, int64_t position, int64_t n, int64_t *rows) {
  if (position < 0 || n < 0)
    return error_set(STATUS_INTERNAL, "%lld samples from position %lld were asked for", (long long)n,
                     (long long)position);
  for (int64_t i = 0; i < n; i++) {
    int64_t place = order_place(order, position + i);
    const int64_t *permutation = NULL;
    if (order->shuffled) TRY(order_permutation(order, order_epoch(order, position + i), &permutation));
    rows[i] = order->rows[permutation ? permutation[place] : place];
  }
  return STATUS_OK;
}

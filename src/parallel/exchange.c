#include "parallel/exchange.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Stands before each item's bytes in a message; the bytes are followed by padding up to a multiple of
 * ALIGNMENT. */
typedef struct {
  int64_t id;
  uint64_t size;
} exchange_head_t;

enum { ALIGNMENT = 16 };
_Static_assert(sizeof(exchange_head_t) == ALIGNMENT, "an item's bytes stay aligned behind its head");

static size_t message_size(size_t item_size) {
  return sizeof(exchange_head_t) + (item_size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* What one exchange needs on its way. */
typedef struct {
  size_t *send_counts; /* (ranks): bytes to each */
  size_t *recv_counts; /* (ranks) */
  size_t *places;      /* (ranks): where the next item for each goes in SEND */
  char *send;
} staging_t;

/* What this rank sends, laid out. */
static status_t staging_pack(staging_t *staging, size_t ranks, const exchange_item_t *items, int64_t count) {
  size_t total = 0;
  TRY(memory_alloc(&staging->send_counts, ARENA_COMM, ranks, sizeof(size_t)));
  TRY(memory_alloc(&staging->recv_counts, ARENA_COMM, ranks, sizeof(size_t)));
  TRY(memory_alloc(&staging->places, ARENA_COMM, ranks, sizeof(size_t)));
  for (int64_t i = 0; i < count; i++) {
    if (items[i].destination < 0 || items[i].destination >= (int)ranks)
      return error_set(STATUS_INTERNAL, "exchange_items: item %" PRId64 " is for rank %d of %d", items[i].id,
                       items[i].destination, (int)ranks);
    staging->send_counts[items[i].destination] += message_size(items[i].size);
  }
  for (size_t r = 0; r < ranks; r++) {
    staging->places[r] = total;
    total += staging->send_counts[r];
  }
  TRY(memory_alloc(&staging->send, ARENA_COMM, total, 1));
  for (int64_t i = 0; i < count; i++) {
    char *place = staging->send + staging->places[items[i].destination];
    exchange_head_t head = {items[i].id, items[i].size};
    memcpy(place, &head, sizeof head);
    if (items[i].size > 0) memcpy(place + sizeof head, items[i].bytes, items[i].size);
    staging->places[items[i].destination] += message_size(items[i].size);
  }
  return STATUS_OK;
}

static int by_id(const void *a, const void *b) {
  int64_t x = ((const exchange_received_t *)a)->id, y = ((const exchange_received_t *)b)->id;
  return (x > y) - (x < y);
}

static int64_t exchange_count_messages(const char *bytes, size_t total) {
  int64_t count = 0;
  for (size_t at = 0; at < total; count++) {
    exchange_head_t head;
    memcpy(&head, bytes + at, sizeof head);
    at += message_size(head.size);
  }
  return count;
}

/* Makes the list of items in RESULT->storage (TOTAL bytes). */
static status_t exchange_list_items(exchange_t *result, size_t total) {
  const char *bytes = result->storage;
  result->count = exchange_count_messages(bytes, total);
  TRY(memory_alloc(&result->items, ARENA_COMM, (size_t)result->count, sizeof *result->items));
  for (int64_t i = 0; i < result->count; i++) {
    exchange_head_t head;
    memcpy(&head, bytes, sizeof head);
    result->items[i] = (exchange_received_t){head.id, bytes + sizeof head, head.size};
    bytes += message_size(head.size);
  }
  if (result->count > 1) qsort(result->items, (size_t)result->count, sizeof *result->items, by_id);
  for (int64_t i = 1; i < result->count; i++) {
    if (result->items[i].id == result->items[i - 1].id)
      return error_set(STATUS_INTERNAL, "exchange_items: two items have the number %" PRId64,
                       result->items[i].id);
  }
  return STATUS_OK;
}

static void staging_free(staging_t *staging) {
  memory_free(staging->send);
  memory_free(staging->places);
  memory_free(staging->recv_counts);
  memory_free(staging->send_counts);
}

/* The ranks agree before bytes move and after they have been listed: two reductions of two integers beside
 * the exchange's own collective of counts, some microseconds a few times in a training step. */
status_t exchange_items(comm_t *comm, const exchange_item_t *items, int64_t count, exchange_t *out) {
  SCOPED(staging_free) staging_t staging = {0};
  SCOPED(exchange_free) exchange_t result = {0};
  size_t ranks = (size_t)comm_size(comm), total = 0, room = 0;
  *out = (exchange_t){0};
  TRY(comm_agree(comm, staging_pack(&staging, ranks, items, count)));
  TRY(comm_exchange_bytes(comm, staging.send, staging.send_counts, &result.storage, &room,
                          staging.recv_counts));
  for (size_t r = 0; r < ranks; r++)
    total += staging.recv_counts[r];
  TRY(comm_agree(comm, exchange_list_items(&result, total)));
  *out = result;
  result = (exchange_t){0};
  return STATUS_OK;
}

void exchange_free(exchange_t *result) {
  memory_free(result->items);
  memory_free(result->storage);
  *result = (exchange_t){0};
}

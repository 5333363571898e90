/* Dealing by length: longest first, to whoever has least (Graham 1969, LPT), and first-fit decreasing for
 * micro-batches (Johnson 1973). Both depend on lengths and indices alone. */
#include "base/memory.h"
#include "parallel/exchange.h"

#include <inttypes.h>
#include <stdlib.h>

/* Something to deal: a sequence or a unit of several. */
typedef struct {
  int64_t tokens;
  int64_t index;
} load_t;

static int by_tokens_down(const void *a, const void *b) {
  const load_t *x = a, *y = b;
  if (x->tokens != y->tokens) return x->tokens < y->tokens ? 1 : -1;
  return (x->index > y->index) - (x->index < y->index);
}

static bool deal_lighter(const load_t *a, const load_t *b) {
  return a->tokens < b->tokens || (a->tokens == b->tokens && a->index < b->index);
}

/* Restores the heap (lightest group on top) after the top has grown. */
static void sift_down(load_t *heap, int n) {
  for (int at = 0;;) {
    int least = at;
    for (int child = 2 * at + 1; child <= 2 * at + 2; child++) {
      if (child < n && deal_lighter(&heap[child], &heap[least])) least = child;
    }
    if (least == at) return;
    load_t moved = heap[at];
    heap[at] = heap[least];
    heap[least] = moved;
    at = least;
  }
}

static void deal(load_t *sequences, int64_t n, load_t *groups, int group_count, int32_t *group) {
  if (n > 1) qsort(sequences, (size_t)n, sizeof *sequences, by_tokens_down);
  for (int g = 0; g < group_count; g++)
    groups[g] = (load_t){0, g};
  for (int64_t i = 0; i < n; i++) {
    group[sequences[i].index] = (int32_t)groups[0].index;
    groups[0].tokens += sequences[i].tokens;
    sift_down(groups, group_count);
  }
}

status_t deal_by_length(const int32_t *lengths, int64_t n, int groups, int32_t *group) {
  SCOPED_MEMORY load_t *sequences = NULL;
  SCOPED_MEMORY load_t *heap = NULL;
  if (groups < 1) return error_set(STATUS_INTERNAL, "deal_by_length: %d groups", groups);
  TRY(memory_alloc(&sequences, ARENA_COMM, (size_t)n, sizeof *sequences));
  TRY(memory_alloc(&heap, ARENA_COMM, (size_t)groups, sizeof *heap));
  for (int64_t i = 0; i < n; i++)
    sequences[i] = (load_t){lengths[i], i};
  deal(sequences, n, heap, groups, group);
  return STATUS_OK;
}

/* Puts UNITS (count) into bins of CAPACITY tokens, FILL (count) being scratch for what each bin holds; BIN
 * (count, by the units' own numbers) and the number of bins out. A unit that is too long finds no bin with
 * room, nor anyone a place beside it. */
static int32_t deal_fit(load_t *units, int64_t count, int64_t capacity, int64_t *fill, int32_t *bin) {
  int32_t bins = 0;
  if (count > 1) qsort(units, (size_t)count, sizeof *units, by_tokens_down);
  for (int64_t i = 0; i < count; i++) {
    int32_t b = 0;
    while (b < bins && fill[b] + units[i].tokens > capacity)
      b++;
    if (b == bins) fill[bins++] = 0;
    fill[b] += units[i].tokens;
    bin[units[i].index] = b;
  }
  return bins;
}

status_t deal_micro_batches(const int32_t *lengths, const int64_t *indices, int64_t n, int unit,
                            int64_t max_tokens, int32_t *micro, int32_t *count) {
  SCOPED_MEMORY load_t *loads = NULL;
  SCOPED_MEMORY int64_t *fill = NULL;
  SCOPED_MEMORY int32_t *bin = NULL;
  *count = 0;
  if (unit < 1 || n % unit != 0 || max_tokens < 1)
    return error_set(STATUS_INTERNAL,
                     "deal_micro_batches: %" PRId64 " sequences in units of %d, at most %" PRId64 " tokens",
                     n, unit, max_tokens);
  int64_t units = n / unit;
  TRY(memory_alloc(&loads, ARENA_COMM, (size_t)units, sizeof *loads));
  TRY(memory_alloc(&fill, ARENA_COMM, (size_t)units, sizeof *fill));
  TRY(memory_alloc(&bin, ARENA_COMM, (size_t)units, sizeof *bin));
  for (int64_t u = 0; u < units; u++) {
    loads[u].index = u;
    for (int i = 0; i < unit; i++)
      loads[u].tokens += lengths[indices[u * unit + i]];
  }
  *count = deal_fit(loads, units, max_tokens, fill, bin);
  for (int64_t i = 0; i < n; i++)
    micro[i] = bin[i / unit];
  return STATUS_OK;
}

#include "ppo/ppo_tokens.h"

#include "parallel/exchange.h"
#include "perf/perf.h"

#include <string.h>

/* ---- Room ---- */

static void list_samples(const int32_t *lengths, const int32_t *group, int32_t mine, ppo_tokens_t *tokens) {
  int64_t total = 0;
  for (int32_t s = 0; s < tokens->n; s++) {
    tokens->at[s] = -1;
    if (group[s] != mine) continue;
    tokens->at[s] = total;
    total += lengths[s];
    tokens->which[tokens->count++] = s;
    tokens->offsets[tokens->count] = total;
  }
}

status_t ppo_tokens_create(int32_t n, const int32_t *lengths, const int32_t *group, int32_t mine, int what,
                           ppo_tokens_t *out) {
  *out = (ppo_tokens_t){.n = n, .pool.arena = ARENA_ROLLOUT};
  memory_pool_t *pool = &out->pool;
  size_t here = 0;
  for (int32_t s = 0; s < n; s++)
    here += group[s] == mine;
  TRY(memory_pool_alloc(pool, &out->which, here, sizeof *out->which));
  TRY(memory_pool_alloc(pool, &out->offsets, here + 1, sizeof *out->offsets));
  TRY(memory_pool_alloc(pool, &out->at, (size_t)n, sizeof *out->at));
  list_samples(lengths, group, mine, out);
  size_t total = (size_t)out->offsets[out->count];
  if (what & PPO_TOKENS) TRY(memory_pool_alloc(pool, &out->tokens, total, sizeof *out->tokens));
  for (int a = 0; a < ROLLOUT_TOKEN_COUNT; a++)
    if (what & 1 << a) TRY(memory_pool_alloc(pool, &out->numbers[a], total, sizeof(double)));
  return STATUS_OK;
}

void ppo_tokens_free(ppo_tokens_t *tokens) {
  memory_pool_free(&tokens->pool);
  *tokens = (ppo_tokens_t){0};
}

/* ---- From group to group ---- */

static int64_t length_here(const ppo_tokens_t *tokens, int32_t k) {
  return tokens->offsets[k + 1] - tokens->offsets[k];
}

/* Of one token's part of the arrays WHAT. */
static size_t token_bytes(int what) {
  size_t bytes = what & PPO_TOKENS ? sizeof(int32_t) : 0;
  for (int a = 0; a < ROLLOUT_TOKEN_COUNT; a++)
    bytes += what & 1 << a ? sizeof(double) : 0;
  return bytes;
}

/* The N tokens from element AT on, array after array; numbers first, where they are aligned. */
static void sample_pack(const ppo_tokens_t *from, int what, int64_t at, size_t n, char *bytes) {
  for (int a = 0; a < ROLLOUT_TOKEN_COUNT; a++) {
    if (!(what & 1 << a)) continue;
    memcpy(bytes, from->numbers[a] + at, n * sizeof(double));
    bytes += n * sizeof(double);
  }
  if (what & PPO_TOKENS) memcpy(bytes, from->tokens + at, n * sizeof(int32_t));
}

static void sample_unpack(const char *bytes, int what, int64_t at, size_t n, ppo_tokens_t *to) {
  for (int a = 0; a < ROLLOUT_TOKEN_COUNT; a++) {
    if (!(what & 1 << a)) continue;
    memcpy(to->numbers[a] + at, bytes, n * sizeof(double));
    bytes += n * sizeof(double);
  }
  if (what & PPO_TOKENS) memcpy(to->tokens + at, bytes, n * sizeof(int32_t));
}

/* What this group keeps of its own. */
static void samples_copy(const ppo_tokens_t *from, int what, const int32_t *group, int32_t mine,
                         ppo_tokens_t *to) {
  for (int32_t k = 0; k < from->count; k++) {
    int32_t s = from->which[k];
    size_t n = (size_t)length_here(from, k);
    if (group[s] != mine) continue;
    for (int a = 0; a < ROLLOUT_TOKEN_COUNT; a++)
      if (what & 1 << a)
        memcpy(to->numbers[a] + to->at[s], from->numbers[a] + from->offsets[k], n * sizeof(double));
    if (what & PPO_TOKENS)
      memcpy(to->tokens + to->at[s], from->tokens + from->offsets[k], n * sizeof(int32_t));
  }
}

/* An item for each sample that another group is given. */
static status_t samples_pack(const ppo_tokens_t *from, int what, const int32_t *group, int32_t mine,
                             memory_pool_t *pool, exchange_item_t **items, int64_t *count) {
  TRY(memory_pool_alloc(pool, items, (size_t)from->count, sizeof **items));
  *count = 0;
  for (int32_t k = 0; k < from->count; k++) {
    int32_t s = from->which[k];
    size_t n = (size_t)length_here(from, k), size = n * token_bytes(what);
    char *bytes;
    if (group[s] < 0 || group[s] == mine) continue;
    TRY(memory_pool_alloc(pool, &bytes, size, 1));
    sample_pack(from, what, from->offsets[k], n, bytes);
    (*items)[(*count)++] = (exchange_item_t){.id = s, .destination = group[s], .bytes = bytes, .size = size};
  }
  return STATUS_OK;
}

static status_t samples_unpack(const exchange_t *received, int what, ppo_tokens_t *to) {
  size_t each = token_bytes(what);
  for (int64_t i = 0; i < received->count; i++) {
    const exchange_received_t *item = &received->items[i];
    if (item->id < 0 || item->id >= to->n || to->at[item->id] < 0)
      return error_set(STATUS_INTERNAL, "tokens of sample %lld came to a group that does not work on it",
                       (long long)item->id);
    sample_unpack(item->bytes, what, to->at[item->id], item->size / each, to);
  }
  return STATUS_OK;
}

static status_t samples_exchange(comm_t *dp, const ppo_tokens_t *from, int what, const int32_t *group,
                                 ppo_tokens_t *to) {
  POOL(pool, ARENA_COMM);
  SCOPED(exchange_free) exchange_t received = {0};
  exchange_item_t *items = NULL;
  int64_t count = 0;
  TRY(comm_agree(dp, samples_pack(from, what, group, comm_rank(dp), &pool, &items, &count)));
  TRY(exchange_items(dp, items, count, &received));
  return samples_unpack(&received, what, to);
}

status_t ppo_tokens_send(comm_t *dp, const ppo_tokens_t *from, int what, const int32_t *group,
                         ppo_tokens_t *to) {
  perf_begin(REGION_EXCHANGE);
  samples_copy(from, what, group, comm_rank(dp), to);
  status_code_t status = STATUS_OK;
  if (comm_size(dp) > 1) status = samples_exchange(dp, from, what, group, to);
  perf_end(REGION_EXCHANGE);
  return status;
}

/* ---- Sums over all samples ---- */

status_t ppo_table_sums(comm_t *dp, double *table, int32_t n, int32_t columns, double *sums) {
  perf_begin(REGION_IMBALANCE);
  status_code_t status = comm_allreduce(dp, table, (size_t)n * (size_t)columns, COMM_F64, COMM_SUM);
  perf_end(REGION_IMBALANCE);
  TRY(status);
  for (int32_t c = 0; c < columns; c++)
    sums[c] = 0.0;
  for (int32_t i = 0; i < n; i++)
    for (int32_t c = 0; c < columns; c++)
      sums[c] += table[(size_t)i * (size_t)columns + (size_t)c];
  return STATUS_OK;
}

/* The state of sequences that are being decoded. */
#include "tensor/plain/ops/element.h"

/* Integers (rows, cols) that are used as USE. */
static void integers(access_t *access, const char *name, const index_t *p, int64_t rows, int64_t cols,
                     access_use_t use) {
  access_operand(access, name, p, sizeof(int32_t), rows, cols, cols, use, NULL);
}

static bool sequence_runs(const decode_sequences_t *sequences, const index_t *which, int64_t i) {
  int32_t s = ((const int32_t *)which)[i];
  return s >= 0 && ((const int32_t *)sequences->ended)[s] == 0;
}

static int32_t *state_of(const decode_sequences_t *sequences, int64_t s) {
  return (int32_t *)sequences->state + s * DECODE_STATE;
}

/* Sequences that run: their states have been written, and say what can be. */
static void states_check(access_t *access, const decode_sequences_t *sequences, const index_t *which,
                         int64_t rows, int64_t positions) {
  for (int64_t i = 0; access->status == STATUS_OK && i < rows; i++) {
    if (!sequence_runs(sequences, which, i)) continue;
    int32_t s = ((const int32_t *)which)[i];
    const int32_t *state = state_of(sequences, s);
    access_touch(access, "state", sequences->state, sizeof(int32_t), (int64_t)s * DECODE_STATE, DECODE_STATE);
    access_require(access, state[DECODE_POSITION] >= 0 && state[DECODE_POSITION] < positions,
                   "sequence %d is at position %d, expected 0..%lld", s, state[DECODE_POSITION],
                   (long long)positions - 1);
    access_require(access, state[DECODE_COUNT] >= 0 && state[DECODE_COUNT] < sequences->max_tokens,
                   "sequence %d has drawn %d of at most %d tokens", s, state[DECODE_COUNT],
                   sequences->max_tokens);
  }
}

static void begin_operands(access_t *access, const op_decode_begin_t *op) {
  const decode_sequences_t *all = &op->sequences;
  int64_t n = op->rows, pages = all->max_pages;
  access_require(access, op->page_size > 0 && all->max_tokens > 0, "pages of %d, %d tokens", op->page_size,
                 all->max_tokens);
  access_index(access, "which", op->which, n, -1, all->sequences - 1, true);
  integers(access, "ended", all->ended, 1, all->sequences, ACCESS_READ);
  integers(access, "state", all->state, all->sequences, DECODE_STATE, ACCESS_SOME);
  integers(access, "sequences' pages", all->pages, all->sequences, pages, ACCESS_SOME);
  if (access->status == STATUS_OK) states_check(access, all, op->which, n, pages * op->page_size);
  integers(access, "tokens", op->tokens, 1, n, ACCESS_WRITE);
  integers(access, "positions", op->positions, 1, n, ACCESS_WRITE);
  integers(access, "slots", op->slots, 1, n, ACCESS_WRITE);
  integers(access, "pages", op->pages, n, pages, ACCESS_WRITE);
  integers(access, "lengths", op->lengths, 1, n, ACCESS_WRITE);
  integers(access, "row", op->row, 1, n, ACCESS_WRITE);
  integers(access, "samples", op->samples, n, 2, ACCESS_WRITE);
  integers(access, "draws", op->draws, 1, n, ACCESS_WRITE);
}

static void begin_row(const op_decode_begin_t *op, int64_t i) {
  const decode_sequences_t *all = &op->sequences;
  bool runs = sequence_runs(all, op->which, i);
  int64_t s = runs ? ((const int32_t *)op->which)[i] : 0;
  const int32_t *state = state_of(all, s), *table = (const int32_t *)all->pages + s * all->max_pages;
  int32_t position = runs ? state[DECODE_POSITION] : 0;
  ((int32_t *)op->tokens)[i] = runs ? state[DECODE_TOKEN] : -1;
  ((int32_t *)op->positions)[i] = position;
  ((int32_t *)op->slots)[i] =
      runs ? table[position / op->page_size] * op->page_size + position % op->page_size : -1;
  ((int32_t *)op->lengths)[i] = runs ? position + 1 : 0;
  ((int32_t *)op->row)[i] = runs ? (int32_t)i : -1;
  ((int32_t *)op->draws)[i] = runs ? state[DECODE_COUNT] : 0;
  for (int w = 0; w < 2; w++)
    ((int32_t *)op->samples)[2 * i + w] = runs ? state[DECODE_SAMPLE + w] : 0;
  for (int64_t p = 0; p < all->max_pages; p++)
    ((int32_t *)op->pages)[i * all->max_pages + p] = runs ? table[p] : 0;
}

static status_t decode_begin_plain(device_t *device, const op_decode_begin_t *op) {
  access_t access = access_begin(device, "decode_begin");
  begin_operands(&access, op);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < op->rows; i++)
    begin_row(op, i);
  access_end(&access);
  return STATUS_OK;
}

static void advance_operands(access_t *access, const op_decode_advance_t *op) {
  const decode_sequences_t *all = &op->sequences;
  int64_t n = op->rows;
  access_index(access, "which", op->which, n, -1, all->sequences - 1, true);
  integers(access, "drawn", op->drawn, 1, n, ACCESS_READ);
  reads(access, "logprobs", op->logprobs, 1, n, n);
  reads(access, "entropies", op->entropies, 1, n, n);
  integers(access, "ended", all->ended, 1, all->sequences, ACCESS_UPDATE);
  integers(access, "state", all->state, all->sequences, DECODE_STATE, ACCESS_PATCH);
  if (access->status == STATUS_OK) states_check(access, all, op->which, n, INT32_MAX);
  integers(access, "tokens", all->tokens, all->sequences, all->max_tokens, ACCESS_PATCH);
  writes_some(access, "sequences' logprobs", all->logprobs, (int64_t)all->sequences * all->max_tokens);
  writes_some(access, "sequences' entropies", all->entropies, (int64_t)all->sequences * all->max_tokens);
}

static bool token_ends(const op_decode_advance_t *op, int32_t token) {
  bool ends = token < 0;
  for (int e = 0; e < op->end_count; e++)
    ends = ends || token == op->ends[e];
  return ends;
}

static void advance_row(const op_decode_advance_t *op, int64_t i) {
  const decode_sequences_t *all = &op->sequences;
  if (!sequence_runs(all, op->which, i)) return;
  int64_t s = ((const int32_t *)op->which)[i];
  int32_t *state = state_of(all, s), token = ((const int32_t *)op->drawn)[i];
  int64_t place = s * all->max_tokens + state[DECODE_COUNT];
  ((int32_t *)all->tokens)[place] = token;
  ((element_t *)all->logprobs)[place] = ((const element_t *)op->logprobs)[i];
  ((element_t *)all->entropies)[place] = ((const element_t *)op->entropies)[i];
  state[DECODE_TOKEN] = token;
  state[DECODE_POSITION]++;
  state[DECODE_COUNT]++;
  if (token_ends(op, token) || state[DECODE_COUNT] == all->max_tokens)
    ((int32_t *)all->ended)[s] = token < 0 ? -state[DECODE_COUNT] : state[DECODE_COUNT];
}

static status_t decode_advance_plain(device_t *device, const op_decode_advance_t *op) {
  access_t access = access_begin(device, "decode_advance");
  advance_operands(&access, op);
  TRY(access_ready(&access));
  for (int64_t i = 0; i < op->rows; i++)
    advance_row(op, i);
  access_end(&access);
  return STATUS_OK;
}

void PLAIN_NAME(plain_fill_decode)(ops_t *ops) {
  ops->decode_begin = decode_begin_plain;
  ops->decode_advance = decode_advance_plain;
}

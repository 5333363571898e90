/* The state of sequences that are being decoded: a few integers for each, not worth a second thread; and
 * copies of pages. */
#include "tensor/cpu/state.h"

#include <string.h>

static const double element_cost = 0.25; /* nanoseconds to read and write one */

/* Item i: page i % count of layer i / count. */
static void cache_copy_range(const void *argument, int64_t begin, int64_t end, float *scratch) {
  const op_cache_copy_t *op = argument;
  int64_t element = op->half ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(float);
  size_t bytes = (size_t)(op->page_elements * element);
  (void)scratch;
  for (int64_t i = begin; i < end; i++) {
    int64_t layer = i / op->count * op->layer_elements;
    int64_t from = element * (layer + ((const int32_t *)op->from)[i % op->count] * op->page_elements);
    int64_t to = element * (layer + ((const int32_t *)op->to)[i % op->count] * op->page_elements);
    memcpy((char *)op->k_cache + to, (const char *)op->k_cache + from, bytes);
    memcpy((char *)op->v_cache + to, (const char *)op->v_cache + from, bytes);
  }
}

static status_t cache_copy_cpu(device_t *device, const op_cache_copy_t *op) {
  int64_t items = (int64_t)op->count * op->layers;
  cpu_for(cpu_state(device), cache_copy_range, op, items, 1,
          2.0 * (double)items * (double)op->page_elements * element_cost);
  return STATUS_OK;
}

/* The sequence of row I; -1 where it has none that runs. */
static int64_t sequence_of(const decode_sequences_t *sequences, const index_t *which, int64_t i) {
  int64_t s = ((const int32_t *)which)[i];
  return s >= 0 && ((const int32_t *)sequences->ended)[s] == 0 ? s : -1;
}

static void begin_padding(const op_decode_begin_t *op, int64_t i) {
  int64_t max_pages = op->sequences.max_pages;
  ((int32_t *)op->tokens)[i] = ((int32_t *)op->slots)[i] = ((int32_t *)op->row)[i] = -1;
  ((int32_t *)op->positions)[i] = ((int32_t *)op->lengths)[i] = ((int32_t *)op->draws)[i] = 0;
  memset((int32_t *)op->samples + 2 * i, 0, 2 * sizeof(int32_t));
  memset((int32_t *)op->pages + i * max_pages, 0, (size_t)max_pages * sizeof(int32_t));
}

static void begin_sequence(const op_decode_begin_t *op, int64_t i, int64_t s) {
  int64_t max_pages = op->sequences.max_pages;
  const int32_t *state = (const int32_t *)op->sequences.state + s * DECODE_STATE;
  const int32_t *pages = (const int32_t *)op->sequences.pages + s * max_pages;
  int32_t position = state[DECODE_POSITION];
  ((int32_t *)op->tokens)[i] = state[DECODE_TOKEN];
  ((int32_t *)op->positions)[i] = position;
  ((int32_t *)op->slots)[i] = pages[position / op->page_size] * op->page_size + position % op->page_size;
  ((int32_t *)op->lengths)[i] = position + 1;
  ((int32_t *)op->row)[i] = (int32_t)i;
  ((int32_t *)op->draws)[i] = state[DECODE_COUNT];
  memcpy((int32_t *)op->samples + 2 * i, state + DECODE_SAMPLE, 2 * sizeof(int32_t));
  memcpy((int32_t *)op->pages + i * max_pages, pages, (size_t)max_pages * sizeof(int32_t));
}

static status_t decode_begin_cpu(device_t *device, const op_decode_begin_t *op) {
  (void)device;
  for (int64_t i = 0; i < op->rows; i++) {
    int64_t s = sequence_of(&op->sequences, op->which, i);
    if (s < 0)
      begin_padding(op, i);
    else
      begin_sequence(op, i, s);
  }
  return STATUS_OK;
}

static bool token_ends(const op_decode_advance_t *op, int32_t token) {
  bool ends = token < 0;
  for (int e = 0; e < op->end_count; e++)
    ends = ends || token == op->ends[e];
  return ends;
}

static void advance_sequence(const op_decode_advance_t *op, int64_t i, int64_t s) {
  const decode_sequences_t *all = &op->sequences;
  int32_t *state = (int32_t *)all->state + s * DECODE_STATE, token = ((const int32_t *)op->drawn)[i];
  int64_t place = s * all->max_tokens + state[DECODE_COUNT];
  ((int32_t *)all->tokens)[place] = token;
  ((float *)all->logprobs)[place] = ((const float *)op->logprobs)[i];
  ((float *)all->entropies)[place] = ((const float *)op->entropies)[i];
  state[DECODE_TOKEN] = token;
  state[DECODE_POSITION]++;
  state[DECODE_COUNT]++;
  if (token_ends(op, token) || state[DECODE_COUNT] == all->max_tokens)
    ((int32_t *)all->ended)[s] = token < 0 ? -state[DECODE_COUNT] : state[DECODE_COUNT];
}

static status_t decode_advance_cpu(device_t *device, const op_decode_advance_t *op) {
  (void)device;
  for (int64_t i = 0; i < op->rows; i++) {
    int64_t s = sequence_of(&op->sequences, op->which, i);
    if (s >= 0) advance_sequence(op, i, s);
  }
  return STATUS_OK;
}

void cpu_fill_decode(ops_t *ops) {
  ops->cache_copy = cache_copy_cpu;
  ops->decode_begin = decode_begin_cpu;
  ops->decode_advance = decode_advance_cpu;
}

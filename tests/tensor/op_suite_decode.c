/* Cases of the state of sequences that are being decoded. */
#include "tensor/op_pair.h"

#include "base/memory.h"

enum { SEQUENCES = 5, PAGES = 3, PAGE_SIZE = 4, TOKENS = 6, ROWS = 7 };

/* What both devices know of the sequences. */
typedef struct {
  index_pair_t state, pages, ended, tokens;
  wide_pair_t logprobs, entropies;
} sequences_pair_t;

static sequences_pair_t sequences_of(op_pair_t *pair, const int32_t *state, const int32_t *ended) {
  int32_t pages[SEQUENCES * PAGES], tokens[SEQUENCES * TOKENS];
  for (int32_t i = 0; i < SEQUENCES * PAGES; i++)
    pages[i] = (7 * i + 3) % (SEQUENCES * PAGES);
  for (int32_t i = 0; i < SEQUENCES * TOKENS; i++)
    tokens[i] = -7;
  return (sequences_pair_t){.state = index_of(pair, state, SEQUENCES * DECODE_STATE),
                            .pages = index_of(pair, pages, SEQUENCES * PAGES),
                            .ended = index_of(pair, ended, SEQUENCES),
                            .tokens = index_of(pair, tokens, SEQUENCES * TOKENS),
                            .logprobs = wide_untouched(pair, SEQUENCES * TOKENS),
                            .entropies = wide_untouched(pair, SEQUENCES * TOKENS)};
}

static decode_sequences_t sequences_on(const sequences_pair_t *all, int s) {
  return (decode_sequences_t){.sequences = SEQUENCES,
                              .max_pages = PAGES,
                              .max_tokens = TOKENS,
                              .state = all->state.on[s],
                              .pages = all->pages.on[s],
                              .ended = all->ended.on[s],
                              .tokens = all->tokens.on[s],
                              .logprobs = all->logprobs.on[s],
                              .entropies = all->entropies.on[s]};
}

static void expect_index(op_pair_t *pair, const index_pair_t *array, const int32_t *expected) {
  for (int s = 0; s < DEVICES; s++) {
    int32_t *values = index_host(pair, array, s);
    assert_memory_equal(values, expected, array->n * sizeof *values);
    memory_free(values);
  }
}

/* Token, position, tokens drawn, key; sequence 3 has ended, 0 is in no row. */
static const int32_t states[SEQUENCES * DECODE_STATE] = {9, 1, 0, 1, 0, 17, 5, 2,  33, -4, 23, 11, 5,
                                                         2, 1, 4, 4, 4, 4,  4, 31, 0,  0,  0,  1};
static const int32_t over[SEQUENCES] = {0, 0, 0, 4, 0};
static const int32_t which[ROWS] = {4, 1, -1, 3, 2, -1, -1};

void case_decode_begin(void **state) {
  op_pair_t *pair = *state;
  const int32_t nothing[ROWS * PAGES] = {0};
  sequences_pair_t all = sequences_of(pair, states, over);
  index_pair_t rows = index_of(pair, which, ROWS), tokens = index_of(pair, nothing, ROWS),
               positions = index_of(pair, nothing, ROWS), slots = index_of(pair, nothing, ROWS),
               pages = index_of(pair, nothing, ROWS * PAGES), lengths = index_of(pair, nothing, ROWS),
               row = index_of(pair, nothing, ROWS), samples = index_of(pair, nothing, 2 * ROWS),
               draws = index_of(pair, nothing, ROWS);
  for (int s = 0; s < DEVICES; s++) {
    op_decode_begin_t op = {.sequences = sequences_on(&all, s),
                            .rows = ROWS,
                            .page_size = PAGE_SIZE,
                            .which = rows.on[s],
                            .tokens = tokens.on[s],
                            .positions = positions.on[s],
                            .slots = slots.on[s],
                            .pages = pages.on[s],
                            .lengths = lengths.on[s],
                            .row = row.on[s],
                            .samples = samples.on[s],
                            .draws = draws.on[s]};
    EXPECT_OK(OP(pair->devices[s], decode_begin, &op));
  }
  expect_index(pair, &tokens, (const int32_t[ROWS]){31, 17, -1, -1, 23, -1, -1});
  expect_index(pair, &positions, (const int32_t[ROWS]){0, 5, 0, 0, 11, 0, 0});
  /* Sequence s has pages (21 s + 3, 21 s + 10, 21 s + 17) modulo 15. */
  expect_index(pair, &slots, (const int32_t[ROWS]){12 * 4, 1 * 4 + 1, -1, -1, 14 * 4 + 3, -1, -1});
  expect_index(pair, &pages, (const int32_t[ROWS * PAGES]){12, 4, 11, 9,  1, 8, 0, 0, 0, 0, 0,
                                                           0,  0, 7,  14, 0, 0, 0, 0, 0, 0});
  expect_index(pair, &lengths, (const int32_t[ROWS]){1, 6, 0, 0, 12, 0, 0});
  expect_index(pair, &row, (const int32_t[ROWS]){0, 1, -1, -1, 4, -1, -1});
  expect_index(pair, &samples, (const int32_t[2 * ROWS]){0, 1, 33, -4, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0});
  expect_index(pair, &draws, (const int32_t[ROWS]){0, 2, 0, 0, 5, 0, 0});
  pair_release(pair);
}

/* One goes on, one ends by its token, one by its length; then one that cannot draw. */
void case_decode_advance(void **state) {
  op_pair_t *pair = *state;
  static const int32_t drawn[2][ROWS] = {{8, 2, 2, 2, 8, 8, 8}, {-1, 8, 8, 8, 8, 8, 8}};
  static const int32_t ends[2][SEQUENCES] = {{0, 3, 6, 4, 0}, {0, 3, 6, 4, -2}};
  sequences_pair_t all = sequences_of(pair, states, over);
  index_pair_t rows = index_of(pair, which, ROWS);
  for (int step = 0; step < 2; step++) {
    index_pair_t tokens = index_of(pair, drawn[step], ROWS);
    wide_pair_t logprobs = wide_random(pair, ROWS, 1.0), entropies = wide_random(pair, ROWS, 1.0);
    for (int s = 0; s < DEVICES; s++) {
      op_decode_advance_t op = {.sequences = sequences_on(&all, s),
                                .rows = ROWS,
                                .which = rows.on[s],
                                .drawn = tokens.on[s],
                                .logprobs = logprobs.on[s],
                                .entropies = entropies.on[s],
                                .ends = {2, 5},
                                .end_count = 2};
      EXPECT_OK(OP(pair->devices[s], decode_advance, &op));
    }
    expect_index(pair, &all.ended, ends[step]);
    wide_expect_close(pair, "decode_advance logprobs", &all.logprobs, 0, SEQUENCES, TOKENS, TOKENS, 0.0);
    wide_expect_close(pair, "decode_advance entropies", &all.entropies, 0, SEQUENCES, TOKENS, TOKENS, 0.0);
  }
  expect_index(pair, &all.tokens,
               (const int32_t[SEQUENCES * TOKENS]){-7, -7, -7, -7, -7, -7, -7, -7, 2,  -7,
                                                   -7, -7, -7, -7, -7, -7, -7, 8,  -7, -7,
                                                   -7, -7, -7, -7, 8,  -1, -7, -7, -7, -7});
  expect_index(pair, &all.state,
               (const int32_t[SEQUENCES * DECODE_STATE]){9, 1, 0, 1, 0, 2, 6, 3,  33, -4, 8, 12, 6,
                                                         2, 1, 4, 4, 4, 4, 4, -1, 2,  2,  0, 1});
  pair_release(pair);
}
